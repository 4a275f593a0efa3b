// Trace: where a message is, by what its cell says. Costs its sender and its reader nothing.
//
// A cell keeps its header until another message comes into it, so a message that was settled is
// found for a while. Later, and of one that never was, nothing is known.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <string_view>

#include "agent.h"
#include "dead_letters.h"
#include "fabric_files.h"
#include "status.h"

namespace cfc {

enum class TraceState : uint8_t {
  kWriting = 0,  // its sender is at it: not accepted yet
  kQueued = 1,
  kLeased = 2,  // a process has it
  kHeld = 3,    // an agent has it, whatever process it is
  kAcked = 4,
  kDropped = 5,
  kDeadLettered = 6,
  kSettled = 7,  // acked, or dropped or dead-lettered: messages of its lane were
};

struct TraceReport {
  TraceState state = TraceState::kSettled;
  uint32_t entry = kNoEntry;  // of the agent whose mailbox it is in
  Owner holder = 0;           // kLeased: the process that has it
  Delivery message;           // without its body
  // While its dead letter is kept (whatever the state says: its place may hold another message by
  // now): whose it was, and why it died.
  bool is_letter = false;
  DeadLetter letter;
};

// kOk, kEmpty (nothing of it is left). Looks at every cell of every agent's mailbox.
Status TraceMessage(Fabric& fabric, MessageId id, TraceReport* out) noexcept;
// The last messages of a sender of that name that some mailbox still shows, newest first, and how
// many those are; `out` has room for `most`. A settled one has a body where it was inline.
uint32_t TraceSends(Fabric& fabric, std::string_view sender, TraceReport* out,
                    uint32_t most) noexcept;

}  // namespace cfc
