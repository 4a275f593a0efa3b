// Lane: a ring of cells in shared memory, from many producers to competing readers.
//
// Every change of a cell is a compare-and-swap on its whole state word, which says lap, owner,
// attempt and kind; no value of it ever returns. `tail` and `head` only ever move from n to n + 1.
// So any step can be the last one of its process, any process can go on from there, and a process
// that slept for an hour finds its swap refused. docs/memory.md has the table of transitions and
// of deaths; native/model/mailbox_model.cc searches it.
//
// Threads and processes: any number, all at once. Nothing here sleeps or makes a system call.
// Hostile memory: geometry is private, every word is loaded once, positions are masked, and every
// loop is bounded by the capacity.
#pragma once

#include <cstdint>
#include <type_traits>

#include "failpoint.h"
#include "lane_upkeep.h"
#include "layout.h"
#include "status.h"
#include "words.h"

namespace cfc {
// Owners in whose hands a scan found something unfinished: candidates for a test of their lease.
struct Suspects {
  static constexpr uint32_t kMost = 8;
  Owner owners[kMost] = {};
  uint32_t count = 0;

  void Add(Owner owner) noexcept {
    for (uint32_t i = 0; i < count; ++i) {
      if (owners[i] == owner) return;
    }
    if (count < kMost) owners[count++] = owner;
  }
};

enum class TakeFilter { kAll, kRepliesOnly };

// Of an answer to a question of the participant with this uid: whether it is left to another
// reader.
struct NobodyElses {
  constexpr bool operator()(uint64_t /*asker_uid*/) const noexcept { return false; }
};

struct Taken {
  Status status = Status::kEmpty;  // kOk, kEmpty, kClosed (drained for good)
  uint64_t position = 0;           // where it found nothing: where it looked last
  uint64_t word = 0;               // the lease: what Settle, GiveBack and HandOver want
  bool delayed = false;            // kEmpty: a delayed message is there, the earliest in…
  uint32_t delay_ms = 0;           // …so many milliseconds
};
template <class Memory>
class LaneOf : public LaneUpkeepOf<Memory> {
 public:
  using Base = LaneUpkeepOf<Memory>;
  using Base::At;
  using Base::Base;
  using Base::LapOf;
  using Base::Seal;
  using typename Base::Cell;
  using typename Base::Words;

  // ---- producer

  // Takes the next cell. still_valid: re-checked after the tail is loaded and before the cell is,
  // so that a mailbox that was given away meanwhile is noticed (kStale).
  // kFull also when others won every race of a long series: the caller waits or gives up.
  template <class StillValid>
  Status TryClaim(Owner me, StillValid&& still_valid, uint64_t* position) noexcept {
    for (uint32_t tries = 0; tries < 4 * capacity_ + 64; ++tries) {
      const uint64_t tail = words_->tail.load();
      if (!still_valid()) return Status::kStale;
      if (tail & kClosing) {
        Seal();
        return Status::kClosed;
      }
      Cell& cell = At(tail);
      const uint32_t lap = LapOf(tail);
      uint64_t word = cell.words[kState].load();
      const int32_t ahead = LapsAhead(CellLap(word), lap);
      if (ahead == 0 && CellKindOf(word) == CellKind::kFree) {
        if (!cell.words[kState].compare_exchange_strong(word,
                                                        PackCell(lap, me, 0, CellKind::kClaimed))) {
          continue;
        }
        CFC_FAIL_POINT("claim.cell");
        HelpTail(tail);
        CFC_FAIL_POINT("claim.tail");
        *position = tail;
        return Status::kOk;
      }
      if (ahead == 0 && CellKindOf(word) == CellKind::kSealed && words_->tail.load() == tail) {
        return Status::kClosed;
      }
      if (ahead < 0) return Status::kFull;
      HelpTail(tail);  // somebody claimed it and did not move the tail yet, or it is a hole
    }
    return Status::kFull;
  }

