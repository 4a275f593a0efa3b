#include "core/slab.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/fabric.h"
#include "core/lease.h"
#include "support.h"

namespace cfc {
namespace {

using test::PatternBody;
using test::TempBase;
using test::TestFabric;

constexpr Owner kAnn = MakeOwner(1, 1);
constexpr Owner kBob = MakeOwner(2, 1);
constexpr uint8_t kUuid[16] = {1};

class TestSlab {
 public:
  explicit TestSlab(uint64_t segment_bytes = 4u << 20, uint64_t max_bytes = 64u << 20)
      : segment_bytes_(segment_bytes), max_bytes_(max_bytes) {
    REQUIRE(Directory::Open(base_.path(), false, &directory_, nullptr) == Status::kOk);
    slab_ = Another();
  }
  // The same slab as another process has it mapped.
  std::unique_ptr<Slab> Another() {
    auto slab = std::make_unique<Slab>();
    slab->Open(&directory_, kUuid, segment_bytes_, max_bytes_, &growth_turns_);
    return slab;
  }
  Slab* operator->() { return slab_.get(); }
  std::string file(const char* name) const { return base_.path() + "/" + name; }

 private:
  TempBase base_;
  Directory directory_;
  std::atomic<uint32_t> growth_turns_{0};
  uint64_t segment_bytes_;
  uint64_t max_bytes_;
  std::unique_ptr<Slab> slab_;
};

std::string ReadBody(Slab& slab, ChunkRef first, size_t bytes) {
  std::string body(bytes, '\0');
  return slab.Read(first, body.data(), bytes) ? body : "";
}

TEST_CASE("Slab: bodies of every class come back whole, up to 16 MiB, in another mapping too") {
  TestSlab slab;
  const std::unique_ptr<Slab> reader = slab.Another();
  uint64_t place = 0;
  for (const size_t bytes :
       {size_t{1}, size_t{161}, size_t{1024}, size_t{1025}, size_t{4096}, size_t{16'384},
        size_t{65'537}, size_t{262'144}, size_t{262'145}, size_t{1'000'003}, size_t{16} << 20}) {
    CAPTURE(bytes);
    const std::string body = PatternBody(bytes, bytes);
    ChunkRef first = 0;
    REQUIRE(slab->Borrow(kAnn, bytes, &first) == Status::kOk);
    slab->Write(first, body.data(), bytes);
    slab->Place(kAnn, first, ++place);
    CHECK(slab->BytesOf(kAnn) == Slab::BytesFor(bytes));
    CHECK((ReadBody(*reader, first, bytes) == body));
    reader->Free(first, place + 100);  // of another cell: not ours to free
    CHECK(slab->BytesOf(kAnn) == Slab::BytesFor(bytes));
    reader->Free(first, place);
    CHECK(slab->BytesOf(kAnn) == 0);
    reader->Free(first, place);
    const SlabCensus census = slab->Census();
    CHECK(census.loaned == 0);
    CHECK(census.placed == 0);
  }
}

TEST_CASE("Slab.BytesFor: is what a body takes") {
  CHECK(Slab::BytesFor(1) == 1024);
  CHECK(Slab::BytesFor(1025) == 4096);
  CHECK(Slab::BytesFor(262'144) == 262'144);
  CHECK(Slab::BytesFor(262'145) == 524'288);
  CHECK(Slab::BytesFor(kMaxBodyBytes) == kMaxBodyBytes);
}

TEST_CASE("Slab.Borrow: more than 16 MiB is too large") {
  TestSlab slab;
  ChunkRef first = 0;
  CHECK(slab->Borrow(kAnn, kMaxStoredBytes + 1, &first) == Status::kTooLarge);
  CHECK(slab->Census().segments == 0);
}

TEST_CASE("Slab.Borrow: grows to its limit, then is full, and gives half a chain back") {
  TestSlab slab(1u << 20, 3u << 20);  // three segments of three large chunks each
  std::vector<ChunkRef> taken;
  ChunkRef ref = 0;
  while (slab->Borrow(kAnn, 262'144, &ref) == Status::kOk) taken.push_back(ref);
  CHECK(taken.size() == 9);
  CHECK(slab->Census().segments == 3);
  CHECK(slab->Borrow(kAnn, 100, &ref) == Status::kSlabFull);  // no segment left for small ones
  CHECK(slab->Borrow(kAnn, 262'144, &ref) == Status::kSlabFull);
  slab->GiveBack(kAnn, taken.back());
  slab->GiveBack(kAnn, taken.front());
  CHECK(slab->Borrow(kAnn, 3 * 262'144, &ref) == Status::kSlabFull);  // two are free, three wanted
  CHECK(slab->Census().free == 2);
  CHECK(slab->Borrow(kAnn, 2 * 262'144, &ref) == Status::kOk);
}

TEST_CASE("Slab.Borrow: two mappings that grow at once share what they made") {
  TestSlab slab;
  const std::unique_ptr<Slab> other = slab.Another();
  ChunkRef mine = 0;
  ChunkRef theirs = 0;
  REQUIRE(slab->Borrow(kAnn, 1000, &mine) == Status::kOk);
  REQUIRE(other->Borrow(kBob, 1000, &theirs) == Status::kOk);
  CHECK(mine != theirs);
  CHECK(ChunkSegment(mine) == ChunkSegment(theirs));
  REQUIRE(other->Borrow(kBob, 5000, &theirs) == Status::kOk);
  REQUIRE(slab->Borrow(kAnn, 5000, &mine) == Status::kOk);
  CHECK(ChunkSegment(mine) == ChunkSegment(theirs));
  CHECK(slab->Census().loaned == 4);
}

TEST_CASE("GrowthTurn: of many who find no room one makes it, and the others are woken by that") {
  const TestFabric test;
  constexpr int kRounds = 20;
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<int> made{0};
    std::atomic<bool> there{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        GrowthTurn turn(test->directory(), &test->words().growth_turns);
        turn.Await(60'000'000'000, [&] { return there.load(); });
        if (there.load()) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        ++made;
        there = true;
        turn.Made();
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(made == 1);
  }
}

TEST_CASE(
    "GrowthTurn: who waits for one that stopped in its turn goes ahead once its patience ends") {
  const TestFabric test;
  auto& turns = test->words().growth_turns;
  GrowthTurn stopped(test->directory(), &turns);
  stopped.Await(0, [] { return false; });
  int looks = 0;
  GrowthTurn next(test->directory(), &turns);
  next.Await(1'000'000, [&] {
    ++looks;
    return false;
  });
  CHECK(looks > 0);
}

TEST_CASE("Slab: a reference of an earlier use reads nothing and frees nothing") {
  TestSlab slab;
  ChunkRef old = 0;
  REQUIRE(slab->Borrow(kAnn, 100, &old) == Status::kOk);
  slab->Place(kAnn, old, 7);
  slab->Free(old, 7);
  std::vector<ChunkRef> taken;
  ChunkRef ref = 0;
  do {  // until the same chunk is in use again
    REQUIRE(slab->Borrow(kBob, 100, &ref) == Status::kOk);
    slab->Place(kBob, ref, 7);
    taken.push_back(ref);
  } while (ChunkIndex(ref) != ChunkIndex(old));
  CHECK(ref != old);
  CHECK(ReadBody(*slab.operator->(), old, 100).empty());
  slab->Free(old, 7);
  slab->GiveBack(kBob, old);
  CHECK(slab->Census().placed == taken.size());
}

TEST_CASE("Slab.GiveBack, Place: touch only what is the caller's") {
  TestSlab slab;
  ChunkRef ref = 0;
  REQUIRE(slab->Borrow(kAnn, 600'000, &ref) == Status::kOk);
  slab->GiveBack(kBob, ref);
  slab->Place(kBob, ref, 3);
  CHECK(slab->Census().loaned == 3);
  slab->GiveBack(kAnn, ref);
  CHECK(slab->Census().loaned == 0);
}

TEST_CASE("Slab.RepairOwner: takes back what is loaned and what no message refers to") {
  TestSlab slab;
  ChunkRef loaned = 0, kept = 0, orphan = 0, other = 0;
  REQUIRE(slab->Borrow(kAnn, 600'000, &loaned) == Status::kOk);
  REQUIRE(slab->Borrow(kAnn, 600'000, &kept) == Status::kOk);
  slab->Place(kAnn, kept, 11);
  REQUIRE(slab->Borrow(kAnn, 3000, &orphan) == Status::kOk);
  slab->Place(kAnn, orphan, 12);
  REQUIRE(slab->Borrow(kBob, 3000, &other) == Status::kOk);
  const auto refers = [](uint64_t place) { return place == 11; };
  CHECK(slab->RepairOwner(kAnn, refers) == 4);
  CHECK(slab->RepairOwner(kAnn, refers) == 0);
  const SlabCensus census = slab->Census();
  CHECK(census.placed == 3);
  CHECK(census.loaned == 1);
  slab->Free(kept, 11);
  CHECK(slab->Census().placed == 0);
}

TEST_CASE("Slab.Read: chains that garbage made end, and say no") {
  const test::Watchdog watchdog;
  TestSlab slab;
  ChunkRef ref = 0;
  REQUIRE(slab->Borrow(kAnn, 600'000, &ref) == Status::kOk);
  CHECK(ReadBody(*slab.operator->(), MakeChunkRef(77, 0, 1), 10).empty());
  CHECK(ReadBody(*slab.operator->(), MakeChunkRef(0, 99'999, 1), 10).empty());
  CHECK(ReadBody(*slab.operator->(), 0, 10).empty());
  CHECK(ReadBody(*slab.operator->(), ref, 4 * 262'144).empty());  // longer than the chain
}

TEST_CASE("Slab: a damaged segment is not used, and does not hide the ones before it") {
  TestSlab slab(1u << 20);
  ChunkRef ref = 0;
  REQUIRE(slab->Borrow(kAnn, 100, &ref) == Status::kOk);
  REQUIRE(slab->Borrow(kAnn, 5000, &ref) == Status::kOk);
  REQUIRE(truncate(slab.file("slab.001").c_str(), 5000) == 0);
  const std::unique_ptr<Slab> late = slab.Another();
  REQUIRE(late->Borrow(kBob, 100, &ref) == Status::kOk);
  CHECK(late->Borrow(kBob, 5000, &ref) == Status::kCorrupt);
  CHECK(late->Census().segments == 1);
}

TEST_CASE("Slab: threads that borrow, place and free at once leave nothing taken") {
  const test::Watchdog watchdog;
  TestSlab slab(1u << 20, 16u << 20);
  std::atomic<uint64_t> errors{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const Owner me = MakeOwner(10 + t, 1);
      for (uint32_t i = 0; i < (test::kSanitized ? 200 : 2000); ++i) {
        const size_t bytes = 1 + (i * 7919 + t) % 3000;
        const std::string body = PatternBody(i * 4 + t, bytes);
        ChunkRef ref = 0;
        if (slab->Borrow(me, bytes, &ref) != Status::kOk) {
          errors.fetch_add(1);
          continue;
        }
        slab->Write(ref, body.data(), bytes);
        const uint64_t place = uint64_t{t} << 32 | i;
        slab->Place(me, ref, place);
        if (ReadBody(*slab.operator->(), ref, bytes) != body) errors.fetch_add(1);
        slab->Free(ref, place);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(errors.load() == 0);
  CHECK(slab->Census().loaned == 0);
  CHECK(slab->Census().placed == 0);
}

TEST_CASE("Slab: a reference to no memory, or to what was given back, is answered with nothing") {
  TestSlab slab;
  ChunkRef mine = 0;
  REQUIRE(slab->Borrow(kAnn, 100, &mine) == Status::kOk);
  ChunkRef old = 0;
  REQUIRE(slab->Borrow(kAnn, 100, &old) == Status::kOk);
  slab->GiveBack(kAnn, old);
  const ChunkRef nowhere[] = {mine ^ ChunkRef{0xff} << 20, mine | ChunkRef{0xf'ffff}, old};
  for (const ChunkRef ref : nowhere) {
    CAPTURE(ref);
    char body[100] = {};
    if (ref != old) slab->Write(ref, body, sizeof body);
    CHECK_FALSE(slab->Read(ref, body, sizeof body));
    slab->Place(kAnn, ref, 7);
    slab->Free(ref, 7);
    slab->GiveBack(kAnn, ref);
    slab->Keep(kAnn, ref);
    CHECK(slab->Kept(ref, 8) == nullptr);
    CHECK_FALSE(slab->Stands(ref));
    if (ref != old) slab->Zero(ref);
  }
  CHECK(slab->Stands(mine));
  slab->Keep(kAnn, mine);
  CHECK(slab->Kept(mine, 100) != nullptr);
  CHECK(slab->Kept(mine, 1u << 20) == nullptr);  // smaller than that
  CHECK(slab->Stands(mine));
  CHECK(slab->Census().placed == 1);
}

TEST_CASE("Slab.Borrow: where not one chunk fits into a segment, or none may be made, it is full") {
  for (const uint64_t segment_bytes : {0u, 64u, 4096u, 8192u}) {
    CAPTURE(segment_bytes);
    TestSlab slab(segment_bytes, 1u << 20);
    ChunkRef ref = 0;
    CHECK(slab->Borrow(kAnn, 100'000, &ref) == Status::kSlabFull);
  }
}

TEST_CASE("Slab: a reference is never zero, as that means inline, whatever a damaged chunk says") {
  TestSlab slab;
  ChunkRef ref = 0;
  REQUIRE(slab->Borrow(kAnn, 100, &ref) == Status::kOk);
  slab->GiveBack(kAnn, ref);
  {
    std::fstream file(slab.file("slab.000"), std::ios::in | std::ios::out | std::ios::binary);
    const uint64_t free_of_no_generation = PackChunk(0, 0, ChunkKind::kFree);
    file.seekp(kHeaderBytes);
    file.write(reinterpret_cast<const char*>(&free_of_no_generation), sizeof(uint64_t));
    REQUIRE(file.good());
  }
  for (int i = 0; i < 3; ++i) {
    REQUIRE(slab->Borrow(kAnn, 100, &ref) == Status::kOk);
    CHECK(ref != 0);
  }
}

}  // namespace
}  // namespace cfc
