// The receiving half of Agent.
#include <cstring>

#include "agent.h"
#include "clock.h"
#include "copy.h"
#include "failpoint.h"
#include "reaper.h"

namespace cfc {
namespace {

// How many control messages in a row overtake the work lane.
constexpr uint32_t kControlBurst = 16;
// Given back so often, a message comes alone (TryTake).
constexpr uint32_t kAloneFrom = 2;
// How many cells ahead a reader fetches, where that many wait.
constexpr uint32_t kPrefetchCells = 2;
// Of so many deliveries one has its latency looked at.
constexpr uint32_t kSampleEvery = 64;
// Beyond it somebody set the clock, or nobody was there to receive.
constexpr uint64_t kLongestLatencyNs = 3'600'000'000'000;

constexpr auto kNowMs = []() noexcept { return static_cast<uint32_t>(MonotonicNs() / 1'000'000); };

// An unacked cell pins the ring behind it: more than this many at once would stop the senders. Who
// holds so many still gets the replies that it waits for, or it could never finish with them.
uint32_t MostLeased(const Lane& lane, TakeFilter filter) noexcept {
  const uint32_t quarter = lane.capacity() / 4;
  return (quarter > 0 ? quarter : 1) * (filter == TakeFilter::kRepliesOnly ? 2 : 1);
}

}  // namespace

bool Agent::ReadCell(const Cell& cell, Delivery* out) noexcept {
  const auto get = [&cell](CellWord word) { return GetWord(cell.words[word]); };
  const CellLengths lengths = UnpackLengths(get(kLengths));
  out->id = {get(kSenderUid), get(kNumber)};
  out->sequence = get(kSequence);
  out->sent_at_ns = get(kSentAtNs);
  out->correlation = {get(kCorrelationUid), get(kCorrelationNumber)};
  out->chunk = get(kSlab);
  out->body_bytes = lengths.body;
  out->kind = lengths.kind;
  out->flags = lengths.flags;
  out->from_bytes = lengths.from;
  out->type_bytes = lengths.type;
  out->expires_at_ms = (lengths.flags & kFlagExpires) != 0 ? get(kExpiry) : 0;
  if (lengths.from > kMaxNameBytes || lengths.type > kMaxNameBytes ||
      lengths.body > kMaxStoredBytes || lengths.kind > BodyKind::kJson) {
    return false;
  }
  out->key_bytes = (lengths.flags & kFlagKeyed) != 0 ? sizeof out->key : 0;
  uint64_t used = uint64_t{lengths.from} + lengths.type + out->key_bytes;
  if (out->chunk == 0) used += lengths.body;
  if (used > kInlineBytes) return false;
  CopyOut(out->payload, &cell.words[kPayload], used);
  out->key = 0;
  if (out->key_bytes != 0) std::memcpy(&out->key, out->payload, sizeof out->key);
  return true;
}

Status Agent::TryTake(TakeFilter filter, Delivery* out, uint32_t* delay_ms, bool more) noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  if (Fenced()) return Status::kLeaseLost;
  if (!ReaderReady()) return Status::kReadersFull;
  const Owner me = participant_->owner();
  suspects_.count = 0;
  uint32_t delay = 0;
  bool capped = false;
  const bool work_first = control_burst_ >= kControlBurst;
  for (uint32_t n = 0; n < kLanes; ++n) {
    const auto index = static_cast<LaneIndex>(work_first ? kLanes - 1 - n : n);
    Lane& lane = view_.lanes[index];
    if (reopening_[index] && StillMine()) reopening_[index] = lane.Reopen() != Status::kOk;
    for (;;) {
      if (leased_[index] >= MostLeased(lane, filter)) {
        capped = true;
        break;
      }
      const auto still_mine = [this] { return StillMine(); };
      // Only beside guests is there anybody else to read.
      const Taken taken =
          guest_ ? lane.Take(me, filter, kNowMs, &cursor_[index], &suspects_, still_mine,
                             [this](uint64_t uid) { return IsElses(uid); })
                 : lane.Take(me, filter, kNowMs, &cursor_[index], &suspects_, still_mine);
      if (taken.status == Status::kStale) return Status::kStale;
      if (taken.status != Status::kOk) {
        if (taken.delayed && (delay == 0 || taken.delay_ms < delay)) delay = taken.delay_ms;
        // A leaver that died half-way may have closed it, too full to be opened when we came.
        if (lane.Closing() && StillMine()) reopening_[index] = lane.Reopen() != Status::kOk;
        empty_at_[index] = taken.position;
        break;
      }
      const bool sound = ReadCell(lane.At(taken.position), out);
      CFC_FAIL_POINT("take.copied");
      if (!lane.Holds(taken.position, taken.word)) continue;  // taken back: deliver nothing
      if (Fenced()) {  // after its cells were given back: this one has to follow them
        lane.GiveBack(taken.position, taken.word, 0);
        return Status::kLeaseLost;
      }
      participant_->CountTaken();
      PrefetchBehind(index, taken.position);
      if (!sound) {
        ++leased_[index];
        Discard({index, taken.position, taken.word, 0});
        continue;
      }
      out->token = {index, taken.position, taken.word, out->key};
      out->attempt = CellAttempt(taken.word);
      ++leased_[index];
      if (out->attempt != 0 && Spent(out->attempt)) {
        PutAway(*out);
        continue;
      }
      if (more && out->attempt >= kAloneFrom && Spent(kMaxAttempt)) {
        (void)Release(out->token);
        return Status::kEmpty;
      }
      if (out->key != 0 && DropRepeat(*out)) continue;
      if ((out->flags & kFlagExpires) != 0 && Expired(*out)) {
        PutAway(*out);
        continue;
      }
      control_burst_ = index == kControlLane ? control_burst_ + 1 : 0;
      ++batch_messages_;
      batch_bytes_ += out->body_bytes;
      if (!more) CountBatch();
      if (out->attempt > 0) counters_.Add(Metric::kMessagesRedelivered, 1);
      if (woken_ || until_sample_ == 0) Sample(*out);
      --until_sample_;
      // Of several readers the sender woke one: if there is more, that one wakes the next.
      if (view_.words->readers[1].load() != 0 &&
          lane.Look(TakeFilter::kAll, kNowMs, cursor_[index], nullptr).status == Status::kOk) {
        participant_->fabric().RingReaders(view_, me);
      }
      return Status::kOk;
    }
  }
  control_burst_ = 0;
  if (delay_ms) *delay_ms = delay;
  return capped ? Status::kFull : Status::kEmpty;
}

