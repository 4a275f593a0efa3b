// Clocks. Waits and liveness use the monotonic one, so a jump or a suspend changes nothing;
// what people read is real time.
#pragma once

#include <cstdint>
#include <ctime>

namespace cfc {

inline int64_t ReadClockNs(clockid_t clock) noexcept {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}
inline int64_t MonotonicNs() noexcept { return ReadClockNs(CLOCK_MONOTONIC); }
// A few milliseconds behind, and several times quicker to read.
inline int64_t CoarseMonotonicNs() noexcept { return ReadClockNs(CLOCK_MONOTONIC_COARSE); }
inline int64_t RealTimeNs() noexcept { return ReadClockNs(CLOCK_REALTIME); }

// The CPU's own counter: tells only whether something follows at once, for a fraction of what a
// clock costs. It may jump (another CPU, a suspend); who asks must be right either way.
inline uint64_t CpuTicks() noexcept {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return static_cast<uint64_t>(MonotonicNs());
#endif
}
#if defined(__aarch64__)
constexpr uint64_t kBurstTicks = 256;  // 10 us at 25 MHz, 0.3 us at 1 GHz
#else
constexpr uint64_t kBurstTicks = 16'384;  // 4 to 8 us at 2 to 4 GHz
#endif

// The real time of each message of a burst, without asking the kernel's clock for each: at most
// some 10 us behind.
class BurstClock {
 public:
  int64_t RealNs() noexcept {
    const uint64_t now_ticks = CpuTicks();
    if (real_ns_ == 0 || now_ticks - read_at_ticks_ >= kBurstTicks) {
      read_at_ticks_ = now_ticks;
      real_ns_ = RealTimeNs();
    }
    return real_ns_;
  }

 private:
  uint64_t read_at_ticks_ = 0;
  int64_t real_ns_ = 0;
};

// A point of the monotonic clock after which a wait gives up.
class Deadline {
 public:
  // timeout_ns: negative waits for ever.
  static Deadline After(int64_t timeout_ns) noexcept {
    return Deadline(timeout_ns < 0 ? kNever : MonotonicNs() + timeout_ns);
  }
  int64_t RemainingNs() const noexcept {
    if (at_ns_ == kNever) return kNever;
    const int64_t left = at_ns_ - MonotonicNs();
    return left > 0 ? left : 0;
  }
  bool Passed() const noexcept { return at_ns_ != kNever && RemainingNs() == 0; }

 private:
  static constexpr int64_t kNever = INT64_MAX;
  explicit Deadline(int64_t at_ns) noexcept : at_ns_(at_ns) {}
  int64_t at_ns_;
};

}  // namespace cfc
