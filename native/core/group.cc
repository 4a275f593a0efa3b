#include "group.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lifecycle.h"
#include "mail.h"

namespace cfc {
namespace {

struct Candidate {
  uint32_t entry;
  uint64_t load;  // unacked messages; those without room count as more than any that has some
};

// As the directory numbers the lengths.
constexpr int kNameField = 0, kRoleField = 1, kTeamField = 2, kParentField = 3;

constexpr uint8_t kNoLength = 0xff;  // that no text has
constexpr uint64_t kNoRoom = uint64_t{1} << 32;

bool Works(AgentState state) noexcept {
  return state == AgentState::kSpawned || state == AgentState::kWorking ||
         state == AgentState::kWaiting;
}

}  // namespace

bool IsReservedName(std::string_view name) noexcept {
  return name == "parent" || name == "children" || name == "peers";
}

Group::Group(Fabric* fabric, GroupKind kind, std::string_view name, uint32_t self) noexcept
    : fabric_(fabric), self_(self) {
  AgentRecord me;
  const bool known = AgentDirectory(fabric).Read(self, &me);
  switch (kind) {
    case GroupKind::kEverybody:
      return;
    case GroupKind::kTeam:
      field_ = kTeamField;
      break;
    case GroupKind::kRole:
      field_ = kRoleField;
      break;
    case GroupKind::kParent:
      field_ = kNameField;
      name = me.Parent();
      break;
    case GroupKind::kChildren:
      field_ = kParentField;
      name = me.Name();
      break;
    case GroupKind::kPeers:
      field_ = kParentField;
      name = me.Parent();
      break;
  }
  bytes_ = static_cast<uint8_t>(name.size() <= kMaxNameBytes ? name.size() : kMaxNameBytes);
  std::memcpy(words_, name.data(), bytes_);
  if (!known && kind != GroupKind::kTeam && kind != GroupKind::kRole) bytes_ = kNoLength;
}

bool Group::Seems(const Entry& entry) const noexcept {
  if (EntryKindOf(entry.word.load(std::memory_order_relaxed)) != EntryKind::kLive ||
      entry.holder.load(std::memory_order_relaxed) == 0) {
    return false;
  }
  if (field_ < 0) return true;
  if (bytes_ == kNoLength) return false;  // a damaged entry may have that length
  const uint64_t lengths = entry.lengths.load(std::memory_order_relaxed);
  if (static_cast<uint8_t>(lengths >> (8 * field_)) != bytes_) return false;
  const NativeMemory::Word* const texts[] = {entry.name, entry.role, entry.team, entry.parent};
  for (uint32_t i = 0; i * 8 < bytes_; ++i) {
    if (texts[field_][i].load(std::memory_order_relaxed) != words_[i]) return false;
  }
  return true;
}

bool Group::Member(uint32_t index, AgentRecord* record) const noexcept {
  if (index == self_ || !Seems(fabric_->entries()[index])) return false;
  // Whole and of one moment, for what `Seems` saw may be of two.
  if (!AgentDirectory(fabric_).Read(index, record) || record->holder == 0) return false;
  const std::string_view texts[] = {record->Name(), record->Role(), record->Team(),
                                    record->Parent()};
  return field_ < 0 ||
         texts[field_] == std::string_view(reinterpret_cast<const char*>(words_), bytes_);
}

Status Group::LeastLoaded(LaneIndex lane, bool only_idle, uint32_t start,
                          AgentRecord* out) const noexcept {
  std::vector<Candidate> candidates;
  bool members = false;
  bool busy = false;
  const uint32_t mask = fabric_->entry_count() - 1;
  for (uint32_t i = 0; i <= mask; ++i) {
    const uint32_t index = (start + i) & mask;
    const Entry& entry = fabric_->entries()[index];
    if (index == self_ || !Seems(entry)) continue;
    members = true;
    MailboxView view;
    if (!Works(StateOf(entry.state.load(std::memory_order_relaxed))) ||
        !fabric_->mail().View(MailboxRefBox(entry.mailbox.load(std::memory_order_relaxed)),
                              &view)) {
      continue;
    }
    uint64_t load = view.lanes[lane].Depth() < view.lanes[lane].capacity() ? 0 : kNoRoom;
    for (const Lane& ring : view.lanes) load += ring.Depth();
    if (!only_idle || load == 0) {
      candidates.push_back({index, load});
    } else {
      busy = true;
    }
  }
  while (!candidates.empty()) {
    const auto least =
        std::min_element(candidates.begin(), candidates.end(),
                         [](const Candidate& a, const Candidate& b) { return a.load < b.load; });
    // Again, for the caller; it may have left since.
    if (Member(least->entry, out) && !fabric_->HolderDead(out->holder)) return Status::kOk;
    candidates.erase(least);
  }
  if (!members) return Status::kNoAgent;
  return busy ? Status::kFull : Status::kNoReader;
}

}  // namespace cfc
