// Results of core operations: one enum, and a record of what failed for the slow paths.
//
// Expected outcomes (full, empty, timed out) and failures share the enum, so that a hot
// function returns one byte. Codes are stable: the addon exports them by name.
#pragma once

#include <cstdint>

namespace cfc {

// name, text. The text is what a C++ caller prints; TypeScript has its own, longer messages.
#define CFC_STATUS_LIST(X)                                                         \
  X(kOk, "done")                                                                   \
  X(kFull, "no room in the mailbox")                                               \
  X(kEmpty, "nothing there")                                                       \
  X(kTimedOut, "the time is up")                                                   \
  X(kClosed, "the mailbox is closed")                                              \
  X(kStale, "the mailbox was given to another agent")                              \
  X(kLeaseLost, "the message is leased to somebody else by now")                   \
  X(kAlreadyAcked, "the message was acknowledged before")                          \
  X(kTooLarge, "the message is larger than the fabric accepts")                    \
  X(kInvalid, "an argument is out of range")                                       \
  X(kNoFabric, "no such fabric")                                                   \
  X(kNoAgent, "no such agent")                                                     \
  X(kNoReader, "nobody lives behind the name")                                     \
  X(kExists, "the fabric exists already")                                          \
  X(kLeaseHeld, "the name is held by a living process")                            \
  X(kSlotsFull, "the fabric has no participant slot left")                         \
  X(kAgentsFull, "the fabric's directory is full")                                 \
  X(kMailboxesFull, "the fabric has as many mailbox segments as it can")           \
  X(kCountersFull, "the metrics table is full")                                    \
  X(kReadersFull, "the mailbox has as many readers as it can")                     \
  X(kTopicsFull, "the fabric has as many topics as it can")                        \
  X(kSubscribersFull, "the topic has as many subscribers as it can")               \
  X(kNoSpace, "the file system has not enough room")                               \
  X(kSlabFull, "the fabric's memory for large bodies is full")                     \
  X(kQuota, "the sender holds as much payload memory as it may")                   \
  X(kQuotaSpent, "the agent has sent as much as it may")                           \
  X(kRateLimited, "the agent sends faster than it may")                            \
  X(kHopsSpent, "the message was handed on too often")                             \
  X(kForeign, "a file or directory belongs to somebody else or is open to others") \
  X(kNotRegular, "something else than a plain file or directory is in the way")    \
  X(kCorrupt, "a file of the fabric is damaged")                                   \
  X(kLayout, "a file of the fabric has another layout version")                    \
  X(kRemoved, "the fabric was removed")                                            \
  X(kForked, "a fabric cannot be used across fork")                                \
  X(kParticipantLost, "this process lost its own lease")                           \
  X(kBusy, "another process is in the middle of this")                             \
  X(kSystem, "a system call failed")

enum class Status : uint8_t {
#define CFC_STATUS_ENTRY(name, text) name,
  CFC_STATUS_LIST(CFC_STATUS_ENTRY)
#undef CFC_STATUS_ENTRY
};

constexpr const char* StatusText(Status status) noexcept {
  switch (status) {
#define CFC_STATUS_CASE(name, text) \
  case Status::name:                \
    return text;
    CFC_STATUS_LIST(CFC_STATUS_CASE)
#undef CFC_STATUS_CASE
  }
  return "unknown status";
}

// What a slow path (create, attach, join) knows about its failure; texts are copied into it.
struct Failure {
  int error_number = 0;      // errno of `syscall`, 0 where no system call failed
  const char* syscall = "";  // static text
  uint64_t need_bytes = 0;   // kNoSpace only
  uint64_t have_bytes = 0;   // kNoSpace only
  uint32_t owner_uid = 0;    // kForeign only
  char path[256] = {};       // the file or directory concerned
  char detail[160] = {};     // what was expected, in words
};

}  // namespace cfc
