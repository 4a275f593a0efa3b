// SchedMemory: the memory policy under which the headers of the core run in the explorer.
//
// Its words have the interface of std::atomic. Outside of fibers (while a world is made, and while
// its end is checked) they are plain values; inside, each access is a step.
#pragma once

#include <atomic>
#include <cstdint>

#include "explorer.h"

namespace cfc::sched {

template <class T>
class Atomic {
 public:
  Atomic() noexcept = default;
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order order = std::memory_order_seq_cst) const noexcept {
    Explorer& explorer = Explorer::It();
    if (!explorer.inside()) return Plain();
    Step();
    uint64_t value;
    uint64_t read = 0;
    if (explorer.weak()) {
      const uint32_t at = Location();
      std::vector<uint32_t>& choices = Choices();
      explorer.memory().Loadable(at, explorer.knows(), order, &choices, nullptr);
      const uint32_t chosen = choices[explorer.Choose(static_cast<uint32_t>(choices.size()))];
      read = explorer.memory().At(at, chosen).id;
      value = explorer.memory().Load(at, chosen, order, &explorer.knows());
    } else {
      value = value_;
    }
    explorer.Trace("load  %p (order %d): %llx", Address(), static_cast<int>(order), Long(value));
    explorer.Accessed(Mix(Number(), read * 4), value);
    return static_cast<T>(value);
  }

