#include "metrics.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "copy.h"

namespace cfc {
namespace {

// What a file says about itself, in FileHeader::geometry.
enum Geometry : uint32_t {
  kGeometryBlocks = 0,
  kGeometryHistograms = 1,
  kGeometryBlockValues = 2,  // from here on the same in every file of one build
  kGeometryRecords = 3,
  kGeometryPredefined = 4,
  kGeometryBlockBytes = 5,
  kGeometryHistogramBytes = 6,
  kGeometryFirstCode = 7,
};
struct GeometryWord {
  Geometry at;
  uint64_t value;
};
constexpr GeometryWord kFixedGeometry[] = {
    {kGeometryBlockValues, kBlockValues},       {kGeometryRecords, kSchemaRecords},
    {kGeometryPredefined, kPredefined},         {kGeometryBlockBytes, sizeof(Block)},
    {kGeometryHistogramBytes, kHistogramBytes}, {kGeometryFirstCode, HistogramShape::kFirstCode},
};

// How often a reader looks again at a block that is taken over under its eyes.
constexpr int kReadAttempts = 16;

constexpr bool IsAlphanumeric(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

constexpr bool AreValidPredefined() noexcept {
  for (const PredefinedMetric& metric : kPredefinedMetrics) {
    if (metric.name.empty() || metric.name.size() > kMaxNameBytes) return false;
    if (metric.unit.size() > kMaxUnitBytes) return false;
  }
  return true;
}
static_assert(AreValidPredefined());

uint64_t PackInfo(std::string_view name, std::string_view unit, MetricKind kind) noexcept {
  return uint64_t{name.size()} << 16 | uint64_t{unit.size()} << 8 | static_cast<uint64_t>(kind);
}

void WriteRecord(SchemaRecord& record, std::string_view name, std::string_view unit,
                 MetricKind kind) noexcept {
  CopyIn(record.name, name.data(), name.size());
  CopyIn(record.unit, unit.data(), unit.size());
  record.lengths.store(PackInfo(name, unit, kind));
}

// The bounds of everything come from the arguments, which the caller has checked.
void FillIn(uint8_t* base, const MetricsOffsets& at) noexcept {
  auto* log = reinterpret_cast<NativeMemory::Word*>(base + at.log);
  auto* records = reinterpret_cast<SchemaRecord*>(base + at.records);
  for (uint32_t i = 0; i < kSchemaRecords; ++i) {
    const bool predefined = i < kPredefined;
    records[i].word.store(PackRecord(1, 0, predefined ? RecordKind::kLive : RecordKind::kFree));
    if (!predefined) continue;
    const PredefinedMetric& metric = kPredefinedMetrics[i];
    WriteRecord(records[i], metric.name, metric.unit, metric.kind);
    log[i].store(PackLog(1, i));
  }
}

}  // namespace

bool IsValidMetricName(std::string_view name) noexcept {
  if (name.empty() || name.size() > kMaxNameBytes || !IsAlphanumeric(name[0])) return false;
  for (const char c : name) {
    if (!IsAlphanumeric(c) && c != '_' && c != '.' && c != '-') return false;
  }
  return true;
}

bool IsValidUnit(std::string_view unit) noexcept {
  if (unit.size() > kMaxUnitBytes) return false;
  for (const char c : unit) {
    if (!IsAlphanumeric(c) && c != '_' && c != '.' && c != '%' && c != '/' && c != '-') {
      return false;
    }
  }
  return true;
}

uint64_t Metrics::FileBytes(uint32_t blocks, uint32_t histograms) noexcept {
  if (blocks > kMaxMetricBlocks || histograms > kMaxHistograms) return 0;
  return MetricsOffsets::Of(blocks, histograms).end;
}

Status Metrics::Create(const Directory& directory, const uint8_t uuid[16], uint32_t blocks,
                       uint32_t histograms, Failure* failure) noexcept {
  const uint64_t bytes = FileBytes(blocks, histograms);
  if (bytes == 0) return Status::kInvalid;
  FileHeader header = {};
  header.kind = static_cast<uint32_t>(FileKind::kMetrics);
  std::memcpy(header.fabric_uuid, uuid, sizeof header.fabric_uuid);
  header.geometry[kGeometryBlocks] = blocks;
  header.geometry[kGeometryHistograms] = histograms;
  for (const GeometryWord& word : kFixedGeometry) header.geometry[word.at] = word.value;
  const MetricsOffsets at = MetricsOffsets::Of(blocks, histograms);
  Region region;
  return Region::Create(
      directory, kFileName, header, bytes, [&](uint8_t* base) { FillIn(base, at); }, &region,
      failure);
}

Status Metrics::Attach(const Directory& directory, const uint8_t uuid[16], bool writable,
                       Failure* failure) noexcept {
  Region region;
  const Status status =
      Region::Attach(directory, kFileName, FileKind::kMetrics, uuid, writable, &region, failure);
  if (status != Status::kOk) return status;
  const uint64_t* geometry = region.header().geometry;
  const auto refuse = [&](Status reason, const char* detail) {
    errno = 0;
    return Fail(failure, reason, "", directory.path() + "/" + kFileName, detail);
  };
  for (const GeometryWord& word : kFixedGeometry) {
    if (geometry[word.at] != word.value) {
      return refuse(Status::kLayout, "its metrics are laid out differently");
    }
  }
  const uint64_t blocks = geometry[kGeometryBlocks];
  const uint64_t histograms = geometry[kGeometryHistograms];
  if (blocks > kMaxMetricBlocks || histograms > kMaxHistograms ||
      region.bytes() !=
          FileBytes(static_cast<uint32_t>(blocks), static_cast<uint32_t>(histograms))) {
    return refuse(Status::kCorrupt, "its size is not what its header says");
  }
  region_ = std::move(region);
  writable_ = writable;
  blocks_ = static_cast<uint32_t>(blocks);
  histograms_ = static_cast<uint32_t>(histograms);
  const MetricsOffsets at = MetricsOffsets::Of(blocks_, histograms_);
  log_ = reinterpret_cast<Word*>(region_.base() + at.log);
  records_ = reinterpret_cast<SchemaRecord*>(region_.base() + at.records);
  blocks_base_ = reinterpret_cast<Block*>(region_.base() + at.blocks);
  keys_ = reinterpret_cast<Word*>(region_.base() + at.keys);
  histograms_base_ = region_.base() + at.histograms;
  return Status::kOk;
}

// ---- schema

Status Metrics::CheckNew(std::string_view name, std::string_view unit,
                         MetricKind kind) const noexcept {
  if (!attached() || !IsValidMetricName(name) || !IsValidUnit(unit) ||
      static_cast<uint8_t>(kind) >= kMetricKinds) {
    return Status::kInvalid;
  }
  return Status::kOk;
}

uint32_t Metrics::Count() const noexcept {
  uint32_t count = 0;
  while (attached() && count < kBlockValues && log_[count].load() != 0) ++count;
  return count;
}

bool Metrics::Describe(uint32_t index, MetricInfo* info) const noexcept {
  if (!attached() || index >= kBlockValues) return false;
  const uint64_t entry = log_[index].load();
  if (entry == 0 || LogRecord(entry) >= kSchemaRecords) return false;
  const SchemaRecord& record = records_[LogRecord(entry)];
  const uint64_t lengths = record.lengths.load();
  const auto name_bytes = static_cast<uint32_t>(lengths >> 16 & 0xff);
  const auto unit_bytes = static_cast<uint32_t>(lengths >> 8 & 0xff);
  const auto kind = static_cast<uint32_t>(lengths & 0xff);
  if (name_bytes > kMaxNameBytes || unit_bytes > kMaxUnitBytes || kind >= kMetricKinds) {
    return false;
  }
  *info = MetricInfo();
  CopyOut(info->name, record.name, name_bytes);
  CopyOut(info->unit, record.unit, unit_bytes);
  info->kind = static_cast<MetricKind>(kind);
  const uint64_t word = record.word.load();
  return RecordGeneration(word) == LogGeneration(entry) &&
         RecordKindOf(word) != RecordKind::kFree && IsValidMetricName({info->name, name_bytes}) &&
         IsValidUnit({info->unit, unit_bytes});
}

Status Metrics::Find(std::string_view name, MetricKind kind, uint32_t* index) const noexcept {
  MetricInfo info;
  for (uint32_t i = 0; i < kBlockValues && log_[i].load() != 0; ++i) {
    if (!Describe(i, &info) || name != info.name) continue;
    if (info.kind != kind) return Status::kInvalid;
    *index = i;
    return Status::kOk;
  }
  return Status::kEmpty;
}

bool Metrics::InLog(uint32_t record, uint64_t word) const noexcept {
  const uint64_t entry = PackLog(RecordGeneration(word), record);
  for (uint32_t i = 0; i < kBlockValues; ++i) {
    if (log_[i].load() == entry) return true;
  }
  return false;
}

bool Metrics::Settle(uint32_t record, uint64_t word) noexcept {
  const uint32_t generation = RecordGeneration(word);
  const uint64_t settled = InLog(record, word) ? PackRecord(generation, 0, RecordKind::kLive)
                                               : PackRecord(generation + 1, 0, RecordKind::kFree);
  return records_[record].word.compare_exchange_strong(word, settled);
}

// The record is mine: nobody else writes to it, and nobody reads it before it is in the log.
Status Metrics::Append(uint32_t record, uint64_t word, std::string_view name, std::string_view unit,
                       MetricKind kind, uint32_t* index) noexcept {
  WriteRecord(records_[record], name, unit, kind);
  CFC_FAIL_POINT("metrics.written");
  const uint64_t mine = PackLog(RecordGeneration(word), record);
  Status status = Status::kCountersFull;
  MetricInfo info;
  for (uint32_t i = 0; i < kBlockValues; ++i) {
    uint64_t entry = log_[i].load();
    if (entry == 0 && log_[i].compare_exchange_strong(entry, mine)) {
      CFC_FAIL_POINT("metrics.appended");
      *index = i;
      status = Status::kOk;
      break;
    }
    if (!Describe(i, &info) || name != info.name) continue;
    *index = i;
    status = info.kind == kind ? Status::kOk : Status::kInvalid;
    break;
  }
  Settle(record, word);
  return status;
}

uint32_t Metrics::RepairOwner(Owner owner) noexcept {
  uint32_t settled = 0;
  for (uint32_t i = 0; writable_ && i < kSchemaRecords; ++i) {
    const uint64_t word = records_[i].word.load();
    if (RecordKindOf(word) != RecordKind::kClaimed || RecordOwner(word) != owner) continue;
    if (Settle(i, word)) ++settled;
  }
  return settled;
}

// ---- blocks

// Gauges are zeroed and bases noted by release, so whoever reads one of them (or anything later)
// also sees that the generation is odd (or has moved on). The load at the end is not idle: on ARM a
// sequentially consistent load waits for the stores of its kind before it, and plain stores of
// JavaScript wait for the load.
Status Metrics::TakeBlock(uint32_t index, uint64_t uid, CounterBlock* out) noexcept {
  if (!writable_ || index >= blocks_) return Status::kInvalid;
  Block& block = blocks_base_[index];
  uint64_t seen = block.generation.load();
  uint64_t odd = seen + ((seen & 1) != 0 ? 2 : 1);
  if (!block.generation.compare_exchange_strong(seen, odd)) return Status::kBusy;
  CFC_FAIL_POINT("metrics.block");
  block.uid.store(uid, std::memory_order_release);
  for (uint32_t i = 0; i < kBlockValues; ++i) {
    const uint64_t stands_at = block.values[i].load(std::memory_order_relaxed);
    MetricInfo info;
    // What is not in the schema yet was counted by nobody.
    const bool counter =
        stands_at != 0 &&
        (i < kPredefined || (Describe(i, &info) && info.kind == MetricKind::kCounter));
    const bool kept = counter && i < kKeptValues;
    if (!kept) block.values[i].store(0, std::memory_order_release);
    if (i < kKeptValues) block.base[i].store(kept ? stands_at : 0, std::memory_order_release);
  }
  const uint64_t even = odd + 1;
  if (!block.generation.compare_exchange_strong(odd, even)) return Status::kBusy;
  if (block.generation.load() != even) return Status::kBusy;
  out->block_ = &block;
  out->generation_ = even;
  out->index_ = index;
  return Status::kOk;
}

Status Metrics::ShareBlock(uint32_t index, CounterBlock* out) noexcept {
  if (!writable_ || index >= blocks_) return Status::kInvalid;
  Block& block = blocks_base_[index];
  const uint64_t generation = block.generation.load();
  if (generation == 0 || (generation & 1) != 0) return Status::kBusy;
  out->block_ = &block;
  out->generation_ = generation;
  out->index_ = index;
  out->shared_ = true;
  return Status::kOk;
}

bool Metrics::ReadBlock(uint32_t index, double out[kBlockValues], uint64_t* uid) const noexcept {
  Reading reading;
  if (!ReadBlock(index, &reading)) return false;
  *uid = reading.uid;
  for (uint32_t i = 0; i < kBlockValues; ++i) out[i] = reading.total[i] - reading.base[i];
  return true;
}

bool Metrics::ReadBlock(uint32_t index, Reading* out, uint32_t count) const noexcept {
  count = std::min(count, kBlockValues);
  if (index >= blocks_) return false;
  const Block& block = blocks_base_[index];
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    const uint64_t generation = block.generation.load(std::memory_order_acquire);
    if (generation == 0) return false;
    if ((generation & 1) != 0) continue;
    out->generation = generation;
    out->uid = block.uid.load(std::memory_order_acquire);
    for (uint32_t i = 0; i < count; ++i) {
      out->total[i] = std::bit_cast<double>(block.values[i].load(std::memory_order_acquire));
      out->base[i] = i < kKeptValues
                         ? std::bit_cast<double>(block.base[i].load(std::memory_order_acquire))
                         : 0;
    }
    if (block.generation.load(std::memory_order_acquire) == generation) return true;
  }
  return false;
}

bool Metrics::ReadValues(uint32_t index, uint32_t count, double* out) const noexcept {
  count = std::min(count, kBlockValues);
  for (int attempt = 0; index < blocks_ && attempt < kReadAttempts; ++attempt) {
    const Block& block = blocks_base_[index];
    const uint64_t generation = block.generation.load(std::memory_order_acquire);
    if (generation == 0) break;
    if ((generation & 1) != 0) continue;
    for (uint32_t i = 0; i < count; ++i) {
      out[i] = std::bit_cast<double>(block.values[i].load(std::memory_order_acquire));
      if (i >= kKeptValues) continue;
      out[i] -= std::bit_cast<double>(block.base[i].load(std::memory_order_acquire));
    }
    if (block.generation.load(std::memory_order_acquire) == generation) return true;
  }
  std::fill(out, out + count, 0);
  return false;
}

// ---- histograms

NativeMemory::Word* Metrics::HistogramWords(uint32_t slot) const noexcept {
  return reinterpret_cast<Word*>(histograms_base_ + uint64_t{slot} * kHistogramBytes);
}

bool Metrics::IsVoid(uint64_t key) const noexcept {
  if (KeyKindOf(key) == KeyKind::kFree || KeyBlock(key) >= blocks_) return true;
  return static_cast<uint32_t>(blocks_base_[KeyBlock(key)].generation.load()) != KeyGeneration(key);
}

Status Metrics::TakeHistogram(const CounterBlock& block, uint32_t metric, uint32_t slot,
                              uint64_t key, HistogramWriter* out) noexcept {
  uint64_t claimed = PackKey(block.generation_, block.index_, metric, KeyKind::kClaimed);
  const uint64_t live = PackKey(block.generation_, block.index_, metric, KeyKind::kLive);
  if (!keys_[slot].compare_exchange_strong(key, claimed)) return Status::kCountersFull;
  CFC_FAIL_POINT("metrics.histogram");
  HistogramOver<SharedWords>(SharedWords(HistogramWords(slot))).Reset();
  if (!keys_[slot].compare_exchange_strong(claimed, live)) return Status::kCountersFull;
  if (keys_[slot].load() != live) return Status::kCountersFull;  // see TakeBlock
  out->key_ = &keys_[slot];
  out->words_ = HistogramWords(slot);
  out->expected_ = live;
  return Status::kOk;
}

Status Metrics::ClaimVoidHistogram(const CounterBlock& block, uint32_t metric,
                                   HistogramWriter* out) noexcept {
  MetricInfo info;
  if (!writable_ || !block.Mine() || block.index_ >= blocks_ || !Describe(metric, &info) ||
      info.kind != MetricKind::kHistogram) {
    return Status::kInvalid;
  }
  const uint64_t live = PackKey(block.generation_, block.index_, metric, KeyKind::kLive);
  const uint64_t claimed = PackKey(block.generation_, block.index_, metric, KeyKind::kClaimed);
  for (uint32_t i = 0; i < histograms_; ++i) {
    const uint64_t key = keys_[i].load();
    if (key == claimed) return TakeHistogram(block, metric, i, key, out);
    if (key != live) continue;
    out->key_ = &keys_[i];
    out->words_ = HistogramWords(i);
    out->expected_ = live;
    return Status::kOk;
  }
  // Neighbours ask for neighbouring ones, so that they seldom meet. Never used ones first, so that
  // what the dead have recorded can be read for as long as there is room.
  for (uint32_t n = 0; n < 2 * histograms_; ++n) {
    const uint32_t slot = (block.index_ + n) % histograms_;
    const uint64_t key = keys_[slot].load();
    if (n < histograms_ ? KeyKindOf(key) != KeyKind::kFree : !IsVoid(key)) continue;
    const Status status = TakeHistogram(block, metric, slot, key, out);
    if (status != Status::kCountersFull) return status;
  }
  return Status::kCountersFull;
}

bool Metrics::ReadPlace(uint32_t place, HistogramKey* key, Histogram* out) const noexcept {
  if (place >= histograms_) return false;
  const uint64_t word = keys_[place].load();
  if (KeyKindOf(word) != KeyKind::kLive || KeyBlock(word) >= blocks_) return false;
  key->word = word;
  key->block = KeyBlock(word);
  key->metric = KeyMetric(word);
  const Block& block = blocks_base_[key->block];
  key->uid = block.uid.load();
  if (static_cast<uint32_t>(block.generation.load()) != KeyGeneration(word)) key->uid = 0;
  out->Reset();
  out->Merge(HistogramOver<SharedWords>(SharedWords(HistogramWords(place))));
  return keys_[place].load() == word;
}

bool Metrics::ReadHistogram(uint32_t block, uint32_t metric, Histogram* out) const noexcept {
  if (block >= blocks_ || metric >= kBlockValues) return false;
  const uint64_t generation = blocks_base_[block].generation.load();
  const uint64_t live = PackKey(generation, block, metric, KeyKind::kLive);
  for (uint32_t i = 0; i < histograms_; ++i) {
    if (keys_[i].load() != live) continue;
    out->Reset();
    out->Merge(HistogramOver<SharedWords>(SharedWords(HistogramWords(i))));
    return keys_[i].load() == live;
  }
  return false;
}

MetricsCensus Metrics::Census() const noexcept {
  MetricsCensus census;
  if (!attached()) return census;
  census.metrics = Count();
  for (uint32_t i = 0; i < kSchemaRecords; ++i) {
    const RecordKind kind = RecordKindOf(records_[i].word.load());
    if (kind == RecordKind::kClaimed) ++census.records_claimed;
    if (kind == RecordKind::kLive) ++census.records_live;
  }
  for (uint32_t i = 0; i < blocks_; ++i) {
    const uint64_t generation = blocks_base_[i].generation.load();
    if ((generation & 1) != 0) {
      ++census.blocks_odd;
    } else if (generation != 0) {
      ++census.blocks_used;
    }
  }
  for (uint32_t i = 0; i < histograms_; ++i) {
    const uint64_t key = keys_[i].load();
    if (KeyKindOf(key) == KeyKind::kFree) continue;
    ++(IsVoid(key) ? census.histograms_void : census.histograms_live);
  }
  return census;
}

}  // namespace cfc
