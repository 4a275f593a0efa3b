// The sending half of AgentWrap, and what is common.
#include "agent_wrap.h"

#include <algorithm>
#include <cstring>

#include "convert.h"
#include "core/seen_keys.h"

namespace cfc::binding {
namespace {

// Bits of the options number of trySend; exported to JavaScript by DefineConstants.
constexpr uint32_t kKindMask = 3;
constexpr uint32_t kWorkLaneBit = 4;
constexpr uint32_t kReplyBit = 8;
constexpr uint32_t kAsksBit = 16;
constexpr uint32_t kDropOldestBit = 32;
constexpr uint32_t kReceiptBit = 64;
constexpr uint32_t kCorrelatesBit = 128;
constexpr uint32_t kOnlyIfIdleBit = 256;
constexpr uint32_t kWaitsBit = 512;
constexpr uint32_t kExpiresBit = 1024;
constexpr uint32_t kKeyedBit = 2048;
constexpr uint32_t kHopsShift = 16;

constexpr size_t kMostTypes = 4096;  // remembered at a time

uint64_t ToCount(const Napi::Value& value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
  return number > 0 ? static_cast<uint64_t>(number) : 0;
}

}  // namespace

Napi::Function AgentWrap::Define(Napi::Env env) {
  return DefineClass(env, "NativeAgent",
                     {InstanceMethod<&AgentWrap::Info>("info"),
                      InstanceMethod<&AgentWrap::Route>("route"),
                      InstanceMethod<&AgentWrap::TypeId>("typeId"),
                      InstanceMethod<&AgentWrap::TrySend>("trySend"),
                      InstanceMethod<&AgentWrap::TrySendBatch>("trySendBatch"),
                      InstanceMethod<&AgentWrap::TrySendPacked>("trySendPacked"),
                      InstanceMethod<&AgentWrap::BatchLimit>("batchLimit"),
                      InstanceMethod<&AgentWrap::AwaitAnswers>("awaitAnswers"),
                      InstanceMethod<&AgentWrap::RateWait>("rateWait"),
                      InstanceMethod<&AgentWrap::Pace>("pace"),
                      InstanceMethod<&AgentWrap::WaitRoom>("waitRoom"),
                      InstanceMethod<&AgentWrap::StopWaitRoom>("stopWaitRoom"),
                      InstanceMethod<&AgentWrap::WaitVerdict>("waitVerdict"),
                      InstanceMethod<&AgentWrap::NoteSendWait>("noteSendWait"),
                      InstanceMethod<&AgentWrap::Verdict>("verdict"),
                      InstanceMethod<&AgentWrap::ReaderLives>("readerLives"),
                      InstanceMethod<&AgentWrap::Members>("members"),
                      InstanceMethod<&AgentWrap::LeastLoaded>("leastLoaded"),
                      InstanceMethod<&AgentWrap::Expect>("expect"),
                      InstanceMethod<&AgentWrap::Take>("take"),
                      InstanceMethod<&AgentWrap::Wait>("wait"),
                      InstanceMethod<&AgentWrap::Ack>("ack"),
                      InstanceMethod<&AgentWrap::AckMany>("ackMany"),
                      InstanceMethod<&AgentWrap::Nack>("nack"),
                      InstanceMethod<&AgentWrap::Release>("release"),
                      InstanceMethod<&AgentWrap::Redrive>("redrive"),
                      InstanceMethod<&AgentWrap::HandOver>("handOver"),
                      InstanceMethod<&AgentWrap::Forward>("forward"),
                      InstanceMethod<&AgentWrap::Forwarded>("forwarded"),
                      InstanceMethod<&AgentWrap::SettleHeld>("settleHeld"),
                      InstanceMethod<&AgentWrap::Depth>("depth"),
                      InstanceMethod<&AgentWrap::Clear>("clear"),
                      InstanceMethod<&AgentWrap::SetState>("setState"),
                      InstanceMethod<&AgentWrap::Progress>("progress"),
                      InstanceMethod<&AgentWrap::CounterValues>("counterValues"),
                      InstanceMethod<&AgentWrap::HistogramWords>("histogramWords"),
                      InstanceMethod<&AgentWrap::Topic>("topic"),
                      InstanceMethod<&AgentWrap::TryPublish>("tryPublish"),
                      InstanceMethod<&AgentWrap::WaitTopic>("waitTopic"),
                      InstanceMethod<&AgentWrap::StopWaitTopic>("stopWaitTopic"),
                      InstanceMethod<&AgentWrap::Subscribe>("subscribe"),
                      InstanceMethod<&AgentWrap::Unsubscribe>("unsubscribe"),
                      InstanceMethod<&AgentWrap::ExpectEvents>("expectEvents"),
                      InstanceMethod<&AgentWrap::WaitEvents>("waitEvents"),
                      InstanceMethod<&AgentWrap::NextEvents>("nextEvents"),
                      InstanceMethod<&AgentWrap::SubscriptionInfo>("subscriptionInfo"),
                      InstanceMethod<&AgentWrap::LeaveFromScript>("leave")});
}

// new NativeAgent(fabric, {name, role, team, parent, mailboxCells, perSecond, burst, quotaMessages,
// quotaBytes, fence, counts, life}, holder)
AgentWrap::AgentWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const Napi::Env env = info.Env();
  const auto fabric = info[0].As<Napi::Object>();
  FabricWrap* const owner = FabricWrap::Unwrap(fabric);
  // The worker is being terminated: nothing can be asked of JavaScript any more.
  if (!owner) return;
  const auto spec_object = info[1].As<Napi::Object>();
  Failure failure;
  Status status = owner->Register(&failure);
  if (status == Status::kOk) {
    const std::string name = ToText(spec_object.Get("name"));
    const std::string role = ToText(spec_object.Get("role"));
    const std::string team = ToText(spec_object.Get("team"));
    const std::string parent = ToText(spec_object.Get("parent"));
    AgentSpec spec;
    spec.name = name;
    spec.role = role;
    spec.team = team;
    spec.parent = parent;
    spec.mailbox_cells = static_cast<uint32_t>(
        std::min<uint64_t>(ToCount(spec_object.Get("mailboxCells")), uint64_t{kMaxLaneCells} + 1));
    const auto count = [&](const char* field) { return ToCount(spec_object.Get(field)); };
    spec.limits.per_second =
        static_cast<uint32_t>(std::min<uint64_t>(count("perSecond"), kMostPerSecond));
    spec.limits.burst = static_cast<uint32_t>(std::min<uint64_t>(count("burst"), kMostPerSecond));
    spec.limits.messages = count("quotaMessages");
    spec.limits.bytes = count("quotaBytes");
    spec.fence = ToBool(spec_object.Get("fence"));
    spec.counts = ToBool(spec_object.Get("counts"));
    const std::string life = ToText(spec_object.Get("life"));
    spec.life = life;
    status = agent_.Join(&owner->participant(), spec, &failure);
  }
  if (status != Status::kOk) {
    ThrowFailure(env, status, failure);
    return;
  }
  owner_ = owner;
  owner_reference_ = Napi::Persistent(fabric);
  fabric_ = owner->fabric();
  owner_->Add(this);
  types_.emplace_back();  // type 0 is none
  taken_.resize(1);
  next_start_ = agent_.entry();

