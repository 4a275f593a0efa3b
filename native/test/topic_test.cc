// Topics: what is published reaches every subscriber in one order, or as an exact gap.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/topic_log.h"
#include "core/topic_rows.h"
#include "core/topic_tail.h"
#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::kMs;
using test::Member;
using test::PatternBody;
using test::SmallOptions;
using test::TestFabric;
using test::Watchdog;

constexpr SubscribeOptions kReliable = {.policy = TopicPolicy::kReliable, .patience_ms = 60'000};
constexpr SubscribeOptions kLossy = {.policy = TopicPolicy::kLossy};

Status PublishOne(Agent& agent, std::string_view body, std::string_view topic = "news") {
  TopicRoute* route = nullptr;
  const Status status = agent.OpenTopic(topic, &route, nullptr);
  return status == Status::kOk ? agent.TryPublish(route, {.body = body}, nullptr) : status;
}

// Everything that is there, and what was told as lost.
struct Heard {
  std::vector<std::string> bodies;
  std::vector<TopicEvent> gaps;
  uint64_t lost = 0;
};
Heard Drain(Subscription& subscription) {
  Heard heard;
  TopicEvent event;
  std::string body;
  while (subscription.TryReceive(&event, &body) == Status::kOk) {
    if (event.gap) {
      heard.gaps.push_back(event);
      heard.lost += event.count;
    } else {
      heard.bodies.push_back(body);
    }
  }
  return heard;
}

TEST_CASE("Topic: every subscriber gets what was published since it came, in order and whole") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Member bob(fabric.get(), "bob");
  CHECK(PublishOne(alice.agent, "before") == Status::kOk);
  Subscription first;
  Subscription second;
  REQUIRE(first.Open(&bob.agent, "news", kReliable, nullptr) == Status::kOk);
  REQUIRE(second.Open(&bob.agent, "news", kLossy, nullptr) == Status::kOk);
  for (int i = 0; i < 10; ++i) {
    CHECK(PublishOne(alice.agent, std::to_string(i)) == Status::kOk);
  }
  for (Subscription* subscription : {&first, &second}) {
    const Heard heard = Drain(*subscription);
    REQUIRE(heard.bodies.size() == 10);
    for (int i = 0; i < 10; ++i) CHECK(heard.bodies[i] == std::to_string(i));
    CHECK(heard.gaps.empty());
  }
}

TEST_CASE("Topic: a message says who published it, as what, and which of its messages it is") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Subscription subscription;
  REQUIRE(subscription.Open(&alice.agent, "news", kReliable, nullptr) == Status::kOk);
  TopicRoute* route = nullptr;
  REQUIRE(alice.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
  MessageId id;
  for (uint64_t i = 1; i <= 3; ++i) {
    const Outgoing message = {.body = "{}", .type = "event", .kind = BodyKind::kJson};
    REQUIRE(alice.agent.TryPublish(route, message, &id) == Status::kOk);
    TopicEvent event;
    std::string body;
    REQUIRE(subscription.TryReceive(&event, &body) == Status::kOk);
    CHECK(event.message.From() == "alice");
    CHECK(event.message.Type() == "event");
    CHECK(event.message.kind == BodyKind::kJson);
    CHECK(event.message.sequence == i);
    CHECK(event.message.id.uid == alice.participant.uid());
    CHECK(event.message.id.number == id.number);
    CHECK(body == "{}");
  }
}

TEST_CASE("Topic: names are found by everybody, made once, and refused when there are too many") {
  TestFabric fabric;
  std::unique_ptr<Fabric> again;
  REQUIRE(Fabric::Open("test", fabric.base(), &again, nullptr) == Status::kOk);
  Member alice(fabric.get(), "alice");
  Member bob(again.get(), "bob");
  Subscription subscription;
  REQUIRE(subscription.Open(&bob.agent, "a.b-c_1", kReliable, nullptr) == Status::kOk);
  CHECK(PublishOne(alice.agent, "x", "a.b-c_1") == Status::kOk);
  CHECK(Drain(subscription).bodies.size() == 1);
  for (const char* name : {"", ".a", "-a", "a/b", "a b"}) {
    CAPTURE(name);
    CHECK(PublishOne(alice.agent, "x", name) == Status::kInvalid);
  }
  CHECK(PublishOne(alice.agent, "x", std::string(65, 'a')) == Status::kInvalid);
  for (int i = 1; i < 8; ++i) {
    CHECK(PublishOne(alice.agent, "x", "topic" + std::to_string(i)) == Status::kOk);
  }
  CHECK(PublishOne(alice.agent, "x", "one.too.many") == Status::kTopicsFull);
  CHECK(PublishOne(bob.agent, "x", "topic7") == Status::kOk);
}