void Agent::CountBatch() noexcept {
  if (batch_messages_ == 0) return;
  counters_.Add(Metric::kMessagesReceived, batch_messages_);
  counters_.Add(Metric::kBytesReceived, batch_bytes_);
  batch_messages_ = batch_bytes_ = 0;
}

void Agent::NoteSleep(int64_t slept_ns, bool woken) noexcept {
  counters_.Add(Metric::kReceiveWaits, 1);
  counters_.Add(Metric::kReceiveWaitNs, static_cast<double>(slept_ns));
  if (!woken) return;
  counters_.Add(Metric::kWakes, 1);
  woken_ = true;
}

// How long a message took from its sender to here: of one in a few, and of each that woke us, as a
// look at the clock costs a tenth of a message.
void Agent::Sample(const Delivery& delivery) noexcept {
  // Without a sign: what was sent in the future, or is garbage, took very long.
  const uint64_t took_ns = static_cast<uint64_t>(RealTimeNs()) - delivery.sent_at_ns;
  // The wall clock may be set, and what comes again was sent long ago.
  const bool sane = took_ns < kLongestLatencyNs && delivery.attempt == 0;
  if (sane && until_sample_ == 0) {
    counters_.Add(Metric::kLatencySamples, 1);
    counters_.Add(Metric::kLatencyNs, static_cast<double>(took_ns));
  }
  if (sane && woken_) {
    counters_.Add(Metric::kWakeSamples, 1);
    counters_.Add(Metric::kWakeLatencyNs, static_cast<double>(took_ns));
  }
  woken_ = false;
  if (until_sample_ == 0) until_sample_ = kSampleEvery;
}

void Agent::PrefetchBehind(LaneIndex index, uint64_t position) noexcept {
  const Lane& lane = view_.lanes[index];
  uint64_t& known_tail = memo_[index].known_tail;
  if (position >= known_tail) known_tail = Position(lane.words()->tail.load());
  // Only what was claimed some time ago: to fetch what its sender still fills would cost both.
  const uint64_t next = position + kPrefetchCells;
  if (next + kPrefetchCells < known_tail) lane.PrefetchToRead(next);
}

bool Agent::WorthALook() const noexcept {
  // Where something unfinished is in the way, any look may find it finished.
  return suspects_.count != 0 || view_.lanes[kControlLane].CameTo(empty_at_[kControlLane]) ||
         view_.lanes[kWorkLane].CameTo(empty_at_[kWorkLane]);
}

