// Group: whom an address means that is no single name, and who of them has the least to do.
//
// One pass over the directory; of a load, the words of the lanes. Nobody is told, nobody is
// disturbed, nothing sleeps. Who joins or leaves during the pass may be seen or not.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <string_view>

#include "directory.h"
#include "fabric_files.h"
#include "layout.h"
#include "status.h"

namespace cfc {

enum class GroupKind : uint32_t {
  kEverybody = 0,
  kTeam = 1,
  kRole = 2,
  kParent = 3,    // of self: one at most
  kChildren = 4,  // whose parent is self
  kPeers = 5,     // who has the parent that self has, or like self none
};
constexpr uint32_t kGroupKinds = 6;

// `parent`, `children` and `peers` are addresses, so nobody may be called that.
bool IsReservedName(std::string_view name) noexcept;

class Group {
 public:
  // name: of the team or role, else unused. self: the directory entry of who asks, who is no
  // member. `fabric` outlives the group.
  Group(Fabric* fabric, GroupKind kind, std::string_view name, uint32_t self) noexcept;

  // Calls visit(const AgentRecord&) for each member: who joined and did not leave, dead or alive,
  // as a message for the dead waits for its successor.
  template <class Visit>
  void ForEach(Visit&& visit) const noexcept {
    AgentRecord record;
    for (uint32_t i = 0; i < fabric_->entry_count(); ++i) {
      if (Member(i, &record)) visit(record);
    }
  }

  // The living member with the fewest unacked messages, those with room in `lane` first; of equals,
  // the first from entry `start` on. Who says that it is paused, complete or failed is passed over.
  // One system call: whether the one that was found lives.
  // kNoAgent (no members), kNoReader (none that lives and works), kFull (only_idle: nobody is).
  Status LeastLoaded(LaneIndex lane, bool only_idle, uint32_t start,
                     AgentRecord* out) const noexcept;

 private:
  // By the words that decide it; what is read of an agent that leaves meanwhile may be garbage.
  bool Seems(const Entry& entry) const noexcept;
  bool Member(uint32_t index, AgentRecord* record) const noexcept;

  Fabric* fabric_;

  uint32_t self_;
  // What an entry is compared with: which of its texts, its length, its words. No text: nothing.
  int field_ = -1;
  uint8_t bytes_ = 0;
  uint64_t words_[kMaxNameBytes / 8] = {};
};

}  // namespace cfc
