#include "core/allowance.h"

#include <doctest/doctest.h>

#include <string>

#include "core/lifecycle.h"
#include "support.h"

namespace cfc {
namespace {

using test::kMs;
using test::Member;
using test::RouteTo;
using test::TestFabric;

TEST_CASE("Allowance.Take: gives a burst at once, then as many as the rate says") {
  MailboxWords words = {};
  Allowance allowance(&words);
  CHECK_FALSE(allowance.Limited());
  allowance.Grant({.per_second = 100, .burst = 5}, 1000);
  CHECK(allowance.Limited());
  for (int i = 0; i < 5; ++i) CHECK(allowance.Take(1, 10, 1000) == Status::kOk);
  CHECK(allowance.Take(1, 10, 1000) == Status::kRateLimited);
  CHECK(allowance.WaitMs(1000) == 10);
  CHECK(allowance.Take(1, 10, 1009) == Status::kRateLimited);
  CHECK(allowance.Take(1, 10, 1010) == Status::kOk);
  CHECK(allowance.Take(1, 10, 1010) == Status::kRateLimited);
  uint32_t passed = 0;
  for (uint64_t ms = 1011; ms <= 11'010; ++ms) passed += allowance.Take(1, 0, ms) == Status::kOk;
  CHECK(passed == 1000);                                // ten seconds
  CHECK(allowance.Take(1, 0, 900'000) == Status::kOk);  // never more than the burst
  for (int i = 0; i < 4; ++i) CHECK(allowance.Take(1, 0, 900'000) == Status::kOk);
  CHECK(allowance.Take(1, 0, 900'000) == Status::kRateLimited);
}

TEST_CASE("Allowance.Take: a batch above the burst passes, and its sender waits the longer") {
  MailboxWords words = {};
  Allowance allowance(&words);
  allowance.Grant({.per_second = 10}, 0);
  CHECK(allowance.Take(30, 0, 0) == Status::kOk);
  CHECK(allowance.WaitMs(0) == 2100);
  CHECK(allowance.Take(1, 0, 2099) == Status::kRateLimited);
  CHECK(allowance.Take(1, 0, 2100) == Status::kOk);
}

TEST_CASE("Allowance.Take: a clock that wraps, or was read earlier, gives nothing away") {
  MailboxWords words = {};
  Allowance allowance(&words);
  const uint64_t before = (uint64_t{1} << 32) - 10;
  allowance.Grant({.per_second = 10, .burst = 1}, before);
  CHECK(allowance.Take(1, 0, before) == Status::kOk);
  CHECK(allowance.Take(1, 0, before - 5000) == Status::kRateLimited);
  CHECK(allowance.Take(1, 0, before + 99) == Status::kRateLimited);
  CHECK(allowance.Take(1, 0, before + 100) == Status::kOk);
}

TEST_CASE("Allowance.Take: ends at the quota; what was not sent is given back") {
  MailboxWords words = {};
  Allowance allowance(&words);
  allowance.Grant({.messages = 3, .bytes = 100}, 0);
  CHECK(allowance.Take(1, 101, 0) == Status::kQuotaSpent);
  CHECK(allowance.Take(2, 60, 0) == Status::kOk);
  CHECK(allowance.Take(2, 0, 0) == Status::kQuotaSpent);
  CHECK(allowance.Take(1, 41, 0) == Status::kQuotaSpent);
  CHECK(allowance.Take(1, 40, 0) == Status::kOk);
  CHECK(allowance.Take(1, 0, 0) == Status::kQuotaSpent);
  allowance.GiveBack(1, 40);
  CHECK(allowance.Take(1, 40, 0) == Status::kOk);
  CHECK(allowance.Take(0, 0, 0) == Status::kOk);
}

TEST_CASE("Agent.Send: waits for its rate; a send that fails costs nothing") {
  TestFabric fabric;
  Member bob(fabric.get(), "bob");
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  Agent ann;
  const AgentSpec spec = {.name = "ann", .limits = {.per_second = 50, .burst = 1, .messages = 6}};
  REQUIRE(ann.Join(&participant, spec, nullptr) == Status::kOk);
  Route nobody = RouteTo("nobody");
  for (int i = 0; i < 20; ++i) {
    CHECK(ann.TrySend(&nobody, {.body = "x"}, nullptr) == Status::kNoAgent);
  }
  Route route = RouteTo("bob");
  CHECK(ann.TrySend(&route, {.body = "x"}, nullptr) == Status::kOk);
  CHECK(ann.TrySend(&route, {.body = "x"}, nullptr) == Status::kRateLimited);
  const int64_t began = MonotonicNs();
  for (int i = 0; i < 3; ++i) {
    CHECK(ann.Send(&route, {.body = "x"}, Deadline::After(30'000 * kMs), nullptr) == Status::kOk);
  }
  CHECK(MonotonicNs() - began >= 50 * kMs);  // two whole waits of 20 ms, and most of a third
  CHECK(ann.Send(&route, {.body = "x"}, Deadline::After(0), nullptr) == Status::kTimedOut);
  const Outgoing batch[2] = {{.body = "a"}, {.body = "b"}};
  uint32_t accepted = 0;
  while (ann.TrySendBatch(&route, batch, 2, nullptr, &accepted) == Status::kRateLimited) {
    test::SleepMs(1);
  }
  CHECK(accepted == 2);
  CHECK(ann.TrySend(&route, {.body = "x"}, nullptr) == Status::kQuotaSpent);
  CHECK(ann.counters().Get(Metric::kSendsOverQuota) == 1);
  CHECK(ann.counters().Get(Metric::kSendsRateLimited) > 0);
}

TEST_CASE("Agent.Join: the next life has limits of its own; what was sent stays counted") {
  TestFabric fabric;
  Member bob(fabric.get(), "bob");
  Route route = RouteTo("bob");
  const auto sent_by = [&](const SendLimits& limits) {
    Participant participant;
    Agent ann;
    REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
    REQUIRE(ann.Join(&participant, {.name = "ann", .limits = limits}, nullptr) == Status::kOk);
    Route self = RouteTo("ann");
    uint32_t sent = 0;
    if (ann.Depth() == 0) {  // so that the name stays
      sent += ann.TrySend(&self, {.body = "x"}, nullptr) == Status::kOk;
    }
    while (sent < 6 && ann.TrySend(&route, {.body = "x"}, nullptr) == Status::kOk) ++sent;
    ann.Leave();
    participant.Unregister();
    return sent;
  };
  CHECK(sent_by({.messages = 3}) == 3);
  CHECK(sent_by({.messages = 3}) == 0);
  CHECK(sent_by({.messages = 5}) == 2);
  CHECK(sent_by({}) == 6);
  CHECK(sent_by({.messages = 6}) == 1);  // where there was no limit, nothing was counted
}

TEST_CASE("Agent.Join: a guest draws on the allowance of the life that it visits") {
  TestFabric fabric;
  Member bob(fabric.get(), "bob");
  Member shim, guests[2];
  REQUIRE(shim.participant.Register(fabric.get(), nullptr) == Status::kOk);
  const AgentSpec spec = {.name = "ann", .shim = true, .limits = {.messages = 3}};
  REQUIRE(shim.agent.Join(&shim.participant, spec, nullptr) == Status::kOk);
  const std::string token = LifeToken(*fabric, shim.agent.entry(), shim.agent.incarnation());
  Route route = RouteTo("bob");
  uint32_t sent = 0;
  for (Member& guest : guests) {
    REQUIRE(guest.participant.Register(fabric.get(), nullptr) == Status::kOk);
    const AgentSpec as_guest = {.name = "ann", .limits = {.messages = 100}, .life = token};
    REQUIRE(guest.agent.Join(&guest.participant, as_guest, nullptr) == Status::kOk);
    for (int i = 0; i < 2; ++i) {
      sent += guest.agent.TrySend(&route, {.body = "x"}, nullptr) == Status::kOk;
    }
  }
  CHECK(sent == 3);
  CHECK(guests[1].agent.TrySend(&route, {.body = "x"}, nullptr) == Status::kQuotaSpent);
}

TEST_CASE("Agent.Publish: draws on the same allowance") {
  TestFabric fabric;
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  Agent ann;
  const AgentSpec spec = {.name = "ann", .limits = {.per_second = 50, .burst = 1, .bytes = 3}};
  REQUIRE(ann.Join(&participant, spec, nullptr) == Status::kOk);
  TopicRoute* topic = nullptr;
  REQUIRE(ann.OpenTopic("news", &topic, nullptr) == Status::kOk);
  CHECK(ann.TryPublish(topic, {.body = "x"}, nullptr) == Status::kOk);
  CHECK(ann.TryPublish(topic, {.body = "x"}, nullptr) == Status::kRateLimited);
  CHECK(ann.Publish(topic, {.body = "xx"}, Deadline::After(30'000 * kMs), nullptr) == Status::kOk);
  CHECK(ann.TryPublish(topic, {.body = "x"}, nullptr) == Status::kQuotaSpent);
}

TEST_CASE("Agent.PaceMs: 0, 5 or 10, the fuller the lane is") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann"), bob(fabric.get(), "bob");
  Route route = RouteTo("bob");
  const uint32_t expected[] = {0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 10, 10, 10, 10};
  for (const uint32_t pause : expected) {
    REQUIRE(ann.agent.TrySend(&route, {.body = "x"}, nullptr) == Status::kOk);
    CHECK(ann.agent.PaceMs(route, kWorkLane) == pause);
    CHECK(ann.agent.PaceMs(route, kControlLane) == 0);
  }
  CHECK(ann.agent.counters().Get(Metric::kSendsPaced) == 9);
}

}  // namespace
}  // namespace cfc
