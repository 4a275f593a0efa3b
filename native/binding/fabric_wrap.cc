#include "fabric_wrap.h"

#include <cerrno>
#include <cstdio>
#include <map>
#include <string>

#include "agent_wrap.h"
#include "convert.h"
#include "core/clock.h"
#include "core/directory.h"
#include "core/lifecycle.h"
#include "core/reaper.h"
#include "core/topic_peers.h"
#include "liveness.h"
#include "rows.h"

namespace cfc::binding {
namespace {

FabricOptions ToOptions(const Napi::Value& value) {
  FabricOptions options;
  if (!value.IsObject()) return options;
  const auto object = value.As<Napi::Object>();
  const auto read = [&](const char* name, auto* out) {
    const Napi::Value field = object.Get(name);
    if (!field.IsNumber()) return;
    const double number = field.As<Napi::Number>().DoubleValue();
    // Out of range becomes zero, which the core refuses.
    *out = number >= 0 && number < 9e15 ? static_cast<std::remove_pointer_t<decltype(out)>>(number)
                                        : 0;
  };
  read("maxAgents", &options.max_agents);
  read("maxParticipants", &options.max_participants);
  read("mailboxCells", &options.mailbox_cells);
  read("mailSegmentBytes", &options.mail_segment_bytes);
  read("slabSegmentBytes", &options.slab_segment_bytes);
  read("slabMaxBytes", &options.slab_max_bytes);
  read("senderSlabBytes", &options.sender_slab_bytes);
  read("histograms", &options.histograms);
  read("maxTopics", &options.max_topics);
  read("topicCells", &options.topic_cells);
  read("topicSubscribers", &options.topic_subscribers);
  const Napi::Value limit = object.Get("attemptLimit");
  if (limit.IsNumber()) {  // here zero means something: none
    const double number = limit.As<Napi::Number>().DoubleValue();
    options.attempt_limit =
        number >= 0 && number <= kMaxAttempt ? static_cast<uint32_t>(number) : kMaxAttempt + 1;
  }
  return options;
}

Napi::Value Destroy(const Napi::CallbackInfo& info) {
  Failure failure;
  const Status status = Fabric::Destroy(ToText(info[1]), ToText(info[0]), &failure);
  if (status != Status::kOk) ThrowFailure(info.Env(), status, failure);
  return info.Env().Undefined();
}

Napi::Value DefaultBase(const Napi::CallbackInfo& info) {
  return ToValue(info.Env(), DefaultBasePath());
}

// memoryFor(options, cells: Uint32Array): {fabricBytes, mailboxBytes}: of a new fabric, and of
// mailboxes with so many cells each
Napi::Value MemoryFor(const Napi::CallbackInfo& info) {
  const FabricOptions options = ToOptions(info[0]);
  const auto cells = info[1].As<Napi::Uint32Array>();
  std::map<uint32_t, uint64_t> boxes;
  for (size_t i = 0; i < cells.ElementLength(); ++i) {
    ++boxes[MailStore::RoundCells(cells[i] != 0 ? cells[i] : options.mailbox_cells)];
  }
  uint64_t mailbox_bytes = 0;
  for (const auto& [size, count] : boxes) {
    mailbox_bytes += MailStore::BytesFor(count, size, options.mail_segment_bytes);
  }
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("fabricBytes", static_cast<double>(Fabric::BytesOfNew(options)));
  out.Set("mailboxBytes", static_cast<double>(mailbox_bytes));
  return out;
}

Napi::Object ToObject(Napi::Env env, const SweepReport& report) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("living", report.living);
  out.Set("reaped", report.reaped);
  out.Set("settledCells", report.settled);
  out.Set("freedChunks", report.chunks);
  return out;
}

}  // namespace

