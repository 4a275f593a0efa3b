// Agent: a name in a fabric, with a mailbox, held by one participant.
//
// The life of a message: TrySend claims a cell of the recipient's lane, copies, commits and rings.
// TryTake leases it to this process, copies, and looks whether the lease still stands. Ack settles
// the cell; whoever comes next frees it. docs/memory.md follows one through every store.
//
// Ownership: refers to its Participant, which outlives it. Leave gives back what was not acked.
// Threads: that of its participant.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "clock.h"
#include "directory.h"
#include "participant.h"
#include "ring.h"
#include "topic_store.h"

namespace cfc {

enum class DeathCause : uint8_t;  // dead_letters.h

// What a send does where the lane is full. kOnlyIfIdle: where it holds anything at all, so that of
// two that send to an idle agent at once, one is refused.
enum class FullPolicy : uint8_t { kReject, kDropOldest, kOnlyIfIdle };

// Fabric-wide unique: the sender's participant, and its count of messages.
struct MessageId {
  uint64_t uid = 0;
  uint64_t number = 0;
};

// A message to send. Texts and body are copied; at most kMaxNameBytes of type.
struct Outgoing {
  std::string_view body = {};
  std::string_view type = {};
  BodyKind kind = BodyKind::kBytes;
  LaneIndex lane = kWorkLane;
  FullPolicy when_full = FullPolicy::kReject;
  uint8_t flags = 0;
  MessageId correlation = {};
  bool wants_receipt = false;  // ring us when it is settled
  bool waits = false;          // where there is no room its sender waits: that is no refusal yet
  uint64_t expires_at_ms = 0;  // monotonic; 0: never. Past it, it is a dead letter
  uint64_t key = 0;            // HashKey; a repeat of one that was acked is dropped. 0: none
  uint8_t hops = 0;            // how often it was handed on; at kHopLimit: kHopsSpent
  std::string_view from = {};  // a dead letter's sender; else us
};

// What a sender is told: the id, and where the message stands until it is settled.
struct Receipt {
  MessageId id;
  LaneIndex lane = kWorkLane;
  uint64_t position = 0;
  uint64_t mailbox = 0;
  uint32_t lost = 0;  // messages that were lost in this lane before
};

// What an ack needs: where, and the very word of the lease.
struct LeaseToken {
  LaneIndex lane = kWorkLane;
  uint64_t position = 0;
  uint64_t word = 0;
  uint64_t key = 0;
};

// A leased message. Small bodies are in it; larger ones are copied out by CopyBody.
struct Delivery {
  LeaseToken token;
  MessageId id;
  uint64_t sequence = 0;
  uint64_t sent_at_ns = 0;
  MessageId correlation;
  uint64_t expires_at_ms = 0;  // only with kFlagExpires
  uint64_t key = 0;            // 0: none
  uint32_t attempt = 0;        // 0: first delivery; more: redelivered
  uint32_t body_bytes = 0;
  BodyKind kind = BodyKind::kBytes;
  uint8_t flags = 0;
  uint8_t from_bytes = 0;
  uint8_t type_bytes = 0;
  uint8_t key_bytes = 0;
  ChunkRef chunk = 0;
  alignas(8) char payload[kInlineBytes] = {};

  std::string_view From() const noexcept { return {payload + key_bytes, from_bytes}; }
  std::string_view Type() const noexcept { return {payload + key_bytes + from_bytes, type_bytes}; }
  bool BodyIsInline() const noexcept { return chunk == 0; }
  // Only if BodyIsInline().
  std::string_view InlineBody() const noexcept {
    return {payload + key_bytes + from_bytes + type_bytes, body_bytes};
  }
};

// The way to one recipient, with what a sender remembers of it.
struct Route {
  std::string name;
  uint32_t entry = kNoEntry;
  uint64_t entry_word = 0;
  uint64_t mailbox = 0;
  MailboxView view;
  uint64_t sequence[kLanes] = {};
  // Positions of our last sends, a quarter of the lane. Are they all still there (where many others
  // wait: the later half of them), we wait for others while others wait.
  std::vector<uint64_t> recent[kLanes];
  uint32_t recent_next[kLanes] = {};
  // We slept for room and were woken: it is our turn, however much of ours is in the lane. Were a
  // ring to end at one who may not use it, the next in turn would sleep beside free cells. Set by
  // whoever waits (Send does), cleared by the send.
  bool in_turn = false;
};

// The way to one topic.
struct TopicRoute {
  TopicView view;
  uint64_t sequence = 0;  // of our messages there
  uint32_t wait_ms = 0;   // after a refusal: when to look again at the latest
};

class Subscription;

class Agent {
 public:
  Agent() noexcept = default;
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;
  ~Agent() { Leave(); }

