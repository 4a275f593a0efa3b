// DeadLetters: the mailbox that keeps what was not processed in as many attempts as it may have, or
// not in its time, until somebody looks at it, sends it again or drops it.
//
// A fabric has one, made when it is first needed; the control words refer to it, and the directory
// does not name it. A letter is a copy of the message under its own id, with whose it was and why
// it died in front of the body. The reader that gives a message up keeps the letter first and
// settles the message after that, so a death in between leaves both; whoever has the message next
// finds the letter by its id and keeps no second one. The letters are in no ledger: the message is,
// as dead-lettered, once.
//
// Threads: any. Death: at any step; docs/memory.md has the rows.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "agent.h"
#include "fabric_files.h"
#include "participant.h"
#include "status.h"

namespace cfc {

enum class DeathCause : uint8_t { kAttempts = 1, kExpired = 2 };

constexpr size_t kMaxReasonBytes = 128;

// Whose message it was, and why it died.
struct Obituary {
  std::string_view to;
  std::string_view reason;  // longer ones are cut
  DeathCause cause = DeathCause::kAttempts;
  uint32_t attempts = 0;  // deliveries that were not acked
};

struct DeadLetter {
  Delivery message;  // the original's, but for body, token and what is inline
  uint32_t body_bytes = 0;
  DeathCause cause = DeathCause::kAttempts;
  uint32_t attempts = 0;
  LaneIndex lane = kWorkLane;  // that it was in
  uint64_t died_at_ms = 0;     // since 1970
  uint8_t to_bytes = 0, reason_bytes = 0;
  char to[kMaxNameBytes] = {};
  char reason[kMaxReasonBytes] = {};

  std::string_view To() const noexcept { return {to, to_bytes}; }
  std::string_view Reason() const noexcept { return {reason, reason_bytes}; }
};

class DeadLetters {
 public:
  explicit DeadLetters(Fabric* fabric) noexcept : fabric_(fabric) {}

  // False where nothing died yet.
  bool View(MailboxView* view) const noexcept;
  // Keeps a copy, unless there is one of that id. position: for TakeBack; kNowhere where there was
  // one. kFull, kSlabFull, kNoSpace, kMailboxesFull: the message stays where it is.
  Status Keep(Participant* me, const Delivery& message, const void* body, const Obituary& why,
              uint64_t* position) noexcept;
  // Takes a letter back that was kept in vain: somebody else has the message.
  void TakeBack(Participant* me, uint64_t position) noexcept;
  // The index-th letter, leased or not. kEmpty; kBusy where it went on meanwhile; kCorrupt.
  Status Peek(uint64_t index, DeadLetter* out) const noexcept;
  // The body of a letter. kLeaseLost where it went on meanwhile; kCorrupt, kNoSpace.
  Status CopyBody(const DeadLetter& letter, std::unique_ptr<char[]>* body) const noexcept;
  // Leases the letter of that id. kEmpty: it is gone, or somebody has it.
  Status Take(Participant* me, MessageId id, DeadLetter* out) noexcept;
  // Ends that lease: kAcked (sent again), kDropped.
  Status Settle(Participant* me, const DeadLetter& letter, VoidReason reason) noexcept;
  void GiveBack(Participant* me, const DeadLetter& letter) noexcept;

  static constexpr uint64_t kNowhere = ~uint64_t{0};
  // Whether a failure of Keep may pass.
  static bool MayPass(Status status) noexcept {
    return status != Status::kOk && status != Status::kLeaseLost && status != Status::kAlreadyAcked;
  }

 private:
  Status Open(Participant* me, MailboxView* view) noexcept;
  bool Keeps(const MailboxView& view, MessageId id) const noexcept;
  bool Parse(const Delivery& stored, DeadLetter* out) const noexcept;

  Fabric* fabric_;
};

}  // namespace cfc
