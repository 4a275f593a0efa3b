// Packed words of topics: rows, cursors, bases, and what tells a topic's BoxId from a mailbox's.
//
// All functions are pure. As in words.h, each word carries a part that grows with every use.
#pragma once

#include <cstdint>

#include "layout.h"
#include "words.h"

namespace cfc {

// ---- a topic in intents, wants and places: a box in a segment of its own

constexpr BoxId TopicBox(uint32_t index) noexcept { return MakeBoxId(kTopicSegment, index); }
constexpr bool IsTopicBox(BoxId box) noexcept { return BoxSegment(box) == kTopicSegment; }
constexpr uint64_t TopicLaneId(BoxId box) noexcept { return PackLaneId(box, 0); }

// ---- row: generation 32 | owner 24 | kind 4

constexpr uint64_t PackRow(uint32_t generation, Owner owner, RowKind kind) noexcept {
  return uint64_t{generation} << 32 | uint64_t{owner & kOwnerMask} << 4 |
         static_cast<uint32_t>(kind);
}
constexpr uint32_t RowGeneration(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 32);
}
constexpr Owner RowOwner(uint64_t word) noexcept {
  return static_cast<Owner>(word >> 4) & kOwnerMask;
}
constexpr RowKind RowKindOf(uint64_t word) noexcept { return static_cast<RowKind>(word & 15); }
// Publishers wait for what this one has not read.
constexpr bool RowGates(uint64_t word) noexcept {
  return RowKindOf(word) == RowKind::kReliable || RowKindOf(word) == RowKind::kJoining;
}
constexpr bool RowReads(uint64_t word) noexcept {
  return RowKindOf(word) == RowKind::kReliable || RowKindOf(word) == RowKind::kLossy ||
         RowKindOf(word) == RowKind::kLagged;
}

// ---- cursor: generation 16 | position 48

constexpr uint64_t kCursorMask = (uint64_t{1} << 48) - 1;
constexpr uint64_t PackCursor(uint32_t generation, uint64_t position) noexcept {
  return uint64_t{generation} << 48 | (position & kCursorMask);
}
constexpr uint64_t CursorPosition(uint64_t cursor) noexcept { return cursor & kCursorMask; }
constexpr bool CursorIsOf(uint64_t cursor, uint32_t generation) noexcept {
  return static_cast<uint32_t>(cursor >> 48) == (generation & 0xffff);
}

// ---- base: generation 31 | known 1 | aborted 32

constexpr uint64_t PackBase(uint32_t generation, bool known, uint32_t aborted) noexcept {
  return uint64_t{generation} << 33 | uint64_t{known} << 32 | aborted;
}
constexpr bool BaseKnown(uint64_t base) noexcept { return base >> 32 & 1; }
constexpr uint32_t BaseAborted(uint64_t base) noexcept { return static_cast<uint32_t>(base); }

// ---- held: low half of a tail 32 | monotonic ms 32; zero: it holds nobody up

constexpr uint64_t PackHeld(uint32_t tail, uint32_t since_ms) noexcept {
  return uint64_t{tail} << 32 | since_ms;
}
constexpr uint32_t HeldTail(uint64_t held) noexcept { return static_cast<uint32_t>(held >> 32); }
constexpr uint32_t HeldSinceMs(uint64_t held) noexcept { return static_cast<uint32_t>(held); }

}  // namespace cfc
