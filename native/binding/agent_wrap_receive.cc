// The receiving half of AgentWrap.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "agent_wrap.h"
#include "convert.h"

namespace cfc::binding {
namespace {

constexpr size_t kArenaBytes =
    size_t{64} * 1024;               // shared by small bodies, taken one after the other
constexpr size_t kMostTexts = 8192;  // senders and types remembered at a time

}  // namespace

bool AgentWrap::Look(int64_t* longest) noexcept {
  if (!owner_) return false;
  if (expects_ != 0 &&
      agent_.HasMail(expects_ == 1 ? TakeFilter::kRepliesOnly : TakeFilter::kAll, longest)) {
    return true;
  }
  if (LookAtTopics(longest)) return true;
  for (const RoomWait& wait : room_waits_) {
    cfc::Route* const route = RouteAt(wait.route);
    if (!route || wait.cells == 0) continue;
    // A spinning sender waits for a handful: see Lane::Handful.
    const uint32_t handful = Lane::Handful(route->view.lanes[wait.lane].capacity());
    const uint32_t cells = longest ? wait.cells : std::max(wait.cells, handful);
    if (agent_.HasRoom(route, wait.lane, cells)) return true;
  }
  if (longest && !room_waits_.empty()) {
    room_sleep_ns_ = Agent::NextRoomSleepNs(room_sleep_ns_);
    *longest = std::min(*longest, room_sleep_ns_);
  }
  for (const auto& [number, receipt] : verdict_waits_) {
    VoidReason reason;
    if (agent_.Verdict(receipt, &reason) != Status::kBusy) return true;
  }
  return false;
}

// expect(what): 0 nothing, 1 replies, 2 all mail wakes the loop
Napi::Value AgentWrap::Expect(const Napi::CallbackInfo& info) {
  expects_ = info[0].As<Napi::Number>().Uint32Value();
  return info.Env().Undefined();
}

uint32_t AgentWrap::KeepLease(const LeaseToken& token) {
  if (free_leases_.empty()) {
    leases_.push_back(token);
    return static_cast<uint32_t>(leases_.size() - 1);
  }
  const uint32_t index = free_leases_.back();
  free_leases_.pop_back();
  leases_[index] = token;
  return index;
}

const LeaseToken* AgentWrap::LeaseAt(uint32_t index) const noexcept {
  return owner_ && index < leases_.size() && leases_[index].word != 0 ? &leases_[index] : nullptr;
}

void AgentWrap::ForgetLease(uint32_t index) {
  leases_[index].word = 0;
  free_leases_.push_back(index);
}

// Between two batches: JavaScript has read what the last one named.
void AgentWrap::ForgetTexts(Napi::Env env) {
  if (texts_.size() < kMostTexts) return;
  texts_.clear();
  holder_.Value().Set("texts", Napi::Array::New(env));
  last_from_.clear();
  last_type_.clear();
  last_from_id_ = last_type_id_ = 0;
  Intern(env, "");
}

uint32_t AgentWrap::Intern(Napi::Env env, std::string_view text) {
  std::string key(text);
  const auto found = texts_.find(key);
  if (found != texts_.end()) return found->second;
  const auto id = static_cast<uint32_t>(texts_.size());
  const Napi::Value texts = holder_.Value().Get("texts");
  if (texts.IsEmpty()) return id;  // the worker is being terminated: nobody will read it
  texts.As<Napi::Array>().Set(id, ToValue(env, text));
  texts_.emplace(static_cast<std::string&&>(key), id);
  return id;
}

// Room for `bytes` that nobody else will write while JavaScript holds any of it. Small bodies share
// an arena; a large batch has a block of its own, of which it sees only its own bodies.
uint8_t* AgentWrap::Reserve(Napi::Env env, size_t bytes, size_t* offset) {
  if (!arena_ || arena_bytes_ - arena_used_ < bytes) {
    Napi::ArrayBuffer buffer;
    size_t size = kArenaBytes;
    if (bytes <= size) {
      buffer = Napi::ArrayBuffer::New(env, size);
    } else {
      size = BufferPool::RoundUp(bytes);
      void* const memory = pool_->Take(size);
      if (!memory) return nullptr;
      struct Loan {
        std::shared_ptr<BufferPool> pool;
        size_t bytes;
      };
      auto* const given = new Loan{pool_, size};
      buffer = Napi::ArrayBuffer::New(
          env, memory, size,
          [](Napi::Env, void* data, Loan* loan) {
            loan->pool->Give(data, loan->bytes);
            delete loan;
          },
          given);
      if (buffer.IsEmpty()) {
        delete given;
        pool_->Give(memory, size);
      }
    }
    if (buffer.IsEmpty()) return nullptr;  // the worker is being terminated
    holder_.Value().Set("buffer", buffer);
    arena_ = static_cast<uint8_t*>(buffer.Data());
    arena_bytes_ = size;
    arena_used_ = 0;
  }
  *offset = arena_used_;
  uint8_t* const at = arena_ + arena_used_;
  arena_used_ = std::min(arena_bytes_, (arena_used_ + bytes + 7) & ~size_t{7});
  return at;
}

void AgentWrap::WriteRow(Napi::Env env, double* row, const Delivery& delivery) {
  if (delivery.From() != last_from_ || last_from_id_ == 0) {
    last_from_ = std::string(delivery.From());
    last_from_id_ = Intern(env, last_from_);
  }
  if (delivery.Type() != last_type_) {
    last_type_ = std::string(delivery.Type());
    last_type_id_ = Intern(env, last_type_);
  }
  FillRow(row, delivery);
  row[kFromColumn] = last_from_id_;
  row[kTypeColumn] = last_type_id_;
}

// take(max, repliesOnly): how many messages were leased, or a negative status where none was
// (kEmpty, kFull: as many leases as may be, …). Their rows are in the table, their bodies in
// holder.buffer.
Napi::Value AgentWrap::Take(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!owner_) return Napi::Number::New(env, Negative(Status::kClosed));
  const uint32_t most = std::min(info[0].As<Napi::Number>().Uint32Value(), kMostTaken);
  const TakeFilter filter = ToBool(info[1]) ? TakeFilter::kRepliesOnly : TakeFilter::kAll;
  if (taken_.size() < most) taken_.resize(kMostTaken);
  ForgetTexts(env);

