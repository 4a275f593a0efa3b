// Participant: one thread's standing in a fabric: a slot, a lease, a doorbell, intents.
//
// A participant sends, reads and sleeps. Its lease is the proof of its life; its intents name the
// lanes in which repair will look for cells of it, written before the first claim or take there.
//
// Ownership: holds the lease and the bell's descriptor; refers to the Fabric.
// Threads: one only. A forked child must not use it (kForked); other threads make their own.
#pragma once

#include <cstdint>

#include "clock.h"
#include "fabric_files.h"
#include "guard.h"
#include "lease.h"
#include "status.h"

namespace cfc {

class Participant {
 public:
  Participant() noexcept = default;
  Participant(const Participant&) = delete;
  Participant& operator=(const Participant&) = delete;
  ~Participant() { Unregister(); }

  // kSlotsFull, kRemoved, kSystem.
  Status Register(Fabric* fabric, Failure* failure);
  // Agents of it have left before.
  void Unregister() noexcept;

  bool registered() const noexcept { return lease_.acquired(); }
  Fabric& fabric() const noexcept { return *fabric_; }
  Owner owner() const noexcept { return owner_; }
  uint32_t slot_index() const noexcept { return OwnerSlot(owner_); }
  uint64_t uid() const noexcept { return uid_; }
  uint64_t holder() const noexcept { return PackHolder(uid_, slot_index()); }
  uint64_t NextNumber() noexcept { return ++number_; }
  // The first of `count` in a row.
  uint64_t NextNumbers(uint32_t count) noexcept {
    number_ += count;
    return number_ - count + 1;
  }

  // Cheap enough for every operation: kForked, kCorrupt (a file was truncated under its mapping:
  // what is written there reaches nobody), and kParticipantLost once CheckLease found that.
  Status Usable() const noexcept {
    if (forks_ != ForkGeneration()) return Status::kForked;
    if (lost_ != Status::kOk) return lost_;
    return losses_ == GuardLosses() || !fabric_->Lost() ? Status::kOk : Status::kCorrupt;
  }
  // Asks the kernel whether our lease still stands: a program that closes all descriptors looks
  // dead to others, and must stop. kParticipantLost, kRemoved, kCorrupt.
  Status CheckLease() noexcept;

  // Before the first claim (sends) or take (reads) in a lane.
  void IntendToSend(uint64_t lane_id) noexcept;
  void IntendToRead(uint64_t lane_id) noexcept;
  void ForgetReading(uint64_t lane_id) noexcept;

  // Sleeps until `look()` answers true, which is asked again after every wake, or until the
  // deadline. look returns a longest sleep through its argument (ns; kBackstopNs at first).
  // kOk, kTimedOut, kParticipantLost, kForked…
  template <class Look>
  Status WaitUntil(Look&& look, Deadline deadline) noexcept {
    if (spin_.Worthwhile()) {
      int64_t unused = kBackstopNs;
      const int64_t until = MonotonicNs() + Spin::kNs;
      do {
        if (look(&unused)) return spin_.Paid();
        Relax();
      } while (MonotonicNs() < until);
      spin_.Wasted();
    }
    for (;;) {
      const uint32_t ticket = bell().Park(/*in_loop=*/false);
      int64_t longest = kBackstopNs;
      if (look(&longest)) {
        bell().Unpark();
        return Status::kOk;
      }
      const int64_t left = deadline.RemainingNs();
      if (left == 0) {
        bell().Unpark();
        return Status::kTimedOut;
      }
      const int64_t slept_at = MonotonicNs();
      Sleep(ticket, left < longest ? left : longest);
      bell().Unpark();
      const int64_t slept = MonotonicNs() - slept_at;
      spin_.Slept(slept);
      if (slept >= kSuspectNs) {
        const Status status = OnBackstop(slept >= kBackstopNs);
        if (status != Status::kOk) return status;
      }
    }
  }

  // ---- for an event loop, which sleeps in its own poll: park, look, poll bell_fd(), unpark

  // The FIFO to poll for reading; made at the first call. -1: errno.
  int BellDescriptor() noexcept;
  void DrainBell() noexcept;
  void ParkInLoop() noexcept { bell().Park(/*in_loop=*/true); }
  void Unpark() noexcept { bell().Unpark(); }
  // Every kBackstopNs, and sooner while something is in the way: repairs what it finds dead.
  Status OnBackstop(bool sweep) noexcept;

  // How a thread learns whether a short spin before sleeping pays: it remembers how the last ones
  // went, so that spinning stops where the other side has no CPU to answer on.
  struct Spin {
    static constexpr int64_t kNs = 30'000;
    bool Worthwhile() noexcept;
    Status Paid() noexcept;
    void Wasted() noexcept;
    void Slept(int64_t ns) noexcept;

    uint32_t skip = 0;     // parks to go before the next try
    uint32_t penalty = 1;  // doubles with each waste
    bool recent = false;   // the last sleep was short: traffic is dense
    int cpus = 0;          // that this thread may use; 0: not asked yet
  };
  Spin& spin() noexcept { return spin_; }
  // How often WaitUntil really slept.
  uint64_t sleeps() const noexcept { return sleeps_; }
  static void Relax() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

 private:
  static constexpr uint32_t kReadIntents = 4;  // the first ones; the others are for sends

  bool SweepIsDue() noexcept;
  Doorbell bell() const noexcept { return Doorbell(&slot_->doorbell); }
  void Sleep(uint32_t ticket, int64_t timeout_ns) noexcept;

  Fabric* fabric_ = nullptr;
  Slot* slot_ = nullptr;
  Lease lease_;
  Owner owner_ = 0;
  uint64_t uid_ = 0;
  uint64_t number_ = 0;
  uint32_t forks_ = 0;
  Status lost_ = Status::kOk;
  uint64_t sleeps_ = 0;
  uint32_t losses_ = 0;  // of the process, when this began
  uint64_t intents_[kIntents] = {};
  uint32_t next_send_intent_ = 0;
  Descriptor bell_fd_;
  Spin spin_;
};

}  // namespace cfc
