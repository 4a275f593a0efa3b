// The part of FabricWrap that looks after agents: what is wanted of them, what they said, how they
// ended.
#include <unistd.h>

#include <csignal>

#include "convert.h"
#include "core/agent.h"
#include "core/directory.h"
#include "core/lifecycle.h"
#include "core/line_ring.h"
#include "fabric_wrap.h"

namespace cfc::binding {

// control(name, verb, graceMs): a status
Napi::Value FabricWrap::Control(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!fabric_) return ToValue(env, Status::kClosed);
  return ToValue(env, Want(*fabric_, ToText(info[0]), static_cast<Wanted>(ToUint32(info[1]) & 3),
                           ToUint32(info[2])));
}

// forget(name): a status; throws where there is no slot to be had. What is queued is dropped.
Napi::Value FabricWrap::Forget(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Failure failure;
  const Status registered = Register(&failure);
  if (registered != Status::kOk) {
    ThrowFailure(env, registered, failure);
    return env.Undefined();
  }
  const std::string name = ToText(info[0]);
  AgentRecord record;
  if (AgentDirectory(fabric_.get()).Find(name, &record) != Status::kOk) {
    return ToValue(env, Status::kNoAgent);
  }
  Agent successor;  // takes the name over, and leaves nothing of it
  AgentSpec spec;
  spec.name = name;
  spec.shim = true;
  const Status joined = successor.Join(participant_.get(), spec, &failure);
  if (joined != Status::kOk) return ToValue(env, joined);
  successor.Clear();
  LineRing::Remove(fabric_->directory(), successor.entry());
  successor.Leave();
  return ToValue(env, Status::kOk);
}

// lastLines(name): text; undefined where nobody has the name
Napi::Value FabricWrap::LastLines(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  AgentRecord record;
  if (!fabric_ || AgentDirectory(fabric_.get()).Find(ToText(info[0]), &record) != Status::kOk) {
    return env.Undefined();
  }
  const std::string text = LineRing::Read(fabric_->directory(), record.entry);
  return Napi::Buffer<char>::Copy(env, text.data(), text.size());
}

// history(name): [{atMs, from, to}], oldest first; undefined where nobody has the name
Napi::Value FabricWrap::History(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  AgentRecord record;
  if (!fabric_ || AgentDirectory(fabric_.get()).Find(ToText(info[0]), &record) != Status::kOk) {
    return env.Undefined();
  }
  StateChange changes[kStateChanges];
  const uint32_t count = ReadChanges(fabric_->entries()[record.entry], changes);
  Napi::Array out = Napi::Array::New(env, count);
  for (uint32_t i = 0; i < count; ++i) {
    Napi::Object change = Napi::Object::New(env);
    change.Set("atMs", static_cast<double>(changes[i].at_ms));
    change.Set("from", static_cast<uint32_t>(changes[i].from));
    change.Set("to", static_cast<uint32_t>(changes[i].to));
    out.Set(i, change);
  }
  return out;
}

}  // namespace cfc::binding
