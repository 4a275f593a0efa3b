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

#include "failpoint.h"
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

// For lanes whose mailbox cannot change hands meanwhile.
struct AlwaysValid {
  bool operator()() const noexcept { return true; }
};

struct Taken {
  Status status = Status::kEmpty;  // kOk, kEmpty, kClosed (drained for good)
  uint64_t position = 0;
  uint64_t word = 0;      // the lease: what Settle, GiveBack and HandOver want
  bool delayed = false;   // kEmpty: a delayed message is there, the earliest in…
  uint32_t delay_ms = 0;  // …so many milliseconds
};

// What a lane holds, found by looking at every cell. Exact while nobody works on it.
struct LaneCensus {
  uint64_t head = 0;
  uint64_t tail = 0;
  bool closing = false;
  uint32_t free = 0, claimed = 0, quarantined = 0, ready = 0, leased = 0, held = 0, done = 0,
           sealed = 0;
  uint32_t aborted = 0, dropped = 0, dead_lettered = 0;  // positions passed without an ack, ever
};

template <class Memory>
class LaneOf {
 public:
  using Cell = CellOf<Memory>;
  using Words = LaneWordsOf<Memory>;

  LaneOf() noexcept = default;
  // cells: `capacity` of them, a power of two, at least two.
  LaneOf(Words* words, Cell* cells, uint32_t capacity) noexcept
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
  bool Closing() const noexcept { return words_->tail.load() & kClosing; }

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
  template <class Clock, class StillValid = AlwaysValid>
  Taken Take(Owner me, TakeFilter filter, Clock&& now_ms, uint64_t* cursor, Suspects* suspects,
             StillValid still_valid = {}) noexcept {
    uint64_t aside = 0;  // replies come out of the midst of others, which the cursor must not pass
    if (filter != TakeFilter::kAll) cursor = &aside;
    const uint64_t head = words_->head.load();
    uint64_t from = *cursor;
    if (from < head || from - head > capacity_) from = head;
    if (from != head) {
      const uint64_t word = At(head).words[kState].load();
      if (CellKindOf(word) == CellKind::kReady && CellLap(word) == LapOf(head)) from = head;
    }
    Taken taken = Scan(me, filter, now_ms, from, cursor, suspects, still_valid);
    if (taken.status != Status::kOk && from != head) {
      taken = Scan(me, filter, now_ms, words_->head.load(), cursor, suspects, still_valid);
    }
    return taken;
  }

