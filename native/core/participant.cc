#include "participant.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "failpoint.h"
#include "futex.h"
#include "lifecycle.h"
#include "reaper.h"

namespace cfc {
namespace {

// Has the kernel put this thread on another of the CPUs that it may use.
void LeaveThisCpu() noexcept {
  cpu_set_t all;
  const int here = sched_getcpu();
  if (here < 0 || sched_getaffinity(0, sizeof all, &all) != 0) return;
  cpu_set_t others = all;
  CPU_CLR(static_cast<unsigned>(here), &others);
  if (CPU_COUNT(&others) == 0) return;
  if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof all, &all);
}

int CpuCount() noexcept {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

Status Participant::Register(Fabric* fabric, Failure* failure) {
  fabric_ = fabric;
  const uint32_t count = fabric->slots();
  const auto start = static_cast<uint32_t>(fabric->words().slot_hint.fetch_add(1));
  for (uint32_t round = 0; round < 2; ++round) {
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t index = 1 + (start + i) % count;
      Slot* const slot = fabric->SlotAt(index);
      uint64_t word = slot->word.load();
      if (SlotStateOf(word) != SlotState::kFree) continue;
      Lease lease;
      const Status status = Lease::Acquire(fabric->directory(), index, &lease);
      if (status == Status::kLeaseHeld) continue;
      if (status != Status::kOk) {
        return Fail(failure, status, "fcntl", fabric->directory().path(), "taking a lease");
      }
      // The lock is ours, so nobody else prepares this slot.
      word = slot->word.load();
      if (SlotStateOf(word) != SlotState::kFree) continue;
      CFC_FAIL_POINT("register.locked");
      const uint32_t generation = SlotGeneration(word) + 1;
      uid_ = fabric->words().next_uid.fetch_add(1);
      slot->uid.store(uid_);
      slot->pid.store(static_cast<uint64_t>(getpid()));
      slot->start_time.store(ProcessStartTime(0));
      slot->agent_hint.store(0);
      slot->beat.store(0);
      slot->awaits.store(0);
      for (auto& intent : slot->intents) intent.store(0);
      fabric->wants().Of(index).store(0);
      Doorbell(&slot->doorbell).Unpark();  // of one who died asleep
      if (!slot->word.compare_exchange_strong(word, PackSlot(generation, 0, SlotState::kLive))) {
        continue;
      }
      CFC_FAIL_POINT("register.live");
      lease_ = static_cast<Lease&&>(lease);
      slot_ = slot;
      owner_ = MakeOwner(index, generation & 0xff);
      forks_ = ForkGeneration();
      losses_ = GuardLosses();
      lost_ = Status::kOk;
      number_ = 0;
      std::memset(intents_, 0, sizeof intents_);
      spin_ = Spin();
      return Status::kOk;
    }
    // None free: perhaps the dead still sit in them.
    if (round == 0) ReapForRegistration(*fabric);
  }
  errno = 0;
  return Fail(failure, Status::kSlotsFull, "", fabric->directory().path());
}

void Participant::Unregister() noexcept {
  if (!lease_.acquired()) return;
  if (Usable() == Status::kOk) {
    // The same that repair would do for a dead one, so that nothing depends on a tidy end.
    RepairParticipant(*fabric_, owner_);
    slot_->agent_hint.store(0);
    bell().Unpark();
    CFC_FAIL_POINT("unregister.before");
    uint64_t word = PackSlot(OwnerGeneration(owner_), 0, SlotState::kLive);
    slot_->word.compare_exchange_strong(word,
                                        PackSlot(OwnerGeneration(owner_), 0, SlotState::kFree));
  }
  lease_.Release();
  bell_fd_.Reset();
  owner_ = 0;
}

Status Participant::CheckLease() noexcept {
  const Status usable = Usable();
  if (usable != Status::kOk) return usable;
  LeaseTester tester(fabric_->directory());
  const bool held = tester.Held(slot_index());
  const uint64_t word = slot_->word.load();
  const bool mine =
      SlotStateOf(word) == SlotState::kLive && SlotGeneration(word) == OwnerGeneration(owner_);
  const Status whole = fabric_->Check();  // after that load, which may have met a truncation
  if (whole != Status::kOk) return whole;
  if (!held || !mine) lost_ = Status::kParticipantLost;  // there is no way back from that
  return lost_;
}

void Participant::IntendToSend(uint64_t lane_id) noexcept {
  for (uint32_t i = kReadIntents; i < kIntents; ++i) {
    if (intents_[i] == lane_id) return;
  }
  // A send is over before the next begins, so the oldest of these names nothing of ours any more.
  const uint32_t i = kReadIntents + next_send_intent_++ % (kIntents - kReadIntents);
  intents_[i] = lane_id;
  slot_->intents[i].store(lane_id);
  CFC_FAIL_POINT("intent.send");
}

void Participant::IntendToRead(uint64_t lane_id) noexcept {
  uint32_t free = kReadIntents;
  for (uint32_t i = 0; i < kReadIntents; ++i) {
    if (intents_[i] == lane_id || intents_[i] == kSweepAll) return;
    if (intents_[i] == 0 && free == kReadIntents) free = i;
  }
  const uint64_t value = free == kReadIntents ? kSweepAll : lane_id;
  if (free == kReadIntents) free = 0;
  intents_[free] = value;
  slot_->intents[free].store(value);
}

void Participant::ForgetReading(uint64_t lane_id) noexcept {
  for (uint32_t i = 0; i < kReadIntents; ++i) {
    if (intents_[i] != lane_id) continue;
    intents_[i] = 0;
    slot_->intents[i].store(0);
  }
}

void Participant::Sleep(uint32_t ticket, int64_t timeout_ns) noexcept {
  ++sleeps_;
  FutexWait(&slot_->doorbell, ticket, timeout_ns);
}

int Participant::BellDescriptor() noexcept {
  if (!bell_fd_.valid()) bell_fd_ = Descriptor(fabric_->OpenBell(slot_index()));
  return bell_fd_.get();
}

void Participant::DrainBell() noexcept {
  char bytes[64];
  // A short read emptied it; one more call would only say so.
  while (bell_fd_.valid() && read(bell_fd_.get(), bytes, sizeof bytes) == sizeof bytes) {
  }
}

Status Participant::OnBackstop(bool sweep) noexcept {
  const Status status = CheckLease();
  if (status != Status::kOk) return status;
  if (sweep && SweepIsDue()) Sweep(*fabric_, owner_);
  return Status::kOk;
}

// However many sleep in a fabric, one of them looks at all slots per backstop.
bool Participant::SweepIsDue() noexcept {
  const auto now_ms = static_cast<uint64_t>(MonotonicNs() / 1'000'000);
  uint64_t swept_at_ms = fabric_->words().swept_at_ms.load();
  // A time ahead of now is damage, or of another boot: sweep and set it right.
  if (swept_at_ms <= now_ms && now_ms - swept_at_ms < kBackstopNs / 1'000'000 / 2) return false;
  return fabric_->words().swept_at_ms.compare_exchange_strong(swept_at_ms, now_ms);
}

bool Participant::Spin::Worthwhile() noexcept {
  if (cpus == 0) cpus = CpuCount();
  if (cpus < 2 || !recent) return false;
  if (skip > 0) {
    --skip;
    return false;
  }
  return true;
}

int64_t Participant::Spin::LeadNs(uint64_t sent, uint64_t taken) noexcept {
  const bool answers = sent != sent_at_wait;
  const uint64_t run = taken - taken_at_wait;
  sent_at_wait = sent;
  taken_at_wait = taken;
  if (answers) return 0;
  if (run < kShortRun && lead_ns < kMostLeadNs) lead_ns *= 2;
  if (run > 8 * kShortRun && lead_ns > kLeastLeadNs) lead_ns /= 2;
  return lead_ns;
}

Status Participant::Spin::Paid() noexcept {
  penalty = penalty > 1 ? penalty / 2 : 1;
  in_vain = 0;
  move_pause_ns = kFirstMovePauseNs;
  return Status::kOk;
}

void Participant::Spin::Wasted() noexcept {
  skip = penalty;
  if (penalty < 1024) penalty *= 2;
  wasted = true;
}

void Participant::Spin::Slept(int64_t ns) noexcept {
  recent = ns < 10 * kNs;
  if (cpus != 0 && ns > 1'000'000'000) cpus = 0;  // the affinity may have changed
  if (!wasted) return;
  wasted = false;
  in_vain = ns < kNs ? in_vain + 1 : 0;
  if (in_vain < kMostInVain) return;
  in_vain = 0;
  const int64_t now_ns = MonotonicNs();
  if (now_ns < next_move_ns) return;
  next_move_ns = now_ns + move_pause_ns;
  if (move_pause_ns < kMostMovePauseNs) move_pause_ns *= 2;
  // Both sides come here: were both to move, they would be together again.
  if (now_ns / 1000 % 2 == 0) return;
  LeaveThisCpu();
  penalty = 1;
  skip = 0;
}

}  // namespace cfc
