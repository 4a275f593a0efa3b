// FabricWrap: one JavaScript environment's standing in a fabric: the mapped files, a participant,
// the loop waiter, and the agents that joined through it.
//
// src/core/native.ts declares the JavaScript side and is the only caller.
#pragma once

#include <napi.h>

#include <memory>
#include <set>

#include "core/fabric.h"
#include "core/participant.h"
#include "loop_waiter.h"
#include "pid_watch.h"

namespace cfc::binding {

// What a row of sample() has, in this order, before the metrics; src/core/native.ts names them.
enum SampleColumn : uint32_t {
  kSampleEntry,
  kSampleUid,       // of the participant that holds it, 0: nobody
  kSampleLife,      // changes with each owner of the counters
  kSampleLiveness,  // 0 left, 1 dead, 2 alive; -1: the name is gone, its counts are not
  kSamplePid,
  kSampleStartTicks,
  kSampleIncarnation,
  kSampleRestarts,
  kSampleJoinedAtMs,
  kSampleProgressAtMs,
  kSampleState,
  kSampleBox,
  kSampleNaming,      // changes with the name
  kSampleCommandPid,  // that its shim started; 0: it has none, or it ended
  kSampleCommandStartTicks,
  kSampleColumns
};
enum BoxColumn : uint32_t {
  kBoxId,
  kBoxEntry,
  kBoxDepth,
  kBoxCapacity,
  kBoxLeased,
  kBoxAcked,
  kBoxDropped,
  kBoxDeadLettered,
  kBoxColumns
};
constexpr uint32_t kUsageColumns = 4;
// What a row of table() has, before the metrics; src/core/native.ts names them.
enum TableColumn : uint32_t {
  kTableEntry,
  kTablePid,
  kTableState,
  kTableLiveness,
  kTableRestarts,
  kTableJoinedAtMs,
  kTableProgressAtMs,
  kTableFacts,
  kTableExitCode,    // -1: none (yet)
  kTableCommandPid,  // 0: nobody started one for it
  kTableDepth,
  kTableCapacity,
  kTableLeased,
  kTableCounted,  // 1: it has counters
  kTableColumns
};
enum TableLiveness : uint32_t { kLeft, kDead, kAlive, kStalled, kBusy };
constexpr uint32_t kTableTexts = 5;
constexpr uint32_t kTableTextBytes = 65;  // of each: a byte for its length

class AgentWrap;

class FabricWrap : public Napi::ObjectWrap<FabricWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit FabricWrap(const Napi::CallbackInfo& info);
  ~FabricWrap() override;

  // The environment's copies live until the last external buffer over the mapping is gone.
  const std::shared_ptr<Fabric>& fabric() const noexcept { return fabric_; }
  Participant& participant() noexcept { return *participant_; }
  // Registers at the first call.
  Status Register(Failure* failure);
  void Add(AgentWrap* agent) { agents_.insert(agent); }
  void Remove(AgentWrap* agent) { agents_.erase(agent); }

 private:
  Napi::Value Info(const Napi::CallbackInfo& info);
  Napi::Value Watch(const Napi::CallbackInfo& info);
  Napi::Value Snapshot(const Napi::CallbackInfo& info);
  Napi::Value Peek(const Napi::CallbackInfo& info);
  Napi::Value Clear(const Napi::CallbackInfo& info);
  Napi::Value Trace(const Napi::CallbackInfo& info);
  Napi::Value Control(const Napi::CallbackInfo& info);
  Napi::Value Forget(const Napi::CallbackInfo& info);
  Napi::Value LastLines(const Napi::CallbackInfo& info);
  Napi::Value History(const Napi::CallbackInfo& info);
  Napi::Value Sends(const Napi::CallbackInfo& info);
  Napi::Value DeadLetters(const Napi::CallbackInfo& info);
  Napi::Value DropDead(const Napi::CallbackInfo& info);
  Napi::Value Sweep(const Napi::CallbackInfo& info);
  Napi::Value Check(const Napi::CallbackInfo& info);
  Napi::Value Census(const Napi::CallbackInfo& info);
  Napi::Value Metrics(const Napi::CallbackInfo& info);
  Napi::Value ReadMetrics(const Napi::CallbackInfo& info);
  Napi::Value ReadHistogram(const Napi::CallbackInfo& info);
  Napi::Value Table(const Napi::CallbackInfo& info);  // fabric_wrap_table.cc

  // fabric_wrap_sample.cc
  Napi::Value Sample(const Napi::CallbackInfo& info);
  Napi::Value SampleBoxes(const Napi::CallbackInfo& info);
  Napi::Value SampleHistogram(const Napi::CallbackInfo& info);
  Napi::Value ReadTopic(const Napi::CallbackInfo& info);
  Napi::Value Describe(const Napi::CallbackInfo& info);
  Napi::Value RegisterMetric(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
  // fabric_wrap_supervise.cc
  Napi::Value WatchPids(const Napi::CallbackInfo& info);
  Napi::Value WatchPid(const Napi::CallbackInfo& info);
  Napi::Value UnwatchPid(const Napi::CallbackInfo& info);
  Napi::Value Reparent(const Napi::CallbackInfo& info);
  Napi::Value Gate(const Napi::CallbackInfo& info);
  void TellEnded(const std::vector<uint32_t>& pids);

  bool Look(int64_t* longest) noexcept;
  void CallReady(Status failed);
  void Shut() noexcept;
  static void OnEnvironmentExit(napi_async_cleanup_hook_handle handle, void* self);

  std::shared_ptr<Fabric> fabric_;
  std::unique_ptr<Participant> participant_;
  LoopWaiter* waiter_ = nullptr;
  std::set<AgentWrap*> agents_;
  Napi::FunctionReference on_ready_;
  PidWatch* pids_ = nullptr;
  Napi::FunctionReference on_ended_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
};

// create(base, name, options), open(base, name), openOrCreate(base, name, options) → external
// handle for the constructor; destroy(base, name).
// processUsage(pids: Float64Array, count, out: Float64Array): rows of own bytes, descriptors, CPU
// time in ms and start in ticks; NaN where there is no such process. Of a negative pid: of
// everything below that process.
Napi::Value ProcessUsageOf(const Napi::CallbackInfo& info);
void DefineFabricFunctions(Napi::Env env, Napi::Object exports);

}  // namespace cfc::binding
