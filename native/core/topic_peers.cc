#include "topic_peers.h"

#include "clock.h"
#include "reaper.h"

namespace cfc {
namespace {

uint32_t NowMs() noexcept { return static_cast<uint32_t>(MonotonicNs() / 1'000'000); }

constexpr uint32_t kSuspectMs = kSuspectNs / 1'000'000;

// Frees the cell at the head. Its chunks go first.
TopicLog::Head FreeOne(Fabric& fabric, const TopicView& topic, uint64_t gate, uint64_t* claimed,
                       TopicRoom* room) noexcept {
  TopicLog log = topic.log;
  return log.FreeHead(gate, claimed, [&](ChunkRef chunk, uint64_t position, uint64_t lengths) {
    if (chunk == 0) return;
    fabric.slab().Free(chunk, PackPlace(topic.box, 0, position));
    room->slab_bytes += Slab::BytesFor(UnpackLengths(lengths).body);
  });
}

// A claim at the head. True where it is out of the way.
bool ClearClaim(Fabric& fabric, const TopicView& topic, Owner me, uint64_t claimed) noexcept {
  const Owner owner = CellOwner(claimed);
  if (owner != me && fabric.ProvenDead(owner)) {
    ReapIfDead(fabric, owner, me);
    return true;
  }
  TopicLog log = topic.log;
  return log.QuarantineHead(NowMs());
}

// Those at whom the gate stands. True where one of them is out of the way.
bool ClearHolders(Fabric& fabric, const TopicView& topic, const TopicScan& scan,
                  uint32_t* wait_ms) noexcept {
  TopicRows rows = topic.rows;
  bool cleared = false;
  for (uint32_t i = 0; i < scan.count; ++i) {
    const auto& holder = scan.holders[i];
    if (fabric.ProvenDead(RowOwner(holder.word))) {
      cleared |= rows.Free(holder.row, holder.word);  // the rest of it is the reaper's
      continue;
    }
    uint32_t left_ms = 0;
    if (rows.SetAside(topic.log, holder, NowMs(), &left_ms)) {
      cleared = true;
      fabric.Ring(OwnerSlot(RowOwner(holder.word)));
    } else if (left_ms < *wait_ms) {
      *wait_ms = left_ms;
    }
  }
  return cleared;
}

}  // namespace

TopicRoom MakeTopicRoom(Fabric& fabric, const TopicView& topic, Owner me, uint32_t cells,
                        uint64_t slab_bytes) noexcept {
  TopicRoom room;
  room.wait_ms = kSuspectMs;
  TopicRows rows = topic.rows;
  // Each round frees a cell, moves the gate on, or takes somebody out of the way.
  const uint32_t rounds = 2 * topic.log.capacity() + 2 * rows.count() + 64;
  for (uint32_t i = 0; i < rounds; ++i) {
    if (room.freed >= cells && room.slab_bytes >= slab_bytes) break;
    uint64_t claimed = 0;
    switch (FreeOne(fabric, topic, rows.gate(), &claimed, &room)) {
      case TopicLog::Head::kFreed:
        ++room.freed;
        continue;
      case TopicLog::Head::kClaimed:
        if (ClearClaim(fabric, topic, me, claimed)) continue;
        return room;
      case TopicLog::Head::kGated:
        break;
    }
    TopicScan scan;
    rows.Look(topic.log, &scan);
    const uint64_t head = topic.log.words()->head.load();
    if (rows.gate() > head) continue;
    if (Position(topic.log.words()->tail.load()) <= head) break;  // nothing is left to free
    if (!ClearHolders(fabric, topic, scan, &room.wait_ms)) break;
    PassTopicRoom(fabric, topic, topic.log.capacity());
  }
  return room;
}

void ReleaseRead(Fabric& fabric, const TopicView& topic) noexcept {
  TopicRows rows = topic.rows;
  TopicScan scan;
  rows.Look(topic.log, &scan);
  const uint64_t gate = scan.gate < scan.least_read ? scan.gate : scan.least_read;
  TopicRoom room;
  uint64_t claimed = 0;
  for (uint32_t i = 0; i < topic.log.capacity(); ++i) {
    if (FreeOne(fabric, topic, gate, &claimed, &room) != TopicLog::Head::kFreed) return;
  }
}

bool TopicHasRoom(Fabric&, const TopicView& topic) noexcept {
  if (topic.log.Depth() < topic.log.capacity()) return true;
  const uint64_t head = topic.log.words()->head.load();
  TopicRows rows = topic.rows;
  if (rows.gate() > head) return true;
  TopicScan scan;
  rows.Look(topic.log, &scan);
  return rows.gate() > head;
}

void RingSubscribers(Fabric& fabric, const TopicView& topic) noexcept {
  topic.sleepers().RingAll([&](uint32_t row) {
    if (row >= topic.rows.count()) return false;
    const uint64_t word = topic.rows.At(row).word.load();
    if (!RowReads(word)) return false;
    Slot* const slot = fabric.SlotAt(OwnerSlot(RowOwner(word)));
    if (!slot || !Doorbell(&slot->doorbell).IsParked()) return false;
    fabric.Ring(OwnerSlot(RowOwner(word)));
    CFC_FAIL_POINT("topic.rung");
    return true;
  });
}

void PassTopicRoom(Fabric& fabric, const TopicView& topic, uint64_t cells) noexcept {
  auto& room = topic.words->lane.room;
  if (cells == 0 || !Wants::AnybodyWants(room)) return;
  const auto most = static_cast<uint32_t>(cells < kMaxSlots ? cells : kMaxSlots);
  fabric.wants().Pass(room, TopicLaneId(topic.box), most,
                      [&fabric](uint32_t slot) { return fabric.Ring(slot); });
}

uint32_t RepairTopicLog(Fabric& fabric, const TopicView& topic, Owner owner) noexcept {
  TopicLog log = topic.log;
  const uint32_t settled = log.RepairOwner(owner);
  CFC_FAIL_POINT("repair.lane");
  // It may have died between a commit and its rings, or with room that was meant for it.
  RingSubscribers(fabric, topic);
  PassTopicRoom(fabric, topic, 1);
  return settled;
}

uint32_t RepairTopicRows(Fabric& fabric, Owner owner) noexcept {
  uint32_t freed = 0;
  fabric.topics().ForEach([&](const TopicView& topic) {
    TopicRows rows = topic.rows;
    const uint32_t here = rows.RepairOwner(owner);
    if (here > 0) PassTopicRoom(fabric, topic, topic.log.capacity());
    freed += here;
  });
  return freed;
}

TopicCensus CensusOfTopic(const TopicView& topic) noexcept {
  TopicCensus census;
  census.log = topic.log.Census();
  for (uint32_t i = 0; i < topic.rows.count(); ++i) {
    switch (RowKindOf(topic.rows.At(i).word.load())) {
      case RowKind::kClaimed:
      case RowKind::kJoining:
        ++census.rows_claimed;
        break;
      case RowKind::kReliable:
        ++census.rows_reliable;
        break;
      case RowKind::kLossy:
        ++census.rows_lossy;
        break;
      case RowKind::kLagged:
        ++census.rows_lagged;
        break;
      default:
        break;
    }
  }
  return census;
}

}  // namespace cfc
