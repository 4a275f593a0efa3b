// TopicLog: the cells of a topic, a lane that is read without leases.
//
// Publishers claim and commit as senders of a mailbox do (ring.h). A reader has a position of its
// own, copies, and looks whether the cell still stands. Whoever needs room frees the cell at the
// head, if the head is before the gate: READY -> DONE, its chunks freed, FREE of the next lap, head
// + 1. Positions that carry no message (aborted, holes) are counted on the way, so that the number
// of messages in any stretch that the head has passed is known to all, for ever.
//
// Threads and processes: any number, all at once. Nothing here sleeps or makes a system call.
#pragma once

#include <cstdint>

#include "failpoint.h"
#include "ring.h"
#include "topic_words.h"

namespace cfc {

template <class Memory>
class TopicLogOf : public LaneOf<Memory> {
 public:
  using Base = LaneOf<Memory>;
  using Base::At;
  using Base::Base;
  using Base::LapOf;
  using typename Base::Cell;
  using typename Base::Words;

  // ---- reading

  enum class Found {
    kNothing,   // nobody has claimed it yet
    kClaimed,   // somebody is writing there
    kMessage,   // copy, then ask Stands
    kHole,      // no message, and there will be none
    kRetired,   // a message that is being freed
    kOvertaken  // freed: it was a message or a hole
  };
  Found Look(uint64_t position, uint64_t* word) const noexcept {
    *word = At(position).words[kState].load();
    const int32_t ahead = LapsAhead(CellLap(*word), LapOf(position));
    if (ahead > 0) return Found::kOvertaken;
    if (ahead < 0) return Found::kNothing;
    switch (CellKindOf(*word)) {
      case CellKind::kFree:
        return Found::kNothing;
      case CellKind::kClaimed:
        return Found::kClaimed;
      case CellKind::kReady:
        return Found::kMessage;
      case CellKind::kDone:
        if (CellOwner(*word) == kAcked) return Found::kRetired;
        break;
      default:
        break;
    }
    // A hole may lie ahead of the tail: nobody reads beyond what was claimed.
    return Position(words_->tail.load()) > position ? Found::kHole : Found::kNothing;
  }

  // True where what was copied since Look is the message.
  bool Stands(uint64_t position, uint64_t word) const noexcept {
    return At(position).words[kState].load() == word;
  }

  // The head, and how many positions before it carried no message (modulo 2^32), both as they were
  // at one moment: an aborted position is counted before the head passes it, and the count never
  // comes back to an earlier value. False where it moved all the time.
  bool Passed(uint64_t* head, uint32_t* aborted) const noexcept {
    const auto& tally = words_->voids[kAborted - 1];
    for (uint32_t tries = 0; tries < 1024; ++tries) {
      const uint64_t before = tally.load();
      *head = words_->head.load();
      if (tally.load() != before) continue;
      const bool at_head = VoidPosition(before) == static_cast<uint32_t>(*head + 1);
      *aborted = VoidCount(before) - (at_head ? 1 : 0);
      return true;
    }
    return false;
  }

  // Moves the head past what is freed already.
  void PassFreed() noexcept {
    for (uint32_t tries = 0; tries < capacity_; ++tries) {
      const uint64_t head = words_->head.load();
      if (LapsAhead(CellLap(At(head).words[kState].load()), LapOf(head)) <= 0) return;
      FollowFreed(head);
    }
  }

  // Puts a claim aside whose living owner stalls: a hole, until the owner gives it back. False
  // where it is no claim of that owner any more.
  bool Quarantine(uint64_t position, uint64_t word) noexcept {
    if (CellKindOf(word) != CellKind::kClaimed) return false;
    return At(position).words[kState].compare_exchange_strong(
        word, PackCell(CellLap(word), CellOwner(word), 0, CellKind::kQuarantined));
  }

  // ---- freeing

  enum class Head {
    kFreed,   // by us or by somebody else
    kGated,   // somebody reliable reads there
    kClaimed  // *claimed is the word of a claim in the way
  };
  // Frees one cell at the head if it is before `gate`. before_free(chunk, position, lengths):
  // called for a message after it is retired and before its cell is free; chunk 0: it was inline.
  template <class BeforeFree>
  Head FreeHead(uint64_t gate, uint64_t* claimed, BeforeFree&& before_free) noexcept {
    for (uint32_t tries = 0; tries < 4 * capacity_ + 64; ++tries) {
      const uint64_t head = words_->head.load();
      Cell& cell = At(head);
      uint64_t word = cell.words[kState].load();
      const uint32_t lap = LapOf(head);
      const int32_t ahead = LapsAhead(CellLap(word), lap);
      if (ahead > 0) {
        FollowFreed(head);
        return Head::kFreed;
      }
      if (words_->head.load() != head) continue;
      if (ahead < 0 || head >= gate) return Head::kGated;
      if (head % kTallyStep == 0) CatchUp(head, word);
      switch (CellKindOf(word)) {
        case CellKind::kFree:
          return Head::kGated;  // nothing was published there yet
        case CellKind::kClaimed:
          *claimed = word;
          return Head::kClaimed;
        case CellKind::kQuarantined:  // a hole: goes along one lap
          if (!Count(kAborted, head, word)) break;
          cell.words[kState].compare_exchange_strong(
              word, PackCell(lap + 1, CellOwner(word), 0, CellKind::kQuarantined));
          break;
        case CellKind::kDone: {
          const uint32_t reason = CellOwner(word);
          if (reason != kAcked && !Count(kAborted, head, word)) break;
          CFC_FAIL_POINT("topic.counted");
          if (reason == kAcked) {  // the header of an aborted cell may be half written
            const ChunkRef chunk = cell.words[kSlab].load(std::memory_order_relaxed);
            const uint64_t lengths = cell.words[kLengths].load(std::memory_order_relaxed);
            if (cell.words[kState].load() == word) before_free(chunk, head, lengths);
          }
          CFC_FAIL_POINT("topic.chunks");
          cell.words[kState].compare_exchange_strong(word,
                                                     PackCell(lap + 1, 0, 0, CellKind::kFree));
          CFC_FAIL_POINT("topic.free");
          break;
        }
        default:
          cell.words[kState].compare_exchange_strong(word,
                                                     PackCell(lap, kAcked, 0, CellKind::kDone));
          CFC_FAIL_POINT("topic.retired");
          break;
      }
    }
    return Head::kGated;
  }

 private:
  using Base::capacity_;
  using Base::CatchUp;
  using Base::Count;
  using Base::HelpTail;
  using Base::kTallyStep;
  using Base::words_;

  void FollowFreed(uint64_t head) noexcept {
    HelpTail(head);
    uint64_t expected = head;
    words_->head.compare_exchange_strong(expected, head + 1);
    CFC_FAIL_POINT("topic.head");
  }
};

using TopicLog = TopicLogOf<NativeMemory>;

}  // namespace cfc
