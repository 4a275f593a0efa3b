#include "core/metrics.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace cfc {
namespace {

using Word = NativeMemory::Word;

constexpr uint8_t kUuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr uint32_t kBlocks = 6;
constexpr uint32_t kPool = 4;
constexpr Owner kMe = MakeOwner(7, 1);
constexpr Owner kOther = MakeOwner(8, 1);

const auto kNobodyDead = [](Owner) { return false; };
const auto kNobodyGone = [](uint32_t, uint64_t) { return false; };

// A directory with a metrics file in it, both gone at the end.
class TestFile {
 public:
  explicit TestFile(uint32_t blocks = kBlocks, uint32_t histograms = kPool) {
    static std::atomic<int> serial{0};
    path_ = "/dev/shm/cfc-test-" + std::to_string(getpid()) + "-metrics-" +
            std::to_string(serial.fetch_add(1));
    REQUIRE(mkdir(path_.c_str(), 0700) == 0);
    REQUIRE(Directory::Open(path_, false, &directory_, nullptr) == Status::kOk);
    REQUIRE(Metrics::Create(directory_, kUuid, blocks, histograms, nullptr) == Status::kOk);
    REQUIRE(metrics_.Attach(directory_, kUuid, /*writable=*/true, nullptr) == Status::kOk);
  }
  ~TestFile() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const Directory& directory() const { return directory_; }
  std::string file() const { return path_ + "/" + Metrics::kFileName; }
  Metrics& metrics() { return metrics_; }
  Metrics* operator->() { return &metrics_; }

  MetricsOffsets offsets() const {
    return MetricsOffsets::Of(metrics_.blocks(), metrics_.histograms());
  }
  Word* words(uint64_t offset) {
    return reinterpret_cast<Word*>(metrics_.region().base() + offset);
  }
  SchemaRecord* records() {
    return reinterpret_cast<SchemaRecord*>(metrics_.region().base() + offsets().records);
  }

 private:
  std::string path_;
  Directory directory_;
  Metrics metrics_;
};

uint32_t MustRegister(Metrics& metrics, const std::string& name,
                      MetricKind kind = MetricKind::kCounter, Owner me = kMe) {
  uint32_t index = kBlockValues;
  REQUIRE(metrics.Register(me, name, "things", kind, kNobodyDead, &index) == Status::kOk);
  return index;
}

// Every name of the schema once, and every entry legible.
void CheckSchema(const Metrics& metrics) {
  std::set<std::string> names;
  for (uint32_t i = 0; i < metrics.Count(); ++i) {
    MetricInfo info;
    REQUIRE(metrics.Describe(i, &info));
    CHECK(names.insert(info.name).second);
  }
}

}  // namespace

TEST_CASE("Metrics: a new file has the predefined metrics at their indexes") {
  TestFile file;
  CHECK(file->Count() == kPredefined);
  for (uint32_t i = 0; i < kPredefined; ++i) {
    MetricInfo info;
    REQUIRE(file->Describe(i, &info));
    CHECK(kPredefinedMetrics[i].name == info.name);
    CHECK(kPredefinedMetrics[i].unit == info.unit);
    CHECK(kPredefinedMetrics[i].kind == info.kind);
    CHECK(IsValidMetricName(kPredefinedMetrics[i].name));
    CHECK(IsValidUnit(kPredefinedMetrics[i].unit));
  }
  CHECK(kPredefinedMetrics[static_cast<uint32_t>(Metric::kSendWaitNs)].name == "send.wait_time");
  MetricInfo info;
  CHECK_FALSE(file->Describe(kPredefined, &info));
  CHECK_FALSE(file->Describe(kBlockValues, &info));
  CheckSchema(file.metrics());
}

TEST_CASE("Metrics: the file has the size that was announced, and is made once") {
  TestFile file;
  CHECK(std::filesystem::file_size(file.file()) == Metrics::FileBytes(kBlocks, kPool));
  CHECK(Metrics::Create(file.directory(), kUuid, kBlocks, kPool, nullptr) == Status::kExists);
  CHECK(Metrics::FileBytes(kMaxMetricBlocks + 1, 0) == 0);
  CHECK(Metrics::FileBytes(0, kMaxHistograms + 1) == 0);
  CHECK(Metrics::Create(file.directory(), kUuid, ~0u, kPool, nullptr) == Status::kInvalid);
}

TEST_CASE("Metrics: a file of another fabric, or of a wrong shape, is refused") {
  TestFile file;
  uint8_t uuid[16] = {};
  Metrics other;
  CHECK(other.Attach(file.directory(), uuid, true, nullptr) != Status::kOk);
  CHECK_FALSE(other.attached());

  // A valid header over a geometry that doesn't match the size.
  const auto publish = [&](uint64_t blocks, uint64_t values) {
    std::filesystem::remove(file.file());
    FileHeader header = {};
    header.kind = static_cast<uint32_t>(FileKind::kMetrics);
    std::memcpy(header.fabric_uuid, kUuid, sizeof kUuid);
    std::memcpy(header.geometry, file->region().header().geometry, sizeof header.geometry);
    header.geometry[0] = blocks;
    header.geometry[2] = values;
    Region region;
    REQUIRE(Region::Create(
                file.directory(), Metrics::kFileName, header, Metrics::FileBytes(kBlocks, kPool),
                [](uint8_t*) {}, &region, nullptr) == Status::kOk);
  };
  Failure failure;
  for (const uint64_t blocks : {uint64_t{0}, uint64_t{500}, uint64_t{kMaxMetricBlocks} + 1,
                                uint64_t{1} << 32 | kBlocks, ~uint64_t{0}}) {
    publish(blocks, kBlockValues);
    CHECK(other.Attach(file.directory(), kUuid, true, &failure) == Status::kCorrupt);
  }
  CHECK(failure.detail[0] != 0);
  publish(kBlocks, kBlockValues + 1);
  CHECK(other.Attach(file.directory(), kUuid, true, nullptr) == Status::kLayout);
  publish(kBlocks, kBlockValues);
  CHECK(other.Attach(file.directory(), kUuid, true, nullptr) == Status::kOk);
}

