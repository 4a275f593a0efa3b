// Topics, as AgentWrap drives them.
#include <algorithm>

#include "agent_wrap.h"
#include "convert.h"
#include "core/topic_peers.h"

namespace cfc::binding {
namespace {

constexpr uint32_t kKindMask = 3;  // of the options of tryPublish, as of trySend

// Columns of a row of nextEvents that mean something else than in one of take. Of a gap only these.
constexpr uint32_t kIsGapColumn = kLaneColumn;
constexpr uint32_t kPositionColumn = kLeaseColumn;
constexpr uint32_t kGapFromColumn = kUidColumn;
constexpr uint32_t kGapToColumn = kNumberColumn;
constexpr uint32_t kGapCountColumn = kSequenceColumn;

// A message may be overwritten while it is read, and the next one too.
constexpr int kMostTries = 16;

void FillGap(double* row, const TopicEvent& event) noexcept {
  row[kIsGapColumn] = 1;
  row[kGapFromColumn] = static_cast<double>(event.from);
  row[kGapToColumn] = static_cast<double>(event.to);
  row[kGapCountColumn] = event.count;
}

}  // namespace

TopicRoute* AgentWrap::TopicAt(uint32_t index) noexcept {
  return owner_ && index < topics_.size() ? topics_[index] : nullptr;
}

AgentWrap::WatchedSubscription* AgentWrap::SubscriptionAt(uint32_t index) noexcept {
  if (!owner_ || index >= subscriptions_.size() || !subscriptions_[index]) return nullptr;
  return subscriptions_[index].get();
}

// By Look: a topic has room, or something to read.
bool AgentWrap::LookAtTopics(int64_t* longest) noexcept {
  for (const auto& subscription : subscriptions_) {
    if (subscription && subscription->expected && subscription->core.HasEvent(longest)) return true;
  }
  for (const TopicWait& wait : topic_waits_) {
    TopicRoute* const route = TopicAt(wait.topic);
    if (!route || !wait.room) continue;
    if (TopicHasRoom(*fabric_, route->view)) return true;
    if (!longest) continue;
    // Nobody rings for the dead and the slow: they are taken out of the way here.
    const TopicRoom room = MakeTopicRoom(*fabric_, route->view, agent_.participant().owner(), 1, 0);
    if (room.freed > 0) return true;
    route->wait_ms = room.wait_ms;
    *longest = std::min(*longest, cfc::Agent::WaitForTopicNs(*route));
  }
  return false;
}

// topic(name): a number for it, or a negative status; made where it is missing
Napi::Value AgentWrap::Topic(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!owner_) return Napi::Number::New(env, Negative(Status::kClosed));
  TopicRoute* route = nullptr;
  const Status status = agent_.OpenTopic(ToText(info[0]), &route, nullptr);
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  const auto found = std::find(topics_.begin(), topics_.end(), route);
  const auto index = static_cast<uint32_t>(found - topics_.begin());
  if (found == topics_.end()) topics_.push_back(route);
  return Napi::Number::New(env, index);
}

// tryPublish(topic, body, options, type): the message's number, or a negative status
Napi::Value AgentWrap::TryPublish(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  TopicRoute* const route = TopicAt(info[0].As<Napi::Number>().Uint32Value());
  if (!route) return Napi::Number::New(env, Negative(Status::kClosed));
  const uint32_t type = info[3].As<Napi::Number>().Uint32Value();
  Outgoing message;
  size_t offset = 0;
  scratch_.clear();
  if (type >= types_.size() || !BodyOf(info[1], &offset, &message.body)) {
    return Napi::Number::New(env, Negative(Status::kInvalid));
  }
  if (offset != std::string::npos) message.body = {scratch_.data() + offset, message.body.size()};
  message.type = types_[type];
  message.kind = static_cast<BodyKind>(info[2].As<Napi::Number>().Uint32Value() & kKindMask);
  MessageId id;
  const Status status = agent_.TryPublish(route, message, &id);
  return Napi::Number::New(
      env, status == Status::kOk ? static_cast<double>(id.number) : Negative(status));
}

// waitTopic(topic, room): from now on, room there wakes the loop; room: false where it is payload
// memory that is wanted, and only a ring is a reason to look. To be followed by another try.
Napi::Value AgentWrap::WaitTopic(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  const bool room = ToBool(info[1]);
  TopicRoute* const route = TopicAt(index);
  if (!route) return info.Env().Undefined();
  const auto found = std::find_if(topic_waits_.begin(), topic_waits_.end(),
                                  [&](const TopicWait& wait) { return wait.topic == index; });
  if (found == topic_waits_.end()) {
    topic_waits_.push_back({index, room});
  } else {
    found->room = room;
  }
  agent_.AnnounceTopicRoom(route, /*several=*/true);
  return info.Env().Undefined();
}

// stopWaitTopic(topic)
Napi::Value AgentWrap::StopWaitTopic(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  TopicRoute* const route = TopicAt(index);
  if (std::erase_if(topic_waits_, [&](const TopicWait& wait) { return wait.topic == index; }) > 0 &&
      route) {
    agent_.WithdrawTopicRoom(route);
    AnnounceWaits();
  }
  return info.Env().Undefined();
}

// A participant has one want for all that it waits for: whoever withdraws it says the rest again.
void AgentWrap::AnnounceWaits() noexcept {
  for (const RoomWait& wait : room_waits_) {
    if (cfc::Route* const route = RouteAt(wait.route)) {
      agent_.AnnounceRoom(route, wait.lane, /*several=*/true);
    }
  }
  for (const TopicWait& wait : topic_waits_) {
    if (TopicRoute* const route = TopicAt(wait.topic)) {
      agent_.AnnounceTopicRoom(route, /*several=*/true);
    }
  }
}

