// A bare round: every process of a tree is woken by a futex of its own, and the last one below a
// parent to answer wakes that parent. No message, no name, no lease: the least that asking
// everybody once can cost here.
//
//   bench_round WORKERS COORDINATORS ROUNDS     (no coordinators: flat)
#include <cfc/futex.h>

#include <cstdlib>
#include <vector>

#include "harness.h"

namespace bench {
namespace {

constexpr uint32_t kWarmUpRounds = 2;
constexpr int64_t kLongWaitNs = 1'000'000'000;

// Of one process: raised by its parent, and by those below it.
struct alignas(128) Place {
  std::atomic<uint32_t> asked;
  alignas(128) std::atomic<uint32_t> answers;  // so far, of all rounds
  std::atomic<uint32_t> complete;              // rounds that all below have answered
};

void Raise(std::atomic<uint32_t>* word) {
  word->fetch_add(1);
  cfc::FutexWake(word);
}

void Await(std::atomic<uint32_t>* word, uint32_t round) {
  for (uint32_t seen = word->load(); seen < round; seen = word->load()) {
    cfc::FutexWait(word, seen, kLongWaitNs);
  }
}

// place: of whom it is below, who has `below` of them.
void Answer(Place* parent, uint32_t below, uint32_t round) {
  if (parent->answers.fetch_add(1) + 1 == below * round) Raise(&parent->complete);
}

// Asks `below` processes from `first` on, and waits for all of them.
void Ask(Place* places, uint32_t self, uint32_t first, uint32_t below, uint32_t round) {
  for (uint32_t i = first; i < first + below; ++i) Raise(&places[i].asked);
  Await(&places[self].complete, round);
}

int Main(int argc, char** argv) {
  if (argc != 4) Die("usage: bench_round WORKERS COORDINATORS ROUNDS");
  const auto workers = static_cast<uint32_t>(std::atoi(argv[1]));
  const auto coordinators = static_cast<uint32_t>(std::atoi(argv[2]));
  const auto rounds = static_cast<uint32_t>(std::atoi(argv[3])) + kWarmUpRounds;
  // The master, its coordinators, then the workers team by team.
  auto* const places =
      static_cast<Place*>(ShareBytes(sizeof(Place) * (1 + coordinators + workers)));
  Processes processes;
  const auto start_worker = [&](uint32_t self, uint32_t parent, uint32_t below) {
    processes.Start([=] {
      for (uint32_t round = 1; round <= rounds; ++round) {
        Await(&places[self].asked, round);
        Answer(&places[parent], below, round);
      }
    });
  };
  uint32_t next = 1 + coordinators;
  for (uint32_t team = 0; team < coordinators; ++team) {
    const uint32_t first = next;
    const uint32_t size = workers / coordinators + (team < workers % coordinators ? 1 : 0);
    for (uint32_t i = 0; i < size; ++i) start_worker(next++, 1 + team, size);
    processes.Start([=] {
      for (uint32_t round = 1; round <= rounds; ++round) {
        Await(&places[1 + team].asked, round);
        Ask(places, 1 + team, first, size, round);
        Answer(&places[0], coordinators, round);
      }
    });
  }
  for (uint32_t i = 0; coordinators == 0 && i < workers; ++i) start_worker(next++, 0, workers);
  std::vector<int64_t> samples;
  for (uint32_t round = 1; round <= rounds; ++round) {
    const int64_t began_ns = NowNs();
    Ask(places, 0, 1, coordinators > 0 ? coordinators : workers, round);
    if (round > kWarmUpRounds) samples.push_back(NowNs() - began_ns);
  }
  processes.Join();
  Settings settings;
  settings.count = samples.size();
  PrintRoundTrip("round", "no payload, a parent is woken once", settings, samples);
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::Main(argc, argv); }