TEST_CASE("Topic: many who make the same topics at once make each of them once") {
  TestFabric fabric;
  std::atomic<uint32_t> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      std::unique_ptr<Fabric> own;
      TopicView view;
      if (Fabric::Open("test", fabric.base(), &own, nullptr) != Status::kOk) ++failed;
      for (int i = 0; i < 8 && own; ++i) {
        if (own->topics().FindOrMake("t" + std::to_string(i), &view, nullptr) != Status::kOk) {
          ++failed;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(failed.load() == 0);
  fabric->topics().ForEach([](const TopicView&) {});
  CHECK(fabric->topics().count() == 8);
}

TEST_CASE("Topic: a full one refuses while a reliable subscriber has not read, and goes on then") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Subscription subscription;
  REQUIRE(subscription.Open(&alice.agent, "news", kReliable, nullptr) == Status::kOk);
  uint32_t published = 0;
  while (PublishOne(alice.agent, std::to_string(published)) == Status::kOk) ++published;
  CHECK(published == 16);
  TopicEvent event;
  std::string body;
  for (uint32_t i = 0; i < 100; ++i) {
    REQUIRE(subscription.TryReceive(&event, &body) == Status::kOk);
    CHECK(body == std::to_string(i));
    REQUIRE(PublishOne(alice.agent, std::to_string(published++)) == Status::kOk);
  }
  CHECK(PublishOne(alice.agent, "") == Status::kFull);
}

// Where logs begin: at their first position, and where a lap of sixteen cells wraps.
constexpr uint64_t kStarts[] = {0, (uint64_t{1} << 36) - 100, (uint64_t{1} << 35) - 21};

TEST_CASE("Topic: a lossy subscriber is told exactly how many it lost, aborted ones not counted") {
  for (const uint64_t start : kStarts) {
    CAPTURE(start);
    TestFabric fabric;
    Member alice(fabric.get(), "alice");
    TopicRoute* route = nullptr;
    REQUIRE(alice.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
    route->view.log.Initialize(start);
    route->view.words->gate.store(start);
    uint64_t published = 0;
    uint32_t aborted = 0;
    const auto claim = [&](uint64_t* position) {
      while (route->view.log.TryClaim(alice.participant.owner(), AlwaysValid(), position) !=
             Status::kOk) {
        MakeTopicRoom(*fabric, route->view, alice.participant.owner(), 1, 0);
      }
    };
    const auto publish = [&](int count) {
      for (int i = 0; i < count; ++i) {
        REQUIRE(PublishOne(alice.agent, "m") == Status::kOk);
        ++published;
        if (i % 5 != 3) continue;
        uint64_t position = 0;  // a claim that comes to nothing, now and then
        claim(&position);
        route->view.log.Abort(alice.participant.owner(), position);
        ++aborted;
      }
    };
    publish(23);
    // One that is under way when the subscriber comes, and is given back only later.
    uint64_t pending = 0;
    claim(&pending);
    Subscription subscription;
    REQUIRE(subscription.Open(&alice.agent, "news", kLossy, nullptr) == Status::kOk);
    published = 0;
    publish(5);
    route->view.log.Abort(alice.participant.owner(), pending);
    uint64_t told = 0;
    for (const int burst : {100, 3, 17, 16, 40, 1, 250}) {
      publish(burst);
      const Heard heard = Drain(subscription);
      told += heard.bodies.size() + heard.lost;
      CHECK(told == published);
      for (const TopicEvent& gap : heard.gaps) CHECK(gap.to - gap.from >= gap.count);
    }
    CHECK(aborted > 20);
    CHECK(subscription.delivered() + subscription.lost() == published);
  }
}

TEST_CASE("Topic: a laggard is set aside when its time is up, and told the exact gap") {
  for (const uint64_t start : kStarts) {
    CAPTURE(start);
    TestFabric fabric;
    Member alice(fabric.get(), "alice");
    Member bob(fabric.get(), "bob");
    TopicRoute* route = nullptr;
    REQUIRE(alice.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
    route->view.log.Initialize(start);
    route->view.words->gate.store(start);
    Subscription slow;
    Subscription quick;
    REQUIRE(slow.Open(&bob.agent, "news", {.patience_ms = 20}, nullptr) == Status::kOk);
    REQUIRE(quick.Open(&bob.agent, "news", kReliable, nullptr) == Status::kOk);
    uint64_t published = 0;
    const auto publish = [&](int count) {
      for (int i = 0; i < count; ++i) {
        REQUIRE(alice.agent.Publish("news", {.body = std::to_string(published)},
                                    Deadline::After(10'000 * kMs)) == Status::kOk);
        ++published;
        TopicEvent event;
        std::string body;
        REQUIRE(quick.TryReceive(&event, &body) == Status::kOk);
        CHECK_FALSE(event.gap);
        CHECK(body == std::to_string(published - 1));
      }
    };
    uint64_t expected = 0;
    for (const int burst : {16, 30, 5, 40}) {
      const int64_t began = MonotonicNs();
      publish(burst);
      if (burst >= 30) CHECK(MonotonicNs() - began >= 19 * kMs);  // it had its time
      TopicEvent event;
      std::string body;
      while (slow.TryReceive(&event, &body) == Status::kOk) {
        if (event.gap) {
          expected += event.count;
          CHECK(event.to - event.from == event.count);
        } else {
          CHECK(body == std::to_string(expected));
          ++expected;
        }
      }
      CHECK(expected == published);
    }
    CHECK(slow.lagged() == 2);
    CHECK(slow.delivered() + slow.lost() == published);
    CHECK(quick.lagged() == 0);
  }
}

// Two publishers had looked: one at the clock, and was stopped before it noted what it saw; one at
// the rows, and was stopped before it judged. The first took the time that the other had noted
// since for a past of 49 days, the second a reader that had read on meanwhile for a laggard.
TEST_CASE("Topic: what a publisher that was stopped saw long ago sets nobody aside") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Member bob(fabric.get(), "bob");
  Subscription subscription;
  REQUIRE(subscription.Open(&bob.agent, "news", {.patience_ms = 100}, nullptr) == Status::kOk);
  TopicRoute* route = nullptr;
  REQUIRE(alice.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
  for (int i = 0; i < 16; ++i) REQUIRE(PublishOne(alice.agent, "x") == Status::kOk);
  TopicRows rows = route->view.rows;
  TopicScan scan;
  rows.Look(route->view.log, &scan);
  REQUIRE(scan.count == 1);
  uint32_t left_ms = 0;
  for (const uint32_t now_ms : {5000u, 2u}) {  // a clock that went round, too
    rows.At(scan.holders[0].row).held.store(0);
    CHECK_FALSE(rows.SetAside(route->view.log, scan.holders[0], now_ms, &left_ms));
    CHECK_FALSE(rows.SetAside(route->view.log, scan.holders[0], now_ms - 3, &left_ms));
    CHECK(left_ms == 100);
    CHECK_FALSE(rows.SetAside(route->view.log, scan.holders[0], now_ms + 99, &left_ms));
    CHECK(left_ms == 1);
  }
  CHECK(Drain(subscription).bodies.size() == 16);
  CHECK_FALSE(rows.SetAside(route->view.log, scan.holders[0], 1000, &left_ms));
  CHECK(PublishOne(alice.agent, "y") == Status::kOk);
  CHECK(Drain(subscription).bodies.size() == 1);
  CHECK(subscription.lagged() == 0);
}

TEST_CASE("Topic: a message that garbage hit is a gap of one, its neighbours arrive") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Member bob(fabric.get(), "bob");
  Subscription subscription;
  REQUIRE(subscription.Open(&bob.agent, "news", kReliable, nullptr) == Status::kOk);
  TopicRoute* route = nullptr;
  REQUIRE(alice.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
  for (const size_t bytes : {1, 5000, 2, 3, 4}) {
    REQUIRE(PublishOne(alice.agent, PatternBody(bytes, bytes)) == Status::kOk);
  }
  const uint64_t first = route->view.log.words()->head.load();
  route->view.log.At(first + 1).words[kSlab].store(~uint64_t{0} >> 8);      // no such memory
  route->view.log.At(first + 3).words[kLengths].store(~uint64_t{0} >> 16);  // no such lengths
  TopicTail tail;
  REQUIRE(tail.Begin(*fabric, "news"));
  Delivery message;
  std::string body;
  std::vector<size_t> seen;
  while (tail.Next(*fabric, &message, &body) == Status::kOk) seen.push_back(body.size());
  CHECK(seen == std::vector<size_t>{1, 2, 4});
  CHECK(tail.lost == 2);
  const Heard heard = Drain(subscription);
  CHECK(heard.bodies ==
        std::vector<std::string>{PatternBody(1, 1), PatternBody(2, 2), PatternBody(4, 4)});
  REQUIRE(heard.gaps.size() == 2);
  CHECK(heard.lost == 2);
  CHECK(heard.gaps[0].to - heard.gaps[0].from == 1);
  CHECK(heard.gaps[1].to - heard.gaps[1].from == 1);
}

TEST_CASE("Topic: where there is no memory left for a body, its publisher waits, and is told") {
  FabricOptions options = SmallOptions();
  options.sender_slab_bytes = 16'384;
  TestFabric fabric(options);
  Member alice(fabric.get(), "alice");
  Member bob(fabric.get(), "bob");
  Subscription subscription;
  REQUIRE(subscription.Open(&bob.agent, "news", kReliable, nullptr) == Status::kOk);
  const std::string large = PatternBody(1, 6000);
  const auto publish = [&] {
    return alice.agent.Publish("news", {.body = large}, Deadline::After(20 * kMs));
  };
  REQUIRE(publish() == Status::kOk);
  Status last = Status::kOk;
  for (int i = 0; i < 16 && last == Status::kOk; ++i) last = publish();
  CHECK(last == Status::kTimedOut);
  CHECK_FALSE(Drain(subscription).bodies.empty());
  CHECK(publish() == Status::kOk);
  CHECK(alice.agent.Publish("no name", {.body = "x"}, Deadline::After(kMs)) == Status::kInvalid);
}

TEST_CASE("TopicStore: sizes are rounded up, within their limits; names have dots and dashes") {
  CHECK(TopicStore::RoundRows(0) == kRowsPerGroup);
  CHECK(TopicStore::RoundRows(kRowsPerGroup + 1) == 2 * kRowsPerGroup);
  CHECK(TopicStore::RoundRows(10 * kMaxSubscribers) == kMaxSubscribers);
  CHECK(TopicStore::RoundCells(1) == kMinTopicCells);
  CHECK(TopicStore::RoundCells(kMinTopicCells + 1) == 2 * kMinTopicCells);
  CHECK(TopicStore::RoundCells(~0u) == kMaxLaneCells);
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  for (const std::string_view name : {"a", "Z9", "a.b-c_d"}) {
    CHECK(PublishOne(alice.agent, "x", name) == Status::kOk);
  }
  for (const std::string_view name : {"", "a b", "a:b", "a/b", ".a"}) {
    CAPTURE(name);
    CHECK(PublishOne(alice.agent, "x", name) == Status::kInvalid);
  }
}

TEST_CASE("Topic: who reads on within its time is never set aside, however slow the log is") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Subscription subscription;
  REQUIRE(subscription.Open(&alice.agent, "news", {.patience_ms = 300}, nullptr) == Status::kOk);
  uint64_t published = 0;
  for (int round = 0; round < 10; ++round) {
    while (PublishOne(alice.agent, std::to_string(published)) == Status::kOk) ++published;
    test::SleepMs(50);
    CHECK(Drain(subscription).gaps.empty());
  }
  CHECK(subscription.delivered() == published);
  CHECK(subscription.lagged() == 0);
}

TEST_CASE("Topic: bodies of any size arrive whole, and their memory comes back") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Subscription reliable;
  Subscription lossy;
  REQUIRE(reliable.Open(&alice.agent, "news", kReliable, nullptr) == Status::kOk);
  REQUIRE(lossy.Open(&alice.agent, "news", kLossy, nullptr) == Status::kOk);
  for (const size_t bytes : {0, 100, 161, 5000, 300'000, 1 << 20}) {
    const std::string body = PatternBody(bytes, bytes);
    REQUIRE(PublishOne(alice.agent, body) == Status::kOk);
    for (Subscription* subscription : {&reliable, &lossy}) {
      const Heard heard = Drain(*subscription);
      REQUIRE(heard.bodies.size() == 1);
      CHECK((heard.bodies[0] == body));
    }
  }
  const std::string largest = PatternBody(1, kMaxBodyBytes);
  CHECK(PublishOne(alice.agent, largest) == Status::kOk);
  CHECK((Drain(reliable).bodies[0] == largest));
  CHECK((Drain(lossy).bodies[0] == largest));
  CHECK(PublishOne(alice.agent, largest + "x") == Status::kTooLarge);
  reliable.Close();
  lossy.Close();
  TopicRoute* route = nullptr;
  REQUIRE(alice.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
  ReleaseRead(*fabric, route->view);
  CHECK(fabric->slab().Census().placed == 0);
  CHECK(fabric->slab().Census().loaned == 0);
}

TEST_CASE("Topic: large bodies that a slow lossy reader holds give way to new ones") {
  FabricOptions options = SmallOptions();
  options.sender_slab_bytes = 4u << 20;
  TestFabric fabric(options);
  Member alice(fabric.get(), "alice");
  Subscription lossy;
  REQUIRE(lossy.Open(&alice.agent, "news", kLossy, nullptr) == Status::kOk);
  const std::string body = PatternBody(3, 1 << 20);
  for (int i = 0; i < 12; ++i) CHECK(PublishOne(alice.agent, body) == Status::kOk);
  const Heard heard = Drain(lossy);
  CHECK(heard.bodies.size() + heard.lost == 12);
  CHECK(heard.lost >= 8);
  for (const std::string& one : heard.bodies) CHECK((one == body));
  // A reliable one keeps them.
  Subscription reliable;
  REQUIRE(reliable.Open(&alice.agent, "news", kReliable, nullptr) == Status::kOk);
  int kept = 0;
  while (PublishOne(alice.agent, body) == Status::kOk) ++kept;
  CHECK(kept == 4);
  CHECK(PublishOne(alice.agent, body) == Status::kQuota);
  CHECK(Drain(reliable).bodies.size() == 4);
  CHECK(PublishOne(alice.agent, body) == Status::kOk);
}

TEST_CASE("Topic: a message that is overwritten while it is read is not delivered, but counted") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Subscription lossy;
  REQUIRE(lossy.Open(&alice.agent, "news", kLossy, nullptr) == Status::kOk);
  const std::string body = PatternBody(1, 2000);
  uint64_t published = 0;
  for (; published < 3; ++published) REQUIRE(PublishOne(alice.agent, body) == Status::kOk);
  std::array<TopicEvent, 3> events;
  for (TopicEvent& event : events) REQUIRE(lossy.Next(&event) == Status::kOk);
  std::string copy(2000, '\0');
  CHECK(lossy.CopyBody(events[0], copy.data()) == Status::kOk);
  CHECK((copy == body));
  for (int i = 0; i < 40; ++i, ++published) {
    REQUIRE(PublishOne(alice.agent, body) == Status::kOk);
  }
  CHECK(lossy.CopyBody(events[1], copy.data()) == Status::kLeaseLost);
  lossy.PutBack(events[1]);
  lossy.Advance(1, 0);
  const Heard heard = Drain(lossy);
  CHECK(1 + heard.bodies.size() + heard.lost == published);
  REQUIRE(heard.gaps.size() == 1);
  CHECK(heard.gaps[0].from == events[1].position);
}

TEST_CASE("Topic: a stalled publisher of the living is passed over, its late commit refused") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  Member bob(fabric.get(), "bob");
  Subscription subscription;
  REQUIRE(subscription.Open(&bob.agent, "news", kReliable, nullptr) == Status::kOk);
  TopicRoute* route = nullptr;
  REQUIRE(alice.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
  uint64_t position = 0;
  REQUIRE(route->view.log.TryClaim(alice.participant.owner(), AlwaysValid(), &position) ==
          Status::kOk);
  REQUIRE(PublishOne(bob.agent, "behind") == Status::kOk);
  TopicEvent event;
  std::string body;
  const int64_t began = MonotonicNs();
  REQUIRE(subscription.Receive(&event, &body, Deadline::After(10'000 * kMs)) == Status::kOk);
  CHECK(MonotonicNs() - began >= (kQuarantineMs - 1) * kMs);
  CHECK(body == "behind");
  CHECK_FALSE(route->view.log.Commit(alice.participant.owner(), position));
  for (int i = 0; i < 40; ++i) {
    REQUIRE(PublishOne(alice.agent, "on") == Status::kOk);
    CHECK(Drain(subscription).bodies.size() == 1);
  }
  CHECK(subscription.lost() == 0);
}

TEST_CASE("Topic: subscribers that died do not hold publishers up") {
  Watchdog watchdog;
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  TopicRoute* route = nullptr;
  REQUIRE(alice.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
  for (int i = 0; i < 3; ++i) {
    Child child([&]() -> int {
      static Member member;
      static Subscription subscription;
      const std::string name = "dead" + std::to_string(i);
      if (member.participant.Register(fabric.get(), nullptr) != Status::kOk ||
          member.agent.Join(&member.participant, {.name = name}, nullptr) != Status::kOk ||
          subscription.Open(&member.agent, "news", kReliable, nullptr) != Status::kOk) {
        return 1;
      }
      raise(SIGKILL);
      return 2;
    });
    REQUIRE(child.ExitCode() == 256);
  }
  CHECK(CensusOfTopic(route->view).rows_reliable == 3);
  for (int i = 0; i < 100; ++i) REQUIRE(PublishOne(alice.agent, "x") == Status::kOk);
  CHECK(CensusOfTopic(route->view).rows_reliable == 0);
}

TEST_CASE("Topic: places of subscribers end, and come back") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  std::vector<std::unique_ptr<Subscription>> all;
  for (int i = 0; i < 48; ++i) {
    all.push_back(std::make_unique<Subscription>());
    REQUIRE(all.back()->Open(&alice.agent, "news", kReliable, nullptr) == Status::kOk);
  }
  Subscription more;
  CHECK(more.Open(&alice.agent, "news", kReliable, nullptr) == Status::kSubscribersFull);
  all[17]->Close();
  CHECK(more.Open(&alice.agent, "news", kReliable, nullptr) == Status::kOk);
  REQUIRE(PublishOne(alice.agent, "to all") == Status::kOk);
  all[17] = nullptr;
  for (const auto& one : all) {
    if (one) CHECK(Drain(*one).bodies.size() == 1);
  }
  CHECK(Drain(more).bodies.size() == 1);
  alice.agent.Leave();
  TopicView view;
  REQUIRE(fabric->topics().FindOrMake("news", &view, nullptr) == Status::kOk);
  CHECK(CensusOfTopic(view).rows_reliable == 0);
}

TEST_CASE("Topic: a publisher that waits for room is woken by the reader, not by a clock") {
  Watchdog watchdog;
  TestFabric fabric;
  Member bob(fabric.get(), "bob");
  Subscription subscription;
  REQUIRE(subscription.Open(&bob.agent, "news", kReliable, nullptr) == Status::kOk);
  std::atomic<int> published{0};
  std::thread publisher([&] {
    Participant participant;
    Agent alice;
    if (participant.Register(fabric.get(), nullptr) != Status::kOk ||
        alice.Join(&participant, {.name = "alice"}, nullptr) != Status::kOk) {
      return;
    }
    for (int i = 0; i < 200; ++i) {
      if (alice.Publish("news", {.body = std::to_string(i)}, Deadline::After(20'000 * kMs)) ==
          Status::kOk) {
        published.fetch_add(1);
      }
    }
  });
  int next = 0;
  TopicEvent event;
  std::string body;
  while (next < 200 &&
         subscription.Receive(&event, &body, Deadline::After(20'000 * kMs)) == Status::kOk) {
    CHECK(body == std::to_string(next));
    ++next;
  }
  publisher.join();
  CHECK(next == 200);
  CHECK(published.load() == 200);
  TopicRoute* route = nullptr;
  REQUIRE(bob.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
  while (bob.agent.TryPublish(route, {.body = "x"}, nullptr) == Status::kOk) {
  }
  CHECK(bob.agent.Publish(route, {.body = "x"}, Deadline::After(30 * kMs), nullptr) ==
        Status::kTimedOut);
}

TEST_CASE("Topic: mail and topics wake the same sleeper") {
  Watchdog watchdog;
  TestFabric fabric;
  Member bob(fabric.get(), "bob");
  Subscription first;
  Subscription second;
  REQUIRE(first.Open(&bob.agent, "one", kReliable, nullptr) == Status::kOk);
  REQUIRE(second.Open(&bob.agent, "two", kLossy, nullptr) == Status::kOk);
  std::thread sender([&] {
    Participant participant;
    Agent alice;
    if (participant.Register(fabric.get(), nullptr) != Status::kOk ||
        alice.Join(&participant, {.name = "alice"}, nullptr) != Status::kOk) {
      return;
    }
    for (int i = 0; i < 60; ++i) {
      const Deadline deadline = Deadline::After(20'000 * kMs);
      if (i % 3 == 0) (void)alice.Publish("one", {.body = "1"}, deadline);
      if (i % 3 == 1) (void)alice.Publish("two", {.body = "2"}, deadline);
      if (i % 3 == 2) (void)alice.Send("bob", {.body = "3"}, deadline);
      test::SleepMs(1);
    }
  });
  int heard = 0;
  while (heard < 60) {
    const Status waited = bob.participant.WaitUntil(
        [&](int64_t* longest) {
          return first.HasEvent(longest) || second.HasEvent(longest) ||
                 bob.agent.HasMail(TakeFilter::kAll, longest);
        },
        Deadline::After(20'000 * kMs));
    REQUIRE(waited == Status::kOk);
    heard += static_cast<int>(Drain(first).bodies.size() + Drain(second).bodies.size());
    Delivery delivery;
    while (bob.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk) {
      CHECK(bob.agent.Ack(delivery.token) == Status::kOk);
      ++heard;
    }
  }
  sender.join();
  CHECK(heard == 60);
}

TEST_CASE("Topic: publishers and subscribers of both kinds at once keep their promises") {
  Watchdog watchdog(120);
  constexpr int kPublishers = 3;
  constexpr int kReaders = 4;
  constexpr uint64_t kEach = test::kSanitized ? 3000 : 20'000;
  TestFabric fabric;
  std::atomic<int> ready{0};
  std::atomic<int> done{0};
  std::atomic<uint64_t> wrong{0};
  std::array<std::atomic<uint64_t>, kReaders> delivered = {};
  std::array<std::atomic<uint64_t>, kReaders> lost = {};
  std::vector<std::thread> threads;
  for (int r = 0; r < kReaders; ++r) {
    threads.emplace_back([&, r] {
      Participant participant;
      Agent me;
      Subscription subscription;
      if (participant.Register(fabric.get(), nullptr) != Status::kOk ||
          me.Join(&participant, {.name = "reader" + std::to_string(r)}, nullptr) != Status::kOk ||
          subscription.Open(&me, "news", r % 2 ? kLossy : kReliable, nullptr) != Status::kOk) {
        wrong.fetch_add(1'000'000);
        ready.fetch_add(1);
        return;
      }
      ready.fetch_add(1);
      std::array<uint64_t, kPublishers> last = {};
      TopicEvent event;
      std::string body;
      for (;;) {
        const Status status = subscription.Receive(&event, &body, Deadline::After(100 * kMs));
        if (status == Status::kTimedOut) {
          if (done.load() == kPublishers && !subscription.HasEvent(nullptr)) break;
          continue;
        }
        if (status != Status::kOk) {
          wrong.fetch_add(1);
          break;
        }
        if (event.gap) {
          if (r % 2 == 0) wrong.fetch_add(1);
          continue;
        }
        const size_t publisher = static_cast<size_t>(event.message.From().back() - '0');
        const uint64_t number = std::stoull(body);
        if (number != event.message.sequence || number <= last[publisher]) wrong.fetch_add(1);
        if (r % 2 == 0 && number != last[publisher] + 1) wrong.fetch_add(1);
        last[publisher] = number;
      }
      delivered[r].store(subscription.delivered());
      lost[r].store(subscription.lost());
    });
  }
  while (ready.load() < kReaders) test::SleepMs(1);
  for (int p = 0; p < kPublishers; ++p) {
    threads.emplace_back([&, p] {
      Participant participant;
      Agent me;
      if (participant.Register(fabric.get(), nullptr) != Status::kOk ||
          me.Join(&participant, {.name = "publisher" + std::to_string(p)}, nullptr) !=
              Status::kOk) {
        wrong.fetch_add(1'000'000);
      }
      for (uint64_t i = 1; i <= kEach; ++i) {
        std::string body = std::to_string(i);
        if (i % 7 == 0) body.insert(0, 300, '0');
        if (me.Publish("news", {.body = body}, Deadline::After(60'000 * kMs)) != Status::kOk) {
          wrong.fetch_add(1);
        }
      }
      done.fetch_add(1);
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  for (int r = 0; r < kReaders; ++r) {
    CAPTURE(r);
    CHECK(delivered[r].load() + lost[r].load() == kPublishers * kEach);
    if (r % 2 == 0) CHECK(lost[r].load() == 0);
  }
}

TEST_CASE("Topic: a publish wakes a thousand sleepers") {
  if (test::kThreadSanitized) return;  // as many threads again under it take minutes
  Watchdog watchdog;
  constexpr int kSleepers = 1000;
  FabricOptions options = SmallOptions();
  options.max_agents = 1100;
  options.max_participants = 1100;
  options.topic_subscribers = 1000;
  options.mailbox_cells = 8;
  options.mail_segment_bytes = 4u << 20;
  TestFabric fabric(options);
  Member alice(fabric.get(), "alice");
  std::atomic<int> parked{0};
  std::atomic<int> heard{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kSleepers; ++i) {
    threads.emplace_back([&, i] {
      Participant participant;
      Agent me;
      Subscription subscription;
      TopicEvent event;
      std::string body;
      if (participant.Register(fabric.get(), nullptr) == Status::kOk &&
          me.Join(&participant, {.name = "s" + std::to_string(i), .mailbox_cells = 8}, nullptr) ==
              Status::kOk &&
          subscription.Open(&me, "news", i % 2 ? kReliable : kLossy, nullptr) == Status::kOk) {
        parked.fetch_add(1);
        if (subscription.Receive(&event, &body, Deadline::After(30'000 * kMs)) == Status::kOk &&
            body == "wake up") {
          heard.fetch_add(1);
        }
      } else {
        parked.fetch_add(1);
      }
    });
  }
  while (parked.load() < kSleepers) test::SleepMs(1);
  const auto asleep = [&] {
    int count = 0;
    for (uint32_t i = 1; i <= fabric->slots(); ++i) {
      if (fabric->SlotAt(i)->doorbell.load() & kParked) ++count;
    }
    return count;
  };
  while (asleep() < kSleepers) test::SleepMs(1);
  const int64_t began = MonotonicNs();
  REQUIRE(PublishOne(alice.agent, "wake up") == Status::kOk);
  for (auto& thread : threads) thread.join();
  CHECK(heard.load() == kSleepers);
  // Rung, and not found by each at its own backstop: a sum of rings that were lost shows here.
  CHECK(MonotonicNs() - began < kBackstopNs);
}

}  // namespace
}  // namespace cfc