TEST_CASE("Metrics: an observer reads through a read-only mapping and cannot write") {
  TestFile file;
  CounterBlock block;
  REQUIRE(file->TakeBlock(2, 77, &block) == Status::kOk);
  block.Add(Metric::kMessagesSent, 3);
  const uint32_t task = MustRegister(file.metrics(), "task.ms", MetricKind::kHistogram);
  HistogramWriter writer;
  REQUIRE(file->ClaimHistogram(block, task, kNobodyGone, &writer) == Status::kOk);
  writer.Record(12);

  Metrics observer;
  REQUIRE(observer.Attach(file.directory(), kUuid, /*writable=*/false, nullptr) == Status::kOk);
  double values[kBlockValues];
  uint64_t uid = 0;
  REQUIRE(observer.ReadBlock(2, values, &uid));
  CHECK(uid == 77);
  CHECK(values[static_cast<uint32_t>(Metric::kMessagesSent)] == 3);
  Histogram histogram;
  REQUIRE(observer.ReadHistogram(2, task, &histogram));
  CHECK(histogram.Count() == 1);
  uint32_t index = 0;
  CHECK(observer.Register(kMe, "task.ms", "", MetricKind::kHistogram, kNobodyDead, &index) ==
        Status::kOk);
  CHECK(index == task);
  CHECK(observer.Register(kMe, "new", "", MetricKind::kCounter, kNobodyDead, &index) ==
        Status::kInvalid);
  CHECK(observer.TakeBlock(1, 5, &block) == Status::kInvalid);
  CHECK(observer.RepairOwner(kMe) == 0);
}

TEST_CASE("Metrics: without a file everything answers no") {
  Metrics metrics;
  CounterBlock block;
  HistogramWriter writer;
  Histogram histogram;
  MetricInfo info;
  double values[kBlockValues];
  uint64_t uid;
  uint32_t index;
  CHECK(metrics.Count() == 0);
  CHECK_FALSE(metrics.Describe(0, &info));
  CHECK(metrics.Register(kMe, "a", "", MetricKind::kCounter, kNobodyDead, &index) ==
        Status::kInvalid);
  CHECK(metrics.TakeBlock(0, 1, &block) == Status::kInvalid);
  CHECK_FALSE(metrics.ReadBlock(0, values, &uid));
  CHECK(metrics.ClaimHistogram(block, 0, kNobodyGone, &writer) == Status::kInvalid);
  CHECK_FALSE(metrics.ReadHistogram(0, 0, &histogram));
  CHECK(metrics.Census().metrics == 0);
}

TEST_CASE("Metrics.Register: gives the same index for the same name") {
  TestFile file;
  const uint32_t first = MustRegister(file.metrics(), "files.read");
  const uint32_t second = MustRegister(file.metrics(), "files.written");
  CHECK(first == kPredefined);
  CHECK(second == kPredefined + 1);
  CHECK(MustRegister(file.metrics(), "files.read", MetricKind::kCounter, kOther) == first);
  uint32_t index = kBlockValues;
  CHECK(file->Register(kMe, "messages.sent", "", MetricKind::kCounter, kNobodyDead, &index) ==
        Status::kOk);
  CHECK(index == static_cast<uint32_t>(Metric::kMessagesSent));
  MetricInfo info;
  REQUIRE(file->Describe(first, &info));
  CHECK(std::string(info.unit) == "things");
  CHECK(file->Census().records_claimed == 0);
}

TEST_CASE("Metrics.Register: refuses bad names, bad units and another kind") {
  TestFile file;
  uint32_t index = 0;
  const auto status = [&](const std::string& name, const std::string& unit, MetricKind kind) {
    return file->Register(kMe, name, unit, kind, kNobodyDead, &index);
  };
  for (const char* name : {"", ".a", "-a", "_a", "a b", "a/b", "a\n", "caf\xc3\xa9"}) {
    CHECK(status(name, "", MetricKind::kCounter) == Status::kInvalid);
  }
  CHECK(status(std::string("a\0b", 3), "", MetricKind::kCounter) == Status::kInvalid);
  CHECK(status(std::string(65, 'a'), "", MetricKind::kCounter) == Status::kInvalid);
  CHECK(status("a", std::string(17, 'u'), MetricKind::kCounter) == Status::kInvalid);
  CHECK(status("a", "two words", MetricKind::kCounter) == Status::kInvalid);
  CHECK(status("a", "", static_cast<MetricKind>(3)) == Status::kInvalid);
  CHECK(file->Count() == kPredefined);

  const std::string longest(64, 'a');
  CHECK(status(longest, std::string(16, 'u'), MetricKind::kGauge) == Status::kOk);
  MetricInfo info;
  REQUIRE(file->Describe(index, &info));
  CHECK(info.name == longest);
  CHECK(info.unit == std::string(16, 'u'));
  CHECK(status(longest, "", MetricKind::kCounter) == Status::kInvalid);
  CHECK(status("Z.b-c_9", "a.b/c-d_%9", MetricKind::kGauge) == Status::kOk);
}

TEST_CASE("Metrics: of blocks that do not exist, or were never taken, there is nothing to have") {
  TestFile file;
  const uint32_t beyond = file->blocks();
  CounterBlock block;
  CHECK(file->TakeBlock(beyond, 1, &block) == Status::kInvalid);
  CHECK(file->ShareBlock(beyond, &block) == Status::kInvalid);
  CHECK(file->ShareBlock(0, &block) == Status::kBusy);
  Histogram histogram;
  CHECK_FALSE(file->ReadHistogram(beyond, 0, &histogram));
  CHECK_FALSE(file->ReadHistogram(0, kBlockValues, &histogram));
  Metrics nothing;
  CHECK(nothing.ShareBlock(0, &block) == Status::kInvalid);
}