  auto holder = info[2].As<Napi::Object>();
  auto table = Napi::Float64Array::New(env, size_t{kColumns} * kMostTaken);
  table_ = table.Data();
  holder.Set("table", table);
  holder.Set("texts", Napi::Array::New(env));
  holder_ = Napi::Persistent(holder);
  Intern(env, "");
}

AgentWrap::~AgentWrap() { Leave(); }

void AgentWrap::Leave() noexcept {
  if (!owner_) return;
  DetachCounters();
  subscriptions_.clear();
  topics_.clear();
  topic_waits_.clear();
  agent_.Leave();
  owner_->Remove(this);
  owner_ = nullptr;
  expects_ = 0;
  room_waits_.clear();
  verdict_waits_.clear();
  fabric_.reset();  // the object itself stays until it is collected: perhaps never
}

Napi::Value AgentWrap::LeaveFromScript(const Napi::CallbackInfo& info) {
  Leave();
  owner_reference_.Reset();
  return info.Env().Undefined();
}

Napi::Value AgentWrap::Info(const Napi::CallbackInfo& info) {
  Napi::Object out = Napi::Object::New(info.Env());
  if (!owner_) return out;
  out.Set("name", agent_.name());
  out.Set("entry", agent_.entry());
  out.Set("guest", agent_.guest());
  out.Set("incarnation", agent_.incarnation());
  out.Set("uid", static_cast<double>(agent_.participant().uid()));
  out.Set("workCells", agent_.mailbox().lanes[kWorkLane].capacity());
  out.Set("controlCells", agent_.mailbox().lanes[kControlLane].capacity());
  return out;
}

