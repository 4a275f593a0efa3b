// The publishing half of topics: members of Agent.
#include <cstring>

#include "agent.h"
#include "clock.h"
#include "copy.h"
#include "failpoint.h"
#include "topic_peers.h"

namespace cfc {
namespace {

constexpr int kMostResends = 8;  // as for mailboxes: a claim that is set aside is rare

bool IsFull(Status status) noexcept {
  return status == Status::kFull || status == Status::kSlabFull || status == Status::kQuota ||
         status == Status::kRateLimited;
}

}  // namespace

Status Agent::OpenTopic(std::string_view name, TopicRoute** route, Failure* failure) noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  if (Fenced()) return Status::kLeaseLost;
  const auto found = topics_.find(name);
  if (found != topics_.end()) {
    *route = &found->second;
    return Status::kOk;
  }
  TopicRoute fresh;
  const Status status = participant_->fabric().topics().FindOrMake(name, &fresh.view, failure);
  if (status != Status::kOk) return status;
  *route = &topics_.emplace(std::string(name), fresh).first->second;
  return Status::kOk;
}

// Chunks for the body, and room in the slab for them: at the cost of what the topic keeps.
Status Agent::PlaceInTopic(TopicRoute* route, const Outgoing& message, ChunkRef* chunk) noexcept {
  *chunk = 0;
  if (name_.size() + message.type.size() + message.body.size() <= kInlineBytes) return Status::kOk;
  Fabric& fabric = participant_->fabric();
  ReleaseRead(fabric, route->view);
  for (;;) {
    const Status status = Place(message, chunk);
    if (status != Status::kSlabFull && status != Status::kQuota) return status;
    const TopicRoom room = MakeTopicRoom(fabric, route->view, participant_->owner(), 0,
                                         Slab::BytesFor(message.body.size()));
    route->wait_ms = room.wait_ms;
    if (room.slab_bytes == 0) return status;
  }
}

Status Agent::ClaimInTopic(TopicRoute* route, uint64_t* position) noexcept {
  Fabric& fabric = participant_->fabric();
  TopicLog& log = route->view.log;
  participant_->IntendToSend(TopicLaneId(route->view.box));
  for (uint32_t tries = 0; tries < 64; ++tries) {
    const Status status = log.TryClaim(participant_->owner(), AlwaysValid(), position);
    if (status != Status::kFull) return status;
    const TopicRoom room = MakeTopicRoom(fabric, route->view, participant_->owner(), 1, 0);
    route->wait_ms = room.wait_ms;
    if (room.freed == 0) return Status::kFull;
  }
  return Status::kFull;
}

void Agent::FillInTopic(const TopicRoute& route, const Outgoing& message, uint64_t position,
                        ChunkRef chunk, uint64_t number) noexcept {
  Cell& cell = route.view.log.At(position);
  const auto set = [&cell](CellWord word, uint64_t value) {
    cell.words[word].store(value, std::memory_order_relaxed);
  };
  CellLengths lengths;
  lengths.body = static_cast<uint32_t>(message.body.size());
  lengths.from = static_cast<uint8_t>(name_.size());
  lengths.type = static_cast<uint8_t>(message.type.size());
  lengths.kind = message.kind;
  set(kSenderUid, participant_->uid());
  set(kNumber, number);
  set(kSequence, route.sequence + 1);
  set(kSentAtNs, static_cast<uint64_t>(RealTimeNs()));
  set(kCorrelationUid, 0);
  set(kCorrelationNumber, 0);
  set(kSlab, chunk);
  set(kLengths, PackLengths(lengths));
  CFC_FAIL_POINT("topic.header");
  alignas(8) char payload[kInlineBytes];
  size_t used = 0;
  for (const std::string_view text :
       {std::string_view(name_), message.type, chunk == 0 ? message.body : std::string_view()}) {
    if (!text.empty()) std::memcpy(payload + used, text.data(), text.size());
    used += text.size();
  }
  CopyIn(&cell.words[kPayload], payload, used);
  CFC_FAIL_POINT("topic.payload");
}

Status Agent::PublishNow(TopicRoute* route, const Outgoing& message, MessageId* id) noexcept {
  Status status = Check(message);
  if (status != Status::kOk) return status;
  Fabric& fabric = participant_->fabric();
  const Owner me = participant_->owner();
  ChunkRef chunk;
  status = PlaceInTopic(route, message, &chunk);
  if (status != Status::kOk) return status;
  const uint64_t number = participant_->NextNumber();
  for (int tries = 0; tries < kMostResends; ++tries) {
    uint64_t position;
    status = ClaimInTopic(route, &position);
    if (status != Status::kOk) break;
    FillInTopic(*route, message, position, chunk, number);
    if (chunk != 0) fabric.slab().Place(me, chunk, PackPlace(route->view.box, 0, position));
    if (!route->view.log.Commit(me, position)) {
      status = Status::kBusy;
      continue;
    }
    // Into memory that nobody else sees any more: it is not published.
    if (participant_->Usable() != Status::kOk) return Status::kCorrupt;
    // It is published from here on; only its waking is left to do.
    ++route->sequence;
    RingSubscribers(fabric, route->view);
    counters_.Add(Metric::kTopicsPublished, 1);
    counters_.Add(Metric::kBytesSent, static_cast<double>(message.body.size()));
    if (id) *id = {participant_->uid(), number};
    return Status::kOk;
  }
  if (chunk != 0) fabric.slab().GiveBack(me, chunk);
  return status;
}

Status Agent::Publish(TopicRoute* route, const Outgoing& message, Deadline deadline,
                      MessageId* id) noexcept {
  Status status = TryPublish(route, message, id);
  if (!IsFull(status)) return status;
  counters_.Add(Metric::kSendWaits, 1);
  const int64_t began_ns = MonotonicNs();
  const Status waited = participant_->WaitUntil(
      [&](int64_t* longest) {
        if (longest) AnnounceTopicRoom(route, /*several=*/false);
        status = TryPublish(route, message, id);
        if (!IsFull(status)) return true;
        if (longest) {
          *longest = status == Status::kRateLimited ? RateSleepNs() : WaitForTopicNs(*route);
        }
        return false;
      },
      deadline);
  WithdrawTopicRoom(route);
  counters_.Add(Metric::kSendWaitNs, static_cast<double>(MonotonicNs() - began_ns));
  return waited == Status::kOk ? status : waited;
}

Status Agent::Publish(std::string_view topic, const Outgoing& message, Deadline deadline,
                      MessageId* id) noexcept {
  TopicRoute* route = nullptr;
  const Status status = OpenTopic(topic, &route, nullptr);
  return status == Status::kOk ? Publish(route, message, deadline, id) : status;
}

int64_t Agent::WaitForTopicNs(const TopicRoute& route) noexcept {
  // Nobody rings for the dead: who stands in the way may be one by then.
  const int64_t wait_ns = (int64_t{route.wait_ms} + 1) * 1'000'000;
  return wait_ns < kSuspectNs ? wait_ns : kSuspectNs;
}

void Agent::AnnounceTopicRoom(TopicRoute* route, bool several) noexcept {
  participant_->fabric().wants().Announce(route->view.words->lane.room, participant_->owner(),
                                          several ? kWantSeveral : TopicLaneId(route->view.box));
}

void Agent::WithdrawTopicRoom(TopicRoute* route) noexcept {
  Fabric& fabric = participant_->fabric();
  fabric.wants().Withdraw(participant_->owner());
  // A ring that came for us may have been the only one: pass it on while there is room.
  if (TopicHasRoom(fabric, route->view)) PassTopicRoom(fabric, route->view, 1);
}

}  // namespace cfc