  // False: the claim was quarantined meanwhile and is given back; send again.
  bool Commit(Owner me, uint64_t position) noexcept {
    const uint32_t lap = LapOf(position);
    uint64_t word = PackCell(lap, me, 0, CellKind::kClaimed);
    CFC_FAIL_POINT("commit.before");
    if (At(position).words[kState].compare_exchange_strong(
            word, PackCell(lap, me, 0, CellKind::kReady))) {
      CFC_FAIL_POINT("commit.after");
      return true;
    }
    Abort(me, position);
    return false;
  }

  // Gives a claim back, whatever happened to it meanwhile.
  void Abort(Owner me, uint64_t position) noexcept {
    Cell& cell = At(position);
    for (uint32_t tries = 0; tries < capacity_ + 64; ++tries) {
      uint64_t word = cell.words[kState].load();
      const CellKind kind = CellKindOf(word);
      if (CellOwner(word) != me || (kind != CellKind::kClaimed && kind != CellKind::kQuarantined)) {
        return;
      }
      if (cell.words[kState].compare_exchange_strong(
              word, PackCell(CellLap(word), kAborted, 0, CellKind::kDone))) {
        return;
      }
    }
  }

  // Makes room by dropping the oldest message, if it stands at the head and nobody reads it.
  bool DropHead() noexcept {
    const uint64_t head = words_->head.load();
    uint64_t word = At(head).words[kState].load();
    if (CellKindOf(word) != CellKind::kReady || CellLap(word) != LapOf(head)) return false;
    return At(head).words[kState].compare_exchange_strong(
        word, PackCell(CellLap(word), kDropped, 0, CellKind::kDone));
  }

  // ---- reader

  // Leases one message. cursor: private to this reader, 0 at first; it only saves looking again at
  // what is leased already, and never passes a claimed cell, as its sender's next message would
  // overtake it. now_ms(): monotonic, asked only where a message has a delay. suspects: may be
  // null. still_valid: whether the mailbox is still ours, asked after a cell is loaded and before
  // it is leased, else a reader that was stopped there would take a message of the next owner.
  // elses: see NobodyElses.
  template <class Clock, class StillValid = AlwaysValid, class Elses = NobodyElses>
  Taken Take(Owner me, TakeFilter filter, Clock&& now_ms, uint64_t* cursor, Suspects* suspects,
             StillValid still_valid = {}, Elses elses = {}) noexcept {
    uint64_t aside = 0;  // replies come out of the midst of others, which the cursor must not pass
    if (filter != TakeFilter::kAll) cursor = &aside;
    const uint64_t head = words_->head.load();
    uint64_t from = *cursor;
    if (from < head || from - head > capacity_) from = head;
    if (from != head) {
      const uint64_t word = At(head).words[kState].load();
      if (CellKindOf(word) == CellKind::kReady && CellLap(word) == LapOf(head)) from = head;
    }
    Taken taken = Scan(me, filter, now_ms, from, cursor, suspects, still_valid, elses);
    if (taken.status != Status::kOk && from != head) {
      taken = Scan(me, filter, now_ms, words_->head.load(), cursor, suspects, still_valid, elses);
    }
    return taken;
  }

  // What Take would find, by the same scan, without taking it.
  template <class Clock, class Elses = NobodyElses>
  Taken Look(TakeFilter filter, Clock&& now_ms, uint64_t cursor, Suspects* suspects,
             Elses elses = {}) noexcept {
    return Take(/*me=*/0, filter, now_ms, &cursor, suspects, AlwaysValid(), elses);
  }

  // True while the lease still stands: what was copied before this is the message.
  bool Holds(uint64_t position, uint64_t word) const noexcept {
    return At(position).words[kState].load() == word;
  }

