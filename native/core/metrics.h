// Metrics: what every agent counts, in one file that anybody may read while it goes on.
//
//   header page | log: 120 words | records: 256 x 128 bytes | blocks: 1.5 KiB each
//               | keys: a word per histogram | histograms: kHistogramBytes each
//
// Values are doubles, stored as their bits: exact integers up to 2^53. A block has one writer, so
// adding is a load and a store, and JavaScript counts by plain stores into a Float64Array.
//
// Schema. A metric's index is its place in the log, the same for all agents of the fabric.
//   record  FREE -> CLAIMED(owner)   by CAS: private to its owner from here on
//           (name, unit and kind are written)
//   log[i]  0 -> record              by CAS, at the first word that is 0: the linearisation point
//   record  CLAIMED -> LIVE          by its owner, or by whoever finds it in the log
//           CLAIMED -> FREE, +1      when the name turned out to be in the log already
// The log is only ever appended to, of complete records, and whoever appends has compared its name
// with every word before: so no name has two indexes, and nobody ever waits for anybody. Who dies
// or stalls half-way has not touched the log: it holds back one of 256 records, of which the log
// uses 120, and when it is dead the next in need takes that record over.
//
// Blocks. The generation is odd while the block is being taken over and even in use; readers
// compare it before and after. 0: never used. Its counters are never set back: who takes a block
// notes what they stood at (`base`), so that each owner's own are a difference, and the sum over
// all blocks is what was ever counted, however many short lives there were in between. To note it
// twice changes nothing, so a death in the middle leaves nothing to repair. Gauges begin at 0.
//
// Histograms belong to a block, its generation and a metric (the key word); a key whose block moved
// on is void, and its histogram may be taken.
//
// Threads: schema and reading from any. A block, and a histogram of it, from one at a time.
// Death: at any step; nothing is lost but a record, which is taken back (RepairOwner or later).
// Late writers: one that lost its block (stopped, fenced, continued) notices before it stores. It
// may still make the store that it was about to make, or zero what it was about to zero.
// Hostile memory: geometry is private, every index is checked, every loop is over fixed bounds.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "failpoint.h"
#include "histogram.h"
#include "layout.h"
#include "region.h"
#include "status.h"
#include "words.h"