Napi::Function FabricWrap::Define(Napi::Env env) {
  return DefineClass(env, "NativeFabric",
                     {InstanceMethod<&FabricWrap::Info>("info"),
                      InstanceMethod<&FabricWrap::Watch>("watch"),
                      InstanceMethod<&FabricWrap::Snapshot>("snapshot"),
                      InstanceMethod<&FabricWrap::Peek>("peek"),
                      InstanceMethod<&FabricWrap::Clear>("clear"),
                      InstanceMethod<&FabricWrap::Trace>("trace"),
                      InstanceMethod<&FabricWrap::DeadLetters>("deadLetters"),
                      InstanceMethod<&FabricWrap::DropDead>("dropDead"),
                      InstanceMethod<&FabricWrap::Control>("control"),
                      InstanceMethod<&FabricWrap::Forget>("forget"),
                      InstanceMethod<&FabricWrap::LastLines>("lastLines"),
                      InstanceMethod<&FabricWrap::History>("history"),
                      InstanceMethod<&FabricWrap::Sends>("sends"),
                      InstanceMethod<&FabricWrap::Sweep>("sweep"),
                      InstanceMethod<&FabricWrap::Check>("check"),
                      InstanceMethod<&FabricWrap::Census>("census"),
                      InstanceMethod<&FabricWrap::Metrics>("metrics"),
                      InstanceMethod<&FabricWrap::ReadMetrics>("readMetrics"),
                      InstanceMethod<&FabricWrap::ReadHistogram>("readHistogram"),
                      InstanceMethod<&FabricWrap::RegisterMetric>("registerMetric"),
                      InstanceMethod<&FabricWrap::Table>("table"),
                      InstanceMethod<&FabricWrap::Sample>("sample"),
                      InstanceMethod<&FabricWrap::SampleBoxes>("sampleBoxes"),
                      InstanceMethod<&FabricWrap::SampleHistogram>("sampleHistogram"),
                      InstanceMethod<&FabricWrap::ReadTopic>("readTopic"),
                      InstanceMethod<&FabricWrap::Describe>("describe"),
                      InstanceMethod<&FabricWrap::WatchPids>("watchPids"),
                      InstanceMethod<&FabricWrap::WatchPid>("watchPid"),
                      InstanceMethod<&FabricWrap::UnwatchPid>("unwatchPid"),
                      InstanceMethod<&FabricWrap::Reparent>("reparent"),
                      InstanceMethod<&FabricWrap::Gate>("gate"),
                      InstanceMethod<&FabricWrap::Close>("close")});
}

// new NativeFabric(mode: 'open' | 'create' | 'openOrCreate', base, name, options, onReady)
FabricWrap::FabricWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const std::string mode = ToText(info[0]);
  const std::string base = ToText(info[1]);
  const std::string name = ToText(info[2]);
  Failure failure;
  std::unique_ptr<Fabric> fabric;
  Status status;
  if (mode == "open") {
    status = Fabric::Open(name, base, &fabric, &failure);
  } else if (mode == "create") {
    status = Fabric::Create(name, base, ToOptions(info[3]), &fabric, &failure);
  } else {
    status = Fabric::OpenOrCreate(name, base, ToOptions(info[3]), &fabric, &failure);
  }
  if (status != Status::kOk) {
    ThrowFailure(info.Env(), status, failure);
    return;
  }
  fabric_ = std::shared_ptr<Fabric>(static_cast<std::unique_ptr<Fabric>&&>(fabric));
  on_ready_ = Napi::Persistent(info[4].As<Napi::Function>());
}

FabricWrap::~FabricWrap() { Shut(); }

Status FabricWrap::Register(Failure* failure) {
  if (!fabric_) return Status::kClosed;
  if (participant_) return Status::kOk;
  auto participant = std::make_unique<Participant>();
  const Status status = participant->Register(fabric_.get(), failure);
  if (status != Status::kOk) return status;
  waiter_ = LoopWaiter::Create(
      Env(), participant.get(), [this](int64_t* longest) { return Look(longest); },
      [this](Status failed) { CallReady(failed); },
      [this](int64_t busy_ns, int64_t slept_ns, bool woken) {
        for (AgentWrap* const agent : agents_) {
          agent->NoteTurn(busy_ns);
          if (slept_ns > 0) agent->NoteSleep(slept_ns, woken);
        }
      });
  if (!waiter_) {
    return Fail(failure, Status::kSystem, "mkfifoat", fabric_->directory().path(),
                "the FIFO that wakes the event loop");
  }
  participant_ = static_cast<std::unique_ptr<Participant>&&>(participant);
  napi_add_async_cleanup_hook(Env(), OnEnvironmentExit, this, &hook_);
  return Status::kOk;
}

