// LaneUpkeep: what anybody does for a lane: freeing its head, settling what the dead left, setting
// aside who stalls, closing and opening it.
//
// ring.h has the contract of the whole. Every step is a compare-and-swap that names what it found,
// so it may be run twice, by two at once, or by one that was stopped for an hour in the middle.
#pragma once

#include <cstdint>

#include "lane_base.h"
#include "status.h"

namespace cfc {

// For lanes whose mailbox cannot change hands meanwhile.
struct AlwaysValid {
  bool operator()() const noexcept { return true; }
};

template <class Memory>
class LaneUpkeepOf : public LaneBaseOf<Memory> {
 public:
  using Base = LaneBaseOf<Memory>;
  using Base::At;
  using Base::Base;
  using Base::LapOf;
  using typename Base::Cell;
  using typename Base::Words;

  // Frees what is done at the head and moves it on. before_free(chunk, position, reason): called
  // for each message (not for what was aborted) after it is done and before its cell is free; chunk
  // is 0 where its body was inline. known_tail: private to the caller, 0 at first: the tail was
  // seen there, which saves looking at the word that the senders fight over. Returns how many cells
  // came free.
  template <class BeforeFree>
  uint32_t Reclaim(BeforeFree&& before_free, uint64_t* known_tail) noexcept {
    uint32_t freed = 0;
    for (uint32_t tries = 0; tries < 4 * capacity_ + 64; ++tries) {
      const uint64_t head = words_->head.load();
      Cell& cell = At(head);
      uint64_t word = cell.words[kState].load();
      const uint32_t lap = LapOf(head);
      const int32_t ahead = LapsAhead(CellLap(word), lap);
      if (ahead > 0) {  // freed or passed; its tail and head may still have to follow
        if (*known_tail <= head) {
          HelpTail(head);
          *known_tail = Position(words_->tail.load());
        }
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
          const ChunkRef chunk = cell.words[kSlab].load(std::memory_order_acquire);
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

  template <class BeforeFree>
  uint32_t Reclaim(BeforeFree&& before_free) noexcept {
    uint64_t known_tail = 0;
    return Reclaim(static_cast<BeforeFree&&>(before_free), &known_tail);
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
    if (ElapsedMs(now_ms, static_cast<uint32_t>(stall)) < kQuarantineMs) return false;
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
  // comes again when it has freed a cell. still_valid: asked between the load of the tail and the
  // swap of just that tail, so that a repairer that was stopped there cannot open what another
  // owner is closing by now (kStale).
  template <class StillValid = AlwaysValid>
  Status Reopen(StillValid still_valid = {}) noexcept {
    for (uint32_t tries = 0; tries < 4 * capacity_ + 64; ++tries) {
      uint64_t tail = words_->tail.load();
      if (!(tail & kClosing)) return Status::kOk;
      if (!still_valid()) return Status::kStale;
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

 protected:
  using Base::Again;
  using Base::capacity_;
  using Base::CatchUp;
  using Base::cells_;
  using Base::Count;
  using Base::HelpTail;
  using Base::kTallyStep;
  using Base::words_;

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
};

}  // namespace cfc
