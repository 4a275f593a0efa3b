// LaneBase: what every part of a lane stands on: its words, its geometry, its counts.
//
// ring.h has the contract of the whole. Everything here may be run by anybody, any number of times.
#pragma once

#include <cstdint>

#include "failpoint.h"
#include "layout.h"
#include "words.h"

namespace cfc {

// What a lane holds, found by looking at every cell. Exact while nobody works on it.
struct LaneCensus {
  uint64_t head = 0;
  uint64_t tail = 0;
  bool closing = false;
  uint32_t free = 0, claimed = 0, quarantined = 0, ready = 0, leased = 0, held = 0, done = 0,
           sealed = 0;
  // Positions by what became of them, since the lane began, modulo 2^32.
  uint32_t acked = 0, aborted = 0, dropped = 0, dead_lettered = 0;
};

template <class Memory>
class LaneBaseOf {
 public:
  using Cell = CellOf<Memory>;
  using Words = LaneWordsOf<Memory>;

  LaneBaseOf() noexcept = default;
  // cells: `capacity` of them, a power of two, at least two.
  LaneBaseOf(Words* words, Cell* cells, uint32_t capacity) noexcept
      : words_(words), cells_(cells), capacity_(capacity) {
    while ((uint32_t{1} << shift_) < capacity) ++shift_;
  }

  // Lays out an empty lane of zeroed memory that begins at `position` (tests begin near the wrap).
  void Initialize(uint64_t position) noexcept {
    words_->tail.store(position);
    words_->head.store(position);
    for (auto& count : words_->voids) count.store(PackVoid(static_cast<uint32_t>(position), 0));
    for (uint64_t i = 0; i < capacity_; ++i) {
      const uint64_t at = position + i;
      At(at).words[kState].store(PackCell(LapOf(at), 0, 0, CellKind::kFree));
    }
  }

  uint32_t capacity() const noexcept { return capacity_; }
  Words* words() const noexcept { return words_; }
  Cell& At(uint64_t position) const noexcept { return cells_[position & (capacity_ - 1)]; }
  uint32_t LapOf(uint64_t position) const noexcept {
    return static_cast<uint32_t>(position >> shift_);
  }

  // How many positions lie between head and tail: unacked messages, and holes.
  uint64_t Depth() const noexcept {
    const uint64_t head = words_->head.load();
    const uint64_t tail = Position(words_->tail.load());
    return tail > head ? (tail - head < capacity_ ? tail - head : capacity_) : 0;
  }
  // Of those between head and tail: how many wait, and how many somebody has.
  struct Waiting {
    uint32_t ready = 0;
    uint32_t leased = 0;
  };
  Waiting CountWaiting() const noexcept {
    Waiting waiting;
    const uint64_t head = words_->head.load();
    for (uint64_t n = Depth(), i = 0; i < n; ++i) {
      const uint64_t word = At(head + i).words[kState].load();
      if (CellLap(word) != LapOf(head + i)) continue;
      const CellKind kind = CellKindOf(word);
      if (kind == CellKind::kReady) ++waiting.ready;
      if (kind == CellKind::kLeased || kind == CellKind::kHeld) ++waiting.leased;
    }
    return waiting;
  }
  // So much room is worth a wake, and worth a short wait: one cell alone costs its sender and its
  // reader more than it is good for.
  static constexpr uint32_t Handful(uint32_t capacity) noexcept { return (capacity + 7) / 8; }

  // Whether that many cells from the tail on are free: for a sender that would rather wait for a
  // handful than fight over each. One load; the answer may be old.
  bool HasSpace(uint32_t cells) const noexcept {
    const uint64_t last = Position(words_->tail.load()) + cells - 1;
    const uint64_t word = At(last).words[kState].load();
    return CellKindOf(word) == CellKind::kFree && CellLap(word) == LapOf(last);
  }

  // Fetches the cell that a small message at `position` fills. Changes nothing.
  void PrefetchToWrite(uint64_t position) const noexcept {
    const auto* words = At(position).words;
    __builtin_prefetch(words, 1);
    __builtin_prefetch(words + 8, 1);
    __builtin_prefetch(words + 16, 1);
  }
  void PrefetchToRead(uint64_t position) const noexcept {
    const auto* words = At(position).words;
    __builtin_prefetch(words, 1);  // its state is going to be swapped
    __builtin_prefetch(words + 8);
    __builtin_prefetch(words + 16);
  }

  // Whether a look that ended at `position`, at a free cell, would now get further.
  bool CameTo(uint64_t position) const noexcept {
    const uint64_t word = At(position).words[kState].load();
    const int32_t ahead = LapsAhead(CellLap(word), LapOf(position));
    if (ahead != 0) return ahead > 0;
    return CellKindOf(word) != CellKind::kFree && CellKindOf(word) != CellKind::kSealed;
  }

  bool Closing() const noexcept { return words_->tail.load() & kClosing; }

  // Every message that an ack took out of the lane, modulo 2^32.
  uint32_t AckedCount() const noexcept {
    uint32_t acked = static_cast<uint32_t>(words_->head.load());
    for (const auto& count : words_->voids) acked -= VoidCount(count.load());
    return acked;
  }

