// Explorer: runs a small program of fibers through all its interleavings.
//
// Stateless search with replay: a run is a list of choices (who goes on, whether it dies there,
// what a load returns), and the next run differs from it in the last one that has alternatives
// left. No bound on preemptions. What makes it end is a memory of states: a state that was entered
// before is not entered again.
//
// A state, where memory is sequentially consistent, is the value of each word, what each fiber
// noted, and its registers and stack. Where memory is weak it is the execution graph: each access
// with its place in its fiber, the store that it read, the store before it in modification order;
// so of all interleavings that differ only in the order of unrelated accesses one is followed.
// States are compared by 64 bits of hash.
//
// Bodies are deterministic but for what they load, share nothing but atomics of memory.h (and logs
// that only they write), and end.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "fiber.h"
#include "weak.h"

namespace cfc::sched {

constexpr uint32_t kMostFibers = 4;
constexpr uint32_t kMostSteps = 600;  // of one run; more is a loop without end
constexpr size_t kMostStates = 20'000'000;
constexpr int kNoFiber = -1;

inline uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a + 0x9e37'79b9'7f4a'7c15 * (b + 1);
  x = (x ^ x >> 30) * 0xbf58'476d'1ce4'e5b9;
  x = (x ^ x >> 27) * 0x94d0'49bb'1331'11eb;
  return x ^ x >> 31;
}

// 64-bit hashes, open addressing.
class HashSet {
 public:
  // False if it was there.
  bool Insert(uint64_t hash) {
    if (hash == 0) hash = 1;
    if (2 * (size_ + 1) > slots_.size()) Grow();
    return Place(hash);
  }
  size_t size() const { return size_; }
  void Clear() {
    slots_.assign(1 << 12, 0);
    size_ = 0;
  }

 private:
  bool Place(uint64_t hash) {
    for (size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i] == hash) return false;
      if (slots_[i] != 0) continue;
      slots_[i] = hash;
      ++size_;
      return true;
    }
  }
  void Grow() {
    std::vector<uint64_t> old(slots_.empty() ? 1 << 12 : 2 * slots_.size(), 0);
    old.swap(slots_);
    size_ = 0;
    for (const uint64_t hash : old) {
      if (hash != 0) Place(hash);
    }
  }
  std::vector<uint64_t> slots_;
  size_t size_ = 0;
};

// What a checked program is, to the explorer.
class Program {
 public:
  virtual ~Program() = default;
  virtual void SetUp() = 0;  // a fresh world; before the fibers
  virtual uint32_t fibers() const = 0;
  virtual void Run(uint32_t fiber) = 0;  // the body of one
  virtual bool MayDie(uint32_t) const { return false; }
  virtual bool AfterADeath(uint32_t) const { return false; }  // runs only once somebody died
  virtual uint64_t Remembered() const = 0;  // a hash of what fibers noted outside of memory
  virtual std::string Check() = 0;          // at the end; what is wrong, or nothing
};

class Explorer {
 public:
  struct Report {
    uint64_t runs = 0;
    uint64_t states = 0;
    uint64_t deaths = 0;
    std::string violation;  // of the first bad run
    std::string trace;
  };

  static Explorer& It() {
    static Explorer explorer;
    return explorer;
  }

  Report Explore(Program* program, bool weak) {
    program_ = program;
    weak_ = weak;
    tracing_ = false;
    visited_.Clear();
    choices_.clear();
    report_ = Report();
    do {
      RunOnce();
      ++report_.runs;
      if (visited_.size() > kMostStates) report_.violation = "too large to be searched";
      if (!report_.violation.empty()) {
        TraceAgain();
        break;
      }
    } while (Advance());
    report_.states = visited_.size();
    return report_;
  }

  // ---- for memory.h

  bool weak() const { return weak_; }
  bool inside() const { return current_ != kNoFiber; }
  WeakMemory& memory() { return memory_; }
  Knowledge& knows() { return fibers_[Current()].knows; }
  bool died(uint32_t fiber) const { return fibers_[fiber].dead; }
  bool asleep(uint32_t fiber) const { return fibers_[fiber].asleep_on != nullptr; }

  // Before each access: lets others go first.
  void Yield() {
    fibers_[Current()].fiber.Leave();
    ++fibers_[Current()].steps;
  }
  void StepTogether() { ++fibers_[Current()].steps; }
  // Who makes this access, and as its how-many-th.
  uint32_t AccessId() const { return (Current() + 1) << 16 | fibers_[Current()].steps; }

  uint32_t Choose(uint32_t count) {
    if (count == 1) return 0;
    if (depth_ == choices_.size()) choices_.push_back({0, count});
    return choices_[depth_++].chosen;
  }

  // After each access. hash: of the access, for the execution graph; value: what the fiber learnt.
  void Accessed(uint64_t hash, uint64_t value) {
    FiberState& fiber = fibers_[Current()];
    if (weak_) graph_hash_ += Mix(hash, AccessId());
    fiber.history = Mix(fiber.history, value);
    if (program_->MayDie(Current()) && deaths_ == 0 && Choose(2) == 1) Die();
  }
  // Sequentially consistent: a word changed.
  void Changed(uint64_t address, uint64_t from, uint64_t to) {
    memory_hash_ += Mix(address, to) - Mix(address, from);
  }