  // What Take would find, by the same scan, without taking it.
  template <class Clock>
  Taken Look(TakeFilter filter, Clock&& now_ms, uint64_t cursor, Suspects* suspects) noexcept {
    return Take(/*me=*/0, filter, now_ms, &cursor, suspects);
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
                                   std::memory_order_relaxed);
    }
    return cell.words[kState].compare_exchange_strong(seen, Again(word)) ? Status::kOk
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

  // ---- anybody

  // Frees what is done at the head and moves it on. before_free(chunk, position, reason): called
  // for each message (not for what was aborted) after it is done and before its cell is free; chunk
  // is 0 where its body was inline. Returns how many cells came free.
  template <class BeforeFree>
  uint32_t Reclaim(BeforeFree&& before_free) noexcept {
    uint32_t freed = 0;
    for (uint32_t tries = 0; tries < 4 * capacity_ + 64; ++tries) {
      const uint64_t head = words_->head.load();
      Cell& cell = At(head);
      uint64_t word = cell.words[kState].load();
      const uint32_t lap = LapOf(head);
      const int32_t ahead = LapsAhead(CellLap(word), lap);
      if (ahead > 0) {  // freed or passed; its tail and head may still have to follow
        HelpTail(head);
        uint64_t expected = head;
        if (words_->head.compare_exchange_strong(expected, head + 1)) ++freed;
        CFC_FAIL_POINT("reclaim.head");
        continue;
      }
      if (ahead < 0) {
        if (words_->head.load() == head) return freed;
        continue;
      }
      if (head % kTallyStep == 0) CatchUp(head, word);
      if (CellKindOf(word) == CellKind::kDone) {
        const uint32_t reason = CellOwner(word);
        if (reason != kAcked && !Count(reason, head, word)) continue;
        CFC_FAIL_POINT("reclaim.counted");
        if (reason != kAborted) {  // the header of an aborted cell may be half written
          const ChunkRef chunk = cell.words[kSlab].load(std::memory_order_relaxed);
          if (cell.words[kState].load() == word) {
            before_free(chunk, head, static_cast<VoidReason>(reason & 3));
          }
        }
        CFC_FAIL_POINT("reclaim.slab");
        cell.words[kState].compare_exchange_strong(word, PackCell(lap + 1, 0, 0, CellKind::kFree));
        CFC_FAIL_POINT("reclaim.free");
        continue;
      }
      if (CellKindOf(word) == CellKind::kSealed) {
        if (Position(words_->tail.load()) == head) return freed;  // closed, and all was read
        if (!Count(kAborted, head, word)) continue;  // a seal that the lane was reopened past
        cell.words[kState].compare_exchange_strong(word, PackCell(lap + 1, 0, 0, CellKind::kFree));
        CFC_FAIL_POINT("reclaim.seal");
        continue;
      }
      if (CellKindOf(word) == CellKind::kQuarantined) {  // a hole: goes along one lap
        HelpTail(head);
        if (!Count(kAborted, head, word)) continue;
        cell.words[kState].compare_exchange_strong(
            word, PackCell(lap + 1, CellOwner(word), 0, CellKind::kQuarantined));
        continue;
      }
      return freed;
    }
    return freed;
  }

  // A living owner that holds up the head for kQuarantineMs loses its place, not its memory: the
  // cell becomes a hole until the owner gives it back or is proven dead.
  // Returns true when it did that.
  bool QuarantineHead(uint32_t now_ms) noexcept {
    const uint64_t head = words_->head.load();
    uint64_t word = At(head).words[kState].load();
    if (CellKindOf(word) != CellKind::kClaimed || CellLap(word) != LapOf(head)) return false;
    uint64_t stall = words_->stall.load();
    const auto next = static_cast<uint32_t>(head + 1);  // so that zeroed memory names no position
    if (static_cast<uint32_t>(stall >> 32) != next) {
      words_->stall.compare_exchange_strong(stall, uint64_t{next} << 32 | now_ms);
      return false;
    }
    if (now_ms - static_cast<uint32_t>(stall) < kQuarantineMs) return false;
    return At(head).words[kState].compare_exchange_strong(
        word, PackCell(CellLap(word), CellOwner(word), 0, CellKind::kQuarantined));
  }

  // Settles every cell in the hands of `owner`, who is proven dead. Returns how many.
  uint32_t RepairOwner(Owner owner) noexcept {
    uint32_t settled = 0;
    for (uint32_t i = 0; i < capacity_; ++i) {
      auto& state = cells_[i].words[kState];
      for (uint32_t tries = 0; tries < 64; ++tries) {
        uint64_t word = state.load();
        const CellKind kind = CellKindOf(word);
        if (CellOwner(word) != owner) break;
        uint64_t next;
        if (kind == CellKind::kClaimed || kind == CellKind::kQuarantined) {
          next = PackCell(CellLap(word), kAborted, 0, CellKind::kDone);
        } else if (kind == CellKind::kLeased) {
          next = Again(word);
        } else {
          break;
        }
        CFC_FAIL_POINT("repair.cell");
        if (state.compare_exchange_strong(word, next)) {
          ++settled;
          break;
        }
      }
    }
    return settled;
  }

  // Takes back what is leased to `owner`, living or not, for another reader. Returns how many.
  uint32_t Fence(Owner owner) noexcept {
    return TakeBack([owner](CellKind kind, Owner holder) {
      return kind == CellKind::kLeased && holder == owner;
    });
  }

  // Takes back what is held by any other incarnation than the present one. Returns how many.
  uint32_t FenceIncarnations(uint32_t present) noexcept {
    return TakeBack([present](CellKind kind, Owner holder) {
      return kind == CellKind::kHeld && holder != (present & kOwnerMask);
    });
  }

  // ---- closing, draining, using again

  // No claim succeeds from here on; what was claimed before still counts. still_valid: asked
  // between the load of the tail and the swap of just that tail, so that a closer that was stopped
  // there cannot close the mailbox of the next owner.
  template <class StillValid = AlwaysValid>
  void Close(StillValid still_valid = {}) noexcept {
    uint64_t tail = words_->tail.load();
    while (!(tail & kClosing)) {
      if (!still_valid()) return;
      if (words_->tail.compare_exchange_weak(tail, tail | kClosing)) break;
    }
    CFC_FAIL_POINT("close.bit");
    Seal();
  }

  // Puts the SEALED cell at the tail. In a full ring it waits until the head has freed that cell:
  // whoever meets the bit calls this again. True when the seal is there.
  bool Seal() noexcept {
    for (uint32_t tries = 0; tries < 4 * capacity_ + 64; ++tries) {
      const uint64_t tail = words_->tail.load();
      if (!(tail & kClosing)) return false;
      Cell& cell = At(tail);
      uint64_t word = cell.words[kState].load();
      const int32_t ahead = LapsAhead(CellLap(word), LapOf(Position(tail)));
      if (ahead < 0) return false;
      if (ahead == 0 && CellKindOf(word) == CellKind::kSealed) return true;
      if (ahead == 0 && CellKindOf(word) == CellKind::kFree) {
        if (cell.words[kState].compare_exchange_strong(
                word, PackCell(CellLap(word), 0, 0, CellKind::kSealed))) {
          return true;
        }
        continue;
      }
      HelpTail(Position(tail));
    }
    return false;
  }

  // True when everything before the seal was read: nothing accepted is left, nor will be.
  bool Drained() const noexcept {
    const uint64_t tail = words_->tail.load();
    const uint64_t head = words_->head.load();
    const uint64_t word = At(head).words[kState].load();
    return tail == (head | kClosing) && CellKindOf(word) == CellKind::kSealed &&
           CellLap(word) == LapOf(head);
  }

  // Opens a closed lane again, drained or not, for the next owner or for one that did not leave
  // after all: one swap moves the tail past the seal and takes the bit away. The seal stays behind
  // as a hole, counted when the head comes to it. kFull: the lane is full, so the bit has no seal
  // yet; taking it away now would let a late sealer put its cell into an open lane. The reader
  // comes again when it has freed a cell.
  Status Reopen() noexcept {
    for (uint32_t tries = 0; tries < 4 * capacity_ + 64; ++tries) {
      uint64_t tail = words_->tail.load();
      if (!(tail & kClosing)) return Status::kOk;
      const uint64_t word = At(tail).words[kState].load();
      const int32_t ahead = LapsAhead(CellLap(word), LapOf(Position(tail)));
      if (ahead < 0) return Status::kFull;
      if (ahead == 0 && CellKindOf(word) == CellKind::kFree) {
        Seal();
        continue;
      }
      CFC_FAIL_POINT("reopen.sealed");
      if (words_->tail.compare_exchange_strong(tail, Position(tail) + 1)) return Status::kOk;
    }
    return Status::kBusy;
  }

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
    LaneCensus census;
    const uint64_t tail = words_->tail.load();
    census.head = words_->head.load();
    census.tail = Position(tail);
    census.closing = tail & kClosing;
    census.aborted = VoidCount(words_->voids[kAborted - 1].load());
    census.dropped = VoidCount(words_->voids[kDropped - 1].load());
    census.dead_lettered = VoidCount(words_->voids[kDeadLettered - 1].load());
    uint32_t* const counts[] = {&census.free,  &census.claimed, &census.quarantined,
                                &census.ready, &census.leased,  &census.held,
                                &census.done,  &census.sealed};
    for (uint32_t i = 0; i < capacity_; ++i) {
      const auto kind = static_cast<uint32_t>(CellKindOf(cells_[i].words[kState].load()));
      if (kind < 8) ++*counts[kind];
    }
    return census;
  }

 private:
  static constexpr uint64_t kNobody = ~uint64_t{0};
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

  template <class Matches>
  uint32_t TakeBack(Matches&& matches) noexcept {
    uint32_t taken = 0;
    for (uint32_t i = 0; i < capacity_; ++i) {
      uint64_t word = cells_[i].words[kState].load();
      if (!matches(CellKindOf(word), CellOwner(word))) continue;
      if (cells_[i].words[kState].compare_exchange_strong(word, Again(word))) ++taken;
    }
    return taken;
  }

  template <class Clock, class StillValid>
  Taken Scan(Owner me, TakeFilter filter, Clock&& now_ms, uint64_t start, uint64_t* cursor,
             Suspects* suspects, StillValid& still_valid) noexcept {
    Taken taken;
    uint64_t skipped = kNobody;
    uint64_t skipped_word = 0;
    uint32_t restarts = 0;
    for (uint32_t i = 0; i < capacity_;) {
      const uint64_t position = start + i;
      Cell& cell = At(position);
      uint64_t word = cell.words[kState].load();
      const int32_t ahead = LapsAhead(CellLap(word), LapOf(position));
      const CellKind kind = CellKindOf(word);
      if (ahead < 0 || (ahead == 0 && kind == CellKind::kFree)) break;
      if (ahead == 0 && kind == CellKind::kSealed &&
          Position(words_->tail.load()) == position) {  // else the lane was reopened past it
        if (position == words_->head.load()) taken.status = Status::kClosed;
        break;
      }
      if (ahead == 0 && kind == CellKind::kClaimed) {
        if (suspects) suspects->Add(CellOwner(word));
        if (skipped != kNobody) break;  // room for one: a stalled producer delays only itself
        skipped = position;
        skipped_word = word;
      } else if (ahead == 0 && kind == CellKind::kReady &&
                 Wanted(cell, word, filter, now_ms, &taken)) {
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

  template <class Clock>
  bool Wanted(const Cell& cell, uint64_t word, TakeFilter filter, Clock&& now_ms,
              Taken* taken) const noexcept {
    const uint64_t not_before = cell.words[kNotBefore].load(std::memory_order_relaxed);
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
    if (filter == TakeFilter::kAll) return true;
    const uint64_t lengths = cell.words[kLengths].load(std::memory_order_relaxed);
    return (UnpackLengths(lengths).flags & kFlagReply) != 0;
  }

  Words* words_ = nullptr;
  Cell* cells_ = nullptr;
  uint32_t capacity_ = 0;
  uint32_t shift_ = 0;
};

using Lane = LaneOf<NativeMemory>;

}  // namespace cfc
