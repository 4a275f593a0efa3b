#include "core/dead_letters.h"

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/trace.h"
#include "support.h"

namespace cfc {
namespace {

using test::kMs;
using test::Letter;
using test::Member;
using test::PatternBody;
using test::RouteTo;
using test::TakeLetter;
using test::TestFabric;

FabricOptions WithLimit(uint32_t limit) {
  FabricOptions options = test::SmallOptions();
  options.attempt_limit = limit;
  return options;
}

struct Pair {
  TestFabric fabric;
  Member alice, bob;
  Route to_bob = RouteTo("bob");

  explicit Pair(uint32_t limit = 3)
      : fabric(WithLimit(limit)), alice(fabric.get(), "alice"), bob(fabric.get(), "bob") {}

  MessageId Send(const Outgoing& message) {
    Receipt receipt;
    REQUIRE(alice.agent.TrySend(&to_bob, message, &receipt) == Status::kOk);
    return receipt.id;
  }
  // As often as it comes.
  uint32_t NackAll(std::string_view reason = {}) {
    uint32_t nacks = 0;
    for (Letter letter = TakeLetter(bob.agent); letter.status == Status::kOk;
         letter = TakeLetter(bob.agent)) {
      REQUIRE(bob.agent.Nack(letter.delivery.token, 0, reason) == Status::kOk);
      ++nacks;
    }
    return nacks;
  }
  DeadLetter First() {
    DeadLetter letter;
    REQUIRE(DeadLetters(fabric.get()).Peek(0, &letter) == Status::kOk);
    return letter;
  }
  uint32_t Kept() {
    DeadLetter letter;
    uint32_t kept = 0;
    while (DeadLetters(fabric.get()).Peek(kept, &letter) == Status::kOk) ++kept;
    return kept;
  }
  LaneCensus Work() { return bob.agent.mailbox().lanes[kWorkLane].Census(); }
};

std::string BodyOf(Fabric* fabric, const DeadLetter& letter) {
  std::unique_ptr<char[]> body;
  REQUIRE(DeadLetters(fabric).CopyBody(letter, &body) == Status::kOk);
  return {body.get(), letter.body_bytes};
}

TEST_CASE(
    "Agent.Nack: at the limit of attempts the message becomes a dead letter with the reason") {
  Pair pair;
  const MessageId id = pair.Send({.body = "poison", .type = "t", .kind = BodyKind::kText});
  CHECK(pair.NackAll("cannot parse it") == 3);
  const DeadLetter letter = pair.First();
  CHECK(letter.message.id.uid == id.uid);
  CHECK(letter.message.id.number == id.number);
  CHECK(letter.message.From() == "alice");
  CHECK(letter.message.Type() == "t");
  CHECK(letter.message.kind == BodyKind::kText);
  CHECK(letter.To() == "bob");
  CHECK(letter.Reason() == "cannot parse it");
  CHECK(letter.cause == DeathCause::kAttempts);
  CHECK(letter.attempts == 3);
  CHECK(letter.lane == kWorkLane);
  CHECK(letter.died_at_ms > 1'600'000'000'000);
  CHECK((BodyOf(pair.fabric.get(), letter) == "poison"));
  CHECK(pair.Work().dead_lettered == 1);
  CHECK(pair.Work().acked == 0);
  CHECK(pair.bob.agent.Depth() == 0);
  CHECK(pair.bob.agent.counters().Get(Metric::kMessagesDeadLettered) == 1);
}

TEST_CASE("Agent.Nack: without a limit, or below it, a message comes again for ever") {
  Pair pair(0);
  pair.Send({.body = "x"});
  for (int i = 0; i < 40; ++i) {
    const Letter letter = TakeLetter(pair.bob.agent);
    REQUIRE(letter.status == Status::kOk);
    REQUIRE(pair.bob.agent.Nack(letter.delivery.token, 0, "again") == Status::kOk);
  }
  CHECK(pair.Kept() == 0);
}

TEST_CASE("Agent.TryTake: what its readers died of is put away when it is met") {
  Pair pair;
  const MessageId id = pair.Send({.body = PatternBody(1, 5000)});
  for (int lives = 0; lives < 3; ++lives) {
    CHECK(TakeLetter(pair.bob.agent).status == Status::kOk);
    pair.bob.agent.Leave();
    REQUIRE(pair.bob.agent.Join(&pair.bob.participant, {.name = "bob"}, nullptr) == Status::kOk);
  }
  pair.Send({.body = "next"});
  CHECK(TakeLetter(pair.bob.agent).body == "next");
  const DeadLetter letter = pair.First();
  CHECK(letter.message.id.number == id.number);
  CHECK(letter.Reason() == "attempts");
  CHECK(letter.attempts == 3);
  CHECK((BodyOf(pair.fabric.get(), letter) == PatternBody(1, 5000)));
}

TEST_CASE("Agent.TryTake: the largest body, the longest names and reason fit into a dead letter") {
  FabricOptions options = WithLimit(1);
  TestFabric fabric(options);
  const std::string long_name(kMaxNameBytes, 'n');
  Member alice(fabric.get(), long_name), bob(fabric.get(), std::string(kMaxNameBytes, 'b'));
  Route route = RouteTo(bob.agent.name());
  const std::string body = PatternBody(7, kMaxBodyBytes);
  const std::string type(kMaxNameBytes, 't');
  REQUIRE(alice.agent.TrySend(&route, {.body = body, .type = type}, nullptr) == Status::kOk);
  Delivery delivery;
  REQUIRE(bob.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  const std::string reason(kMaxReasonBytes + 50, 'r');
  REQUIRE(bob.agent.Nack(delivery.token, 0, reason) == Status::kOk);
  DeadLetter letter;
  REQUIRE(DeadLetters(fabric.get()).Peek(0, &letter) == Status::kOk);
  CHECK(letter.Reason() == reason.substr(0, kMaxReasonBytes));
  CHECK(letter.To() == bob.agent.name());
  CHECK(letter.message.From() == long_name);
  CHECK((BodyOf(fabric.get(), letter) == body));
  MessageId sent;
  REQUIRE(alice.agent.Redrive(letter.message.id, &sent) == Status::kOk);
  REQUIRE(bob.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  std::string again(delivery.body_bytes, 0);
  REQUIRE(bob.agent.CopyBody(delivery, again.data()) == Status::kOk);
  CHECK((again == body));
  REQUIRE(bob.agent.Ack(delivery.token) == Status::kOk);
  CHECK(fabric->slab().Census().placed == 0);
  CHECK(fabric->slab().Census().loaned == 0);
}

TEST_CASE("Agent.TryTake: an expired message is a dead letter, whoever meets it, and not before") {
  Pair pair;
  const auto now_ms = static_cast<uint64_t>(MonotonicNs() / 1'000'000);
  const MessageId old = pair.Send({.body = "old", .expires_at_ms = now_ms});
  pair.Send({.body = "young", .expires_at_ms = now_ms + 3'600'000});
  pair.Send({.body = "eternal"});
  CHECK(TakeLetter(pair.bob.agent).body == "young");
  CHECK(TakeLetter(pair.bob.agent).body == "eternal");
  const DeadLetter letter = pair.First();
  CHECK(letter.message.id.number == old.number);
  CHECK(letter.cause == DeathCause::kExpired);
  CHECK(letter.Reason() == "expired");
  CHECK(letter.attempts == 0);
  CHECK(pair.Kept() == 1);
  CHECK(pair.bob.agent.counters().Get(Metric::kMessagesExpired) == 1);
}

TEST_CASE("Agent.TryTake: a place that held an expiring message expires no later one") {
  Pair pair;
  for (uint32_t i = 0; i < 3 * pair.bob.agent.mailbox().lanes[kWorkLane].capacity(); ++i) {
    pair.Send({.body = "x", .expires_at_ms = i % 2 == 0 ? 1u : 0u});
    CHECK(TakeLetter(pair.bob.agent).status == (i % 2 == 0 ? Status::kEmpty : Status::kOk));
    if (i % 2 == 0) continue;
    pair.bob.agent.Leave();
    REQUIRE(pair.bob.agent.Join(&pair.bob.participant, {.name = "bob"}, nullptr) == Status::kOk);
    const Letter letter = TakeLetter(pair.bob.agent);
    REQUIRE(pair.bob.agent.Ack(letter.delivery.token) == Status::kOk);
  }
}

TEST_CASE("Agent.TryTake: twice given back, a message comes alone; nobody looked at the others") {
  Pair pair(5);
  for (int i = 0; i < 3; ++i) pair.Send({.body = std::string(1, static_cast<char>('a' + i))});
  for (int lives = 0; lives < 2; ++lives) {
    Delivery delivery;
    for (int i = 0; i < 3; ++i) {
      CHECK(pair.bob.agent.TryTake(TakeFilter::kAll, &delivery, nullptr, i > 0) == Status::kOk);
    }
    pair.bob.agent.Leave();
    REQUIRE(pair.bob.agent.Join(&pair.bob.participant, {.name = "bob"}, nullptr) == Status::kOk);
  }
  for (int i = 0; i < 3; ++i) {
    const Letter letter = TakeLetter(pair.bob.agent);
    CHECK(letter.body == std::string(1, static_cast<char>('a' + i)));
    CHECK(letter.delivery.attempt == 2);
    Delivery other;
    CHECK(pair.bob.agent.TryTake(TakeFilter::kAll, &other, nullptr, true) == Status::kEmpty);
    REQUIRE(pair.bob.agent.Ack(letter.delivery.token) == Status::kOk);
  }
  CHECK(pair.bob.agent.Depth() == 0);
}

TEST_CASE("Agent.Release: gives back without counting it, in its place") {
  Pair pair(2);
  pair.Send({.body = "a"});
  pair.Send({.body = "b"});
  for (int i = 0; i < 30; ++i) {
    const Letter letter = TakeLetter(pair.bob.agent);
    CHECK(letter.body == "a");
    CHECK(letter.delivery.attempt == 0);
    REQUIRE(pair.bob.agent.Release(letter.delivery.token) == Status::kOk);
    CHECK(pair.bob.agent.Ack(letter.delivery.token) == Status::kLeaseLost);
  }
  CHECK(pair.Kept() == 0);
}

TEST_CASE("Agent.Redrive: sends it again, to whom it was sent, as from who sent it; once") {
  Pair pair(1);
  const MessageId id = pair.Send({.body = "task", .type = "job", .lane = kControlLane});
  pair.NackAll("busy");
  Member eve(pair.fabric.get(), "eve");
  MessageId sent;
  CHECK(eve.agent.Redrive({id.uid, id.number + 7}, &sent) == Status::kEmpty);
  REQUIRE(eve.agent.Redrive(id, &sent) == Status::kOk);
  CHECK(sent.uid == eve.participant.uid());
  CHECK(eve.agent.Redrive(id, &sent) == Status::kEmpty);
  const Letter letter = TakeLetter(pair.bob.agent);
  CHECK(letter.body == "task");
  CHECK(letter.delivery.From() == "alice");
  CHECK(letter.delivery.Type() == "job");
  CHECK(letter.delivery.token.lane == kControlLane);
  CHECK(letter.delivery.attempt == 0);
  CHECK(pair.Kept() == 0);
  CHECK(eve.agent.counters().Get(Metric::kMessagesRedriven) == 1);
}

TEST_CASE("Agent.Redrive: where it is not accepted, it stays a dead letter") {
  Pair pair(1);
  const MessageId id = pair.Send({.body = "task"});
  pair.NackAll();
  MessageId sent;
  while (pair.alice.agent.TrySend(&pair.to_bob, {.body = "fill"}, nullptr) == Status::kOk) {
  }
  CHECK(pair.alice.agent.Redrive(id, &sent) == Status::kFull);
  CHECK(pair.Kept() == 1);
  pair.bob.agent.Clear();
  pair.bob.agent.Leave();
  CHECK(pair.alice.agent.Redrive(id, &sent) == Status::kNoAgent);
  CHECK(pair.Kept() == 1);
}

TEST_CASE("DeadLetters.Keep: full, the message stays in its mailbox, and is put away later") {
  Pair pair(1);
  DeadLetters letters(pair.fabric.get());
  MailboxView view;
  uint32_t kept = 0;
  for (; kept == 0 || kept < view.lanes[kWorkLane].capacity(); ++kept) {
    pair.Send({.body = "x"});
    REQUIRE(pair.NackAll() == 1);
    REQUIRE(letters.View(&view));
  }
  const MessageId last = pair.Send({.body = "one more"});
  Letter letter = TakeLetter(pair.bob.agent);
  REQUIRE(pair.bob.agent.Nack(letter.delivery.token, 0, "no") == Status::kOk);
  CHECK(pair.Kept() == kept);
  CHECK(pair.Work().ready == 1);
  uint32_t delay_ms = 0;
  Delivery none;
  CHECK(pair.bob.agent.TryTake(TakeFilter::kAll, &none, &delay_ms) == Status::kEmpty);
  CHECK(delay_ms > 0);
  DeadLetter oldest = pair.First();
  REQUIRE(letters.Take(&pair.alice.participant, oldest.message.id, &oldest) == Status::kOk);
  REQUIRE(letters.Settle(&pair.alice.participant, oldest, kDropped) == Status::kOk);
  CHECK(pair.bob.agent.Receive(&none, Deadline::After(3000 * kMs)) == Status::kTimedOut);
  CHECK(pair.Kept() == kept);
  DeadLetter newest;
  REQUIRE(letters.Peek(kept - 1, &newest) == Status::kOk);
  CHECK(newest.message.id.number == last.number);
  CHECK(pair.Work().ready == 0);
  CHECK(pair.Work().dead_lettered == kept + 1);
}

TEST_CASE("DeadLetters.Keep: no second letter of one id, nor one for a message that was lost") {
  Pair pair(1);
  pair.Send({.body = "x"});
  const Letter letter = TakeLetter(pair.bob.agent);
  DeadLetters letters(pair.fabric.get());
  const Obituary why = {"bob", "r", DeathCause::kAttempts, 1};
  uint64_t position = 0;
  REQUIRE(letters.Keep(&pair.bob.participant, letter.delivery, "x", why, &position) == Status::kOk);
  CHECK(position != DeadLetters::kNowhere);
  uint64_t again = 0;
  REQUIRE(letters.Keep(&pair.alice.participant, letter.delivery, "x", why, &again) == Status::kOk);
  CHECK(again == DeadLetters::kNowhere);
  CHECK(pair.Kept() == 1);
  letters.TakeBack(&pair.bob.participant, again);
  CHECK(pair.Kept() == 1);
  letters.TakeBack(&pair.bob.participant, position);
  CHECK(pair.Kept() == 0);
}

TEST_CASE("TraceMessage: a dead letter is found, with its reason, until it is gone") {
  Pair pair(1);
  const MessageId id = pair.Send({.body = "x"});
  pair.NackAll("because");
  TraceReport report;
  REQUIRE(TraceMessage(*pair.fabric, id, &report) == Status::kOk);
  CHECK(report.state == TraceState::kDeadLettered);
  CHECK(report.is_letter);
  CHECK(report.letter.Reason() == "because");
  for (uint32_t i = 0; i < 3 * pair.bob.agent.mailbox().lanes[kWorkLane].capacity(); ++i) {
    pair.Send({.body = "y"});
    const Letter letter = TakeLetter(pair.bob.agent);
    REQUIRE(pair.bob.agent.Ack(letter.delivery.token) == Status::kOk);
  }
  TraceReport later;  // its place holds another message by now
  REQUIRE(TraceMessage(*pair.fabric, id, &later) == Status::kOk);
  CHECK(later.state == TraceState::kDeadLettered);
  CHECK(later.letter.To() == "bob");
  DeadLetters letters(pair.fabric.get());
  DeadLetter dropped;
  REQUIRE(letters.Take(&pair.alice.participant, id, &dropped) == Status::kOk);
  REQUIRE(letters.Settle(&pair.alice.participant, dropped, kDropped) == Status::kOk);
  TraceReport none;
  CHECK(TraceMessage(*pair.fabric, id, &none) == Status::kEmpty);
}

// Does with letters all that can be done, whatever they are by now.
void UseAll(Pair& pair) {
  DeadLetters letters(pair.fabric.get());
  DeadLetter letter;
  for (uint64_t i = 0; i < 12; ++i) {
    const Status peeked = letters.Peek(i, &letter);
    if (peeked == Status::kEmpty) break;
    if (peeked != Status::kOk) continue;
    std::unique_ptr<char[]> body;
    letters.CopyBody(letter, &body);
    DeadLetter mine;
    if (letters.Take(&pair.bob.participant, letter.message.id, &mine) == Status::kOk) {
      if (i % 2 == 0) {
        letters.Settle(&pair.bob.participant, mine, VoidReason::kDropped);
      } else {
        letters.GiveBack(&pair.bob.participant, mine);
      }
    }
    TraceReport report;
    TraceMessage(*pair.fabric.get(), letter.message.id, &report);
  }
}

// Acks what bob holds at the moment in which its letter is kept.
Pair* acking = nullptr;
LeaseToken acked_token;
void AckAtKept(const char* name) {
  if (std::strcmp(name, "dead.kept") != 0) return;
  Lane lane = acking->bob.agent.mailbox().lanes[acked_token.lane];
  (void)lane.Settle(acked_token.position, acked_token.word, kAcked);
}

TEST_CASE("Agent.Nack: of a message that somebody acked meanwhile no letter stays") {
  Pair pair(1);
  pair.Send({.body = "done after all"});
  const Letter letter = TakeLetter(pair.bob.agent);
  REQUIRE(letter.status == Status::kOk);
  acking = &pair;
  acked_token = letter.delivery.token;
  TheFailPlan().observer = AckAtKept;
  const Status status = pair.bob.agent.Nack(letter.delivery.token, 0, "late");
  TheFailPlan().observer = nullptr;
  CHECK(status == Status::kAlreadyAcked);
  DeadLetter found;
  CHECK(DeadLetters(pair.fabric.get()).Peek(0, &found) == Status::kEmpty);
}

TEST_CASE("DeadLetters: garbage in them harms nobody, and mail goes on") {
  uint64_t x = 88172645463325252u;
  const auto random = [&x] {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
  };
  for (uint32_t seed = 0; seed < 120; ++seed) {
    Pair pair(1);
    for (uint32_t i = 0; i < 6; ++i) {
      pair.Send({.body = i % 3 == 0 ? PatternBody(i, 3000) : std::string(i, 'x')});
    }
    pair.NackAll(seed % 2 == 0 ? "why" : "");
    MailboxView view;
    REQUIRE(DeadLetters(pair.fabric.get()).View(&view));
    const Lane& lane = view.lanes[kWorkLane];
    const uint32_t targets[] = {kState, kSenderUid, kNumber, kSlab, kLengths, kPayload};
    for (uint32_t n = 0; n < 1 + seed % 5; ++n) {
      const uint32_t word = targets[(seed + n) % 6] + (seed % 6 == 5 ? random() % 4 : 0);
      auto& target = lane.At(random() % 8).words[word];
      const uint64_t old = target.load();
      target.store(seed % 3 == 0 ? random() : old ^ (uint64_t{1} << random() % 64));
    }
    const uint64_t ref = pair.fabric.get()->words().dead_letters.load();
    if (seed % 10 == 7) pair.fabric.get()->words().dead_letters.store(random());
    if (seed % 10 == 8) pair.fabric.get()->words().dead_letters.store(ref + (uint64_t{1} << 32));
    UseAll(pair);
    pair.Send({.body = "another"});
    pair.NackAll();
    UseAll(pair);

    Route to_alice = RouteTo("alice");
    REQUIRE(pair.bob.agent.TrySend(&to_alice, {.body = "goes on"}, nullptr) == Status::kOk);
    CHECK(TakeLetter(pair.alice.agent).body == "goes on");
  }
}

}  // namespace
}  // namespace cfc
