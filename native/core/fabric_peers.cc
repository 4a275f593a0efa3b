// Fabric, its peers: who is dead, whom to wake, what to free.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "fabric_files.h"
#include "futex.h"

namespace cfc {
namespace {

constexpr uint32_t kMostOpenBells = 128;  // half of the rows: a search for one is short

constexpr uint32_t BellSlot(uint64_t row) noexcept { return static_cast<uint32_t>(row >> 32); }
constexpr int BellDescriptor(uint64_t row) noexcept { return static_cast<int>(row & 0xffff'ffff); }

}  // namespace

Fabric::~Fabric() {
  for (const auto& row : bells_) {
    if (row.load() != 0) close(BellDescriptor(row.load()));
  }
}

Slot* Fabric::SlotAt(uint32_t slot) const noexcept {
  return slot >= 1 && slot <= slots() ? &slots_[slot] : nullptr;
}

bool Fabric::ProvenDead(Owner owner) noexcept {
  Slot* const slot = SlotAt(OwnerSlot(owner));
  if (!slot) return owner != 0;  // no such participant ever lived: a damaged word
  const uint64_t word = slot->word.load();
  if (SlotGeneration(word) != OwnerGeneration(owner)) return true;
  switch (SlotStateOf(word)) {
    case SlotState::kLive: {
      LeaseTester tester(directory_);
      // The word again: the owner may have left, and its successor not have the lock yet.
      return !tester.Held(OwnerSlot(owner));
    }
    case SlotState::kFree:
    case SlotState::kReaping:
      return true;
  }
  return true;
}

bool Fabric::HolderDead(uint64_t holder) noexcept {
  if (!HolderTakesPart(holder)) return true;
  LeaseTester tester(directory_);
  return !tester.Held(HolderSlot(holder));
}

bool Fabric::HolderDead(uint64_t holder, LeaseSurvey* leases) noexcept {
  return !HolderTakesPart(holder) || !leases->Held(HolderSlot(holder));
}

bool Fabric::HolderTakesPart(uint64_t holder) const noexcept {
  Slot* const slot = holder == 0 ? nullptr : SlotAt(HolderSlot(holder));
  if (!slot) return false;
  return SlotStateOf(slot->word.load()) == SlotState::kLive &&
         slot->uid.load() == HolderUid(holder);
}

int Fabric::OpenBell(uint32_t slot) noexcept {
  char name[16];
  std::snprintf(name, sizeof name, "bell.%05u", slot);
  // Read and write: a FIFO opened only to write gives ENXIO and SIGPIPE when its reader is gone.
  int fd = openat(directory_.fd(), name, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    if (mkfifoat(directory_.fd(), name, 0600) != 0 && errno != EEXIST) return -1;
    fd = openat(directory_.fd(), name, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  }
  if (fd < 0) return -1;
  FileInfo info;
  if (!ReadFileInfo(fd, "", &info) || !S_ISFIFO(info.mode) || info.uid != geteuid()) {
    close(fd);
    errno = EINVAL;
    return -1;
  }
  return fd;
}

int Fabric::KeptBell(uint32_t slot) const noexcept {
  for (uint32_t probe = 0; probe < kBellRows; ++probe) {
    const uint64_t row = bells_[(slot + probe) % kBellRows].load();
    if (row == 0) return -1;  // rows are never emptied
    if (BellSlot(row) == slot) return BellDescriptor(row);
  }
  return -1;
}

bool Fabric::KeepBell(uint32_t slot, int fd) noexcept {
  if (open_bells_.fetch_add(1) >= kMostOpenBells) {
    open_bells_.fetch_sub(1);
    return false;
  }
  const uint64_t mine = uint64_t{slot} << 32 | static_cast<uint32_t>(fd);
  for (uint32_t probe = 0; probe < kBellRows; ++probe) {
    uint64_t row = 0;
    if (bells_[(slot + probe) % kBellRows].compare_exchange_strong(row, mine)) return true;
    if (BellSlot(row) == slot) break;  // another thread was quicker
  }
  open_bells_.fetch_sub(1);
  return false;
}

void Fabric::WriteBell(uint32_t slot) noexcept {
  int fd = KeptBell(slot);
  bool keep = fd >= 0;
  if (fd < 0) {
    fd = OpenBell(slot);
    if (fd < 0) return;  // its backstop finds what was published
    keep = KeepBell(slot, fd);
  }
  const char byte = 1;
  // EAGAIN means full, hence readable: a success.
  while (write(fd, &byte, 1) < 0 && errno == EINTR) {
  }
  if (!keep) close(fd);
}

bool Fabric::Ring(uint32_t index) noexcept {
  Slot* const slot = SlotAt(index);
  if (!slot) return false;
  Doorbell bell(&slot->doorbell);
  if (!bell.IsParked()) return false;
  // The dead stay parked until their slot is given out again; a ring for them would be lost.
  if (SlotStateOf(slot->word.load()) != SlotState::kLive) return false;
  bool woke = false;
  bell.Ring([&](bool in_loop) {
    woke = true;
    if (in_loop) {
      WriteBell(index);
    } else {
      FutexWake(&slot->doorbell);
    }
  });
  return woke;
}

bool Fabric::RingReaders(const MailboxView& view, Owner except) noexcept {
  for (auto& reader : view.words->readers) {
    const auto owner = static_cast<Owner>(reader.load());
    if (owner != 0 && owner != except && Ring(OwnerSlot(owner))) return true;
  }
  return false;
}

uint32_t Fabric::AskerSlot(const MailboxView& view, uint64_t uid) const noexcept {
  for (auto& reader : view.words->readers) {
    const auto owner = static_cast<Owner>(reader.load());
    const Slot* const slot = owner != 0 ? SlotAt(OwnerSlot(owner)) : nullptr;
    if (!slot || slot->uid.load() != uid || slot->awaits.load() == 0) continue;
    const uint64_t word = slot->word.load();
    if (SlotStateOf(word) != SlotState::kLive || SlotGeneration(word) != OwnerGeneration(owner)) {
      continue;
    }
    return OwnerSlot(owner);
  }
  return 0;
}

void Fabric::RingReadersBehind(const MailboxView& view, Owner me) noexcept {
  bool behind = false;
  for (auto& reader : view.words->readers) {
    const auto owner = static_cast<Owner>(reader.load());
    if (behind && owner != 0 && Ring(OwnerSlot(owner))) return;
    behind = behind || owner == me;
  }
}

void Fabric::PassRoom(const MailboxView& view, uint32_t lane, uint32_t cells) noexcept {
  auto& room = view.lanes[lane].words()->room;
  if (cells == 0 || !Wants::AnybodyWants(room)) return;
  wants_.Pass(room, PackLaneId(view.box, lane), cells,
              [this](uint32_t slot) { return Ring(slot); });
}

bool Fabric::SomebodyComes(const MailboxView& view, uint32_t lane, uint32_t slot) const noexcept {
  const Slot* const rung = SlotAt(slot);
  if (!rung || WantLane(wants_.Of(slot).load()) != PackLaneId(view.box, lane)) return false;
  return !Doorbell::Sleeps(rung->doorbell.load());
}

uint32_t Fabric::Reclaim(const MailboxView& view, uint32_t lane) noexcept {
  ReclaimMemo memo;
  return Reclaim(view, lane, &memo);
}

uint32_t Fabric::Reclaim(const MailboxView& view, uint32_t lane_index, ReclaimMemo* memo) noexcept {
  Lane lane = view.lanes[lane_index];
  const uint32_t freed = lane.Reclaim(
      [&](ChunkRef chunk, uint64_t position, VoidReason reason) {
        if (chunk != 0) slab_.Free(chunk, PackPlace(view.box, lane_index, position));
        const Owner waiting = lane.LeaveVerdict(position, reason);
        if (waiting != 0) Ring(OwnerSlot(waiting));
      },
      &memo->known_tail);
  if (freed == 0 || !Wants::AnybodyWants(lane.words()->room)) return freed;
  const uint64_t now_ticks = CpuTicks();
  const bool quick = now_ticks - memo->last_ticks < 8 * kBurstTicks;
  memo->last_ticks = now_ticks;
  memo->unpassed += freed;
  const uint32_t handful = Lane::Handful(lane.capacity());
  if (memo->unpassed < handful) {
    // To wake a sender for each cell costs ten times the cell. So a reader that takes one message
    // after the other, and has more before it, saves some up; should it stop just then, the
    // sender's own next look finds them (Agent::Send).
    if (quick && lane.CameTo(lane.words()->head.load() + handful)) return freed;
    if (SomebodyComes(view, lane_index, memo->rung)) return freed;
  }
  memo->unpassed = 0;
  wants_.Pass(lane.words()->room, PackLaneId(view.box, lane_index), 1, [&](uint32_t slot) {
    const bool woke = Ring(slot);
    if (woke) memo->rung = slot;
    return woke;
  });
  return freed;
}

}  // namespace cfc
