#include "reaper.h"

#include "directory.h"
#include "failpoint.h"
#include "lease.h"
#include "topic_peers.h"

namespace cfc {
namespace {

void Add(SweepReport& total, const SweepReport& part) noexcept {
  total.living += part.living;
  total.reaped += part.reaped;
  total.settled += part.settled;
  total.chunks += part.chunks;
}

// One lane: its cells of the dead, whoever sleeps on it, whoever waits for room.
uint32_t RepairLane(Fabric& fabric, const MailboxView& view, uint32_t lane_index,
                    Owner owner) noexcept {
  Lane lane = view.lanes[lane_index];
  const uint32_t settled = lane.RepairOwner(owner);
  CFC_FAIL_POINT("repair.lane");
  fabric.Reclaim(view, lane_index);
  for (auto& reader : view.words->readers) {
    uint64_t seen = owner;
    reader.compare_exchange_strong(seen, 0);
  }
  // It may have died between a commit and its ring, or between a free cell and passing it on.
  if (lane.Depth() > 0) fabric.RingReaders(view, owner);
  if (lane.Depth() < lane.capacity()) fabric.PassRoom(view, lane_index, 1);
  return settled;
}

uint32_t RepairBox(Fabric& fabric, const MailboxView& view, Owner owner) noexcept {
  uint32_t settled = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    settled += RepairLane(fabric, view, lane, owner);
  }
  return settled;
}

// A box that the dead one was taking or giving up: the directory decides whose it is.
void SettleClaimedBoxes(Fabric& fabric, Owner owner) noexcept {
  fabric.mail().ForEach([&](const MailboxView& view) {
    const uint64_t word = view.words->word.load();
    if (BoxKindOf(word) != BoxKind::kClaimed || BoxOwner(word) != owner) return;
    const uint64_t ref = PackMailboxRef(view.box, BoxGeneration(word));
    AgentRecord record;
    const bool live =
        AgentDirectory(&fabric).Read(static_cast<uint32_t>(view.words->agent.load()), &record) &&
        record.mailbox == ref;
    const bool kept = fabric.words().dead_letters.load() == ref;
    CFC_FAIL_POINT("repair.box");
    if (live || kept) {
      // It died while it left: senders go on, and a successor takes the name over.
      for (Lane lane : view.lanes) {
        lane.Reopen([&] { return view.words->word.load() == word; });
      }
      fabric.mail().Own(owner, ref);
    } else {
      fabric.mail().Free(owner, ref);
    }
  });
}

// Does a message still stand where a chunk of the dead was placed?
bool Refers(Fabric& fabric, uint64_t place) noexcept {
  MailboxView view;
  TopicView topic;
  if (IsTopicBox(PlaceBox(place)) ? !fabric.topics().View(PlaceBox(place), &topic)
                                  : !fabric.mail().View(PlaceBox(place), &view)) {
    return false;
  }
  const Lane& lane = topic.valid() ? topic.log : view.lanes[PlaceLane(place)];
  const uint32_t position = PlacePosition(place);
  const uint64_t word = lane.At(position).words[kState].load();
  // The place has 31 bits of the position: compare as much of the lap as it tells.
  uint32_t shift = 0;
  while ((uint32_t{1} << shift) < lane.capacity()) ++shift;
  const uint32_t lap_mask = 0x7fff'ffffu >> shift;
  if ((CellLap(word) & lap_mask) != ((position >> shift) & lap_mask)) return false;
  switch (CellKindOf(word)) {
    case CellKind::kReady:
    case CellKind::kLeased:
    case CellKind::kHeld:
      return true;
    case CellKind::kDone:
      return CellOwner(word) != kAborted;  // whoever frees the cell frees the chunk
    default:
      return false;
  }
}

}  // namespace

SweepReport RepairParticipant(Fabric& fabric, Owner owner) noexcept {
  SweepReport report;
  Slot* const slot = fabric.SlotAt(OwnerSlot(owner));
  if (!slot) return report;
  bool everywhere = false;
  for (auto& intent : slot->intents) {
    const uint64_t lane_id = intent.load();
    if (lane_id == 0) continue;
    if (lane_id == kSweepAll) {
      everywhere = true;
      continue;
    }
    TopicView topic;
    if (fabric.topics().View(LaneIdBox(lane_id), &topic)) {
      report.settled += RepairTopicLog(fabric, topic, owner);
      continue;
    }
    MailboxView view;
    if (!fabric.mail().View(LaneIdBox(lane_id), &view)) continue;
    report.settled += RepairLane(fabric, view, LaneIdLane(lane_id), owner);
  }
  if (everywhere) {
    fabric.mail().ForEach(
        [&](const MailboxView& view) { report.settled += RepairBox(fabric, view, owner); });
  }
  CFC_FAIL_POINT("repair.cells");
  RepairTopicRows(fabric, owner);
  CFC_FAIL_POINT("repair.topics");

  // Passed on before it is forgotten: a repairer that dies in between leaves it to the next.
  const uint64_t wanted = fabric.wants().WantOf(owner);
  if (wanted != 0) {
    fabric.mail().ForEach([&](const MailboxView& view) {
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        if (wanted != kWantSeveral && wanted != PackLaneId(view.box, lane)) continue;
        if (view.lanes[lane].Depth() < view.lanes[lane].capacity()) {
          fabric.PassRoom(view, lane, 1);
        }
      }
    });
    fabric.topics().ForEach([&](const TopicView& topic) {
      if (wanted == kWantSeveral || wanted == TopicLaneId(topic.box)) {
        PassTopicRoom(fabric, topic, 1);
      }
    });
    fabric.wants().Withdraw(owner);
  }
  CFC_FAIL_POINT("repair.wants");

  // After the cells: what a message still refers to is known only now.
  report.chunks =
      fabric.slab().RepairOwner(owner, [&](uint64_t place) { return Refers(fabric, place); });
  CFC_FAIL_POINT("repair.chunks");
  AgentDirectory(&fabric).RepairOwner(owner);
  fabric.metrics().RepairOwner(owner);
  CFC_FAIL_POINT("repair.names");
  SettleClaimedBoxes(fabric, owner);
  return report;
}