  void store(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    Explorer& explorer = Explorer::It();
    if (!explorer.inside()) return SetPlain(value);
    Step();
    uint64_t after = 0;
    if (explorer.weak()) {
      const uint32_t at = Location();
      std::vector<uint32_t>& choices = Choices();
      explorer.memory().Storable(at, explorer.knows(), order, &choices);
      const uint32_t chosen = choices[explorer.Choose(static_cast<uint32_t>(choices.size()))];
      after = explorer.memory().At(at, chosen - 1).id;
      explorer.memory().Put(at, chosen, value, explorer.AccessId(), order, &explorer.knows());
    } else {
      Set(value);
    }
    explorer.Trace("store %p (order %d): %llx", Address(), static_cast<int>(order), Long(value));
    explorer.Accessed(Mix(Mix(Number(), after * 4 + 1), value), 0);
  }

  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order order = std::memory_order_seq_cst) noexcept {
    Explorer& explorer = Explorer::It();
    if (!explorer.inside()) {
      const T seen = Plain();
      if (seen == expected) return SetPlain(desired), true;
      expected = seen;
      return false;
    }
    Step();
    const uint64_t wanted = expected;
    uint64_t seen;
    uint64_t read = 0;
    if (explorer.weak()) {
      const uint32_t at = Location();
      // A swap that fails loads, with the order of a load.
      const std::memory_order failing =
          order == std::memory_order_acq_rel   ? std::memory_order_acquire
          : order == std::memory_order_release ? std::memory_order_relaxed
                                               : order;
      std::vector<uint32_t>& choices = Choices();
      explorer.memory().Loadable(at, explorer.knows(), failing, &choices, &wanted);
      const uint32_t chosen = choices[explorer.Choose(static_cast<uint32_t>(choices.size()))];
      read = explorer.memory().At(at, chosen).id;
      seen = explorer.memory().At(at, chosen).value;
      if (seen == wanted) {
        explorer.memory().Swap(at, desired, explorer.AccessId(), order, &explorer.knows());
      } else {
        explorer.memory().Load(at, chosen, failing, &explorer.knows());
      }
    } else {
      seen = value_;
      if (seen == wanted) Set(desired);
    }
    explorer.Trace("swap  %p (order %d): %llx -> %llx, found %llx", Address(),
                   static_cast<int>(order), Long(wanted), Long(desired), Long(seen));
    if (seen == wanted) {
      explorer.Accessed(Mix(Mix(Number(), read * 4 + 2), desired), 1);
      return true;
    }
    expected = static_cast<T>(seen);
    explorer.Accessed(Mix(Number(), read * 4 + 3), Mix(2, seen));
    return false;
  }
  bool compare_exchange_weak(T& expected, T desired,
                             std::memory_order order = std::memory_order_seq_cst) noexcept {
    return compare_exchange_strong(expected, desired, order);
  }

  T fetch_and(T bits, std::memory_order order = std::memory_order_seq_cst) noexcept {
    Explorer& explorer = Explorer::It();
    const auto newest = [&] {
      return explorer.weak() && explorer.inside()
                 ? static_cast<T>(explorer.memory().Newest(Location()))
                 : Plain();
    };
    if (!explorer.inside()) {
      const T seen = Plain();
      SetPlain(seen & bits);
      return seen;
    }
    Step();
    const T seen = newest();
    uint64_t read = 0;
    if (explorer.weak()) {
      read = explorer.memory().NewestId(Location());
      explorer.memory().Swap(Location(), seen & bits, explorer.AccessId(), order,
                             &explorer.knows());
    } else {
      Set(seen & bits);
    }
    explorer.Trace("and   %p: %llx -> %llx", Address(), Long(seen), Long(seen & bits));
    explorer.Accessed(Mix(Mix(Number(), read * 4 + 2), seen & bits), seen);
    return seen;
  }

  // Accesses to this word go together with the one before them: nobody comes in between.
  void MakeQuiet() noexcept { quiet_ = true; }

  // ---- the futex of this word: the kernel compares, and puts to sleep, in one step

  // False: it did not sleep, as the word differs.
  bool Wait(T expected) noexcept {
    Explorer& explorer = Explorer::It();
    Step();
    const bool same = Latest() == expected;
    explorer.Trace("wait  %p: %s", Address(), same ? "sleeps" : "goes on");
    explorer.Accessed(Mix(Number(), uint64_t{explorer.NextWaiting()} << 8 | 0x80), same);
    if (same) explorer.SleepOn(this);
    return same;
  }
  void Wake() noexcept {
    Explorer& explorer = Explorer::It();
    Step();
    explorer.Trace("wake  %p", Address());
    explorer.Wake(this);
    explorer.Accessed(Mix(Number(), uint64_t{explorer.NextWaiting()} << 8 | 0x81), 0);
  }

 private:
  void Step() const noexcept {
    if (quiet_) {
      Explorer::It().StepTogether();
    } else {
      Explorer::It().Yield();
    }
  }
  static unsigned long long Long(uint64_t value) noexcept { return value; }
  static std::vector<uint32_t>& Choices() noexcept {
    static std::vector<uint32_t> choices;
    return choices;
  }
  const void* Address() const noexcept { return this; }
  uint64_t Number() const noexcept { return reinterpret_cast<uintptr_t>(this); }
  uint32_t Location() const noexcept {
    if (location_ < 0) {
      location_ = static_cast<int32_t>(Explorer::It().memory().NewLocation(value_));
    }
    return static_cast<uint32_t>(location_);
  }
  T Latest() const noexcept {
    return Explorer::It().weak() ? static_cast<T>(Explorer::It().memory().Newest(Location()))
                                 : static_cast<T>(value_);
  }
  // Outside of fibers: what all fibers together left.
  T Plain() const noexcept {
    if (location_ >= 0) value_ = Explorer::It().memory().Newest(static_cast<uint32_t>(location_));
    location_ = -1;
    return static_cast<T>(value_);
  }
  void SetPlain(T value) noexcept {
    Plain();
    value_ = value;
  }
  void Set(T value) noexcept {
    Explorer::It().Changed(Number(), value_, value);
    value_ = value;
  }

  mutable uint64_t value_ = 0;
  bool quiet_ = false;
  mutable int32_t location_ = -1;  // in weak memory, from the first access of a run on
};

struct SchedMemory {
  using Word = Atomic<uint64_t>;
  using Half = Atomic<uint32_t>;
};

}  // namespace cfc::sched
