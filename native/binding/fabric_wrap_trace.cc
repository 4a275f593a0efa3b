// Looking for one message, and dropping many: what people do to other agents' mailboxes.
#include "convert.h"
#include "core/agent.h"
#include "core/directory.h"
#include "core/trace.h"
#include "fabric_wrap.h"
#include "rows.h"

namespace cfc::binding {

// clear(name): how many messages were dropped, or a negative status
Napi::Value FabricWrap::Clear(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Failure failure;
  const Status status = Register(&failure);
  if (status != Status::kOk) {
    ThrowFailure(env, status, failure);
    return env.Undefined();
  }
  AgentRecord record;
  MailboxView view;
  if (AgentDirectory(fabric_.get()).Find(ToText(info[0]), &record) != Status::kOk ||
      !fabric_->mail().View(MailboxRefBox(record.mailbox), &view)) {
    return Napi::Number::New(env, Negative(Status::kNoAgent));
  }
  return Napi::Number::New(env,
                           static_cast<double>(Agent::Clear(*participant_, view, record.mailbox)));
}

// trace(uid, number): {state, row, from, type, to, by, pid} or undefined where nothing of it is
// left
Napi::Value FabricWrap::Trace(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  TraceReport report;
  const MessageId id = {static_cast<uint64_t>(ToDouble(info[0])),
                        static_cast<uint64_t>(ToDouble(info[1]))};
  if (!fabric_ || TraceMessage(*fabric_, id, &report) != Status::kOk) return env.Undefined();
  Napi::Object out = Napi::Object::New(env);
  auto row = Napi::Float64Array::New(env, kColumns);
  if (row.IsEmpty()) return env.Undefined();  // the worker is being terminated
  FillRow(row.Data(), report.message);
  out.Set("state", static_cast<double>(report.state));
  out.Set("row", row);
  out.Set("from", ToValue(env, report.message.From()));
  out.Set("type", ToValue(env, report.message.Type()));
  const AgentDirectory directory(fabric_.get());
  AgentRecord agent;
  out.Set("to", directory.Read(report.entry, &agent) ? ToValue(env, agent.Name())
                                                     : Napi::String::New(env, ""));
  const Slot* const slot = fabric_->SlotAt(OwnerSlot(report.holder));
  out.Set("pid", slot ? static_cast<double>(slot->pid.load()) : 0);
  return out;
}

}  // namespace cfc::binding