bool FabricWrap::Look(int64_t* longest) noexcept {
  for (AgentWrap* const agent : agents_) {
    if (agent->Look(longest)) return true;
  }
  return false;
}

void FabricWrap::CallReady(Status failed) {
  const Napi::Env env = Env();
  const Napi::HandleScope scope(env);
  for (AgentWrap* const agent : agents_) agent->TakeTurn();
  // MakeCallback runs microtasks and ticks afterwards, as after any event.
  napi_value argument = ToValue(env, failed);
  const napi_status status =
      napi_make_callback(env, nullptr, env.Global(), on_ready_.Value(), 1, &argument, nullptr);
  napi_value error = nullptr;
  if (status == napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_fatal_exception(env, error);  // does nothing where the worker is being terminated
  }
}

void FabricWrap::Shut() noexcept {
  const std::set<AgentWrap*> agents = agents_;
  for (AgentWrap* const agent : agents) agent->Leave();
  agents_.clear();
  if (waiter_) waiter_->Close();
  waiter_ = nullptr;
  if (pids_) pids_->Close();
  pids_ = nullptr;
  if (participant_) participant_->Unregister();
  participant_.reset();
  if (hook_) napi_remove_async_cleanup_hook(hook_);
  hook_ = nullptr;
  fabric_.reset();
}

// The environment ends (exit, or a worker that was terminated): what we hold goes back at once
// rather than by proof of death. The handles close in the turns that the loop still gets.
void FabricWrap::OnEnvironmentExit(napi_async_cleanup_hook_handle, void* self) {
  static_cast<FabricWrap*>(self)->Shut();
}

Napi::Value FabricWrap::Info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object out = Napi::Object::New(env);
  if (!fabric_) return out;
  const FabricOptions& options = fabric_->options();
  out.Set("name", fabric_->name());
  out.Set("path", fabric_->directory().path());
  char id[33] = {};
  for (size_t i = 0; i < 16; ++i) std::snprintf(id + 2 * i, 3, "%02x", fabric_->uuid()[i]);
  out.Set("id", id);
  out.Set("createdAtMs", static_cast<double>(fabric_->created_at_ms()));
  out.Set("maxAgents", options.max_agents);
  out.Set("maxParticipants", options.max_participants);
  out.Set("mailboxCells", options.mailbox_cells);
  out.Set("maxTopics", options.max_topics);
  out.Set("topicCells", options.topic_cells);
  out.Set("topicSubscribers", options.topic_subscribers);
  out.Set("slabMaxBytes", static_cast<double>(options.slab_max_bytes));
  out.Set("senderSlabBytes", static_cast<double>(options.sender_slab_bytes));
  out.Set("attemptLimit", options.attempt_limit);
  out.Set("sharedBytes", static_cast<double>(fabric_->SharedBytes()));
  return out;
}

Napi::Value FabricWrap::Watch(const Napi::CallbackInfo& info) {
  if (waiter_) waiter_->Watch(ToBool(info[0]));
  return info.Env().Undefined();
}

Napi::Value FabricWrap::Check(const Napi::CallbackInfo& info) {
  if (!fabric_) return ToValue(info.Env(), Status::kClosed);
  return ToValue(info.Env(), participant_ ? participant_->CheckLease() : fabric_->Check());
}