  // Takes a new name, or that of a dead agent with its mailbox and what is in it. kLeaseHeld (the
  // name's holder lives), kAgentsFull, kMailboxesFull, kNoSpace, kInvalid, kSystem.
  //
  // With the token of the life that a shim holds, a guest: it sends and reads as that agent, beside
  // the shim and other guests, until that life is fenced (then all it does is kLeaseLost). A token
  // of another fabric is none. kLeaseLost where that life is over.
  Status Join(Participant* participant, const AgentSpec& spec, Failure* failure);
  // Gives back what was leased. The name goes too if its mailbox is empty; else it stays with its
  // messages for a successor.
  void Leave() noexcept;
  bool joined() const noexcept { return participant_ != nullptr; }

  Participant& participant() const noexcept { return *participant_; }
  const std::string& name() const noexcept { return name_; }
  uint32_t entry() const noexcept { return entry_; }
  uint32_t incarnation() const noexcept { return incarnation_; }
  const MailboxView& mailbox() const noexcept { return view_; }
  CounterBlock& counters() noexcept { return counters_; }
  // By whoever waits for room for us, in tries that say `waits`: it took so long, and `refused`
  // messages were given up in the end, or none.
  void NoteSendWait(int64_t waited_ns, uint32_t refused) noexcept;
  void NoteRefused(uint32_t messages) noexcept;
  // By whoever sleeps for us: it slept so long, and was woken (or not, where mail came before).
  void NoteSleep(int64_t slept_ns, bool woken) noexcept;
  bool guest() const noexcept { return guest_; }
  // kInvalid: the state machine (lifecycle.h) has no such step.
  Status SetState(AgentState state) noexcept;
  // This agent made progress of its own (a beat), besides what it receives and acks.
  void Progress() noexcept;

  // Where others may read beside us, answers to our questions are left to us, from before the first
  // one is sent until nobody waits for one any more. kReadersFull, kLeaseLost, kForked.
  Status AwaitAnswers(bool awaits) noexcept;

  // ---- sending

  // Finds the recipient anew if the route is empty or stale. kNoAgent.
  Status Resolve(Route* route) noexcept;
  // Never waits. receipt may be null. kFull, kSlabFull, kNoAgent, kClosed, kTooLarge, kNoSpace,
  // kQuota, kHopsSpent, kQuotaSpent, kRateLimited, kForked.
  Status TrySend(Route* route, const Outgoing& message, Receipt* receipt) noexcept;
  // Waits for room until the deadline: kTimedOut.
  Status Send(Route* route, const Outgoing& message, Deadline deadline, Receipt* receipt) noexcept;
  // Remembers the way. Who keeps a route to the same recipient as well counts its messages twice.
  Status Send(std::string_view to, const Outgoing& message, Deadline deadline,
              Receipt* receipt = nullptr) noexcept;
  // What became of a message that was sent with wants_receipt: kOk and its reason, kBusy (nobody
  // acked it yet), kStale (it went long ago, and some there were dropped since).
  Status Verdict(const Receipt& receipt, VoidReason* reason) noexcept;
  // Waits for that. kTimedOut.
  Status WaitSettled(const Receipt& receipt, VoidReason* reason, Deadline deadline) noexcept;
  // All of them in order, or none: at most a quarter of the lane at a time (BatchLimit), all to one
  // lane.
  // ids: may be null. accepted: how many were; less than count only with another status than kOk,
  // and more than none only where claims were set aside meanwhile (kBusy).
  Status TrySendBatch(Route* route, const Outgoing* messages, uint32_t count, MessageId* ids,
                      uint32_t* accepted) noexcept;
  uint32_t BatchLimit(Route* route, LaneIndex lane) noexcept;
  // After kRateLimited: when to try again, 1 at least.
  uint32_t RateWaitMs() const noexcept;
  int64_t RateSleepNs() const noexcept;
  // How long a sender that would spare its recipient pauses after a message, 0 to 10 ms: the fuller
  // the lane is, the longer. Not 0: it counts as paced.
  uint32_t PaceMs(const Route& route, LaneIndex lane) noexcept;
  // Before parking for room: says that we want it, in one lane or (several) in more than one.
  void AnnounceRoom(Route* route, LaneIndex lane, bool several) noexcept;
  // Whether `cells` messages would find room now, as far as the lane goes.
  bool HasRoom(Route* route, LaneIndex lane, uint32_t cells) noexcept;
  // How long a sender that found no room sleeps at most before it looks again, given how long that
  // was last time (0: it was not yet): readers save up what they free in a burst.
  static int64_t NextRoomSleepNs(int64_t last_ns) noexcept;
  // After waiting for room, whatever came of it.
  void WithdrawRoom(Route* route, LaneIndex lane) noexcept;

