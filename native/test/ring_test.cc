#include "core/ring.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "support.h"

namespace cfc {
namespace {

using test::Watchdog;

constexpr Owner kAnn = MakeOwner(1, 1);
constexpr Owner kBob = MakeOwner(2, 1);
constexpr Owner kEve = MakeOwner(3, 7);

const auto kValid = [] { return true; };
const auto kLongAgo = [] { return 0u; };  // a clock
const auto kKeep = [](auto&&...) {};      // nothing to free behind a cell

// A lane in private memory.
class TestLane {
 public:
  explicit TestLane(uint32_t capacity, uint64_t start = 0)
      : words_(new LaneWords()),
        cells_(new Cell[capacity]()),
        lane_(words_.get(), cells_.get(), capacity) {
    lane_.Initialize(start);
  }
  Lane* operator->() { return &lane_; }
  Lane& operator*() { return lane_; }

  uint64_t Claim(Owner me) {
    uint64_t position = ~uint64_t{0};
    REQUIRE(lane_.TryClaim(me, kValid, &position) == Status::kOk);
    return position;
  }
  void Fill(uint64_t position, uint64_t value, uint8_t flags = 0) {
    CellLengths lengths;
    lengths.flags = flags;
    lane_.At(position).words[kNumber].store(value, std::memory_order_relaxed);
    lane_.At(position).words[kSlab].store(0, std::memory_order_relaxed);
    lane_.At(position).words[kReceipt].store(0, std::memory_order_relaxed);
    lane_.At(position).words[kLengths].store(PackLengths(lengths), std::memory_order_relaxed);
  }
  Status Send(Owner me, uint64_t value, uint8_t flags = 0) {
    uint64_t position;
    const Status status = lane_.TryClaim(me, kValid, &position);
    if (status != Status::kOk) return status;
    Fill(position, value, flags);
    return lane_.Commit(me, position) ? Status::kOk : Status::kBusy;
  }
  Taken Take(Owner me, uint32_t now_ms = 0, TakeFilter filter = TakeFilter::kAll) {
    return lane_.Take(
        me, filter, [now_ms] { return now_ms; }, &cursors_[me], nullptr);
  }
  uint64_t ValueAt(uint64_t position) {
    return lane_.At(position).words[kNumber].load(std::memory_order_relaxed);
  }
  uint64_t StateAt(uint64_t position) { return lane_.At(position).words[kState].load(); }
  // Takes and acks; nothing where the lane is empty.
  std::optional<uint64_t> Receive(Owner me) {
    const Taken taken = Take(me);
    if (taken.status != Status::kOk) return std::nullopt;
    const uint64_t value = ValueAt(taken.position);
    REQUIRE(lane_.Settle(taken.position, taken.word, kAcked) == Status::kOk);
    lane_.Reclaim(kKeep);
    return value;
  }
  // Of those at the head, quarantines one that is claimed.
  bool Quarantine() {
    lane_.QuarantineHead(1000);
    return lane_.QuarantineHead(1000 + kQuarantineMs);
  }

