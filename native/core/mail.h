// MailStore: the mailboxes of a fabric, in segments (mail.NNN) of one size each.
//
// A box is FREE, CLAIMED by a participant that joins or leaves, or OWNED by an agent. Its
// generation grows when it is claimed for a new agent, so a reference that a sender kept is
// noticed as stale. Positions and laps go on across owners: nothing is zeroed.
//
// Threads: any number share one MailStore.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "layout.h"
#include "region.h"
#include "ring.h"
#include "status.h"
#include "words.h"

namespace cfc {

// One mailbox as mapped here: pointers into the segment and its private geometry.
struct MailboxView {
  MailboxWords* words = nullptr;
  Lane lanes[kLanes];
  BoxId box = 0;

  bool valid() const noexcept { return words != nullptr; }
  // A reference still means this owner.
  bool Is(uint32_t generation) const noexcept {
    const uint64_t word = words->word.load();
    return BoxGeneration(word) == generation && BoxKindOf(word) != BoxKind::kFree;
  }
};

class MailStore {
 public:
  MailStore() noexcept = default;
  MailStore(const MailStore&) = delete;
  MailStore& operator=(const MailStore&) = delete;
  ~MailStore();

  // directory, uuid and growth_turns outlive the store. segment_bytes: how much a new segment holds
  // at least one box of.
  void Open(const Directory* directory, const uint8_t* uuid, uint64_t segment_bytes,
            std::atomic<uint32_t>* growth_turns) noexcept;

  // Cells of a lane are rounded up to a power of two within the limits of layout.h.
  static uint32_t RoundCells(uint32_t cells) noexcept;
  // The control lane that goes with a work lane of that many cells.
  static uint32_t ControlCells(uint32_t work_cells) noexcept;
  static uint64_t BoxBytes(uint32_t work_cells) noexcept;
  // What the segments take that hold so many boxes of one size.
  static uint64_t BytesFor(uint64_t boxes, uint32_t work_cells, uint64_t segment_bytes) noexcept;

  // A box with empty, open lanes, CLAIMED by `me`. kNoSpace, kMailboxesFull, kSystem.
  Status Allocate(Owner me, uint32_t work_cells, uint64_t* ref, MailboxView* view,
                  Failure* failure) noexcept;
  // CLAIMED(me) to OWNED, once the directory refers to it.
  void Own(Owner me, uint64_t ref) noexcept;
  // OWNED to CLAIMED(me), before the directory forgets it. False where somebody else did.
  bool Disown(Owner me, uint64_t ref) noexcept;
  // CLAIMED(me) to FREE.
  void Free(Owner me, uint64_t ref) noexcept;

  // False where there is no such box (a damaged reference, or a file that is gone).
  bool View(BoxId box, MailboxView* view) noexcept;

  // Calls visit(const MailboxView&) for every box of every segment, free ones too.
  template <class Visit>
  void ForEach(Visit&& visit) noexcept {
    AttachAll();
    const uint32_t count = known_.load();
    for (uint32_t s = 0; s < count; ++s) {
      const Segment* const segment = segments_[s].load();
      for (uint32_t i = 0; segment && i < segment->boxes; ++i) {
        MailboxView view;
        if (View(MakeBoxId(s, i), &view)) visit(view);
      }
    }
  }
  uint32_t segments() const noexcept { return known_.load(); }
  // True once a segment was truncated under its mapping.
  bool Lost() const noexcept;

 private:
  struct Segment {
    Region region;
    uint32_t work_cells = 0;
    uint32_t control_cells = 0;
    uint32_t boxes = 0;
    uint64_t stride = 0;
    MailboxWords* box(uint32_t index) const noexcept;
  };

  Status AttachSegment(uint32_t index, Failure* failure) noexcept;
  void AttachAll() noexcept;
  Status Grow(uint32_t work_cells, Failure* failure) noexcept;
  // Claims a free box of the segment, beginning at `start`, among `looks` of them. kFull: none.
  Status ClaimIn(uint32_t segment, uint32_t start, uint32_t looks, Owner me, uint64_t* ref,
                 MailboxView* view) noexcept;
  // In any segment of mailboxes of that size, the newest first: by their words, or by a look at all
  // boxes. kFull: none.
  Status ClaimAnywhere(uint32_t work_cells, bool hinted, Owner me, uint64_t* ref,
                       MailboxView* view) noexcept;
  // As ClaimIn, where the words of the segment say that there may be one.
  Status ClaimHinted(uint32_t segment, Owner me, uint64_t* ref, MailboxView* view) noexcept;

  const Directory* directory_ = nullptr;
  const uint8_t* uuid_ = nullptr;
  uint64_t segment_bytes_ = 0;
  std::atomic<uint32_t>* growth_turns_ = nullptr;
  std::atomic<uint32_t> known_{0};
  std::atomic<Segment*> segments_[kMaxSegments] = {};
  std::mutex growing_;
};

}  // namespace cfc
