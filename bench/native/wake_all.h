// One wakes many: from the waking call until the last of `producers` sleepers is awake.
//
// Sleepers are threads, spread over a few processes: each is a participant of its own, as a process
// would be. A round begins once all have gone to sleep, and a rest after that.
//
//   class Party {
//    public:
//     explicit Party(const Settings&);      // in the parent, before it forks
//     void OpenWaker();                     // in the process that wakes
//     void Wake(uint32_t round);            // rounds count from 1
//     struct Sleeper {                      // one a thread
//       Sleeper(Party&, uint32_t index);
//       void SleepUntil(uint32_t round);
//     };
//     static constexpr const char* kName;
//     std::string Detail() const;
//   };
#pragma once

#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "harness.h"

namespace bench {

constexpr uint32_t kWakeProcesses = 8;
constexpr useconds_t kRestUs = 20'000;

template <class Party>
int WakeAll(const Settings& settings) {
  struct Rounds {
    std::atomic<uint64_t> waiting;
    std::atomic<uint64_t> awake;
    std::atomic<int64_t> last_ns;
  };
  Party party(settings);
  Rounds& rounds = *Share<Rounds>();
  const uint32_t sleepers = settings.producers;
  const auto count = static_cast<uint32_t>(settings.count);
  Processes processes;
  for (uint32_t process = 0; process < kWakeProcesses; ++process) {
    processes.Start([&, process] {
      std::vector<std::thread> threads;
      for (uint32_t i = process; i < sleepers; i += kWakeProcesses) {
        threads.emplace_back([&, i] {
          const auto sleeper = std::make_unique<typename Party::Sleeper>(party, i);
          for (uint32_t round = 1; round <= count; ++round) {
            rounds.waiting.fetch_add(1);
            sleeper->SleepUntil(round);
            const int64_t now_ns = NowNs();
            int64_t last_ns = rounds.last_ns.load();
            while (last_ns < now_ns && !rounds.last_ns.compare_exchange_weak(last_ns, now_ns)) {
            }
            rounds.awake.fetch_add(1);
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
    });
  }
  party.OpenWaker();
  std::vector<int64_t> samples;
  for (uint32_t round = 1; round <= count; ++round) {
    const uint64_t all = uint64_t{round} * sleepers;
    while (rounds.waiting.load() < all) usleep(1000);
    usleep(kRestUs);
    const int64_t began_ns = NowNs();
    party.Wake(round);
    while (rounds.awake.load() < all) usleep(200);
    samples.push_back(rounds.last_ns.load() - began_ns);
  }
  processes.Join();
  PrintRoundTrip(Party::kName, party.Detail(), settings, samples);
  return 0;
}

}  // namespace bench
