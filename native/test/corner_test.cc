// Corners of the core that take two or three steps to reach: what a participant that lost its slot
// is told, mailboxes with every place for a reader taken, verdicts on cells that went on.
#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <vector>

#include "core/failpoint.h"
#include "core/group.h"
#include "core/lifecycle.h"
#include "core/topic.h"
#include "support.h"

namespace cfc {
namespace {

using test::Census;
using test::CensusOf;
using test::Child;
using test::kMs;
using test::Letter;
using test::Member;
using test::PatternBody;
using test::RouteTo;
using test::TakeLetter;
using test::TestFabric;

Status SendTo(Agent& from, std::string_view to, std::string_view body) {
  Route route = RouteTo(to);
  return from.TrySend(&route, {.body = body}, nullptr);
}

TEST_CASE("Participant: one whose slot was given away is told so by everything that it tries") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  REQUIRE(SendTo(ann.agent, "ann", "one") == Status::kOk);
  REQUIRE(SendTo(ann.agent, "ann", "two") == Status::kOk);
  const Letter letter = TakeLetter(ann.agent);
  Slot* const slot = fabric->SlotAt(ann.participant.slot_index());
  const uint64_t word = slot->word.load();
  slot->word.store(PackSlot(SlotGeneration(word) + 1, 0, SlotState::kLive));
  CHECK(ann.participant.OnBackstop(false) == Status::kParticipantLost);
  CHECK(ann.agent.Ack(letter.delivery.token) == Status::kParticipantLost);
  CHECK(ann.agent.Nack(letter.delivery.token, 0) == Status::kParticipantLost);
  CHECK(SendTo(ann.agent, "ann", "three") == Status::kParticipantLost);
  Delivery delivery;
  CHECK(ann.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kParticipantLost);
  CHECK(ann.agent.Receive(&delivery, Deadline::After(kMs)) == Status::kParticipantLost);
  CHECK(ann.agent.Release(letter.delivery.token) == Status::kParticipantLost);
  MessageId sent;
  CHECK(ann.agent.Redrive(letter.delivery.id, &sent) == Status::kParticipantLost);
  Route route = RouteTo("ann");
  Receipt receipt;
  bool asked = false;
  CHECK(ann.agent.Forward(letter.delivery.token, &route, &receipt, &asked) ==
        Status::kParticipantLost);
  slot->word.store(word);
}

TEST_CASE("Participant: one that reads more lanes than it has intents is looked for everywhere") {
  TestFabric fabric;
  Participant me;
  REQUIRE(me.Register(fabric.get(), nullptr) == Status::kOk);
  for (uint64_t lane = 1; lane <= 6; ++lane) me.IntendToRead(lane);
  bool everywhere = false;
  for (const auto& intent : fabric->SlotAt(me.slot_index())->intents) {
    everywhere = everywhere || intent.load() == kSweepAll;
  }
  CHECK(everywhere);
}

TEST_CASE("Reaper: an owner that cannot be is nobody to repair") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  const Owner nobody = MakeOwner(60'000, 1);
  CHECK(ReapIfDead(*fabric, nobody, ann.participant.owner()).reaped == 0);
  CHECK(RepairParticipant(*fabric, nobody).settled == 0);
  CHECK(RepairParticipant(*fabric, MakeOwner(0, 1)).settled == 0);
}

TEST_CASE("Reaper: chunks of a dead sender stay while its message is leased or held") {
  for (const bool held : {false, true}) {
    CAPTURE(held);
    TestFabric fabric;
    Member ann(fabric.get(), "ann");
    const std::string body = PatternBody(1, 5000);
    Child sender([&]() -> int {
      static Member me;
      if (me.participant.Register(fabric.get(), nullptr) != Status::kOk) return 1;
      if (me.agent.Join(&me.participant, {.name = "bob"}, nullptr) != Status::kOk) return 1;
      return SendTo(me.agent, "ann", body) == Status::kOk ? raise(SIGKILL) : 1;
    });
    REQUIRE(sender.ExitCode() == 256);
    Delivery delivery;
    REQUIRE(ann.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
    if (held) REQUIRE(ann.agent.HandOver(&delivery.token) == Status::kOk);
    CHECK(Sweep(*fabric, ann.participant.owner()).reaped == 1);
    CHECK(CensusOf(*fabric).chunks_placed > 0);
    std::string copy(delivery.body_bytes, '\0');
    CHECK(ann.agent.CopyBody(delivery, copy.data()) == Status::kOk);
    CHECK((copy == body));
    CHECK(ann.agent.Ack(delivery.token) == Status::kOk);
    CHECK(CensusOf(*fabric).chunks_placed == 0);
  }
}

TEST_CASE("Agent: a mailbox with every place for readers taken refuses one more, until one dies") {
  TestFabric fabric;
  Member other(fabric.get(), "other");
  Participant holder, me;
  Agent shim, guest;
  REQUIRE(holder.Register(fabric.get(), nullptr) == Status::kOk);
  REQUIRE(shim.Join(&holder, {.name = "ann", .shim = true}, nullptr) == Status::kOk);
  const std::string token = LifeToken(*fabric, shim.entry(), shim.incarnation());
  REQUIRE(me.Register(fabric.get(), nullptr) == Status::kOk);
  REQUIRE(guest.Join(&me, {.name = "ann", .life = token}, nullptr) == Status::kOk);
  auto& readers = guest.mailbox().words->readers;
  for (auto& reader : readers) reader.store(other.participant.owner());
  CHECK(TakeLetter(guest).status == Status::kReadersFull);
  // The owner of a free slot is proven dead.
  const Owner dead = MakeOwner(fabric->slots(), 1);
  REQUIRE(fabric->ProvenDead(dead));
  readers[3].store(dead);
  CHECK(TakeLetter(guest).status == Status::kEmpty);
  CHECK(readers[3].load() == me.owner());
  for (auto& reader : readers) {
    if (reader.load() == other.participant.owner()) reader.store(0);
  }
}

TEST_CASE("Agent: a lease that was taken back cannot be handed over, nor settled, nor copied") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  REQUIRE(SendTo(ann.agent, "ann", PatternBody(1, 3000)) == Status::kOk);
  Delivery delivery;
  REQUIRE(ann.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  MailboxView view = ann.agent.mailbox();
  REQUIRE(view.lanes[kWorkLane].Fence(ann.participant.owner()) == 1);
  LeaseToken token = delivery.token;
  CHECK(ann.agent.HandOver(&token) == Status::kLeaseLost);
  CHECK(ann.agent.HandOver(&token) == Status::kLeaseLost);
  CHECK(ann.agent.Ack(delivery.token) == Status::kLeaseLost);
  CHECK(ann.agent.Nack(delivery.token, 1) == Status::kLeaseLost);
  std::string copy(delivery.body_bytes, '\0');
  CHECK(ann.agent.CopyBody(delivery, copy.data()) == Status::kLeaseLost);
  const Letter again = TakeLetter(ann.agent);
  CHECK(again.delivery.attempt == 1);
  CHECK((again.body == PatternBody(1, 3000)));
}

TEST_CASE("Agent.Peek: what went on meanwhile is not copied, and the state is optional") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  REQUIRE(SendTo(ann.agent, "ann", PatternBody(1, 3000)) == Status::kOk);
  Delivery seen;
  REQUIRE(ann.agent.Peek(kWorkLane, 0, &seen, nullptr) == Status::kOk);
  const Letter letter = TakeLetter(ann.agent);
  REQUIRE(ann.agent.Ack(letter.delivery.token) == Status::kOk);
  std::string copy(seen.body_bytes, '\0');
  CHECK(Agent::CopyPeeked(*fabric, ann.agent.mailbox(), seen, copy.data()) == Status::kLeaseLost);
}

TEST_CASE("Agent.WaitMail: says at once that there is mail, or that too much is leased") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  for (int i = 0; i < 12; ++i) REQUIRE(SendTo(ann.agent, "ann", "x") == Status::kOk);
  CHECK(ann.agent.WaitMail(Deadline::After(20'000 * kMs)) == Status::kOk);
  Delivery delivery;
  while (ann.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk) {
  }
  CHECK(ann.agent.WaitMail(Deadline::After(20'000 * kMs)) == Status::kFull);
}

TEST_CASE("Agent: of several delayed messages the earliest ends the wait") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  std::vector<LeaseToken> tokens;
  for (int i = 0; i < 3; ++i) {
    REQUIRE(SendTo(ann.agent, "ann", std::to_string(i)) == Status::kOk);
    Delivery delivery;
    REQUIRE(ann.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
    tokens.push_back(delivery.token);
  }
  const uint32_t delays_ms[] = {60'000, 30'000, 90'000};
  for (size_t i = 0; i < 3; ++i) {
    REQUIRE(ann.agent.Nack(tokens[i], delays_ms[i]) == Status::kOk);
  }
  Delivery delivery;
  uint32_t delay_ms = 0;
  CHECK(ann.agent.TryTake(TakeFilter::kAll, &delivery, &delay_ms) == Status::kEmpty);
  CHECK(delay_ms > 0);
  CHECK(delay_ms <= 30'000);
  int64_t longest = kBackstopNs;
  CHECK_FALSE(ann.agent.HasMail(TakeFilter::kAll, &longest));
}

TEST_CASE("Agent.Verdict: of a cell that carries another message by now, unless some were lost") {
  for (const bool loses : {false, true}) {
    CAPTURE(loses);
    TestFabric fabric;
    Member ann(fabric.get(), "ann");
    Route route = RouteTo("ann");
    Receipt receipt;
    REQUIRE(ann.agent.TrySend(&route, {.body = "first", .wants_receipt = true}, &receipt) ==
            Status::kOk);
    VoidReason reason = kAborted;
    CHECK(ann.agent.Verdict(receipt, &reason) == Status::kBusy);
    const uint32_t cells = ann.agent.mailbox().lanes[kWorkLane].capacity();
    for (uint32_t i = 0; i <= cells; ++i) {
      const Letter letter = TakeLetter(ann.agent);
      REQUIRE(ann.agent.Ack(letter.delivery.token) == Status::kOk);
      if (i == 0) CHECK(ann.agent.WaitSettled(receipt, &reason, Deadline::After(0)) == Status::kOk);
      REQUIRE(SendTo(ann.agent, "ann", "more") == Status::kOk);
    }
    if (loses) CHECK(ann.agent.Clear() == 1);
    const Status status = ann.agent.Verdict(receipt, &reason);
    CHECK(status == (loses ? Status::kStale : Status::kOk));
    if (!loses) CHECK(reason == kAcked);
    receipt.mailbox = PackMailboxRef(MakeBoxId(999, 0), 1);
    CHECK(ann.agent.Verdict(receipt, &reason) == Status::kStale);
  }
}

TEST_CASE("Agent.TrySendBatch: is for one lane, and rings the reader once") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  Member bob(fabric.get(), "bob");
  Route route = RouteTo("bob");
  const Outgoing mixed[2] = {{.body = "a"}, {.body = "b", .lane = kControlLane}};
  uint32_t accepted = 7;
  CHECK(ann.agent.TrySendBatch(&route, mixed, 2, nullptr, &accepted) == Status::kInvalid);
  CHECK(accepted == 0);
  bob.participant.ParkInLoop();
  const Outgoing same[2] = {{.body = "a"}, {.body = "b"}};
  CHECK(ann.agent.TrySendBatch(&route, same, 2, nullptr, &accepted) == Status::kOk);
  CHECK(accepted == 2);
  CHECK(ann.agent.counters().Get(Metric::kRings) == 1);
  bob.participant.Unpark();
  CHECK(TakeLetter(bob.agent).body == "a");
}

TEST_CASE("Agent.HasRoom: where the recipient left, there is nothing to wait for") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  Route route = RouteTo("bob");
  {
    Member bob(fabric.get(), "bob");
    while (ann.agent.TrySend(&route, {.body = "x"}, nullptr) == Status::kOk) {
    }
    ann.agent.AnnounceRoom(&route, kWorkLane, /*several=*/true);
    CHECK(fabric->wants().WantOf(ann.participant.owner()) == kWantSeveral);
    CHECK_FALSE(ann.agent.HasRoom(&route, kWorkLane, 1));
    CHECK(bob.agent.Clear() > 0);
    CHECK(ann.agent.HasRoom(&route, kWorkLane, 1));
    ann.agent.WithdrawRoom(&route, kWorkLane);
    CHECK(CensusOf(*fabric).wants == 0);
  }
  CHECK(ann.agent.HasRoom(&route, kWorkLane, 1));
  CHECK(ann.agent.TrySend(&route, {.body = "x"}, nullptr) == Status::kNoAgent);
}

TEST_CASE("Subscription: one that is not open, or whose participant is lost, says so") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  Subscription news;
  TopicEvent event;
  std::string body;
  CHECK(news.TryReceive(&event, &body) == Status::kClosed);
  CHECK(news.Receive(&event, &body, Deadline::After(kMs)) == Status::kClosed);
  CHECK(news.Next(&event) == Status::kClosed);
  CHECK(news.WaitEvent(Deadline::After(kMs)) == Status::kClosed);
  CHECK(news.CopyBody(event, body.data()) == Status::kClosed);
  CHECK_FALSE(news.HasEvent(nullptr));
  news.Advance(0, 0);
  Agent nobody;
  CHECK(news.Open(&nobody, "news", {}, nullptr) == Status::kClosed);
  REQUIRE(news.Open(&ann.agent, "news", {}, nullptr) == Status::kOk);
  const uint64_t before = fabric->SharedBytes();
  CHECK(before > 0);
  Slot* const slot = fabric->SlotAt(ann.participant.slot_index());
  const uint64_t word = slot->word.load();
  slot->word.store(PackSlot(SlotGeneration(word) + 1, 0, SlotState::kLive));
  REQUIRE(ann.participant.OnBackstop(false) == Status::kParticipantLost);
  CHECK(news.TryReceive(&event, &body) == Status::kParticipantLost);
  CHECK(news.WaitEvent(Deadline::After(kMs)) == Status::kParticipantLost);
  Subscription more;
  CHECK(more.Open(&ann.agent, "more", {}, nullptr) == Status::kParticipantLost);
  slot->word.store(word);
}

TEST_CASE("Fabric.SharedBytes: is what its files hold") {
  TestFabric fabric;
  const uint64_t before = fabric->SharedBytes();
  Member ann(fabric.get(), "ann");
  REQUIRE(SendTo(ann.agent, "ann", PatternBody(1, 3000)) == Status::kOk);
  CHECK(before > 0);
  CHECK(fabric->SharedBytes() >= before + (1u << 20));
}

#ifdef CFC_FAIL_POINTS

// What somebody else does to a directory between a claim and its second look.
struct Intruder {
  Fabric* fabric = nullptr;
  uint32_t at = 0;
  uint64_t word = 0;
  bool done = false;
} intruder;

void Intrude(const char* name) {
  if (std::string_view(name) != "directory.claimed" || intruder.done) return;
  intruder.done = true;
  intruder.fabric->entries()[intruder.at].word.store(intruder.word);
}

TEST_CASE("Agent.Release: of a lease that was settled says so") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  REQUIRE(SendTo(ann.agent, "ann", "one") == Status::kOk);
  const Letter letter = TakeLetter(ann.agent);
  REQUIRE(ann.agent.Ack(letter.delivery.token) == Status::kOk);
  CHECK(ann.agent.Release(letter.delivery.token) != Status::kOk);
  CHECK(ann.agent.Depth() == 0);
}

TEST_CASE("Agent: sleeps, and waits for room, are counted as what they were") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  ann.agent.NoteSleep(1000, /*woken=*/false);
  ann.agent.NoteSleep(2000, /*woken=*/true);
  ann.agent.NoteSendWait(500, 0);
  ann.agent.NoteSendWait(500, 2);
  double values[kBlockValues];
  uint64_t uid = 0;
  REQUIRE(fabric->metrics().ReadBlock(ann.agent.entry(), values, &uid));
  const auto count = [&](Metric metric) { return values[static_cast<uint32_t>(metric)]; };
  CHECK(count(Metric::kReceiveWaits) == 2);
  CHECK(count(Metric::kReceiveWaitNs) == 3000);
  CHECK(count(Metric::kWakes) == 1);
  CHECK(count(Metric::kSendWaits) == 2);
  CHECK(count(Metric::kMessagesRefused) == 2);
}

TEST_CASE("Agent: a batch is counted when it is over") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  const auto count = [&](Metric metric) { return ann.agent.counters().Get(metric); };
  for (int i = 0; i < 3; ++i) REQUIRE(SendTo(ann.agent, "ann", "four") == Status::kOk);
  LeaseToken tokens[3];
  for (int i = 0; i < 3; ++i) {
    Delivery delivery;
    REQUIRE(ann.agent.TryTake(TakeFilter::kAll, &delivery, nullptr, i > 0) == Status::kOk);
    tokens[i] = delivery.token;
  }
  CHECK(count(Metric::kMessagesReceived) == 1);
  ann.agent.CountBatch();
  ann.agent.CountBatch();
  CHECK(count(Metric::kMessagesReceived) == 3);
  CHECK(count(Metric::kBytesReceived) == 12);

  for (const LeaseToken& token : tokens) {
    REQUIRE(ann.agent.AckWithoutReclaim(token) == Status::kOk);
  }
  CHECK(count(Metric::kMessagesAcked) == 0);
  ann.agent.Reclaim(kWorkLane);
  ann.agent.Reclaim(kWorkLane);
  CHECK(count(Metric::kMessagesAcked) == 3);
}

TEST_CASE("Agent.Join: a role, team or parent that is no name is refused") {
  TestFabric fabric;
  Participant me;
  REQUIRE(me.Register(fabric.get(), nullptr) == Status::kOk);
  const AgentSpec specs[] = {{.name = "a:b"},
                             {.name = "a_b-c", .role = "no name"},
                             {.name = "ann", .team = "no/name"},
                             {.name = "ann", .parent = "_"},
                             {.name = "ann", .mailbox_cells = kMaxLaneCells + 1}};
  for (const AgentSpec& spec : specs) {
    Agent agent;
    CAPTURE(spec.name);
    CHECK(agent.Join(&me, spec, nullptr) == Status::kInvalid);
  }
  Agent agent;
  CHECK(agent.Join(&me, {.name = "a_b-C9"}, nullptr) == Status::kOk);
}

TEST_CASE("Group: a name longer than any has no members") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  const std::string longest(3 * kMaxNameBytes, 'n');
  uint32_t members = 0;
  Group(fabric.get(), GroupKind::kTeam, longest, kNoEntry).ForEach([&](const AgentRecord&) {
    ++members;
  });
  CHECK(members == 0);
}

TEST_CASE("Deadline: passes when its time is over, or never") {
  CHECK_FALSE(Deadline::After(-1).Passed());
  CHECK_FALSE(Deadline::After(3'600'000 * kMs).Passed());
  CHECK(Deadline::After(0).Passed());
}

TEST_CASE("AgentDirectory: of two that insert one name the one further forward wins") {
  for (const bool forward : {true, false}) {
    CAPTURE(forward);
    TestFabric fabric;
    Member ann(fabric.get(), "ann");
    Participant rival;
    REQUIRE(rival.Register(fabric.get(), nullptr) == Status::kOk);
    const uint32_t hash = AgentDirectory::Hash("name");
    const uint32_t home = hash & (fabric->entry_count() - 1);
    const auto at = [&](uint32_t probe) { return (home + probe) & (fabric->entry_count() - 1); };
    // Somebody of another hash lives at home, so a claim goes to the place behind it.
    auto& first = fabric->entries()[at(0)].word;
    const uint64_t before = first.load();
    first.store(PackEntry(1, ~hash, 0, EntryKind::kLive));
    intruder = {fabric.get(), at(forward ? 0 : 2),
                PackEntry(2, hash, rival.owner(), EntryKind::kClaimed), false};
    TheFailPlan().observer = Intrude;
    uint32_t entry = 0;
    const int64_t began = MonotonicNs();
    CHECK(AgentDirectory(fabric.get()).Claim(ann.participant.owner(), "name", &entry) ==
          Status::kOk);
    TheFailPlan().observer = nullptr;
    CHECK(intruder.done);
    // Given way to, it had its patience; given way by, it is set aside at once.
    if (forward) CHECK(MonotonicNs() - began >= 240 * kMs);
    const uint64_t rivals = fabric->entries()[intruder.at].word.load();
    CHECK(EntryKindOf(rivals) == EntryKind::kQuarantined);
    CHECK_FALSE(AgentDirectory(fabric.get()).Publish(rival.owner(), intruder.at));
    CHECK(AgentDirectory(fabric.get()).Publish(ann.participant.owner(), entry));
    if (!forward) first.store(before);
    AgentRecord strange;
    strange.entry = fabric->entry_count();
    CHECK_FALSE(AgentDirectory(fabric.get()).Remove(strange));
  }
}

#endif

}  // namespace
}  // namespace cfc
