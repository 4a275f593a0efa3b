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

// What a cell says, in one piece. False: nothing that makes sense, or it goes on and on.
bool ReadAt(const Lane& lane, uint64_t index, TraceReport* out) noexcept {
  const Cell& cell = lane.At(index);
  for (int tries = 0; tries < 64; ++tries) {
    const uint64_t word = cell.words[kState].load();
    const bool known = StateOf(lane, index, word, out);
    const bool sound = Agent::ReadCell(cell, &out->message);
    if (cell.words[kState].load() != word) continue;  // it went on: look again
    out->message.attempt = CellAttempt(word);
    out->message.token.position = uint64_t{CellLap(word)} * lane.capacity() + index;
    out->message.token.word = word;
    return known && sound;
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
    if (!ReadAt(lane, i, &report) || report.message.id.uid != id.uid ||
        report.message.id.number != id.number) {
      continue;
    }
    report.message.token.lane = index;
    // A send that was set aside left its header behind in another cell: the live one counts.
    if (!found || report.state < TraceState::kSettled) *out = report;
    found = true;
  }
  return found;
}

// Keeps the newest: `out` is in the order of the sending, newest first.
uint32_t Keep(const TraceReport& report, TraceReport* out, uint32_t count, uint32_t most) noexcept {
  for (uint32_t i = 0; i < count; ++i) {
    const MessageId known = out[i].message.id;
    if (known.uid != report.message.id.uid || known.number != report.message.id.number) continue;
    // A send that was set aside left its header behind in another cell: the live one counts.
    if (report.state < out[i].state) out[i] = report;
    return count;
  }
  uint32_t at = count;
  while (at > 0 && out[at - 1].message.sent_at_ns < report.message.sent_at_ns) --at;
  if (at >= most) return count;
  const uint32_t kept = count < most ? count + 1 : most;
  for (uint32_t i = kept - 1; i > at; --i) out[i] = out[i - 1];
  out[at] = report;
  return kept;
}

// False where it is no dead letter.
bool FindLetter(Fabric& fabric, MessageId id, TraceReport* out) noexcept {
  const DeadLetters letters(&fabric);
  DeadLetter letter;
  for (uint64_t i = 0; i < kMaxLaneCells; ++i) {
    const Status status = letters.Peek(i, &letter);
    if (status == Status::kEmpty) return false;
    if (status != Status::kOk || letter.message.id.uid != id.uid ||
        letter.message.id.number != id.number) {
      continue;
    }
    out->is_letter = true;
    out->letter = letter;
    return true;
  }
  return false;
}

Status FindInMail(Fabric& fabric, MessageId id, TraceReport* out) noexcept;

}  // namespace

Status TraceMessage(Fabric& fabric, MessageId id, TraceReport* out) noexcept {
  const Status status = FindInMail(fabric, id, out);
  if (status == Status::kOk && out->state < TraceState::kDeadLettered) return status;
  if (!FindLetter(fabric, id, out)) return status;
  if (status != Status::kOk) {  // its place holds another message by now
    out->entry = kNoEntry;
    out->message = out->letter.message;
    out->message.token.lane = out->letter.lane;
    out->message.attempt = out->letter.attempts;
  }
  out->state = TraceState::kDeadLettered;
  return Status::kOk;
}

namespace {

Status FindInMail(Fabric& fabric, MessageId id, TraceReport* out) noexcept {
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

}  // namespace

uint32_t TraceSends(Fabric& fabric, std::string_view sender, TraceReport* out,
                    uint32_t most) noexcept {
  const AgentDirectory directory(&fabric);
  uint32_t count = 0;
  for (uint32_t i = 0; i < fabric.entry_count(); ++i) {
    AgentRecord record;
    MailboxView view;
    if (!directory.Read(i, &record) || !fabric.mail().View(MailboxRefBox(record.mailbox), &view)) {
      continue;
    }
    for (uint32_t index = 0; index < kLanes; ++index) {
      const Lane& lane = view.lanes[index];
      for (uint64_t cell = 0; cell < lane.capacity(); ++cell) {
        // Most cells are of others: the length of the name tells them apart at once.
        const uint64_t lengths = lane.At(cell).words[kLengths].load(std::memory_order_relaxed);
        TraceReport report;
        if (UnpackLengths(lengths).from != sender.size() || !ReadAt(lane, cell, &report) ||
            report.message.From() != sender) {
          continue;
        }
        report.entry = i;
        report.message.token.lane = static_cast<LaneIndex>(index);
        count = Keep(report, out, count, most);
      }
    }
  }
  return count;
}

}  // namespace cfc