bool Agent::HasMail(TakeFilter filter, int64_t* longest) noexcept {
  if (Fenced() || !ReaderReady()) return true;  // TryTake says so
  suspects_.count = 0;
  for (int round = 0; round < 2; ++round) {
    for (uint32_t index = 0; index < kLanes; ++index) {
      Lane& lane = view_.lanes[index];
      if (leased_[index] >= MostLeased(lane, filter)) continue;
      const Taken found = LookFor(filter, index, longest ? &suspects_ : nullptr);
      if (found.status == Status::kOk) return true;
      if (longest && found.delayed && int64_t{found.delay_ms} * 1'000'000 < *longest) {
        *longest = int64_t{found.delay_ms} * 1'000'000;
      }
    }
    if (!longest) return false;
    const int64_t wise = ClearTheWay();
    if (wise < *longest) *longest = wise;
    if (suspects_.count == 0) break;  // nothing was in the way, so nothing came free
  }
  // We may have been rung for what we leave to others.
  if (guest_ && view_.words->readers[1].load() != 0) {
    for (uint32_t index = 0; index < kLanes; ++index) {
      Lane& lane = view_.lanes[index];
      if (lane.Look(TakeFilter::kAll, kNowMs, 0, nullptr).status != Status::kOk) continue;
      participant_->fabric().RingReadersBehind(view_, participant_->owner());
      break;
    }
  }
  return false;
}

Taken Agent::LookFor(TakeFilter filter, uint32_t index, Suspects* suspects) noexcept {
  Lane& lane = view_.lanes[index];
  if (!guest_) return lane.Look(filter, kNowMs, cursor_[index], suspects);
  return lane.Look(filter, kNowMs, cursor_[index], suspects,
                   [this](uint64_t uid) { return IsElses(uid); });
}

bool Agent::IsElses(uint64_t asker_uid) const noexcept {
  return asker_uid != participant_->uid() &&
         participant_->fabric().AskerSlot(view_, asker_uid) != 0;
}

int64_t Agent::ClearTheWay() noexcept {
  Fabric& fabric = participant_->fabric();
  bool waiting = false;
  for (uint32_t i = 0; i < suspects_.count; ++i) {
    const Owner suspect = suspects_.owners[i];
    if (suspect == participant_->owner()) continue;
    if (fabric.ProvenDead(suspect)) {
      ReapIfDead(fabric, suspect, participant_->owner());
      counters_.Add(Metric::kRepairs, 1);
    } else {
      waiting = true;
    }
  }
  for (uint32_t index = 0; index < kLanes; ++index) {
    Lane& lane = view_.lanes[index];
    if (waiting && lane.QuarantineHead(kNowMs())) counters_.Add(Metric::kQuarantines, 1);
    fabric.Reclaim(view_, index);
    if (lane.Depth() < lane.capacity()) fabric.PassRoom(view_, index, 1);
  }
  return suspects_.count > 0 ? kSuspectNs : kBackstopNs;
}

Status Agent::Receive(Delivery* out, Deadline deadline) noexcept {
  uint32_t delay_ms = 0;
  Status status = TryTake(TakeFilter::kAll, out, &delay_ms);
  if (status != Status::kEmpty) return status;
  const int64_t began_ns = MonotonicNs();
  const uint64_t sleeps = participant_->sleeps();
  const Status waited = participant_->WaitUntil(
      [&](int64_t* longest) {
        if (participant_->sleeps() != sleeps) woken_ = true;
        status = TryTake(TakeFilter::kAll, out, &delay_ms);
        if (status != Status::kEmpty) return true;
        if (longest == nullptr) return false;
        *longest = ClearTheWay();
        if (delay_ms != 0 && int64_t{delay_ms} * 1'000'000 < *longest) {
          *longest = int64_t{delay_ms} * 1'000'000;
        }
        if (suspects_.count == 0) return false;
        // What was in the way may be mended: look once more before sleeping.
        status = TryTake(TakeFilter::kAll, out, &delay_ms);
        return status != Status::kEmpty;
      },
      [this] { return WorthALook(); }, deadline);
  counters_.Add(Metric::kReceiveWaits, 1);
  counters_.Add(Metric::kReceiveWaitNs, static_cast<double>(MonotonicNs() - began_ns));
  if (waited == Status::kOk) counters_.Add(Metric::kWakes, 1);
  woken_ = false;
  return waited == Status::kOk ? status : waited;
}

Status Agent::WaitMail(Deadline deadline) noexcept {
  if (HasMail(TakeFilter::kAll, nullptr)) return Status::kOk;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (leased_[lane] >= MostLeased(view_.lanes[lane], TakeFilter::kAll)) return Status::kFull;
  }
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  return participant_->WaitUntil(
      [&](int64_t* longest) {
        if (longest) *longest = kBackstopNs;
        return HasMail(TakeFilter::kAll, longest);
      },
      deadline);
}

