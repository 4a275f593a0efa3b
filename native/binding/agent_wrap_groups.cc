// Groups: who is in one, and who of them has the least to do.
#include "agent_wrap.h"
#include "convert.h"
#include "core/group.h"

namespace cfc::binding {

// members(kind, name): the names of all, but for this agent
Napi::Value AgentWrap::Members(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  const uint32_t kind = ToUint32(info[0]);
  if (!owner_ || kind >= kGroupKinds) return out;
  const std::string name = ToText(info[1]);
  const Group group(fabric_.get(), static_cast<GroupKind>(kind), name, agent_.entry());
  uint32_t count = 0;
  group.ForEach([&](const AgentRecord& record) {
    const Napi::HandleScope scope(env);
    out.Set(count++, ToValue(env, record.Name()));
  });
  return out;
}

// leastLoaded(kind, name, work, onlyIdle): a name, or a negative status: nobody is a member, nobody
// works, nobody is idle
Napi::Value AgentWrap::LeastLoaded(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint32_t kind = ToUint32(info[0]);
  if (!owner_ || kind >= kGroupKinds) return Napi::Number::New(env, Negative(Status::kClosed));
  const std::string name = ToText(info[1]);
  const Group group(fabric_.get(), static_cast<GroupKind>(kind), name, agent_.entry());
  AgentRecord record;
  // Of equals another one each time, and for each sender: else all of them would begin with one.
  const Status status = group.LeastLoaded(ToBool(info[2]) ? kWorkLane : kControlLane,
                                          ToBool(info[3]), next_start_ += 0x9e37'79b9, &record);
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  return ToValue(env, record.Name());
}

}  // namespace cfc::binding
