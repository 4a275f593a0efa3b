// Looking at a whole fabric at once, into tables of doubles: what samplers read every second, of
// ten thousand agents, without a word to any of them.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "convert.h"
#include "core/clock.h"
#include "core/directory.h"
#include "core/lease.h"
#include "core/lifecycle.h"
#include "core/process_usage.h"
#include "core/topic_tail.h"
#include "fabric_wrap.h"

namespace cfc::binding {
namespace {

struct Holder {
  uint32_t slot;
  double* liveness;
};

// What the directory says of an entry; false where nobody has it.
bool FillAgent(Fabric& fabric, uint32_t entry, double now_ms, double monotonic_ms, double* row,
               std::vector<Holder>* holders) {
  AgentRecord record;
  if (!AgentDirectory(&fabric).Read(entry, &record)) return false;
  const uint32_t slot_index = HolderSlot(record.holder);
  Slot* const slot = fabric.SlotAt(slot_index);
  const bool held = record.holder != 0;
  const bool holds = held && slot && slot->uid.load() == HolderUid(record.holder) &&
                     SlotStateOf(slot->word.load()) == SlotState::kLive;
  row[kSampleUid] = static_cast<double>(HolderUid(record.holder));
  row[kSampleLiveness] = held ? 1 : 0;
  row[kSamplePid] = record.pid;
  row[kSampleStartTicks] = holds ? static_cast<double>(slot->start_time.load()) : 0;
  row[kSampleIncarnation] = record.incarnation;
  row[kSampleRestarts] = static_cast<double>(record.restarts);
  row[kSampleJoinedAtMs] = static_cast<double>(record.joined_at_ms);
  row[kSampleProgressAtMs] = now_ms - (monotonic_ms - static_cast<double>(record.progress_at_ms));
  row[kSampleState] = static_cast<double>(record.state);
  row[kSampleBox] = MailboxRefBox(record.mailbox);
  // Generation and hash of the name, which leave out the owner: whole numbers below 2^36.
  row[kSampleNaming] = static_cast<double>(record.word >> 28 & 0xf'ffff'ffff);
  if (ExitCodeOf(record.exit, record.incarnation) < 0) {
    row[kSampleCommandPid] = CommandPid(record.command);
    row[kSampleCommandStartTicks] = static_cast<double>(CommandStart(record.command));
  }
  if (holds) holders->push_back({slot_index, &row[kSampleLiveness]});
  return true;
}

}  // namespace

// sample(metrics, out: Float64Array): a row for each entry that somebody has, or that somebody ever
// counted at: the columns, then for each of the first `metrics` of the schema what was counted
// there in all, and what of it by the owner of now. The number of rows; where they do not fit,
// minus that.
Napi::Value FabricWrap::Sample(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!fabric_) return Napi::Number::New(env, 0);
  const uint32_t metrics = std::min(ToUint32(info[0]), kBlockValues);
  auto out = info[1].As<Napi::Float64Array>();
  const size_t width = kSampleColumns + size_t{2} * metrics;
  const size_t room = out.ElementLength() / width;
  const double now_ms = static_cast<double>(RealTimeNs()) / 1e6;
  const double monotonic_ms = static_cast<double>(MonotonicNs()) / 1e6;
  std::vector<Holder> holders;
  Metrics::Reading reading;
  double spare[kSampleColumns];
  uint32_t rows = 0;
  for (uint32_t i = 0; i < fabric_->entry_count(); ++i) {
    double* const row = rows < room ? out.Data() + rows * width : spare;
    std::fill(row, row + kSampleColumns, 0);
    const size_t before = holders.size();
    const bool named = FillAgent(*fabric_, i, now_ms, monotonic_ms, row, &holders);
    const bool counted = fabric_->metrics().ReadBlock(i, &reading, metrics);
    if (!named && !counted) continue;
    ++rows;
    if (rows > room) {
      holders.resize(before);
      continue;
    }
    row[kSampleEntry] = i;
    if (!named) row[kSampleLiveness] = -1;
    row[kSampleLife] = counted ? static_cast<double>(reading.generation) : 0;
    double* const values = row + kSampleColumns;
    for (uint32_t m = 0; m < metrics; ++m) {
      values[size_t{2} * m] = counted ? reading.total[m] : 0;
      values[size_t{2} * m + 1] = counted ? reading.total[m] - reading.base[m] : 0;
    }
  }
  if (rows > room) return Napi::Number::New(env, -static_cast<double>(rows));
  // One file after the other, so that each is opened once.
  std::sort(holders.begin(), holders.end(), [](const Holder& a, const Holder& b) {
    return a.slot % kLeaseFiles < b.slot % kLeaseFiles;
  });
  LeaseTester tester(fabric_->directory());
  for (const Holder& holder : holders) {
    if (tester.Held(holder.slot)) *holder.liveness = 2;
  }
  return Napi::Number::New(env, rows);
}

