// Slab: memory for bodies that exceed a cell.
//
// Each segment (slab.NNN) holds chunks of one size; a body takes one chunk of the smallest size
// that fits, or several of the largest, chained. A chunk is FREE, LOANED to a sender that fills
// it, or PLACED in a cell. Whoever frees the cell frees the chunk first, by a swap that carries its
// generation; of a dead sender, repair takes back what is LOANED and what no cell refers to.
// Nothing is allocated or freed without its owner standing in the word.
//
// Threads: any number share one Slab.
// Hostile memory: references are checked against privately held geometry, chains are bounded.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "layout.h"
#include "region.h"
#include "status.h"
#include "words.h"

namespace cfc {

constexpr uint32_t kMaxSlabSegments = 1000;
// A dead letter's body has what became of the message in front of it.
constexpr uint64_t kMaxEnvelopeBytes = 256;
constexpr uint64_t kMaxStoredBytes = kMaxBodyBytes + kMaxEnvelopeBytes;
constexpr uint32_t kMaxChain = kMaxBodyBytes / kChunkBytes[kChunkClasses - 1] + 1;

struct SlabCensus {
  uint32_t segments = 0;
  uint64_t free = 0, loaned = 0, placed = 0;  // chunks
};

class Slab {
 public:
  Slab() noexcept = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab();

  // directory, uuid and growth_turns outlive the slab. segment_bytes: size of a new segment;
  // max_bytes: of all.
  void Open(const Directory* directory, const uint8_t* uuid, uint64_t segment_bytes,
            uint64_t max_bytes, std::atomic<uint32_t>* growth_turns) noexcept;

  // What a body of `bytes` takes of the slab.
  static uint64_t BytesFor(uint64_t bytes) noexcept;
  // Takes chunks for `bytes` and chains them. kSlabFull (no chunk left, the slab may not grow),
  // kNoSpace (the file system has no room to grow), kTooLarge.
  Status Borrow(Owner me, uint64_t bytes, ChunkRef* first) noexcept;
  void Write(ChunkRef first, const void* body, uint64_t bytes) noexcept;
  // False where the chain is broken or too short: a damaged region.
  bool Read(ChunkRef first, void* body, uint64_t bytes) noexcept;
  // Before the commit of the cell at `place` (PackPlace).
  void Place(Owner me, ChunkRef first, uint64_t place) noexcept;
  // By a sender that didn't send after all.
  void GiveBack(Owner me, ChunkRef first) noexcept;
  // By whoever frees the cell at `place`, between DONE and FREE.
  void Free(ChunkRef first, uint64_t place) noexcept;

  // ---- a chunk that is nobody's and stays: what a mailbox remembers

  // LOANED(me) to that.
  void Keep(Owner me, ChunkRef chunk) noexcept;
  // Its words; null where it is not kept, or is smaller than that.
  NativeMemory::Word* Kept(ChunkRef chunk, uint64_t bytes) noexcept;
  // The reference still means what it meant, kept or loaned.
  bool Stands(ChunkRef chunk) noexcept;
  void Zero(ChunkRef chunk) noexcept;

  // Bytes in chunks of this sender, LOANED or PLACED.
  uint64_t BytesOf(Owner owner) noexcept;
  // Takes back what the dead `owner` left. refers(place): does a message still stand there?
  // Returns the number of chunks.
  template <class Refers>
  uint32_t RepairOwner(Owner owner, Refers&& refers) noexcept {
    uint32_t freed = 0;
    AttachAll();
    const uint32_t count = known_.load();
    for (uint32_t s = 0; s < count; ++s) {
      Segment* const segment = segments_[s].load();
      for (uint32_t i = 0; segment && i < segment->chunks; ++i) {
        Chunk& chunk = segment->table[i];
        uint64_t word = chunk.state.load();
        if (ChunkOwner(word) != owner || ChunkKindOf(word) == ChunkKind::kFree) continue;
        if (ChunkKindOf(word) == ChunkKind::kPlaced && refers(chunk.place.load())) continue;
        if (Retire(chunk, word)) ++freed;
      }
    }
    return freed;
  }

  SlabCensus Census() noexcept;
  // True once a segment was truncated under its mapping.
  bool Lost() const noexcept;

 private:
  struct Segment {
    Region region;
    Chunk* table = nullptr;
    uint8_t* data = nullptr;
    uint32_t chunk_class = 0;
    uint32_t chunk_bytes = 0;
    uint32_t chunks = 0;
    std::atomic<uint32_t> hint{0};
  };

  Segment* Find(uint32_t index) noexcept;
  Chunk* Resolve(ChunkRef ref, Segment** segment) noexcept;
  Status Take(Owner me, uint32_t chunk_class, ChunkRef* ref) noexcept;
  Status Grow(uint32_t chunk_class) noexcept;
  // The same by one process of all that find no chunk at the same time.
  Status GrowInTurn(uint32_t chunk_class, uint32_t seen_segments) noexcept;
  Status AttachSegment(uint32_t index) noexcept;
  void AttachAll() noexcept;
  // Walks a chain that `matches` accepts; returns its length.
  template <class Matches>
  uint32_t Walk(ChunkRef first, Chunk* chain[], uint64_t words[], Matches&& matches) noexcept;
  static bool Retire(Chunk& chunk, uint64_t word) noexcept;

  const Directory* directory_ = nullptr;
  const uint8_t* uuid_ = nullptr;
  uint64_t segment_bytes_ = 0;
  std::atomic<uint32_t>* growth_turns_ = nullptr;
  uint32_t max_segments_ = 0;
  std::atomic<uint32_t> known_{0};
  std::atomic<Segment*> segments_[kMaxSlabSegments] = {};
  std::mutex growing_;
};

}  // namespace cfc
