#include "mail.h"

#include <cstdio>
#include <cstring>
#include <memory>

#include "failpoint.h"
#include "lease.h"

namespace cfc {
namespace {

constexpr int64_t kGrowthPatienceNs = 2'000'000'000;

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

void MailStore::Open(const Directory* directory, const uint8_t* uuid, uint64_t segment_bytes,
                     std::atomic<uint32_t>* growth_turns) noexcept {
  directory_ = directory;
  uuid_ = uuid;
  segment_bytes_ = segment_bytes;
  growth_turns_ = growth_turns;
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
  view->words = segment->box(BoxIndex(box));
  auto* cells = reinterpret_cast<Cell*>(view->words + 1);
  view->lanes[kControlLane] =
      Lane(&view->words->lanes[kControlLane], cells, segment->control_cells);
  view->lanes[kWorkLane] =
      Lane(&view->words->lanes[kWorkLane], cells + segment->control_cells, segment->work_cells);
  view->box = box;
  return true;
}

MailboxWords* MailStore::Segment::box(uint32_t index) const noexcept {
  return reinterpret_cast<MailboxWords*>(region.base() + kHeaderBytes + index * stride);
}

// Thousands join at once: whoever comes last must not look at everybody's box. So boxes that were
// never handed out are taken by a ticket, and full segments are passed over, newest first. Either
// word may be wrong (a process died between two stores): then all boxes are looked at, once, before
// the store grows.
Status MailStore::Allocate(Owner me, uint32_t work_cells, uint64_t* ref, MailboxView* view,
                           Failure* failure) noexcept {
  work_cells = RoundCells(work_cells);
  AttachAll();
  for (uint32_t rounds = 0; rounds <= kMaxSegments; ++rounds) {
    Status status = ClaimAnywhere(work_cells, /*hinted=*/true, me, ref, view);
    if (status != Status::kFull) return status;
    const auto grown = [&, known = known_.load()] {
      AttachAll();
      return known_.load() != known;
    };
    GrowthTurn turn(*directory_, growth_turns_);
    turn.Await(kGrowthPatienceNs, grown);
    if (grown()) continue;  // by somebody else: look there first
    status = ClaimAnywhere(work_cells, /*hinted=*/false, me, ref, view);
    if (status != Status::kFull) return status;
    status = Grow(work_cells, failure);
    if (status != Status::kOk) return status;
    turn.Made();
  }
  return Status::kMailboxesFull;
}

Status MailStore::ClaimAnywhere(uint32_t work_cells, bool hinted, Owner me, uint64_t* ref,
                                MailboxView* view) noexcept {
  for (uint32_t s = known_.load(); s-- > 0;) {
    const Segment* const segment = segments_[s].load();
    if (!segment || segment->work_cells != work_cells) continue;
    const Status status =
        hinted ? ClaimHinted(s, me, ref, view) : ClaimIn(s, 0, segment->boxes, me, ref, view);
    if (status != Status::kFull) return status;
  }
  return Status::kFull;
}

Status MailStore::ClaimHinted(uint32_t segment, Owner me, uint64_t* ref,
                              MailboxView* view) noexcept {
  const Segment& in = *segments_[segment].load();
  MailboxWords& first = *in.box(0);
  uint64_t freed = first.freed.load();
  const auto last = static_cast<uint32_t>(freed >> 32);
  const uint32_t start = last == 0 ? 0 : last - 1;
  const auto claim = [&](uint32_t from, uint32_t looks) {
    return ClaimIn(segment, from, looks, me, ref, view);
  };
  const auto claim_freed = [&](uint32_t looks) {  // one of them is ours: others need not look
    while (static_cast<uint32_t>(freed) != 0) {
      if (first.freed.compare_exchange_strong(freed, freed - 1)) return claim(start, looks);
    }
    return Status::kFull;
  };
  // The one freed last, which is in somebody's cache.
  Status status = Status::kFull;
  if (start < in.boxes && BoxKindOf(in.box(start)->word.load()) == BoxKind::kFree) {
    status = claim_freed(1);
  }
  while (status == Status::kFull && first.handed.load() < in.boxes) {
    const uint64_t ticket = first.handed.fetch_add(1);
    if (ticket >= in.boxes) break;
    CFC_FAIL_POINT("box.ticket");
    status = claim(static_cast<uint32_t>(ticket), 1);
  }
  return status == Status::kFull ? claim_freed(in.boxes) : status;
}

Status MailStore::ClaimIn(uint32_t segment, uint32_t start, uint32_t looks, Owner me, uint64_t* ref,
                          MailboxView* view) noexcept {
  const uint32_t boxes = segments_[segment].load()->boxes;
  for (uint32_t i = 0; i < looks; ++i) {
    MailboxView found;
    if (!View(MakeBoxId(segment, (start + i) % boxes), &found)) continue;
    uint64_t word = found.words->word.load();
    if (BoxKindOf(word) != BoxKind::kFree) continue;
    const uint32_t generation = BoxGeneration(word) + 1;
    if (!found.words->word.compare_exchange_strong(word,
                                                   PackBox(generation, me, BoxKind::kClaimed))) {
      continue;
    }
    CFC_FAIL_POINT("box.claimed");
    *ref = PackMailboxRef(found.box, generation);
    for (auto& lane : found.lanes) {
      if (lane.Reopen() != Status::kOk) {  // damaged: nobody else gets it to open either
        Free(me, *ref);
        return Status::kCorrupt;
      }
    }
    for (auto& reader : found.words->readers) reader.store(0);
    found.words->gate.store(0);
    *view = found;
    return Status::kOk;
  }
  return Status::kFull;
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
  if (!view.words->word.compare_exchange_strong(expected, PackBox(generation, 0, BoxKind::kFree))) {
    return;
  }
  CFC_FAIL_POINT("box.freed");
  auto& freed = segments_[BoxSegment(view.box)].load()->box(0)->freed;
  uint64_t seen = freed.load();
  const uint64_t place = uint64_t{BoxIndex(view.box)} + 1;
  while (!freed.compare_exchange_strong(
      seen, place << 32 | static_cast<uint32_t>(static_cast<uint32_t>(seen) + 1))) {
  }
}

}  // namespace cfc
