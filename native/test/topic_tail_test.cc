// TopicTail: reading without subscribing, from where an earlier read ended, with an exact count of
// what was missed.
#include "core/topic_tail.h"

#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

namespace cfc {
namespace {

using test::Member;
using test::PatternBody;
using test::SmallOptions;
using test::TestFabric;

Status Publish(Agent& agent, std::string_view body) {
  TopicRoute* route = nullptr;
  const Status status = agent.OpenTopic("news", &route, nullptr);
  return status == Status::kOk ? agent.TryPublish(route, {.body = body}, nullptr) : status;
}

std::vector<std::string> Drain(Fabric& fabric, TopicTail& tail) {
  std::vector<std::string> bodies;
  Delivery message;
  std::string body;
  while (tail.Next(fabric, &message, &body) == Status::kOk) bodies.push_back(body);
  return bodies;
}

TEST_CASE("TopicTail: begins at the oldest that is left, and goes on from where it ended") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice");
  TopicTail tail;
  CHECK_FALSE(tail.Begin(*fabric, "news"));
  REQUIRE(Publish(alice.agent, "one") == Status::kOk);
  const std::string large = PatternBody(5000, 7);
  REQUIRE(Publish(alice.agent, large) == Status::kOk);
  REQUIRE(tail.Begin(*fabric, "news"));
  CHECK(Drain(*fabric, tail) == std::vector<std::string>{"one", large});
  CHECK(Drain(*fabric, tail).empty());
  REQUIRE(Publish(alice.agent, "three") == Status::kOk);

  TopicTail next;
  REQUIRE(next.Resume(*fabric, "news", tail.position, tail.aborted));
  CHECK(Drain(*fabric, next) == std::vector<std::string>{"three"});
  CHECK(next.lost == 0);
  CHECK_FALSE(next.Resume(*fabric, "news", next.position + 1, 0));
  CHECK_FALSE(next.Resume(*fabric, "other", 0, 0));
}

TEST_CASE("TopicTail: counts what was overwritten, to the message") {
  FabricOptions options = SmallOptions();
  options.topic_cells = 16;
  TestFabric fabric(options);
  Member alice(fabric.get(), "alice");
  REQUIRE(Publish(alice.agent, "0") == Status::kOk);
  TopicTail tail;
  REQUIRE(tail.Begin(*fabric, "news"));
  CHECK(Drain(*fabric, tail).size() == 1);
  for (int i = 1; i <= 100; ++i) REQUIRE(Publish(alice.agent, std::to_string(i)) == Status::kOk);
  const std::vector<std::string> told = Drain(*fabric, tail);
  REQUIRE_FALSE(told.empty());
  CHECK(told.back() == "100");
  CHECK(told.size() + tail.lost == 100);
}

TEST_CASE("TopicTail: tells each message once while others publish, or counts it") {
  FabricOptions options = SmallOptions();
  options.topic_cells = 32;
  TestFabric fabric(options);
  constexpr int kEach = 4000;
  std::atomic<int> running{2};
  std::vector<std::thread> publishers;
  for (int p = 0; p < 2; ++p) {
    publishers.emplace_back([&, p] {
      Member member(fabric.get(), "publisher-" + std::to_string(p));
      for (int i = 0; i < kEach; ++i) {
        while (Publish(member.agent, std::to_string(i)) != Status::kOk) std::this_thread::yield();
      }
      running.fetch_sub(1);
    });
  }
  TopicTail tail;
  while (!tail.Begin(*fabric, "news")) std::this_thread::yield();
  uint64_t lost_before = tail.position - tail.aborted;  // before it came
  uint64_t told = 0;
  while (running.load() > 0) told += Drain(*fabric, tail).size();
  for (auto& thread : publishers) thread.join();
  told += Drain(*fabric, tail).size();
  CHECK(told + tail.lost + lost_before == 2 * kEach);
}

}  // namespace
}  // namespace cfc
