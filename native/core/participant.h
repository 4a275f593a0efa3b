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
  void CountTaken() noexcept { ++taken_; }
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
  // deadline. look returns a longest sleep through its argument (ns; kBackstopNs at first), which
  // is null while this only spins. glance(): cheap, asked while spinning; true: it is worth a look.
  // kOk, kTimedOut, kParticipantLost, kForked…
  template <class Look, class Glance>
  Status WaitUntil(Look&& look, Glance&& glance, Deadline deadline) noexcept {
    if (spin_.Worthwhile()) {
      int64_t now_ns = MonotonicNs();
      const int64_t began_ns = now_ns;
      const int64_t until_ns = now_ns + Spin::kNs;
      int64_t look_ns = now_ns + spin_.LeadNs(number_, taken_);
      while (now_ns < until_ns) {
        Relax();
        if (now_ns >= look_ns) {
          if (glance() && look(nullptr)) return spin_.Paid();
          look_ns = now_ns + (now_ns - began_ns) / 4;  // often at first
        }
        now_ns = MonotonicNs();
      }
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

  template <class Look>
  Status WaitUntil(Look&& look, Deadline deadline) noexcept {
    return WaitUntil(
        look, [] { return true; }, deadline);
  }

  // ---- for an event loop, which sleeps in its own poll: park, look, poll bell_fd(), unpark

  // The FIFO to poll for reading; made at the first call. -1: errno.
  int BellDescriptor() noexcept;
  void DrainBell() noexcept;
  void ParkInLoop() noexcept { bell().Park(/*in_loop=*/true); }
  void Unpark() noexcept { bell().Unpark(); }
  // From now on answers to our questions are left to us, or no longer: see Agent::AwaitAnswers.
  void AwaitAnswers(bool awaits) noexcept {
    if (awaits) {
      slot_->awaits.fetch_add(1);
    } else {
      slot_->awaits.fetch_sub(1);
    }
  }
  // Each turn: the monotonic clock's milliseconds when the loop begins to work, 0 when it polls.
  // Somebody else sees by it that the loop does not turn.
  void Beat(uint64_t now_ms) noexcept { slot_->beat.store(now_ms, std::memory_order_relaxed); }
  // Every kBackstopNs, and sooner while something is in the way: repairs what it finds dead.
  Status OnBackstop(bool sweep) noexcept;

  // How a thread learns whether a short spin before sleeping pays: it remembers how the last ones
  // went, so that spinning stops where the other side has no CPU to answer on.
  //
  // Schedulers like to put who wakes and who is woken on one CPU, and virtual machines even where
  // another is idle. There a spin only keeps the answer from being made: it comes as soon as we
  // sleep. Who sees that a few times in a row moves to another CPU, now and then.
  struct Spin {
    static constexpr int64_t kNs = 30'000;
    static constexpr uint64_t kShortRun = 16;  // messages from one wait to the next
    static constexpr int64_t kLeastLeadNs = 500;
    static constexpr int64_t kMostLeadNs = 4000;
    static constexpr uint32_t kMostInVain = 3;
    static constexpr int64_t kFirstMovePauseNs = 5'000'000;
    static constexpr int64_t kMostMovePauseNs = 10'000'000'000;
    bool Worthwhile() noexcept;
    // How long to leave the sender alone before the first look, given what this thread sent and
    // took so far. Who sent since its last wait expects an answer: not at all. Who only reads had
    // better let the sender get ahead: a reader at its heels takes each cell out of its cache as
    // it is written, at five times the cost, and so stays at its heels.
    int64_t LeadNs(uint64_t sent, uint64_t taken) noexcept;
    Status Paid() noexcept;
    void Wasted() noexcept;
    void Slept(int64_t ns) noexcept;

    uint32_t skip = 0;     // parks to go before the next try
    uint32_t penalty = 1;  // doubles with each waste
    bool recent = false;   // the last sleep was short: traffic is dense
    int cpus = 0;          // that this thread may use; 0: not asked yet
    bool wasted = false;   // this sleep follows a spin
    uint32_t in_vain = 0;  // spins in a row whose message came as soon as we slept
    int64_t lead_ns = kLeastLeadNs;
    uint64_t sent_at_wait = 0;
    uint64_t taken_at_wait = 0;
    int64_t next_move_ns = 0;
    int64_t move_pause_ns = kFirstMovePauseNs;
  };
  Spin& spin() noexcept { return spin_; }
  int64_t SpinLeadNs() noexcept { return spin_.LeadNs(number_, taken_); }
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
  uint64_t taken_ = 0;
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