// subscribe(topic, lossy, patienceMs): a number for it; throws a failure
Napi::Value AgentWrap::Subscribe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Failure failure;
  SubscribeOptions options;
  options.policy = ToBool(info[1]) ? TopicPolicy::kLossy : TopicPolicy::kReliable;
  options.patience_ms = ToUint32(info[2]);
  auto subscription = std::make_unique<WatchedSubscription>();
  const Status status = owner_
                            ? subscription->core.Open(&agent_, ToText(info[0]), options, &failure)
                            : Status::kClosed;
  if (status != Status::kOk) {
    ThrowFailure(env, status, failure);
    return env.Undefined();
  }
  const auto free = std::find(subscriptions_.begin(), subscriptions_.end(), nullptr);
  const auto index = static_cast<uint32_t>(free - subscriptions_.begin());
  if (free == subscriptions_.end()) subscriptions_.emplace_back();
  subscriptions_[index] = static_cast<std::unique_ptr<WatchedSubscription>&&>(subscription);
  return Napi::Number::New(env, index);
}

Napi::Value AgentWrap::Unsubscribe(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  if (SubscriptionAt(index)) subscriptions_[index].reset();
  return info.Env().Undefined();
}

// expectEvents(subscription, expected): whether its events wake the loop
Napi::Value AgentWrap::ExpectEvents(const Napi::CallbackInfo& info) {
  if (auto* const found = SubscriptionAt(info[0].As<Napi::Number>().Uint32Value())) {
    found->expected = ToBool(info[1]);
  }
  return info.Env().Undefined();
}

// waitEvents(subscription, timeoutMs): blocks this thread on the futex. A status.
Napi::Value AgentWrap::WaitEvents(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto* const found = SubscriptionAt(info[0].As<Napi::Number>().Uint32Value());
  if (!found) return Napi::Number::New(env, Negative(Status::kClosed));
  const double timeout_ms = ToDouble(info[1]);
  return Napi::Number::New(
      env, Negative(found->core.WaitEvent(
               Deadline::After(timeout_ms < 0 ? -1 : static_cast<int64_t>(timeout_ms * 1e6)))));
}

// nextEvents(subscription, max): how many messages and gaps were read, or a negative status where
// there was none. Their rows are in the table, bodies in holder.buffer.
Napi::Value AgentWrap::NextEvents(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto* const found = SubscriptionAt(info[0].As<Napi::Number>().Uint32Value());
  if (!found) return Napi::Number::New(env, Negative(Status::kClosed));
  const uint32_t most = std::min(info[1].As<Napi::Number>().Uint32Value(), kMostTaken);
  if (events_.size() < most) events_.resize(kMostTaken);
  ForgetTexts(env);
  Status status = Status::kEmpty;
  uint32_t rows = 0;
  for (int tries = 0; tries < kMostTries && rows == 0; ++tries) {
    status = ReadEvents(env, found->core, most, &rows);
    if (status != Status::kOk) break;
  }
  return Napi::Number::New(env, rows > 0 ? rows : Negative(status));
}

Status AgentWrap::ReadEvents(Napi::Env env, Subscription& subscription, uint32_t most,
                             uint32_t* rows) {
  Status status = Status::kEmpty;
  uint32_t count = 0;
  size_t bytes = 0;
  while (count < most) {
    TopicEvent& event = events_[count];
    status = subscription.Next(&event);
    if (status != Status::kOk) break;
    ++count;
    if (!event.gap) bytes += (size_t{event.message.body_bytes} + 7) & ~size_t{7};
    if (bytes >= kEnoughTakenBytes) break;
  }
  size_t offset = 0;
  uint8_t* const memory = count > 0 ? Reserve(env, bytes, &offset) : nullptr;
  uint32_t delivered = 0;
  uint32_t lost = 0;
  size_t used = 0;
  for (uint32_t i = 0; i < count; ++i) {
    TopicEvent& event = events_[i];
    double* const row = table_ + size_t{*rows} * kColumns;
    if (!event.gap) {
      const Status copied = memory ? subscription.CopyBody(event, memory + used) : Status::kNoSpace;
      if (copied == Status::kLeaseLost || copied == Status::kNoSpace) {
        // Overwritten meanwhile, or no memory: a gap, or the message again, comes with the next.
        subscription.PutBack(event);
        if (copied == Status::kNoSpace) status = copied;
        break;
      }
      if (copied != Status::kOk) {  // garbage in the region: nobody can have it
        event.gap = true;
        event.from = event.position;
        event.to = event.position + 1;
        event.count = 1;
      }
    }
    if (event.gap) {
      FillGap(row, event);
      lost += event.count;
    } else {
      WriteRow(env, row, event.message);
      row[kBodyOffset] = static_cast<double>(offset + used);
      row[kIsGapColumn] = 0;
      row[kPositionColumn] = static_cast<double>(event.position);
      used += (size_t{event.message.body_bytes} + 7) & ~size_t{7};
      ++delivered;
    }
    ++*rows;
  }
  subscription.Advance(delivered, lost);
  return count > 0 && status != Status::kNoSpace ? Status::kOk : status;
}

// subscriptionInfo(subscription): {position, delivered, lost, lagged}
Napi::Value AgentWrap::SubscriptionInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto* const found = SubscriptionAt(info[0].As<Napi::Number>().Uint32Value());
  if (!found) return env.Undefined();
  Napi::Object out = Napi::Object::New(env);
  out.Set("position", static_cast<double>(found->core.position()));
  out.Set("delivered", static_cast<double>(found->core.delivered()));
  out.Set("lost", static_cast<double>(found->core.lost()));
  out.Set("lagged", static_cast<double>(found->core.lagged()));
  return out;
}

}  // namespace cfc::binding