namespace cfc {

enum class MetricKind : uint8_t { kCounter = 0, kGauge = 1, kHistogram = 2 };
constexpr uint8_t kMetricKinds = 3;

// Metrics that every fabric has, at fixed indexes: name, public name, unit, kind. Builds with
// another number of them refuse each other's files, so a change here bumps kLayoutMajor.
#define CFC_METRIC_LIST(X)                                                                 \
  X(kMessagesSent, "messages.sent", "messages", kCounter)                                  \
  X(kMessagesReceived, "messages.received", "messages", kCounter)                          \
  X(kMessagesAcked, "messages.acked", "messages", kCounter)                                \
  X(kMessagesNacked, "messages.nacked", "messages", kCounter)                              \
  X(kMessagesRedelivered, "messages.redelivered", "messages", kCounter)                    \
  X(kMessagesRefused, "messages.refused", "messages", kCounter) /* full or closed */       \
  X(kBytesSent, "bytes.sent", "bytes", kCounter)                                           \
  X(kBytesReceived, "bytes.received", "bytes", kCounter)                                   \
  X(kBatchesSent, "batches.sent", "batches", kCounter)                                     \
  X(kSendWaits, "send.waits", "waits", kCounter) /* for room */                            \
  X(kSendWaitNs, "send.wait_time", "nanoseconds", kCounter)                                \
  X(kSendWaitsPaid, "send.waits_paid", "messages", kCounter)                               \
  X(kSendWaitsFailed, "send.waits_failed", "messages", kCounter) /* time was up */         \
  X(kReceiveWaits, "receive.waits", "waits", kCounter)           /* for mail */            \
  X(kReceiveWaitNs, "receive.wait_time", "nanoseconds", kCounter)                          \
  X(kLatencySamples, "latency.samples", "messages", kCounter)                              \
  X(kLatencyNs, "latency.time", "nanoseconds", kCounter) /* sent to taken, of those */     \
  X(kWakeSamples, "wake.samples", "messages", kCounter)                                    \
  X(kWakeLatencyNs, "wake.time", "nanoseconds", kCounter) /* sent to taken by who slept */ \
  X(kLoopTurns, "loop.turns", "turns", kCounter)                                           \
  X(kLoopBusyNs, "loop.busy_time", "nanoseconds", kCounter)                                \
  X(kRepliesLate, "replies.late", "messages", kCounter)                                    \
  X(kWakes, "wakes", "wakes", kCounter) /* slept and was woken */                          \
  X(kRings, "rings", "rings", kCounter) /* woke somebody */                                \
  X(kRepairs, "repairs", "participants", kCounter)                                         \
  X(kQuarantines, "quarantines", "cells", kCounter)                                        \
  X(kCellsCorrupt, "cells.corrupt", "cells", kCounter)                                     \
  X(kTopicsPublished, "topics.published", "messages", kCounter)                            \
  X(kTopicsDelivered, "topics.delivered", "messages", kCounter)                            \
  X(kTopicsLost, "topics.lost", "messages", kCounter)  /* told to a subscriber */          \
  X(kTopicsLagged, "topics.lagged", "times", kCounter) /* set aside as too slow */         \
  X(kMessagesDeadLettered, "messages.dead_lettered", "messages", kCounter)                 \
  X(kMessagesExpired, "messages.expired", "messages", kCounter)   /* of those */           \
  X(kMessagesRepeated, "messages.repeated", "messages", kCounter) /* by key */             \
  X(kMessagesRedriven, "messages.redriven", "messages", kCounter)                          \
  X(kSendsRateLimited, "send.rate_limited", "messages", kCounter)                          \
  X(kSendsOverQuota, "send.over_quota", "messages", kCounter)                              \
  X(kSendsPaced, "send.paced", "messages", kCounter) /* to spare who is behind */

enum class Metric : uint32_t {
#define CFC_METRIC_ENTRY(name, text, unit, kind) name,
  CFC_METRIC_LIST(CFC_METRIC_ENTRY)
#undef CFC_METRIC_ENTRY
};

struct PredefinedMetric {
  std::string_view name;
  std::string_view unit;
  MetricKind kind;
};
constexpr PredefinedMetric kPredefinedMetrics[] = {
#define CFC_METRIC_ENTRY(name, text, unit, kind) {text, unit, MetricKind::kind},
    CFC_METRIC_LIST(CFC_METRIC_ENTRY)
#undef CFC_METRIC_ENTRY
};

// ---- sizes

constexpr uint32_t kBlockValues = 120;
// Counters of the first so many names go on across owners; those of later ones begin at 0. All of
// them would cost a third of the file more, of which a large fabric has thousands of blocks.
constexpr uint32_t kKeptValues = 64;
constexpr uint32_t kPredefined = sizeof kPredefinedMetrics / sizeof kPredefinedMetrics[0];
constexpr uint32_t kSchemaRecords = 256;
constexpr size_t kMaxUnitBytes = 16;
constexpr uint32_t kMaxMetricBlocks = 1u << 20;  // the key word has 20 bits for it
constexpr uint32_t kMaxHistograms = 1u << 16;
static_assert(kPredefined <= kKeptValues && kKeptValues <= kBlockValues);
static_assert(kBlockValues < kSchemaRecords);

enum class RecordKind : uint32_t { kFree = 0, kClaimed = 1, kLive = 2 };

template <class Memory>
struct SchemaRecordOf {
  alignas(kLineBytes) typename Memory::Word word;  // generation 32 | owner 24 | kind 4
  typename Memory::Word lengths;                   // name 8 | unit 8 | MetricKind 8
  typename Memory::Word unit[kMaxUnitBytes / 8];
  typename Memory::Word name[kMaxNameBytes / 8];
};
using SchemaRecord = SchemaRecordOf<NativeMemory>;
static_assert(sizeof(SchemaRecord) == kLineBytes, "docs/memory.md draws these bytes");

template <class Memory>
struct BlockOf {
  alignas(kLineBytes) typename Memory::Word generation;
  typename Memory::Word uid;  // of the participant that counts here
  typename Memory::Word spare[6];
  typename Memory::Word values[kBlockValues];
  typename Memory::Word base[kKeptValues];  // what the counters stood at when its owner came
};
using Block = BlockOf<NativeMemory>;
static_assert(sizeof(Block) == 1536, "docs/memory.md draws these bytes");

constexpr uint64_t kHistogramBytes =
    (HistogramShape::kWords * sizeof(uint64_t) + kLineBytes - 1) / kLineBytes * kLineBytes;

// ---- words

constexpr uint64_t PackRecord(uint32_t generation, Owner owner, RecordKind kind) noexcept {
  return uint64_t{generation} << 32 | uint64_t{owner & kOwnerMask} << 4 |
         static_cast<uint32_t>(kind);
}
constexpr uint32_t RecordGeneration(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 32);
}
constexpr Owner RecordOwner(uint64_t word) noexcept {
  return static_cast<Owner>(word >> 4) & kOwnerMask;
}
constexpr RecordKind RecordKindOf(uint64_t word) noexcept {
  return static_cast<RecordKind>(word & 15);
}

