// Command line shared by the checkers: runs configurations, which must hold, and known-bad
// variants, which must be caught, and says so in one line each.
//
//   mailbox_model                       everything; exit 0 only if all is as it must be
//   mailbox_model --list                names of configurations and variants
//   mailbox_model --config NAME         one configuration
//   mailbox_model --variant NAME        one variant
//   mailbox_model --controls            the bounds of each variant with no rule broken: all hold,
//                                       so that a variant is caught for what it breaks
//   ... --trace                         print the counterexample, if there is one
#ifndef CFC_NATIVE_MODEL_DRIVER_H_
#define CFC_NATIVE_MODEL_DRIVER_H_

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "search.h"

namespace cfc::model {

// Bounds under which the rules must hold.
template <typename Options>
struct Configuration {
  const char* name;
  Options options;
};

// One rule broken on purpose, in bounds small enough to catch it quickly.
template <typename Options>
struct Variant {
  const char* name;
  const char* lesson;  // one line: why the rule is there
  Options options;
};

inline constexpr uint32_t kMaxStates = 12'000'000;

template <typename Model, typename Options>
class Driver {
 public:
  Driver(const char* title, std::vector<Configuration<Options>> configurations,
         std::vector<Variant<Options>> variants)
      : title_(title), configurations_(std::move(configurations)), variants_(std::move(variants)) {}

  int Main(int argc, char** argv) {
    const char* config = nullptr;
    const char* variant = nullptr;
    bool controls = false;
    for (int i = 1; i < argc; ++i) {
      if (std::strcmp(argv[i], "--trace") == 0) {
        trace_ = true;
      } else if (std::strcmp(argv[i], "--list") == 0) {
        return List();
      } else if (std::strcmp(argv[i], "--controls") == 0) {
        controls = true;
      } else if (std::strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
        config = argv[++i];
      } else if (std::strcmp(argv[i], "--variant") == 0 && i + 1 < argc) {
        variant = argv[++i];
      } else {
        std::fprintf(stderr,
                     "usage: %s [--list] [--config NAME] [--variant NAME] [--controls] [--trace]\n",
                     argv[0]);
        return 2;
      }
    }
    const bool all = config == nullptr && variant == nullptr && !controls;
    for (const auto& each : variants_) {
      if (!controls) break;
      Configuration<Options> control{each.name, each.options};
      control.options.flaw = {};
      Run(control);
    }
    for (const auto& each : configurations_) {
      if (all || (config != nullptr && std::strcmp(config, each.name) == 0)) Run(each);
    }
    for (const auto& each : variants_) {
      if (all || (variant != nullptr && std::strcmp(variant, each.name) == 0)) Run(each);
    }
    if (run_ == 0) {
      std::fprintf(stderr, "no such name; try --list\n");
      return 2;
    }
    std::printf("%s: %d configuration%s hold%s, %d variant%s caught%s\n", title_, held_,
                held_ == 1 ? "" : "s", held_ == 1 ? "s" : "", caught_, caught_ == 1 ? "" : "s",
                failed_ == 0 ? "" : "; FAILED");
    return failed_ == 0 ? 0 : 1;
  }

 private:
  int List() const {
    for (const auto& each : configurations_) std::printf("config   %s\n", each.name);
    for (const auto& each : variants_) std::printf("variant  %s: %s\n", each.name, each.lesson);
    return 0;
  }

  void Run(const Configuration<Options>& each) {
    const Outcome outcome = Explore(Model(each.options), kMaxStates, trace_);
    const bool holds = outcome.verdict == Verdict::kHolds;
    std::printf("%s: %u states, %u ends, %s%s\n", each.name, outcome.states, outcome.ends,
                holds ? "holds" : "FAILS: ", holds ? "" : outcome.what.c_str());
    Record(outcome, holds, &held_);
  }

  void Run(const Variant<Options>& each) {
    const Outcome outcome = Explore(Model(each.options), kMaxStates, trace_);
    const bool caught = outcome.verdict == Verdict::kViolated || outcome.verdict == Verdict::kStuck;
    std::printf("variant %s: %s%s after %u states\n", each.name,
                caught ? "caught: " : "NOT CAUGHT ", outcome.what.c_str(), outcome.states);
    Record(outcome, caught, &caught_);
  }

  void Record(const Outcome& outcome, bool as_expected, int* count) {
    ++run_;
    if (as_expected) {
      ++*count;
    } else {
      ++failed_;
    }
    if (trace_) std::fputs(outcome.trace.c_str(), stdout);
    std::fflush(stdout);
  }

  const char* title_;
  std::vector<Configuration<Options>> configurations_;
  std::vector<Variant<Options>> variants_;
  bool trace_ = false;
  int run_ = 0;
  int held_ = 0;
  int caught_ = 0;
  int failed_ = 0;
};

}  // namespace cfc::model

#endif  // CFC_NATIVE_MODEL_DRIVER_H_