TEST_CASE("Metrics.Register: says kCountersFull when the table is full, and still finds names") {
  TestFile file;
  for (uint32_t i = kPredefined; i < kBlockValues; ++i) {
    CHECK(MustRegister(file.metrics(), "metric." + std::to_string(i)) == i);
  }
  uint32_t index = 0;
  CHECK(file->Register(kMe, "one.more", "", MetricKind::kCounter, kNobodyDead, &index) ==
        Status::kCountersFull);
  CHECK(MustRegister(file.metrics(), "metric.100") == 100);
  CHECK(file->Count() == kBlockValues);
  CHECK(file->Census().records_claimed == 0);
  CHECK(file->Census().records_live == kBlockValues);
}

TEST_CASE("Metrics.Register: eight threads at once give each name one index") {
  constexpr uint32_t kThreads = 8;
  constexpr uint32_t kNames = kBlockValues - kPredefined;
  for (int round = 0; round < 20; ++round) {
    TestFile file;
    std::atomic<uint32_t> ready{0};
    std::vector<std::vector<uint32_t>> indexes(kThreads, std::vector<uint32_t>(kNames));
    std::atomic<uint32_t> failures{0};
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Metrics metrics;  // a mapping of its own, as another process has
        if (metrics.Attach(file.directory(), kUuid, true, nullptr) != Status::kOk) ++failures;
        ready.fetch_add(1);
        while (ready.load() < kThreads) std::this_thread::yield();
        for (uint32_t n = 0; n < kNames; ++n) {
          // All begin with the same names; half of them go the other way round.
          const uint32_t name = t % 2 == 0 ? n : kNames - 1 - n;
          if (metrics.Register(MakeOwner(t + 1, 1), "name." + std::to_string(name), "x",
                               MetricKind::kCounter, kNobodyDead,
                               &indexes[t][name]) != Status::kOk) {
            ++failures;
          }
        }
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(failures.load() == 0);
    for (uint32_t t = 1; t < kThreads; ++t) CHECK(indexes[t] == indexes[0]);
    CHECK(std::set<uint32_t>(indexes[0].begin(), indexes[0].end()).size() == kNames);
    CHECK(file->Count() == kBlockValues);
    CheckSchema(file.metrics());
    CHECK(file->Census().records_claimed == 0);
    CHECK(file->Census().records_live == kBlockValues);
  }
}

TEST_CASE("Metrics.Register: stalled claimants are in nobody's way") {
  TestFile file;
  uint32_t claimed = 0;
  for (uint32_t i = kPredefined; i < kSchemaRecords && claimed < 100; ++i, ++claimed) {
    file.records()[i].word.store(PackRecord(1, kOther, RecordKind::kClaimed));
  }
  for (uint32_t i = kPredefined; i < kBlockValues; ++i) {
    CHECK(MustRegister(file.metrics(), "metric." + std::to_string(i)) == i);
  }
  CHECK(file->Census().records_claimed == claimed);
}

TEST_CASE("Metrics.Register: records of the dead are used again, those of the living are not") {
  TestFile file;
  for (uint32_t i = kPredefined; i < kSchemaRecords; ++i) {
    file.records()[i].word.store(PackRecord(1, kOther, RecordKind::kClaimed));
  }
  uint32_t index = kBlockValues;
  CHECK(file->Register(kMe, "new", "", MetricKind::kCounter, kNobodyDead, &index) == Status::kBusy);
  const auto is_dead = [](Owner owner) { return owner == kOther; };
  CHECK(file->Register(kMe, "new", "", MetricKind::kCounter, is_dead, &index) == Status::kOk);
  CHECK(index == kPredefined);
  CHECK(file->RepairOwner(kOther) > 0);
  CHECK(file->RepairOwner(kOther) == 0);
  CHECK(file->Census().records_claimed == 0);
  CHECK(MustRegister(file.metrics(), "newer") == kPredefined + 1);
  CheckSchema(file.metrics());
}

TEST_CASE("Metrics.Register: who died after the append keeps its metric") {
  TestFile file;
  const uint32_t index = MustRegister(file.metrics(), "of.the.dead", MetricKind::kCounter, kOther);
  const auto record = static_cast<uint32_t>(file.words(file.offsets().log)[index].load()) - 1;
  const uint64_t live = file.records()[record].word.load();
  file.records()[record].word.store(PackRecord(1, kOther, RecordKind::kClaimed));
  CHECK(MustRegister(file.metrics(), "of.the.dead") == index);
  CHECK(file->RepairOwner(kOther) == 1);
  CHECK(file.records()[record].word.load() == live);
  CHECK(MustRegister(file.metrics(), "of.the.dead") == index);
}