  Status status = Status::kEmpty;
  uint32_t count = 0;
  size_t bytes = 0;
  while (count < most) {
    Delivery& delivery = taken_[count];
    status = agent_.TryTake(filter, &delivery, nullptr, /*more=*/count > 0);
    if (status != Status::kOk) break;
    ++count;
    bytes += (size_t{delivery.body_bytes} + 7) & ~size_t{7};
    if (bytes >= kEnoughTakenBytes) break;
  }
  agent_.CountBatch();
  if (count == 0) return Napi::Number::New(env, Negative(status));
  size_t offset = 0;
  uint8_t* const memory = Reserve(env, bytes, &offset);
  uint32_t delivered = 0;
  size_t used = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const Delivery& delivery = taken_[i];
    const Status copied = memory ? agent_.CopyBody(delivery, memory + used) : Status::kNoSpace;
    if (copied == Status::kCorrupt) {
      // Garbage in the region: this message can't be had by anybody.
      agent_.Discard(delivery.token);
      continue;
    }
    if (copied != Status::kOk) {  // taken back meanwhile, or no memory: it comes again
      agent_.Release(delivery.token);
      continue;
    }
    double* const row = table_ + size_t{delivered} * kColumns;
    WriteRow(env, row, delivery);
    row[kBodyOffset] = static_cast<double>(offset + used);
    row[kLeaseColumn] = KeepLease(delivery.token);
    used += (size_t{delivery.body_bytes} + 7) & ~size_t{7};
    ++delivered;
  }
  return Napi::Number::New(env, delivered > 0 ? delivered : Negative(Status::kEmpty));
}

// wait(timeoutMs): blocks this thread on the futex until there is mail. A status; nothing is taken.
Napi::Value AgentWrap::Wait(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!owner_) return Napi::Number::New(env, Negative(Status::kClosed));
  const double timeout_ms = ToDouble(info[0]);
  return Napi::Number::New(
      env, Negative(agent_.WaitMail(
               Deadline::After(timeout_ms < 0 ? -1 : static_cast<int64_t>(timeout_ms * 1e6)))));
}

// ack(lease): a status; the lease is gone whatever it says
Napi::Value AgentWrap::Ack(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  const LeaseToken* const token = LeaseAt(index);
  if (!token) return Napi::Number::New(info.Env(), Negative(Status::kLeaseLost));
  const Status status = agent_.Ack(*token);
  ForgetLease(index);
  return Napi::Number::New(info.Env(), Negative(status));
}

// ackMany(leases: Uint32Array, count): how many were lost to somebody else
Napi::Value AgentWrap::AckMany(const Napi::CallbackInfo& info) {
  const auto indexes = info[0].As<Napi::Uint32Array>();
  const size_t count = std::min<size_t>(ToUint32(info[1]), indexes.ElementLength());
  uint32_t lost = 0;
  bool lanes[kLanes] = {};
  for (size_t i = 0; i < count; ++i) {
    const LeaseToken* const token = LeaseAt(indexes[i]);
    if (!token) {
      ++lost;
      continue;
    }
    lanes[token->lane] = true;
    if (agent_.AckWithoutReclaim(*token) == Status::kLeaseLost) ++lost;
    ForgetLease(indexes[i]);
  }
  for (uint32_t lane = 0; owner_ && lane < kLanes; ++lane) {
    if (lanes[lane]) agent_.Reclaim(static_cast<LaneIndex>(lane));
  }
  return Napi::Number::New(info.Env(), lost);
}

// nack(lease, delayMs, reason): a status
Napi::Value AgentWrap::Nack(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  const LeaseToken* const token = LeaseAt(index);
  if (!token) return Napi::Number::New(info.Env(), Negative(Status::kLeaseLost));
  const Status status = agent_.Nack(*token, ToUint32(info[1]), ToText(info[2]));
  ForgetLease(index);
  return Napi::Number::New(info.Env(), Negative(status));
}