void Agent::Discard(const LeaseToken& token) noexcept {
  counters_.Add(Metric::kCellsCorrupt, 1);
  if (leased_[token.lane] > 0) --leased_[token.lane];
  view_.lanes[token.lane].Settle(token.position, token.word, kAborted);
  Reclaim(token.lane);
}

Status Agent::CopyBody(const Delivery& delivery, void* body) noexcept {
  return CopyPeeked(participant_->fabric(), view_, delivery, body);
}

Status Agent::CopyPeeked(Fabric& fabric, const MailboxView& view, const Delivery& delivery,
                         void* body) noexcept {
  if (delivery.BodyIsInline()) {
    const std::string_view inline_body = delivery.InlineBody();
    if (!inline_body.empty()) std::memcpy(body, inline_body.data(), inline_body.size());
    return Status::kOk;
  }
  const bool whole = fabric.slab().Read(delivery.chunk, body, delivery.body_bytes);
  if (!view.lanes[delivery.token.lane].Holds(delivery.token.position, delivery.token.word)) {
    return Status::kLeaseLost;
  }
  return whole ? Status::kOk : Status::kCorrupt;
}

Status Agent::AckWithoutReclaim(const LeaseToken& token) noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  const Status status = SettleAs(token, kAcked, kAcked);
  if (status == Status::kOk) {
    ++batch_acked_;
    if (token.key != 0) NoteKey(token.key);
  }
  return status;
}

void Agent::Reclaim(LaneIndex lane) noexcept {
  if (batch_acked_ != 0) {
    counters_.Add(Metric::kMessagesAcked, batch_acked_);
    batch_acked_ = 0;
  }
  Progress();
  participant_->fabric().Reclaim(view_, lane, &memo_[lane]);
}

Status Agent::Ack(const LeaseToken& token) noexcept {
  const Status status = AckWithoutReclaim(token);
  Reclaim(token.lane);
  return status;
}

Status Agent::HandOver(LeaseToken* token) noexcept {
  const uint64_t held =
      view_.lanes[token->lane].HandOver(token->position, token->word, incarnation_);
  if (leased_[token->lane] > 0) --leased_[token->lane];
  if (held == 0) return Status::kLeaseLost;
  token->word = held;
  return Status::kOk;
}

Status Agent::Peek(const MailboxView& view, LaneIndex index, uint64_t nth, Delivery* out,
                   CellKind* state) noexcept {
  const Lane& lane = view.lanes[index];
  const uint64_t head = lane.words()->head.load();
  for (uint64_t i = 0; i < lane.capacity(); ++i) {
    const Cell& cell = lane.At(head + i);
    const uint64_t word = cell.words[kState].load();
    if (CellLap(word) != lane.LapOf(head + i)) {
      if (LapsAhead(CellLap(word), lane.LapOf(head + i)) < 0) break;
      continue;
    }
    const CellKind kind = CellKindOf(word);
    if (kind == CellKind::kFree) break;
    if (kind != CellKind::kReady && kind != CellKind::kLeased && kind != CellKind::kHeld) continue;
    if (nth-- > 0) continue;
    const bool sound = ReadCell(cell, out);
    if (cell.words[kState].load() != word) return Status::kBusy;  // it went on: look again
    if (!sound) return Status::kCorrupt;
    out->token = {index, head + i, word, out->key};
    out->attempt = CellAttempt(word);
    if (state) *state = kind;
    return Status::kOk;
  }
  return Status::kEmpty;
}

uint64_t Agent::Clear() noexcept { return Clear(*participant_, view_, mailbox_ref_); }

uint64_t Agent::Clear(Participant& participant, const MailboxView& view, uint64_t ref) noexcept {
  uint64_t dropped = 0;
  const auto still_valid = [&] { return view.Is(MailboxRefGeneration(ref)); };
  for (uint32_t index = 0; index < kLanes; ++index) {
    Lane lane = view.lanes[index];
    const uint64_t id = PackLaneId(view.box, index);
    participant.IntendToRead(id);  // so that what we take is given back if we die
    for (uint64_t most = lane.Depth(); most > 0; --most) {
      uint64_t cursor = 0;
      const Taken taken = lane.Take(
          participant.owner(), TakeFilter::kAll, [] { return kNowMs() + (1u << 30); }, &cursor,
          nullptr, still_valid);
      if (taken.status != Status::kOk) break;
      if (lane.Settle(taken.position, taken.word, kDropped) == Status::kOk) ++dropped;
    }
    participant.fabric().Reclaim(view, index);
  }
  return dropped;
}

}  // namespace cfc