#ifdef CFC_FAIL_POINTS
TEST_CASE("Metrics: killed at any of its fail points, the next one goes on") {
  for (const char* point : {"metrics.claimed", "metrics.written", "metrics.appended",
                            "metrics.block", "metrics.histogram"}) {
    CAPTURE(point);
    TestFile file;
    const uint32_t task = MustRegister(file.metrics(), "task.ms", MetricKind::kHistogram);
    const pid_t child = fork();
    if (child == 0) {
      TheFailPlan().Set(point);
      uint32_t index;
      CounterBlock block;
      HistogramWriter writer;
      file->Register(kOther, "new", "", MetricKind::kCounter, kNobodyDead, &index);
      file->TakeBlock(1, 5, &block);
      file->ClaimHistogram(block, task, kNobodyGone, &writer);
      _exit(0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));

    double values[kBlockValues];
    uint64_t uid = 0;
    Histogram histogram;
    if (std::string(point) == "metrics.block") CHECK_FALSE(file->ReadBlock(1, values, &uid));
    CHECK_FALSE(file->ReadHistogram(1, task, &histogram));

    const auto is_dead = [](Owner owner) { return owner == kOther; };
    uint32_t index = 0;
    CHECK(file->Register(kMe, "new", "", MetricKind::kCounter, is_dead, &index) == Status::kOk);
    CHECK(index == kPredefined + 1);
    CounterBlock block;
    REQUIRE(file->TakeBlock(1, 6, &block) == Status::kOk);
    block.Add(index, 2);
    REQUIRE(file->ReadBlock(1, values, &uid));
    CHECK(uid == 6);
    CHECK(values[index] == 2);
    for (uint32_t i = 0; i < kPool; ++i) {  // none of the pool is lost
      HistogramWriter writer;
      const uint32_t metric =
          MustRegister(file.metrics(), "h" + std::to_string(i), MetricKind::kHistogram);
      CHECK(file->ClaimHistogram(block, metric, kNobodyGone, &writer) == Status::kOk);
    }
    file->RepairOwner(kOther);
    CheckSchema(file.metrics());
    const MetricsCensus census = file->Census();
    CHECK(census.records_claimed == 0);
    CHECK(census.records_live == census.metrics);
    CHECK(census.blocks_odd == 0);
    CHECK(census.histograms_void == 0);
  }
}
#endif

TEST_CASE("CounterBlock: counts for its reader, and nothing where there is none") {
  TestFile file;
  double values[kBlockValues];
  uint64_t uid = 0;
  CHECK_FALSE(file->ReadBlock(3, values, &uid));
  CHECK_FALSE(file->ReadBlock(kBlocks, values, &uid));

  CounterBlock block;
  CHECK_FALSE(block.Mine());
  CHECK(block.data() == nullptr);
  block.Add(Metric::kMessagesSent);
  block.Set(Metric::kMessagesSent, 4);
  CHECK(block.Get(Metric::kMessagesSent) == 0);

  CHECK(file->TakeBlock(kBlocks, 9, &block) == Status::kInvalid);
  REQUIRE(file->TakeBlock(3, 9, &block) == Status::kOk);
  CHECK(block.Mine());
  block.Add(Metric::kMessagesSent);
  block.Add(Metric::kMessagesSent);
  block.Add(Metric::kBytesSent, 1e15);
  block.Set(kBlockValues - 1, -0.25);
  block.Add(kBlockValues, 1);
  block.Set(~0u, 1);
  CHECK(block.Get(kBlockValues) == 0);
  CHECK(block.Get(Metric::kMessagesSent) == 2);
  REQUIRE(file->ReadBlock(3, values, &uid));
  CHECK(uid == 9);
  CHECK(values[static_cast<uint32_t>(Metric::kMessagesSent)] == 2);
  CHECK(values[static_cast<uint32_t>(Metric::kBytesSent)] == 1e15);
  CHECK(values[kBlockValues - 1] == -0.25);
  CHECK(std::count(values, values + kBlockValues, 0.0) == kBlockValues - 3);
}

TEST_CASE("CounterBlock: begins at zero for its next owner, and the former one counts no more") {
  TestFile file;
  CounterBlock before;
  CounterBlock after;
  REQUIRE(file->TakeBlock(0, 1, &before) == Status::kOk);
  before.Add(Metric::kWakes, 5);
  REQUIRE(file->TakeBlock(0, 2, &after) == Status::kOk);
  CHECK_FALSE(before.Mine());
  before.Add(Metric::kWakes, 100);
  before.Set(Metric::kRings, 100);
  double values[kBlockValues];
  uint64_t uid = 0;
  REQUIRE(file->ReadBlock(0, values, &uid));
  CHECK(uid == 2);
  CHECK(std::count(values, values + kBlockValues, 0.0) == kBlockValues);
}

TEST_CASE("Metrics.ReadBlock: in all has what every owner counted, and each has its own") {
  TestFile file;
  const uint32_t mine = MustRegister(file.metrics(), "things");
  const uint32_t level = MustRegister(file.metrics(), "level", MetricKind::kGauge);
  CounterBlock block;
  Metrics::Reading reading;
  for (uint64_t uid = 1; uid <= 5; ++uid) {
    REQUIRE(file->TakeBlock(2, uid, &block) == Status::kOk);
    CHECK(block.Get(mine) == 0);
    CHECK(block.Get(level) == 0);
    block.Add(Metric::kMessagesSent, 10);
    block.Add(mine, 1);
    block.Set(level, 3);
    CHECK(block.Get(level) == 3);
    CHECK(block.Get(Metric::kMessagesSent) == 10);
    REQUIRE(file->ReadBlock(2, &reading));
    CHECK(reading.uid == uid);
    CHECK(reading.generation == block.generation());
    const auto sent = static_cast<uint32_t>(Metric::kMessagesSent);
    CHECK(reading.total[sent] == static_cast<double>(10 * uid));
    CHECK(reading.total[sent] - reading.base[sent] == 10);
    CHECK(reading.total[mine] == static_cast<double>(uid));
    CHECK(reading.total[level] == 3);
    CHECK(reading.base[level] == 0);
  }
}

TEST_CASE("Metrics.ReadPlace: has the histogram of one who is gone, until it is needed") {
  TestFile file;
  const uint32_t task = MustRegister(file.metrics(), "task.ms", MetricKind::kHistogram);
  CounterBlock block;
  REQUIRE(file->TakeBlock(1, 7, &block) == Status::kOk);
  HistogramWriter writer;
  REQUIRE(file->ClaimHistogram(block, task, kNobodyGone, &writer) == Status::kOk);
  writer.Record(5);
  const auto find = [&](Metrics::HistogramKey* key, Histogram* out) {
    for (uint32_t place = 0; place < kPool; ++place) {
      if (file->ReadPlace(place, key, out) && key->block == 1) return true;
    }
    return false;
  };
  Metrics::HistogramKey key;
  Histogram histogram;
  REQUIRE(find(&key, &histogram));
  CHECK(key.metric == task);
  CHECK(key.uid == 7);
  REQUIRE(file->TakeBlock(1, 8, &block) == Status::kOk);
  REQUIRE(file->ClaimHistogram(block, task, kNobodyGone, &writer) == Status::kOk);
  uint32_t of_nobody = 0;
  for (uint32_t place = 0; place < kPool; ++place) {
    if (!file->ReadPlace(place, &key, &histogram) || key.uid != 0) continue;
    ++of_nobody;
    CHECK(histogram.Count() == 1);
  }
  CHECK(of_nobody == 1);
  CHECK_FALSE(file->ReadPlace(kPool, &key, &histogram));
}

