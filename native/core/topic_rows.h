// TopicRows: the subscribers of a topic, and the gate that keeps publishers from passing them.
//
//   FREE -> CLAIMED(me), generation + 1          the fields are written
//   CLAIMED(me) -> JOINING(me)                   from here on every new scan sees the row
//   JOINING(me) -> RELIABLE(me) or LOSSY(me)     once the cursor stands at the tail, loaded anew
//   RELIABLE, JOINING -> LAGGED, same owner      it held publishers up for longer than it may
//   LAGGED(me) -> CLAIMED(me), generation + 1    it saw that, and takes part again
//   any(o) -> FREE                               o leaves, or is proven dead
//
// The gate is the least position that a reliable subscriber still has to read, as the last scan
// found it; it only grows. A scan loads the tail first. So a row that a scan has missed begins at a
// tail at least as large as all that this scan may say, and nothing it is to get is freed.
//
// A row holds the gate at its start until the head stands there: then the number of positions
// before it that carried no message is final, and anybody writes it down (base). From then on the
// exact number of messages in any gap of that subscriber is a subtraction.
//
// Threads and processes: any. A row's cursor, its delivered and lost belong to its owner.
#pragma once

#include <cstdint>

#include "failpoint.h"
#include "topic_log.h"
#include "topic_words.h"

namespace cfc {

// What a scan found.
template <class Memory>
struct TopicScanOf {
  static constexpr uint32_t kMostHolders = 16;
  struct Holder {
    uint32_t row;
    uint64_t word;
    uint64_t position;
  };
  uint64_t gate = 0;
  uint64_t least_read = 0;            // the same of all that read, lossy ones too
  Holder holders[kMostHolders] = {};  // some of those who stand at the gate
  uint32_t count = 0;
};
using TopicScan = TopicScanOf<NativeMemory>;

template <class Memory>
class TopicRowsOf {
 public:
  using Row = RowOf<Memory>;
  using Log = TopicLogOf<Memory>;
  using Scan = TopicScanOf<Memory>;

  TopicRowsOf() noexcept = default;
  TopicRowsOf(TopicWordsOf<Memory>* words, Row* rows, uint32_t count) noexcept
      : words_(words), rows_(rows), count_(count) {}

  uint32_t count() const noexcept { return count_; }
  Row& At(uint32_t row) const noexcept { return rows_[row]; }
  uint32_t used() const noexcept {
    const uint64_t used = words_->rows_used.load();
    return used < count_ ? static_cast<uint32_t>(used) : count_;
  }

  // ---- by the subscriber

  // Takes a row and begins at the tail. kSubscribersFull.
  Status Join(Owner me, RowKind policy, uint32_t patience_ms, uint32_t agent, uint32_t* row,
              uint32_t* generation, uint64_t* start) noexcept {
    for (uint32_t i = 0; i < count_; ++i) {
      uint64_t word = rows_[i].word.load();
      if (RowKindOf(word) != RowKind::kFree) continue;
      // First, or repair would not look at the row of one who dies with it.
      uint64_t used = words_->rows_used.load();
      while (used <= i && !words_->rows_used.compare_exchange_weak(used, i + 1)) {
      }
      const uint32_t next = RowGeneration(word) + 1;
      if (!rows_[i].word.compare_exchange_strong(word, PackRow(next, me, RowKind::kClaimed))) {
        continue;
      }
      CFC_FAIL_POINT("topic.row");
      rows_[i].patience_ms.store(patience_ms);
      rows_[i].delivered.store(0);
      rows_[i].lost.store(0);
      rows_[i].agent.store(agent);
      *row = i;
      *generation = next;
      return Enter(me, policy, i, generation, start);
    }
    return Status::kSubscribersFull;
  }

