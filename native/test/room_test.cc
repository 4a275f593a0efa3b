#include "core/room.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace cfc {
namespace {

using Word = NativeMemory::Word;

constexpr uint64_t kLaneA = PackLaneId(MakeBoxId(0, 1), kWorkLane);
constexpr uint64_t kLaneB = PackLaneId(MakeBoxId(0, 2), kWorkLane);

class TestRoom {
 public:
  explicit TestRoom(uint32_t slots)
      : words_(new Word[size_t{Wants::PerClass(slots)} * kRoomClasses]()),
        wants(words_.get(), slots) {}
  // Passes `cells` on; everybody who is rung wakes.
  std::vector<uint32_t> Pass(uint64_t lane, uint32_t cells) {
    std::vector<uint32_t> rung;
    wants.Pass(room, lane, cells, [&](uint32_t slot) {
      rung.push_back(slot);
      return true;
    });
    return rung;
  }

 private:
  std::unique_ptr<Word[]> words_;

 public:
  Wants wants;
  Word room{0};
};

TEST_CASE("Wants.Of: every slot has a word of its own, and classes hold the slots they should") {
  for (const uint32_t slots : {1u, 47u, 48u, 49u, 4097u, 65'535u}) {
    TestRoom test(slots);
    for (uint32_t slot = 0; slot < slots; ++slot) {
      test.wants.Of(slot).store(test.wants.Of(slot).load() + 1 + slot);
    }
    for (uint32_t slot = 0; slot < slots; ++slot) {
      REQUIRE(test.wants.Of(slot).load() == 1 + slot);
      REQUIRE(Wants::SlotAt(slot / kRoomClasses, Wants::ClassOf(slot)) == slot);
    }
  }
}

TEST_CASE("Wants.Pass: rings nobody where nobody wants") {
  TestRoom test(200);
  CHECK_FALSE(Wants::AnybodyWants(test.room));
  CHECK(test.Pass(kLaneA, 5).empty());
  // Somebody wants another lane: the class was set by mistake, and goes.
  test.wants.Announce(test.room, MakeOwner(7, 1), kLaneB);
  CHECK(Wants::AnybodyWants(test.room));
  CHECK(test.Pass(kLaneA, 5).empty());
  CHECK_FALSE(Wants::AnybodyWants(test.room));
}

TEST_CASE("Wants.Pass: rings one for each cell, and over time everybody in turn") {
  TestRoom test(200);
  const std::vector<uint32_t> slots = {3, 4, 51, 99, 130};  // 3, 51 and 99 share a class
  for (const uint32_t slot : slots) test.wants.Announce(test.room, MakeOwner(slot, 1), kLaneA);
  CHECK(test.Pass(kLaneA, 1).size() == 1);
  CHECK(test.Pass(kLaneA, 2).size() >= 2);
  CHECK(test.Pass(kLaneA, 0).empty());

  std::vector<uint32_t> served;
  for (int i = 0; i < 60 && served.size() < slots.size(); ++i) {
    for (const uint32_t slot : test.Pass(kLaneA, 1)) {
      if (test.wants.Withdraw(MakeOwner(slot, 1)) == kLaneA) served.push_back(slot);
    }
  }
  CHECK(served.size() == slots.size());
  CHECK(test.Pass(kLaneA, 9).empty());
  CHECK_FALSE(Wants::AnybodyWants(test.room));
}

TEST_CASE("Wants.Pass: one that wants again at once does not take every turn of its class") {
  // Once, of 100 producers those of low slots had it all: slots 3, 51 and 99 share a class.
  TestRoom test(200);
  std::map<uint32_t, int> turns;
  for (const uint32_t slot : {3u, 51u, 99u}) {
    test.wants.Announce(test.room, MakeOwner(slot, 1), kLaneA);
  }
  for (int i = 0; i < 600; ++i) {
    const std::vector<uint32_t> rung = test.Pass(kLaneA, 1);
    REQUIRE(rung.size() == 1);
    ++turns[rung[0]];
    test.wants.Announce(test.room, MakeOwner(rung[0], 1), kLaneA);
  }
  for (const uint32_t slot : {3u, 51u, 99u}) CHECK(turns[slot] >= 100);
}

TEST_CASE("Wants.Pass: every class has its turn as often as its neighbours") {
  // Once, of four producers the one of the lowest slot had nearly all: the turn went round all 48
  // classes, and came to it from every one in which nobody wanted.
  for (const uint32_t wanting : {2u, 3u, 4u, 48u}) {
    TestRoom test(60);
    std::map<uint32_t, uint32_t> turns;
    for (uint32_t slot = 1; slot <= wanting; ++slot) {
      test.wants.Announce(test.room, MakeOwner(slot, 1), kLaneA);
    }
    for (uint32_t i = 0; i < 100 * wanting; ++i) {
      const std::vector<uint32_t> rung = test.Pass(kLaneA, 1);
      REQUIRE(rung.size() == 1);
      ++turns[rung[0]];
      test.wants.Announce(test.room, MakeOwner(rung[0], 1), kLaneA);
    }
    for (uint32_t slot = 1; slot <= wanting; ++slot) {
      CAPTURE(wanting);
      CAPTURE(slot);
      CHECK(turns[slot] >= 80);
      CHECK(turns[slot] <= 120);
    }
  }
}

TEST_CASE("Wants.Pass: who wants room in several lanes is rung by any") {
  TestRoom test(60);
  test.wants.Announce(test.room, MakeOwner(5, 1), kWantSeveral);
  CHECK(test.Pass(kLaneB, 1) == std::vector<uint32_t>{5});
}

TEST_CASE("Wants.Pass: one who is awake already takes no ring from others") {
  TestRoom test(60);
  test.wants.Announce(test.room, MakeOwner(5, 1), kLaneA);
  test.wants.Announce(test.room, MakeOwner(6, 1), kLaneA);
  std::vector<uint32_t> woken;
  test.wants.Pass(test.room, kLaneA, 1, [&](uint32_t slot) {
    if (slot == 5) return false;
    woken.push_back(slot);
    return true;
  });
  CHECK(woken == std::vector<uint32_t>{6});
}

TEST_CASE("Wants.Pass: a want announced while its class is being cleared is not forgotten") {
  TestRoom test(60);
  test.wants.Announce(test.room, MakeOwner(5, 1), kLaneB);
  // While the passer looks at class 5 (and finds no want for A), 5 begins to want A.
  const uint64_t before = test.room.load();
  test.wants.Announce(test.room, MakeOwner(5, 1), kLaneA);
  uint64_t seen = before;
  CHECK_FALSE(test.room.compare_exchange_strong(seen, 0));  // what clearing it would do
  CHECK(test.Pass(kLaneA, 1) == std::vector<uint32_t>{5});
}

TEST_CASE("Wants.Withdraw: a late repair takes nothing from the next holder of the slot") {
  TestRoom test(60);
  test.wants.Announce(test.room, MakeOwner(5, 2), kLaneA);
  CHECK(test.wants.Withdraw(MakeOwner(5, 1)) == 0);
  CHECK(test.wants.Withdraw(MakeOwner(5, 2)) == kLaneA);
  CHECK(test.wants.Withdraw(MakeOwner(5, 2)) == 0);
}

TEST_CASE("Wants.Pass: garbage in the words ends") {
  TestRoom test(300);
  uint64_t state = 88'172'645'463'325'252;
  for (int i = 0; i < 2000; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    test.room.store(state);
    test.wants.Of(static_cast<uint32_t>(state % 300)).store(state >> 3);
    test.Pass(kLaneA, static_cast<uint32_t>(state));
  }
}

}  // namespace
}  // namespace cfc