  // ---- publishing; topic.h has subscribing

  // Finds the topic, or makes it. The route lives as long as the agent is joined. kInvalid (the
  // name), kTopicsFull, kNoSpace, kSystem.
  Status OpenTopic(std::string_view name, TopicRoute** route, Failure* failure) noexcept;
  // Never waits. Of the message: body, type and kind. id may be null. kFull (a reliable subscriber
  // has not read far enough), kSlabFull, kQuota, kTooLarge, kNoSpace, kQuotaSpent, kRateLimited,
  // kBusy, kForked.
  Status TryPublish(TopicRoute* route, const Outgoing& message, MessageId* id) noexcept;
  // Waits for room until the deadline: kTimedOut.
  Status Publish(TopicRoute* route, const Outgoing& message, Deadline deadline,
                 MessageId* id) noexcept;
  Status Publish(std::string_view topic, const Outgoing& message, Deadline deadline,
                 MessageId* id = nullptr) noexcept;
  // Before parking for room, as AnnounceRoom; and how long to sleep at most.
  void AnnounceTopicRoom(TopicRoute* route, bool several) noexcept;
  void WithdrawTopicRoom(TopicRoute* route) noexcept;
  static int64_t WaitForTopicNs(const TopicRoute& route) noexcept;

  // ---- receiving