  // Takes part again after it was set aside, at `position`. False: the row is not ours any more.
  bool Rejoin(Owner me, uint32_t row, uint32_t* generation, uint64_t position) noexcept {
    Row& mine = rows_[row];
    const uint32_t next = *generation + 1;
    uint64_t word = PackRow(*generation, me, RowKind::kLagged);
    const uint32_t aborted = BaseAborted(mine.base.load());
    if (!mine.word.compare_exchange_strong(word, PackRow(next, me, RowKind::kClaimed))) {
      return false;
    }
    CFC_FAIL_POINT("topic.rejoining");
    mine.cursor.store(PackCursor(next, position));
    mine.base.store(PackBase(next, true, aborted));
    mine.held.store(0);
    word = PackRow(next, me, RowKind::kClaimed);
    *generation = next;
    return mine.word.compare_exchange_strong(word, PackRow(next, me, RowKind::kReliable));
  }

  // Says how far it has read.
  bool Advance(uint32_t row, uint32_t generation, uint64_t from, uint64_t to) noexcept {
    uint64_t seen = PackCursor(generation, from);
    return rows_[row].cursor.compare_exchange_strong(seen, PackCursor(generation, to));
  }

  // False where it was not ours any more.
  bool Leave(Owner me, uint32_t row, uint32_t generation) noexcept {
    for (uint32_t tries = 0; tries < 64; ++tries) {
      uint64_t word = rows_[row].word.load();
      if (RowOwner(word) != me || RowGeneration(word) != generation) return false;
      if (Free(row, word)) {
        CFC_FAIL_POINT("topic.left");
        return true;
      }
    }
    return false;
  }

