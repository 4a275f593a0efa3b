// Looking for one message, and dropping many: what people do to other agents' mailboxes, and to
// what died there.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "convert.h"
#include "core/agent.h"
#include "core/dead_letters.h"
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

namespace {

constexpr uint32_t kMostTraced = 1000;

// {state, row, from, type, to, reason?, pid}; undefined where the worker is being terminated
Napi::Value ToObject(Napi::Env env, Fabric& fabric, const TraceReport& report) {
  Napi::Object out = Napi::Object::New(env);
  auto row = Napi::Float64Array::New(env, kColumns);
  if (row.IsEmpty()) return env.Undefined();
  FillRow(row.Data(), report.message);
  out.Set("state", static_cast<double>(report.state));
  out.Set("row", row);
  out.Set("from", ToValue(env, report.message.From()));
  out.Set("type", ToValue(env, report.message.Type()));
  const AgentDirectory directory(&fabric);
  AgentRecord agent;
  if (report.is_letter) {
    out.Set("to", ToValue(env, report.letter.To()));
    out.Set("reason", ToValue(env, report.letter.Reason()));
  } else {
    out.Set("to", directory.Read(report.entry, &agent) ? ToValue(env, agent.Name())
                                                       : Napi::String::New(env, ""));
  }
  const Slot* const slot = fabric.SlotAt(OwnerSlot(report.holder));
  out.Set("pid", slot ? static_cast<double>(slot->pid.load()) : 0);
  return out;
}

// The body of a message, as long as it is to be had: in its cell, or in the slab while `lane` still
// holds the message.
Napi::Value BodyOf(Napi::Env env, Fabric& fabric, const Lane& lane, const Delivery& message) {
  auto body = Napi::ArrayBuffer::New(env, message.body_bytes);
  if (body.IsEmpty()) return env.Undefined();  // the worker is being terminated
  if (message.BodyIsInline()) {
    const std::string_view text = message.InlineBody();
    std::copy(text.begin(), text.end(), static_cast<char*>(body.Data()));
    return body;
  }
  const bool whole = fabric.slab().Read(message.chunk, body.Data(), message.body_bytes);
  const LeaseToken& token = message.token;
  const CellKind kind = CellKindOf(token.word);
  const bool there =
      kind == CellKind::kReady || kind == CellKind::kLeased || kind == CellKind::kHeld;
  if (!whole || !there || !lane.Holds(token.position, token.word)) return env.Undefined();
  return body;
}

}  // namespace

// trace(uid, number): {state, row, from, type, to, by, pid} or undefined where nothing of it is
// left
Napi::Value FabricWrap::Trace(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  TraceReport report;
  const MessageId id = {static_cast<uint64_t>(ToDouble(info[0])),
                        static_cast<uint64_t>(ToDouble(info[1]))};
  if (!fabric_ || TraceMessage(*fabric_, id, &report) != Status::kOk) return env.Undefined();
  return ToObject(env, *fabric_, report);
}

// sends(name, most): [{state, row, from, type, to, pid, body?}] of that sender, newest first
Napi::Value FabricWrap::Sends(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  if (!fabric_) return out;
  const uint32_t most = std::min(ToUint32(info[1]), kMostTraced);
  std::vector<TraceReport> reports(most);
  const uint32_t count = TraceSends(*fabric_, ToText(info[0]), reports.data(), most);
  const AgentDirectory directory(fabric_.get());
  for (uint32_t i = 0; i < count; ++i) {
    const TraceReport& report = reports[i];
    const Napi::Value sent = ToObject(env, *fabric_, report);
    AgentRecord agent;
    MailboxView view;
    if (!sent.IsObject() || !directory.Read(report.entry, &agent) ||
        !fabric_->mail().View(MailboxRefBox(agent.mailbox), &view)) {
      continue;
    }
    const Lane& lane = view.lanes[report.message.token.lane];
    sent.As<Napi::Object>().Set("body", BodyOf(env, *fabric_, lane, report.message));
    out.Set(out.Length(), sent);
  }
  return out;
}

// deadLetters(most, name): [{row, from, type, body, to, reason, cause, attempts, diedAtMs}], oldest
// first, of that recipient or ('') of all
Napi::Value FabricWrap::DeadLetters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  if (!fabric_) return out;
  const uint32_t most = ToUint32(info[0]);
  const std::string name = ToText(info[1]);
  const cfc::DeadLetters letters(fabric_.get());
  DeadLetter letter;
  for (uint64_t nth = 0; out.Length() < most; ++nth) {
    const Status status = letters.Peek(nth, &letter);
    if (status == Status::kEmpty) break;
    if (status != Status::kOk || (!name.empty() && letter.To() != name)) continue;
    std::unique_ptr<char[]> bytes;
    if (letters.CopyBody(letter, &bytes) != Status::kOk) continue;  // it went while we looked
    auto body = Napi::ArrayBuffer::New(env, letter.body_bytes);
    auto row = Napi::Float64Array::New(env, kColumns);
    if (body.IsEmpty() || row.IsEmpty()) return out;  // the worker is being terminated
    if (letter.body_bytes != 0) std::memcpy(body.Data(), bytes.get(), letter.body_bytes);
    FillRow(row.Data(), letter.message);
    row[kBodyBytes] = letter.body_bytes;
    row[kAttemptColumn] = letter.attempts;
    row[kLaneColumn] = letter.lane;
    Napi::Object message = Napi::Object::New(env);
    message.Set("row", row);
    message.Set("from", ToValue(env, letter.message.From()));
    message.Set("type", ToValue(env, letter.message.Type()));
    message.Set("body", body);
    message.Set("to", ToValue(env, letter.To()));
    message.Set("reason", ToValue(env, letter.Reason()));
    message.Set("cause", static_cast<double>(letter.cause));
    message.Set("diedAtMs", static_cast<double>(letter.died_at_ms));
    out.Set(out.Length(), message);
  }
  return out;
}

// dropDead(uid, number): a status (kEmpty: it is gone, or somebody has it)
Napi::Value FabricWrap::DropDead(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Failure failure;
  Status status = Register(&failure);
  if (status != Status::kOk) {
    ThrowFailure(env, status, failure);
    return env.Undefined();
  }
  const MessageId id = {static_cast<uint64_t>(ToDouble(info[0])),
                        static_cast<uint64_t>(ToDouble(info[1]))};
  cfc::DeadLetters letters(fabric_.get());
  DeadLetter letter;
  status = letters.Take(participant_.get(), id, &letter);
  if (status == Status::kOk) status = letters.Settle(participant_.get(), letter, kDropped);
  return Napi::Number::New(env, Negative(status));
}

}  // namespace cfc::binding
