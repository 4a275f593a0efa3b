// What a process takes, or everything below one, as /proc tells: two short reads and a look at a
// directory, some microseconds a process.
//
// Threads: any. Nothing is kept open.
#pragma once

#include <cstdint>

namespace cfc {

struct ProcessUsage {
  uint64_t own_bytes = 0;    // resident, what it shares with others not counted
  uint64_t descriptors = 0;  // open ones; 0 where it may not be asked
  uint64_t cpu_ticks = 0;    // user and system, since its start
  uint64_t start_ticks = 0;  // since boot; with the pid it is who it is
};

// False where there is no such process, or it ended meanwhile.
bool ReadProcessUsage(uint32_t pid, ProcessUsage* out) noexcept;

// A tree that is deeper or wider is not looked at further: it changes while one looks.
constexpr uint32_t kMostTreeProcesses = 4096;

// The sum over everything below a process, which is not in it itself; its time has what those below
// took that it reaped. `start_ticks` is that of the process.
//
// False where there is no such process, or nothing is below it; or the kernel keeps no lists of
// children, or there is no memory for one.
bool ReadUsageBelow(uint32_t pid, ProcessUsage* out) noexcept;

}  // namespace cfc