cfc::Route* AgentWrap::RouteAt(uint32_t index) noexcept {
  return owner_ && index < routes_.size() ? routes_[index].get() : nullptr;
}

// route(name): a number for it, or a negative status where nobody has the name
Napi::Value AgentWrap::Route(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!owner_) return Napi::Number::New(env, Negative(Status::kClosed));
  const std::string name = ToText(info[0]);
  if (!IsValidName(name)) return Napi::Number::New(env, Negative(Status::kInvalid));
  const auto found = route_index_.find(name);
  if (found != route_index_.end()) return Napi::Number::New(env, found->second);
  auto route = std::make_unique<cfc::Route>();
  route->name = name;
  const Status status = agent_.Resolve(route.get());
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  const auto index = static_cast<uint32_t>(routes_.size());
  routes_.push_back(static_cast<std::unique_ptr<cfc::Route>&&>(route));
  route_index_.emplace(name, index);
  return Napi::Number::New(env, index);
}

// typeId(type): a number for trySend. 1 is the first of all, or of all that are still remembered:
// the others are forgotten.
Napi::Value AgentWrap::TypeId(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string type = ToText(info[0]);
  if (type.size() > kMaxNameBytes) return Napi::Number::New(env, Negative(Status::kInvalid));
  if (types_.size() >= kMostTypes) types_.resize(1);
  types_.push_back(static_cast<std::string&&>(type));
  return Napi::Number::New(env, static_cast<double>(types_.size() - 1));
}

bool AgentWrap::BodyOf(const Napi::Value& value, size_t* offset, std::string_view* body) {
  napi_env env = value.Env();
  napi_typedarray_type type;
  size_t length;
  void* data;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) == napi_ok) {
    if (type != napi_uint8_array) return false;
    *body = {static_cast<const char*>(data), length};
    *offset = std::string::npos;
    return true;
  }
  const size_t begin = scratch_.size();
  constexpr size_t kGuess = 1024;
  scratch_.resize(begin + kGuess);
  size_t bytes = 0;
  if (napi_get_value_string_utf8(env, value, scratch_.data() + begin, kGuess, &bytes) != napi_ok) {
    scratch_.resize(begin);
    return false;
  }
  if (bytes + 4 >= kGuess) {  // perhaps cut
    napi_get_value_string_utf8(env, value, nullptr, 0, &bytes);
    scratch_.resize(begin + bytes + 1);
    napi_get_value_string_utf8(env, value, scratch_.data() + begin, bytes + 1, &bytes);
  }
  scratch_.resize(begin + bytes);
  *offset = begin;
  *body = {nullptr, bytes};
  return true;
}