namespace {

// Marks the slot as being reaped by `reaper`, repairs, gives it free.
SweepReport Reap(Fabric& fabric, uint32_t index, uint64_t seen, Owner reaper) noexcept {
  Slot* const slot = fabric.SlotAt(index);
  const uint32_t generation = SlotGeneration(seen);
  const Owner owner = MakeOwner(index, generation);
  const uint64_t reaping = PackSlot(generation, reaper, SlotState::kReaping);
  if (seen != reaping && !slot->word.compare_exchange_strong(seen, reaping)) return {};
  CFC_FAIL_POINT("reap.marked");
  SweepReport report = RepairParticipant(fabric, owner);
  CFC_FAIL_POINT("reap.repaired");
  uint64_t expected = reaping;
  if (slot->word.compare_exchange_strong(expected, PackSlot(generation, 0, SlotState::kFree))) {
    report.reaped = 1;
    fabric.words().reaped_slots.fetch_add(1);
  }
  return report;
}

SweepReport LookAt(Fabric& fabric, LeaseTester& tester, uint32_t index, Owner reaper) noexcept {
  SweepReport report;
  Slot* const slot = fabric.SlotAt(index);
  const uint64_t word = slot->word.load();
  switch (SlotStateOf(word)) {
    case SlotState::kFree:
      return report;
    case SlotState::kLive:
      if (tester.Held(index)) {
        report.living = 1;
        return report;
      }
      return Reap(fabric, index, word, reaper);
    case SlotState::kReaping: {
      const Owner other = SlotReaper(word);
      const bool gone = OwnerSlot(other) == index ? !tester.Held(index)
                                                  : other == reaper || fabric.ProvenDead(other);
      if (gone) return Reap(fabric, index, word, reaper);
      // It lives and may be stopped: mend what it left undone, and leave it the slot.
      return RepairParticipant(fabric, MakeOwner(index, SlotGeneration(word)));
    }
  }
  return report;
}

}  // namespace

SweepReport ReapIfDead(Fabric& fabric, Owner owner, Owner reaper) noexcept {
  Slot* const slot = fabric.SlotAt(OwnerSlot(owner));
  if (!slot || SlotGeneration(slot->word.load()) != OwnerGeneration(owner)) return {};
  LeaseTester tester(fabric.directory());
  return LookAt(fabric, tester, OwnerSlot(owner), reaper);
}

SweepReport Sweep(Fabric& fabric, Owner reaper) noexcept {
  SweepReport total;
  LeaseTester tester(fabric.directory());
  // By lease file, so that each is opened once.
  for (uint32_t file = 0; file < kLeaseFiles; ++file) {
    for (uint32_t slot = file == 0 ? kLeaseFiles : file; slot <= fabric.slots();
         slot += kLeaseFiles) {
      Add(total, LookAt(fabric, tester, slot, reaper));
    }
  }
  return total;
}

void ReapForRegistration(Fabric& fabric) noexcept {
  for (uint32_t index = 1; index <= fabric.slots(); ++index) {
    Slot* const slot = fabric.SlotAt(index);
    if (SlotStateOf(slot->word.load()) == SlotState::kFree) continue;
    Lease lease;
    if (Lease::Acquire(fabric.directory(), index, &lease) != Status::kOk) continue;
    // Its holder is dead, and the lock keeps other registrants out while we work. Whoever finds
    // our mark tests that lock.
    const uint64_t word = slot->word.load();
    if (SlotStateOf(word) == SlotState::kFree) continue;
    const Owner other = SlotReaper(word);
    if (SlotStateOf(word) == SlotState::kReaping && OwnerSlot(other) != index &&
        !fabric.ProvenDead(other)) {
      continue;
    }
    Reap(fabric, index, word, MakeOwner(index, SlotGeneration(word)));
  }
}

}  // namespace cfc
