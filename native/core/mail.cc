#include "mail.h"

#include <cstdio>
#include <cstring>
#include <memory>

#include "failpoint.h"

namespace cfc {
namespace {

void SegmentName(uint32_t index, char out[16]) noexcept {
  std::snprintf(out, 16, "mail.%03u", index % kMaxSegments);
}

uint64_t StrideOf(uint32_t work_cells, uint32_t control_cells) noexcept {
  return sizeof(MailboxWords) + uint64_t{work_cells + control_cells} * kCellBytes;
}

struct SegmentCut {
  uint64_t stride, boxes, bytes;
};

// At least one box, however large.
SegmentCut CutSegment(uint32_t work_cells, uint64_t segment_bytes) noexcept {
  SegmentCut cut;
  cut.stride = StrideOf(work_cells, MailStore::ControlCells(work_cells));
  cut.boxes =
      segment_bytes > kHeaderBytes + cut.stride ? (segment_bytes - kHeaderBytes) / cut.stride : 1;
  cut.bytes = kHeaderBytes + cut.boxes * cut.stride;
  cut.bytes = (cut.bytes + kHeaderBytes - 1) / kHeaderBytes * kHeaderBytes;
  return cut;
}

bool IsPowerOfTwo(uint64_t n) noexcept { return n != 0 && (n & (n - 1)) == 0; }

}  // namespace

MailStore::~MailStore() {
  for (auto& segment : segments_) delete segment.load();
}

void MailStore::Open(const Directory* directory, const uint8_t* uuid,
                     uint64_t segment_bytes) noexcept {
  directory_ = directory;
  uuid_ = uuid;
  segment_bytes_ = segment_bytes;
}

uint32_t MailStore::RoundCells(uint32_t cells) noexcept {
  uint32_t rounded = kMinLaneCells;
  while (rounded < cells && rounded < kMaxLaneCells) rounded *= 2;
  return rounded;
}

uint32_t MailStore::ControlCells(uint32_t work_cells) noexcept {
  const uint32_t quarter = work_cells / 4;
  return quarter < 16 ? 16 : quarter > 64 ? 64 : quarter;
}

uint64_t MailStore::BoxBytes(uint32_t work_cells) noexcept {
  const uint32_t rounded = RoundCells(work_cells);
  return StrideOf(rounded, ControlCells(rounded));
}

uint64_t MailStore::BytesFor(uint64_t boxes, uint32_t work_cells, uint64_t segment_bytes) noexcept {
  const SegmentCut cut = CutSegment(RoundCells(work_cells), segment_bytes);
  return (boxes + cut.boxes - 1) / cut.boxes * cut.bytes;
}

bool MailStore::Lost() const noexcept {
  for (uint32_t i = 0; i < known_.load(); ++i) {
    const Segment* const segment = segments_[i].load();
    if (segment && segment->region.Lost()) return true;
  }
  return false;
}

Status MailStore::AttachSegment(uint32_t index, Failure* failure) noexcept {
  char name[16];
  SegmentName(index, name);
  auto segment = std::make_unique<Segment>();
  const Status status = Region::Attach(*directory_, name, FileKind::kMail, uuid_,
                                       /*writable=*/true, &segment->region, failure);
  if (status != Status::kOk) return status;
  const uint64_t* geometry = segment->region.header().geometry;
  const uint64_t work = geometry[0], control = geometry[1], boxes = geometry[2];
  if (!IsPowerOfTwo(work) || !IsPowerOfTwo(control) || work > kMaxLaneCells ||
      control > kMaxLaneCells || work < 2 || control < 2 || boxes == 0 || boxes > 0xf'ffff) {
    return Status::kCorrupt;
  }
  segment->work_cells = static_cast<uint32_t>(work);
  segment->control_cells = static_cast<uint32_t>(control);
  segment->stride = StrideOf(segment->work_cells, segment->control_cells);
  segment->boxes = static_cast<uint32_t>(boxes);
  if (kHeaderBytes + boxes * segment->stride > segment->region.bytes()) return Status::kCorrupt;
  segments_[index].store(segment.release());
  return Status::kOk;
}

// Segments are made in order, so the first missing one is the end.
void MailStore::AttachAll() noexcept {
  const std::lock_guard<std::mutex> lock(growing_);
  uint32_t index = known_.load();
  while (index < kMaxSegments && AttachSegment(index, nullptr) == Status::kOk) {
    known_.store(++index);
  }
}

Status MailStore::Grow(uint32_t work_cells, Failure* failure) noexcept {
  const std::lock_guard<std::mutex> lock(growing_);
  const uint32_t index = known_.load();
  if (index >= kMaxSegments) return Status::kMailboxesFull;
  if (AttachSegment(index, nullptr) == Status::kOk) {  // somebody else grew it: look there first
    known_.store(index + 1);
    return Status::kOk;
  }
  const SegmentCut cut = CutSegment(work_cells, segment_bytes_);
  FileHeader header = {};
  header.kind = static_cast<uint32_t>(FileKind::kMail);
  std::memcpy(header.fabric_uuid, uuid_, sizeof header.fabric_uuid);
  header.geometry[0] = work_cells;
  header.geometry[1] = ControlCells(work_cells);
  header.geometry[2] = cut.boxes;
  char name[16];
  SegmentName(index, name);
  Region region;
  // Zeroed memory is what is wanted: boxes FREE, lanes empty at position 0, cells FREE at lap 0.
  const Status status = Region::Create(
      *directory_, name, header, cut.bytes, [](uint8_t*) {}, &region, failure);
  if (status != Status::kOk && status != Status::kExists) return status;
  const Status attached = AttachSegment(index, failure);
  if (attached == Status::kOk) known_.store(index + 1);
  return attached;
}

bool MailStore::View(BoxId box, MailboxView* view) noexcept {
  const uint32_t index = BoxSegment(box);
  if (index >= kMaxSegments) return false;
  if (index >= known_.load()) AttachAll();
  const Segment* const segment = segments_[index].load();
  if (!segment || BoxIndex(box) >= segment->boxes) return false;
  uint8_t* const base = segment->region.base() + kHeaderBytes + BoxIndex(box) * segment->stride;
  view->words = reinterpret_cast<MailboxWords*>(base);
  auto* cells = reinterpret_cast<Cell*>(base + sizeof(MailboxWords));
  view->lanes[kControlLane] =
      Lane(&view->words->lanes[kControlLane], cells, segment->control_cells);
  view->lanes[kWorkLane] =
      Lane(&view->words->lanes[kWorkLane], cells + segment->control_cells, segment->work_cells);
  view->box = box;
  return true;
}

Status MailStore::Allocate(Owner me, uint32_t work_cells, uint64_t* ref, MailboxView* view,
                           Failure* failure) noexcept {
  work_cells = RoundCells(work_cells);
  AttachAll();
  for (uint32_t rounds = 0; rounds <= kMaxSegments; ++rounds) {
    const uint32_t count = known_.load();
    for (uint32_t s = 0; s < count; ++s) {
      Segment* const segment = segments_[s].load();
      if (!segment || segment->work_cells != work_cells) continue;
      const uint32_t start = segment->hint.load(std::memory_order_relaxed);
      for (uint32_t i = 0; i < segment->boxes; ++i) {
        const uint32_t index = (start + i) % segment->boxes;
        MailboxView found;
        if (!View(MakeBoxId(s, index), &found)) continue;
        uint64_t word = found.words->word.load();
        if (BoxKindOf(word) != BoxKind::kFree) continue;
        const uint32_t generation = BoxGeneration(word) + 1;
        if (!found.words->word.compare_exchange_strong(
                word, PackBox(generation, me, BoxKind::kClaimed))) {
          continue;
        }
        CFC_FAIL_POINT("box.claimed");
        segment->hint.store(index + 1, std::memory_order_relaxed);
        *ref = PackMailboxRef(found.box, generation);
        for (auto& lane : found.lanes) {
          if (lane.Reopen() != Status::kOk) {  // damaged: nobody else gets it to open either
            Free(me, *ref);
            return Status::kCorrupt;
          }
        }
        for (auto& reader : found.words->readers) reader.store(0);
        *view = found;
        return Status::kOk;
      }
    }
    const Status grown = Grow(work_cells, failure);
    if (grown != Status::kOk) return grown;
  }
  return Status::kMailboxesFull;
}

void MailStore::Own(Owner me, uint64_t ref) noexcept {
  MailboxView view;
  if (!View(MailboxRefBox(ref), &view)) return;
  const uint32_t generation = MailboxRefGeneration(ref);
  uint64_t expected = PackBox(generation, me, BoxKind::kClaimed);
  view.words->word.compare_exchange_strong(expected, PackBox(generation, 0, BoxKind::kOwned));
}

bool MailStore::Disown(Owner me, uint64_t ref) noexcept {
  MailboxView view;
  if (!View(MailboxRefBox(ref), &view)) return false;
  const uint32_t generation = MailboxRefGeneration(ref);
  uint64_t expected = PackBox(generation, 0, BoxKind::kOwned);
  return view.words->word.compare_exchange_strong(expected,
                                                  PackBox(generation, me, BoxKind::kClaimed));
}

void MailStore::Free(Owner me, uint64_t ref) noexcept {
  MailboxView view;
  if (!View(MailboxRefBox(ref), &view)) return;
  const uint32_t generation = MailboxRefGeneration(ref);
  uint64_t expected = PackBox(generation, me, BoxKind::kClaimed);
  CFC_FAIL_POINT("box.free");
  view.words->word.compare_exchange_strong(expected, PackBox(generation, 0, BoxKind::kFree));
}

}  // namespace cfc
