// AgentWrap: an agent as JavaScript drives it.
//
// Hot functions take and answer numbers, throw nothing and allocate nothing; a negative answer is
// a status. Routes, leases and texts are small integers on the JavaScript side. Bodies are copied
// into a buffer that is never written again once JavaScript has it; what is known of each message
// goes into one table of doubles that the next take overwrites.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "buffer_pool.h"
#include "core/agent.h"
#include "core/topic.h"
#include "fabric_wrap.h"
#include "rows.h"

namespace cfc::binding {

constexpr uint32_t kMostTaken = 256;  // messages a take
// Bodies a take, the last one whole: what JavaScript reads is still in the caches then. By batches
// of 16 MiB, bodies of 64 KiB passed at 5/6 of the rate.
constexpr size_t kEnoughTakenBytes = size_t{1} << 20;

class AgentWrap : public Napi::ObjectWrap<AgentWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  // new NativeAgent(fabric, spec): joins, or throws a failure.
  explicit AgentWrap(const Napi::CallbackInfo& info);
  ~AgentWrap() override;

  // By FabricWrap: something that JavaScript waits for is there.
  bool Look(int64_t* longest) noexcept;
  void Leave() noexcept;
  // By FabricWrap: how the loop slept and worked.
  void NoteSleep(int64_t slept_ns, bool woken) noexcept {
    if (expects_ != 0) agent_.NoteSleep(slept_ns, woken);
  }
  void NoteTurn(int64_t busy_ns) noexcept {
    agent_.counters().Add(Metric::kLoopTurns, 1);
    agent_.counters().Add(Metric::kLoopBusyNs, static_cast<double>(busy_ns));
  }
  // By FabricWrap, before JavaScript is called: the loop woke, so who waits for room has its turn.
  void TakeTurn() noexcept {
    for (const RoomWait& wait : room_waits_) {
      if (cfc::Route* const route = RouteAt(wait.route)) route->in_turn = true;
    }
  }

 private:
  Napi::Value Info(const Napi::CallbackInfo& info);
  Napi::Value Route(const Napi::CallbackInfo& info);
  Napi::Value TypeId(const Napi::CallbackInfo& info);
  Napi::Value TrySend(const Napi::CallbackInfo& info);
  Napi::Value TrySendBatch(const Napi::CallbackInfo& info);
  Napi::Value TrySendPacked(const Napi::CallbackInfo& info);
  Napi::Value BatchLimit(const Napi::CallbackInfo& info);
  Napi::Value AwaitAnswers(const Napi::CallbackInfo& info);
  Napi::Value RateWait(const Napi::CallbackInfo& info);
  Napi::Value Pace(const Napi::CallbackInfo& info);
  Napi::Value WaitRoom(const Napi::CallbackInfo& info);
  Napi::Value StopWaitRoom(const Napi::CallbackInfo& info);
  Napi::Value NoteSendWait(const Napi::CallbackInfo& info);
  Napi::Value WaitVerdict(const Napi::CallbackInfo& info);
  Napi::Value Verdict(const Napi::CallbackInfo& info);
  Napi::Value ReaderLives(const Napi::CallbackInfo& info);
  Napi::Value Members(const Napi::CallbackInfo& info);
  Napi::Value LeastLoaded(const Napi::CallbackInfo& info);
  Napi::Value Expect(const Napi::CallbackInfo& info);
  Napi::Value Take(const Napi::CallbackInfo& info);
  Napi::Value Wait(const Napi::CallbackInfo& info);
  Napi::Value Ack(const Napi::CallbackInfo& info);
  Napi::Value AckMany(const Napi::CallbackInfo& info);
  Napi::Value Nack(const Napi::CallbackInfo& info);
  Napi::Value Release(const Napi::CallbackInfo& info);
  Napi::Value Redrive(const Napi::CallbackInfo& info);
  Napi::Value HandOver(const Napi::CallbackInfo& info);
  Napi::Value Forward(const Napi::CallbackInfo& info);
  Napi::Value Forwarded(const Napi::CallbackInfo& info);
  Napi::Value SettleHeld(const Napi::CallbackInfo& info);
  Napi::Value Depth(const Napi::CallbackInfo& info);
  Napi::Value Clear(const Napi::CallbackInfo& info);
  Napi::Value SetState(const Napi::CallbackInfo& info);
  Napi::Value Progress(const Napi::CallbackInfo& info);
  Napi::Value CounterValues(const Napi::CallbackInfo& info);
  Napi::Value HistogramWords(const Napi::CallbackInfo& info);
  Napi::Value LeaveFromScript(const Napi::CallbackInfo& info);
  // agent_wrap_topic.cc
  Napi::Value Topic(const Napi::CallbackInfo& info);
  Napi::Value TryPublish(const Napi::CallbackInfo& info);
  Napi::Value WaitTopic(const Napi::CallbackInfo& info);
  Napi::Value StopWaitTopic(const Napi::CallbackInfo& info);
  Napi::Value Subscribe(const Napi::CallbackInfo& info);
  Napi::Value Unsubscribe(const Napi::CallbackInfo& info);
  Napi::Value ExpectEvents(const Napi::CallbackInfo& info);
  Napi::Value WaitEvents(const Napi::CallbackInfo& info);
  Napi::Value NextEvents(const Napi::CallbackInfo& info);
  Napi::Value SubscriptionInfo(const Napi::CallbackInfo& info);

