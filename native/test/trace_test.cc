#include "core/trace.h"

#include <doctest/doctest.h>

#include <string>

#include "core/failpoint.h"
#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::Member;
using test::RouteTo;
using test::TakeLetter;
using test::TestFabric;
using test::Watchdog;

MessageId Send(Agent& from, std::string_view to, bool receipt = false) {
  Route route = RouteTo(to);
  Outgoing message;
  message.body = "x";
  message.wants_receipt = receipt;
  Receipt sent;
  REQUIRE(from.TrySend(&route, message, &sent) == Status::kOk);
  return sent.id;
}

TraceState StateOf(Fabric& fabric, MessageId id) {
  TraceReport report;
  REQUIRE(TraceMessage(fabric, id, &report) == Status::kOk);
  CHECK(report.message.id.number == id.number);
  CHECK(report.message.From() == "alice");
  return report.state;
}

TEST_CASE("TraceMessage: follows a message from queued over leased to acked") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob");
  const MessageId id = Send(alice.agent, "bob");
  CHECK(StateOf(*fabric, id) == TraceState::kQueued);
  const test::Letter letter = TakeLetter(bob.agent);
  TraceReport report;
  REQUIRE(TraceMessage(*fabric, id, &report) == Status::kOk);
  CHECK(report.state == TraceState::kLeased);
  CHECK(report.holder == bob.participant.owner());
  CHECK(report.entry == bob.agent.entry());
  REQUIRE(bob.agent.AckWithoutReclaim(letter.delivery.token) == Status::kOk);
  CHECK(StateOf(*fabric, id) == TraceState::kAcked);
  bob.agent.Reclaim(kWorkLane);
  CHECK(StateOf(*fabric, id) == TraceState::kAcked);  // its cell is free, and says so
}

TEST_CASE("TraceMessage: knows a held message, and how often one was given back") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob");
  const MessageId id = Send(alice.agent, "bob");
  test::Letter letter = TakeLetter(bob.agent);
  REQUIRE(bob.agent.Nack(letter.delivery.token, 0) == Status::kOk);
  letter = TakeLetter(bob.agent);
  REQUIRE(bob.agent.HandOver(&letter.delivery.token) == Status::kOk);
  TraceReport report;
  REQUIRE(TraceMessage(*fabric, id, &report) == Status::kOk);
  CHECK(report.state == TraceState::kHeld);
  CHECK(report.message.attempt == 1);
}

TEST_CASE("TraceMessage: does not call acked what may have been dropped") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob");
  const MessageId plain = Send(alice.agent, "bob");
  const MessageId awaited = Send(alice.agent, "bob", /*receipt=*/true);
  CHECK(bob.agent.Clear() == 2);
  CHECK(StateOf(*fabric, plain) == TraceState::kSettled);
  CHECK(StateOf(*fabric, awaited) == TraceState::kDropped);
}

TEST_CASE("TraceMessage: says nothing of a message that never was or whose place is taken") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob");
  const MessageId id = Send(alice.agent, "bob");
  TraceReport report;
  CHECK(TraceMessage(*fabric, {id.uid, id.number + 1}, &report) == Status::kEmpty);
  CHECK(TraceMessage(*fabric, {id.uid + 1, id.number}, &report) == Status::kEmpty);
  CHECK(TraceMessage(*fabric, {0, 0}, &report) == Status::kEmpty);
  for (uint32_t i = 0; i < bob.agent.mailbox().lanes[kWorkLane].capacity(); ++i) {
    const test::Letter letter = TakeLetter(bob.agent);
    REQUIRE(bob.agent.Ack(letter.delivery.token) == Status::kOk);
    Send(alice.agent, "bob");
  }
  CHECK(TraceMessage(*fabric, id, &report) == Status::kEmpty);
}

#ifdef CFC_FAIL_POINTS
TEST_CASE("Agent.Clear of another's mailbox: what a clearer that died had taken comes again") {
  const Watchdog watchdog;
  TestFabric fabric;
  Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob");
  for (int i = 0; i < 5; ++i) Send(alice.agent, "bob");
  Child clearer([&] {
    static Participant participant;
    if (participant.Register(fabric.get(), nullptr) != Status::kOk) return 1;
    AgentRecord record;
    MailboxView view;
    if (AgentDirectory(fabric.get()).Find("bob", &record) != Status::kOk) return 2;
    if (!fabric->mail().View(MailboxRefBox(record.mailbox), &view)) return 3;
    TheFailPlan().Set("take.leased:3");
    Agent::Clear(participant, view, record.mailbox);
    return 4;
  });
  CHECK(clearer.ExitCode() == 256);
  Sweep(*fabric, alice.participant.owner());
  int received = 0;
  for (test::Letter letter = TakeLetter(bob.agent); letter.status == Status::kOk;
       letter = TakeLetter(bob.agent)) {
    received += 1;
    REQUIRE(bob.agent.Ack(letter.delivery.token) == Status::kOk);
  }
  const LaneCensus census = bob.agent.mailbox().lanes[kWorkLane].Census();
  CHECK(received == 3);
  CHECK(census.acked == 3);
  CHECK(census.dropped == 2);
}
#endif  // CFC_FAIL_POINTS