// snapshot(probe: boolean, name?): every agent, or the one of that name; probe: also asks /proc for
// who is stopped
Napi::Value FabricWrap::Snapshot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  if (!fabric_) return out;
  const AgentDirectory directory(fabric_.get());
  AgentRecord only;
  const bool one = info[1].IsString();
  if (one && directory.Find(ToText(info[1]), &only) != Status::kOk) return out;
  const bool probe = ToBool(info[0]);
  const Liveness liveness(fabric_.get());
  const double now_ms = static_cast<double>(RealTimeNs()) / 1e6;
  const double monotonic_ms = static_cast<double>(MonotonicNs()) / 1e6;
  LeaseSurvey leases(fabric_->directory());
  uint32_t count = 0;
  const uint32_t end = one ? only.entry + 1 : fabric_->entry_count();
  for (uint32_t i = one ? only.entry : 0; i < end; ++i) {
    AgentRecord record;
    if (!directory.Read(i, &record)) continue;
    Napi::Object agent = Napi::Object::New(env);
    agent.Set("name", ToValue(env, record.Name()));
    agent.Set("role", ToValue(env, record.Role()));
    agent.Set("team", ToValue(env, record.Team()));
    agent.Set("parent", ToValue(env, record.Parent()));
    agent.Set("entry", i);
    agent.Set("pid", record.pid);
    const Slot* const slot = fabric_->SlotAt(HolderSlot(record.holder));
    const bool takes_part = slot && slot->uid.load() == HolderUid(record.holder);
    agent.Set("startTicks", takes_part ? static_cast<double>(slot->start_time.load()) : 0);
    agent.Set("state", static_cast<double>(record.state));
    agent.Set("incarnation", record.incarnation);
    agent.Set("restarts", static_cast<double>(record.restarts));
    agent.Set("joinedAtMs", static_cast<double>(record.joined_at_ms));
    agent.Set("lastProgressAtMs",
              now_ms - (monotonic_ms - static_cast<double>(record.progress_at_ms)));
    const bool alive = !fabric_->HolderDead(record.holder, &leases);
    const int exit_code = ExitCodeOf(record.exit, record.incarnation);
    char text[kStatusTextBytes];
    const uint32_t text_bytes = ReadStatusText(fabric_->entries()[i], text);
    agent.Set("held", record.holder != 0);
    agent.Set("alive", alive);
    agent.Set("stalled", alive && probe && liveness.Stopped(record));
    agent.Set("busy", alive && liveness.Busy(record));
    agent.Set("facts", static_cast<uint32_t>(record.facts));
    agent.Set("exitCode", exit_code);
    agent.Set("commandPid", CommandPid(record.command));
    agent.Set("statusText", ToValue(env, std::string_view(text, text_bytes)));
    MailboxView view;
    double depth = 0, capacity = 0, leased = 0, waiting = 0;
    bool gated = false;
    if (fabric_->mail().View(MailboxRefBox(record.mailbox), &view)) {
      gated = view.words->gate.load() != 0;
      for (const Lane& lane : view.lanes) {
        const Lane::Waiting cells = lane.CountWaiting();
        depth += static_cast<double>(lane.Depth());
        capacity += lane.capacity();
        leased += cells.leased;
        waiting += cells.ready;
      }
    }
    agent.Set("gated", gated);
    const uint64_t wanted = fabric_->entries()[i].wanted.load();
    agent.Set("stopWanted",
              WantedLife(wanted) == record.incarnation &&
                  (WantedVerb(wanted) == Wanted::kStop || WantedVerb(wanted) == Wanted::kKill));
    agent.Set("depth", depth);
    agent.Set("capacity", capacity);
    agent.Set("leased", leased);
    agent.Set("waiting", waiting);
    out.Set(count++, agent);
  }
  return out;
}

// peek(name, most): [{row, from, type, body, leased}] of what waits in that agent's mailbox,
// control lane first, nothing leased; a negative status where nobody has the name
Napi::Value FabricWrap::Peek(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!fabric_) return Napi::Number::New(env, Negative(Status::kClosed));
  AgentRecord record;
  MailboxView view;
  if (AgentDirectory(fabric_.get()).Find(ToText(info[0]), &record) != Status::kOk ||
      !fabric_->mail().View(MailboxRefBox(record.mailbox), &view)) {
    return Napi::Number::New(env, Negative(Status::kNoAgent));
  }
  Napi::Array out = Napi::Array::New(env);
  const uint32_t most = ToUint32(info[1]);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    for (uint64_t nth = 0; out.Length() < most && nth < kMaxLaneCells; ++nth) {
      Delivery delivery;
      CellKind kind = CellKind::kFree;
      const Status status = Agent::Peek(view, static_cast<LaneIndex>(lane), nth, &delivery, &kind);
      if (status == Status::kEmpty) break;
      if (status != Status::kOk) continue;  // it went on while we looked
      auto body = Napi::ArrayBuffer::New(env, delivery.body_bytes);
      auto row = Napi::Float64Array::New(env, kColumns);
      if (body.IsEmpty() || row.IsEmpty()) return out;  // the worker is being terminated
      if (Agent::CopyPeeked(*fabric_, view, delivery, body.Data()) != Status::kOk) continue;
      FillRow(row.Data(), delivery);
      Napi::Object message = Napi::Object::New(env);
      message.Set("row", row);
      message.Set("from", ToValue(env, delivery.From()));
      message.Set("type", ToValue(env, delivery.Type()));
      message.Set("body", body);
      message.Set("leased", kind != CellKind::kReady);
      out.Set(out.Length(), message);
    }
  }
  return out;
}

