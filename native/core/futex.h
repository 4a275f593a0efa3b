// Futex: sleep on a word of shared memory, wake those who sleep on it.
//
// Always the process-shared operation: FUTEX_PRIVATE_FLAG, and with it std::atomic::wait, would
// silently never reach another process.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <ctime>

namespace cfc {

// Returns when woken, when the word differs from `expected`, after `timeout_ns`, or for no reason
// at all: the caller looks again at what it waits for.
inline void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, int64_t timeout_ns) noexcept {
  timespec timeout;
  timeout.tv_sec = timeout_ns / 1'000'000'000;
  timeout.tv_nsec = timeout_ns % 1'000'000'000;
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

inline void FutexWake(std::atomic<uint32_t>* word, int count = INT_MAX) noexcept {
  syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

}  // namespace cfc