  // How many positions before the row's start carried no message. False: the head is not there yet.
  bool Base(uint32_t row, uint32_t generation, uint32_t* aborted) const noexcept {
    const uint64_t base = rows_[row].base.load();
    if (base >> 33 != (generation & 0x7fff'ffff) || !BaseKnown(base)) return false;
    *aborted = BaseAborted(base);
    return true;
  }

  // ---- by whoever needs room

  // Looks at every row, and moves the gate on.
  void Look(const Log& log, Scan* scan) noexcept {
    const uint64_t tail = Position(log.words()->tail.load());
    scan->gate = scan->least_read = tail;
    scan->count = 0;
    const uint32_t rows = used();
    for (uint32_t i = 0; i < rows; ++i) {
      const uint64_t word = rows_[i].word.load();
      if (!RowGates(word) && !RowReads(word)) continue;
      const uint32_t generation = RowGeneration(word);
      const uint64_t cursor = rows_[i].cursor.load();
      if (!CursorIsOf(cursor, generation)) continue;  // it left meanwhile, or begins again
      uint64_t at = CursorPosition(cursor);
      if (RowKindOf(word) != RowKind::kLagged && at < scan->least_read) scan->least_read = at;
      if (!RowGates(word)) at = ~uint64_t{0};
      // One that joins may read by now, and be past its start.
      const bool joins = RowKindOf(word) == RowKind::kJoining;
      if (joins || (RowKindOf(word) != RowKind::kLagged && !Settled(log, i, generation))) {
        const uint64_t start = rows_[i].start.load();
        if (start < at) at = start;
      }
      if (at > scan->gate) continue;
      if (at < scan->gate) scan->count = 0;
      scan->gate = at;
      if (RowGates(word) && scan->count < Scan::kMostHolders) {
        scan->holders[scan->count++] = {i, word, at};
      }
    }
    uint64_t gate = words_->gate.load();
    while (gate < scan->gate && !words_->gate.compare_exchange_weak(gate, scan->gate)) {
    }
    CFC_FAIL_POINT("topic.gate");
  }
  uint64_t gate() const noexcept { return words_->gate.load(); }

  // What becomes of one that holds publishers up and lives: nothing yet (`left_ms` tells how long),
  // or it is set aside. Its time runs from when it first did so, for as long as it has not read
  // what was published by then.
  bool SetAside(const Log& log, const typename Scan::Holder& holder, uint32_t now_ms,
                uint32_t* left_ms) noexcept {
    Row& row = rows_[holder.row];
    const auto tail = static_cast<uint32_t>(Position(log.words()->tail.load()));
    const auto patience = static_cast<uint32_t>(row.patience_ms.load());
    uint64_t held = row.held.load();
    *left_ms = patience;
    uint32_t aborted = 0;
    if (RowReads(holder.word) && !Base(holder.row, RowGeneration(holder.word), &aborted)) {
      return false;  // the next scan writes it down
    }
    if (held == 0 ||
        static_cast<int32_t>(static_cast<uint32_t>(holder.position) - HeldTail(held)) >= 0) {
      row.held.compare_exchange_strong(held, PackHeld(tail, now_ms));
      return false;
    }
    const uint32_t elapsed = ElapsedMs(now_ms, HeldSinceMs(held));
    if (elapsed < patience) {
      *left_ms = patience - elapsed;
      return false;
    }
    // It may have read on since the scan: a publisher that was stopped in between would make it pay
    // for that time.
    const uint64_t cursor = row.cursor.load();
    if (CursorIsOf(cursor, RowGeneration(holder.word)) &&
        static_cast<int32_t>(static_cast<uint32_t>(CursorPosition(cursor)) - HeldTail(held)) >= 0) {
      return false;
    }
    uint64_t word = holder.word;
    const bool lagged = row.word.compare_exchange_strong(
        word, PackRow(RowGeneration(word), RowOwner(word), RowKind::kLagged));
    CFC_FAIL_POINT("topic.lagged");
    return lagged;
  }

  // ---- repair

  bool Free(uint32_t row, uint64_t word) noexcept {
    return rows_[row].word.compare_exchange_strong(word,
                                                   PackRow(RowGeneration(word), 0, RowKind::kFree));
  }

  // Frees the rows of `owner`, who is proven dead or leaves. Returns how many.
  uint32_t RepairOwner(Owner owner) noexcept {
    uint32_t freed = 0;
    const uint32_t rows = used();
    for (uint32_t i = 0; i < rows; ++i) {
      const uint64_t word = rows_[i].word.load();
      if (RowOwner(word) != owner || RowKindOf(word) == RowKind::kFree) continue;
      CFC_FAIL_POINT("repair.row");
      if (Free(i, word)) ++freed;
    }
    return freed;
  }

 private:
  Status Enter(Owner me, RowKind policy, uint32_t row, uint32_t* generation,
               uint64_t* start) noexcept {
    Row& mine = rows_[row];
    for (uint32_t tries = 0; tries < 1024; ++tries) {
      const uint32_t current = *generation;
      const uint64_t claimed = PackRow(current, me, RowKind::kClaimed);
      const uint64_t joining = PackRow(current, me, RowKind::kJoining);
      const uint64_t first = Position(words_->lane.tail.load());
      mine.start.store(first);
      mine.cursor.store(PackCursor(current, first));
      mine.base.store(PackBase(current, false, 0));
      mine.held.store(0);
      uint64_t word = claimed;
      if (!mine.word.compare_exchange_strong(word, joining)) return Status::kStale;
      CFC_FAIL_POINT("topic.joining");
      // Loaded anew: what a scan that missed this row may free lies before it.
      *start = Position(words_->lane.tail.load());
      mine.start.store(*start);
      mine.cursor.store(PackCursor(current, *start));
      word = joining;
      if (mine.word.compare_exchange_strong(word, PackRow(current, me, policy))) {
        CFC_FAIL_POINT("topic.joined");
        return Status::kOk;
      }
      // We stalled, and publishers set the row aside: once more.
      if (word != PackRow(current, me, RowKind::kLagged)) return Status::kStale;
      *generation = current + 1;
      if (!mine.word.compare_exchange_strong(word, PackRow(current + 1, me, RowKind::kClaimed))) {
        return Status::kStale;
      }
    }
    return Status::kBusy;
  }

  // True once the row's base is known. The head at its start is the moment at which it can be.
  bool Settled(const Log& log, uint32_t row, uint32_t generation) noexcept {
    uint64_t base = rows_[row].base.load();
    if (base != PackBase(generation, false, 0)) return true;
    uint64_t head = 0;
    uint32_t aborted = 0;
    if (!log.Passed(&head, &aborted) || rows_[row].start.load() != head) return false;
    rows_[row].base.compare_exchange_strong(base, PackBase(generation, true, aborted));
    CFC_FAIL_POINT("topic.resolved");
    return true;
  }

  TopicWordsOf<Memory>* words_ = nullptr;
  Row* rows_ = nullptr;
  uint32_t count_ = 0;
};

using TopicRows = TopicRowsOf<NativeMemory>;

}  // namespace cfc
