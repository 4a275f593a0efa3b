// Packed words: how the 64-bit words of the shared files are put together and taken apart.
//
// All functions are pure. Each word carries who took it, and a part that grows with every use, so
// that no value ever comes back and a late compare-and-swap cannot hit.
#pragma once

#include <cstdint>

#include "layout.h"

namespace cfc {

// ---- who: slot 16 | generation 8. Zero is nobody. A HELD cell has an incarnation here instead.

using Owner = uint32_t;
constexpr uint32_t kOwnerMask = 0xff'ffff;

constexpr Owner MakeOwner(uint32_t slot, uint32_t generation) noexcept {
  return (slot & 0xffff) | (generation & 0xff) << 16;
}
constexpr uint32_t OwnerSlot(Owner owner) noexcept { return owner & 0xffff; }
constexpr uint32_t OwnerGeneration(Owner owner) noexcept { return owner >> 16 & 0xff; }

// ---- cell state: lap 32 | owner generation 8 | owner slot 16 | attempt 4 | kind 4

enum class CellKind : uint32_t {  // in the order in which a lap goes
  kFree = 0,
  kClaimed = 1,
  kQuarantined = 2,
  kReady = 3,
  kLeased = 4,
  kHeld = 5,
  kDone = 6,  // the owner field carries a VoidReason
  kSealed = 7,
};

constexpr uint64_t PackCell(uint32_t lap, Owner owner, uint32_t attempt, CellKind kind) noexcept {
  return uint64_t{lap} << 32 | uint64_t{owner & kOwnerMask} << 8 | (attempt & 15) << 4 |
         static_cast<uint32_t>(kind);
}
constexpr uint32_t CellLap(uint64_t word) noexcept { return static_cast<uint32_t>(word >> 32); }
constexpr Owner CellOwner(uint64_t word) noexcept {
  return static_cast<Owner>(word >> 8) & kOwnerMask;
}
constexpr uint32_t CellAttempt(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 4) & 15;
}
constexpr CellKind CellKindOf(uint64_t word) noexcept { return static_cast<CellKind>(word & 15); }
// Laps wrap: how far `lap` is ahead of `other`.
constexpr int32_t LapsAhead(uint32_t lap, uint32_t other) noexcept {
  return static_cast<int32_t>(lap - other);
}

// ---- lane tail: the top bit closes

constexpr uint64_t kClosing = uint64_t{1} << 63;
constexpr uint64_t Position(uint64_t tail) noexcept { return tail & ~kClosing; }

// ---- participant slot: generation 8 | reaper 24 | state

constexpr uint64_t PackSlot(uint32_t generation, Owner reaper, SlotState state) noexcept {
  return uint64_t{generation & 0xff} << 32 | uint64_t{reaper & kOwnerMask} << 8 |
         static_cast<uint32_t>(state);
}
constexpr uint32_t SlotGeneration(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 32) & 0xff;
}
constexpr Owner SlotReaper(uint64_t word) noexcept {
  return static_cast<Owner>(word >> 8) & kOwnerMask;
}
constexpr SlotState SlotStateOf(uint64_t word) noexcept {
  return static_cast<SlotState>(word & 0xff);
}

// ---- directory entry: generation 16 | hash 20 | owner 24 | kind 4

constexpr uint64_t PackEntry(uint32_t generation, uint32_t hash, Owner owner,
                             EntryKind kind) noexcept {
  return uint64_t{generation & 0xffff} << 48 | uint64_t{hash & 0xf'ffff} << 28 |
         uint64_t{owner & kOwnerMask} << 4 | static_cast<uint32_t>(kind);
}
constexpr uint32_t EntryGeneration(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 48);
}
constexpr uint32_t EntryHash(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 28) & 0xf'ffff;
}
constexpr Owner EntryOwner(uint64_t word) noexcept {
  return static_cast<Owner>(word >> 4) & kOwnerMask;
}
constexpr EntryKind EntryKindOf(uint64_t word) noexcept {
  return static_cast<EntryKind>(word & 15);
}

