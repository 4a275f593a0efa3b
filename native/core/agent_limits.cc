// Agent, what it may send: its allowance, and how it spares a recipient that is behind.
#include <algorithm>

#include "agent.h"
#include "allowance.h"
#include "clock.h"
#include "failpoint.h"

namespace cfc {
namespace {

constexpr uint32_t kHalfFullPercent = 50, kHalfFullMs = 5;
constexpr uint32_t kNearlyFullPercent = 80, kNearlyFullMs = 10;

uint64_t NowMs() noexcept { return static_cast<uint64_t>(MonotonicNs() / 1'000'000); }

}  // namespace

Status Agent::Admit(uint32_t messages, uint64_t bytes, bool waits) noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  const Status status = Allowance(view_.words).Take(messages, bytes, NowMs());
  if (status != Status::kOk) {
    if (!waits || status != Status::kRateLimited) NoteRefused(messages);
    counters_.Add(
        status == Status::kRateLimited ? Metric::kSendsRateLimited : Metric::kSendsOverQuota,
        messages);
    return status;
  }
  CFC_FAIL_POINT("allowance.taken");
  return Status::kOk;
}

void Agent::GiveBack(uint32_t messages, uint64_t bytes) noexcept {
  Allowance(view_.words).GiveBack(messages, bytes);
}

Status Agent::TrySend(Route* route, const Outgoing& message, Receipt* receipt) noexcept {
  return limited_ ? SendLimited(route, message, receipt) : SendNow(route, message, receipt);
}

Status Agent::SendLimited(Route* route, const Outgoing& message, Receipt* receipt) noexcept {
  Status status = Admit(1, message.body.size(), message.waits);
  if (status != Status::kOk) return status;
  status = SendNow(route, message, receipt);
  if (status != Status::kOk) GiveBack(1, message.body.size());
  return status;
}

Status Agent::TrySendBatch(Route* route, const Outgoing* messages, uint32_t count, MessageId* ids,
                           uint32_t* accepted) noexcept {
  if (!limited_) return SendBatchNow(route, messages, count, ids, accepted);
  *accepted = 0;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < count; ++i) bytes += messages[i].body.size();
  Status status = Admit(count, bytes, count > 0 && messages[0].waits);
  if (status != Status::kOk) return status;
  status = SendBatchNow(route, messages, count, ids, accepted);
  for (uint32_t i = 0; i < *accepted; ++i) bytes -= messages[i].body.size();
  if (*accepted < count) GiveBack(count - *accepted, bytes);
  return status;
}

Status Agent::TryPublish(TopicRoute* route, const Outgoing& message, MessageId* id) noexcept {
  if (!limited_) return PublishNow(route, message, id);
  Status status = Admit(1, message.body.size(), message.waits);
  if (status != Status::kOk) return status;
  status = PublishNow(route, message, id);
  if (status != Status::kOk) GiveBack(1, message.body.size());
  return status;
}

uint32_t Agent::RateWaitMs() const noexcept {
  return std::max<uint32_t>(1, Allowance(view_.words).WaitMs(NowMs()));
}

int64_t Agent::RateSleepNs() const noexcept {
  return std::min<int64_t>(int64_t{RateWaitMs()} * 1'000'000, kBackstopNs);
}

uint32_t Agent::PaceMs(const Route& route, LaneIndex lane) noexcept {
  if (route.entry == kNoEntry) return 0;
  const Lane& ring = route.view.lanes[lane];
  const uint64_t percent = 100 * ring.Depth() / ring.capacity();
  if (percent < kHalfFullPercent) return 0;
  counters_.Add(Metric::kSendsPaced, 1);
  return percent < kNearlyFullPercent ? kHalfFullMs : kNearlyFullMs;
}

}  // namespace cfc