  // Acknowledges (kAcked) or puts away for another reason.
  Status Settle(uint64_t position, uint64_t word, VoidReason reason) noexcept {
    CFC_FAIL_POINT("ack.before");
    uint64_t seen = word;
    if (At(position).words[kState].compare_exchange_strong(
            seen, PackCell(CellLap(word), reason, CellAttempt(word), CellKind::kDone))) {
      CFC_FAIL_POINT("ack.after");
      return Status::kOk;
    }
    const bool acked = (CellKindOf(seen) == CellKind::kDone && CellLap(seen) == CellLap(word) &&
                        CellOwner(seen) == kAcked) ||
                       LapsAhead(CellLap(seen), CellLap(word)) > 0;
    return acked ? Status::kAlreadyAcked : Status::kLeaseLost;
  }

  // After a message was settled: leaves the verdict for a sender that waits for it. Returns whom to
  // ring, 0: nobody. Again at the reclaim, in case the one who settled it died before.
  Owner LeaveVerdict(uint64_t position, VoidReason reason) noexcept {
    auto& receipt = At(position).words[kReceipt];
    uint64_t seen = receipt.load(std::memory_order_relaxed);
    const Owner owner = ReceiptOwner(seen);
    if (owner == 0 || ReceiptLap(seen) != LapOf(position) || ReceiptVerdict(seen) != 0) return 0;
    const uint64_t left = PackReceipt(LapOf(position), owner, 1 + reason);
    return receipt.compare_exchange_strong(seen, left) ? owner : 0;
  }

  // What became of the message at `position`: kOk with its reason, kBusy (not settled yet), kStale
  // (settled so long ago that its cell carries another message).
  Status Verdict(uint64_t position, VoidReason* reason) const noexcept {
    const uint64_t receipt = At(position).words[kReceipt].load();
    const uint64_t word = At(position).words[kState].load();
    if (ReceiptLap(receipt) == LapOf(position) && ReceiptVerdict(receipt) != 0) {
      *reason = static_cast<VoidReason>((ReceiptVerdict(receipt) - 1) & 3);
      return Status::kOk;
    }
    if (CellLap(word) != LapOf(position)) return Status::kStale;
    if (CellKindOf(word) != CellKind::kDone) return Status::kBusy;
    *reason = static_cast<VoidReason>(CellOwner(word) & 3);
    return Status::kOk;
  }

  // Back into the ring, one attempt more. not_before_ms: monotonic, 0 for at once. The delay
  // carries the lap: a holder that slept for an hour delays nothing of a later one.
  Status GiveBack(uint64_t position, uint64_t word, uint32_t not_before_ms) noexcept {
    Cell& cell = At(position);
    uint64_t seen = cell.words[kState].load();
    if (seen != word) return Status::kLeaseLost;
    if (not_before_ms != 0) {
      cell.words[kNotBefore].store(uint64_t{CellLap(word)} << 32 | not_before_ms,
                                   std::memory_order_release);
    }
    return cell.words[kState].compare_exchange_strong(seen, Again(word)) ? Status::kOk
                                                                         : Status::kLeaseLost;
  }

  // Back into the ring as it was, as nobody looked at it. The word of the lease may come back, to
  // the same holder: it forgets its tokens of this message first.
  Status Release(uint64_t position, uint64_t word) noexcept {
    uint64_t seen = word;
    const uint64_t ready = PackCell(CellLap(word), 0, CellAttempt(word), CellKind::kReady);
    return At(position).words[kState].compare_exchange_strong(seen, ready) ? Status::kOk
                                                                           : Status::kLeaseLost;
  }

  // From the reading process to its agent's incarnation, once it has printed the message. Returns
  // the word that now stands for the lease, 0 where the lease was lost.
  uint64_t HandOver(uint64_t position, uint64_t word, uint32_t incarnation) noexcept {
    const uint64_t held =
        PackCell(CellLap(word), incarnation & kOwnerMask, CellAttempt(word), CellKind::kHeld);
    uint64_t seen = word;
    return At(position).words[kState].compare_exchange_strong(seen, held) ? held : 0;
  }

 protected:
  using Base::Again;
  using Base::capacity_;
  using Base::HelpTail;
  using Base::words_;

 private:
  static constexpr uint64_t kNobody = ~uint64_t{0};

