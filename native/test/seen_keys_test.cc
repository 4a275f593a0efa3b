#include "core/seen_keys.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "support.h"

namespace cfc {
namespace {

using test::Letter;
using test::Member;
using test::RouteTo;
using test::TakeLetter;
using test::TestFabric;

struct Pair {
  TestFabric fabric;
  Member alice{fabric.get(), "alice"}, bob{fabric.get(), "bob"};
  Route to_bob = RouteTo("bob");

  Receipt Send(std::string_view body, std::string_view key, bool receipt = false) {
    Receipt sent;
    REQUIRE(alice.agent.TrySend(
                &to_bob,
                {.body = body, .wants_receipt = receipt, .key = key.empty() ? 0 : HashKey(key)},
                &sent) == Status::kOk);
    return sent;
  }
  SeenKeys Keys() const {
    const uint64_t word = bob.agent.mailbox().words->word.load();
    return {fabric.get(), bob.agent.mailbox().words, BoxGeneration(word)};
  }
  LaneCensus Work() const { return bob.agent.mailbox().lanes[kWorkLane].Census(); }
};

TEST_CASE("HashKey: is never 0, and differs for keys that hardly differ") {
  std::set<uint64_t> seen;
  for (int i = 0; i < 100'000; ++i) seen.insert(HashKey(std::to_string(i)));
  CHECK(seen.size() == 100'000);
  CHECK(seen.count(0) == 0);
  CHECK(HashKey("") != 0);
}

TEST_CASE("SeenKeys: a key that was noted a moment after the look at the clock is seen") {
  Pair pair;
  SeenKeys keys = pair.Keys();
  const uint64_t key = HashKey("k1");
  keys.Note(pair.bob.participant.owner(), key, 1000);
  CHECK(keys.Has(key, 999));
  CHECK(keys.Has(key, 1000 + kSeenKeyMs));
  CHECK_FALSE(keys.Has(key, 1001 + kSeenKeyMs));
}

TEST_CASE("Agent.TryTake: a repeat of a key that was acked is dropped, and counted") {
  Pair pair;
  pair.Send("first", "k1");
  const Receipt repeat = pair.Send("repeat", "k1", /*receipt=*/true);
  pair.Send("other", "k2");
  pair.Send("none", "");
  Letter letter = TakeLetter(pair.bob.agent);
  CHECK(letter.body == "first");
  CHECK(letter.delivery.key == HashKey("k1"));
  REQUIRE(pair.bob.agent.Ack(letter.delivery.token) == Status::kOk);
  CHECK(TakeLetter(pair.bob.agent).body == "other");
  CHECK(TakeLetter(pair.bob.agent).body == "none");
  CHECK(pair.Work().dropped == 1);
  CHECK(pair.Work().acked == 1);
  CHECK(pair.bob.agent.counters().Get(Metric::kMessagesRepeated) == 1);
  VoidReason reason = kAborted;
  REQUIRE(pair.alice.agent.Verdict(repeat, &reason) == Status::kOk);
  CHECK(reason == kAcked);  // that of the first
}

TEST_CASE("Agent.TryTake: a key that was taken and not acked repeats, and so does the message") {
  Pair pair;
  pair.Send("first", "k");
  pair.Send("second", "k");
  Letter first = TakeLetter(pair.bob.agent);
  CHECK(TakeLetter(pair.bob.agent).body == "second");
  REQUIRE(pair.bob.agent.Nack(first.delivery.token, 0) == Status::kOk);
  first = TakeLetter(pair.bob.agent);
  CHECK(first.body == "first");
  CHECK(first.delivery.attempt == 1);
  CHECK(pair.Work().dropped == 0);
}

TEST_CASE("Agent.Ack: what was held is noted too, and other readers see it") {
  Pair pair;
  pair.Send("first", "k");
  Letter first = TakeLetter(pair.bob.agent);
  REQUIRE(pair.bob.agent.HandOver(&first.delivery.token) == Status::kOk);
  Delivery held;
  REQUIRE(pair.bob.agent.Peek(kWorkLane, 0, &held, nullptr) == Status::kOk);
  REQUIRE(pair.bob.agent.Ack(held.token) == Status::kOk);
  CHECK(pair.Keys().Has(HashKey("k"), static_cast<uint64_t>(MonotonicNs() / 1'000'000)));
  pair.bob.agent.Leave();
}

TEST_CASE("SeenKeys: forgets after two minutes, and after as many others as it has room for") {
  Pair pair;
  SeenKeys keys = pair.Keys();
  const Owner me = pair.bob.participant.owner();
  const uint64_t now_ms = 10'000'000;
  CHECK_FALSE(keys.Has(1, now_ms));
  keys.Note(me, 1, now_ms);
  CHECK(keys.Has(1, now_ms));
  CHECK(keys.Has(1, now_ms + kSeenKeyMs));
  CHECK_FALSE(keys.Has(1, now_ms + kSeenKeyMs + 1));
  for (uint32_t i = 0; i < kSeenKeys - 1; ++i) keys.Note(me, 2 + i, now_ms);
  CHECK(keys.Has(1, now_ms));
  keys.Note(me, 5000, now_ms);
  CHECK_FALSE(keys.Has(1, now_ms));
  CHECK(keys.Has(2, now_ms));
  CHECK(keys.Has(5000, now_ms));
}

TEST_CASE("SeenKeys: the next owner of the mailbox has seen none") {
  Pair pair;
  pair.Keys().Note(pair.bob.participant.owner(), 7, 1000);
  const BoxId box = pair.bob.agent.mailbox().box;
  pair.bob.agent.Leave();
  for (int i = 0; i < 64 && (!pair.bob.agent.joined() || pair.bob.agent.mailbox().box != box);
       ++i) {
    pair.bob.agent.Leave();
    REQUIRE(pair.bob.agent.Join(&pair.bob.participant, {.name = "bob"}, nullptr) == Status::kOk);
  }
  REQUIRE(pair.bob.agent.mailbox().box == box);
  CHECK_FALSE(pair.Keys().Has(7, 1000));
  pair.Keys().Note(pair.bob.participant.owner(), 8, 1000);
  CHECK(pair.Keys().Has(8, 1000));
}

TEST_CASE("SeenKeys: without memory for it, nothing is noted and all is delivered") {
  FabricOptions options = test::SmallOptions();
  options.slab_max_bytes = 0;
  TestFabric fabric(options);
  Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob");
  Route route = RouteTo("bob");
  for (int i = 0; i < 2; ++i) {
    REQUIRE(alice.agent.TrySend(&route, {.body = "x", .key = 9}, nullptr) == Status::kOk);
    const Letter letter = TakeLetter(bob.agent);
    REQUIRE(letter.status == Status::kOk);
    REQUIRE(bob.agent.Ack(letter.delivery.token) == Status::kOk);
  }
}

TEST_CASE("Agent.TrySend: with a key, long names and an inline body still fit together") {
  Pair pair;
  for (size_t bytes = 130; bytes <= 170; ++bytes) {
    const std::string body = test::PatternBody(bytes, bytes);
    pair.Send(body, "key" + std::to_string(bytes));
    const Letter letter = TakeLetter(pair.bob.agent);
    CHECK((letter.body == body));
    CHECK(letter.delivery.From() == "alice");
    REQUIRE(pair.bob.agent.Ack(letter.delivery.token) == Status::kOk);
  }
}

TEST_CASE("Agent.TrySend: a message that was handed on too often is refused") {
  Pair pair;
  for (uint8_t hops = 0; hops < kHopLimit; ++hops) {
    REQUIRE(pair.alice.agent.TrySend(&pair.to_bob, {.body = "x", .hops = hops}, nullptr) ==
            Status::kOk);
    const Letter letter = TakeLetter(pair.bob.agent);
    CHECK((letter.delivery.flags >> kHopShift) == hops);
    REQUIRE(pair.bob.agent.Ack(letter.delivery.token) == Status::kOk);
  }
  CHECK(pair.alice.agent.TrySend(&pair.to_bob, {.body = "x", .hops = kHopLimit}, nullptr) ==
        Status::kHopsSpent);
}

}  // namespace
}  // namespace cfc