  struct RoomWait {
    uint32_t route;
    LaneIndex lane;
    uint32_t cells;  // 0: the lane has room, it is chunks or quota that we wait for
  };
  struct TopicWait {
    uint32_t topic;
    bool room;  // likewise
  };
  struct WatchedSubscription {
    Subscription core;
    bool expected = false;  // its events wake the loop
  };

  Status FillOutgoing(const Napi::CallbackInfo& info, size_t at, size_t ttl_at, Outgoing* message);
  Status SendAll(cfc::Route* route, const std::vector<Outgoing>& messages, double* numbers);
  // Where a body is for as long as a call lasts: the bytes themselves, or text encoded into
  // scratch_ from `offset` on.
  bool BodyOf(const Napi::Value& value, size_t* offset, std::string_view* body);
  uint32_t KeepLease(const LeaseToken& token);
  const LeaseToken* LeaseAt(uint32_t index) const noexcept;
  void ForgetLease(uint32_t index);
  void ForgetTexts(Napi::Env env);
  uint32_t Intern(Napi::Env env, std::string_view text);
  uint8_t* Reserve(Napi::Env env, size_t bytes, size_t* offset);
  void WriteRow(Napi::Env env, double* row, const Delivery& delivery);
  double* Table() noexcept { return table_; }
  Napi::ArrayBuffer WritableBuffer(double* values, size_t count);
  void DetachCounters() noexcept;
  cfc::Route* RouteAt(uint32_t index) noexcept;
  TopicRoute* TopicAt(uint32_t index) noexcept;
  WatchedSubscription* SubscriptionAt(uint32_t index) noexcept;
  bool LookAtTopics(int64_t* longest) noexcept;
  void AnnounceWaits() noexcept;
  Status ReadEvents(Napi::Env env, Subscription& subscription, uint32_t most, uint32_t* rows);

  FabricWrap* owner_ = nullptr;
  Napi::ObjectReference owner_reference_;
  std::shared_ptr<Fabric> fabric_;
  cfc::Agent agent_;
  std::vector<std::unique_ptr<cfc::Route>> routes_;
  std::unordered_map<std::string, uint32_t> route_index_;
  std::vector<std::string> types_;
  std::vector<LeaseToken> leases_;
  std::vector<uint32_t> free_leases_;
  std::vector<Delivery> taken_;
  std::vector<RoomWait> room_waits_;
  int64_t room_sleep_ns_ = 0;
  std::unordered_map<uint64_t, Receipt> verdict_waits_;  // by number
  std::unordered_map<uint32_t, Receipt> forward_waits_;  // by lease
  std::vector<TopicRoute*> topics_;                      // the agent's
  std::vector<TopicWait> topic_waits_;
  std::vector<std::unique_ptr<WatchedSubscription>> subscriptions_;  // null: closed
  std::vector<TopicEvent> events_;
  std::string scratch_;
  uint32_t next_start_ = 0;  // of the next choice among equals
  // What JavaScript waits for: 0 nothing, 1 replies only, 2 all mail.
  uint32_t expects_ = 0;

  std::shared_ptr<BufferPool> pool_ = std::shared_ptr<BufferPool>(new BufferPool());
  Napi::ObjectReference holder_;  // {table, texts, buffer}: shared with JavaScript
  double* table_ = nullptr;
  uint8_t* arena_ = nullptr;
  size_t arena_used_ = 0;
  size_t arena_bytes_ = 0;
  std::unordered_map<std::string, uint32_t> texts_;
  std::string last_from_;
  uint32_t last_from_id_ = 0;
  std::string last_type_;
  uint32_t last_type_id_ = 0;
  struct CounterBuffer {
    Napi::Reference<Napi::ArrayBuffer> reference;
    std::shared_ptr<std::shared_ptr<Fabric>> keep;  // of which the buffer has its share
  };
  std::vector<CounterBuffer> counter_buffers_;
};

}  // namespace cfc::binding