Napi::Value FabricWrap::Sweep(const Napi::CallbackInfo& info) {
  Failure failure;
  const Status status = Register(&failure);
  if (status != Status::kOk) {
    ThrowFailure(info.Env(), status, failure);
    return info.Env().Undefined();
  }
  return ToObject(info.Env(), cfc::Sweep(*fabric_, participant_->owner()));
}

Napi::Value FabricWrap::Census(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object out = Napi::Object::New(env);
  if (!fabric_) return out;
  LaneCensus total;
  double acked = 0;
  uint32_t boxes_claimed = 0, boxes_owned = 0;
  uint32_t letters = 0;
  const uint64_t letters_ref = fabric_->words().dead_letters.load();
  fabric_->mail().ForEach([&](const MailboxView& view) {
    const BoxKind kind = BoxKindOf(view.words->word.load());
    if (letters_ref != 0 && view.box == MailboxRefBox(letters_ref)) {
      // What lies there is copies: the messages themselves are counted where they died.
      for (const Lane& lane : view.lanes) {
        const LaneCensus census = lane.Census();
        letters += census.ready + census.leased;
        total.claimed += census.claimed;
        total.quarantined += census.quarantined;
      }
      boxes_claimed += kind == BoxKind::kClaimed;
      return;
    }
    boxes_claimed += kind == BoxKind::kClaimed;
    boxes_owned += kind == BoxKind::kOwned;
    for (const Lane& lane : view.lanes) {
      const LaneCensus census = lane.Census();
      acked += census.acked;
      total.claimed += census.claimed;
      total.quarantined += census.quarantined;
      total.ready += census.ready;
      total.leased += census.leased;
      total.held += census.held;
      total.done += census.done;
      total.aborted += census.aborted;
      total.dropped += census.dropped;
      total.dead_lettered += census.dead_lettered;
    }
  });
  uint32_t slots_live = 0, slots_reaping = 0, entries_live = 0, entries_claimed = 0;
  for (uint32_t i = 1; i <= fabric_->slots(); ++i) {
    const SlotState state = SlotStateOf(fabric_->SlotAt(i)->word.load());
    slots_live += state == SlotState::kLive;
    slots_reaping += state == SlotState::kReaping;
  }
  for (uint32_t i = 0; i < fabric_->entry_count(); ++i) {
    const EntryKind kind = EntryKindOf(fabric_->entries()[i].word.load());
    entries_live += kind == EntryKind::kLive;
    entries_claimed += kind == EntryKind::kClaimed || kind == EntryKind::kQuarantined;
  }
  uint32_t topics = 0, subscribers = 0, lagged = 0, rows_claimed = 0, topic_claims = 0;
  fabric_->topics().ForEach([&](const TopicView& topic) {
    const TopicCensus census = CensusOfTopic(topic);
    ++topics;
    subscribers += census.rows_reliable + census.rows_lossy + census.rows_lagged;
    lagged += census.rows_lagged;
    rows_claimed += census.rows_claimed;
    topic_claims += census.log.claimed + census.log.quarantined;
  });
  out.Set("topics", topics);
  out.Set("subscribers", subscribers);
  out.Set("subscribersLagged", lagged);
  out.Set("subscribersClaimed", rows_claimed);
  out.Set("topicClaims", topic_claims);
  const SlabCensus slab = fabric_->slab().Census();
  out.Set("acked", acked);
  out.Set("queued", total.ready + total.leased + total.held);
  out.Set("ready", total.ready);
  out.Set("leased", total.leased);
  out.Set("held", total.held);
  out.Set("claimed", total.claimed);
  out.Set("quarantined", total.quarantined);
  out.Set("done", total.done);
  out.Set("aborted", total.aborted);
  out.Set("dropped", total.dropped);
  out.Set("deadLettered", total.dead_lettered);
  out.Set("deadLetters", letters);
  out.Set("mailboxesOwned", boxes_owned);
  out.Set("mailboxesClaimed", boxes_claimed);
  out.Set("slotsLive", slots_live);
  out.Set("slotsReaping", slots_reaping);
  out.Set("namesLive", entries_live);
  out.Set("namesClaimed", entries_claimed);
  out.Set("chunksLoaned", static_cast<double>(slab.loaned));
  out.Set("chunksPlaced", static_cast<double>(slab.placed));
  out.Set("chunksFree", static_cast<double>(slab.free));
  return out;
}

