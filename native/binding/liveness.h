// Liveness: what can be seen of the processes behind an agent, besides that they live.
//
// Stopped: the kernel says so of the holder, or of the command that it started. Busy: an event loop
// of the agent is awake and has not turned for kBusyMs. Neither is ever taken for dead.
//
// Threads: one. Reads slots and /proc, and costs the agents nothing.
#pragma once

#include <cstdint>
#include <set>

#include "core/clock.h"
#include "core/directory.h"
#include "core/doorbell.h"
#include "core/fabric_files.h"
#include "core/lifecycle.h"

namespace cfc::binding {

constexpr uint64_t kBusyMs = 5000;

class Liveness {
 public:
  explicit Liveness(Fabric* fabric) : fabric_(fabric) {
    const auto now_ms = static_cast<uint64_t>(MonotonicNs() / 1'000'000);
    for (uint32_t i = 1; i <= fabric->slots(); ++i) {
      Slot* const slot = fabric->SlotAt(i);
      if (SlotStateOf(slot->word.load(std::memory_order_relaxed)) != SlotState::kLive) continue;
      const uint64_t beat = slot->beat.load(std::memory_order_relaxed);
      const uint64_t hint = slot->agent_hint.load(std::memory_order_relaxed);
      if (beat == 0 || hint == 0 || now_ms < beat + kBusyMs) continue;
      if (!Doorbell(&slot->doorbell).IsParked()) busy_.insert(static_cast<uint32_t>(hint) - 1);
    }
  }

  // Of a living agent.
  bool Busy(const AgentRecord& record) const { return busy_.count(record.entry) != 0; }

  bool Stopped(const AgentRecord& record) const noexcept {
    if ((record.facts & kFactStopped) != 0) return true;
    Slot* const slot = fabric_->SlotAt(HolderSlot(record.holder));
    return slot && (IsStopped(static_cast<uint32_t>(slot->pid.load()), slot->start_time.load()) ||
                    IsStopped(CommandPid(record.command), CommandStart(record.command)));
  }

 private:
  // A number that means another process, or one of another PID namespace, is nobody's.
  static bool IsStopped(uint32_t pid, uint64_t start_time) noexcept {
    char state = '?';
    return pid != 0 && start_time != 0 && ProcessStartTime(pid, &state) == start_time &&
           (state == 'T' || state == 't');
  }

  Fabric* fabric_;
  std::set<uint32_t> busy_;  // entries
};

}  // namespace cfc::binding
