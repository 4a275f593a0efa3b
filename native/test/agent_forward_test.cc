#include <doctest/doctest.h>

#include <string>

#include "core/agent.h"
#include "support.h"

namespace cfc {
namespace {

using test::CensusOf;
using test::kMs;
using test::Letter;
using test::Member;
using test::PatternBody;
using test::RouteTo;
using test::TakeLetter;
using test::TestFabric;

// Ann asks Bob, who is gone; Carol stands in for him and hands on to Dave.
struct Four {
  TestFabric fabric;
  Member ann{fabric.get(), "ann"};
  Member carol{fabric.get(), "bob", 16};
  Member dave{fabric.get(), "dave", 16};
  Route to_bob = RouteTo("bob");
  Route to_dave = RouteTo("dave");

  Status Forward(const Letter& letter, Receipt* receipt, bool* asked) {
    return carol.agent.Forward(letter.delivery.token, &to_dave, receipt, asked);
  }
};

TEST_CASE("Agent.Forward: the copy is its sender's message, whatever its size and lane") {
  Four four;
  const MessageId question = {77, 5};
  uint32_t n = 0;
  for (const size_t bytes : {0, 3, 140, 5000, 300'000}) {
    for (const LaneIndex lane : {kWorkLane, kControlLane}) {
      CAPTURE(bytes);
      const std::string body = PatternBody(++n, bytes);
      Receipt sent;
      REQUIRE(four.ann.agent.TrySend(&four.to_bob,
                                     {.body = body,
                                      .type = "task",
                                      .kind = BodyKind::kText,
                                      .lane = lane,
                                      .flags = kFlagAsks,
                                      .correlation = question},
                                     &sent) == Status::kOk);
      const Letter here = TakeLetter(four.carol.agent);
      REQUIRE(here.status == Status::kOk);
      Receipt receipt;
      bool asked = true;
      REQUIRE(four.Forward(here, &receipt, &asked) == Status::kOk);
      CHECK_FALSE(asked);
      CHECK(four.carol.agent.Ack(here.delivery.token) == Status::kOk);
      const Letter there = TakeLetter(four.dave.agent);
      REQUIRE(there.status == Status::kOk);
      CHECK((there.body == body));
      CHECK(there.delivery.From() == "ann");
      CHECK(there.delivery.Type() == "task");
      CHECK(there.delivery.kind == BodyKind::kText);
      CHECK(there.delivery.token.lane == lane);
      CHECK(there.delivery.id.uid == sent.id.uid);
      CHECK(there.delivery.id.number == sent.id.number);
      CHECK(there.delivery.sequence == here.delivery.sequence);
      CHECK(there.delivery.sent_at_ns == here.delivery.sent_at_ns);
      CHECK(there.delivery.correlation.number == question.number);
      CHECK(there.delivery.flags == kFlagAsks);
      CHECK(four.dave.agent.Ack(there.delivery.token) == Status::kOk);
    }
  }
  CHECK(CensusOf(*four.fabric).chunks_placed == 0);
  CHECK(CensusOf(*four.fabric).chunks_loaned == 0);
}

TEST_CASE("Agent.Forward: the copy keeps the key and the time of its sender's message") {
  Four four;
  const auto due_ms = static_cast<uint64_t>(MonotonicNs() / kMs) + 600'000;
  uint64_t key = 0;
  for (const size_t bytes : {0, 3, 100, 140, 5000}) {
    CAPTURE(bytes);
    const std::string body = PatternBody(++key, bytes);
    const Outgoing message = {.body = body, .type = "task", .expires_at_ms = due_ms, .key = key};
    REQUIRE(four.ann.agent.TrySend(&four.to_bob, message, nullptr) == Status::kOk);
    const Letter here = TakeLetter(four.carol.agent);
    Receipt receipt;
    bool asked = true;
    REQUIRE(four.Forward(here, &receipt, &asked) == Status::kOk);
    REQUIRE(four.carol.agent.Ack(here.delivery.token) == Status::kOk);
    const Letter there = TakeLetter(four.dave.agent);
    REQUIRE(there.status == Status::kOk);
    CHECK((there.body == body));
    CHECK(there.delivery.From() == "ann");
    CHECK(there.delivery.Type() == "task");
    CHECK(there.delivery.key == key);
    CHECK(there.delivery.expires_at_ms == due_ms);
    CHECK(four.dave.agent.Ack(there.delivery.token) == Status::kOk);
  }
}

TEST_CASE("Agent.Forward: without memory for a large body, the message stays where it is") {
  FabricOptions options = test::SmallOptions();
  options.sender_slab_bytes = 300'000;
  Four four{TestFabric(options)};
  REQUIRE(four.ann.agent.TrySend(&four.to_bob, {.body = PatternBody(1, 100'000)}, nullptr) ==
          Status::kOk);
  Route fill = RouteTo("ann");
  while (four.carol.agent.TrySend(&fill, {.body = PatternBody(2, 3000)}, nullptr) == Status::kOk) {
  }
  const Letter here = TakeLetter(four.carol.agent);
  REQUIRE(here.status == Status::kOk);
  Receipt receipt;
  bool asked = false;
  CHECK(four.Forward(here, &receipt, &asked) == Status::kQuota);
  CHECK(CensusOf(*four.fabric).chunks_loaned == 0);
  REQUIRE(four.carol.agent.Nack(here.delivery.token, 0) == Status::kOk);
  CHECK((TakeLetter(four.carol.agent).body == PatternBody(1, 100'000)));
}

TEST_CASE("Agent.Forward: who waits for the ack is told by the ack of the copy") {
  Four four;
  Receipt mine;
  REQUIRE(four.ann.agent.TrySend(&four.to_bob, {.body = "x", .wants_receipt = true}, &mine) ==
          Status::kOk);
  const Letter here = TakeLetter(four.carol.agent);
  Receipt copy;
  bool asked = false;
  REQUIRE(four.Forward(here, &copy, &asked) == Status::kOk);
  CHECK(asked);
  VoidReason reason = kDropped;
  CHECK(four.ann.agent.Verdict(mine, &reason) == Status::kBusy);
  CHECK(four.carol.agent.Verdict(copy, &reason) == Status::kBusy);
  const Letter there = TakeLetter(four.dave.agent);
  REQUIRE(four.dave.agent.Ack(there.delivery.token) == Status::kOk);
  REQUIRE(four.carol.agent.Verdict(copy, &reason) == Status::kOk);
  CHECK(reason == kAcked);
  REQUIRE(four.carol.agent.Ack(here.delivery.token) == Status::kOk);
  REQUIRE(four.ann.agent.Verdict(mine, &reason) == Status::kOk);
  CHECK(reason == kAcked);
}

TEST_CASE("Agent.Forward: without room, or to nobody, the message stays where it is") {
  Four four;
  REQUIRE(four.ann.agent.TrySend(&four.to_bob, {.body = PatternBody(1, 3000)}, nullptr) ==
          Status::kOk);
  Route fill = RouteTo("dave");
  while (four.ann.agent.TrySend(&fill, {.body = "filler"}, nullptr) == Status::kOk) {
  }
  const Letter here = TakeLetter(four.carol.agent);
  Receipt receipt;
  bool asked = false;
  CHECK(four.Forward(here, &receipt, &asked) == Status::kFull);
  Route nobody = RouteTo("nobody");
  CHECK(four.carol.agent.Forward(here.delivery.token, &nobody, &receipt, &asked) ==
        Status::kNoAgent);
  CHECK(CensusOf(*four.fabric).chunks_loaned == 0);
  REQUIRE(four.carol.agent.Nack(here.delivery.token, 0) == Status::kOk);
  CHECK(four.Forward(here, &receipt, &asked) == Status::kLeaseLost);
  const Letter again = TakeLetter(four.carol.agent);
  CHECK((again.body == PatternBody(1, 3000)));
}

TEST_CASE(
    "Mailbox gate: closed to those outside, open among those within, open for the next owner") {
  Four four;
  four.carol.agent.mailbox().words->gate.store(1);
  four.dave.agent.mailbox().words->gate.store(1);
  CHECK(four.ann.agent.TrySend(&four.to_bob, {.body = "late"}, nullptr) == Status::kClosed);
  Outgoing batch[2] = {{.body = "a"}, {.body = "b"}};
  uint32_t accepted = 0;
  CHECK(four.ann.agent.TrySendBatch(&four.to_bob, batch, 2, nullptr, &accepted) == Status::kClosed);
  CHECK(accepted == 0);
  CHECK(four.carol.agent.TrySend(&four.to_dave, {.body = "within"}, nullptr) == Status::kOk);
  Route to_ann = RouteTo("ann");
  CHECK(four.dave.agent.TrySend(&to_ann, {.body = "out"}, nullptr) == Status::kOk);
  CHECK(TakeLetter(four.dave.agent).body == "within");
  four.carol.agent.Leave();
  const Status joined =
      four.carol.agent.Join(&four.carol.participant, {.name = "bob", .mailbox_cells = 16}, nullptr);
  REQUIRE(joined == Status::kOk);
  CHECK(four.ann.agent.TrySend(&four.to_bob, {.body = "new"}, nullptr) == Status::kOk);
}

}  // namespace
}  // namespace cfc
