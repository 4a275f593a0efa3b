// The headers of the core under the explorer: every interleaving of small programs, with deaths,
// with memory sequentially consistent and weak. README.md says what is covered.
//
//   core_sched                     all programs; 0 only if all hold
//   core_sched --list              their names
//   core_sched [--trace] NAME…     these only; --trace prints how one goes wrong
//   core_sched --caught NAME…      0 only if at least one of these goes wrong (a build with a
//   fault)
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bell_programs.h"
#include "cell_programs.h"
#include "lane_programs.h"

namespace cfc::sched {
namespace {

struct Entry {
  const char* name;
  bool weak;
  std::function<std::unique_ptr<Program>()> make;
};

template <class P, class... Arguments>
std::function<std::unique_ptr<Program>()> Make(Arguments... arguments) {
  return [=] { return std::make_unique<P>(arguments...); };
}

const std::vector<Entry>& Programs() {
  static const std::vector<Entry> programs = {
      {"exchange", false, Make<Exchange>(2u, 1u, 2u, 2u)},
      {"exchange-weak", true, Make<Exchange>(1u, 1u, 2u, 2u)},
      {"exchange-in-four", false, Make<Exchange>(1u, 2u, 1u, 4u)},
      {"in-order", false, Make<Exchange>(3u, 0u, 3u, 2u)},
      {"in-order-weak", true, Make<Exchange>(3u, 0u, 3u, 2u)},
      {"sender-dies", false, Make<SenderDies>(2u, false)},
      {"sender-dies-weak", true, Make<SenderDies>(1u, false)},
      {"one-of-two-dies", false, Make<SenderDies>(1u, true)},
      {"reader-dies", false, Make<ReaderDies>(2u)},
      {"reader-dies-weak", true, Make<ReaderDies>(1u)},
      {"fenced", false, Make<Fenced>()},
      {"fenced-weak", true, Make<Fenced>()},
      {"stalled", false, Make<Stalled>(true)},
      {"stalled-weak", true, Make<Stalled>(false)},
      {"closes", false, Make<Closes>(false, 2u)},
      {"closes-weak", true, Make<Closes>(false, 1u)},
      {"reopens", false, Make<Closes>(true, 1u)},
      {"reopens-weak", true, Make<Closes>(true, 1u)},
      {"drops-oldest", false, Make<DropsOldest>(1u, true)},
      {"two-drop-oldest", false, Make<DropsOldest>(2u, false)},
      {"drops-oldest-weak", true, Make<DropsOldest>(1u, true)},
      {"gives-back", false, Make<GivesBack>(0u, true)},
      {"gives-back-weak", true, Make<GivesBack>(0u, false)},
      {"gives-back-later", false, Make<GivesBack>(50u, true)},
      {"hands-over", false, Make<HandsOver>()},
      {"hands-over-weak", true, Make<HandsOver>()},
      {"receipts", false, Make<Receipts>()},
      {"receipts-weak", true, Make<Receipts>()},
      {"counts", false, Make<Counts>(true)},
      {"counts-weak", true, Make<Counts>(false)},
      {"chunks", false, Make<Chunks>()},
      {"chunks-weak", true, Make<Chunks>()},
      {"rings", false, Make<Rings>(2u, false)},
      {"rings-weak", true, Make<Rings>(1u, false)},
      {"ringer-dies", false, Make<Rings>(1u, true)},
      {"ringer-dies-weak", true, Make<Rings>(1u, true)},
      {"waits-for-room", false, Make<WaitsForRoom>(1u, 2u, false)},
      {"two-wait-for-room", false, Make<WaitsForRoom>(2u, 1u, false)},
      {"shares-room", false, Make<SharesRoom>()},
      {"waits-for-room-weak", true, Make<WaitsForRoom>(1u, 1u, false)},
      {"room-maker-dies", false, Make<WaitsForRoom>(1u, 1u, true)},
      {"room-maker-dies-weak", true, Make<WaitsForRoom>(1u, 1u, true)},
  };
  return programs;
}

// True if it holds.
bool RunOne(const Entry& entry, bool trace) {
  const auto began = std::chrono::steady_clock::now();
  const std::unique_ptr<Program> program = entry.make();
  const Explorer::Report report = Explorer::It().Explore(program.get(), entry.weak);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::printf("%-22s %9llu states %9llu runs %8llu deaths %6.1f s  %s\n", entry.name,
              static_cast<unsigned long long>(report.states),
              static_cast<unsigned long long>(report.runs),
              static_cast<unsigned long long>(report.deaths), took.count(),
              report.violation.empty() ? "holds" : report.violation.c_str());
  if (trace && !report.violation.empty()) std::fputs(report.trace.c_str(), stdout);
  std::fflush(stdout);
  return report.violation.empty();
}

int Main(int count, char** arguments) {
  bool trace = false;
  bool caught = false;
  std::vector<std::string> names;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--list") {
      for (const Entry& entry : Programs()) std::puts(entry.name);
      return 0;
    }
    if (argument == "--trace") {
      trace = true;
    } else if (argument == "--caught") {
      caught = true;
    } else {
      names.push_back(argument);
    }
  }
  uint32_t ran = 0;
  uint32_t bad = 0;
  for (const Entry& entry : Programs()) {
    bool wanted = names.empty();
    for (const std::string& name : names) wanted = wanted || name == entry.name;
    if (!wanted || (caught && bad > 0)) continue;
    ++ran;
    if (!RunOne(entry, trace)) ++bad;
  }
  if (ran == 0 || (!caught && !names.empty() && ran != names.size())) {
    std::fputs("core_sched: no such program; see --list\n", stderr);
    return 2;
  }
  if (caught) {
    std::puts(bad > 0 ? "caught" : "NOT CAUGHT");
    return bad > 0 ? 0 : 1;
  }
  std::printf("injected %u programs / hit %u / violations %u\n", ran, ran, bad);
  return bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cfc::sched

int main(int count, char** arguments) { return cfc::sched::Main(count, arguments); }