TEST_CASE("Metrics.ReadBlock: never mixes two owners") {
  TestFile file;
  constexpr uint64_t kOwners = 20'000;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t uid = 1; uid <= kOwners; ++uid) {
      CounterBlock block;
      if (file->TakeBlock(1, uid, &block) != Status::kOk) break;
      for (uint32_t i = 0; i < kBlockValues; ++i) block.Set(i, static_cast<double>(uid));
    }
    done.store(true);
  });
  Metrics observer;
  REQUIRE(observer.Attach(file.directory(), kUuid, false, nullptr) == Status::kOk);
  uint64_t mixed = 0;
  uint64_t backwards = 0;
  uint64_t last = 0;
  while (!done.load()) {
    double values[kBlockValues];
    uint64_t uid = 0;
    if (!observer.ReadBlock(1, values, &uid)) continue;
    if (uid < last) ++backwards;
    last = uid;
    for (const double value : values) {
      if (value != 0 && value != static_cast<double>(uid)) ++mixed;
    }
  }
  writer.join();
  CHECK(mixed == 0);
  CHECK(backwards == 0);
  double values[kBlockValues];
  uint64_t uid = 0;
  REQUIRE(observer.ReadBlock(1, values, &uid));
  CHECK(uid == kOwners);
}

TEST_CASE("Metrics.ReadBlock: gives up on a block whose taker died, until the next one comes") {
  TestFile file;
  CounterBlock block;
  REQUIRE(file->TakeBlock(4, 1, &block) == Status::kOk);
  Word& generation = *file.words(file.offsets().blocks + 4 * sizeof(Block));
  generation.fetch_add(1);
  double values[kBlockValues];
  uint64_t uid = 0;
  CHECK_FALSE(file->ReadBlock(4, values, &uid));
  CHECK(file->Census().blocks_odd == 1);
  REQUIRE(file->TakeBlock(4, 2, &block) == Status::kOk);
  CHECK((generation.load() & 1) == 0);
  CHECK(file->ReadBlock(4, values, &uid));
}

TEST_CASE("Metrics.ClaimHistogram: one for each agent and metric, found again by both sides") {
  TestFile file;
  const uint32_t task = MustRegister(file.metrics(), "task.ms", MetricKind::kHistogram);
  const uint32_t counter = MustRegister(file.metrics(), "tasks");
  CounterBlock one;
  CounterBlock two;
  REQUIRE(file->TakeBlock(1, 11, &one) == Status::kOk);
  REQUIRE(file->TakeBlock(2, 12, &two) == Status::kOk);
  HistogramWriter a;
  HistogramWriter b;
  HistogramWriter again;
  a.Record(1);  // not claimed yet: nothing happens
  CHECK(file->ClaimHistogram(one, counter, kNobodyGone, &a) == Status::kInvalid);
  CHECK(file->ClaimHistogram(one, kBlockValues, kNobodyGone, &a) == Status::kInvalid);
  CHECK(file->ClaimHistogram(CounterBlock(), task, kNobodyGone, &a) == Status::kInvalid);
  REQUIRE(file->ClaimHistogram(one, task, kNobodyGone, &a) == Status::kOk);
  REQUIRE(file->ClaimHistogram(two, task, kNobodyGone, &b) == Status::kOk);
  REQUIRE(file->ClaimHistogram(one, task, kNobodyGone, &again) == Status::kOk);
  CHECK(a.data() == again.data());
  CHECK(a.data() != b.data());
  a.Record(10);
  again.Record(30);
  b.Record(7);
  Histogram histogram;
  REQUIRE(file->ReadHistogram(1, task, &histogram));
  CHECK(histogram.Count() == 2);
  CHECK(histogram.Sum() == 40);
  REQUIRE(file->ReadHistogram(2, task, &histogram));
  CHECK(histogram.Count() == 1);
  CHECK_FALSE(file->ReadHistogram(3, task, &histogram));
  CHECK_FALSE(file->ReadHistogram(kBlocks, task, &histogram));
  CHECK(file->Census().histograms_live == 2);
}

TEST_CASE("Metrics.ClaimHistogram: a full pool gives up what belongs to nobody any more") {
  TestFile file;
  CounterBlock block;
  REQUIRE(file->TakeBlock(0, 1, &block) == Status::kOk);
  HistogramWriter writers[kPool];
  std::vector<uint32_t> metrics;
  for (uint32_t i = 0; i < kPool; ++i) {
    metrics.push_back(
        MustRegister(file.metrics(), "h" + std::to_string(i), MetricKind::kHistogram));
    REQUIRE(file->ClaimHistogram(block, metrics[i], kNobodyGone, &writers[i]) == Status::kOk);
    writers[i].Record(5);
  }
  CounterBlock other;
  HistogramWriter writer;
  REQUIRE(file->TakeBlock(1, 2, &other) == Status::kOk);
  CHECK(file->ClaimHistogram(other, metrics[0], kNobodyGone, &writer) == Status::kCountersFull);

  // The agent of block 0 is gone for good: somebody must say so.
  const auto is_gone = [](uint32_t index, uint64_t uid) { return index == 0 && uid == 1; };
  REQUIRE(file->ClaimHistogram(other, metrics[0], is_gone, &writer) == Status::kOk);
  CHECK(file->Census().histograms_live == kPool);
  int lost = 0;
  for (HistogramWriter& former : writers) {
    if (!former.Mine()) ++lost;
    former.Record(1000);
  }
  CHECK(lost == 1);
  Histogram histogram;
  REQUIRE(file->ReadHistogram(1, metrics[0], &histogram));
  CHECK(histogram.Count() == 0);

  // Block 0 has a new owner: what the old one had is void.
  REQUIRE(file->TakeBlock(0, 3, &block) == Status::kOk);
  CHECK_FALSE(file->ReadHistogram(0, metrics[1], &histogram));
  for (uint32_t i = 1; i < kPool; ++i) {
    CHECK(file->ClaimHistogram(other, metrics[i], kNobodyGone, &writer) == Status::kOk);
  }
  CHECK(file->ClaimHistogram(block, metrics[1], kNobodyGone, &writer) == Status::kCountersFull);
}

