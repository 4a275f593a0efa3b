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
