#include "slab.h"

#include <cstdio>
#include <cstring>

#include "copy.h"
#include "failpoint.h"
#include "lease.h"

namespace cfc {
namespace {

using Word = NativeMemory::Word;

constexpr uint32_t kRotateBelowBytes = 16'384;
constexpr int64_t kGrowthPatienceNs = 100'000'000;  // of a sender, who shall not wait for long

void SegmentName(uint32_t index, char out[16]) noexcept {
  std::snprintf(out, 16, "slab.%03u", index % kMaxSlabSegments);
}

// The smallest class that holds `bytes` in one chunk, else the largest.
uint32_t ClassFor(uint64_t bytes) noexcept {
  uint32_t chunk_class = 0;
  while (chunk_class + 1 < kChunkClasses && kChunkBytes[chunk_class] < bytes) ++chunk_class;
  return chunk_class;
}

// How a segment of `bytes` is cut: header page, chunk table, data from a page boundary on.
struct Cut {
  uint32_t chunks = 0;
  uint64_t data_offset = 0;
};

Cut CutSegment(uint64_t bytes, uint32_t chunk_bytes) noexcept {
  Cut cut;
  if (bytes < kHeaderBytes) return cut;
  auto chunks = static_cast<uint32_t>((bytes - kHeaderBytes) / (chunk_bytes + sizeof(Chunk)));
  for (; chunks > 0; --chunks) {
    const uint64_t table_end = kHeaderBytes + uint64_t{chunks} * sizeof(Chunk);
    const uint64_t offset = (table_end + kHeaderBytes - 1) / kHeaderBytes * kHeaderBytes;
    if (offset + uint64_t{chunks} * chunk_bytes > bytes) continue;
    cut.chunks = chunks;
    cut.data_offset = offset;
    break;
  }
  return cut;
}

}  // namespace

Slab::~Slab() {
  for (auto& segment : segments_) delete segment.load();
}

void Slab::Open(const Directory* directory, const uint8_t* uuid, uint64_t segment_bytes,
                uint64_t max_bytes, std::atomic<uint32_t>* growth_turns) noexcept {
  directory_ = directory;
  uuid_ = uuid;
  segment_bytes_ = segment_bytes;
  growth_turns_ = growth_turns;
  const uint64_t segments = segment_bytes ? max_bytes / segment_bytes : 0;
  max_segments_ = segments < kMaxSlabSegments ? static_cast<uint32_t>(segments) : kMaxSlabSegments;
}

Status Slab::AttachSegment(uint32_t index) noexcept {
  char name[16];
  SegmentName(index, name);
  auto segment = std::make_unique<Segment>();
  const Status status = Region::Attach(*directory_, name, FileKind::kSlab, uuid_,
                                       /*writable=*/true, &segment->region, nullptr);
  if (status != Status::kOk) return status;
  const uint64_t* geometry = segment->region.header().geometry;
  const uint64_t chunk_class = geometry[0];
  if (chunk_class >= kChunkClasses) return Status::kCorrupt;
  const Cut cut = CutSegment(segment->region.bytes(), kChunkBytes[chunk_class]);
  if (cut.chunks == 0 || cut.chunks != geometry[1]) return Status::kCorrupt;
  segment->chunk_class = static_cast<uint32_t>(chunk_class);
  segment->chunk_bytes = kChunkBytes[chunk_class];
  segment->chunks = cut.chunks;
  segment->table = reinterpret_cast<Chunk*>(segment->region.base() + kHeaderBytes);
  segment->data = segment->region.base() + cut.data_offset;
  segments_[index].store(segment.release());
  return Status::kOk;
}

// Segments are made in order, so the first missing one is the end. Under growing_.
void Slab::AttachAll() noexcept {
  const std::lock_guard<std::mutex> lock(growing_);
  uint32_t index = known_.load();
  while (index < kMaxSlabSegments && AttachSegment(index) == Status::kOk) known_.store(++index);
}

Slab::Segment* Slab::Find(uint32_t index) noexcept {
  if (index >= kMaxSlabSegments) return nullptr;
  if (index >= known_.load()) AttachAll();
  return segments_[index].load();
}

Chunk* Slab::Resolve(ChunkRef ref, Segment** segment) noexcept {
  Segment* const found = Find(ChunkSegment(ref));
  if (!found || ChunkIndex(ref) >= found->chunks) return nullptr;
  *segment = found;
  return &found->table[ChunkIndex(ref)];
}

Status Slab::Grow(uint32_t chunk_class) noexcept {
  const std::lock_guard<std::mutex> lock(growing_);
  const uint32_t index = known_.load();
  // Somebody else may have grown it meanwhile: then look there first.
  if (index < kMaxSlabSegments && AttachSegment(index) == Status::kOk) {
    known_.store(index + 1);
    return Status::kOk;
  }
  if (index >= max_segments_) return Status::kSlabFull;
  char name[16];
  SegmentName(index, name);
  const Cut cut = CutSegment(segment_bytes_, kChunkBytes[chunk_class]);
  if (cut.chunks == 0) return Status::kSlabFull;
  FileHeader header = {};
  header.kind = static_cast<uint32_t>(FileKind::kSlab);
  std::memcpy(header.fabric_uuid, uuid_, sizeof header.fabric_uuid);
  header.geometry[0] = chunk_class;
  header.geometry[1] = cut.chunks;
  Region region;
  const Status status = Region::Create(
      *directory_, name, header, segment_bytes_,
      [&](uint8_t* base) {
        auto* table = reinterpret_cast<Chunk*>(base + kHeaderBytes);
        for (uint32_t i = 0; i < cut.chunks; ++i) {
          table[i].state.store(PackChunk(1, 0, ChunkKind::kFree));
        }
      },
      &region, nullptr);
  if (status != Status::kOk && status != Status::kExists) return status;
  const Status attached = AttachSegment(index);
  if (attached == Status::kOk) known_.store(index + 1);
  return attached;
}

Status Slab::GrowInTurn(uint32_t chunk_class, uint32_t seen_segments) noexcept {
  const auto grown = [&] {
    AttachAll();
    return known_.load() != seen_segments;
  };
  if (grown()) return Status::kOk;
  if (seen_segments >= max_segments_) return Status::kSlabFull;
  GrowthTurn turn(*directory_, growth_turns_);
  turn.Await(kGrowthPatienceNs, grown);
  if (grown()) return Status::kOk;
  const Status status = Grow(chunk_class);
  if (status == Status::kOk) turn.Made();
  return status;
}

Status Slab::Take(Owner me, uint32_t chunk_class, ChunkRef* ref) noexcept {
  for (uint32_t rounds = 0; rounds <= kMaxSlabSegments; ++rounds) {
    const uint32_t count = known_.load();
    for (uint32_t s = 0; s < count; ++s) {
      Segment* const segment = segments_[s].load();
      if (!segment || segment->chunk_class != chunk_class) continue;
      // Small chunks in rotation, so that the search is short; large ones from the front, so that
      // the same few stay in the caches.
      const uint32_t start = segment->chunk_bytes < kRotateBelowBytes
                                 ? segment->hint.load(std::memory_order_relaxed)
                                 : 0;
      for (uint32_t i = 0; i < segment->chunks; ++i) {
        const uint32_t index = (start + i) % segment->chunks;
        Chunk& chunk = segment->table[index];
        uint64_t word = chunk.state.load();
        if (ChunkKindOf(word) != ChunkKind::kFree) continue;
        const uint32_t generation = ChunkGeneration(word);
        // Damage: a reference to the first chunk would be 0, which means that the body is inline.
        if (generation == 0) continue;
        if (!chunk.state.compare_exchange_strong(word,
                                                 PackChunk(generation, me, ChunkKind::kLoaned))) {
          continue;
        }
        CFC_FAIL_POINT("slab.loaned");
        chunk.next.store(0);
        segment->hint.store(index + 1, std::memory_order_relaxed);
        *ref = MakeChunkRef(s, index, generation);
        return Status::kOk;
      }
    }
    const Status grown = GrowInTurn(chunk_class, count);
    if (grown != Status::kOk) return grown;
  }
  return Status::kSlabFull;
}

uint64_t Slab::BytesFor(uint64_t bytes) noexcept {
  const uint64_t chunk = kChunkBytes[ClassFor(bytes)];
  return bytes <= chunk ? chunk : (bytes + chunk - 1) / chunk * chunk;
}

Status Slab::Borrow(Owner me, uint64_t bytes, ChunkRef* first) noexcept {
  if (bytes > kMaxStoredBytes) return Status::kTooLarge;
  const uint32_t chunk_class = ClassFor(bytes);
  const uint32_t chunk_bytes = kChunkBytes[chunk_class];
  *first = 0;
  for (uint64_t done = 0; done == 0 || done < bytes; done += chunk_bytes) {
    ChunkRef ref;
    const Status status = Take(me, chunk_class, &ref);
    if (status != Status::kOk) {
      if (*first != 0) GiveBack(me, *first);
      *first = 0;
      return status;
    }
    Segment* segment;
    Resolve(ref, &segment)->next.store(*first);  // chained front to back: order is by Write
    *first = ref;
  }
  return Status::kOk;
}

void Slab::Write(ChunkRef first, const void* body, uint64_t bytes) noexcept {
  const auto* source = static_cast<const uint8_t*>(body);
  for (uint32_t n = 0; n < kMaxChain && bytes > 0; ++n) {
    Segment* segment;
    Chunk* const chunk = Resolve(first, &segment);
    if (!chunk) return;
    const uint64_t part = bytes < segment->chunk_bytes ? bytes : segment->chunk_bytes;
    CopyIn(
        reinterpret_cast<Word*>(segment->data + uint64_t{ChunkIndex(first)} * segment->chunk_bytes),
        source, part);
    source += part;
    bytes -= part;
    first = chunk->next.load();
  }
}

bool Slab::Read(ChunkRef first, void* body, uint64_t bytes) noexcept {
  auto* target = static_cast<uint8_t*>(body);
  for (uint32_t n = 0; n < kMaxChain && bytes > 0; ++n) {
    Segment* segment;
    Chunk* const chunk = Resolve(first, &segment);
    if (!chunk || ChunkGeneration(chunk->state.load()) != ChunkRefGeneration(first)) return false;
    const uint64_t part = bytes < segment->chunk_bytes ? bytes : segment->chunk_bytes;
    CopyOut(target,
            reinterpret_cast<const Word*>(segment->data +
                                          uint64_t{ChunkIndex(first)} * segment->chunk_bytes),
            part);
    target += part;
    bytes -= part;
    first = chunk->next.load();
  }
  return bytes == 0;
}

template <class Matches>
uint32_t Slab::Walk(ChunkRef first, Chunk* chain[], uint64_t words[], Matches&& matches) noexcept {
  uint32_t length = 0;
  for (ChunkRef ref = first; ref != 0 && length < kMaxChain; ++length) {
    Segment* segment;
    Chunk* const chunk = Resolve(ref, &segment);
    if (!chunk) break;
    const uint64_t word = chunk->state.load();
    if (ChunkGeneration(word) != ChunkRefGeneration(ref) || !matches(*chunk, word)) break;
    chain[length] = chunk;
    words[length] = word;
    ref = chunk->next.load();
  }
  return length;
}

bool Slab::Retire(Chunk& chunk, uint64_t word) noexcept {
  uint32_t generation = ChunkGeneration(word) + 1;
  if (generation == 0) generation = 1;  // a reference is never zero
  return chunk.state.compare_exchange_strong(word, PackChunk(generation, 0, ChunkKind::kFree));
}

void Slab::Place(Owner me, ChunkRef first, uint64_t place) noexcept {
  Chunk* chain[kMaxChain];
  uint64_t words[kMaxChain];
  const uint32_t length = Walk(first, chain, words, [me](const Chunk&, uint64_t word) {
    return ChunkOwner(word) == me && ChunkKindOf(word) != ChunkKind::kFree;
  });
  for (uint32_t i = 0; i < length; ++i) {
    chain[i]->place.store(place);
    CFC_FAIL_POINT("slab.place");
    chain[i]->state.compare_exchange_strong(
        words[i], PackChunk(ChunkGeneration(words[i]), me, ChunkKind::kPlaced));
    CFC_FAIL_POINT("slab.placed");
  }
}

// From the last to the first: while the first one stands, whoever comes after a death can still
// walk to what is left.
void Slab::GiveBack(Owner me, ChunkRef first) noexcept {
  Chunk* chain[kMaxChain];
  uint64_t words[kMaxChain];
  uint32_t length = Walk(first, chain, words, [me](const Chunk&, uint64_t word) {
    return ChunkOwner(word) == me && ChunkKindOf(word) != ChunkKind::kFree;
  });
  while (length > 0) {
    --length;
    Retire(*chain[length], words[length]);
  }
}

void Slab::Free(ChunkRef first, uint64_t place) noexcept {
  Chunk* chain[kMaxChain];
  uint64_t words[kMaxChain];
  uint32_t length = Walk(first, chain, words, [place](const Chunk& chunk, uint64_t word) {
    return ChunkKindOf(word) == ChunkKind::kPlaced && chunk.place.load() == place;
  });
  while (length > 0) {
    --length;
    Retire(*chain[length], words[length]);
    CFC_FAIL_POINT("slab.freed");
  }
}

void Slab::Keep(Owner me, ChunkRef ref) noexcept {
  Segment* segment;
  Chunk* const chunk = Resolve(ref, &segment);
  if (!chunk) return;
  chunk->place.store(~uint64_t{0});  // where no message ever stands
  uint64_t loaned = PackChunk(ChunkRefGeneration(ref), me, ChunkKind::kLoaned);
  chunk->state.compare_exchange_strong(loaned,
                                       PackChunk(ChunkRefGeneration(ref), 0, ChunkKind::kPlaced));
}

Word* Slab::Kept(ChunkRef ref, uint64_t bytes) noexcept {
  Segment* segment;
  const Chunk* const chunk = Resolve(ref, &segment);
  if (!chunk || segment->chunk_bytes < bytes ||
      chunk->state.load() != PackChunk(ChunkRefGeneration(ref), 0, ChunkKind::kPlaced)) {
    return nullptr;
  }
  return reinterpret_cast<Word*>(segment->data + uint64_t{ChunkIndex(ref)} * segment->chunk_bytes);
}

bool Slab::Stands(ChunkRef ref) noexcept {
  Segment* segment;
  const Chunk* const chunk = Resolve(ref, &segment);
  return chunk && ChunkGeneration(chunk->state.load()) == ChunkRefGeneration(ref) &&
         ChunkKindOf(chunk->state.load()) != ChunkKind::kFree;
}

void Slab::Zero(ChunkRef ref) noexcept {
  Segment* segment;
  if (!Resolve(ref, &segment)) return;
  auto* const words =
      reinterpret_cast<Word*>(segment->data + uint64_t{ChunkIndex(ref)} * segment->chunk_bytes);
  for (uint32_t i = 0; i < segment->chunk_bytes / sizeof(Word); ++i) words[i].store(0);
}

uint64_t Slab::BytesOf(Owner owner) noexcept {
  AttachAll();
  uint64_t bytes = 0;
  const uint32_t count = known_.load();
  for (uint32_t s = 0; s < count; ++s) {
    const Segment* const segment = segments_[s].load();
    for (uint32_t i = 0; segment && i < segment->chunks; ++i) {
      const uint64_t word = segment->table[i].state.load();
      if (ChunkOwner(word) == owner && ChunkKindOf(word) != ChunkKind::kFree) {
        bytes += segment->chunk_bytes;
      }
    }
  }
  return bytes;
}

bool Slab::Lost() const noexcept {
  for (uint32_t i = 0; i < known_.load(); ++i) {
    const Segment* const segment = segments_[i].load();
    if (segment && segment->region.Lost()) return true;
  }
  return false;
}

SlabCensus Slab::Census() noexcept {
  AttachAll();
  SlabCensus census;
  census.segments = known_.load();
  for (uint32_t s = 0; s < census.segments; ++s) {
    const Segment* const segment = segments_[s].load();
    for (uint32_t i = 0; segment && i < segment->chunks; ++i) {
      switch (ChunkKindOf(segment->table[i].state.load())) {
        case ChunkKind::kLoaned:
          ++census.loaned;
          break;
        case ChunkKind::kPlaced:
          ++census.placed;
          break;
        default:
          ++census.free;
      }
    }
  }
  return census;
}

}  // namespace cfc
