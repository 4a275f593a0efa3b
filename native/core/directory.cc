#include "directory.h"

#include <unistd.h>

#include <cstring>

#include "clock.h"
#include "copy.h"
#include "failpoint.h"
#include "lifecycle.h"

namespace cfc {
namespace {

constexpr int64_t kPatienceNs = 250'000'000;  // for a claim in the middle of an insert
constexpr uint32_t kSpins = 64;               // rounds without a nap: most inserts are over soon
constexpr useconds_t kNapUs = 100;
constexpr int kParentLengthShift = 24;  // as PackLengthsOf has it
constexpr uint64_t kParentLengthMask = uint64_t{0xff} << kParentLengthShift;

uint8_t LengthAt(uint64_t lengths, int field) noexcept {
  const auto length = static_cast<uint8_t>(lengths >> (8 * field));
  return length <= kMaxNameBytes ? length : kMaxNameBytes;  // hostile memory
}

uint64_t PackLengthsOf(std::string_view name, std::string_view role, std::string_view team,
                       std::string_view parent) noexcept {
  return name.size() | role.size() << 8 | team.size() << 16 | parent.size() << kParentLengthShift;
}

bool OwnedBy(uint64_t word, Owner owner) noexcept {
  const EntryKind kind = EntryKindOf(word);
  return (kind == EntryKind::kClaimed || kind == EntryKind::kQuarantined) &&
         EntryOwner(word) == owner;
}

uint64_t Freed(uint64_t word) noexcept {
  return PackEntry(EntryGeneration(word) + 1, 0, 0, EntryKind::kFree);
}

}  // namespace

uint32_t AgentDirectory::Hash(std::string_view name) noexcept {
  uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (const char c : name) {
    hash ^= static_cast<uint8_t>(c);
    hash *= 0x100'0000'01b3;
  }
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

uint32_t AgentDirectory::IndexAt(std::string_view name, uint32_t probe) const noexcept {
  return (Hash(name) + probe) & (fabric_->entry_count() - 1);
}

Entry& AgentDirectory::At(std::string_view name, uint32_t probe) const noexcept {
  return fabric_->entries()[IndexAt(name, probe)];
}

bool AgentDirectory::NameIs(const Entry& entry, std::string_view name) const noexcept {
  if (LengthAt(entry.lengths.load(), 0) != name.size()) return false;
  char text[kMaxNameBytes];
  CopyOut(text, entry.name, kMaxNameBytes);
  return std::memcmp(text, name.data(), name.size()) == 0;
}

void AgentDirectory::StoreText(NativeMemory::Word* words, std::string_view text) noexcept {
  char padded[kMaxNameBytes] = {};
  if (!text.empty()) std::memcpy(padded, text.data(), text.size());
  CopyIn(words, padded, kMaxNameBytes);
}

void AgentDirectory::Describe(uint32_t index, const AgentSpec& spec) noexcept {
  Entry& entry = fabric_->entries()[index];
  StoreText(entry.role, spec.role);
  StoreText(entry.team, spec.team);
  StoreText(entry.parent, spec.parent);
  entry.lengths.store(PackLengthsOf(spec.name, spec.role, spec.team, spec.parent));
}

bool AgentDirectory::Read(uint32_t index, AgentRecord* out) const noexcept {
  if (index >= fabric_->entry_count()) return false;
  const Entry& entry = fabric_->entries()[index];
  for (int tries = 0; tries < 64; ++tries) {
    const uint64_t word = entry.word.load();
    if (EntryKindOf(word) != EntryKind::kLive) return false;
    // Odd while a new holder rewrites what the entry says of the agent.
    const uint64_t incarnation = entry.incarnation.load();
    out->entry = index;
    out->word = word;
    out->holder = entry.holder.load();
    out->mailbox = entry.mailbox.load();
    out->incarnation = static_cast<uint32_t>(incarnation >> 1);
    out->state = StateOf(entry.state.load());
    out->pid = static_cast<uint32_t>(entry.pid.load());
    out->joined_at_ms = entry.joined_at_ms.load();
    out->progress_at_ms = entry.progress_at_ms.load();
    out->restarts = entry.restarts.load();
    out->exit = entry.exit.load();
    out->command = entry.command.load();
    out->facts = entry.facts.load();
    const uint64_t lengths = entry.lengths.load();
    out->name_bytes = LengthAt(lengths, 0);
    out->role_bytes = LengthAt(lengths, 1);
    out->team_bytes = LengthAt(lengths, 2);
    out->parent_bytes = LengthAt(lengths, 3);
    CopyOut(out->name, entry.name, kMaxNameBytes);
    CopyOut(out->role, entry.role, kMaxNameBytes);
    CopyOut(out->team, entry.team, kMaxNameBytes);
    CopyOut(out->parent, entry.parent, kMaxNameBytes);
    const bool stable = entry.word.load() == word && entry.incarnation.load() == incarnation;
    // A holder that died while it wrote leaves an odd number: after a few looks, take what is
    // there.
    if (stable && ((incarnation & 1) == 0 || tries > 32)) return true;
  }
  return false;
}

Status AgentDirectory::Find(std::string_view name, AgentRecord* out) const noexcept {
  const uint32_t hash = Hash(name) & 0xf'ffff;
  for (uint32_t probe = 0; probe < kProbe; ++probe) {
    const Entry& entry = At(name, probe);
    const uint64_t word = entry.word.load();
    if (EntryKindOf(word) != EntryKind::kLive || EntryHash(word) != hash) continue;
    if (NameIs(entry, name) && Read(IndexAt(name, probe), out) && out->Name() == name) {
      return Status::kOk;
    }
  }
  return Status::kNoAgent;
}

Status AgentDirectory::Claim(Owner me, std::string_view name, uint32_t* claimed) noexcept {
  const uint32_t hash = Hash(name) & 0xf'ffff;
  const int64_t patience_ends_ns = MonotonicNs() + kPatienceNs;
  for (uint32_t rounds = 0; rounds < 100'000; ++rounds) {
    // Is the name there, or about to be?
    bool pending = false;
    uint32_t free = kNoEntry;
    uint64_t free_word = 0;
    for (uint32_t probe = 0; probe < kProbe; ++probe) {
      Entry& entry = At(name, probe);
      uint64_t word = entry.word.load();
      const EntryKind kind = EntryKindOf(word);
      if (kind == EntryKind::kFree) {
        if (free == kNoEntry) {
          free = probe;
          free_word = word;
        }
      } else if (kind == EntryKind::kLive) {
        // The word once more: the entry may have changed hands while its name was read.
        if (EntryHash(word) == hash && NameIs(entry, name) && entry.word.load() == word) {
          return Status::kExists;
        }
      } else if (kind == EntryKind::kClaimed && EntryHash(word) == hash) {
        if (fabric_->ProvenDead(EntryOwner(word))) {
          entry.word.compare_exchange_strong(word, Freed(word));
        } else if (MonotonicNs() > patience_ends_ns) {
          entry.word.compare_exchange_strong(
              word,
              PackEntry(EntryGeneration(word), hash, EntryOwner(word), EntryKind::kQuarantined));
        }
        pending = true;
      }
    }
    if (pending) {
      // It may be stopped: without a nap the rounds would be over before our patience is.
      if (rounds > kSpins) usleep(kNapUs);
      continue;
    }
    if (free == kNoEntry) return Status::kAgentsFull;

    Entry& mine = At(name, free);
    const uint64_t word = PackEntry(EntryGeneration(free_word), hash, me, EntryKind::kClaimed);
    if (!mine.word.compare_exchange_strong(free_word, word)) continue;
    CFC_FAIL_POINT("directory.claimed");
    StoreText(mine.name, name);
    mine.lengths.store(PackLengthsOf(name, {}, {}, {}));

    // Everybody else who inserts the name now sees our claim, or we see theirs.
    bool yielded = false;
    for (uint32_t probe = 0; probe < kProbe && !yielded; ++probe) {
      if (probe == free) continue;
      Entry& entry = At(name, probe);
      for (uint64_t other = entry.word.load(); EntryHash(other) == hash;) {
        const EntryKind kind = EntryKindOf(other);
        if (kind == EntryKind::kLive && NameIs(entry, name)) yielded = true;
        if (kind == EntryKind::kClaimed && probe < free) yielded = true;
        if (kind != EntryKind::kClaimed || yielded) break;
        const uint64_t aside =
            PackEntry(EntryGeneration(other), hash, EntryOwner(other), EntryKind::kQuarantined);
        if (entry.word.compare_exchange_strong(other, aside)) break;
      }
    }
    if (yielded) {
      Abandon(me, IndexAt(name, free));
      continue;
    }
    *claimed = IndexAt(name, free);
    return Status::kOk;
  }
  return Status::kBusy;
}

bool AgentDirectory::Publish(Owner me, uint32_t index) noexcept {
  Entry& entry = fabric_->entries()[index];
  uint64_t word = entry.word.load();
  CFC_FAIL_POINT("directory.publish");
  if (EntryKindOf(word) == EntryKind::kClaimed && EntryOwner(word) == me &&
      entry.word.compare_exchange_strong(
          word, PackEntry(EntryGeneration(word), EntryHash(word), 0, EntryKind::kLive))) {
    CFC_FAIL_POINT("directory.live");
    return true;
  }
  Abandon(me, index);
  return false;
}

void AgentDirectory::Abandon(Owner me, uint32_t index) noexcept {
  Entry& entry = fabric_->entries()[index];
  uint64_t word = entry.word.load();
  while (OwnedBy(word, me)) {
    if (entry.word.compare_exchange_strong(word, Freed(word))) return;
  }
}

bool AgentDirectory::Remove(const AgentRecord& record) noexcept {
  if (record.entry >= fabric_->entry_count()) return false;
  uint64_t word = record.word;
  return fabric_->entries()[record.entry].word.compare_exchange_strong(word, Freed(word));
}

Status AgentDirectory::Reparent(std::string_view name, std::string_view parent) noexcept {
  if (parent.size() > kMaxNameBytes) return Status::kInvalid;
  const int64_t patience_ends_ns = MonotonicNs() + kPatienceNs;
  for (uint32_t rounds = 0; rounds < 100'000; ++rounds) {
    AgentRecord record;
    const Status found = Find(name, &record);
    if (found != Status::kOk) return found;
    Entry& entry = fabric_->entries()[record.entry];
    uint64_t incarnation = entry.incarnation.load();
    const bool patient = MonotonicNs() <= patience_ends_ns;
    if ((incarnation & 1) != 0 && patient) {  // a new holder is at it, or died there
      if (rounds > kSpins) usleep(kNapUs);
      continue;
    }
    // Odd, as for any other who rewrites it: nobody reads half of a name. The life stays the same,
    // so the holder's leases do.
    const uint64_t rewriting = incarnation | 1;
    if (!entry.incarnation.compare_exchange_strong(incarnation, rewriting)) continue;
    CFC_FAIL_POINT("reparent.begun");
    StoreText(entry.parent, parent);
    entry.lengths.store((entry.lengths.load() & ~kParentLengthMask) | uint64_t{parent.size()}
                                                                          << kParentLengthShift);
    CFC_FAIL_POINT("reparent.written");
    // A takeover that began meanwhile wrote over ours, or we over its: once more, in its life.
    uint64_t mine = rewriting;
    if (entry.incarnation.compare_exchange_strong(mine, rewriting & ~uint64_t{1}) &&
        entry.word.load() == record.word) {
      return Status::kOk;
    }
    if (!patient) return Status::kBusy;
  }
  return Status::kBusy;
}

uint32_t AgentDirectory::RepairOwner(Owner owner) noexcept {
  uint32_t freed = 0;
  for (uint32_t i = 0; i < fabric_->entry_count(); ++i) {
    if (!OwnedBy(fabric_->entries()[i].word.load(), owner)) continue;
    Abandon(owner, i);
    ++freed;
  }
  return freed;
}

}  // namespace cfc
