// Publishers and subscribers that die, or stop, while others wait for them. crash_test.cc has the
// deaths at every point, and what must be left of them.
#include <doctest/doctest.h>

#include "core/failpoint.h"

#ifdef CFC_FAIL_POINTS

#include <array>
#include <atomic>
#include <memory>
#include <string>

#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::kMs;
using test::Member;
using test::Shared;
using test::TestFabric;
using test::Watchdog;

constexpr SubscribeOptions kPatient = {.patience_ms = 60'000};

#define STEP(condition) \
  if (!(condition)) return __LINE__ % 200 + 1

// What children tell their parent.
struct Said {
  std::atomic<uint32_t> ready{0};
  std::atomic<uint64_t> published{0};
};

bool Parked(Fabric& fabric, std::string_view name) {
  AgentRecord record;
  if (AgentDirectory(&fabric).Find(name, &record) != Status::kOk) return false;
  return Doorbell::Sleeps(fabric.SlotAt(HolderSlot(record.holder))->doorbell.load());
}

void WaitParked(Fabric& fabric, std::string_view name) {
  while (!Parked(fabric, name)) test::SleepMs(1);
  test::SleepMs(5);  // it looks once more, and sleeps
}

void Arm(const std::string& point, const char* how = "") {
  TheFailPlan().Set((point + ":1" + how).c_str());
}

TEST_CASE("Topic crash: a publisher that dies around its rings leaves no subscriber asleep") {
  for (const char* point : {"commit.after", "ring.epoch", "ring.wake", "topic.rung"}) {
    CAPTURE(point);
    Watchdog watchdog;
    TestFabric fabric;
    Member me(fabric.get(), "me");
    const auto read = [&](const char* name) -> int {
      Member reader;
      Subscription events;
      STEP(reader.participant.Register(fabric.get(), nullptr) == Status::kOk);
      STEP(reader.agent.Join(&reader.participant, {.name = name}, nullptr) == Status::kOk);
      STEP(events.Open(&reader.agent, "news", kPatient, nullptr) == Status::kOk);
      TopicEvent event;
      std::string body;
      STEP(events.Receive(&event, &body, Deadline::After(30'000 * kMs)) == Status::kOk);
      STEP(body == "wake up");
      return 0;
    };
    Child first([&] { return read("first"); });
    Child second([&] { return read("second"); });
    WaitParked(*fabric, "first");
    WaitParked(*fabric, "second");
    const int64_t parked = MonotonicNs();
    Child publisher([&]() -> int {
      Member brief;
      STEP(brief.participant.Register(fabric.get(), nullptr) == Status::kOk);
      STEP(brief.agent.Join(&brief.participant, {.name = "brief"}, nullptr) == Status::kOk);
      Arm(point);
      STEP(brief.agent.Publish("news", {.body = "wake up"}, Deadline::After(0)) == Status::kOk);
      return 0;
    });
    CHECK(publisher.ExitCode() == 256);
    Sweep(*fabric, me.participant.owner());
    CHECK(first.ExitCode() == 0);
    CHECK(second.ExitCode() == 0);
    CHECK(MonotonicNs() - parked < kBackstopNs - 500 * kMs);  // rung, not found at a backstop
  }
}

// Reads five messages, gaps included, and leaves.
int ReadFive(Fabric& fabric, Said& said, const std::string& point, const char* how) {
  Member slow;
  Subscription events;
  STEP(slow.participant.Register(&fabric, nullptr) == Status::kOk);
  STEP(slow.agent.Join(&slow.participant, {.name = "slow"}, nullptr) == Status::kOk);
  const bool joins = point.find(".join") != std::string::npos;
  if (joins) Arm(point, how);
  STEP(events.Open(&slow.agent, "news", {.patience_ms = 100}, nullptr) == Status::kOk);
  if (!joins) Arm(point, how);
  said.ready.store(1);
  TopicEvent event;
  std::string body;
  for (uint64_t told = 0; told < 5;) {
    STEP(events.Receive(&event, &body, Deadline::After(30'000 * kMs)) == Status::kOk);
    told += event.gap ? event.count : 1;
  }
  events.Close();
  slow.agent.Leave();
  slow.participant.Unregister();
  return 0;
}

TEST_CASE("Topic crash: a subscriber that dies or stalls keeps no publisher waiting") {
  for (const std::string point :
       {"topic.joining", "topic.joined", "topic.copied", "topic.cursor", "topic.left"}) {
    for (const char* how : {"", ":stop"}) {
      CAPTURE(point);
      CAPTURE(how);
      Watchdog watchdog;
      TestFabric fabric;
      Shared<Said> said;
      Member me(fabric.get(), "me");
      const auto publish = [&](int64_t timeout_ms) {
        return me.agent.Publish("news", {.body = "x"}, Deadline::After(timeout_ms * kMs));
      };
      Child reader([&] { return ReadFive(*fabric, *said, point, how); });
      siginfo_t info = {};
      const auto look = [&] {
        if (info.si_pid != 0) return true;
        waitid(P_PID, static_cast<id_t>(reader.pid()), &info,
               WSTOPPED | WEXITED | WNOHANG | WNOWAIT);
        return info.si_pid != 0;
      };
      while (said->ready.load() == 0 && !look()) test::SleepMs(1);
      while (!look()) CHECK(publish(20'000) == Status::kOk);
      CHECK(info.si_code == (how[0] == 0 ? CLD_KILLED : CLD_STOPPED));
      for (int i = 0; i < 40; ++i) CHECK(publish(20'000) == Status::kOk);
      reader.Signal(SIGCONT);
      info = {};
      const auto over = [&] {
        waitid(P_PID, static_cast<id_t>(reader.pid()), &info, WEXITED | WNOHANG | WNOWAIT);
        return info.si_pid != 0;
      };
      // One that stopped as it joined begins at the tail: there has to be something behind it.
      while (!over()) (void)publish(1);
      CHECK(reader.ExitCode() == (how[0] == 0 ? 256 : 0));
      Sweep(*fabric, me.participant.owner());
      CHECK(test::CensusOf(*fabric).topic_rows == 0);
    }
  }
}

TEST_CASE("Topic crash: a publisher stopped at any point delays only itself, and loses nothing") {
  for (const char* point :
       {"claim.cell", "claim.tail", "topic.header", "topic.payload", "slab.loaned", "slab.place",
        "slab.placed", "commit.before", "commit.after", "topic.rung", "topic.gate",
        "topic.resolved", "topic.retired", "topic.counted", "topic.chunks", "topic.free",
        "topic.head"}) {
    CAPTURE(point);
    Watchdog watchdog;
    TestFabric fabric;
    Shared<Said> said;
    Member me(fabric.get(), "me");
    Subscription events;
    TopicEvent event;
    std::string body;
    for (int i = 0; i < 20; ++i) {
      REQUIRE(me.agent.Publish("news", {.body = "before"}, Deadline::After(0)) == Status::kOk);
    }
    REQUIRE(events.Open(&me.agent, "news", kPatient, nullptr) == Status::kOk);
    Doorbell(&fabric->SlotAt(me.participant.slot_index())->doorbell).Park(false);
    events.topic().sleepers().Announce(events.row());
    const std::string large = test::PatternBody(1, 3000);
    Child publisher([&]() -> int {
      Member slow;
      STEP(slow.participant.Register(fabric.get(), nullptr) == Status::kOk);
      STEP(slow.agent.Join(&slow.participant, {.name = "slow"}, nullptr) == Status::kOk);
      Arm(point, ":stop");
      for (uint64_t i = 1; i <= 40; ++i) {
        STEP(slow.agent.Publish("news", {.body = large}, Deadline::After(20'000 * kMs)) ==
             Status::kOk);
        said->published.store(i);
      }
      return 0;
    });
    std::array<uint64_t, 2> last = {};
    const auto drain = [&](int64_t wait_ms) {
      while (events.Receive(&event, &body, Deadline::After(wait_ms * kMs)) == Status::kOk) {
        CHECK_FALSE(event.gap);
        const size_t who = event.message.From() == "slow" ? 1 : 0;
        CHECK(event.message.sequence == last[who] + (last[who] == 0 && who == 0 ? 21 : 1));
        if (who == 1) CHECK((body == large));
        last[who] = event.message.sequence;
        wait_ms = 0;
      }
    };
    // Some points are passed only once the log has gone around: read until it stops, or is through.
    siginfo_t info = {};
    while (info.si_pid == 0) {
      waitid(P_PID, static_cast<id_t>(publisher.pid()), &info,
             WSTOPPED | WEXITED | WNOHANG | WNOWAIT);
      drain(1);
    }
    for (int i = 0; i < 60; ++i) {
      REQUIRE(me.agent.Publish("news", {.body = "on"}, Deadline::After(20'000 * kMs)) ==
              Status::kOk);
      drain(1000);
    }
    drain(1000);
    CHECK(last[0] == 80);
    CHECK(info.si_code == CLD_STOPPED);
    publisher.Signal(SIGCONT);
    while (last[1] < 40) drain(1000);
    CHECK(publisher.ExitCode() == 0);
    CHECK(said->published.load() == 40);
    CHECK(events.lost() == 0);
    events.Close();
    TopicRoute* route = nullptr;
    REQUIRE(me.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
    Sweep(*fabric, me.participant.owner());
    MakeTopicRoom(*fabric, route->view, me.participant.owner(), 16, 0);
    const test::Census census = test::CensusOf(*fabric);
    CHECK(census.topic_cells_claimed == 0);
    CHECK(census.topic_cells_ready == 0);
    CHECK(census.chunks_loaned == 0);
    CHECK(census.chunks_placed == 0);
  }
}

}  // namespace
}  // namespace cfc

#endif  // CFC_FAIL_POINTS