// ---- holder of an agent: uid 48 | slot 16

constexpr uint64_t PackHolder(uint64_t uid, uint32_t slot) noexcept {
  return uid << 16 | (slot & 0xffff);
}
constexpr uint64_t HolderUid(uint64_t holder) noexcept { return holder >> 16; }
constexpr uint32_t HolderSlot(uint64_t holder) noexcept {
  return static_cast<uint32_t>(holder & 0xffff);
}

// ---- mailbox: `box` names it (segment 12 | index 20); a reference adds the generation

using BoxId = uint32_t;
constexpr BoxId MakeBoxId(uint32_t segment, uint32_t index) noexcept {
  return segment << 20 | (index & 0xf'ffff);
}
constexpr uint32_t BoxSegment(BoxId box) noexcept { return box >> 20; }
constexpr uint32_t BoxIndex(BoxId box) noexcept { return box & 0xf'ffff; }

constexpr uint64_t PackMailboxRef(BoxId box, uint32_t generation) noexcept {
  return uint64_t{generation} << 32 | box;
}
constexpr BoxId MailboxRefBox(uint64_t ref) noexcept { return static_cast<BoxId>(ref); }
constexpr uint32_t MailboxRefGeneration(uint64_t ref) noexcept {
  return static_cast<uint32_t>(ref >> 32);
}

constexpr uint64_t PackBox(uint32_t generation, Owner owner, BoxKind kind) noexcept {
  return uint64_t{generation} << 32 | uint64_t{owner & kOwnerMask} << 4 |
         static_cast<uint32_t>(kind);
}
constexpr uint32_t BoxGeneration(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 32);
}
constexpr Owner BoxOwner(uint64_t word) noexcept {
  return static_cast<Owner>(word >> 4) & kOwnerMask;
}
constexpr BoxKind BoxKindOf(uint64_t word) noexcept { return static_cast<BoxKind>(word & 15); }

// ---- lane id in intents and wants: 1 + (box << 1 | lane); zero is none

constexpr uint64_t PackLaneId(BoxId box, uint32_t lane) noexcept {
  return 1 + (uint64_t{box} << 1 | lane);
}
constexpr BoxId LaneIdBox(uint64_t id) noexcept { return static_cast<BoxId>((id - 1) >> 1); }
constexpr uint32_t LaneIdLane(uint64_t id) noexcept { return static_cast<uint32_t>(id - 1) & 1; }

// ---- want: generation of the slot 8 | lane id, or kWantSeveral, 56

constexpr uint64_t PackWant(uint32_t generation, uint64_t lane_id) noexcept {
  return uint64_t{generation & 0xff} << 56 | lane_id;
}
constexpr uint32_t WantGeneration(uint64_t want) noexcept {
  return static_cast<uint32_t>(want >> 56);
}
constexpr uint64_t WantLane(uint64_t want) noexcept { return want & kWantSeveral; }

// ---- slab chunk: reference segment 12 | index 20 | generation 32, never zero (generations start
// at 1)

using ChunkRef = uint64_t;
constexpr ChunkRef MakeChunkRef(uint32_t segment, uint32_t index, uint32_t generation) noexcept {
  return uint64_t{generation} << 32 | uint64_t{segment} << 20 | (index & 0xf'ffff);
}
constexpr uint32_t ChunkSegment(ChunkRef ref) noexcept {
  return static_cast<uint32_t>(ref >> 20) & 0xfff;
}
constexpr uint32_t ChunkIndex(ChunkRef ref) noexcept {
  return static_cast<uint32_t>(ref) & 0xf'ffff;
}
constexpr uint32_t ChunkRefGeneration(ChunkRef ref) noexcept {
  return static_cast<uint32_t>(ref >> 32);
}

constexpr uint64_t PackChunk(uint32_t generation, Owner owner, ChunkKind kind) noexcept {
  return uint64_t{generation} << 32 | uint64_t{owner & kOwnerMask} << 4 |
         static_cast<uint32_t>(kind);
}
constexpr uint32_t ChunkGeneration(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 32);
}
constexpr Owner ChunkOwner(uint64_t word) noexcept {
  return static_cast<Owner>(word >> 4) & kOwnerMask;
}
constexpr ChunkKind ChunkKindOf(uint64_t word) noexcept {
  return static_cast<ChunkKind>(word & 15);
}

constexpr uint64_t PackPlace(BoxId box, uint32_t lane, uint64_t position) noexcept {
  return uint64_t{box} << 32 | uint64_t{lane & 1} << 31 | (position & 0x7fff'ffff);
}
constexpr BoxId PlaceBox(uint64_t place) noexcept { return static_cast<BoxId>(place >> 32); }
constexpr uint32_t PlaceLane(uint64_t place) noexcept {
  return static_cast<uint32_t>(place >> 31) & 1;
}
constexpr uint32_t PlacePosition(uint64_t place) noexcept {
  return static_cast<uint32_t>(place) & 0x7fff'ffff;
}

// ---- times: monotonic ms 32, which goes round after 49 days

// From `since_ms` to `now_ms`. 0 where somebody noted `since_ms` after the caller had looked at the
// clock: it may have been stopped in between, for up to an hour.
constexpr uint32_t ElapsedMs(uint32_t now_ms, uint32_t since_ms) noexcept {
  constexpr uint32_t kLongestStopMs = 3'600'000;
  const uint32_t elapsed = now_ms - since_ms;
  return elapsed > ~uint32_t{0} - kLongestStopMs ? 0 : elapsed;
}

// ---- lane counters: position 32 | count 32

constexpr uint64_t PackVoid(uint32_t position, uint32_t count) noexcept {
  return uint64_t{position} << 32 | count;
}
constexpr uint32_t VoidPosition(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 32);
}
constexpr uint32_t VoidCount(uint64_t word) noexcept { return static_cast<uint32_t>(word); }

// ---- receipt: lap 32 | owner 24 | verdict 8 (0: none yet, else 1 + VoidReason)

constexpr uint64_t PackReceipt(uint32_t lap, Owner owner, uint32_t verdict) noexcept {
  return uint64_t{lap} << 32 | uint64_t{owner & kOwnerMask} << 8 | (verdict & 0xff);
}
constexpr uint32_t ReceiptLap(uint64_t word) noexcept { return static_cast<uint32_t>(word >> 32); }
constexpr Owner ReceiptOwner(uint64_t word) noexcept {
  return static_cast<Owner>(word >> 8) & kOwnerMask;
}
constexpr uint32_t ReceiptVerdict(uint64_t word) noexcept {
  return static_cast<uint32_t>(word) & 0xff;
}

// ---- cell lengths: body 32 | from 8 | type 8 | body kind 8 | flags 8

struct CellLengths {
  uint32_t body = 0;
  uint8_t from = 0;
  uint8_t type = 0;
  BodyKind kind = BodyKind::kBytes;
  uint8_t flags = 0;
};
constexpr uint64_t PackLengths(const CellLengths& lengths) noexcept {
  return uint64_t{lengths.body} << 32 | uint64_t{lengths.from} << 24 |
         uint64_t{lengths.type} << 16 | uint64_t{static_cast<uint8_t>(lengths.kind)} << 8 |
         lengths.flags;
}
constexpr CellLengths UnpackLengths(uint64_t word) noexcept {
  return {static_cast<uint32_t>(word >> 32), static_cast<uint8_t>(word >> 24),
          static_cast<uint8_t>(word >> 16), static_cast<BodyKind>(word >> 8 & 0xff),
          static_cast<uint8_t>(word)};
}

}  // namespace cfc