 private:
  std::unique_ptr<LaneWords> words_;
  std::unique_ptr<Cell[]> cells_;
  Lane lane_;
  std::map<Owner, uint64_t> cursors_;
};

// Where a lane of that capacity is about to wrap its 32-bit laps.
constexpr uint64_t NearLapWrap(uint64_t capacity) { return (0xffff'fffe) * capacity; }

// ---- the ordinary way

TEST_CASE("Lane: what is committed is taken in order, once, and counted when it is acked") {
  TestLane lane(8);
  for (uint64_t value = 1; value <= 3; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  CHECK(lane->Depth() == 3);
  for (uint64_t value = 1; value <= 3; ++value) CHECK(lane.Receive(kBob) == value);
  CHECK_FALSE(lane.Receive(kBob).has_value());
  CHECK(lane->Depth() == 0);
  CHECK(lane->AckedCount() == 3);
}

TEST_CASE("Lane: laps and positions go on across every wrap") {
  const uint64_t capacity = 8;
  for (const uint64_t start :
       {uint64_t{0}, uint64_t{0xffff'fffa}, uint64_t{0x7fff'fffa}, NearLapWrap(capacity)}) {
    CAPTURE(start);
    TestLane lane(capacity, start);
    uint64_t sent = 0;
    uint64_t received = 0;
    for (int round = 0; round < 10; ++round) {
      while (lane.Send(kAnn, sent + 1) == Status::kOk) ++sent;
      CHECK(lane->Depth() == capacity);
      while (const std::optional<uint64_t> value = lane.Receive(kBob)) {
        CHECK(*value == ++received);
      }
    }
    CHECK(sent == 10 * capacity);
    CHECK(received == sent);
    CHECK(lane->AckedCount() - static_cast<uint32_t>(start) == sent);
    CHECK(lane->Census().free == capacity);
  }
}

TEST_CASE("Lane.TryClaim: says full until the head moves, and not a moment longer") {
  TestLane lane(8);
  for (uint64_t value = 0; value < 8; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  CHECK(lane.Send(kAnn, 8) == Status::kFull);
  const Taken taken = lane.Take(kBob);
  CHECK(lane.Send(kAnn, 8) == Status::kFull);
  REQUIRE(lane->Settle(taken.position, taken.word, kAcked) == Status::kOk);
  CHECK(lane.Send(kAnn, 8) == Status::kFull);  // acked, but its cell is not free yet
  CHECK(lane->Reclaim(kKeep) == 1);
  CHECK(lane.Send(kAnn, 8) == Status::kOk);
  CHECK(lane.Send(kAnn, 9) == Status::kFull);
}

TEST_CASE("Lane.TryClaim: a mailbox that was given away is stale, and no cell is touched") {
  TestLane lane(8);
  uint64_t position;
  CHECK(lane->TryClaim(
            kAnn, [] { return false; }, &position) == Status::kStale);
  CHECK(lane->Census().free == 8);
  CHECK(lane->Census().tail == 0);
}

TEST_CASE("Lane.TryClaim: helps the tail of a producer that died between its two steps") {
  TestLane lane(8);
  // What a death after the claim leaves: the cell is taken, the tail was not moved.
  lane->At(0).words[kState].store(PackCell(0, kEve, 0, CellKind::kClaimed));
  CHECK(lane.Claim(kAnn) == 1);
  CHECK(lane->Census().tail == 2);
}

TEST_CASE("Lane.Abort: a claim given back leaves a counted hole and no message") {
  TestLane lane(8);
  const uint64_t position = lane.Claim(kAnn);
  REQUIRE(lane.Send(kAnn, 2) == Status::kOk);
  lane->Abort(kAnn, position);
  CHECK(lane.Receive(kBob) == 2);
  CHECK(lane->Census().aborted == 1);
  CHECK(lane->AckedCount() == 1);
  CHECK(lane->Depth() == 0);
}

// ---- acks in any order, nacks, handing over

TEST_CASE("Lane.Settle: acks come in any order, and the head waits for the oldest") {
  TestLane lane(8);
  std::vector<Taken> taken;
  for (uint64_t value = 0; value < 4; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  for (int i = 0; i < 4; ++i) taken.push_back(lane.Take(kBob));
  for (const int i : {3, 1, 2}) {
    CHECK(lane->Settle(taken[i].position, taken[i].word, kAcked) == Status::kOk);
    CHECK(lane->Reclaim(kKeep) == 0);
  }
  CHECK(lane->Depth() == 4);
  CHECK(lane->Settle(taken[0].position, taken[0].word, kAcked) == Status::kOk);
  CHECK(lane->Reclaim(kKeep) == 4);
  CHECK(lane->AckedCount() == 4);
}

TEST_CASE("Lane.Settle: says when it was acked before, or leased to somebody else") {
  TestLane lane(8);
  REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
  const Taken taken = lane.Take(kBob);
  REQUIRE(lane->Fence(kBob) == 1);
  CHECK(lane->Settle(taken.position, taken.word, kAcked) == Status::kLeaseLost);
  const Taken again = lane.Take(kEve);
  REQUIRE(again.status == Status::kOk);
  CHECK(lane->Settle(taken.position, taken.word, kAcked) == Status::kLeaseLost);
  CHECK(lane->Settle(again.position, again.word, kAcked) == Status::kOk);
  CHECK(lane->Settle(again.position, again.word, kAcked) == Status::kAlreadyAcked);
  lane->Reclaim(kKeep);
  CHECK(lane->Settle(again.position, again.word, kAcked) == Status::kAlreadyAcked);
  CHECK(lane->AckedCount() == 1);
}

TEST_CASE("Lane.Holds: a lease that was taken back no longer holds") {
  TestLane lane(8);
  REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
  const Taken taken = lane.Take(kBob);
  CHECK(lane->Holds(taken.position, taken.word));
  lane->Fence(kBob);
  CHECK_FALSE(lane->Holds(taken.position, taken.word));
}

TEST_CASE("Lane.GiveBack: the message comes again, flagged, before later ones") {
  TestLane lane(8);
  REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
  REQUIRE(lane.Send(kAnn, 2) == Status::kOk);
  const Taken first = lane.Take(kBob);
  CHECK(CellAttempt(first.word) == 0);
  REQUIRE(lane->GiveBack(first.position, first.word, 0) == Status::kOk);
  const Taken again = lane.Take(kBob);
  CHECK(again.position == first.position);
  CHECK(CellAttempt(again.word) == 1);
  CHECK(lane->GiveBack(first.position, first.word, 0) == Status::kLeaseLost);
}

TEST_CASE("Lane.GiveBack: with a delay it waits its time, and others go first") {
  TestLane lane(8);
  REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
  REQUIRE(lane.Send(kAnn, 2) == Status::kOk);
  const Taken first = lane.Take(kBob, 1000);
  REQUIRE(lane->GiveBack(first.position, first.word, 1500) == Status::kOk);
  const Taken second = lane.Take(kBob, 1000);
  CHECK(lane.ValueAt(second.position) == 2);
  const Taken none = lane.Take(kBob, 1499);
  CHECK(none.status == Status::kEmpty);
  CHECK(none.delayed);
  CHECK(none.delay_ms == 1);
  const Taken due = lane.Take(kBob, 1500);
  CHECK(due.status == Status::kOk);
  CHECK(due.position == first.position);
}

TEST_CASE("Lane.GiveBack: a delay of an earlier lap delays nothing of a later one") {
  TestLane lane(8);
  REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
  const Taken taken = lane.Take(kBob, 1000);
  REQUIRE(lane->GiveBack(taken.position, taken.word, 1'000'000) == Status::kOk);
  const Taken due = lane.Take(kBob, 1'000'000);
  REQUIRE(lane->Settle(due.position, due.word, kAcked) == Status::kOk);
  lane->Reclaim(kKeep);
  for (uint64_t value = 2; value <= 9; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  for (uint64_t value = 2; value <= 8; ++value) REQUIRE(lane.Receive(kBob) == value);
  const Taken later = lane.Take(kBob, 1000);  // the same cell, a lap later
  REQUIRE(later.status == Status::kOk);
  REQUIRE(lane->GiveBack(later.position, later.word, 0) == Status::kOk);
  CHECK(lane.Take(kBob, 1000).status == Status::kOk);
}

TEST_CASE("Lane.GiveBack: without a delay it is due at once, whatever the clock says") {
  for (const uint32_t now_ms : {0u, 1u, 0x7fff'ffffu, 0x8000'0001u, 0xffff'ffffu}) {
    CAPTURE(now_ms);
    TestLane lane(8);  // in the first lap, where zeroed words could pass for a delay
    REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
    const Taken taken = lane.Take(kBob, now_ms);
    REQUIRE(lane->GiveBack(taken.position, taken.word, 0) == Status::kOk);
    CHECK(lane.Take(kBob, now_ms).status == Status::kOk);
  }
}

TEST_CASE("Lane.GiveBack: attempts are counted up to their limit and stay there") {
  TestLane lane(8);
  REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
  for (uint32_t n = 0; n < kMaxAttempt + 3; ++n) {
    const Taken taken = lane.Take(kBob);
    REQUIRE(taken.status == Status::kOk);
    CHECK(CellAttempt(taken.word) == (n < kMaxAttempt ? n : kMaxAttempt));
    REQUIRE(lane->GiveBack(taken.position, taken.word, 0) == Status::kOk);
  }
}

TEST_CASE("Lane.HandOver: the incarnation acks by the new word; the old one is void") {
  TestLane lane(8);
  REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
  const Taken taken = lane.Take(kBob);
  const uint64_t held = lane->HandOver(taken.position, taken.word, 42);
  REQUIRE(held != 0);
  CHECK(CellKindOf(held) == CellKind::kHeld);
  CHECK(lane->RepairOwner(kBob) == 0);  // it outlives the process that read it
  CHECK(lane->Settle(taken.position, taken.word, kAcked) == Status::kLeaseLost);
  CHECK(lane->HandOver(taken.position, taken.word, 42) == 0);
  CHECK(lane->Settle(taken.position, held, kAcked) == Status::kOk);
}

TEST_CASE("Lane.FenceIncarnations: what other incarnations hold comes again") {
  TestLane lane(8);
  for (uint64_t value = 1; value <= 2; ++value) {
    REQUIRE(lane.Send(kAnn, value) == Status::kOk);
    const Taken taken = lane.Take(kBob);
    REQUIRE(lane->HandOver(taken.position, taken.word, static_cast<uint32_t>(value)) != 0);
  }
  CHECK(lane->FenceIncarnations(2) == 1);
  const Taken again = lane.Take(kBob);
  CHECK(lane.ValueAt(again.position) == 1);
  CHECK(CellAttempt(again.word) == 1);
}

// ---- readers that compete, claims in the way

TEST_CASE("Lane.Take: several readers share the messages and no two get the same") {
  TestLane lane(8);
  for (uint64_t value = 1; value <= 4; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  CHECK(lane.ValueAt(lane.Take(kBob).position) == 1);
  CHECK(lane.ValueAt(lane.Take(kEve).position) == 2);
  CHECK(lane.ValueAt(lane.Take(kEve).position) == 3);
  CHECK(lane.ValueAt(lane.Take(kBob).position) == 4);
  CHECK(lane.Take(kBob).status == Status::kEmpty);
}

TEST_CASE("Lane.Take: passes one claimed cell, names its owner, and stops at the second") {
  TestLane lane(8);
  const uint64_t slow = lane.Claim(kAnn);
  REQUIRE(lane.Send(kBob, 2) == Status::kOk);
  const uint64_t slower = lane.Claim(kEve);
  REQUIRE(lane.Send(kBob, 4) == Status::kOk);

  uint64_t cursor = 0;
  Suspects suspects;
  const Taken taken = lane->Take(kBob, TakeFilter::kAll, kLongAgo, &cursor, &suspects);
  CHECK(lane.ValueAt(taken.position) == 2);
  CHECK(cursor == slow);  // never past a claim
  suspects.count = 0;
  CHECK(lane->Take(kBob, TakeFilter::kAll, kLongAgo, &cursor, &suspects).status == Status::kEmpty);
  CHECK(suspects.count >= 2);

  lane.Fill(slow, 1);
  REQUIRE(lane->Commit(kAnn, slow));
  CHECK(lane.ValueAt(lane->Take(kBob, TakeFilter::kAll, kLongAgo, &cursor, nullptr).position) == 1);
  CHECK(lane.ValueAt(lane->Take(kBob, TakeFilter::kAll, kLongAgo, &cursor, nullptr).position) == 4);
  lane->Abort(kEve, slower);
}

TEST_CASE("Lane.Take: asking for replies leaves the order of all others alone") {
  TestLane lane(16);
  for (uint64_t value = 1; value <= 6; ++value) {
    REQUIRE(lane.Send(kAnn, value, value == 4 ? kFlagReply : 0) == Status::kOk);
  }
  const Taken first = lane.Take(kBob);
  CHECK(lane.ValueAt(first.position) == 1);
  const Taken reply = lane.Take(kBob, 0, TakeFilter::kRepliesOnly);
  CHECK(lane.ValueAt(reply.position) == 4);
  // The first one is still leased, so nothing READY stands at the head.
  for (const uint64_t value : {2, 3, 5, 6}) CHECK(lane.ValueAt(lane.Take(kBob).position) == value);
}

TEST_CASE("Lane.Look: finds what Take would, and takes nothing") {
  TestLane lane(8);
  CHECK(lane->Look(TakeFilter::kAll, kLongAgo, 0, nullptr).status == Status::kEmpty);
  REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
  CHECK(lane->Look(TakeFilter::kAll, kLongAgo, 0, nullptr).status == Status::kOk);
  CHECK(lane->Look(TakeFilter::kRepliesOnly, kLongAgo, 0, nullptr).status == Status::kEmpty);
  CHECK(lane->Census().ready == 1);
}

TEST_CASE("Lane.QuarantineHead: a claim keeps its place for 250 ms from when it was first seen") {
  for (const uint64_t start : {uint64_t{0}, uint64_t{64}}) {
    CAPTURE(start);
    TestLane lane(8, start);
    const uint64_t position = lane.Claim(kAnn);
    REQUIRE(lane.Send(kBob, 2) == Status::kOk);
    const uint32_t seen_ms = 5'000'000;  // the machine has run for a while
    CHECK_FALSE(lane->QuarantineHead(seen_ms));
    CHECK_FALSE(lane->QuarantineHead(seen_ms - 1));  // by one that was stopped since its look at it
    CHECK_FALSE(lane->QuarantineHead(seen_ms + kQuarantineMs - 1));
    CHECK(lane->QuarantineHead(seen_ms + kQuarantineMs));
    CHECK_FALSE(lane->QuarantineHead(seen_ms + 10 * kQuarantineMs));

    CHECK(lane.Receive(kBob) == 2);
    CHECK(lane->Depth() == 0);
    CHECK(lane->Census().quarantined == 1);
    CHECK(lane->Census().aborted == 1);
    // The late owner finds its commit refused and leaves nothing behind.
    CHECK_FALSE(lane->Commit(kAnn, position));
    CHECK(lane->Census().quarantined == 0);
  }
}

TEST_CASE("Lane.Reclaim: a hole goes along with the laps until its owner gives it back") {
  TestLane lane(8, NearLapWrap(8));
  const uint64_t position = lane.Claim(kAnn);
  REQUIRE(lane.Send(kBob, 0) == Status::kOk);
  REQUIRE(lane.Quarantine());
  REQUIRE(lane.Receive(kBob) == 0);
  // Seven usable cells are left; four laps over the hole.
  uint64_t sent = 0;
  uint64_t received = 0;
  while (received < 28) {
    while (lane.Send(kBob, sent + 1) == Status::kOk) ++sent;
    while (const std::optional<uint64_t> value = lane.Receive(kBob)) CHECK(*value == ++received);
  }
  CHECK(lane->Census().quarantined == 1);
  lane->Abort(kAnn, position);
  CHECK(lane->Census().quarantined == 0);
  while (lane.Send(kBob, sent + 1) == Status::kOk) ++sent;
  while (const std::optional<uint64_t> value = lane.Receive(kBob)) CHECK(*value == ++received);
  CHECK(sent == received);
  const LaneCensus census = lane->Census();
  CHECK(census.free == 8);
  CHECK(census.head == census.tail);
  CHECK(lane->AckedCount() - static_cast<uint32_t>(NearLapWrap(8)) == received + 1);
}

TEST_CASE("Lane.RepairOwner: settles all cells of one owner and no others") {
  TestLane lane(16);
  for (uint64_t value = 1; value <= 3; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  const Taken leased = lane.Take(kEve);
  const Taken other = lane.Take(kBob);
  lane.Claim(kEve);
  const uint64_t living = lane.Claim(kAnn);

  CHECK(lane->RepairOwner(kEve) == 2);
  CHECK(lane->RepairOwner(kEve) == 0);
  CHECK(CellKindOf(lane.StateAt(leased.position)) == CellKind::kReady);
  CHECK(CellAttempt(lane.StateAt(leased.position)) == 1);
  CHECK(lane->Holds(other.position, other.word));
  CHECK(CellKindOf(lane.StateAt(living)) == CellKind::kClaimed);
}

TEST_CASE("Lane.RepairOwner: another generation of the same slot is somebody else") {
  TestLane lane(8);
  const Owner successor = MakeOwner(OwnerSlot(kEve), OwnerGeneration(kEve) + 1);
  lane.Claim(successor);
  CHECK(lane->RepairOwner(kEve) == 0);
  CHECK(lane->RepairOwner(successor) == 1);
}

// ---- dropping

TEST_CASE("Lane.DropHead: takes only what waits at the head, and counts it") {
  TestLane lane(8);
  CHECK_FALSE(lane->DropHead());
  for (uint64_t value = 1; value <= 3; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  CHECK(lane->DropHead());
  CHECK_FALSE(lane->DropHead());  // the head has to move first
  lane->Reclaim(kKeep);
  const Taken leased = lane.Take(kBob);
  CHECK(lane.ValueAt(leased.position) == 2);
  CHECK_FALSE(lane->DropHead());
  REQUIRE(lane->Settle(leased.position, leased.word, kAcked) == Status::kOk);
  lane->Reclaim(kKeep);
  CHECK(lane.Receive(kBob) == 3);
  CHECK(lane->Census().dropped == 1);
  CHECK(lane->AckedCount() == 2);
}

// ---- closing and using again

TEST_CASE("Lane.Close: no claim succeeds, what was accepted is still delivered") {
  TestLane lane(8);
  const uint64_t pending = lane.Claim(kAnn);
  REQUIRE(lane.Send(kBob, 2) == Status::kOk);
  lane->Close();
  CHECK(lane->Closing());
  CHECK(lane.Send(kBob, 3) == Status::kClosed);
  CHECK_FALSE(lane->Drained());
  lane.Fill(pending, 1);
  REQUIRE(lane->Commit(kAnn, pending));
  CHECK(lane.Receive(kBob) == 1);
  CHECK(lane.Receive(kBob) == 2);
  CHECK(lane->Drained());
  CHECK(lane.Take(kBob).status == Status::kClosed);
}

TEST_CASE("Lane.Seal: in a full ring it comes when the head has freed its cell") {
  TestLane lane(8);
  for (uint64_t value = 1; value <= 8; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  lane->Close();
  CHECK_FALSE(lane->Seal());
  CHECK(lane.Send(kAnn, 9) == Status::kClosed);
  CHECK(lane.Receive(kBob) == 1);
  CHECK(lane->Seal());
  CHECK(lane->Seal());
  for (uint64_t value = 2; value <= 8; ++value) CHECK(lane.Receive(kBob) == value);
  CHECK(lane->Drained());
}

TEST_CASE("Lane.Reopen: the lane goes on, drained or not, and the seal is counted as a hole") {
  for (const uint64_t start : {uint64_t{0}, NearLapWrap(8) + 5}) {
    TestLane lane(8, start);
    const auto base = static_cast<uint32_t>(start);
    lane->Close();
    REQUIRE(lane->Drained());
    REQUIRE(lane->Reopen() == Status::kOk);
    REQUIRE(lane->Reopen() == Status::kOk);
    REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
    lane->Close();
    REQUIRE(lane->Reopen() == Status::kOk);
    REQUIRE(lane.Send(kAnn, 2) == Status::kOk);
    CHECK(lane.Receive(kBob) == 1);
    CHECK(lane.Receive(kBob) == 2);
    CHECK(lane->AckedCount() - base == 2);
    CHECK(lane->Census().aborted == 2);
    CHECK(lane->Census().free == 8);
  }
}

TEST_CASE("Lane.Reopen: a full ring has no seal yet, so it stays closed until there is room") {
  TestLane lane(8);
  for (uint64_t value = 1; value <= 8; ++value) REQUIRE(lane.Send(kAnn, value) == Status::kOk);
  lane->Close();
  CHECK(lane->Reopen() == Status::kFull);
  CHECK(lane.Receive(kBob) == 1);
  CHECK(lane->Reopen() == Status::kOk);
  CHECK(lane->Reclaim(kKeep) == 0);
  for (uint64_t value = 2; value <= 8; ++value) CHECK(lane.Receive(kBob) == value);
  CHECK(lane.Send(kAnn, 9) == Status::kOk);
  CHECK(lane.Receive(kBob) == 9);
}

TEST_CASE("Lane.Reopen: leaves alone what another owner is closing by now") {
  TestLane lane(8);
  lane->Close();
  CHECK(lane->Reopen([] { return false; }) == Status::kStale);
  CHECK(lane->Closing());
  CHECK(lane->Drained());
}

TEST_CASE("Lane.Reopen: a claim made before the closing bit comes through") {
  TestLane lane(8);
  // A producer loaded the tail, then the lane was closed; its cell was sealed: its swap must fail.
  const uint64_t before = lane.StateAt(0);
  lane->Close();
  REQUIRE(lane->Reopen() == Status::kOk);
  uint64_t expected = before;
  CHECK_FALSE(lane->At(0).words[kState].compare_exchange_strong(
      expected, PackCell(0, kAnn, 0, CellKind::kClaimed)));
}

// ---- counts

TEST_CASE("Lane.AckedCount: is exact over holes, drops, dead letters and acks, across the wrap") {
  for (const uint64_t start : {uint64_t{0}, uint64_t{0xffff'fff0}, NearLapWrap(16)}) {
    TestLane lane(16, start);
    uint32_t acked = 0, aborted = 0, dropped = 0, dead = 0;
    std::mt19937_64 random(start + 1);
    for (int i = 0; i < 400; ++i) {
      switch (random() % 4) {
        case 0:
          lane->Abort(kAnn, lane.Claim(kAnn));
          ++aborted;
          break;
        case 1:
          REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
          REQUIRE(lane->DropHead());
          ++dropped;
          break;
        case 2: {
          REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
          const Taken taken = lane.Take(kBob);
          REQUIRE(lane->Settle(taken.position, taken.word, kDeadLettered) == Status::kOk);
          ++dead;
          break;
        }
        default:
          REQUIRE(lane.Send(kAnn, 1) == Status::kOk);
          REQUIRE(lane.Receive(kBob).has_value());
          ++acked;
      }
      lane->Reclaim(kKeep);
    }
    CHECK(lane->AckedCount() - static_cast<uint32_t>(start) == acked);
    const LaneCensus census = lane->Census();
    CHECK(census.aborted == aborted);
    CHECK(census.dropped == dropped);
    CHECK(census.dead_lettered == dead);
    CHECK(census.head - start == acked + aborted + dropped + dead);
  }
}

TEST_CASE("Lane.Reclaim: the counters follow the head, so that no long run of acks outdates them") {
  // A counter more than 2^31 positions behind would look as if it were ahead, and count nothing.
  const uint64_t start = (uint64_t{3} << 28) - 3;
  TestLane lane(8, start);
  for (uint64_t value = 0; value < 8; ++value) {
    REQUIRE(lane.Send(kAnn, value) == Status::kOk);
    REQUIRE(lane.Receive(kBob) == value);
  }
  for (const auto& word : lane->words()->voids) {
    CHECK(VoidPosition(word.load()) == static_cast<uint32_t>(start + 3));
    CHECK(VoidCount(word.load()) == 0);
  }
  lane->Abort(kAnn, lane.Claim(kAnn));
  lane->Reclaim(kKeep);
  CHECK(lane->Census().aborted == 1);
  CHECK(lane->AckedCount() - static_cast<uint32_t>(start) == 8);
}

TEST_CASE("Lane.Reclaim: who frees a chunk is told of each message once, aborted ones left out") {
  TestLane lane(8);
  std::vector<uint64_t> freed;
  for (uint64_t value = 1; value <= 3; ++value) {
    const uint64_t position = lane.Claim(kAnn);
    lane.Fill(position, value);
    lane->At(position).words[kSlab].store(value == 2 ? 0 : 100 + value);
    if (value == 3) {
      lane->Abort(kAnn, position);
    } else {
      REQUIRE(lane->Commit(kAnn, position));
    }
  }
  for (int i = 0; i < 2; ++i) {
    const Taken taken = lane.Take(kBob);
    REQUIRE(lane->Settle(taken.position, taken.word, kAcked) == Status::kOk);
  }
  const auto note = [&](ChunkRef chunk, uint64_t position, auto&&...) {
    if (chunk != 0) freed.push_back(chunk * 10 + position);
  };
  CHECK(lane->Reclaim(note) == 3);
  CHECK(lane->Reclaim(note) == 0);
  CHECK(freed == std::vector<uint64_t>{1010});
}

// ---- hostile memory

TEST_CASE("Lane: garbage in its words ends every call, within its memory") {
  const Watchdog watchdog;
  std::mt19937_64 random(20'250'601);
  TestLane lane(8);
  for (int round = 0; round < (test::kSanitized ? 3000 : 20'000); ++round) {
    auto& words = *lane->words();
    words.tail.store(random() >> (random() % 64));
    words.head.store(random() % 3 ? words.tail.load() & ~uint64_t{7} : random());
    words.stall.store(random());
    for (auto& word : words.voids) word.store(random());
    for (uint64_t i = 0; i < 8; ++i) {
      const uint32_t lap = random() % 4 ? lane->LapOf(words.head.load()) + random() % 3 : random();
      lane->At(i).words[kState].store(uint64_t{lap} << 32 | (random() & 0xffff'ffff));
      lane->At(i).words[kNotBefore].store(random());
      lane->At(i).words[kLengths].store(random());
    }
    uint64_t position = 0;
    uint64_t cursor = random();
    Suspects suspects;
    (void)lane->TryClaim(kAnn, kValid, &position);
    const Taken taken = lane->Take(kBob, TakeFilter::kAll, kLongAgo, &cursor, &suspects);
    (void)lane->Settle(taken.position, taken.word, kAcked);
    (void)lane->Look(TakeFilter::kRepliesOnly, kLongAgo, random(), nullptr);
    lane->QuarantineHead(static_cast<uint32_t>(random()));
    lane->DropHead();
    lane->RepairOwner(static_cast<Owner>(random()) & kOwnerMask);
    lane->FenceIncarnations(static_cast<uint32_t>(random()));
    lane->Reclaim(kKeep);
    if (random() % 2) lane->Close();
    (void)lane->Reopen();
    (void)lane->AckedCount();
    CHECK(lane->Depth() <= 8);
    CHECK(lane->Census().free <= 8);
  }
}

// ---- against a reference

// The same lane as plain data: what every operation must answer.
class Reference {
 public:
  enum class Kind { kClaimed, kReady, kLeased, kHeld, kDone, kHole };
  struct Slot {
    Kind kind = Kind::kClaimed;
    Owner owner = 0;
    uint64_t value = 0;
    uint32_t attempt = 0;
    uint32_t reason = 0;
  };

  Reference(uint64_t capacity, uint64_t start) : capacity_(capacity), head_(start) {}

  uint64_t head() const { return head_; }
  uint64_t tail() const { return head_ + slots_.size(); }
  Slot& At(uint64_t position) { return slots_[position - head_]; }
  bool Has(uint64_t position) const { return position >= head_ && position < tail(); }
  uint64_t holes() const { return holes_.size(); }
  uint32_t acked = 0;
  std::array<uint32_t, 4> voided = {};

  std::optional<uint64_t> Claim(Owner me) {
    for (;;) {
      if (slots_.size() == capacity_) return std::nullopt;
      if (!PassHoleAtTail()) break;
    }
    slots_.push_back({Kind::kClaimed, me, 0, 0, 0});
    return tail() - 1;
  }

  // What a scan from the head finds for a reader: one claimed cell may be passed.
  std::optional<uint64_t> FirstReady() const {
    bool passed = false;
    for (uint64_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].kind == Kind::kReady) return head_ + i;
      if (slots_[i].kind != Kind::kClaimed) continue;
      if (passed) return std::nullopt;
      passed = true;
    }
    return std::nullopt;
  }

  void Quarantine() {
    slots_.front().kind = Kind::kHole;
    holes_[head_ % capacity_] = false;
  }
  // The late owner gives its hole back, wherever its cell is by now.
  void GiveBackHole(uint64_t index) {
    for (uint64_t position = head_; position < tail(); ++position) {
      Slot& slot = At(position);
      if (position % capacity_ != index || slot.kind != Kind::kHole) continue;
      slot = {Kind::kDone, 0, 0, 0, kAborted};
      holes_.erase(index);
      return;
    }
    holes_[index] = true;  // it lies beyond the tail, and is passed when the tail gets there
  }

  // Positions that ended for that reason, also those that still stand behind others.
  uint64_t Settled(uint32_t reason) const {
    uint64_t settled = reason == kAcked ? acked : voided.at(reason);
    for (const Slot& slot : slots_) settled += slot.kind == Kind::kDone && slot.reason == reason;
    return settled;
  }

  uint64_t Reclaim() {
    uint64_t freed = 0;
    for (;;) {
      if (slots_.empty()) {
        if (!PassHoleAtTail()) return freed;
      }
      const Slot& slot = slots_.front();
      if (slot.kind != Kind::kDone && slot.kind != Kind::kHole) return freed;
      const uint32_t reason = slot.kind == Kind::kHole ? kAborted : slot.reason;
      if (reason == kAcked) {
        ++acked;
      } else {
        ++voided[reason];
      }
      slots_.pop_front();
      ++head_;
      ++freed;
    }
  }

 private:
  bool PassHoleAtTail() {
    const auto hole = holes_.find(tail() % capacity_);
    if (hole == holes_.end()) return false;
    if (hole->second) {
      slots_.push_back({Kind::kDone, 0, 0, 0, kAborted});
      holes_.erase(hole);
    } else {
      slots_.push_back({Kind::kHole, 0, 0, 0, 0});
    }
    return true;
  }

  uint64_t capacity_;
  uint64_t head_;
  std::deque<Slot> slots_;
  std::map<uint64_t, bool> holes_;  // by cell: given back already?
};

void RunAgainstReference(uint64_t seed, uint64_t capacity, uint64_t start, int steps) {
  CAPTURE(seed);
  CAPTURE(capacity);
  CAPTURE(start);
  std::mt19937_64 random(seed);
  TestLane lane(static_cast<uint32_t>(capacity), start);
  Reference reference(capacity, start);
  struct Lease {
    uint64_t position;
    uint64_t word;
  };
  std::vector<Lease> leases;
  std::vector<std::pair<Owner, uint64_t>> claims;  // also those that became holes
  const std::array<Owner, 3> producers = {kAnn, MakeOwner(4, 255), MakeOwner(65'000, 3)};
  const std::array<Owner, 2> readers = {kBob, kEve};
  uint64_t next = 1;
  uint32_t now_ms = 0xffff'ff00;  // wraps as well

  const auto pick = [&](auto& from) {
    const size_t i = random() % from.size();
    const auto chosen = from[i];
    from.erase(from.begin() + static_cast<ptrdiff_t>(i));
    return chosen;
  };
  for (int step = 0; step < steps; ++step) {
    now_ms += 1;
    switch (random() % 12) {
      case 0:
      case 1:
      case 2: {  // claim
        const Owner me = producers[random() % producers.size()];
        uint64_t position = 0;
        const Status status = lane->TryClaim(me, kValid, &position);
        const std::optional<uint64_t> expected = reference.Claim(me);
        REQUIRE((status == Status::kOk) == expected.has_value());
        if (!expected) break;
        REQUIRE(position == *expected);
        claims.emplace_back(me, position);
        break;
      }
      case 3:
      case 4: {  // commit
        if (claims.empty()) break;
        const auto [me, position] = pick(claims);
        lane.Fill(position, next);
        const bool stands =
            reference.Has(position) && reference.At(position).kind == Reference::Kind::kClaimed;
        REQUIRE(lane->Commit(me, position) == stands);
        if (stands) {
          reference.At(position).kind = Reference::Kind::kReady;
          reference.At(position).value = next++;
        } else {
          reference.GiveBackHole(position % capacity);
        }
        break;
      }
      case 5: {  // abort
        if (claims.empty() || random() % 2) break;
        const auto [me, position] = pick(claims);
        const bool stands =
            reference.Has(position) && reference.At(position).kind == Reference::Kind::kClaimed;
        lane->Abort(me, position);
        if (stands) {
          reference.At(position) = {Reference::Kind::kDone, 0, 0, 0, kAborted};
        } else {
          reference.GiveBackHole(position % capacity);
        }
        break;
      }
      case 6:
      case 7: {  // take
        const Owner me = readers[random() % readers.size()];
        uint64_t cursor = 0;
        const Taken taken = lane->Take(
            me, TakeFilter::kAll, [&] { return now_ms; }, &cursor, nullptr);
        const std::optional<uint64_t> expected = reference.FirstReady();
        REQUIRE((taken.status == Status::kOk) == expected.has_value());
        if (!expected) break;
        REQUIRE(taken.position == *expected);
        Reference::Slot& slot = reference.At(*expected);
        REQUIRE(lane.ValueAt(taken.position) == slot.value);
        REQUIRE(CellAttempt(taken.word) == slot.attempt);
        slot.kind = Reference::Kind::kLeased;
        slot.owner = me;
        leases.push_back({taken.position, taken.word});
        break;
      }
      case 8: {  // ack, dead-letter, nack or hand over
        if (leases.empty()) break;
        const Lease lease = pick(leases);
        Reference::Slot& slot = reference.At(lease.position);
        const uint32_t what = random() % 5;
        if (what == 0) {
          REQUIRE(lane->GiveBack(lease.position, lease.word, 0) == Status::kOk);
          slot.kind = Reference::Kind::kReady;
          if (slot.attempt < kMaxAttempt) ++slot.attempt;
        } else if (what == 1 && slot.kind == Reference::Kind::kLeased) {
          const uint64_t held = lane->HandOver(lease.position, lease.word, 9);
          REQUIRE(held != 0);
          slot.kind = Reference::Kind::kHeld;
          leases.push_back({lease.position, held});
        } else {
          slot = {Reference::Kind::kDone, 0, 0, 0, what == 2 ? kDeadLettered : kAcked};
          REQUIRE(lane->Settle(lease.position, lease.word, static_cast<VoidReason>(slot.reason)) ==
                  Status::kOk);
        }
        break;
      }
      case 9:  // reclaim
        REQUIRE(lane->Reclaim(kKeep) == reference.Reclaim());
        break;
      case 10: {  // drop the head
        const bool droppable = reference.head() < reference.tail() &&
                               reference.At(reference.head()).kind == Reference::Kind::kReady;
        REQUIRE(lane->DropHead() == droppable);
        if (droppable) {
          reference.At(reference.head()) = {Reference::Kind::kDone, 0, 0, 0, kDropped};
        }
        break;
      }
      default: {  // quarantine the head; a few cells stay usable
        if (reference.holes() + 2 >= capacity || random() % 4) break;
        if (reference.head() == reference.tail() ||
            reference.At(reference.head()).kind != Reference::Kind::kClaimed) {
          REQUIRE_FALSE(lane->QuarantineHead(now_ms));
          break;
        }
        lane->QuarantineHead(now_ms);
        now_ms += kQuarantineMs;
        REQUIRE(lane->QuarantineHead(now_ms));
        reference.Quarantine();
      }
    }
    const LaneCensus census = lane->Census();
    REQUIRE(census.head == reference.head());
    REQUIRE(census.acked - static_cast<uint32_t>(start) == reference.Settled(kAcked));
    REQUIRE(census.aborted == reference.Settled(kAborted));
    REQUIRE(census.dropped == reference.Settled(kDropped));
    REQUIRE(census.dead_lettered == reference.Settled(kDeadLettered));
    REQUIRE(lane->AckedCount() - static_cast<uint32_t>(start) == reference.acked);
  }
}

TEST_CASE("Lane: random operations answer as the reference does") {
  // Seeds are fixed; a failure prints the one it was found with.
  const int steps = test::kSanitized ? 1500 : 6000;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    for (const uint64_t capacity : {4, 8, 32}) {
      RunAgainstReference(seed, capacity, 0, steps);
      RunAgainstReference(seed, capacity, NearLapWrap(capacity), steps);
      RunAgainstReference(seed, capacity, 0xffff'fff0, steps);
    }
  }
}

// ---- threads

TEST_CASE("Lane: four producers and two readers lose, double and overtake nothing") {
  const Watchdog watchdog;
  constexpr uint32_t kProducers = 4;
  constexpr uint32_t kReaders = 2;
  const uint64_t each = test::kSanitized ? 4000 : 40'000;
  TestLane lane(16, NearLapWrap(16));
  std::vector<std::vector<std::atomic<uint8_t>>> acks(kProducers);
  for (auto& of_one : acks) of_one = std::vector<std::atomic<uint8_t>>(each + 1);
  std::atomic<uint64_t> accepted{0}, acked{0}, nacked{0}, errors{0};
  std::vector<std::thread> threads;
  for (uint32_t p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      const Owner me = MakeOwner(10 + p, 1);
      std::mt19937 random(p);
      for (uint64_t n = 1; n <= each;) {
        uint64_t position;
        if (lane->TryClaim(me, kValid, &position) != Status::kOk) {
          lane->Reclaim(kKeep);
          std::this_thread::yield();
          continue;
        }
        if (random() % 16 == 0) {
          lane->Abort(me, position);
          continue;
        }
        Cell& cell = lane->At(position);
        for (uint32_t word = kPayload; word < kCellWords; ++word) {
          cell.words[word].store(n * kProducers + p, std::memory_order_relaxed);
        }
        if (lane->Commit(me, position)) {
          accepted.fetch_add(1);
          ++n;
        }
      }
    });
  }
  for (uint32_t r = 0; r < kReaders; ++r) {
    threads.emplace_back([&, r] {
      const Owner me = MakeOwner(20 + r, 1);
      std::mt19937 random(100 + r);
      std::array<uint64_t, kProducers> last = {};
      uint64_t cursor = 0;
      while (acked.load() < kProducers * each) {
        const Taken taken = lane->Take(me, TakeFilter::kAll, kLongAgo, &cursor, nullptr);
        if (taken.status != Status::kOk) {
          lane->Reclaim(kKeep);
          std::this_thread::yield();
          continue;
        }
        const Cell& cell = lane->At(taken.position);
        const uint64_t value = cell.words[kPayload].load(std::memory_order_relaxed);
        for (uint32_t word = kPayload; word < kCellWords; ++word) {
          if (cell.words[word].load(std::memory_order_relaxed) != value) errors.fetch_add(1);
        }
        if (!lane->Holds(taken.position, taken.word)) errors.fetch_add(1);  // nobody fences here
        const uint64_t producer = value % kProducers;
        const uint64_t n = value / kProducers;
        if (CellAttempt(taken.word) == 0) {
          if (n <= last[producer]) errors.fetch_add(1);
          last[producer] = n;
        }
        if (random() % 32 == 0) {
          nacked.fetch_add(1);
          if (lane->GiveBack(taken.position, taken.word, 0) != Status::kOk) errors.fetch_add(1);
          continue;
        }
        if (lane->Settle(taken.position, taken.word, kAcked) != Status::kOk) errors.fetch_add(1);
        if (acks[producer][n].fetch_add(1) != 0) errors.fetch_add(1);
        acked.fetch_add(1);
        if (random() % 4 == 0) lane->Reclaim(kKeep);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  lane->Reclaim(kKeep);
  CHECK(errors.load() == 0);
  CHECK(accepted.load() == kProducers * each);
  CHECK(acked.load() == accepted.load());
  CHECK(nacked.load() > 0);
  CHECK(lane->AckedCount() - static_cast<uint32_t>(NearLapWrap(16)) == acked.load());
  CHECK(lane->Census().free == 16);
  CHECK(lane->Depth() == 0);
}

TEST_CASE("Lane: a repairer, a quarantiner and a closer beside live traffic do no harm") {
  const Watchdog watchdog;
  const uint64_t each = test::kSanitized ? 2000 : 20'000;
  TestLane lane(8);
  std::atomic<uint64_t> received{0}, errors{0}, holes{0};
  std::atomic<bool> done{false};
  const auto produce = [&](Owner me) {
    for (uint64_t n = 1; n <= each;) {
      uint64_t position;
      const Status status = lane->TryClaim(me, kValid, &position);
      if (status != Status::kOk) {
        lane->Reclaim(kKeep);
        std::this_thread::yield();
        continue;
      }
      lane->At(position).words[kNumber].store(n, std::memory_order_relaxed);
      lane->At(position).words[kSenderUid].store(me, std::memory_order_relaxed);
      if (lane->Commit(me, position)) {
        ++n;
      } else {
        holes.fetch_add(1);
      }
    }
  };
  std::thread first(produce, kAnn);
  std::thread second(produce, kEve);
  std::thread meddler([&] {
    uint32_t now_ms = 0;
    while (!done.load()) {
      now_ms += kQuarantineMs;  // time flies: every claim at the head is a stalled one
      lane->QuarantineHead(now_ms);
      lane->Reclaim(kKeep);
      lane->RepairOwner(MakeOwner(99, 1));
      lane->Close();
      lane->Reopen();
      std::this_thread::yield();
    }
  });
  std::map<uint64_t, uint64_t> last;
  uint64_t cursor = 0;
  while (received.load() < 2 * each) {
    const Taken taken = lane->Take(kBob, TakeFilter::kAll, kLongAgo, &cursor, nullptr);
    if (taken.status != Status::kOk) {
      lane->Reclaim(kKeep);
      lane->Reopen();
      std::this_thread::yield();
      continue;
    }
    const uint64_t sender =
        lane->At(taken.position).words[kSenderUid].load(std::memory_order_relaxed);
    if (lane.ValueAt(taken.position) != ++last[sender]) errors.fetch_add(1);
    if (lane->Settle(taken.position, taken.word, kAcked) != Status::kOk) errors.fetch_add(1);
    received.fetch_add(1);
  }
  first.join();
  second.join();
  done.store(true);
  meddler.join();
  lane->Reopen();
  lane->Reclaim(kKeep);
  CHECK(errors.load() == 0);
  CHECK(lane->AckedCount() == received.load());
  const LaneCensus census = lane->Census();
  CHECK(census.free + census.quarantined == 8);
  CHECK(census.quarantined == 0);
}

}  // namespace
}  // namespace cfc
