// Subscription.
#include <sched.h>

#include <cstring>

#include "failpoint.h"
#include "reaper.h"
#include "topic.h"
#include "topic_peers.h"

namespace cfc {
namespace {

uint32_t NowMs() noexcept { return static_cast<uint32_t>(MonotonicNs() / 1'000'000); }

constexpr uint32_t kSuspectMs = kSuspectNs / 1'000'000;

}  // namespace

void Agent::CloseTopics() noexcept {
  while (!subscriptions_.empty()) subscriptions_.back()->Close();
  topics_.clear();
}

Status Subscription::Open(Agent* agent, std::string_view topic, const SubscribeOptions& options,
                          Failure* failure) noexcept {
  Close();
  if (!agent->joined()) return Status::kClosed;
  Participant& participant = agent->participant();
  const Status usable = participant.Usable();
  if (usable != Status::kOk) return usable;
  Status status = participant.fabric().topics().FindOrMake(topic, &topic_, failure);
  if (status != Status::kOk) return status;
  const RowKind kind = options.policy == TopicPolicy::kLossy ? RowKind::kLossy : RowKind::kReliable;
  status = topic_.rows.Join(participant.owner(), kind, options.patience_ms, 1 + agent->entry(),
                            &row_, &generation_, &next_);
  if (status == Status::kSubscribersFull) {
    // Perhaps the dead still sit in the rows.
    Sweep(participant.fabric(), participant.owner());
    status = topic_.rows.Join(participant.owner(), kind, options.patience_ms, 1 + agent->entry(),
                              &row_, &generation_, &next_);
  }
  if (status != Status::kOk) return status;
  published_ = next_;
  aborted_ = 0;
  absolute_ = false;
  blocked_at_ = ~uint64_t{0};
  delivered_ = lost_ = lagged_ = 0;
  agent_ = agent;
  agent->subscriptions_.push_back(this);
  return Status::kOk;
}

void Subscription::Close() noexcept {
  if (!agent_) return;
  std::erase(agent_->subscriptions_, this);
  Participant& participant = agent_->participant();
  if (participant.Usable() == Status::kOk &&
      topic_.rows.Leave(participant.owner(), row_, generation_)) {
    PassTopicRoom(participant.fabric(), topic_, topic_.log.capacity());
  }
  agent_ = nullptr;
}

// Takes part again where publishers have set us aside.
Status Subscription::StillMine() noexcept {
  const Owner me = agent_->participant().owner();
  const uint64_t word = topic_.rows.At(row_).word.load();
  if (RowOwner(word) != me || RowGeneration(word) != generation_) return Status::kParticipantLost;
  if (RowKindOf(word) != RowKind::kLagged) return Status::kOk;
  if (!topic_.rows.Rejoin(me, row_, &generation_, next_)) return Status::kParticipantLost;
  published_ = next_;
  ++lagged_;
  agent_->counters_.Add(Metric::kTopicsLagged, 1);
  return Status::kOk;
}

// The head is past next_, or about to be. What lies between carried as many messages as there are
// positions, less those that were aborted; and how many those are is known of any position that
// the head has stood at.
bool Subscription::Overtaken(TopicEvent* gap) noexcept {
  topic_.log.PassFreed();
  uint64_t head = 0;
  uint32_t aborted = 0;
  if (!topic_.log.Passed(&head, &aborted) || head <= next_) return false;
  if (!absolute_) {
    uint32_t base = 0;
    // The head cannot have passed our start before this was written down.
    if (!topic_.rows.Base(row_, generation_, &base)) return false;
    aborted_ += base;
    absolute_ = true;
  }
  if (!gap->gap) gap->from = next_;
  gap->gap = true;
  gap->to = head;
  gap->count += static_cast<uint32_t>(head - next_) - (aborted - aborted_);
  next_ = head;
  aborted_ = aborted;
  return true;
}

Status Subscription::Next(TopicEvent* event) noexcept {
  if (!agent_) return Status::kClosed;
  Status status = agent_->participant().Usable();
  if (status == Status::kOk) status = StillMine();
  if (status != Status::kOk) return status;
  event->gap = false;
  event->count = 0;
  for (uint32_t tries = 0; tries < 4 * topic_.log.capacity() + 64; ++tries) {
    uint64_t word = 0;
    const TopicLog::Found found = topic_.log.Look(next_, &word);
    // A gap ends at the first position that is still to be read.
    if (event->gap && event->count > 0 && found != TopicLog::Found::kOvertaken &&
        found != TopicLog::Found::kRetired) {
      return Status::kOk;
    }
    switch (found) {
      case TopicLog::Found::kOvertaken:
        if (!Overtaken(event)) return Status::kEmpty;
        continue;
      case TopicLog::Found::kRetired:
        if (!event->gap) event->from = next_;
        event->gap = true;
        event->to = ++next_;
        ++event->count;
        continue;
      case TopicLog::Found::kHole:
        PassHole();
        continue;
      case TopicLog::Found::kClaimed:
        if (ClearTheWay(word)) continue;
        return Status::kEmpty;
      case TopicLog::Found::kNothing:
        return Status::kEmpty;
      case TopicLog::Found::kMessage:
        break;
    }
    const bool sound = Agent::ReadCell(topic_.log.At(next_), &event->message);
    CFC_FAIL_POINT("topic.copied");
    if (!topic_.log.Stands(next_, word)) continue;
    event->gap = false;
    event->count = 0;
    event->position = next_;
    event->aborted = aborted_;
    event->absolute = absolute_;
    event->word = word;
    if (!sound) {  // garbage in the region: nobody can have it
      agent_->counters_.Add(Metric::kCellsCorrupt, 1);
      event->gap = true;
      event->from = next_;
      event->to = next_ + 1;
      event->count = 1;
    }
    ++next_;
    return Status::kOk;
  }
  return event->gap && event->count > 0 ? Status::kOk : Status::kEmpty;
}

Status Subscription::CopyBody(const TopicEvent& event, void* body) noexcept {
  if (!agent_) return Status::kClosed;
  const Delivery& message = event.message;
  if (message.BodyIsInline()) {
    std::memcpy(body, message.InlineBody().data(), message.body_bytes);
    return Status::kOk;
  }
  const bool whole =
      agent_->participant().fabric().slab().Read(message.chunk, body, message.body_bytes);
  if (!topic_.log.Stands(event.position, event.word)) return Status::kLeaseLost;
  return whole ? Status::kOk : Status::kCorrupt;
}

void Subscription::PutBack(const TopicEvent& event) noexcept {
  next_ = event.position;
  aborted_ = event.aborted;
  absolute_ = event.absolute;
}

void Subscription::Advance(uint32_t delivered, uint32_t lost) noexcept {
  if (!agent_) return;
  Row& row = topic_.rows.At(row_);
  if (delivered > 0) {
    delivered_ += delivered;
    row.delivered.store(delivered_, std::memory_order_relaxed);
    agent_->counters_.Add(Metric::kTopicsDelivered, delivered);
  }
  if (lost > 0) {
    lost_ += lost;
    row.lost.store(lost_, std::memory_order_relaxed);
    agent_->counters_.Add(Metric::kTopicsLost, lost);
  }
  if (next_ == published_) return;
  // Refused only where the row is not ours any more, which the next call finds.
  topic_.rows.Advance(row_, generation_, published_, next_);
  CFC_FAIL_POINT("topic.cursor");
  const uint64_t cells = next_ - published_;
  published_ = next_;
  PassTopicRoom(agent_->participant().fabric(), topic_, cells);
}

// A claim at next_. True where it is out of the way.
bool Subscription::ClearTheWay(uint64_t word) noexcept {
  const uint32_t now_ms = NowMs();
  if (blocked_at_ != next_) {
    blocked_at_ = next_;
    blocked_since_ms_ = cleared_ms_ = now_ms;
    return false;
  }
  if (now_ms - cleared_ms_ < kSuspectMs) return false;
  cleared_ms_ = now_ms;
  Fabric& fabric = agent_->participant().fabric();
  const Owner me = agent_->participant().owner();
  const Owner owner = CellOwner(word);
  if (owner != me && fabric.ProvenDead(owner)) {
    ReapIfDead(fabric, owner, me);
    agent_->counters_.Add(Metric::kRepairs, 1);
    return true;
  }
  if (now_ms - blocked_since_ms_ < kQuarantineMs || !topic_.log.Quarantine(next_, word)) {
    return false;
  }
  agent_->counters_.Add(Metric::kQuarantines, 1);
  return true;
}

bool Subscription::HasEvent(int64_t* longest) noexcept {
  if (!agent_) return false;
  if (longest) topic_.sleepers().Announce(row_);
  const uint64_t mine = topic_.rows.At(row_).word.load();
  if (RowGeneration(mine) != generation_ || RowKindOf(mine) == RowKind::kLagged) return true;
  for (uint32_t tries = 0; tries < topic_.log.capacity(); ++tries) {
    uint64_t word = 0;
    switch (topic_.log.Look(next_, &word)) {
      case TopicLog::Found::kNothing:
        // What publishers wait for may be that we have read no hole.
        if (longest && next_ != published_) Advance(0, 0);
        return false;
      case TopicLog::Found::kHole:
        PassHole();
        continue;
      case TopicLog::Found::kClaimed:
        if (!longest) return false;
        if (ClearTheWay(word)) continue;
        if (kSuspectNs < *longest) *longest = kSuspectNs;
        if (next_ != published_) Advance(0, 0);
        return false;
      default:
        return true;
    }
  }
  return true;
}

// Where subscribers outnumber the CPUs, each publish that wakes one is interrupted by it: it reads
// a single message, sleeps, and is woken for the next one. Given the CPU first, the publisher finds
// everybody awake and goes on for a whole slice. With few subscribers it only helps strangers.
bool Subscription::CrowdedAndBusy() const noexcept {
  const auto& spin = agent_->participant().spin();
  if (!spin.recent || spin.cpus == 0) return false;
  return topic_.words->rows_used.load() > 2 * static_cast<uint64_t>(spin.cpus);
}

Status Subscription::WaitEvent(Deadline deadline) noexcept {
  if (!agent_) return Status::kClosed;
  if (HasEvent(nullptr)) return Status::kOk;
  const Status usable = agent_->participant().Usable();
  if (usable != Status::kOk) return usable;
  if (CrowdedAndBusy()) {
    sched_yield();
    if (HasEvent(nullptr)) return Status::kOk;
  }
  return agent_->participant().WaitUntil([&](int64_t* longest) { return HasEvent(longest); },
                                         deadline);
}

Status Subscription::TryReceive(TopicEvent* event, std::string* body) noexcept {
  for (;;) {
    const Status status = Next(event);
    if (status != Status::kOk) {
      if (status == Status::kEmpty && next_ != published_) Advance(0, 0);
      return status;
    }
    if (event->gap) {
      body->clear();
      Advance(0, event->count);
      return Status::kOk;
    }
    body->resize(event->message.body_bytes);
    const Status copied = CopyBody(*event, body->data());
    if (copied == Status::kLeaseLost) {
      PutBack(*event);
      continue;
    }
    if (copied != Status::kOk) {  // garbage: as a message that nobody can have
      event->gap = true;
      event->from = event->position;
      event->to = event->position + 1;
      event->count = 1;
      body->clear();
    }
    Advance(event->gap ? 0 : 1, event->gap ? 1 : 0);
    return Status::kOk;
  }
}

Status Subscription::Receive(TopicEvent* event, std::string* body, Deadline deadline) noexcept {
  for (;;) {
    const Status status = TryReceive(event, body);
    if (status != Status::kEmpty) return status;
    const Status waited = WaitEvent(deadline);
    if (waited != Status::kOk) return waited;
    agent_->counters_.Add(Metric::kWakes, 1);
  }
}

}  // namespace cfc
