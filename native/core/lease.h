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

#include <cstdint>

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

// Grows in a forked child: objects made before then belong to the parent.
uint32_t ForkGeneration() noexcept;

}  // namespace cfc