Napi::Value FabricWrap::Metrics(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  if (!fabric_) return out;
  for (uint32_t i = 0; i < fabric_->metrics().Count(); ++i) {
    MetricInfo metric;
    if (!fabric_->metrics().Describe(i, &metric)) continue;
    Napi::Object row = Napi::Object::New(env);
    row.Set("index", i);
    row.Set("name", metric.name);
    row.Set("unit", metric.unit);
    row.Set("kind", static_cast<double>(metric.kind));
    out.Set(out.Length(), row);
  }
  return out;
}

// readMetrics(entry, out: Float64Array): boolean
Napi::Value FabricWrap::ReadMetrics(const Napi::CallbackInfo& info) {
  auto out = info[1].As<Napi::Float64Array>();
  double values[kBlockValues];
  uint64_t uid;
  const bool read = fabric_ && out.ElementLength() >= kBlockValues &&
                    fabric_->metrics().ReadBlock(ToUint32(info[0]), values, &uid);
  if (read) std::copy(values, values + kBlockValues, out.Data());
  return Napi::Boolean::New(info.Env(), read);
}

// readHistogram(entry, metric, percentiles: number[]): {count, sum, min, max, percentiles} |
// undefined
Napi::Value FabricWrap::ReadHistogram(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto histogram = std::make_unique<Histogram>();
  if (!fabric_ ||
      !fabric_->metrics().ReadHistogram(ToUint32(info[0]), ToUint32(info[1]), histogram.get())) {
    return env.Undefined();
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("count", static_cast<double>(histogram->Count()));
  out.Set("sum", histogram->Sum());
  out.Set("min", histogram->Min());
  out.Set("max", histogram->Max());
  const auto wanted = info[2].As<Napi::Array>();
  Napi::Array percentiles = Napi::Array::New(env, wanted.Length());
  for (uint32_t i = 0; i < wanted.Length(); ++i) {
    percentiles.Set(i, histogram->Percentile(ToDouble(wanted.Get(i))));
  }
  out.Set("percentiles", percentiles);
  return out;
}

// registerMetric(name, unit, kind): index, or a negative status
Napi::Value FabricWrap::RegisterMetric(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Failure failure;
  Status status = Register(&failure);
  uint32_t index = 0;
  if (status == Status::kOk) {
    status = fabric_->metrics().Register(
        participant_->owner(), ToText(info[0]), ToText(info[1]),
        static_cast<MetricKind>(ToUint32(info[2])),
        [this](Owner owner) { return fabric_->ProvenDead(owner); }, &index);
  }
  return Napi::Number::New(env, status == Status::kOk ? index : Negative(status));
}

Napi::Value FabricWrap::Close(const Napi::CallbackInfo& info) {
  Shut();
  // The callbacks hold the object that holds us: as long as we hold a callback, nobody goes.
  on_ready_.Reset();
  on_ended_.Reset();
  return info.Env().Undefined();
}

void DefineFabricFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("destroyFabric", Napi::Function::New<Destroy>(env));
  exports.Set("memoryFor", Napi::Function::New<MemoryFor>(env));
  exports.Set("processUsage", Napi::Function::New<ProcessUsageOf>(env));
  exports.Set("defaultBase", Napi::Function::New<DefaultBase>(env));
}

}  // namespace cfc::binding
