#include "topic_store.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "copy.h"

namespace cfc {
namespace {

constexpr uint64_t kRowsOffset = kHeaderBytes + sizeof(TopicWords);

void FileName(uint32_t index, char out[16]) noexcept {
  std::snprintf(out, 16, "topic.%03u", index % kMaxTopics);
}

uint64_t RoundUp(uint64_t bytes, uint64_t step) noexcept {
  return (bytes + step - 1) / step * step;
}

uint64_t CellsOffset(uint32_t rows) noexcept {
  return RoundUp(kRowsOffset + uint64_t{rows} * sizeof(Row), kHeaderBytes);
}

bool IsPowerOfTwo(uint64_t n) noexcept { return n != 0 && (n & (n - 1)) == 0; }

}  // namespace

bool IsValidTopicName(std::string_view name) noexcept {
  const auto alphanumeric = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.empty() || name.size() > kMaxNameBytes || !alphanumeric(name[0])) return false;
  for (const char c : name) {
    if (!alphanumeric(c) && c != '_' && c != '.' && c != '-') return false;
  }
  return true;
}

TopicStore::~TopicStore() {
  for (auto& file : files_) delete file.load();
}

void TopicStore::Open(const Directory* directory, const uint8_t* uuid, uint32_t cells,
                      uint32_t subscribers, uint32_t most) noexcept {
  directory_ = directory;
  uuid_ = uuid;
  cells_ = RoundCells(cells);
  rows_ = RoundRows(subscribers);
  most_ = most < kMaxTopics ? most : kMaxTopics;
}

uint32_t TopicStore::RoundCells(uint32_t cells) noexcept {
  uint32_t rounded = kMinTopicCells;
  while (rounded < cells && rounded < kMaxLaneCells) rounded *= 2;
  return rounded;
}

uint32_t TopicStore::RoundRows(uint32_t subscribers) noexcept {
  const uint32_t rows = (subscribers + kRowsPerGroup - 1) / kRowsPerGroup * kRowsPerGroup;
  return rows == 0 ? kRowsPerGroup : rows < kMaxSubscribers ? rows : kMaxSubscribers;
}

uint64_t TopicStore::FileBytes(uint32_t cells, uint32_t rows) noexcept {
  return RoundUp(CellsOffset(rows) + uint64_t{cells} * kCellBytes, kHeaderBytes);
}

bool TopicStore::Lost() const noexcept {
  for (uint32_t i = 0; i < known_.load(); ++i) {
    const File* const file = files_[i].load();
    if (file && file->region.Lost()) return true;
  }
  return false;
}

Status TopicStore::AttachFile(uint32_t index, Failure* failure) noexcept {
  char name[16];
  FileName(index, name);
  auto file = std::make_unique<File>();
  const Status status = Region::Attach(*directory_, name, FileKind::kTopic, uuid_,
                                       /*writable=*/true, &file->region, failure);
  if (status != Status::kOk) return status;
  const uint64_t* geometry = file->region.header().geometry;
  const uint64_t cells = geometry[0], rows = geometry[1];
  if (!IsPowerOfTwo(cells) || cells < kMinTopicCells || cells > kMaxLaneCells || rows == 0 ||
      rows > kMaxSubscribers ||
      FileBytes(static_cast<uint32_t>(cells), static_cast<uint32_t>(rows)) !=
          file->region.bytes()) {
    return Status::kCorrupt;
  }
  file->cells = static_cast<uint32_t>(cells);
  file->rows = static_cast<uint32_t>(rows);
  const auto* words = reinterpret_cast<const TopicWords*>(file->region.base() + kHeaderBytes);
  const uint64_t name_bytes = words->name_bytes.load();
  if (name_bytes > kMaxNameBytes) return Status::kCorrupt;
  CopyOut(file->name, words->name, name_bytes);
  file->name_bytes = static_cast<uint32_t>(name_bytes);
  if (!IsValidTopicName({file->name, file->name_bytes})) return Status::kCorrupt;
  files_[index].store(file.release());
  return Status::kOk;
}