  // Messages that ended without an ack: dropped or dead-lettered, modulo 2^32. Each is counted
  // before its cell comes free.
  uint32_t LostCount() const noexcept {
    return VoidCount(words_->voids[kDropped - 1].load()) +
           VoidCount(words_->voids[kDeadLettered - 1].load());
  }

  LaneCensus Census() const noexcept {
    LaneCensus census = Tally();
    uint32_t* const counts[] = {&census.free,  &census.claimed, &census.quarantined,
                                &census.ready, &census.leased,  &census.held,
                                &census.done,  &census.sealed};
    for (uint32_t i = 0; i < capacity_; ++i) {
      const auto kind = static_cast<uint32_t>(CellKindOf(cells_[i].words[kState].load()));
      if (kind < 8) ++*counts[kind];
    }
    return census;
  }

  // Without a look at every cell: what became of positions, not what each cell is now.
  LaneCensus Tally() const noexcept {
    LaneCensus census;
    const uint64_t tail = words_->tail.load();
    census.head = words_->head.load();
    census.tail = Position(tail);
    census.closing = tail & kClosing;
    census.aborted = VoidCount(words_->voids[kAborted - 1].load());
    census.dropped = VoidCount(words_->voids[kDropped - 1].load());
    census.dead_lettered = VoidCount(words_->voids[kDeadLettered - 1].load());
    census.acked =
        static_cast<uint32_t>(census.head) - census.aborted - census.dropped - census.dead_lettered;
    // The position at the head may be counted already, by somebody who did not get to pass it.
    const auto next = static_cast<uint32_t>(census.head + 1);
    for (const auto& tally : words_->voids) {
      if (VoidPosition(tally.load()) == next) ++census.acked;
    }
    AddUnpassed(&census);
    return census;
  }

 private:
  // What is settled but stands behind something that is not: it counts as what it is.
  void AddUnpassed(LaneCensus* census) const noexcept {
    uint32_t* const totals[] = {&census->acked, &census->aborted, &census->dropped,
                                &census->dead_lettered};
    for (uint64_t i = 0; i < capacity_ && census->head + i < census->tail; ++i) {
      const uint64_t position = census->head + i;
      const uint64_t word = At(position).words[kState].load();
      if (CellLap(word) != LapOf(position) || CellKindOf(word) != CellKind::kDone) continue;
      const uint32_t reason = CellOwner(word) & 3;
      const bool counted =
          i == 0 && reason != kAcked &&
          VoidPosition(words_->voids[reason - 1].load()) == static_cast<uint32_t>(position + 1);
      if (!counted) ++*totals[reason];
    }
  }

 protected:
  static constexpr uint64_t kTallyStep = uint64_t{1} << 28;

  // The state after a redelivery. At kMaxAttempt the count stands still; the word still differs
  // from every earlier one that a token could name but for the same holder's own.
  static uint64_t Again(uint64_t word) noexcept {
    const uint32_t attempt = CellAttempt(word);
    return PackCell(CellLap(word), 0, attempt < kMaxAttempt ? attempt + 1 : kMaxAttempt,
                    CellKind::kReady);
  }

  void HelpTail(uint64_t position) noexcept {
    uint64_t tail = words_->tail.load();
    while (Position(tail) == position) {
      const uint64_t next = (tail & kClosing) | (position + 1);
      if (words_->tail.compare_exchange_strong(tail, next)) return;
    }
  }

  // Counts a position that carries no acked message, once, while its cell still stands at `word`.
  // The count is loaded before the cell is looked at again: so nobody can have freed the cell
  // since, and a process that slept in between fails its swap instead of counting twice.
  bool Count(uint32_t reason, uint64_t position, uint64_t word) noexcept {
    if (reason < kAborted || reason > kDeadLettered) reason = kAborted;  // hostile memory
    auto& tally = words_->voids[reason - 1];
    const auto next = static_cast<uint32_t>(position + 1);
    for (uint32_t tries = 0; tries < 1024; ++tries) {
      uint64_t seen = tally.load();
      if (At(position).words[kState].load() != word) return false;
      if (static_cast<int32_t>(VoidPosition(seen) - next) >= 0) return true;
      if (tally.compare_exchange_strong(seen, PackVoid(next, VoidCount(seen) + 1))) return true;
    }
    return false;
  }

  // Moves counters that counted nothing for long along with the head, as positions are compared by
  // signed difference: one that fell 2^31 behind would look as if it were ahead. Whoever frees the
  // cell or passes it does this first; a late one finds the counter moved or says the same.
  void CatchUp(uint64_t position, uint64_t word) noexcept {
    for (auto& tally : words_->voids) {
      uint64_t seen = tally.load();
      if (At(position).words[kState].load() != word) return;
      const auto here = static_cast<uint32_t>(position);
      if (static_cast<int32_t>(VoidPosition(seen) - here) >= 0) continue;
      tally.compare_exchange_strong(seen, PackVoid(here, VoidCount(seen)));
    }
  }

  Words* words_ = nullptr;
  Cell* cells_ = nullptr;
  uint32_t capacity_ = 0;
  uint32_t shift_ = 0;
};

}  // namespace cfc
