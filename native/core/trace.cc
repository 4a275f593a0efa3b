#include "trace.h"

#include "directory.h"
#include "mail.h"

namespace cfc {
namespace {

// What became of a message whose cell is free again.
TraceState Settled(const Lane& lane, uint64_t position) noexcept {
  const uint64_t receipt = lane.At(position).words[kReceipt].load();
  if (ReceiptLap(receipt) == lane.LapOf(position) && ReceiptVerdict(receipt) != 0) {
    switch ((ReceiptVerdict(receipt) - 1) & 3) {
      case kAcked:
        return TraceState::kAcked;
      case kDropped:
        return TraceState::kDropped;
      case kDeadLettered:
        return TraceState::kDeadLettered;
      default:
        return TraceState::kSettled;
    }
  }
  return lane.LostCount() == 0 ? TraceState::kAcked : TraceState::kSettled;
}

// False: nothing of a message, or only what its sender gave back.
bool StateOf(const Lane& lane, uint64_t index, uint64_t word, TraceReport* out) noexcept {
  switch (CellKindOf(word)) {
    case CellKind::kClaimed:
      out->state = TraceState::kWriting;
      return true;
    case CellKind::kReady:
      out->state = TraceState::kQueued;
      return true;
    case CellKind::kLeased:
      out->state = TraceState::kLeased;
      out->holder = CellOwner(word);
      return true;
    case CellKind::kHeld:
      out->state = TraceState::kHeld;
      return true;
    case CellKind::kDone: {
      const uint32_t reason = CellOwner(word) & 3;
      if (reason == kAborted) return false;
      out->state = reason == kAcked     ? TraceState::kAcked
                   : reason == kDropped ? TraceState::kDropped
                                        : TraceState::kDeadLettered;
      return true;
    }
    case CellKind::kFree: {
      if (CellLap(word) == 0) return false;
      const uint64_t position = uint64_t{CellLap(word) - 1} * lane.capacity() + index;
      out->state = Settled(lane, position);
      return true;
    }
    case CellKind::kQuarantined:
    case CellKind::kSealed:
      return false;
  }
  return false;
}

bool FindIn(const Lane& lane, LaneIndex index, MessageId id, TraceReport* out) noexcept {
  bool found = false;
  for (uint64_t i = 0; i < lane.capacity(); ++i) {
    const Cell& cell = lane.At(i);
    if (cell.words[kNumber].load(std::memory_order_relaxed) != id.number ||
        cell.words[kSenderUid].load(std::memory_order_relaxed) != id.uid) {
      continue;
    }
    TraceReport report;
    for (int tries = 0; tries < 64; ++tries) {
      const uint64_t word = cell.words[kState].load();
      const bool known = StateOf(lane, i, word, &report);
      const bool sound = Agent::ReadCell(cell, &report.message);
      if (cell.words[kState].load() != word) continue;  // it went on: look again
      if (!known || !sound || report.message.id.uid != id.uid ||
          report.message.id.number != id.number) {
        break;
      }
      report.message.attempt = CellAttempt(word);
      report.message.token.lane = index;
      // A send that was set aside left its header behind in another cell: the live one counts.
      if (!found || report.state < TraceState::kSettled) *out = report;
      found = true;
      break;
    }
  }
  return found;
}

}  // namespace

Status TraceMessage(Fabric& fabric, MessageId id, TraceReport* out) noexcept {
  const AgentDirectory directory(&fabric);
  for (uint32_t i = 0; i < fabric.entry_count(); ++i) {
    AgentRecord record;
    MailboxView view;
    if (!directory.Read(i, &record) || !fabric.mail().View(MailboxRefBox(record.mailbox), &view)) {
      continue;
    }
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      if (!FindIn(view.lanes[lane], static_cast<LaneIndex>(lane), id, out)) continue;
      out->entry = i;
      return Status::kOk;
    }
  }
  return Status::kEmpty;
}

}  // namespace cfc
