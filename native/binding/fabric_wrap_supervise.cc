// What a supervisor needs of a fabric.
#include "convert.h"
#include "core/directory.h"
#include "fabric_wrap.h"

namespace cfc::binding {

// watchPids(onEnded: (pids: number[]) => void): false where the kernel has no pidfds
Napi::Value FabricWrap::WatchPids(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!fabric_) return Napi::Boolean::New(env, false);
  on_ended_ = Napi::Persistent(info[0].As<Napi::Function>());
  // Shut() closes what it makes: the hook must be there before.
  Failure failure;
  if (!pids_ && Register(&failure) == Status::kOk) {
    pids_ = PidWatch::Create(env, [this](const std::vector<uint32_t>& pids) { TellEnded(pids); });
  }
  return Napi::Boolean::New(env, pids_ != nullptr);
}

void FabricWrap::TellEnded(const std::vector<uint32_t>& pids) {
  const Napi::Env env = Env();
  const Napi::HandleScope scope(env);
  Napi::Array list = Napi::Array::New(env, pids.size());
  for (uint32_t i = 0; i < pids.size(); ++i) list.Set(i, pids[i]);
  napi_value argument = list;
  const napi_status status =
      napi_make_callback(env, nullptr, env.Global(), on_ended_.Value(), 1, &argument, nullptr);
  napi_value error = nullptr;
  if (status == napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_fatal_exception(env, error);  // does nothing where the worker is being terminated
  }
}

// watchPid(pid): 0, or an errno
Napi::Value FabricWrap::WatchPid(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), pids_ ? pids_->Add(ToUint32(info[0])) : ENOSYS);
}

Napi::Value FabricWrap::UnwatchPid(const Napi::CallbackInfo& info) {
  if (pids_) pids_->Remove(ToUint32(info[0]));
  return info.Env().Undefined();
}

// reparent(name, parent): a status
Napi::Value FabricWrap::Reparent(const Napi::CallbackInfo& info) {
  const Status status =
      fabric_ ? AgentDirectory(fabric_.get()).Reparent(ToText(info[0]), ToText(info[1]))
              : Status::kClosed;
  return ToValue(info.Env(), status);
}

// gate(name, closed): a status. Closed to whoever has no closed mailbox itself.
Napi::Value FabricWrap::Gate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  AgentRecord record;
  MailboxView view;
  if (!fabric_) return ToValue(env, Status::kClosed);
  if (AgentDirectory(fabric_.get()).Find(ToText(info[0]), &record) != Status::kOk ||
      !fabric_->mail().View(MailboxRefBox(record.mailbox), &view)) {
    return ToValue(env, Status::kNoAgent);
  }
  view.words->gate.store(ToBool(info[1]) ? 1 : 0);
  return ToValue(env, Status::kOk);
}

}  // namespace cfc::binding
