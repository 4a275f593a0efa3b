// Agent, what it does about messages that nobody can process: gives them up, sends them again.
#include <algorithm>
#include <memory>
#include <new>

#include "agent.h"
#include "clock.h"
#include "dead_letters.h"
#include "failpoint.h"
#include "seen_keys.h"

namespace cfc {
namespace {

// How long a message that could not be put away waits for the next try.
constexpr uint32_t kPutAwayAgainMs = 1000;

uint64_t NowMs() noexcept { return static_cast<uint64_t>(MonotonicNs() / 1'000'000); }

// As kNotBefore has it: never 0, which means at once.
uint32_t NotBefore(uint32_t delay_ms) noexcept {
  return std::max(static_cast<uint32_t>(NowMs()) + delay_ms, 1u);
}

}  // namespace

bool Agent::Spent(uint32_t attempts) const noexcept {
  const uint32_t limit = participant_->fabric().options().attempt_limit;
  return limit != 0 && attempts >= limit;
}

bool Agent::Expired(const Delivery& delivery) noexcept {
  return (delivery.flags & kFlagExpires) != 0 && NowMs() >= delivery.expires_at_ms;
}

void Agent::CountLeaseOut(const LeaseToken& token) noexcept {
  const bool mine =
      CellOwner(token.word) == participant_->owner() && CellKindOf(token.word) == CellKind::kLeased;
  if (mine && leased_[token.lane] > 0) --leased_[token.lane];
}

Status Agent::SettleAs(const LeaseToken& token, VoidReason reason, VoidReason verdict) noexcept {
  Lane& lane = view_.lanes[token.lane];
  const Status status = lane.Settle(token.position, token.word, reason);
  if (status != Status::kAlreadyAcked) CountLeaseOut(token);
  if (status == Status::kOk) {
    const Owner waiting = lane.LeaveVerdict(token.position, verdict);
    if (waiting != 0) participant_->fabric().Ring(OwnerSlot(waiting));
  }
  return status;
}

bool Agent::DropRepeat(const Delivery& delivery) noexcept {
  const SeenKeys keys(&participant_->fabric(), view_.words, MailboxRefGeneration(mailbox_ref_));
  if (!keys.Has(delivery.key, NowMs())) return false;
  // To who waits for the ack of a repeat, the first one's counts.
  if (SettleAs(delivery.token, kDropped, kAcked) == Status::kOk) {
    counters_.Add(Metric::kMessagesRepeated, 1);
    participant_->fabric().Reclaim(view_, delivery.token.lane, &memo_[delivery.token.lane]);
  }
  return true;
}

void Agent::NoteKey(uint64_t key) noexcept {
  SeenKeys(&participant_->fabric(), view_.words, MailboxRefGeneration(mailbox_ref_))
      .Note(participant_->owner(), key, NowMs());
}

Status Agent::Bury(const Delivery& delivery, DeathCause cause, uint32_t attempts,
                   std::string_view reason) noexcept {
  const std::unique_ptr<char[]> body(new (std::nothrow) char[size_t{delivery.body_bytes} + 1]);
  if (!body) return Status::kNoSpace;
  Status status = CopyBody(delivery, body.get());
  if (status == Status::kCorrupt) {
    Discard(delivery.token);
    return Status::kOk;
  }
  if (status != Status::kOk) {
    CountLeaseOut(delivery.token);
    return status;
  }
  const bool expired = cause == DeathCause::kExpired;
  Obituary why = {name_, reason, cause, attempts};
  if (reason.empty()) why.reason = expired ? "expired" : "attempts";
  DeadLetters letters(&participant_->fabric());
  uint64_t position = DeadLetters::kNowhere;
  status = letters.Keep(participant_, delivery, body.get(), why, &position);
  if (status != Status::kOk) return status;
  CFC_FAIL_POINT("dead.kept");
  status = SettleAs(delivery.token, kDeadLettered, kDeadLettered);
  if (status != Status::kOk) letters.TakeBack(participant_, position);  // it did not die of this
  if (status == Status::kOk) {
    counters_.Add(Metric::kMessagesDeadLettered, 1);
    if (expired) counters_.Add(Metric::kMessagesExpired, 1);
    participant_->fabric().Reclaim(view_, delivery.token.lane, &memo_[delivery.token.lane]);
  }
  return status;
}

void Agent::PutAway(const Delivery& delivery) noexcept {
  const DeathCause cause = Spent(delivery.attempt) ? DeathCause::kAttempts : DeathCause::kExpired;
  const Status status = Bury(delivery, cause, delivery.attempt, {});
  if (!DeadLetters::MayPass(status)) return;
  const LeaseToken& token = delivery.token;
  view_.lanes[token.lane].GiveBack(token.position, token.word, NotBefore(kPutAwayAgainMs));
  CountLeaseOut(token);
}

Status Agent::Nack(const LeaseToken& token, uint32_t delay_ms, std::string_view reason) noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  Lane& lane = view_.lanes[token.lane];
  const uint32_t attempts = CellAttempt(token.word) + 1;
  Delivery delivery;
  if (Spent(attempts) && ReadCell(lane.At(token.position), &delivery) &&
      lane.Holds(token.position, token.word)) {
    delivery.token = token;
    const Status buried = Bury(delivery, DeathCause::kAttempts, attempts, reason);
    if (buried == Status::kOk) counters_.Add(Metric::kMessagesNacked, 1);
    if (!DeadLetters::MayPass(buried)) return buried;
    delay_ms = std::max(delay_ms, kPutAwayAgainMs);
  }
  const Status status =
      lane.GiveBack(token.position, token.word, delay_ms == 0 ? 0 : NotBefore(delay_ms));
  CountLeaseOut(token);
  if (status == Status::kOk) {
    counters_.Add(Metric::kMessagesNacked, 1);
    participant_->fabric().RingReaders(view_, participant_->owner());
  }
  return status;
}

Status Agent::Release(const LeaseToken& token) noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  const Status status = view_.lanes[token.lane].Release(token.position, token.word);
  CountLeaseOut(token);
  if (status == Status::kOk) {
    participant_->fabric().RingReaders(view_, participant_->owner());
  }
  return status;
}

Status Agent::Redrive(MessageId id, MessageId* sent) noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  DeadLetters letters(&participant_->fabric());
  DeadLetter letter;
  Status status = letters.Take(participant_, id, &letter);
  if (status != Status::kOk) return status;
  std::unique_ptr<char[]> body;
  status = letters.CopyBody(letter, &body);
  Receipt receipt;
  if (status == Status::kOk) {
    Outgoing message;
    message.body = {body.get(), letter.body_bytes};
    message.type = letter.message.Type();
    message.kind = letter.message.kind;
    message.lane = letter.lane;
    message.correlation = letter.message.correlation;
    message.from = letter.message.From();
    Route route;
    route.name = std::string(letter.To());
    status = TrySend(&route, message, &receipt);
  }
  if (status != Status::kOk) {
    letters.GiveBack(participant_, letter);
    return status;
  }
  CFC_FAIL_POINT("dead.redriven");
  counters_.Add(Metric::kMessagesRedriven, 1);
  *sent = receipt.id;
  letters.Settle(participant_, letter, kAcked);
  return Status::kOk;
}

}  // namespace cfc
