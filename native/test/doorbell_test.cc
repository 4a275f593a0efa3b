#include "core/doorbell.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/futex.h"
#include "support.h"

namespace cfc {
namespace {

using test::Watchdog;
using Half = NativeMemory::Half;

const auto kNoWake = [](bool) {};

TEST_CASE("Doorbell.Ring: costs nothing while nobody is parked") {
  Half word{0};
  Doorbell bell(&word);
  int wakes = 0;
  bell.Ring([&](bool) { ++wakes; });
  CHECK(wakes == 0);
  CHECK(word.load() == 0);
}

TEST_CASE("Doorbell.Ring: wakes a parked sleeper once, and says which way") {
  for (const bool in_loop : {false, true}) {
    Half word{0};
    Doorbell bell(&word);
    bell.Park(in_loop);
    int wakes = 0;
    for (int i = 0; i < 3; ++i) {
      bell.Ring([&](bool loop) {
        ++wakes;
        CHECK(loop == in_loop);
      });
    }
    CHECK(wakes == 1);
  }
}

TEST_CASE("Doorbell.Ring: says RUNG only after the wake, so a ringer may die in between") {
  Half word{0};
  Doorbell bell(&word);
  const uint32_t ticket = bell.Park(false);
  bell.Ring([&](bool) {
    CHECK((word.load() & kRung) == 0);
    CHECK(word.load() != ticket);  // who is about to sleep doesn't
    CHECK((word.load() & kParked) != 0);
  });
  CHECK((word.load() & kRung) != 0);

  // One that died before its wake leaves a word that rings again.
  bell.Park(false);
  word.fetch_add(kEpochStep);
  int wakes = 0;
  bell.Ring([&](bool) { ++wakes; });
  CHECK(wakes == 1);
}

TEST_CASE("Doorbell.Park: is a new value each time, and Unpark leaves nothing set") {
  Half word{0};
  Doorbell bell(&word);
  const uint32_t first = bell.Park(false);
  bell.Ring(kNoWake);
  const uint32_t second = bell.Park(true);
  CHECK(first != second);
  CHECK((second & kRung) == 0);
  CHECK(bell.IsParked());
  bell.Unpark();
  CHECK_FALSE(bell.IsParked());
  CHECK((word.load() & (kEpochStep - 1)) == 0);
}

TEST_CASE("Doorbell: epochs wrap") {
  Half word{~uint32_t{0} & ~(kEpochStep - 1)};
  Doorbell bell(&word);
  const uint32_t ticket = bell.Park(false);
  CHECK(ticket == kParked);
  int wakes = 0;
  bell.Ring([&](bool) { ++wakes; });
  CHECK(wakes == 1);
}

TEST_CASE("Doorbell: no wake is lost between threads that sleep without a time limit") {
  const Watchdog watchdog;
  Half word{0};
  std::atomic<uint64_t> published{0};
  constexpr uint32_t kRingers = 3;
  const uint64_t each = test::kSanitized ? 3000 : 20'000;
  std::vector<std::thread> ringers;
  for (uint32_t i = 0; i < kRingers; ++i) {
    ringers.emplace_back([&] {
      Doorbell bell(&word);
      for (uint64_t n = 0; n < each; ++n) {
        published.fetch_add(1);
        bell.Ring([&](bool) { FutexWake(&word); });
        if (n % 64 == 0) std::this_thread::yield();
      }
    });
  }
  Doorbell bell(&word);
  uint64_t seen = 0;
  while (seen < kRingers * each) {
    const uint32_t ticket = bell.Park(false);
    const uint64_t now = published.load();
    if (now == seen) {
      // Ten seconds stand for ever: a lost wake shows as a sleep that long.
      const int64_t began = MonotonicNs();
      FutexWait(&word, ticket, 10'000'000'000);
      if (MonotonicNs() - began > 9'000'000'000) FAIL("slept through a ring");
    }
    bell.Unpark();
    seen = published.load();
  }
  for (std::thread& ringer : ringers) ringer.join();
  CHECK(seen == kRingers * each);
}

}  // namespace
}  // namespace cfc