// A word of the log: the record's generation 32 | 1 + its index 32. Zero: the log ends here.
constexpr uint64_t PackLog(uint32_t generation, uint32_t record) noexcept {
  return uint64_t{generation} << 32 | (record + 1);
}
constexpr uint32_t LogGeneration(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 32);
}
// Of a damaged word too large for any table.
constexpr uint32_t LogRecord(uint64_t word) noexcept { return static_cast<uint32_t>(word) - 1; }

// A histogram's key: block generation 32 | block 20 | metric 8 | kind 4
enum class KeyKind : uint32_t { kFree = 0, kClaimed = 1, kLive = 2 };
constexpr uint64_t PackKey(uint64_t generation, uint32_t block, uint32_t metric,
                           KeyKind kind) noexcept {
  return generation << 32 | uint64_t{block & 0xf'ffff} << 12 | (metric & 0xff) << 4 |
         static_cast<uint32_t>(kind);
}
constexpr uint32_t KeyGeneration(uint64_t key) noexcept { return static_cast<uint32_t>(key >> 32); }
constexpr uint32_t KeyBlock(uint64_t key) noexcept {
  return static_cast<uint32_t>(key >> 12) & 0xf'ffff;
}
constexpr uint32_t KeyMetric(uint64_t key) noexcept {
  return static_cast<uint32_t>(key >> 4) & 0xff;
}
constexpr KeyKind KeyKindOf(uint64_t key) noexcept { return static_cast<KeyKind>(key & 15); }

// Where each part of the file begins.
struct MetricsOffsets {
  uint64_t log, records, blocks, keys, histograms, end;

  static constexpr MetricsOffsets Of(uint32_t block_count, uint32_t histogram_count) noexcept {
    const auto up = [](uint64_t offset, uint64_t unit) {
      return (offset + unit - 1) / unit * unit;
    };
    MetricsOffsets at = {};
    at.log = kHeaderBytes;
    at.records = up(at.log + kBlockValues * sizeof(uint64_t), kLineBytes);
    at.blocks = at.records + kSchemaRecords * sizeof(SchemaRecord);
    at.keys = at.blocks + uint64_t{block_count} * sizeof(Block);
    at.histograms = up(at.keys + uint64_t{histogram_count} * sizeof(uint64_t), kLineBytes);
    at.end = up(at.histograms + uint64_t{histogram_count} * kHistogramBytes, kHeaderBytes);
    return at;
  }
};

// ---- writing

// One agent's values. Copies write to the same block; an empty one counts nothing.
class CounterBlock {
 public:
  CounterBlock() noexcept = default;

  void Add(Metric metric, double amount = 1) noexcept {
    Add(static_cast<uint32_t>(metric), amount);
  }
  void Set(Metric metric, double value) noexcept { Set(static_cast<uint32_t>(metric), value); }
  double Get(Metric metric) const noexcept { return Get(static_cast<uint32_t>(metric)); }

  // By the index that Metrics::Register gave; an index out of range does nothing.
  void Add(uint32_t index, double amount) noexcept {
    if (index >= kBlockValues || !Mine()) return;
    if (!shared_) {
      Store(index, Load(index) + amount);
      return;
    }
    uint64_t seen = block_->values[index].load(std::memory_order_relaxed);
    while (!block_->values[index].compare_exchange_weak(
        seen, std::bit_cast<uint64_t>(std::bit_cast<double>(seen) + amount))) {
    }
  }
  void Set(uint32_t index, double value) noexcept {
    if (index < kBlockValues && Mine()) Store(index, Base(index) + value);
  }
  double Get(uint32_t index) const noexcept {
    return index < kBlockValues && block_ != nullptr ? Load(index) - Base(index) : 0;
  }

  // False for an empty one, and once the block was taken over.
  bool Mine() const noexcept {
    return block_ != nullptr && block_->generation.load(std::memory_order_relaxed) == generation_;
  }

  // For the addon: what JavaScript writes to. Only while the region is mapped.
  double* data() const noexcept {
    return block_ != nullptr ? reinterpret_cast<double*>(block_->values) : nullptr;
  }
  uint32_t index() const noexcept { return index_; }
  uint64_t generation() const noexcept { return generation_; }

 private:
  friend class Metrics;

  // Release: who sees the value also sees the generation that it belongs to.
  void Store(uint32_t index, double value) noexcept {
    block_->values[index].store(std::bit_cast<uint64_t>(value), std::memory_order_release);
  }
  double Load(uint32_t index) const noexcept {
    return std::bit_cast<double>(block_->values[index].load(std::memory_order_relaxed));
  }

  double Base(uint32_t index) const noexcept {
    if (index >= kKeptValues) return 0;
    return std::bit_cast<double>(block_->base[index].load(std::memory_order_relaxed));
  }

  Block* block_ = nullptr;
  uint64_t generation_ = 0;
  uint32_t index_ = 0;
  bool shared_ = false;
};

// One agent's histogram of one metric. Copies write to the same; an empty one records nothing.
class HistogramWriter {
 public:
  HistogramWriter() noexcept = default;

  void Record(double value) noexcept {
    if (Mine()) HistogramOver<SharedWords>(SharedWords(words_)).Record(value);
  }
  bool Mine() const noexcept {
    return key_ != nullptr && key_->load(std::memory_order_relaxed) == expected_;
  }
  // For the addon: kWords doubles (see HistogramShape). Only while the region is mapped.
  double* data() const noexcept { return reinterpret_cast<double*>(words_); }

 private:
  friend class Metrics;
  NativeMemory::Word* key_ = nullptr;
  NativeMemory::Word* words_ = nullptr;
  uint64_t expected_ = 0;
};

// ---- the file

struct MetricInfo {
  char name[kMaxNameBytes + 1] = {};
  char unit[kMaxUnitBytes + 1] = {};
  MetricKind kind = MetricKind::kCounter;
};

struct MetricsCensus {
  uint32_t metrics = 0;
  uint32_t records_claimed = 0, records_live = 0;
  uint32_t blocks_used = 0, blocks_odd = 0;
  uint32_t histograms_live = 0, histograms_void = 0;
};

// [A-Za-z0-9][A-Za-z0-9_.-]{0,63}
bool IsValidMetricName(std::string_view name) noexcept;
// [A-Za-z0-9_.%/-]{0,16}
bool IsValidUnit(std::string_view unit) noexcept;

class Metrics {
 public:
  static constexpr const char* kFileName = "metrics";

  // 0 where there are too many of either.
  static uint64_t FileBytes(uint32_t blocks, uint32_t histograms) noexcept;

  // blocks: one per entry of the agent directory. kInvalid, kExists, kNoSpace, kSystem.
  static Status Create(const Directory& directory, const uint8_t uuid[16], uint32_t blocks,
                       uint32_t histograms, Failure* failure) noexcept;
  // writable: false maps it read-only, and whatever would write says kInvalid. kCorrupt where file
  // and geometry disagree, kLayout where another build made it, else as Region::Attach.
  Status Attach(const Directory& directory, const uint8_t uuid[16], bool writable,
                Failure* failure) noexcept;

  bool attached() const noexcept { return region_.mapped(); }
  const Region& region() const noexcept { return region_; }
  uint32_t blocks() const noexcept { return blocks_; }
  uint32_t histograms() const noexcept { return histograms_; }

  // ---- schema

  // Gives the index of `name`, adding it where it is new. The unit of the first one stands.
  // is_dead(owner): proof, not suspicion; asked only about who holds back a record.
  // kInvalid (a bad name or unit, or it is there with another kind), kCountersFull, kBusy (more
  // than a hundred living processes are stalled in here).
  template <class IsDead>
  Status Register(Owner me, std::string_view name, std::string_view unit, MetricKind kind,
                  IsDead&& is_dead, uint32_t* index) noexcept {
    Status status = CheckNew(name, unit, kind);
    if (status != Status::kOk) return status;
    status = Find(name, kind, index);
    if (status != Status::kEmpty) return status;
    if (!writable_) return Status::kInvalid;
    uint32_t record = 0;
    uint64_t word = 0;
    if (!ClaimRecord(me, is_dead, &record, &word)) return Status::kBusy;
    CFC_FAIL_POINT("metrics.claimed");
    return Append(record, word, name, unit, kind, index);
  }

  // Metrics in the schema: indexes from 0 to this.
  uint32_t Count() const noexcept;
  // False where nothing is there, or nothing legible.
  bool Describe(uint32_t index, MetricInfo* info) const noexcept;

  // Takes back the record that the dead `owner` held. Part of a slot's repair: before its owner
  // value can come back.
  uint32_t RepairOwner(Owner owner) noexcept;

  // ---- blocks

  // Makes block `index` mine, with its own values at zero. Only for who holds the agent of that
  // index: the one before is dead or fenced. kInvalid, kBusy (somebody else does the same right
  // now).
  Status TakeBlock(uint32_t index, uint64_t uid, CounterBlock* out) noexcept;
  // A guest's way to the block of the agent that it is: several add to it at once, by swaps.
  // Ends when the block is taken over. kInvalid, kBusy.
  Status ShareBlock(uint32_t index, CounterBlock* out) noexcept;

  // All values, of one owner. False (and `out` worthless) where nobody ever counted, or where the
  // block was being taken over all the time, or by somebody who died of it.
  bool ReadBlock(uint32_t index, double out[kBlockValues], uint64_t* uid) const noexcept;
  // The same, with what the counters of all owners so far add up to, its own among them.
  struct Reading {
    uint64_t generation = 0;
    uint64_t uid = 0;
    double total[kBlockValues];
    double base[kBlockValues];  // of what `total` is not its own
  };
  // Of the first `count` values; the others stay as they were.
  bool ReadBlock(uint32_t index, Reading* out, uint32_t count = kBlockValues) const noexcept;
  // The first `count` values of an agent of now, as the first ReadBlock; zeros where there is none.
  bool ReadValues(uint32_t index, uint32_t count, double* out) const noexcept;

  // ---- histograms

  // The histogram of `metric` in my block, an empty one if it is new. is_gone(block, uid): may the
  // histograms of that block go? Asked only when the pool is full. kInvalid (not mine, no such
  // metric, or no histogram), kCountersFull.
  template <class IsGone>
  Status ClaimHistogram(const CounterBlock& block, uint32_t metric, IsGone&& is_gone,
                        HistogramWriter* out) noexcept {
    Status status = ClaimVoidHistogram(block, metric, out);
    for (uint32_t i = 0; status == Status::kCountersFull && i < histograms_; ++i) {
      const uint64_t key = keys_[i].load();
      const uint32_t owner = KeyBlock(key);
      if (owner >= blocks_ || owner == block.index()) continue;
      if (!is_gone(owner, blocks_base_[owner].uid.load())) continue;
      status = TakeHistogram(block, metric, i, key, out);
    }
    return status;
  }

  // What a place of the pool holds, and that of whom: also of an owner that is gone, until the
  // place is taken. False where nothing was ever recorded there, or it was taken meanwhile.
  struct HistogramKey {
    uint32_t block = 0;
    uint32_t metric = 0;
    uint64_t word = 0;  // another one: another histogram
    uint64_t uid = 0;   // of its owner; 0 where that is gone
  };
  bool ReadPlace(uint32_t place, HistogramKey* key, Histogram* out) const noexcept;
  // False where the agent has none of this metric.
  bool ReadHistogram(uint32_t block, uint32_t metric, Histogram* out) const noexcept;

  MetricsCensus Census() const noexcept;

 private:
  using Word = NativeMemory::Word;

  Status CheckNew(std::string_view name, std::string_view unit, MetricKind kind) const noexcept;
  // kEmpty where it isn't there yet.
  Status Find(std::string_view name, MetricKind kind, uint32_t* index) const noexcept;
  Status Append(uint32_t record, uint64_t word, std::string_view name, std::string_view unit,
                MetricKind kind, uint32_t* index) noexcept;
  bool InLog(uint32_t record, uint64_t word) const noexcept;
  // Ends a claim: LIVE where the log has it, else FREE with the next generation.
  bool Settle(uint32_t record, uint64_t word) noexcept;

  template <class IsDead>
  bool ClaimRecord(Owner me, IsDead& is_dead, uint32_t* record, uint64_t* word) noexcept {
    for (uint32_t n = 0; n < kSchemaRecords; ++n) {
      const uint32_t i = (OwnerSlot(me) + n) % kSchemaRecords;
      uint64_t seen = records_[i].word.load();
      if (RecordKindOf(seen) == RecordKind::kClaimed && is_dead(RecordOwner(seen))) {
        Settle(i, seen);
        seen = records_[i].word.load();
      }
      if (RecordKindOf(seen) != RecordKind::kFree) continue;
      const uint64_t claimed = PackRecord(RecordGeneration(seen), me, RecordKind::kClaimed);
      if (!records_[i].word.compare_exchange_strong(seen, claimed)) continue;
      *record = i;
      *word = claimed;
      return true;
    }
    return false;
  }

  Status ClaimVoidHistogram(const CounterBlock& block, uint32_t metric,
                            HistogramWriter* out) noexcept;
  // kCountersFull where somebody was quicker.
  Status TakeHistogram(const CounterBlock& block, uint32_t metric, uint32_t slot, uint64_t key,
                       HistogramWriter* out) noexcept;
  bool IsVoid(uint64_t key) const noexcept;
  Word* HistogramWords(uint32_t slot) const noexcept;

  Region region_;
  bool writable_ = false;
  uint32_t blocks_ = 0;
  uint32_t histograms_ = 0;
  Word* log_ = nullptr;
  SchemaRecord* records_ = nullptr;
  Block* blocks_base_ = nullptr;
  Word* keys_ = nullptr;
  uint8_t* histograms_base_ = nullptr;
};

}  // namespace cfc