TEST_CASE("TraceMessage: of a message with a receipt, its verdict outlives its cell") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob");
  const MessageId acked = Send(alice.agent, "bob", /*receipt=*/true);
  REQUIRE(bob.agent.Ack(TakeLetter(bob.agent).delivery.token) == Status::kOk);
  const MessageId dropped = Send(alice.agent, "bob", /*receipt=*/true);
  REQUIRE(bob.agent.Clear() == 1);
  CHECK(StateOf(*fabric, acked) == TraceState::kAcked);
  CHECK(StateOf(*fabric, dropped) == TraceState::kDropped);
}

#ifdef CFC_FAIL_POINTS

// A look at a message from between its copy and its commit.
struct Onlooker {
  Fabric* fabric = nullptr;
  MessageId id;
  bool quarantines = false;
  bool done = false;
  Status status = Status::kOk;
  TraceState state = TraceState::kSettled;
} onlooker;

void LookOn(const char* name) {
  if (std::string_view(name) != "commit.before" || onlooker.done) return;
  onlooker.done = true;
  if (onlooker.quarantines) {
    onlooker.fabric->mail().ForEach([](MailboxView view) {
      Lane& lane = view.lanes[kWorkLane];
      (void)lane.QuarantineHead(1000);
      (void)lane.QuarantineHead(1000 + kQuarantineMs);
    });
  }
  TraceReport report;
  onlooker.status = TraceMessage(*onlooker.fabric, onlooker.id, &report);
  onlooker.state = report.state;
}

TEST_CASE("TraceMessage: one that is being written is no more than that, one set aside nothing") {
  for (const bool quarantines : {false, true}) {
    CAPTURE(quarantines);
    TestFabric fabric;
    Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob");
    const MessageId first = Send(alice.agent, "bob");
    REQUIRE(bob.agent.Clear() == 1);
    onlooker = {fabric.get(), {first.uid, first.number + 1}, quarantines};
    TheFailPlan().observer = LookOn;
    const MessageId id = Send(alice.agent, "bob");
    TheFailPlan().observer = nullptr;
    REQUIRE(id.number == onlooker.id.number);
    CHECK(onlooker.done);
    CHECK(onlooker.status == (quarantines ? Status::kEmpty : Status::kOk));
    if (!quarantines) CHECK(onlooker.state == TraceState::kWriting);
    CHECK(StateOf(*fabric, id) == TraceState::kQueued);  // sent again, where it was set aside
    CHECK(TakeLetter(bob.agent).body == "x");
  }
}

#endif  // CFC_FAIL_POINTS

TEST_CASE("TraceSends: the newest messages of one sender first, settled ones too") {
  TestFabric fabric;
  Member alice(fabric.get(), "alice"), bob(fabric.get(), "bob"), carol(fabric.get(), "carol");
  const MessageId first = Send(alice.agent, "bob");
  const MessageId second = Send(alice.agent, "carol");
  Send(carol.agent, "bob");  // of another one, with a name as long
  const test::Letter letter = TakeLetter(bob.agent);
  REQUIRE(bob.agent.Ack(letter.delivery.token) == Status::kOk);

  TraceReport reports[4];
  REQUIRE(TraceSends(*fabric, "alice", reports, 4) == 2);
  CHECK(reports[0].message.id.number == second.number);
  CHECK(reports[0].state == TraceState::kQueued);
  CHECK(reports[0].entry == carol.agent.entry());
  CHECK(reports[1].message.id.number == first.number);
  CHECK(reports[1].state == TraceState::kAcked);
  CHECK(reports[1].message.InlineBody() == "x");
  REQUIRE(TraceSends(*fabric, "alice", reports, 1) == 1);
  CHECK(reports[0].message.id.number == second.number);
  CHECK(TraceSends(*fabric, "nobody", reports, 4) == 0);
  CHECK(TraceSends(*fabric, "alice", reports, 0) == 0);
}

}  // namespace
}  // namespace cfc
