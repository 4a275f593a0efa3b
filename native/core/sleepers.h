// Sleepers: which subscribers of a topic sleep, so that a publish finds them without asking all.
//
// A bit a row, in groups of 48, and a word that says which groups have any. Who is about to sleep
// parks its doorbell, sets its bit and then that of its group, each with the next epoch, looks once
// more, and sleeps. Who publishes rings whoever has a bit. A bit whose row is not parked any more
// is cleared by a swap of the whole word as it was before the look: a bit set meanwhile has moved
// the epoch on, so none is lost. Sleepers never clear. native/model/topic_model.cc searches it.
//
// Threads and processes: any. Death: at any step; a bit that stays is looked at in vain, once.
#pragma once

#include <cstdint>

#include "failpoint.h"
#include "layout.h"

namespace cfc {

template <class Memory>
class SleepersOf {
 public:
  using Word = typename Memory::Word;

  explicit SleepersOf(TopicWordsOf<Memory>* words) noexcept : words_(words) {}

  // By a subscriber whose doorbell is parked, before its last look.
  void Announce(uint32_t row) noexcept {
    const uint32_t group = row / kRowsPerGroup % kRowGroups;
    Set(words_->groups[group], row % kRowsPerGroup);
    CFC_FAIL_POINT("topic.asleep");
    Set(words_->sleepers, group);
    CFC_FAIL_POINT("topic.announced");
  }

  // After publishing. wake(row) wakes a parked one; false where it is not parked.
  template <class Wake>
  void RingAll(Wake&& wake) noexcept {
    uint64_t seen = words_->sleepers.load();
    if ((seen & kMask) == 0) return;
    for (uint32_t group = 0; group < kRowGroups; ++group) {
      if ((seen >> group & 1) == 0) continue;
      uint64_t rows = words_->groups[group].load();
      if ((rows & kMask) == 0) {
        uint64_t expected = seen;
        const uint64_t rest = NextEpoch(seen) | (seen & kMask & ~(uint64_t{1} << group));
        // Where the word has moved on, what was seen of it proves nothing any more.
        if (words_->sleepers.compare_exchange_strong(expected, rest)) seen = rest;
        continue;
      }
      uint64_t asleep = 0;
      for (uint32_t i = 0; i < kRowsPerGroup; ++i) {
        if ((rows >> i & 1) && wake(group * kRowsPerGroup + i)) asleep |= uint64_t{1} << i;
      }
      if (asleep != (rows & kMask)) {
        words_->groups[group].compare_exchange_strong(rows, NextEpoch(rows) | asleep);
      }
    }
  }

 private:
  static constexpr uint64_t kMask = (uint64_t{1} << 48) - 1;

  static uint64_t NextEpoch(uint64_t word) noexcept { return ((word >> 48) + 1) << 48; }
  static void Set(Word& word, uint32_t bit) noexcept {
    uint64_t seen = word.load();
    while (
        !word.compare_exchange_weak(seen, NextEpoch(seen) | (seen & kMask) | uint64_t{1} << bit)) {
    }
  }

  TopicWordsOf<Memory>* words_;
};

}  // namespace cfc
