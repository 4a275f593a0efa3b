// Agent directory: names of a fabric, each with its mailbox and holder.
//
// A name lives in one of kProbe entries after its hash. Inserting claims a free entry with owner
// and hash in the word, writes the name, looks at the whole window again and only then goes live:
// of two that insert one name at once, the one further on gives way, and a claim that stalls is set
// aside (QUARANTINED) rather than waited for. No lock, so nobody who stops here stops others.
// native/model/directory_model.cc searches it.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <string_view>

#include "allowance.h"
#include "fabric_files.h"
#include "layout.h"
#include "status.h"
#include "words.h"

namespace cfc {

constexpr uint32_t kProbe = 64;
constexpr uint32_t kNoEntry = ~uint32_t{0};

// A copy of what the directory says of an agent.
struct AgentRecord {
  uint32_t entry = kNoEntry;
  uint64_t word = 0;  // of the entry, with its generation
  uint64_t holder = 0;
  uint64_t mailbox = 0;
  uint32_t incarnation = 0;
  AgentState state = AgentState::kSpawned;
  uint32_t pid = 0;
  uint64_t joined_at_ms = 0;
  uint64_t progress_at_ms = 0;
  uint64_t restarts = 0;
  uint64_t exit = 0;  // lifecycle.h takes these apart
  uint64_t command = 0;
  uint64_t facts = 0;
  uint8_t name_bytes = 0, role_bytes = 0, team_bytes = 0, parent_bytes = 0;
  char name[kMaxNameBytes] = {};
  char role[kMaxNameBytes] = {};
  char team[kMaxNameBytes] = {};
  char parent[kMaxNameBytes] = {};

  std::string_view Name() const noexcept { return {name, name_bytes}; }
  std::string_view Role() const noexcept { return {role, role_bytes}; }
  std::string_view Team() const noexcept { return {team, team_bytes}; }
  std::string_view Parent() const noexcept { return {parent, parent_bytes}; }
};

// What a joining agent says of itself.
struct AgentSpec {
  std::string_view name = {};  // spelt out, so that {.name = "bob"} leaves nothing to warn of
  std::string_view role = {};
  std::string_view team = {};
  std::string_view parent = {};
  uint32_t mailbox_cells = 0;  // of the work lane; 0: the fabric's default
  bool counts = true;          // false: it counts nothing, and what it counted reads as 0
  bool fence = true;           // a new incarnation: what an earlier life still holds is redelivered
  bool shim = false;           // holds the name for others: neither reads nor counts itself
  SendLimits limits = {};      // of a new life; a guest has those of the life that it visits
  std::string_view life = {};  // token of the life that this is to be a guest of; empty: of none
};

class AgentDirectory {
 public:
  explicit AgentDirectory(Fabric* fabric) noexcept : fabric_(fabric) {}

  // kOk, kNoAgent.
  Status Find(std::string_view name, AgentRecord* out) const noexcept;
  // What stands at an index; false where nobody lives there.
  bool Read(uint32_t entry, AgentRecord* out) const noexcept;
  // Claims an entry for a new name; the caller fills it in and calls Publish or Abandon.
  // kExists (somebody has the name: take it over instead), kAgentsFull, kBusy.
  Status Claim(Owner me, std::string_view name, uint32_t* entry) noexcept;
  // False: the claim was set aside meanwhile; it is given back, begin again.
  bool Publish(Owner me, uint32_t entry) noexcept;
  void Abandon(Owner me, uint32_t entry) noexcept;
  // Puts a name below another parent, whether its holder lives or not; the holder is not asked.
  // Several may do so at once, beside a takeover: the last one stands, whole. One that is stopped
  // in the middle is waited for 250 ms, then written over; continued, it may write over the parent
  // of whoever has the entry by then. kNoAgent, kInvalid; kBusy where others go on and on.
  Status Reparent(std::string_view name, std::string_view parent) noexcept;
  // Forgets a live name. False where somebody else did.
  bool Remove(const AgentRecord& record) noexcept;

  // Gives back the claims of a dead owner. Returns how many.
  uint32_t RepairOwner(Owner owner) noexcept;

  static uint32_t Hash(std::string_view name) noexcept;
  static void StoreText(NativeMemory::Word* words, std::string_view text) noexcept;
  // Writes role, team, parent and the lengths of all.
  void Describe(uint32_t entry, const AgentSpec& spec) noexcept;

 private:
  Entry& At(std::string_view name, uint32_t probe) const noexcept;
  uint32_t IndexAt(std::string_view name, uint32_t probe) const noexcept;
  bool NameIs(const Entry& entry, std::string_view name) const noexcept;

  Fabric* fabric_;
};

}  // namespace cfc
