#include "dead_letters.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "clock.h"
#include "copy.h"
#include "failpoint.h"

namespace cfc {
namespace {

// Enough for people to come and look, however small the mailboxes of the fabric are.
constexpr uint32_t kLeastCells = 256;
constexpr int kMostTries = 8;

// In front of a letter's body; `to` and the reason follow.
struct Envelope {
  uint64_t died_at_ms;
  uint8_t to_bytes;
  uint8_t reason_bytes;
  uint8_t cause;
  uint8_t attempts;
  uint8_t lane;
  uint8_t spare[3];
};
static_assert(sizeof(Envelope) == 16);
static_assert(sizeof(Envelope) + kMaxNameBytes + kMaxReasonBytes <= kMaxEnvelopeBytes);

std::string_view Cut(std::string_view text, size_t most) noexcept {
  return text.substr(0, std::min(text.size(), most));
}

// The envelope and the body, as they are stored. Null where there is no memory for it.
std::unique_ptr<char[]> Seal(const Delivery& message, const void* body, const Obituary& why,
                             uint32_t* bytes) noexcept {
  const std::string_view to = Cut(why.to, kMaxNameBytes);
  const std::string_view reason = Cut(why.reason, kMaxReasonBytes);
  Envelope envelope = {};
  envelope.died_at_ms = static_cast<uint64_t>(RealTimeNs() / 1'000'000);
  envelope.to_bytes = static_cast<uint8_t>(to.size());
  envelope.reason_bytes = static_cast<uint8_t>(reason.size());
  envelope.cause = static_cast<uint8_t>(why.cause);
  envelope.attempts = static_cast<uint8_t>(why.attempts);
  envelope.lane = static_cast<uint8_t>(message.token.lane);
  const size_t front = sizeof envelope + to.size() + reason.size();
  *bytes = static_cast<uint32_t>(front + message.body_bytes);
  std::unique_ptr<char[]> stored(new (std::nothrow) char[*bytes]);
  if (!stored) return stored;
  char* at = stored.get();
  std::memcpy(at, &envelope, sizeof envelope);
  at += sizeof envelope;
  if (!to.empty()) std::memcpy(at, to.data(), to.size());
  at += to.size();
  if (!reason.empty()) std::memcpy(at, reason.data(), reason.size());
  at += reason.size();
  if (message.body_bytes != 0) std::memcpy(at, body, message.body_bytes);
  return stored;
}

void Fill(Cell& cell, const Delivery& message, std::string_view stored, ChunkRef chunk) noexcept {
  const auto set = [&cell](CellWord word, uint64_t value) { PutWord(cell.words[word], value); };
  CellLengths lengths;
  lengths.body = static_cast<uint32_t>(stored.size());
  lengths.from = message.from_bytes;
  lengths.type = message.type_bytes;
  lengths.kind = message.kind;
  lengths.flags = static_cast<uint8_t>(message.flags & ~(kFlagExpires | kFlagKeyed));
  set(kSenderUid, message.id.uid);
  set(kNumber, message.id.number);
  set(kSequence, message.sequence);
  set(kSentAtNs, message.sent_at_ns);
  set(kCorrelationUid, message.correlation.uid);
  set(kCorrelationNumber, message.correlation.number);
  set(kSlab, chunk);
  set(kLengths, PackLengths(lengths));
  set(kReceipt, 0);
  alignas(8) char payload[kInlineBytes];
  size_t used = size_t{message.from_bytes} + message.type_bytes;
  std::memcpy(payload, message.From().data(), message.from_bytes);
  std::memcpy(payload + message.from_bytes, message.Type().data(), message.type_bytes);
  if (chunk == 0) {
    std::memcpy(payload + used, stored.data(), stored.size());
    used += stored.size();
  }
  CopyIn(&cell.words[kPayload], payload, used);
  CFC_FAIL_POINT("dead.filled");
}

bool IsLetter(CellKind kind) noexcept {
  return kind == CellKind::kReady || kind == CellKind::kLeased;
}

}  // namespace

bool DeadLetters::View(MailboxView* view) const noexcept {
  const uint64_t ref = fabric_->words().dead_letters.load();
  return ref != 0 && fabric_->mail().View(MailboxRefBox(ref), view) &&
         view->Is(MailboxRefGeneration(ref));
}

Status DeadLetters::Open(Participant* me, MailboxView* view) noexcept {
  if (View(view)) return Status::kOk;
  if (fabric_->words().dead_letters.load() != 0) return Status::kCorrupt;
  const uint32_t cells = std::max(fabric_->options().mailbox_cells, kLeastCells);
  uint64_t ref;
  const Status status = fabric_->mail().Allocate(me->owner(), cells, &ref, view, nullptr);
  if (status != Status::kOk) return status;
  view->words->agent.store(kNoEntry);
  uint64_t seen = 0;
  if (!fabric_->words().dead_letters.compare_exchange_strong(seen, ref)) {
    fabric_->mail().Free(me->owner(), ref);  // somebody was quicker
    return View(view) ? Status::kOk : Status::kCorrupt;
  }
  CFC_FAIL_POINT("dead.made");
  fabric_->mail().Own(me->owner(), ref);
  return Status::kOk;
}

bool DeadLetters::Keeps(const MailboxView& view, MessageId id) const noexcept {
  const Lane& lane = view.lanes[kWorkLane];
  const uint64_t head = lane.words()->head.load();
  for (uint64_t i = 0, depth = lane.Depth(); i < depth; ++i) {
    const Cell& cell = lane.At(head + i);
    const uint64_t word = cell.words[kState].load();
    if (CellLap(word) == lane.LapOf(head + i) && IsLetter(CellKindOf(word)) &&
        GetWord(cell.words[kSenderUid]) == id.uid && GetWord(cell.words[kNumber]) == id.number &&
        cell.words[kState].load() == word) {
      return true;
    }
  }
  return false;
}

Status DeadLetters::Keep(Participant* me, const Delivery& message, const void* body,
                         const Obituary& why, uint64_t* position) noexcept {
  MailboxView view;
  Status status = Open(me, &view);
  if (status != Status::kOk) return status;
  *position = kNowhere;
  if (Keeps(view, message.id)) return Status::kOk;
  uint32_t bytes = 0;
  const std::unique_ptr<char[]> stored = Seal(message, body, why, &bytes);
  if (!stored) return Status::kNoSpace;
  Slab& slab = fabric_->slab();
  const Owner owner = me->owner();
  ChunkRef chunk = 0;
  if (size_t{message.from_bytes} + message.type_bytes + bytes > kInlineBytes) {
    status = slab.Borrow(owner, bytes, &chunk);
    if (status != Status::kOk) return status;
    slab.Write(chunk, stored.get(), bytes);
  }
  Lane& lane = view.lanes[kWorkLane];
  me->IntendToSend(PackLaneId(view.box, kWorkLane));
  status = Status::kBusy;
  for (int tries = 0; tries < kMostTries && status == Status::kBusy; ++tries) {
    uint64_t at = 0;
    status = lane.TryClaim(owner, AlwaysValid(), &at);
    if (status == Status::kFull && fabric_->Reclaim(view, kWorkLane) != 0) {
      status = lane.TryClaim(owner, AlwaysValid(), &at);
    }
    if (status != Status::kOk) break;
    Fill(lane.At(at), message, {stored.get(), bytes}, chunk);
    if (chunk != 0) slab.Place(owner, chunk, PackPlace(view.box, kWorkLane, at));
    if (lane.Commit(owner, at)) {
      *position = at;
      return Status::kOk;
    }
    fabric_->Reclaim(view, kWorkLane);  // set aside meanwhile, and given back
    status = Status::kBusy;
  }
  if (chunk != 0) slab.GiveBack(owner, chunk);
  return status == Status::kClosed ? Status::kCorrupt : status;
}

void DeadLetters::TakeBack(Participant* me, uint64_t position) noexcept {
  MailboxView view;
  if (position == kNowhere || !View(&view)) return;
  Lane& lane = view.lanes[kWorkLane];
  lane.Settle(position, PackCell(lane.LapOf(position), me->owner(), 0, CellKind::kReady), kDropped);
  fabric_->Reclaim(view, kWorkLane);
}

bool DeadLetters::Parse(const Delivery& stored, DeadLetter* out) const noexcept {
  char front[kMaxEnvelopeBytes];
  const uint32_t bytes = std::min<uint32_t>(stored.body_bytes, sizeof front);
  if (stored.BodyIsInline()) {
    std::memcpy(front, stored.InlineBody().data(), bytes);
  } else if (!fabric_->slab().Read(stored.chunk, front, bytes)) {
    return false;
  }
  Envelope envelope;
  if (bytes < sizeof envelope) return false;
  std::memcpy(&envelope, front, sizeof envelope);
  const uint32_t used =
      static_cast<uint32_t>(sizeof envelope) + envelope.to_bytes + envelope.reason_bytes;
  if (envelope.to_bytes > kMaxNameBytes || envelope.reason_bytes > kMaxReasonBytes ||
      used > stored.body_bytes) {
    return false;
  }
  out->message = stored;
  out->body_bytes = stored.body_bytes - used;
  out->cause = envelope.cause == static_cast<uint8_t>(DeathCause::kExpired) ? DeathCause::kExpired
                                                                            : DeathCause::kAttempts;
  out->attempts = envelope.attempts;
  out->lane = envelope.lane == kControlLane ? kControlLane : kWorkLane;
  out->died_at_ms = envelope.died_at_ms;
  out->to_bytes = envelope.to_bytes;
  out->reason_bytes = envelope.reason_bytes;
  std::memcpy(out->to, front + sizeof envelope, envelope.to_bytes);
  std::memcpy(out->reason, front + sizeof envelope + envelope.to_bytes, envelope.reason_bytes);
  return true;
}

Status DeadLetters::Peek(uint64_t index, DeadLetter* out) const noexcept {
  MailboxView view;
  if (!View(&view)) return Status::kEmpty;
  Delivery stored;
  const Status status = Agent::Peek(view, kWorkLane, index, &stored, nullptr);
  if (status != Status::kOk) return status;
  const bool sound = Parse(stored, out);
  if (!view.lanes[kWorkLane].Holds(stored.token.position, stored.token.word)) return Status::kBusy;
  return sound ? Status::kOk : Status::kCorrupt;
}

Status DeadLetters::CopyBody(const DeadLetter& letter,
                             std::unique_ptr<char[]>* body) const noexcept {
  MailboxView view;
  if (!View(&view)) return Status::kLeaseLost;
  const uint32_t all = letter.message.body_bytes;
  std::unique_ptr<char[]> stored(new (std::nothrow) char[all + 1]);
  if (!stored) return Status::kNoSpace;
  const Status status = Agent::CopyPeeked(*fabric_, view, letter.message, stored.get());
  if (status != Status::kOk) return status;
  std::memmove(stored.get(), stored.get() + (all - letter.body_bytes), letter.body_bytes);
  *body = static_cast<std::unique_ptr<char[]>&&>(stored);
  return Status::kOk;
}

Status DeadLetters::Take(Participant* me, MessageId id, DeadLetter* out) noexcept {
  MailboxView view;
  if (!View(&view)) return Status::kEmpty;
  Lane& lane = view.lanes[kWorkLane];
  me->IntendToRead(PackLaneId(view.box, kWorkLane));
  const uint64_t head = lane.words()->head.load();
  for (uint64_t i = 0, depth = lane.Depth(); i < depth; ++i) {
    Cell& cell = lane.At(head + i);
    uint64_t word = cell.words[kState].load();
    if (CellLap(word) != lane.LapOf(head + i) || CellKindOf(word) != CellKind::kReady ||
        GetWord(cell.words[kSenderUid]) != id.uid || GetWord(cell.words[kNumber]) != id.number) {
      continue;
    }
    const uint64_t lease =
        PackCell(CellLap(word), me->owner(), CellAttempt(word), CellKind::kLeased);
    if (!cell.words[kState].compare_exchange_strong(word, lease)) continue;
    CFC_FAIL_POINT("dead.leased");
    Delivery stored;
    const bool sound =
        Agent::ReadCell(cell, &stored) && stored.id.uid == id.uid && stored.id.number == id.number;
    stored.token = {kWorkLane, head + i, lease};
    if (sound && Parse(stored, out)) return Status::kOk;
    lane.Settle(head + i, lease, kAborted);  // garbage: nobody can have it
    fabric_->Reclaim(view, kWorkLane);
    return Status::kCorrupt;
  }
  me->ForgetReading(PackLaneId(view.box, kWorkLane));
  return Status::kEmpty;
}

Status DeadLetters::Settle(Participant* me, const DeadLetter& letter, VoidReason reason) noexcept {
  MailboxView view;
  if (!View(&view)) return Status::kLeaseLost;
  const LeaseToken& token = letter.message.token;
  const Status status = view.lanes[kWorkLane].Settle(token.position, token.word, reason);
  fabric_->Reclaim(view, kWorkLane);
  me->ForgetReading(PackLaneId(view.box, kWorkLane));
  return status;
}

void DeadLetters::GiveBack(Participant* me, const DeadLetter& letter) noexcept {
  MailboxView view;
  if (!View(&view)) return;
  const LeaseToken& token = letter.message.token;
  view.lanes[kWorkLane].GiveBack(token.position, token.word, 0);
  me->ForgetReading(PackLaneId(view.box, kWorkLane));
}

}  // namespace cfc