// sampleBoxes(out: Float64Array): a row for each mailbox, also of nobody: what lies there, and what
// became of all that ever did. As sample.
Napi::Value FabricWrap::SampleBoxes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!fabric_) return Napi::Number::New(env, 0);
  auto out = info[0].As<Napi::Float64Array>();
  const size_t room = out.ElementLength() / kBoxColumns;
  uint32_t rows = 0;
  fabric_->mail().ForEach([&](const MailboxView& view) {
    const BoxKind kind = BoxKindOf(view.words->word.load());
    // Never used: no message ever came to either lane.
    if (kind == BoxKind::kFree && view.lanes[kWorkLane].words()->head.load() == 0 &&
        view.lanes[kControlLane].words()->head.load() == 0) {
      return;
    }
    if (++rows > room) return;
    double* const row = out.Data() + size_t{rows - 1} * kBoxColumns;
    std::fill(row, row + kBoxColumns, 0);
    row[kBoxId] = view.box;
    row[kBoxEntry] = kind == BoxKind::kOwned ? static_cast<double>(view.words->agent.load()) : -1;
    for (const Lane& lane : view.lanes) {
      const LaneCensus tally = lane.Tally();
      const Lane::Waiting waiting = lane.CountWaiting();
      row[kBoxDepth] += waiting.ready + waiting.leased;
      row[kBoxCapacity] += lane.capacity();
      row[kBoxLeased] += waiting.leased;
      row[kBoxAcked] += tally.acked;
      row[kBoxDropped] += tally.dropped;
      row[kBoxDeadLettered] += tally.dead_lettered;
    }
  });
  return Napi::Number::New(env, rows > room ? -static_cast<double>(rows) : rows);
}

// sampleHistogram(place, out: Float64Array): whose it is, and its buckets; null where nothing is
// there, undefined beyond the last place
Napi::Value FabricWrap::SampleHistogram(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint32_t place = ToUint32(info[0]);
  auto out = info[1].As<Napi::Float64Array>();
  if (!fabric_ || place >= fabric_->metrics().histograms() ||
      out.ElementLength() < HistogramShape::kBuckets) {
    return env.Undefined();
  }
  Metrics::HistogramKey key;
  auto histogram = std::make_unique<Histogram>();
  if (!fabric_->metrics().ReadPlace(place, &key, histogram.get())) return env.Null();
  for (uint32_t i = 0; i < HistogramShape::kBuckets; ++i) out[i] = histogram->BucketCount(i);
  Napi::Object row = Napi::Object::New(env);
  row.Set("key", std::to_string(key.word));
  row.Set("entry", key.block);
  row.Set("metric", key.metric);
  row.Set("uid", static_cast<double>(key.uid));
  row.Set("sum", histogram->Sum());
  row.Set("min", histogram->Min());
  row.Set("max", histogram->Max());
  return row;
}

// readTopic(name, position, aborted, most): {position, aborted, lost, from[], bodies[]}, at most so
// many from that position on (negative: from the oldest that is left); undefined where there is no
// such topic yet
Napi::Value FabricWrap::ReadTopic(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!fabric_) return env.Undefined();
  const std::string name = ToText(info[0]);
  const double position = ToDouble(info[1]);
  TopicTail tail;
  // A position that was never reached is of another topic of that name, in a fabric made anew.
  const bool resumed = position >= 0 && tail.Resume(*fabric_, name, static_cast<uint64_t>(position),
                                                    ToUint32(info[2]));
  if (!resumed && !tail.Begin(*fabric_, name)) return env.Undefined();
  Napi::Array from = Napi::Array::New(env);
  Napi::Array bodies = Napi::Array::New(env);
  Delivery message;
  std::string body;
  const uint32_t most = ToUint32(info[3]);
  for (uint32_t i = 0; i < most && tail.Next(*fabric_, &message, &body) == Status::kOk; ++i) {
    from.Set(i, ToValue(env, message.From()));
    bodies.Set(i, ToValue(env, body));
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("position", static_cast<double>(tail.position));
  out.Set("aborted", tail.aborted);
  out.Set("lost", static_cast<double>(tail.lost));
  out.Set("from", from);
  out.Set("bodies", bodies);
  return out;
}

// describe(entry): {name, role, team, parent}, or undefined where nobody has it
Napi::Value FabricWrap::Describe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  AgentRecord record;
  if (!fabric_ || !AgentDirectory(fabric_.get()).Read(ToUint32(info[0]), &record)) {
    return env.Undefined();
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("name", ToValue(env, record.Name()));
  out.Set("role", ToValue(env, record.Role()));
  out.Set("team", ToValue(env, record.Team()));
  out.Set("parent", ToValue(env, record.Parent()));
  return out;
}

Napi::Value ProcessUsageOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto pids = info[0].As<Napi::Float64Array>();
  auto out = info[2].As<Napi::Float64Array>();
  const uint32_t count = ToUint32(info[1]);
  static const double ms_per_tick = 1000.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
  for (uint32_t i = 0; i < count && i < pids.ElementLength(); ++i) {
    if (out.ElementLength() < size_t{kUsageColumns} * (i + 1)) break;
    double* const row = out.Data() + size_t{kUsageColumns} * i;
    ProcessUsage usage;
    const double pid = pids[i];
    const bool read = pid < 0 ? ReadUsageBelow(static_cast<uint32_t>(-pid), &usage)
                              : ReadProcessUsage(static_cast<uint32_t>(pid), &usage);
    row[0] = read ? static_cast<double>(usage.own_bytes) : std::nan("");
    row[1] = static_cast<double>(usage.descriptors);
    row[2] = static_cast<double>(usage.cpu_ticks) * ms_per_tick;
    row[3] = static_cast<double>(usage.start_ticks);
  }
  return env.Undefined();
}

}  // namespace cfc::binding
