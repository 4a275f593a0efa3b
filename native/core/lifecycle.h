// Lifecycle: what an agent is doing, as words of its directory entry that anybody may read.
//
// The state is a closed machine: spawned, then working, waiting or paused in any order, then
// complete or failed; a new life begins at spawned. Who changes it swaps `state`, which counts the
// changes, and then notes when in the ring of the last ones. A shim reports its command's exit, and
// obeys the wanted word, which is meant for one life of the name only.
//
// Threads: any. A death between the swap and the note leaves a change without a time, which readers
// skip.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fabric_files.h"
#include "layout.h"
#include "status.h"

namespace cfc {

constexpr AgentState StateOf(uint64_t word) noexcept {
  const auto number = static_cast<uint32_t>(word & 0xff);
  return static_cast<AgentState>(number % 6);  // hostile memory
}

// To itself is no change, and always allowed.
constexpr bool MayChange(AgentState from, AgentState to) noexcept {
  if (from == to) return true;
  switch (from) {
    case AgentState::kSpawned:
    case AgentState::kWorking:
    case AgentState::kWaiting:
    case AgentState::kPaused:
      return to != AgentState::kSpawned;
    case AgentState::kComplete:  // it said so, and then its process failed
      return to == AgentState::kFailed;
    case AgentState::kFailed:
      return false;
  }
  return false;
}

// kOk, kInvalid: the machine has no such step.
Status ChangeState(Entry& entry, AgentState to) noexcept;
// A new life: back to spawned, with no exit, command, wish, fact or text.
void BeginLifecycle(Entry& entry) noexcept;

struct StateChange {
  uint64_t at_ms = 0;  // Unix
  AgentState from = AgentState::kSpawned;
  AgentState to = AgentState::kSpawned;
};
// The last changes, oldest first. Returns how many, at most kStateChanges.
uint32_t ReadChanges(const Entry& entry, StateChange out[kStateChanges]) noexcept;

// ---- exit

constexpr uint64_t PackExit(uint32_t life, int code) noexcept {
  return uint64_t{life} << 32 | (static_cast<uint32_t>(code) + 1);
}
// The exit code of that life; -1: none.
constexpr int ExitCodeOf(uint64_t word, uint32_t life) noexcept {
  const auto code = static_cast<uint32_t>(word);
  return static_cast<uint32_t>(word >> 32) == life && code != 0 ? static_cast<int>(code - 1) : -1;
}

// By the shim, before its last change of state and its leave.
void WriteExit(Entry& entry, uint32_t life, int code) noexcept;

// ---- command

constexpr uint64_t PackCommand(uint32_t pid, uint64_t start_time) noexcept {
  return start_time << 24 | (pid & 0xff'ffff);
}
constexpr uint32_t CommandPid(uint64_t word) noexcept {
  return static_cast<uint32_t>(word & 0xff'ffff);
}
constexpr uint64_t CommandStart(uint64_t word) noexcept { return word >> 24; }

// Field 22 of /proc/PID/stat (clock ticks since boot) and its state letter; 0: there is none, or
// its PID namespace is not ours. pid 0: this process.
uint64_t ProcessStartTime(uint32_t pid, char* state = nullptr) noexcept;

// ---- wanted

constexpr uint32_t kMostGraceMs = (1u << 28) - 1;

constexpr uint64_t PackWanted(uint32_t life, uint32_t grace_ms, Wanted verb) noexcept {
  return uint64_t{life} << 32 | uint64_t{grace_ms & kMostGraceMs} << 4 |
         static_cast<uint32_t>(verb);
}
constexpr uint32_t WantedLife(uint64_t word) noexcept { return static_cast<uint32_t>(word >> 32); }
constexpr uint32_t WantedGraceMs(uint64_t word) noexcept {
  return static_cast<uint32_t>(word >> 4) & kMostGraceMs;
}
constexpr Wanted WantedVerb(uint64_t word) noexcept { return static_cast<Wanted>(word & 3); }

// Says what is wanted of a living agent, and rings its shim. A stop is never taken back.
// kOk, kNoAgent, kNoReader (nobody living holds the name), kInvalid (its holder is no shim),
// kClosed (it is being stopped, and this is no stop).
Status Want(Fabric& fabric, std::string_view name, Wanted verb, uint32_t grace_ms) noexcept;

// ---- status text, by the shim

void WriteStatusText(Entry& entry, std::string_view text) noexcept;
// Returns the bytes; 0 also where it is being written all the time.
uint32_t ReadStatusText(const Entry& entry, char out[kStatusTextBytes]) noexcept;

// ---- the token that admits guests

// Names one life of one agent of one fabric: what a shim hands down in CFC_LEASE.
std::string LifeToken(const Fabric& fabric, uint32_t entry, uint32_t incarnation);

struct Life {
  uint32_t entry = 0;
  uint32_t incarnation = 0;
};
// False: it is no token, or that of another fabric.
bool ParseLifeToken(const Fabric& fabric, std::string_view token, Life* out) noexcept;

}  // namespace cfc