TEST_CASE("Metrics.ClaimHistogram: threads with a block each share the pool") {
  constexpr uint32_t kThreads = 4;
  TestFile file(kThreads, kThreads * 3);
  std::vector<uint32_t> metrics;
  for (int i = 0; i < 3; ++i) {
    metrics.push_back(
        MustRegister(file.metrics(), "h" + std::to_string(i), MetricKind::kHistogram));
  }
  std::atomic<uint32_t> failures{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t round = 1; round <= 50; ++round) {
        CounterBlock block;
        if (file->TakeBlock(t, round, &block) != Status::kOk) ++failures;
        for (const uint32_t metric : metrics) {
          HistogramWriter writer;
          // Others may hold what they just took from my former self, but in the end all fit.
          while (file->ClaimHistogram(block, metric, kNobodyGone, &writer) != Status::kOk) {
            std::this_thread::yield();
          }
          for (int i = 0; i < 10; ++i) writer.Record(static_cast<double>(t * 100 + metric));
        }
      }
    });
  }
  std::thread reader([&] {
    auto histogram = std::make_unique<Histogram>();
    while (!done.load()) {
      for (uint32_t t = 0; t < kThreads; ++t) {
        for (const uint32_t metric : metrics) {
          if (!file->ReadHistogram(t, metric, histogram.get())) continue;
          const double value = t * 100 + metric;
          if (histogram->Count() > 10 || histogram->Max() > value) ++failures;
        }
      }
    }
  });
  for (auto& thread : threads) thread.join();
  done.store(true);
  reader.join();
  CHECK(failures.load() == 0);
  for (uint32_t t = 0; t < kThreads; ++t) {
    for (const uint32_t metric : metrics) {
      Histogram histogram;
      REQUIRE(file->ReadHistogram(t, metric, &histogram));
      CHECK(histogram.Count() == 10);
      CHECK(histogram.Min() == t * 100 + metric);
      CHECK(histogram.Max() == t * 100 + metric);
    }
  }
}

TEST_CASE("Metrics.ReadHistogram: never mixes two owners") {
  TestFile file(2, 1);  // two agents take the one histogram from each other
  const uint32_t task = MustRegister(file.metrics(), "task.ms", MetricKind::kHistogram);
  std::atomic<bool> done{false};
  std::atomic<uint32_t> failures{0};
  std::thread writer([&] {
    const auto is_gone = [](uint32_t, uint64_t) { return true; };
    for (uint64_t uid = 1; uid <= 10'000; ++uid) {
      CounterBlock block;
      HistogramWriter histogram;
      const uint32_t agent = uid % 2;
      if (file->TakeBlock(agent, uid, &block) != Status::kOk) ++failures;
      if (file->ClaimHistogram(block, task, is_gone, &histogram) != Status::kOk) ++failures;
      for (int i = 0; i < 10; ++i) histogram.Record(agent == 0 ? 1 : 1e9);
      // The reader's passes must be met at every one of their steps.
      for (std::atomic<uint64_t> spin{uid % 101 * 10}; spin.load() > 0;) spin.fetch_sub(1);
    }
    done.store(true);
  });
  auto histogram = std::make_unique<Histogram>();
  while (!done.load()) {
    if (!file->ReadHistogram(0, task, histogram.get())) continue;
    // The sum is written before the count and read after it.
    const double sum = histogram->Sum();
    if (histogram->Max() > 1 || sum > 10 || sum < histogram->Count()) ++failures;
  }
  writer.join();
  CHECK(failures.load() == 0);
}

// ---- hostile memory

namespace {

// Calls everything; the answers don't matter.
void CallAll(Metrics& metrics, CounterBlock& block, HistogramWriter& writer, uint32_t seed) {
  double values[kBlockValues];
  uint64_t uid = 0;
  MetricInfo info;
  auto histogram = std::make_unique<Histogram>();
  double sink = metrics.Count();
  for (uint32_t i = 0; i <= kBlockValues; ++i) metrics.Describe(i, &info);
  for (uint32_t i = 0; i <= metrics.blocks(); ++i) {
    metrics.ReadBlock(i, values, &uid);
    metrics.ReadHistogram(i, seed % kBlockValues, histogram.get());
  }
  block.Add(seed % kBlockValues, 1);
  writer.Record(seed);
  uint32_t index = 0;
  const auto all_dead = [](Owner) { return true; };
  const auto all_gone = [](uint32_t, uint64_t) { return true; };
  metrics.Register(kMe, "n" + std::to_string(seed % 7), "", MetricKind::kHistogram, all_dead,
                   &index);
  metrics.RepairOwner(kOther);
  CounterBlock taken;
  HistogramWriter claimed;
  metrics.TakeBlock(seed % metrics.blocks(), seed, &taken);
  metrics.ClaimHistogram(taken, index % kBlockValues, all_gone, &claimed);
  metrics.ClaimHistogram(block, index % kBlockValues, all_gone, &claimed);
  sink += metrics.Census().metrics;
  CHECK(sink >= 0);
}

}  // namespace