// release(lease): gives back what nobody looked at; a status
Napi::Value AgentWrap::Release(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  const LeaseToken* const token = LeaseAt(index);
  if (!token) return Napi::Number::New(info.Env(), Negative(Status::kLeaseLost));
  const Status status = agent_.Release(*token);
  ForgetLease(index);
  return Napi::Number::New(info.Env(), Negative(status));
}

// redrive(uid, number): sends that dead letter again; the new message's number, or a negative
// status (kEmpty: it is gone, or somebody has it)
Napi::Value AgentWrap::Redrive(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!owner_) return Napi::Number::New(env, Negative(Status::kClosed));
  const MessageId id = {static_cast<uint64_t>(ToDouble(info[0])),
                        static_cast<uint64_t>(ToDouble(info[1]))};
  MessageId sent;
  const Status status = agent_.Redrive(id, &sent);
  return Napi::Number::New(
      env, status == Status::kOk ? static_cast<double>(sent.number) : Negative(status));
}

// forward(lease, route): puts a copy into another mailbox. 1: it is there, and ours is acked; 0: it
// is there, and ours stays leased until `forwarded` says more, as its sender waits for the ack; a
// negative status: nothing was copied, and ours stays leased
Napi::Value AgentWrap::Forward(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint32_t index = ToUint32(info[0]);
  const LeaseToken* const token = LeaseAt(index);
  cfc::Route* const route = RouteAt(ToUint32(info[1]));
  if (!token) return Napi::Number::New(env, Negative(Status::kLeaseLost));
  if (!route) return Napi::Number::New(env, Negative(Status::kNoAgent));
  Receipt receipt;
  bool asked = false;
  const Status status = agent_.Forward(*token, route, &receipt, &asked);
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  if (asked) {
    forward_waits_[index] = receipt;
    return Napi::Number::New(env, 0);
  }
  agent_.Ack(*token);
  ForgetLease(index);
  return Napi::Number::New(env, 1);
}

// forwarded(lease): what became of the copy: 0 not settled yet; 1 acked, as ours is now; negative:
// it was lost to a policy, and ours goes back into the mailbox
Napi::Value AgentWrap::Forwarded(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint32_t index = ToUint32(info[0]);
  const LeaseToken* const token = LeaseAt(index);
  const auto found = forward_waits_.find(index);
  if (!token || found == forward_waits_.end()) {
    return Napi::Number::New(env, Negative(Status::kLeaseLost));
  }
  VoidReason reason = kAcked;
  const Status status = agent_.Verdict(found->second, &reason);
  if (status == Status::kBusy) return Napi::Number::New(env, 0);
  forward_waits_.erase(found);
  const bool acked = status == Status::kOk && reason == kAcked;
  if (acked) {
    agent_.Ack(*token);
  } else {
    agent_.Nack(*token, 0);
  }
  ForgetLease(index);
  return Napi::Number::New(env, acked ? 1 : Negative(Status::kStale));
}

// handOver(lease): from this process to the agent; a status
Napi::Value AgentWrap::HandOver(const Napi::CallbackInfo& info) {
  const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
  const LeaseToken* const found = LeaseAt(index);
  if (!found) return Napi::Number::New(info.Env(), Negative(Status::kLeaseLost));
  LeaseToken token = *found;
  const Status status = agent_.HandOver(&token);
  ForgetLease(index);
  return Napi::Number::New(info.Env(), Negative(status));
}

// settleHeld(uid, number, ack, delayMs, reason): acks or nacks a message that an earlier process of
// this agent took; a status (kEmpty: no such message)
Napi::Value AgentWrap::SettleHeld(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!owner_) return Napi::Number::New(env, Negative(Status::kClosed));
  const auto uid = static_cast<uint64_t>(ToDouble(info[0]));
  const auto number = static_cast<uint64_t>(ToDouble(info[1]));
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    Delivery delivery;
    CellKind kind;
    for (uint64_t nth = 0;; ++nth) {
      const Status status = agent_.Peek(static_cast<LaneIndex>(lane), nth, &delivery, &kind);
      if (status == Status::kEmpty) break;
      if (status != Status::kOk || kind != CellKind::kHeld) continue;
      if (delivery.id.uid != uid || delivery.id.number != number) continue;
      const Status settled = ToBool(info[2])
                                 ? agent_.Ack(delivery.token)
                                 : agent_.Nack(delivery.token, ToUint32(info[3]), ToText(info[4]));
      return Napi::Number::New(env, Negative(settled));
    }
  }
  return Napi::Number::New(env, Negative(Status::kEmpty));
}

Napi::Value AgentWrap::Depth(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), owner_ ? static_cast<double>(agent_.Depth()) : 0);
}

Napi::Value AgentWrap::Clear(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), owner_ ? static_cast<double>(agent_.Clear()) : 0);
}

}  // namespace cfc::binding