  template <class Clock, class StillValid, class Elses>
  Taken Scan(Owner me, TakeFilter filter, Clock&& now_ms, uint64_t start, uint64_t* cursor,
             Suspects* suspects, StillValid& still_valid, Elses& elses) noexcept {
    Taken taken;
    taken.position = start + capacity_;
    uint64_t skipped = kNobody;
    uint64_t skipped_word = 0;
    uint32_t restarts = 0;
    for (uint32_t i = 0; i < capacity_;) {
      const uint64_t position = start + i;
      Cell& cell = At(position);
      uint64_t word = cell.words[kState].load();
      const int32_t ahead = LapsAhead(CellLap(word), LapOf(position));
      const CellKind kind = CellKindOf(word);
      if (ahead < 0 || (ahead == 0 && kind == CellKind::kFree)) {
        taken.position = position;
        break;
      }
      if (ahead == 0 && kind == CellKind::kSealed &&
          Position(words_->tail.load()) == position) {  // else the lane was reopened past it
        if (position == words_->head.load()) taken.status = Status::kClosed;
        taken.position = position;
        break;
      }
      if (ahead == 0 && kind == CellKind::kClaimed) {
        if (suspects) suspects->Add(CellOwner(word));
        if (skipped != kNobody) break;  // room for one: a stalled producer delays only itself
        skipped = position;
        skipped_word = word;
      } else if (ahead == 0 && kind == CellKind::kReady &&
                 Wanted(cell, word, filter, now_ms, elses, &taken)) {
        if (skipped != kNobody && At(skipped).words[kState].load() != skipped_word) {
          // It moved: its sender may have committed it and this one after it. Begin again, or the
          // second would overtake the first.
          if (++restarts > capacity_) break;
          skipped = kNobody;
          i = 0;
          continue;
        }
        taken.position = position;
        if (me == 0) {  // only looking
          taken.status = Status::kOk;
          return taken;
        }
        const uint64_t lease = PackCell(CellLap(word), me, CellAttempt(word), CellKind::kLeased);
        if (!still_valid()) {
          taken.status = Status::kStale;
          return taken;
        }
        CFC_FAIL_POINT("take.before");
        if (!cell.words[kState].compare_exchange_strong(word, lease)) {
          if (++restarts > capacity_) break;
          continue;  // look at the same cell again
        }
        CFC_FAIL_POINT("take.leased");
        taken.status = Status::kOk;
        taken.word = lease;
        *cursor = skipped != kNobody ? skipped : position + 1;
        return taken;
      } else if (ahead == 0 && kind == CellKind::kLeased && CellOwner(word) != me && suspects) {
        suspects->Add(CellOwner(word));
      }
      ++i;
    }
    *cursor = 0;  // an empty scan: the next one begins at the head again
    return taken;
  }

  template <class Clock, class Elses>
  bool Wanted(const Cell& cell, uint64_t word, TakeFilter filter, Clock&& now_ms, Elses& elses,
              Taken* taken) const noexcept {
    const uint64_t not_before = cell.words[kNotBefore].load(std::memory_order_acquire);
    if (CellAttempt(word) != 0 && static_cast<uint32_t>(not_before) != 0 &&
        static_cast<uint32_t>(not_before >> 32) == CellLap(word)) {
      const auto left_ms = static_cast<int32_t>(static_cast<uint32_t>(not_before) - now_ms());
      if (left_ms > 0) {
        const auto delay_ms = static_cast<uint32_t>(left_ms);
        if (!taken->delayed || delay_ms < taken->delay_ms) taken->delay_ms = delay_ms;
        taken->delayed = true;
        return false;
      }
    }
    if (std::is_same_v<Elses, NobodyElses> && filter == TakeFilter::kAll) return true;
    const uint64_t lengths = cell.words[kLengths].load(std::memory_order_acquire);
    if ((UnpackLengths(lengths).flags & kFlagReply) == 0) return filter == TakeFilter::kAll;
    return !elses(cell.words[kCorrelationUid].load(std::memory_order_acquire));
  }
};

using Lane = LaneOf<NativeMemory>;

}  // namespace cfc
