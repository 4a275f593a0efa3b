// Topic: publishing to whoever subscribes, and reading what is published.
//
// A reliable subscriber gets every message published while it is subscribed, in one order that is
// the same for all, or is told of an explicit gap. A lossy one holds nobody up: what it is too slow
// for is overwritten, and it is told exactly how many that were. Policy belongs to the subscriber.
//
//   Subscription events;
//   events.Open(&bob, "build.events", {.policy = TopicPolicy::kReliable}, &failure);
//   TopicEvent event;
//   std::string body;
//   while (events.Receive(&event, &body, Deadline::After(-1)) == Status::kOk) {
//     if (event.gap) …  // event.count messages at positions [event.from, event.to) are lost to us
//   }
//
// A subscription begins at the tail: it gets what is published by a call that begins after Open has
// returned, and of each publisher's calls under way at that moment a last part, perhaps none.
//
// Threads: those of its agent's participant. Death: its row goes with the proof of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent.h"
#include "clock.h"
#include "topic_store.h"

namespace cfc {

enum class TopicPolicy : uint8_t { kReliable, kLossy };

constexpr uint32_t kDefaultPatienceMs = 1000;

struct SubscribeOptions {
  TopicPolicy policy = TopicPolicy::kReliable;
  // How long a reliable one may keep publishers waiting before it is set aside, counted from when
  // it first does so, for as long as it has not read what was published by then.
  uint32_t patience_ms = kDefaultPatienceMs;
};

// A message, or a gap: some that this subscriber was too slow for.
struct TopicEvent {
  bool gap = false;
  uint64_t position = 0;  // of a message in the topic's log
  uint64_t from = 0;      // of a gap: the positions from here…
  uint64_t to = 0;        // …to before here…
  uint32_t count = 0;     // …carried so many messages
  uint64_t word = 0;      // of a message: the cell's state; for CopyBody
  uint32_t aborted = 0;   // positions before it without a message; for PutBack
  bool absolute = false;  // likewise
  Delivery message;
};

class Subscription {
 public:
  Subscription() noexcept = default;
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;
  ~Subscription() { Close(); }

  // kInvalid (the name), kTopicsFull, kSubscribersFull, kNoSpace, kSystem.
  Status Open(Agent* agent, std::string_view topic, const SubscribeOptions& options,
              Failure* failure) noexcept;
  void Close() noexcept;
  bool open() const noexcept { return agent_ != nullptr; }

  // Never waits. kEmpty; kOk: `event`, and in `body` what it carries (nothing for a gap).
  // kParticipantLost, kForked, kCorrupt.
  Status TryReceive(TopicEvent* event, std::string* body) noexcept;
  // kTimedOut.
  Status Receive(TopicEvent* event, std::string* body, Deadline deadline) noexcept;

  // ---- in steps, for many at a time

  // The next event. Its place stays ours until Advance; then CopyBody fails.
  Status Next(TopicEvent* event) noexcept;
  // Into message.body_bytes of memory. kLeaseLost: it was overwritten meanwhile; PutBack, and Next
  // tells of the gap.
  Status CopyBody(const TopicEvent& event, void* body) noexcept;
  // Back to before a message, of those that Next gave since Advance.
  void PutBack(const TopicEvent& event) noexcept;
  // What Next gave is done with: so many messages delivered, so many told as lost.
  void Advance(uint32_t delivered, uint32_t lost) noexcept;
  // Whether Next would give something. longest: as with Agent::HasMail, null unless our participant
  // has parked; the next publish rings it from here on.
  bool HasEvent(int64_t* longest) noexcept;
  bool CrowdedAndBusy() const noexcept;
  // Blocks until there is an event. kOk, kTimedOut.
  Status WaitEvent(Deadline deadline) noexcept;

  const TopicView& topic() const noexcept { return topic_; }
  uint32_t row() const noexcept { return row_; }
  uint64_t position() const noexcept { return next_; }
  uint64_t delivered() const noexcept { return delivered_; }
  uint64_t lost() const noexcept { return lost_; }
  uint64_t lagged() const noexcept { return lagged_; }

 private:
  Status StillMine() noexcept;
  // Past what was overtaken at next_. Adds to the gap.
  bool Overtaken(TopicEvent* gap) noexcept;
  bool ClearTheWay(uint64_t word) noexcept;
  void PassHole() noexcept {
    ++next_;
    ++aborted_;
  }

  Agent* agent_ = nullptr;
  TopicView topic_;
  uint32_t row_ = 0;
  uint32_t generation_ = 0;
  uint64_t next_ = 0;       // what we read next…
  uint64_t published_ = 0;  // …and what our row says of that
  // Positions without a message before next_: since we subscribed, or (absolute) of all.
  uint32_t aborted_ = 0;
  bool absolute_ = false;
  uint64_t blocked_at_ = 0;
  uint32_t blocked_since_ms_ = 0;
  uint32_t cleared_ms_ = 0;
  uint64_t delivered_ = 0;
  uint64_t lost_ = 0;
  uint64_t lagged_ = 0;
};

}  // namespace cfc
