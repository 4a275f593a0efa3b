// Exhaustive search over the states of a small concurrent model.
//
// A model is a plain object with
//
//   using State = ...;                     a struct without padding; compared byte by byte
//   State Initial() const;
//   void Expand(const State& state, Steps<State>& steps) const;
//                                          every step that anyone can take from `state`
//   bool IsEnd(const State& state) const;  a good end: nothing is owed to anybody
//   bool IsJudged(const State& state) const;
//                                          false where nobody is left alive to make progress
//   void Print(FILE* out, const State& state) const;
//
// and Explore() visits every state that is reachable, breadth first. It proves two things:
//
//   Safety.   No step carries a violation. Models attach one to the step that breaks a promise.
//   Liveness. From every judged state a good end can be reached by normal steps alone. Deaths,
//             fences, time-outs and whatever else the environment inflicts are fault steps: they
//             may happen at any time, and nobody may rely on them.
//
// A search that does not see the whole space has proved nothing; it is reported as `kOpen`, and
// callers treat it as a failure.
//
// Memory is sequentially consistent and each step makes at most one shared access, so what holds
// here holds for every interleaving of the seq_cst program, and says nothing about weaker orders.
#ifndef CFC_NATIVE_MODEL_SEARCH_H_
#define CFC_NATIVE_MODEL_SEARCH_H_

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace cfc::model {

enum class Edge : uint8_t { kNormal, kFault };

// The steps out of one state, as a model lists them.
template <typename State>
class Steps {
 public:
  struct Step {
    State next;
    const char* who;
    int index;
    const char* what;
    Edge edge;
    const char* violation;  // nullptr: the step is allowed
  };

  void Add(const State& next, const char* who, int index, const char* what,
           Edge edge = Edge::kNormal, const char* violation = nullptr) {
    steps_.push_back({next, who, index, what, edge, violation});
  }

  void Clear() { steps_.clear(); }
  auto begin() const { return steps_.begin(); }
  auto end() const { return steps_.end(); }
  auto begin() { return steps_.begin(); }
  auto end() { return steps_.end(); }

 private:
  std::vector<Step> steps_;
};

enum class Verdict : uint8_t { kHolds, kViolated, kStuck, kOpen };

struct Outcome {
  Verdict verdict = Verdict::kOpen;
  uint32_t states = 0;
  uint32_t ends = 0;
  std::string what;   // the violation, in words
  std::string trace;  // one line a step, from the initial state; only if it was asked for
};

// Every state seen so far, each once, numbered in the order of discovery.
template <typename State>
class StateSet {
 public:
  StateSet() { Rehash(size_t{1} << 16); }

  // Returns the number of `state`, which is new if it equals the former size().
  uint32_t Insert(const State& state) {
    if (size_t{count_} * 2 >= slots_.size()) Rehash(slots_.size() * 2);
    const size_t mask = slots_.size() - 1;
    size_t slot = Hash(state) & mask;
    while (slots_[slot] != kEmpty) {
      if (std::memcmp(&(*this)[slots_[slot]], &state, sizeof(State)) == 0) return slots_[slot];
      slot = (slot + 1) & mask;
    }
    if (count_ % kBlock == 0) blocks_.push_back(std::make_unique<State[]>(kBlock));
    blocks_.back()[count_ % kBlock] = state;
    slots_[slot] = count_;
    return count_++;
  }

  const State& operator[](uint32_t number) const {
    return blocks_[number / kBlock][number % kBlock];
  }
  uint32_t size() const { return count_; }

 private:
  static_assert(std::is_trivially_copyable_v<State>);
  static_assert(std::has_unique_object_representations_v<State>,
                "padding would split equal states");
  static constexpr uint32_t kEmpty = UINT32_MAX;
  static constexpr uint32_t kBlock = 1 << 14;

  static uint64_t Hash(const State& state) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(&state);
    uint64_t hash = 0x9e3779b97f4a7c15u;
    for (size_t at = 0; at < sizeof(State); at += 8) {
      uint64_t word = 0;
      std::memcpy(&word, bytes + at, std::min<size_t>(8, sizeof(State) - at));
      hash = (hash ^ word) * 0xff51afd7ed558ccdu;
      hash ^= hash >> 32;
    }
    return hash;
  }

  void Rehash(size_t slots) {
    slots_.assign(slots, kEmpty);
    for (uint32_t number = 0; number < count_; ++number) {
      size_t slot = Hash((*this)[number]) & (slots - 1);
      while (slots_[slot] != kEmpty) slot = (slot + 1) & (slots - 1);
      slots_[slot] = number;
    }
  }

  std::vector<std::unique_ptr<State[]>> blocks_;  // blocks, so that growing copies nothing
  std::vector<uint32_t> slots_;
  uint32_t count_ = 0;
};

// One search of one model. Single-threaded; memory is about sizeof(State) + 60 bytes a state.
template <typename Model>
class Explorer {
 public:
  using State = typename Model::State;

  Explorer(const Model& model, uint32_t max_states, bool want_trace)
      : model_(model), max_states_(max_states), want_trace_(want_trace) {}

