// Guard: turns the SIGBUS of a truncated mapping into an error.
//
// Somebody with our rights may truncate a file under our mapping. The next touch would kill the
// process; the guard puts zeroed private memory in place of what is gone and remembers that the
// range is lost. Faults outside guarded ranges go on to whoever handled SIGBUS before.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cfc {

// Returns a handle, or -1 where the table is full (the mapping then has no guard).
int GuardRange(void* base, size_t bytes) noexcept;
void UnguardRange(int handle) noexcept;
bool GuardedRangeLost(int handle) noexcept;
// How many ranges of this process were ever lost: a cheap look that tells when to ask which.
uint32_t GuardLosses() noexcept;

}  // namespace cfc