  // Never waits. kEmpty (delay_ms says when a delayed message is due, 0: none), kFull (as much is
  // leased as may be), kOk. What was delivered too often, or came too late, is put away on the way.
  // more: the caller has others of this batch already. Then a message that was given back twice is
  // left for the next time, so that it comes alone: should it kill its reader, it takes no others
  // with it. And it is counted by CountBatch, which has to follow.
  Status TryTake(TakeFilter filter, Delivery* out, uint32_t* delay_ms = nullptr,
                 bool more = false) noexcept;
  // Counters are written once for all of a batch, as each write costs half a percent of a message.
  // Who is killed before has messages that no counter tells of; the ledger has them.
  void CountBatch() noexcept;
  // kTimedOut; kOk.
  Status Receive(Delivery* out, Deadline deadline) noexcept;
  // Blocks until there is mail, taking nothing. kOk, kTimedOut, kFull (as much is leased as may
  // be).
  Status WaitMail(Deadline deadline) noexcept;
  // Copies the body, wherever it is. kLeaseLost, kCorrupt: deliver nothing.
  Status CopyBody(const Delivery& delivery, void* body) noexcept;
  // kOk, kAlreadyAcked, kLeaseLost.
  Status Ack(const LeaseToken& token) noexcept;
  // Frees, and counts, once for many.
  Status AckWithoutReclaim(const LeaseToken& token) noexcept;
  void Reclaim(LaneIndex lane) noexcept;
  // Back into the mailbox; delivered again after delay_ms. At the limit of attempts it becomes a
  // dead letter with that reason instead, or, where those are full, comes again after a second.
  Status Nack(const LeaseToken& token, uint32_t delay_ms, std::string_view reason = {}) noexcept;
  // Back into the mailbox as if it had not been taken: nobody looked at it.
  Status Release(const LeaseToken& token) noexcept;
  // Sends a dead letter again, to whom it was sent, as from who sent it; never waits. kEmpty: there
  // is none of that id, or somebody has it. What TrySend says: it stays a dead letter.
  Status Redrive(MessageId id, MessageId* sent) noexcept;
  // Puts away a message whose bytes are garbage; it counts as aborted.
  void Discard(const LeaseToken& token) noexcept;
  // Puts a copy of a message that we have leased into another mailbox, as its sender sent it: from,
  // id, sequence and correlation are that one's, so that an answer finds who asked. The copy is
  // accepted; ours stays leased, to be acked by the caller. Dying between the two leaves both.
  // `asked`: its sender waits for a receipt; then `receipt` tells when the copy is settled.
  // kFull, kSlabFull, kNoAgent, kClosed, kQuota; kLeaseLost, kCorrupt (nothing was copied).
  Status Forward(const LeaseToken& token, Route* route, Receipt* receipt, bool* asked) noexcept;
  // From this process to the agent, once printed: the token changes. kLeaseLost.
  Status HandOver(LeaseToken* token) noexcept;
  // Whether TryTake would find something. longest (may be null): before a sleep, what is in the way
  // is cleared too, and the longest sleep that is wise comes back (ns).
  bool HasMail(TakeFilter filter, int64_t* longest) noexcept;
  // While something unfinished of others is in the way: repairs the dead, puts stalled claims
  // aside. Returns the longest sleep that is wise (ns).
  int64_t ClearTheWay() noexcept;
  // Looks at a message of any mailbox without leasing it: the index-th that waits in a lane.
  // kEmpty; kBusy where it went on meanwhile; kCorrupt. `state` may be null.
  static Status Peek(const MailboxView& view, LaneIndex lane, uint64_t index, Delivery* out,
                     CellKind* state) noexcept;
  Status Peek(LaneIndex lane, uint64_t index, Delivery* out, CellKind* state) const noexcept {
    return Peek(view_, lane, index, out, state);
  }
  // The body of what was peeked at. kLeaseLost where it went on meanwhile.
  static Status CopyPeeked(Fabric& fabric, const MailboxView& view, const Delivery& delivery,
                           void* body) noexcept;
  // Copies what the header of a cell says, and what is inline. False where it makes no sense. What
  // it means is for the caller to know: by the state, before and after.
  static bool ReadCell(const Cell& cell, Delivery* out) noexcept;
  // Messages not yet acked, in both lanes.
  uint64_t Depth() const noexcept;
  // Drops every message that nobody reads. Returns how many.
  uint64_t Clear() noexcept;
  // The same for the mailbox that `ref` means, whoever reads there. Its lanes stay among the
  // intents of the participant.
  static uint64_t Clear(Participant& participant, const MailboxView& view, uint64_t ref) noexcept;