  Outcome Run() {
    states_.Insert(model_.Initial());
    parents_.push_back(0);
    for (uint32_t number = 0; number < states_.size(); ++number) {
      first_edge_.push_back(targets_.size());
      if (!Visit(number)) return Finish(Verdict::kViolated);
      if (states_.size() > max_states_) return Finish(Verdict::kOpen);
    }
    first_edge_.push_back(targets_.size());
    return JudgeLiveness();
  }

 private:
  using Step = typename Steps<State>::Step;

  // Returns false at a violation, with `outcome_` filled in.
  bool Visit(uint32_t number) {
    steps_.Clear();
    model_.Expand(states_[number], steps_);
    for (const Step& step : steps_) {
      if (step.violation != nullptr) {
        outcome_.what = step.violation;
        if (want_trace_)
          outcome_.trace = TraceTo(number) + Line(step) + "VIOLATION: " + step.violation + "\n";
        return false;
      }
      const uint32_t target = states_.Insert(step.next);
      if (target == parents_.size()) parents_.push_back(number);
      if (step.edge == Edge::kNormal && target != number) targets_.push_back(target);
    }
    return true;
  }

  // Walks back from the good ends; whatever is not met cannot reach one.
  Outcome JudgeLiveness() {
    const uint32_t count = states_.size();
    std::vector<uint64_t> first(count + 1);
    for (uint32_t target : targets_) ++first[target + 1];
    for (uint32_t i = 0; i < count; ++i) first[i + 1] += first[i];
    std::vector<uint32_t> sources(targets_.size());
    {
      std::vector<uint64_t> next(first.begin(), first.end() - 1);
      for (uint32_t i = 0; i < count; ++i) {
        for (uint64_t e = first_edge_[i]; e < first_edge_[i + 1]; ++e) {
          sources[next[targets_[e]]++] = i;
        }
      }
    }
    std::vector<bool> saved(count);
    std::vector<uint32_t> queue;
    for (uint32_t i = 0; i < count; ++i) {
      if (!model_.IsEnd(states_[i])) continue;
      saved[i] = true;
      queue.push_back(i);
    }
    outcome_.ends = static_cast<uint32_t>(queue.size());
    while (!queue.empty()) {
      const uint32_t i = queue.back();
      queue.pop_back();
      for (uint64_t e = first[i]; e < first[i + 1]; ++e) {
        if (saved[sources[e]]) continue;
        saved[sources[e]] = true;
        queue.push_back(sources[e]);
      }
    }
    for (uint32_t i = 0; i < count; ++i) {
      if (saved[i] || !model_.IsJudged(states_[i])) continue;
      outcome_.what = "stuck: no good end can be reached";
      if (want_trace_)
        outcome_.trace = TraceTo(i) + "STUCK: no good end can be reached from here\n";
      return Finish(Verdict::kStuck);
    }
    return Finish(outcome_.ends == 0 ? Verdict::kStuck : Verdict::kHolds);
  }

  Outcome Finish(Verdict verdict) {
    outcome_.verdict = verdict;
    outcome_.states = states_.size();
    if (verdict == Verdict::kOpen) outcome_.what = "open: the space was not searched to its end";
    return outcome_;
  }

  static std::string Line(const Step& step) {
    char line[160];
    std::snprintf(line, sizeof line, "%s%s %d: %s\n", step.edge == Edge::kFault ? "* " : "  ",
                  step.who, step.index, step.what);
    return line;
  }

  // The step into each state is not stored: expanding its parent again finds it.
  std::string TraceTo(uint32_t number) {
    std::vector<uint32_t> path;
    for (uint32_t at = number; at != 0; at = parents_[at]) path.push_back(at);
    std::string trace;
    Steps<State> steps;
    for (auto it = path.rbegin(); it != path.rend(); ++it) {
      steps.Clear();
      model_.Expand(states_[parents_[*it]], steps);
      for (const Step& step : steps) {
        if (std::memcmp(&step.next, &states_[*it], sizeof(State)) != 0) continue;
        trace += Line(step);
        break;
      }
    }
    char* text = nullptr;
    size_t size = 0;
    FILE* memory = open_memstream(&text, &size);
    if (memory == nullptr) return trace;
    model_.Print(memory, states_[number]);
    std::fclose(memory);
    trace.append(text, size);
    std::free(text);
    return trace;
  }

  const Model& model_;
  const uint32_t max_states_;
  const bool want_trace_;
  StateSet<State> states_;
  std::vector<uint32_t> parents_;     // where each state was first met from
  std::vector<uint64_t> first_edge_;  // of each state, in targets_
  std::vector<uint32_t> targets_;     // of normal edges, grouped by source
  Steps<State> steps_;
  Outcome outcome_;
};

template <typename Model>
Outcome Explore(const Model& model, uint32_t max_states, bool want_trace) {
  return Explorer<Model>(model, max_states, want_trace).Run();
}

}  // namespace cfc::model

#endif  // CFC_NATIVE_MODEL_SEARCH_H_