TEST_CASE("Metrics: random bytes over the whole file neither crash nor hang anybody") {
  TestFile file;
  CounterBlock block;
  HistogramWriter writer;
  const uint32_t task = MustRegister(file.metrics(), "task.ms", MetricKind::kHistogram);
  REQUIRE(file->TakeBlock(0, 1, &block) == Status::kOk);
  REQUIRE(file->ClaimHistogram(block, task, kNobodyGone, &writer) == Status::kOk);
  std::mt19937_64 random(1);
  const uint64_t count = file->region().bytes() / sizeof(Word);
  for (uint32_t round = 0; round < 200; ++round) {
    for (uint64_t i = 0; i < count; ++i) file.words(0)[i].store(random());
    CallAll(file.metrics(), block, writer, round);
  }
  for (const uint64_t pattern : {uint64_t{0}, ~uint64_t{0}, uint64_t{0x7ff0} << 48,
                                 uint64_t{1} << 63, uint64_t{0x0000'0001'0000'0001}}) {
    for (uint64_t i = 0; i < count; ++i) file.words(0)[i].store(pattern);
    CallAll(file.metrics(), block, writer, 3);
  }
}

TEST_CASE("Metrics: damaged words in an intact file stay inside of their table") {
  std::mt19937_64 random(2);
  for (uint32_t round = 0; round < 100; ++round) {
    TestFile file;
    CounterBlock block;
    HistogramWriter writer;
    const uint32_t task = MustRegister(file.metrics(), "task.ms", MetricKind::kHistogram);
    REQUIRE(file->TakeBlock(0, 1, &block) == Status::kOk);
    REQUIRE(file->ClaimHistogram(block, task, kNobodyGone, &writer) == Status::kOk);
    const uint64_t count = file.offsets().histograms / sizeof(Word);
    for (int i = 0; i < 60; ++i) {
      Word& word = file.words(0)[random() % count];
      word.store(word.load() ^ uint64_t{1} << (random() % 64));
    }
    CallAll(file.metrics(), block, writer, round);
  }
}

TEST_CASE("Metrics: somebody who scribbles while we read does no harm to us") {
  TestFile file;
  CounterBlock block;
  HistogramWriter writer;
  REQUIRE(file->TakeBlock(0, 1, &block) == Status::kOk);
  std::atomic<bool> done{false};
  std::thread scribbler([&] {
    std::mt19937_64 random(3);
    const uint64_t count = file->region().bytes() / sizeof(Word);
    while (!done.load()) file.words(0)[random() % count].store(random());
  });
  for (uint32_t round = 0; round < 300; ++round) {
    CallAll(file.metrics(), block, writer, round);
  }
  done.store(true);
  scribbler.join();
}

// ---- histograms

namespace {

// Nearest rank, by sorting.
double Exact(std::vector<double>& values, double percent) {
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()));
  return values[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

template <class Draw>
void CheckPercentiles(const char* distribution, Draw&& draw) {
  CAPTURE(distribution);
  std::vector<double> values;
  Histogram histogram;
  double sum = 0;
  for (int i = 0; i < 50'000; ++i) {
    values.push_back(draw());
    histogram.Record(values.back());
    sum += values.back();
  }
  for (const double percent :
       {0.0, 0.1, 1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0}) {
    CAPTURE(percent);
    const double exact = Exact(values, percent);
    const double estimate = histogram.Percentile(percent);
    if (exact < Histogram::kMinValue) {
      CHECK(std::abs(estimate - exact) <= Histogram::kMinValue);
    } else {
      CHECK(std::abs(estimate - exact) <= 0.01 * exact);
    }
  }
  CHECK(histogram.Count() == static_cast<double>(values.size()));
  CHECK(histogram.Sum() == doctest::Approx(sum));
  CHECK(histogram.Min() == values.front());
  CHECK(histogram.Max() == values.back());
}

TEST_CASE("Histogram: words of a damaged region count for nothing, or for as much as can be") {
  const double kStrange[] = {-1, std::numeric_limits<double>::infinity(),
                             -std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN(), 1e300};
  for (const double strange : kStrange) {
    CAPTURE(strange);
    std::vector<std::atomic<uint64_t>> words(HistogramShape::kWords);
    HistogramOver<SharedWords> damaged{SharedWords(words.data())};
    damaged.Reset();
    damaged.Record(5);
    for (auto& word : words) word.store(std::bit_cast<uint64_t>(strange));
    CHECK(damaged.Count() == 0);
    for (const double value : {damaged.Sum(), damaged.Min(), damaged.Max()}) {
      CHECK(value >= 0);
      CHECK(value <= 1e300);
    }
    CHECK(damaged.Percentile(50) == 0);
    Histogram sum;
    sum.Reset();
    sum.Record(7);
    sum.Merge(damaged);
    CHECK(sum.Count() == 1);
  }
}

}  // namespace

TEST_CASE("Histogram.Percentile: within one per cent of the sorted values") {
  std::mt19937_64 random(4);
  std::uniform_real_distribution<double> uniform(0, 1000);
  std::uniform_real_distribution<double> small(0, 2);
  std::exponential_distribution<double> exponential(1e-6);
  std::lognormal_distribution<double> lognormal(3, 4);
  std::normal_distribution<double> normal(1e9, 1e5);
  std::uniform_int_distribution<int> integers(0, 100);
  std::uniform_real_distribution<double> exponents(-9.9, 39.9);
  CheckPercentiles("uniform", [&] { return uniform(random); });
  CheckPercentiles("small", [&] { return small(random); });
  CheckPercentiles("exponential", [&] { return exponential(random); });
  CheckPercentiles("log-normal", [&] { return lognormal(random); });
  CheckPercentiles("normal", [&] { return normal(random); });
  CheckPercentiles("integers", [&] { return static_cast<double>(integers(random)); });
  CheckPercentiles("two peaks", [&] { return integers(random) < 50 ? 1.5 : 3e6; });
  CheckPercentiles("constant", [&] { return 42.0; });
  CheckPercentiles("over the whole range", [&] { return std::exp2(exponents(random)); });
}

TEST_CASE("Histogram.BucketOf: every bucket holds its own low end, in order") {
  for (uint32_t bucket = 1; bucket + 1 < Histogram::kBuckets; ++bucket) {
    const double low = Histogram::BucketLow(bucket);
    const double high = Histogram::BucketLow(bucket + 1);
    REQUIRE(low < high);
    REQUIRE((high - low) / low <= 1.0 / 64);
    REQUIRE(Histogram::BucketOf(low) == bucket);
    REQUIRE(Histogram::BucketOf(std::nextafter(high, 0)) == bucket);
  }
  CHECK(Histogram::BucketOf(0) == 0);
  CHECK(Histogram::BucketOf(std::nextafter(Histogram::kMinValue, 0)) == 0);
  CHECK(Histogram::BucketOf(Histogram::kMaxValue) == Histogram::kBuckets - 1);
}

TEST_CASE("Histogram: an empty one answers zero") {
  const Histogram histogram;
  CHECK(histogram.Count() == 0);
  CHECK(histogram.Sum() == 0);
  CHECK(histogram.Min() == 0);
  CHECK(histogram.Max() == 0);
  CHECK(histogram.Percentile(50) == 0);
}

TEST_CASE("Histogram: too small and too large values are counted at the ends") {
  Histogram histogram;
  histogram.Record(0);
  histogram.Record(1e-9);
  histogram.Record(1e15);
  histogram.Record(std::numeric_limits<double>::max());
  CHECK(histogram.BucketCount(0) == 2);
  CHECK(histogram.BucketCount(Histogram::kBuckets - 1) == 2);
  CHECK(histogram.Count() == 4);
  CHECK(histogram.Min() == 0);
  CHECK(histogram.Percentile(50) == 0);
  CHECK(histogram.Percentile(51) == std::numeric_limits<double>::max());

  histogram.Record(-1);
  histogram.Record(std::nan(""));
  histogram.Record(std::numeric_limits<double>::infinity());
  histogram.Record(-std::numeric_limits<double>::infinity());
  CHECK(histogram.Count() == 4);
  CHECK(histogram.BucketCount(Histogram::kBuckets) == 0);
}

TEST_CASE("Histogram.Percentile: takes any number for an answer") {
  Histogram histogram;
  for (int i = 1; i <= 100; ++i) histogram.Record(i);
  CHECK(histogram.Percentile(-5) == histogram.Percentile(0));
  CHECK(histogram.Percentile(500) == histogram.Percentile(100));
  CHECK(histogram.Percentile(std::nan("")) == histogram.Percentile(0));
  CHECK(histogram.Percentile(100) == doctest::Approx(100).epsilon(0.01));
}

TEST_CASE("Histogram.Merge: equals one that recorded everything") {
  std::mt19937_64 random(5);
  std::lognormal_distribution<double> draw(2, 3);
  Histogram parts[3];
  Histogram whole;
  for (int i = 0; i < 9'000; ++i) {
    const double value = i % 100 == 0 ? 0 : draw(random);
    parts[i % 3].Record(value);
    whole.Record(value);
  }
  Histogram merged;
  for (const Histogram& part : parts) merged.Merge(part);
  merged.Merge(Histogram());
  for (uint32_t i = 0; i < Histogram::kBuckets; ++i) {
    REQUIRE(merged.BucketCount(i) == whole.BucketCount(i));
  }
  CHECK(merged.Sum() == doctest::Approx(whole.Sum()));
  CHECK(merged.Min() == whole.Min());
  CHECK(merged.Max() == whole.Max());
  CHECK(merged.Percentile(99) == whole.Percentile(99));
}

TEST_CASE("Histogram: a Float64Array over its words can record as well") {
  TestFile file;
  const uint32_t task = MustRegister(file.metrics(), "task.ms", MetricKind::kHistogram);
  CounterBlock block;
  HistogramWriter writer;
  REQUIRE(file->TakeBlock(0, 1, &block) == Status::kOk);
  REQUIRE(file->ClaimHistogram(block, task, kNobodyGone, &writer) == Status::kOk);
  const auto as_javascript = [&](double value) {
    using Shape = HistogramShape;
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const auto high = static_cast<uint32_t>(bits >> 32);
    const uint32_t bucket = value < Shape::kMinValue ? 0
                            : value < Shape::kMaxValue
                                ? (high >> (20 - Shape::kSubBits)) - Shape::kFirstCode + 1
                                : Shape::kBuckets - 1;
    double* const words = writer.data();
    if (value < words[Shape::kMinWord]) words[Shape::kMinWord] = value;
    if (value > words[Shape::kMaxWord]) words[Shape::kMaxWord] = value;
    words[Shape::kSumWord] += value;
    words[Shape::kBucketWord + bucket] += 1;
  };
  std::mt19937_64 random(6);
  std::uniform_real_distribution<double> exponents(-15, 45);
  Histogram expected;
  for (int i = 0; i < 10'000; ++i) {
    const double value = i == 0 ? 0 : std::exp2(exponents(random));
    as_javascript(value);
    expected.Record(value);
  }
  block.data()[3] += 2.5;
  CHECK(block.Get(3) == 2.5);
  Histogram read;
  REQUIRE(file->ReadHistogram(0, task, &read));
  for (uint32_t i = 0; i < Histogram::kBuckets; ++i) {
    REQUIRE(read.BucketCount(i) == expected.BucketCount(i));
  }
  CHECK(read.Sum() == expected.Sum());
  CHECK(read.Min() == expected.Min());
  CHECK(read.Max() == expected.Max());
}

}  // namespace cfc