// From info[at]: options, type, and for an answer the id of what it answers. info[ttl_at]: how many
// milliseconds it may wait.
Status AgentWrap::FillOutgoing(const Napi::CallbackInfo& info, size_t at, size_t ttl_at,
                               Outgoing* message) {
  const uint32_t options = info[at].As<Napi::Number>().Uint32Value();
  const uint32_t type = info[at + 1].As<Napi::Number>().Uint32Value();
  if (type >= types_.size()) return Status::kInvalid;
  message->type = types_[type];
  message->kind = static_cast<BodyKind>(options & kKindMask);
  message->lane = options & kWorkLaneBit ? kWorkLane : kControlLane;
  message->flags = (options & kReplyBit ? kFlagReply : 0) | (options & kAsksBit ? kFlagAsks : 0);
  message->when_full = options & kOnlyIfIdleBit   ? FullPolicy::kOnlyIfIdle
                       : options & kDropOldestBit ? FullPolicy::kDropOldest
                                                  : FullPolicy::kReject;
  message->wants_receipt = options & kReceiptBit;
  message->waits = options & kWaitsBit;
  message->hops = static_cast<uint8_t>(std::min(options >> kHopsShift, kHopLimit));
  if (options & kCorrelatesBit)
    message->correlation = {ToCount(info[at + 2]), ToCount(info[at + 3])};
  if (options & kExpiresBit) {
    message->expires_at_ms =
        static_cast<uint64_t>(MonotonicNs() / 1'000'000) + ToCount(info[ttl_at]);
  }
  if (options & kKeyedBit) message->key = HashKey(ToText(info[ttl_at + 1]));
  return Status::kOk;
}

// trySend(route, body, options, type, correlationUid?, correlationNumber?, ttlMs?, key?): the
// message's number, or a negative status
Napi::Value AgentWrap::TrySend(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  cfc::Route* const route = RouteAt(info[0].As<Napi::Number>().Uint32Value());
  if (!route) return Napi::Number::New(env, Negative(Status::kClosed));
  Outgoing message;
  size_t offset;
  scratch_.clear();
  Status status = FillOutgoing(info, 2, 6, &message);
  if (status == Status::kOk && !BodyOf(info[1], &offset, &message.body)) status = Status::kInvalid;
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  if (offset != std::string::npos) message.body = {scratch_.data() + offset, message.body.size()};
  Receipt receipt;
  status = agent_.TrySend(route, message, &receipt);
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  if (message.wants_receipt) verdict_waits_[receipt.id.number] = receipt;
  return Napi::Number::New(env, static_cast<double>(receipt.id.number));
}

// trySendBatch(route, bodies, kinds: Uint8Array, options, type, numbers: Float64Array, ttlMs?): a
// status (negative, or 0); numbers[0] becomes how many were accepted, then the numbers of those
Napi::Value AgentWrap::TrySendBatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  cfc::Route* const route = RouteAt(info[0].As<Napi::Number>().Uint32Value());
  if (!route) return Napi::Number::New(env, Negative(Status::kClosed));
  const auto bodies = info[1].As<Napi::Array>();
  const auto kinds = info[2].As<Napi::Uint8Array>();
  auto numbers = info[5].As<Napi::Float64Array>();
  const uint32_t count = bodies.Length();
  numbers[0] = 0;
  if (kinds.ElementLength() < count || numbers.ElementLength() < count + 1) {
    return Napi::Number::New(env, Negative(Status::kInvalid));
  }
  Outgoing common;
  Status status = FillOutgoing(info, 3, 6, &common);
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  std::vector<Outgoing> messages(count, common);
  std::vector<size_t> offsets(count);
  scratch_.clear();
  for (uint32_t i = 0; i < count; ++i) {
    const Napi::HandleScope scope(env);
    if (!BodyOf(bodies.Get(i), &offsets[i], &messages[i].body)) {
      return Napi::Number::New(env, Negative(Status::kInvalid));
    }
    messages[i].kind = static_cast<BodyKind>(kinds[i] & kKindMask);
  }
  for (uint32_t i = 0; i < count; ++i) {  // now the scratch text stays where it is
    if (offsets[i] != std::string::npos) {
      messages[i].body = {scratch_.data() + offsets[i], messages[i].body.size()};
    }
  }
  return Napi::Number::New(env, Negative(SendAll(route, messages, numbers.Data())));
}

