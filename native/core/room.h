// Room: lets senders sleep until a full lane has room again, without a list that a death could
// tear.
//
// A sender that finds a lane full stores the lane in its own want word, sets its class (slot
// modulo 48) in the lane's room word, tries again and parks. Whoever moves the head rings one
// wanting sender per freed cell, of every class as often as of the others; a class in which nobody
// wants is cleared by a swap of the whole word, whose epoch any new want has moved on. A sender
// that was rung and needs no room after all passes the ring on. native/model/room_model.cc searches
// it.
//
// Wants are dense by class, so that looking for one reads few lines.
#pragma once

#include <bit>
#include <cstdint>

#include "failpoint.h"
#include "layout.h"
#include "words.h"

namespace cfc {

constexpr uint64_t kRoomClassMask = (uint64_t{1} << kRoomClasses) - 1;

template <class Memory>
class WantsOf {
 public:
  using Word = typename Memory::Word;

  WantsOf() noexcept = default;
  // words: PerClass(slots) * kRoomClasses of them.
  WantsOf(Word* words, uint32_t slots) noexcept : words_(words), per_class_(PerClass(slots)) {}

  static constexpr uint32_t PerClass(uint32_t slots) noexcept {
    return (slots + kRoomClasses - 1) / kRoomClasses;
  }

  Word& Of(uint32_t slot) const noexcept {
    return words_[ClassOf(slot) * per_class_ + slot / kRoomClasses];
  }
  static uint32_t ClassOf(uint32_t slot) noexcept { return slot % kRoomClasses; }
  uint32_t per_class() const noexcept { return per_class_; }
  static uint32_t SlotAt(uint32_t index, uint32_t cls) noexcept {
    return index * kRoomClasses + cls;
  }

  // By a sender that will look for room once more and then park. lane: a lane id or kWantSeveral.
  // The want carries the generation of its slot, so that a late repair of an earlier holder of the
  // slot cannot take it away.
  void Announce(Word& room, Owner me, uint64_t lane) noexcept {
    const uint32_t slot = OwnerSlot(me);
    Of(slot).store(PackWant(OwnerGeneration(me), lane));
    CFC_FAIL_POINT("room.want");
    uint64_t seen = room.load();
    while (!room.compare_exchange_weak(
        seen, NextEpoch(seen) | (seen & kRoomClassMask) | uint64_t{1} << ClassOf(slot))) {
    }
    CFC_FAIL_POINT("room.class");
  }

  // What `owner` wants: a lane id, kWantSeveral or 0.
  uint64_t WantOf(Owner owner) const noexcept {
    const uint64_t seen = Of(OwnerSlot(owner)).load();
    return WantGeneration(seen) == OwnerGeneration(owner) ? WantLane(seen) : 0;
  }

  // Forgets it, and returns what it was.
  uint64_t Withdraw(Owner owner) noexcept {
    Word& want = Of(OwnerSlot(owner));
    uint64_t seen = want.load();
    if (WantLane(seen) == 0 || WantGeneration(seen) != OwnerGeneration(owner)) return 0;
    return want.compare_exchange_strong(seen, 0) ? WantLane(seen) : 0;
  }

  static bool AnybodyWants(const Word& room) noexcept { return room.load() & kRoomClassMask; }

  // ring(slot) returns whether it woke that one: one that is awake looks for itself.
  template <class Ring>
  void Pass(Word& room, uint64_t lane, uint32_t cells, Ring&& ring) noexcept {
    uint64_t looked = 0;  // classes that had their turn
    while (cells > 0) {
      uint64_t seen = room.load();
      if ((seen & kRoomClassMask & ~looked) == 0) return;
      const uint32_t cls = NextClass(seen, looked);
      looked |= uint64_t{1} << cls;
      const auto wants = [&](uint32_t index) {
        const uint64_t want = WantLane(words_[cls * per_class_ + index].load());
        return want == lane || want == kWantSeveral;
      };
      uint32_t wanting = 0;
      for (uint32_t i = 0; i < per_class_; ++i) wanting += wants(i) ? 1 : 0;
      // Within a class, too, everybody is the first one now and then.
      uint32_t before =
          wanting > 1 ? static_cast<uint32_t>((seen >> kRoomClasses) / kRoomClasses % wanting) : 0;
      bool woke = false;
      for (uint32_t i = 0, looked_at = 0; looked_at < 2 * per_class_ && wanting > 0 && cells > 0;
           ++looked_at, i = i + 1 < per_class_ ? i + 1 : 0) {
        if (!wants(i)) continue;
        if (before > 0 && looked_at < per_class_) {  // some may have got room meanwhile
          --before;
          continue;
        }
        if (!ring(SlotAt(i, cls))) continue;
        woke = true;
        --cells;
      }
      // All of them are awake and look for themselves: a swap would only cost others the line.
      if (wanting > 0 && !woke) continue;
      const uint64_t classes = seen & kRoomClassMask;
      const uint64_t rest = wanting > 0 ? classes : classes & ~(uint64_t{1} << cls);
      room.compare_exchange_strong(seen, NextEpoch(seen) | rest);
    }
  }

 private:
  static uint64_t NextEpoch(uint64_t word) noexcept {
    return ((word >> kRoomClasses) + 1) << kRoomClasses;
  }
  // One of the wanting classes, each as often as the others, without another word: the epoch picks
  // it. Its steps are spread over the whole range first, as it takes several from pass to pass.
  static uint32_t NextClass(uint64_t word, uint64_t looked) noexcept {
    constexpr uint64_t kGoldenRatio = 0x9E37'79B9'7F4A'7C15;  // of 2^64
    uint64_t wanting = word & kRoomClassMask & ~looked;
    const uint64_t spread = (word >> kRoomClasses) * kGoldenRatio >> 32;
    for (uint64_t nth = spread * static_cast<uint64_t>(std::popcount(wanting)) >> 32; nth > 0;
         --nth) {
      wanting &= wanting - 1;
    }
    return static_cast<uint32_t>(std::countr_zero(wanting));
  }

  Word* words_ = nullptr;
  uint32_t per_class_ = 0;
};

using Wants = WantsOf<NativeMemory>;

}  // namespace cfc