// Files are made in order, so the first missing one is the end. Under growing_.
void TopicStore::AttachAllLocked() noexcept {
  uint32_t index = known_.load();
  while (index < kMaxTopics && AttachFile(index, nullptr) == Status::kOk) known_.store(++index);
}

void TopicStore::AttachAll() noexcept {
  const std::lock_guard<std::mutex> lock(growing_);
  AttachAllLocked();
}

bool TopicStore::Search(std::string_view name, uint32_t from, uint32_t* index) const noexcept {
  const uint32_t count = known_.load();
  for (uint32_t i = from; i < count; ++i) {
    const File* const file = files_[i].load();
    if (!file || std::string_view(file->name, file->name_bytes) != name) continue;
    *index = i;
    return true;
  }
  return false;
}

Status TopicStore::Make(uint32_t index, std::string_view name, Failure* failure) noexcept {
  FileHeader header = {};
  header.kind = static_cast<uint32_t>(FileKind::kTopic);
  std::memcpy(header.fabric_uuid, uuid_, sizeof header.fabric_uuid);
  header.geometry[0] = cells_;
  header.geometry[1] = rows_;
  char file_name[16];
  FileName(index, file_name);
  Region region;
  // Zeroed memory is what is wanted, but for the name: an empty log at position 0, rows FREE.
  const Status status = Region::Create(
      *directory_, file_name, header, FileBytes(cells_, rows_),
      [name](uint8_t* base) {
        auto* words = reinterpret_cast<TopicWords*>(base + kHeaderBytes);
        words->name_bytes.store(name.size());
        CopyIn(words->name, name.data(), name.size());
      },
      &region, failure);
  if (status != Status::kOk && status != Status::kExists) return status;
  const Status attached = AttachFile(index, failure);
  if (attached == Status::kOk) known_.store(index + 1);
  return attached;
}

Status TopicStore::FindOrMake(std::string_view name, TopicView* view, Failure* failure) noexcept {
  errno = 0;
  if (!IsValidTopicName(name)) {
    return Fail(failure, Status::kInvalid, "", std::string(name),
                "a topic begins with a letter or digit and has up to 64 of A-Z a-z 0-9 _ . -");
  }
  uint32_t index = 0;
  bool found = Search(name, 0, &index);
  if (!found) {
    const std::lock_guard<std::mutex> lock(growing_);
    for (;;) {
      AttachAllLocked();
      found = Search(name, 0, &index);
      if (found) break;
      const uint32_t looked = known_.load();
      if (looked >= most_) {
        errno = 0;
        return Fail(failure, Status::kTopicsFull, "", directory_->path());
      }
      // Whoever else got this number may have made it for the same name.
      const Status status = Make(looked, name, failure);
      if (status != Status::kOk) return status;
    }
  }
  return View(TopicBox(index), view) ? Status::kOk : Status::kCorrupt;
}

bool TopicStore::View(BoxId box, TopicView* view) noexcept {
  const uint32_t index = BoxIndex(box);
  if (!IsTopicBox(box) || index >= kMaxTopics) return false;
  if (index >= known_.load()) AttachAll();
  const File* const file = files_[index].load();
  if (!file) return false;
  uint8_t* const base = file->region.base();
  view->words = reinterpret_cast<TopicWords*>(base + kHeaderBytes);
  view->rows = TopicRows(view->words, reinterpret_cast<Row*>(base + kRowsOffset), file->rows);
  view->log = TopicLog(&view->words->lane, reinterpret_cast<Cell*>(base + CellsOffset(file->rows)),
                       file->cells);
  view->box = box;
  return true;
}

size_t TopicStore::NameOf(const TopicView& view, char out[kMaxNameBytes]) noexcept {
  const uint64_t bytes = view.words->name_bytes.load();
  if (bytes > kMaxNameBytes) return 0;
  CopyOut(out, view.words->name, bytes);
  return bytes;
}

}  // namespace cfc
