// Reaper: mends what a dead participant left, from any process, at any time, twice at once.
//
// Every step is a compare-and-swap that names the dead owner, so running it again, or beside
// another repairer, or after having been stopped in the middle for an hour, changes nothing that
// is not the dead one's. A slot is reissued only by the one who finished; if that one dies, the
// next takes over. While it lives but stalls, others mend all the same and only the slot waits.
//
// Threads: any.
#pragma once

#include <cstdint>

#include "fabric_files.h"
#include "words.h"

namespace cfc {

struct SweepReport {
  uint32_t living = 0;
  uint32_t reaped = 0;   // slots given free
  uint32_t settled = 0;  // cells
  uint32_t chunks = 0;
};

// The steps of repair for an owner that is proven dead, or that leaves by itself.
SweepReport RepairParticipant(Fabric& fabric, Owner owner) noexcept;

// Repairs `owner` if it is dead, and gives its slot free. reaper: who does it.
SweepReport ReapIfDead(Fabric& fabric, Owner owner, Owner reaper) noexcept;

// Looks at every slot. reaper: a living participant of this process.
SweepReport Sweep(Fabric& fabric, Owner reaper) noexcept;

// For a process that found no free slot and so is nobody yet: takes the lease of a dead one and
// reaps under it.
void ReapForRegistration(Fabric& fabric) noexcept;

}  // namespace cfc
