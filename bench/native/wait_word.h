// A word that processes sleep on: the least that waking somebody costs.
#pragma once

#include <cfc/futex.h>

#include <atomic>
#include <cstdint>

namespace bench {

constexpr int64_t kLongWaitNs = 1'000'000'000;

inline void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// One sleeper, one waker. Publish, then Wake; the sleeper looks again after it has announced
// itself.
class WaitWord {
 public:
  void Wake() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_relaxed) == 0) return;
    sleeping_.store(0);
    cfc::FutexWake(&sleeping_);
  }
  // Spins a little, then sleeps. False once timeout_ns have passed; negative: never.
  template <class Look>
  bool WaitUntil(Look&& look, int64_t timeout_ns, int spins) {
    for (int i = 0; i < spins; ++i) {
      if (look()) return true;
      Relax();
    }
    for (;;) {
      sleeping_.store(1);
      if (look()) {
        sleeping_.store(0);
        return true;
      }
      cfc::FutexWait(&sleeping_, 1, timeout_ns < 0 ? kLongWaitNs : timeout_ns);
      if (look()) return true;
      if (timeout_ns >= 0) return false;
    }
  }

 private:
  std::atomic<uint32_t> sleeping_{0};
};

}  // namespace bench
