// Lease: proof of life that the kernel takes back by itself.
//
// A participant holds an open-file-description write lock on one byte of lease.NN. However its
// process ends, the kernel drops the lock, and only then: a stopped process keeps it, a reused PID
// does not get it, and the test works across PID namespaces that share the files.
//
// One description per lease, closed on exec and in forked children: a copy that leaked into a
// child would make an undead. Tests go through a description that never locks, since the holder's
// own would answer "free".
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "clock.h"
#include "futex.h"
#include "layout.h"
#include "region.h"
#include "status.h"

namespace cfc {

class Lease {
 public:
  Lease() noexcept = default;
  Lease(Lease&& other) noexcept { *this = static_cast<Lease&&>(other); }
  Lease& operator=(Lease&& other) noexcept;
  ~Lease() { Release(); }

  // kLeaseHeld where somebody has it. slot: 1 to kMaxSlots.
  static Status Acquire(const Directory& directory, uint32_t slot, Lease* out) noexcept;
  void Release() noexcept;
  bool acquired() const noexcept { return index_ >= 0; }

 private:
  int index_ = -1;  // into the table of descriptors that forked children close
};

// The name of the file that holds a slot's byte ("lease.07").
void LeaseFileName(uint32_t slot, char out[16]) noexcept;

// Tests leases; keeps the last file open, so a sweep in order of (slot mod 64) opens each once.
class LeaseTester {
 public:
  explicit LeaseTester(const Directory& directory) noexcept : directory_(&directory) {}
  // True while somebody holds it. In doubt (no descriptor to be had) also true: doubt is no proof.
  bool Held(uint32_t slot) noexcept;

 private:
  const Directory* directory_;
  uint32_t file_ = kLeaseFiles;
  Descriptor fd_;
};

// Of processes that find a store full at the same time one makes the next segment, and the others
// wait for it: each segment is filled with memory before it has its name, so that a hundred made at
// once, of which one stays, are a hundred times the memory. This spares that and is no lock: who
// waited for its patience goes ahead without, so that nobody who stops in it stops others. Patience
// differs from one to the next: on a machine with thousands of processes to run, two seconds pass
// without anybody having stopped. Who waits sleeps, and is woken by the segment.
class GrowthTurn {
 public:
  // `turns`: the word of the fabric that counts them.
  GrowthTurn(const Directory& directory, std::atomic<uint32_t>* turns) noexcept
      : directory_(directory), turns_(turns) {}
  GrowthTurn(const GrowthTurn&) = delete;
  GrowthTurn& operator=(const GrowthTurn&) = delete;
  // Ends the turn: wakes all where a segment was made, else the next one to try.
  ~GrowthTurn();

  // Returns with the turn, once changed() is true (there is a new segment), or without.
  template <class Changed>
  void Await(int64_t least_patience_ns, Changed&& changed) noexcept {
    const Deadline deadline =
        Deadline::After(least_patience_ns + least_patience_ns / 100 * (getpid() % kSteps));
    for (;;) {
      const uint32_t seen = turns_->load();
      if (Try() || changed() || deadline.Passed()) return;
      // Who has the turn may die in it, and wakes nobody then.
      const int64_t left_ns = deadline.RemainingNs();
      FutexWait(turns_, seen, left_ns < kLookNs ? left_ns : kLookNs);
    }
  }
  // Whether or not it was our turn: there is a new segment.
  void Made() noexcept { made_ = true; }

 private:
  static constexpr int64_t kSteps = 1024;
  static constexpr int64_t kLookNs = 250'000'000;

  bool Try() noexcept;

  const Directory& directory_;
  std::atomic<uint32_t>* turns_;
  Descriptor fd_;  // of the open file description that holds the turn
  bool held_ = false;
  bool made_ = false;
};

// Tests leases in any order; opens each file once, and so up to 64 descriptors.
class LeaseSurvey {
 public:
  explicit LeaseSurvey(const Directory& directory) noexcept : directory_(&directory) {}
  // As LeaseTester::Held.
  bool Held(uint32_t slot) noexcept;

 private:
  const Directory* directory_;
  Descriptor files_[kLeaseFiles];
};

// Grows in a forked child: objects made before then belong to the parent.
uint32_t ForkGeneration() noexcept;

}  // namespace cfc
