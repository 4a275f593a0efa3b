#include "guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>

namespace cfc {
namespace {

constexpr int kRanges = 4096;

struct Range {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> lost{false};
};

Range ranges[kRanges];
std::atomic<int> used{0};  // handles below this may be in use
std::atomic<uint32_t> losses{0};
std::mutex table;  // never taken by the handler
struct sigaction previous;

bool Rescue(uintptr_t fault) noexcept {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const int count = used.load();
  for (int i = 0; i < count; ++i) {
    Range& range = ranges[i];
    const uintptr_t begin = range.begin.load();
    const uintptr_t end = range.end.load();
    if (fault < begin || fault >= end) continue;
    const uintptr_t from = fault & ~(page - 1);
    void* const mapped = mmap(reinterpret_cast<void*>(from), end - from, PROT_READ | PROT_WRITE,
                              MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return false;
    range.lost.store(true);
    losses.fetch_add(1);
    return true;
  }
  return false;
}

void OnBusError(int signal, siginfo_t* info, void* context) {
  if (Rescue(reinterpret_cast<uintptr_t>(info->si_addr))) return;
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    sigaction(SIGBUS, &previous, nullptr);  // the fault comes again and takes its usual course
  }
}

void Install() noexcept {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous);
}

}  // namespace

int GuardRange(void* base, size_t bytes) noexcept {
  const std::lock_guard<std::mutex> lock(table);
  static bool installed = false;
  if (!installed) {
    Install();
    installed = true;
  }
  for (int i = 0; i < kRanges; ++i) {
    if (ranges[i].end.load() != 0) continue;
    ranges[i].lost.store(false);
    ranges[i].begin.store(reinterpret_cast<uintptr_t>(base));
    ranges[i].end.store(reinterpret_cast<uintptr_t>(base) + bytes);
    if (used.load() <= i) used.store(i + 1);
    return i;
  }
  return -1;
}

void UnguardRange(int handle) noexcept {
  if (handle < 0) return;
  const std::lock_guard<std::mutex> lock(table);
  ranges[handle].begin.store(0);
  ranges[handle].end.store(0);
}

uint32_t GuardLosses() noexcept { return losses.load(std::memory_order_relaxed); }

bool GuardedRangeLost(int handle) noexcept { return handle >= 0 && ranges[handle].lost.load(); }

}  // namespace cfc