Status AgentWrap::SendAll(cfc::Route* route, const std::vector<Outgoing>& messages,
                          double* numbers) {
  std::vector<MessageId> ids(messages.size());
  uint32_t accepted = 0;
  const Status status = agent_.TrySendBatch(
      route, messages.data(), static_cast<uint32_t>(messages.size()), ids.data(), &accepted);
  numbers[0] = accepted;
  for (uint32_t i = 0; i < accepted; ++i) numbers[i + 1] = static_cast<double>(ids[i].number);
  return status;
}

// trySendPacked(route, bytes: Uint8Array, lengths: Uint32Array, kinds: Uint8Array, count, options,
// type, numbers, ttlMs?): the same, of bodies that lie in `bytes` one after the other, each from a
// multiple of 8 on. Several times quicker for small ones: no call per body.
Napi::Value AgentWrap::TrySendPacked(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  cfc::Route* const route = RouteAt(info[0].As<Napi::Number>().Uint32Value());
  if (!route) return Napi::Number::New(env, Negative(Status::kClosed));
  const auto bytes = info[1].As<Napi::Uint8Array>();
  const auto lengths = info[2].As<Napi::Uint32Array>();
  const auto kinds = info[3].As<Napi::Uint8Array>();
  const uint32_t count = info[4].As<Napi::Number>().Uint32Value();
  auto numbers = info[7].As<Napi::Float64Array>();
  Outgoing common;
  Status status = FillOutgoing(info, 5, 8, &common);
  if (status == Status::kOk && (lengths.ElementLength() < count || kinds.ElementLength() < count ||
                                numbers.ElementLength() < size_t{count} + 1)) {
    status = Status::kInvalid;
  }
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  const char* const data = reinterpret_cast<const char*>(bytes.Data());
  const uint32_t* const length = lengths.Data();
  const uint8_t* const kind = kinds.Data();
  std::vector<Outgoing> messages(count, common);
  size_t offset = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (offset + length[i] > bytes.ElementLength()) {
      return Napi::Number::New(env, Negative(Status::kInvalid));
    }
    messages[i].body = {data + offset, length[i]};
    messages[i].kind = static_cast<BodyKind>(kind[i] & kKindMask);
    offset = (offset + length[i] + 7) & ~size_t{7};
  }
  return Napi::Number::New(env, Negative(SendAll(route, messages, numbers.Data())));
}

Napi::Value AgentWrap::BatchLimit(const Napi::CallbackInfo& info) {
  cfc::Route* const route = RouteAt(info[0].As<Napi::Number>().Uint32Value());
  const bool work = ToBool(info[1]);
  return Napi::Number::New(info.Env(),
                           route ? agent_.BatchLimit(route, work ? kWorkLane : kControlLane) : 1);
}

// awaitAnswers(awaits): whether answers that come are for us. 0 or a status, negative
Napi::Value AgentWrap::AwaitAnswers(const Napi::CallbackInfo& info) {
  const Status status = owner_ ? agent_.AwaitAnswers(ToBool(info[0])) : Status::kClosed;
  return Napi::Number::New(info.Env(), -static_cast<int>(status));
}

// rateWait(): milliseconds until the rate lets a message through
Napi::Value AgentWrap::RateWait(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), owner_ ? agent_.RateWaitMs() : 1);
}

// pace(route, work): milliseconds that a sender pauses which spares that recipient
Napi::Value AgentWrap::Pace(const Napi::CallbackInfo& info) {
  const cfc::Route* const route = RouteAt(info[0].As<Napi::Number>().Uint32Value());
  const bool work = ToBool(info[1]);
  return Napi::Number::New(info.Env(),
                           route ? agent_.PaceMs(*route, work ? kWorkLane : kControlLane) : 0);
}