 private:
  friend class Subscription;
  Status PlaceInTopic(TopicRoute* route, const Outgoing& message, ChunkRef* chunk) noexcept;
  Status ClaimInTopic(TopicRoute* route, uint64_t* position) noexcept;
  void FillInTopic(const TopicRoute& route, const Outgoing& message, uint64_t position,
                   ChunkRef chunk, uint64_t number) noexcept;
  void CloseTopics() noexcept;
  Status TakeOver(const AgentRecord& record, const AgentSpec& spec) noexcept;
  Status Visit(std::string_view name, uint32_t entry, uint32_t incarnation) noexcept;
  // After a new incarnation: living guests of the old one lose what they leased, and are told.
  void FenceGuests() noexcept;
  bool Fenced() const noexcept;
  // A guest is listed as a reader once it reads: many come only to send.
  bool ReaderReady() noexcept;
  // Of a lane, for HasMail: what TryTake would find.
  Taken LookFor(TakeFilter filter, uint32_t lane, Suspects* suspects) noexcept;
  // The answer to a question of another reader beside us, who waits for it.
  bool IsElses(uint64_t asker_uid) const noexcept;
  // Wakes who is to read this message; false: nobody slept.
  bool RingFor(const Route& route, const Outgoing& message) noexcept;
  void ForgetLanes() noexcept;
  Status Enter(const AgentSpec& spec, Failure* failure) noexcept;
  Status BeginLife(uint32_t entry, uint64_t entry_word, bool counts) noexcept;
  void Sample(const Delivery& delivery) noexcept;
  bool AddReader() noexcept;
  // The box is still the one that we joined.
  bool StillMine() const noexcept { return view_.Is(MailboxRefGeneration(mailbox_ref_)); }
  void RemoveReader() noexcept;
  Status Check(const Outgoing& message) const noexcept;
  // Takes from our allowance; what was not sent then is given back.
  Status Admit(uint32_t messages, uint64_t bytes, bool waits) noexcept;
  void GiveBack(uint32_t messages, uint64_t bytes) noexcept;
  // Whatever the allowance says.
  Status SendNow(Route* route, const Outgoing& message, Receipt* receipt) noexcept;
  // Apart, so that who has no limit pays a test and a jump.
  [[gnu::noinline]] Status SendLimited(Route* route, const Outgoing& message,
                                       Receipt* receipt) noexcept;
  Status SendBatchNow(Route* route, const Outgoing* messages, uint32_t count, MessageId* ids,
                      uint32_t* accepted) noexcept;
  Status PublishNow(TopicRoute* route, const Outgoing& message, MessageId* id) noexcept;
  Status ClaimOnce(Route* route, LaneIndex lane, FullPolicy policy, uint64_t* position) noexcept;
  Status Claim(Route* route, LaneIndex lane, FullPolicy policy, uint64_t* position) noexcept;
  void PrefetchBehind(LaneIndex lane, uint64_t position) noexcept;
  // Whether something came since the last TryTake found nothing; cheap.
  bool WorthALook() const noexcept;
  bool AtOwnCap(Route* route, LaneIndex lane) noexcept;
  void Remember(Route* route, LaneIndex lane, uint64_t position) noexcept;
  bool IsFirst(const Route& route, LaneIndex lane, uint64_t position) noexcept;
  void FillCell(const Route& route, const Outgoing& message, uint64_t position, ChunkRef chunk,
                uint64_t number, uint64_t sequence, int64_t sent_at_ns) noexcept;
  Status Place(const Outgoing& message, ChunkRef* chunk) noexcept;
  void CountLeaseOut(const LeaseToken& token) noexcept;
  Status SettleAs(const LeaseToken& token, VoidReason reason, VoidReason verdict) noexcept;
  // That many deliveries are as many as a message may have.
  bool Spent(uint32_t attempts) const noexcept;
  static bool Expired(const Delivery& delivery) noexcept;
  // Drops what repeats a message that was acked. False: it is none.
  bool DropRepeat(const Delivery& delivery) noexcept;
  void NoteKey(uint64_t key) noexcept;
  // Makes a dead letter of what we hold. kLeaseLost, kAlreadyAcked; what DeadLetters::Keep says,
  // and then it is still held.
  Status Bury(const Delivery& delivery, DeathCause cause, uint32_t attempts,
              std::string_view reason) noexcept;
  // The same, of what must not be delivered; where it cannot be had now, a second later.
  void PutAway(const Delivery& delivery) noexcept;

  Participant* participant_ = nullptr;
  std::string name_;
  uint32_t entry_ = kNoEntry;
  uint64_t entry_word_ = 0;
  uint32_t incarnation_ = 0;
  bool guest_ = false;
  bool shim_ = false;
  bool reading_ = false;
  bool awaits_ = false;
  bool limited_ = false;  // we have an allowance
  uint64_t mailbox_ref_ = 0;
  MailboxView view_;
  CounterBlock counters_;
  double batch_messages_ = 0, batch_bytes_ = 0;  // received, and not counted yet
  double batch_acked_ = 0;                       // likewise
  bool woken_ = false;                           // it slept, and has taken nothing since
  uint32_t until_sample_ = 0;  // deliveries to go before the next whose latency is looked at
  BurstClock clock_;
  uint64_t cursor_[kLanes] = {};
  uint32_t leased_[kLanes] = {};
  ReclaimMemo memo_[kLanes];
  uint64_t empty_at_[kLanes] = {};  // where the last look into the lane ended
  bool reopening_[kLanes] = {};     // closed when we came, and too full to be opened yet
  uint32_t control_burst_ = 0;
  uint64_t slab_bytes_ = 0;  // at most what our chunks hold; looked up anew when it nears the quota
  Suspects suspects_;
  std::map<std::string, Route, std::less<>> routes_;  // of those whom we send to by name
  std::map<std::string, TopicRoute, std::less<>> topics_;
  std::vector<Subscription*> subscriptions_;  // open ones
};

}  // namespace cfc