  void SleepOn(const void* word) {
    FiberState& fiber = fibers_[Current()];
    fiber.asleep_on = word;
    while (fiber.asleep_on) fiber.fiber.Leave();
  }
  void Wake(const void* word) {
    for (FiberState& fiber : fibers_) {
      if (fiber.asleep_on == word) fiber.asleep_on = nullptr;
    }
  }
  uint32_t NextWaiting() { return waitings_++; }

  template <class... Arguments>
  void Trace(const char* format, Arguments... arguments) {
    if (!tracing_) return;
    char text[200];
    std::snprintf(text, sizeof text, format, arguments...);
    report_.trace += "  fiber " + std::to_string(current_) + "  " + text + "\n";
  }

 private:
  struct FiberState {
    Fiber fiber;
    Knowledge knows;
    uint64_t history = 0;
    uint64_t stands = 0;  // sequentially consistent: hash of registers and stack, 0: to be made
    uint32_t steps = 0;
    bool dead = false;
    bool done = false;
    const void* asleep_on = nullptr;
  };
  struct Choice {
    uint32_t chosen;
    uint32_t count;
  };

  uint32_t Current() const { return static_cast<uint32_t>(current_); }

  void Die() {
    ++deaths_;
    fibers_[Current()].dead = true;
    Trace("%s", "dies");
    // Proof of death comes through the kernel: who has it knows all that the dead one knew.
    for (uint32_t i = 0; i < program_->fibers(); ++i) {
      if (program_->AfterADeath(i)) fibers_[i].knows.Join(knows());
    }
    for (;;) fibers_[Current()].fiber.Leave();
  }

  static void Body(void* argument) {
    Explorer& self = It();
    const auto index = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(argument));
    self.program_->Run(index);
    self.fibers_[index].done = true;
  }

  void RunOnce() {
    depth_ = 0;
    deaths_ = 0;
    waitings_ = 0;
    graph_hash_ = 0;
    memory_hash_ = 0;
    memory_.Reset();
    current_ = kNoFiber;
    program_->SetUp();
    const uint32_t count = program_->fibers();
    for (uint32_t i = 0; i < count; ++i) {
      FiberState& fiber = fibers_[i];
      fiber.knows = Knowledge();
      fiber.history = fiber.steps = 0;
      fiber.dead = fiber.done = false;
      fiber.asleep_on = nullptr;
      current_ = static_cast<int>(i);
      fiber.fiber.Start(&Body, reinterpret_cast<void*>(static_cast<uintptr_t>(i)));
      fiber.stands = 0;
    }
    for (uint32_t steps = 0;; ++steps) {
      current_ = kNoFiber;
      if (steps > kMostSteps) {
        report_.violation = "a loop without end";
        break;
      }
      std::array<uint32_t, kMostFibers> ready;
      uint32_t most = 0;
      for (uint32_t i = 0; i < count; ++i) {
        const FiberState& fiber = fibers_[i];
        if (fiber.dead || fiber.done || fiber.asleep_on) continue;
        if (program_->AfterADeath(i) && deaths_ == 0) continue;
        ready[most++] = i;
      }
      if (most == 0) {
        report_.violation = program_->Check();
        report_.deaths += deaths_;
        break;
      }
      // All of the past is replayed: this state is a new one, or was entered before.
      if (!tracing_ && depth_ == choices_.size() && !visited_.Insert(StateHash(count))) break;
      current_ = static_cast<int>(ready[Choose(most)]);
      FiberState& fiber = fibers_[Current()];
      fiber.fiber.Enter();
      fiber.stands = 0;
    }
    current_ = kNoFiber;
  }

  uint64_t StateHash(uint32_t count) {
    uint64_t hash = weak_ ? graph_hash_ : Mix(memory_hash_, program_->Remembered());
    for (uint32_t i = 0; i < count; ++i) {
      FiberState& fiber = fibers_[i];
      if (!weak_ && fiber.stands == 0) fiber.stands = fiber.fiber.Hash();
      const uint64_t flags = uint64_t{fiber.dead} | uint64_t{fiber.done} << 1 |
                             uint64_t{fiber.asleep_on != nullptr} << 2 |
                             uint64_t{weak_ ? fiber.steps : 0} << 3;
      hash = Mix(hash, flags);
      if (!fiber.dead && !fiber.done) hash = Mix(hash, weak_ ? fiber.history : fiber.stands);
    }
    return hash;
  }

  bool Advance() {
    while (!choices_.empty() && choices_.back().chosen + 1 == choices_.back().count) {
      choices_.pop_back();
    }
    if (choices_.empty()) return false;
    ++choices_.back().chosen;
    return true;
  }

  void TraceAgain() {
    const std::string violation = report_.violation;
    tracing_ = true;
    RunOnce();
    tracing_ = false;
    report_.violation = violation;
  }

  Program* program_ = nullptr;
  bool weak_ = false;
  bool tracing_ = false;
  int current_ = kNoFiber;
  std::array<FiberState, kMostFibers> fibers_;
  WeakMemory memory_;
  HashSet visited_;
  std::vector<Choice> choices_;
  size_t depth_ = 0;
  uint32_t deaths_ = 0;
  uint32_t waitings_ = 0;
  uint64_t graph_hash_ = 0;
  uint64_t memory_hash_ = 0;
  Report report_;
};

}  // namespace cfc::sched