// waitRoom(route, work, cells): from now on, that many cells free there wake the loop. 0: chunks or
// quota are wanted, and only a ring is a reason to look. To be followed by another try.
Napi::Value AgentWrap::WaitRoom(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  const LaneIndex lane = ToBool(info[1]) ? kWorkLane : kControlLane;
  const uint32_t cells = info[2].As<Napi::Number>().Uint32Value();
  cfc::Route* const route = RouteAt(index);
  if (!route) return info.Env().Undefined();
  const auto found =
      std::find_if(room_waits_.begin(), room_waits_.end(),
                   [&](const RoomWait& wait) { return wait.route == index && wait.lane == lane; });
  if (found == room_waits_.end()) {
    room_waits_.push_back({index, lane, cells});
  } else {
    found->cells = cells;
  }
  room_sleep_ns_ = 0;
  agent_.AnnounceRoom(route, lane, /*several=*/true);
  return info.Env().Undefined();
}

Napi::Value AgentWrap::StopWaitRoom(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  const LaneIndex lane = ToBool(info[1]) ? kWorkLane : kControlLane;
  for (size_t i = 0; i < room_waits_.size(); ++i) {
    RoomWait& wait = room_waits_[i];
    if (wait.route != index || wait.lane != lane) continue;
    room_waits_.erase(room_waits_.begin() + static_cast<std::ptrdiff_t>(i));
    // Passes the ring on; others of ours that still wait say so again.
    if (cfc::Route* const route = RouteAt(index)) agent_.WithdrawRoom(route, lane);
    AnnounceWaits();
    break;
  }
  return info.Env().Undefined();
}

// noteSendWait(waitedMs, refused): a send that said `waits` has found its end; with a negative time
// it was refused without a wait
Napi::Value AgentWrap::NoteSendWait(const Napi::CallbackInfo& info) {
  const double waited_ms = ToDouble(info[0]);
  if (!owner_) return info.Env().Undefined();
  if (waited_ms < 0) {
    agent_.NoteRefused(ToUint32(info[1]));
  } else {
    agent_.NoteSendWait(static_cast<int64_t>(waited_ms * 1e6), ToUint32(info[1]));
  }
  return info.Env().Undefined();
}

// verdict(number): 0 acked, 1 aborted, 2 dropped, 3 dead-lettered, or a negative status (kBusy: not
// yet). Once it answered, the message is no longer waited for.
Napi::Value AgentWrap::Verdict(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto found = verdict_waits_.find(ToCount(info[0]));
  if (!owner_ || found == verdict_waits_.end()) {
    return Napi::Number::New(env, Negative(Status::kStale));
  }
  VoidReason reason = kAcked;
  const Status status = agent_.Verdict(found->second, &reason);
  if (status == Status::kBusy) return Napi::Number::New(env, Negative(status));
  verdict_waits_.erase(found);
  return Napi::Number::New(env,
                           status == Status::kOk ? static_cast<double>(reason) : Negative(status));
}

// waitVerdict(number): gives up waiting for it
Napi::Value AgentWrap::WaitVerdict(const Napi::CallbackInfo& info) {
  verdict_waits_.erase(ToCount(info[0]));
  return info.Env().Undefined();
}

// readerLives(name): false where nobody alive holds the name
Napi::Value AgentWrap::ReaderLives(const Napi::CallbackInfo& info) {
  AgentRecord record;
  const bool lives = owner_ &&
                     AgentDirectory(fabric_.get()).Find(ToText(info[0]), &record) == Status::kOk &&
                     !fabric_->HolderDead(record.holder);
  return Napi::Boolean::New(info.Env(), lives);
}

// setState(state): a status
Napi::Value AgentWrap::SetState(const Napi::CallbackInfo& info) {
  const Status status =
      owner_ ? agent_.SetState(static_cast<AgentState>(ToUint32(info[0]) % 6)) : Status::kOk;
  return ToValue(info.Env(), status);
}

Napi::Value AgentWrap::Progress(const Napi::CallbackInfo& info) {
  if (owner_) agent_.Progress();
  return info.Env().Undefined();
}

}  // namespace cfc::binding
