// The sending half of Agent.
#include <bit>
#include <cstring>

#include "agent.h"
#include "clock.h"
#include "copy.h"
#include "failpoint.h"

namespace cfc {
namespace {

// A claim that is set aside is rare (250 ms of standstill); to meet that so often in one send means
// that this process hardly runs.
constexpr int kMostResends = 8;

// Waiting senders beside whom one may have a quarter of the lane.
constexpr int kFewOthers = 3;

// How many cells ahead of its own a sender fetches.
constexpr uint32_t kPrefetchCells = 2;

// The first sleep of a sender that waits for room; each further one is twice as long, up to the
// backstop. Readers save up the cells that they free in a burst (Fabric::Reclaim).
constexpr int64_t kFirstRoomSleepNs = 1'000'000;

// Not by HasSpace: a hole that a stopped sender left ahead of the tail takes one cell, not all.
uint64_t FreeCells(const Lane& ring) noexcept { return ring.capacity() - ring.Depth(); }

// Only what others free by and by is worth waiting for.
bool IsFull(Status status) noexcept {
  return status == Status::kFull || status == Status::kSlabFull || status == Status::kQuota ||
         status == Status::kRateLimited;
}

}  // namespace

Status Agent::Resolve(Route* route) noexcept {
  AgentRecord record;
  const Status status = AgentDirectory(&participant_->fabric()).Find(route->name, &record);
  if (status != Status::kOk) {
    route->entry = kNoEntry;
    return status;
  }
  // A reference to a mailbox means one owner's life. While it lasts, our count of messages goes on,
  // even if the mailbox was closed for a moment.
  const bool same = route->mailbox == record.mailbox && route->view.valid();
  route->entry = record.entry;
  route->entry_word = record.word;
  if (same) return Status::kOk;
  if (!participant_->fabric().mail().View(MailboxRefBox(record.mailbox), &route->view)) {
    route->entry = kNoEntry;
    return Status::kCorrupt;
  }
  route->mailbox = record.mailbox;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    route->sequence[lane] = 0;
    route->recent[lane].assign(route->view.lanes[lane].capacity() / 4, 0);
    route->recent_next[lane] = 0;
  }
  return Status::kOk;
}

Status Agent::Check(const Outgoing& message) const noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  if (Fenced()) return Status::kLeaseLost;
  if (message.type.size() > kMaxNameBytes) return Status::kInvalid;
  if (message.hops >= kHopLimit) return Status::kHopsSpent;
  return message.body.size() > kMaxBodyBytes ? Status::kTooLarge : Status::kOk;
}

bool Agent::AtOwnCap(Route* route, LaneIndex lane) noexcept {
  const auto& words = *route->view.lanes[lane].words();
  const uint64_t classes = words.room.load(std::memory_order_relaxed) & kRoomClassMask;
  const uint64_t mine = uint64_t{1} << Wants::ClassOf(participant_->slot_index());
  if ((classes & ~mine) == 0) return false;
  const auto& recent = route->recent[lane];
  if (recent.empty()) return false;
  // A quarter is a fair share beside three. Beside more it is an eighth: then one that never waits
  // leaves seven eighths to them, however many they are.
  const size_t half = std::popcount(classes & ~mine) > kFewOthers ? recent.size() / 2 : 0;
  size_t at = route->recent_next[lane] + half;
  if (at >= recent.size()) at -= recent.size();
  const uint64_t oldest = recent[at];  // position + 1, 0: none
  return oldest != 0 && oldest - 1 >= words.head.load();
}

void Agent::Remember(Route* route, LaneIndex lane, uint64_t position) noexcept {
  auto& recent = route->recent[lane];
  if (recent.empty()) return;
  uint32_t& next = route->recent_next[lane];
  recent[next] = position + 1;
  if (++next == recent.size()) next = 0;
}

Status Agent::ClaimOnce(Route* route, LaneIndex lane, FullPolicy policy,
                        uint64_t* position) noexcept {
  Lane& ring = route->view.lanes[lane];
  const uint32_t generation = MailboxRefGeneration(route->mailbox);
  const auto still_valid = [&]() noexcept { return route->view.Is(generation); };
  // Beside the word that the claim reads anyway: work from outside ends here while a fabric drains.
  if (route->view.words->gate.load(std::memory_order_relaxed) != 0 &&
      view_.words->gate.load(std::memory_order_relaxed) == 0) {
    return Status::kClosed;
  }
  participant_->IntendToSend(PackLaneId(route->view.box, lane));
  if (!route->in_turn && AtOwnCap(route, lane)) return Status::kFull;
  Status status = ring.TryClaim(participant_->owner(), still_valid, position);
  for (uint32_t tries = 0; status == Status::kFull && tries < ring.capacity(); ++tries) {
    // Somebody may have acked and died, or be slow, before freeing.
    if (participant_->fabric().Reclaim(route->view, lane) == 0 &&
        (policy != FullPolicy::kDropOldest || !ring.DropHead())) {
      break;
    }
    status = ring.TryClaim(participant_->owner(), still_valid, position);
  }
  return status;
}

Status Agent::Claim(Route* route, LaneIndex lane, FullPolicy policy, uint64_t* position) noexcept {
  for (int tries = 0; tries < 3; ++tries) {
    if (route->entry == kNoEntry) {
      const Status resolved = Resolve(route);
      if (resolved != Status::kOk) return resolved;
    }
    const Status status = ClaimOnce(route, lane, policy, position);
    if (status != Status::kStale && status != Status::kClosed) return status;
    // It left or is just leaving; a successor may have the name already.
    if (tries == 2) return status == Status::kStale ? Status::kNoAgent : status;
    route->entry = kNoEntry;
  }
  return Status::kBusy;
}

Status Agent::Place(const Outgoing& message, ChunkRef* chunk) noexcept {
  *chunk = 0;
  const size_t bytes = message.body.size();
  const size_t from = message.from.empty() ? name_.size() : message.from.size();
  const size_t key = message.key != 0 ? sizeof message.key : 0;
  if (key + from + message.type.size() + bytes <= kInlineBytes) return Status::kOk;
  Fabric& fabric = participant_->fabric();
  const uint64_t quota = fabric.options().sender_slab_bytes;
  const uint64_t taken = Slab::BytesFor(bytes);
  // An upper bound of what is ours, as readers free without telling us; exact when it matters.
  if (slab_bytes_ + taken > quota) {
    slab_bytes_ = fabric.slab().BytesOf(participant_->owner());
    if (slab_bytes_ + taken > quota) return Status::kQuota;
  }
  const Status status = fabric.slab().Borrow(participant_->owner(), bytes, chunk);
  if (status != Status::kOk) return status;
  slab_bytes_ += taken;
  fabric.slab().Write(*chunk, message.body.data(), bytes);
  return Status::kOk;
}

// Of two that send to an idle agent at once, one claims the first cell. The other gives its own
// back.
bool Agent::IsFirst(const Route& route, LaneIndex lane, uint64_t position) noexcept {
  Fabric& fabric = participant_->fabric();
  fabric.Reclaim(route.view, lane);  // what was acked may still stand there
  Lane ring = route.view.lanes[lane];
  if (ring.words()->head.load() == position) return true;
  ring.Abort(participant_->owner(), position);
  fabric.Reclaim(route.view, lane);
  return false;
}

void Agent::FillCell(const Route& route, const Outgoing& message, uint64_t position, ChunkRef chunk,
                     uint64_t number, uint64_t sequence, int64_t sent_at_ns) noexcept {
  Cell& cell = route.view.lanes[message.lane].At(position);
  const auto set = [&cell](CellWord word, uint64_t value) { PutWord(cell.words[word], value); };
  const std::string_view from = message.from.empty() ? std::string_view(name_) : message.from;
  CellLengths lengths;
  lengths.body = static_cast<uint32_t>(message.body.size());
  lengths.from = static_cast<uint8_t>(from.size());
  lengths.type = static_cast<uint8_t>(message.type.size());
  lengths.kind = message.kind;
  lengths.flags = static_cast<uint8_t>(message.flags | message.hops << kHopShift);
  if (message.key != 0) lengths.flags |= kFlagKeyed;
  if (message.expires_at_ms != 0) {
    lengths.flags |= kFlagExpires;
    set(kExpiry, message.expires_at_ms);
  }
  set(kSenderUid, participant_->uid());
  set(kNumber, number);
  set(kSequence, sequence);
  set(kSentAtNs, static_cast<uint64_t>(sent_at_ns));
  set(kCorrelationUid, message.correlation.uid);
  set(kCorrelationNumber, message.correlation.number);
  set(kSlab, chunk);
  set(kLengths, PackLengths(lengths));
  set(kReceipt, message.wants_receipt ? PackReceipt(route.view.lanes[message.lane].LapOf(position),
                                                    participant_->owner(), 0)
                                      : 0);
  CFC_FAIL_POINT("copy.header");
  alignas(8) char payload[kInlineBytes];
  size_t used = 0;
  const auto add = [&](std::string_view text) {
    std::memcpy(payload + used, text.data(), text.size());
    used += text.size();
  };
  if (message.key != 0) {
    std::memcpy(payload, &message.key, sizeof message.key);
    used = sizeof message.key;
  }
  add(from);
  if (!message.type.empty()) add(message.type);
  if (chunk == 0 && !message.body.empty()) add(message.body);
  CopyIn(&cell.words[kPayload], payload, used);
  CFC_FAIL_POINT("copy.payload");
}

bool Agent::RingFor(const Route& route, const Outgoing& message) noexcept {
  Fabric& fabric = participant_->fabric();
  if ((message.flags & kFlagReply) != 0 && route.view.words->readers[1].load() != 0) {
    const uint32_t asker = fabric.AskerSlot(route.view, message.correlation.uid);
    if (asker != 0) return fabric.Ring(asker);
  }
  return fabric.RingReaders(route.view, participant_->owner());
}

void Agent::NoteRefused(uint32_t messages) noexcept {
  counters_.Add(Metric::kMessagesRefused, messages);
}

void Agent::NoteSendWait(int64_t waited_ns, uint32_t refused) noexcept {
  counters_.Add(Metric::kSendWaits, 1);
  counters_.Add(Metric::kSendWaitNs, static_cast<double>(waited_ns));
  counters_.Add(refused == 0 ? Metric::kSendWaitsPaid : Metric::kSendWaitsFailed, 1);
  if (refused > 0) NoteRefused(refused);
}

Status Agent::SendNow(Route* route, const Outgoing& message, Receipt* receipt) noexcept {
  Status status = Check(message);
  if (status != Status::kOk) return status;
  Fabric& fabric = participant_->fabric();
  const Owner me = participant_->owner();
  ChunkRef chunk;
  status = Place(message, &chunk);
  if (status != Status::kOk) {
    if (!message.waits || !IsFull(status)) NoteRefused(1);
    return status;
  }
  const uint64_t number = participant_->NextNumber();
  for (int tries = 0; tries < kMostResends; ++tries) {
    uint64_t position;
    status = Claim(route, message.lane, message.when_full, &position);
    if (status != Status::kOk) break;
    route->view.lanes[message.lane].PrefetchToWrite(position + kPrefetchCells);
    if (message.when_full == FullPolicy::kOnlyIfIdle && !IsFirst(*route, message.lane, position)) {
      status = Status::kFull;
      break;
    }
    FillCell(*route, message, position, chunk, number, route->sequence[message.lane] + 1,
             clock_.RealNs());
    if (chunk != 0) {
      fabric.slab().Place(me, chunk, PackPlace(route->view.box, message.lane, position));
    }
    const uint32_t lost = message.wants_receipt ? route->view.lanes[message.lane].LostCount() : 0;
    if (!route->view.lanes[message.lane].Commit(me, position)) {
      fabric.Reclaim(route->view, message.lane);
      status = Status::kBusy;
      continue;
    }
    // Into memory that nobody else sees any more: no acceptance.
    if (participant_->Usable() != Status::kOk) return Status::kCorrupt;
    // It is accepted from here on; only its waking is left to do.
    ++route->sequence[message.lane];
    route->in_turn = false;
    Remember(route, message.lane, position);
    if (RingFor(*route, message)) counters_.Add(Metric::kRings, 1);
    counters_.Add(Metric::kMessagesSent, 1);
    counters_.Add(Metric::kBytesSent, static_cast<double>(message.body.size()));
    if (receipt) {
      *receipt = {{participant_->uid(), number}, message.lane, position, route->mailbox, lost};
    }
    return Status::kOk;
  }
  if (chunk != 0) fabric.slab().GiveBack(me, chunk);
  if (!message.waits || !IsFull(status)) NoteRefused(1);
  return status;
}

Status Agent::Send(Route* route, const Outgoing& message, Deadline deadline,
                   Receipt* receipt) noexcept {
  Outgoing patient = message;
  patient.waits = true;
  Status status = TrySend(route, patient, receipt);
  if (!IsFull(status)) return status;
  const int64_t began_ns = MonotonicNs();
  const uint64_t sleeps = participant_->sleeps();
  int64_t sleep_ns = 0;
  const Status waited = participant_->WaitUntil(
      [&](int64_t* longest) {
        if (longest) AnnounceRoom(route, message.lane, /*several=*/false);
        route->in_turn = participant_->sleeps() != sleeps;
        status = TrySend(route, patient, receipt);
        if (longest) {
          // Chunks of the slab come free in other lanes too, without a ring for us.
          sleep_ns = NextRoomSleepNs(sleep_ns);
          *longest = status == Status::kFull || sleep_ns < kSuspectNs ? sleep_ns : kSuspectNs;
          if (status == Status::kRateLimited) *longest = RateSleepNs();
        }
        return !IsFull(status);
      },
      [&] {
        return status != Status::kFull || route->entry == kNoEntry ||
               route->view.lanes[message.lane].HasSpace(
                   Lane::Handful(route->view.lanes[message.lane].capacity()));
      },
      deadline);
  route->in_turn = false;
  WithdrawRoom(route, message.lane);
  NoteSendWait(MonotonicNs() - began_ns, waited == Status::kOk ? 0 : 1);
  return waited == Status::kOk ? status : waited;
}

Status Agent::Send(std::string_view to, const Outgoing& message, Deadline deadline,
                   Receipt* receipt) noexcept {
  auto found = routes_.find(to);
  if (found == routes_.end()) {
    found = routes_.try_emplace(std::string(to)).first;
    found->second.name = found->first;
  }
  const Status status = Send(&found->second, message, deadline, receipt);
  if (status == Status::kNoAgent) routes_.erase(found);
  return status;
}

Status Agent::Verdict(const Receipt& receipt, VoidReason* reason) noexcept {
  MailboxView view;
  if (!participant_->fabric().mail().View(MailboxRefBox(receipt.mailbox), &view)) {
    return Status::kStale;
  }
  const Lane& lane = view.lanes[receipt.lane];
  const Status status = lane.Verdict(receipt.position, reason);
  if (status == Status::kStale && lane.LostCount() == receipt.lost) {
    // Its cell carries another message by now. What is lost is counted before its cell comes free,
    // and nothing was lost in this lane since: so it was acked.
    *reason = kAcked;
    return Status::kOk;
  }
  return status;
}

Status Agent::WaitSettled(const Receipt& receipt, VoidReason* reason, Deadline deadline) noexcept {
  Status status = Verdict(receipt, reason);
  if (status != Status::kBusy) return status;
  const Status waited = participant_->WaitUntil(
      [&](int64_t*) {
        status = Verdict(receipt, reason);
        return status != Status::kBusy;
      },
      deadline);
  return waited == Status::kOk ? status : waited;
}

uint32_t Agent::BatchLimit(Route* route, LaneIndex lane) noexcept {
  if (route->entry == kNoEntry && Resolve(route) != Status::kOk) return 1;
  const uint32_t quarter = route->view.lanes[lane].capacity() / 4;
  return quarter > 1 ? quarter : 1;
}

Status Agent::SendBatchNow(Route* route, const Outgoing* messages, uint32_t count, MessageId* ids,
                           uint32_t* accepted) noexcept {
  *accepted = 0;
  if (count == 0) return Status::kOk;
  Status status = Status::kOk;
  for (uint32_t i = 0; i < count && status == Status::kOk; ++i) status = Check(messages[i]);
  if (status != Status::kOk) return status;
  const LaneIndex lane = messages[0].lane;
  for (uint32_t i = 1; i < count; ++i) {
    if (messages[i].lane != lane) return Status::kInvalid;
  }
  if (count > BatchLimit(route, lane)) return Status::kInvalid;
  Fabric& fabric = participant_->fabric();
  const Owner me = participant_->owner();

  std::vector<ChunkRef> chunks(count, 0);
  std::vector<uint64_t> positions(count, 0);
  const auto give_back_chunks = [&](uint32_t from) {
    for (uint32_t i = from; i < count; ++i) {
      if (chunks[i] != 0) fabric.slab().GiveBack(me, chunks[i]);
    }
  };
  for (uint32_t i = 0; i < count && status == Status::kOk; ++i) {
    status = Place(messages[i], &chunks[i]);
  }
  uint32_t done = 0;
  for (int tries = 0; tries < kMostResends && status == Status::kOk && done < count; ++tries) {
    // Claims that are given back stand in everybody's way until the head has passed them: whoever
    // tried a large batch at a full lane again and again would fill it with holes.
    if (route->entry != kNoEntry && FreeCells(route->view.lanes[lane]) < count - done) {
      fabric.Reclaim(route->view, lane);
      if (FreeCells(route->view.lanes[lane]) < count - done) {
        status = Status::kFull;
        break;
      }
    }
    // The first claim may find the recipient anew; those that follow must be in the same mailbox.
    status = Claim(route, lane, FullPolicy::kReject, &positions[done]);
    if (status != Status::kOk) break;
    // Whether it has had its share was judged by the first claim: were it by each, others that come
    // to wait meanwhile would make it give back what it has claimed, as holes.
    const bool in_turn = route->in_turn;
    route->in_turn = true;
    uint32_t claimed = done + 1;
    for (; claimed < count; ++claimed) {
      status = ClaimOnce(route, lane, FullPolicy::kReject, &positions[claimed]);
      if (status != Status::kOk) break;
    }
    route->in_turn = in_turn;
    if (status != Status::kOk) {  // no room half-way: nothing of these was accepted
      for (uint32_t i = done; i < claimed; ++i) route->view.lanes[lane].Abort(me, positions[i]);
      fabric.Reclaim(route->view, lane);
      if (status != Status::kStale && status != Status::kClosed) break;
      route->entry = kNoEntry;  // it left meanwhile: all over again, where it is now
      status = Status::kOk;
      continue;
    }
    const int64_t now_ns = clock_.RealNs();
    const uint64_t first_number = participant_->NextNumbers(count - done);
    for (uint32_t i = done; i < count; ++i) {
      route->view.lanes[lane].PrefetchToWrite(positions[i] + kPrefetchCells);
      FillCell(*route, messages[i], positions[i], chunks[i], first_number + (i - done),
               route->sequence[lane] + 1 + (i - done), now_ns);
      if (chunks[i] != 0) {
        fabric.slab().Place(me, chunks[i], PackPlace(route->view.box, lane, positions[i]));
      }
    }
    uint32_t committed = done;
    double bytes = 0;
    while (committed < count && route->view.lanes[lane].Commit(me, positions[committed])) {
      if (ids) ids[committed] = {participant_->uid(), first_number + (committed - done)};
      Remember(route, lane, positions[committed]);
      bytes += static_cast<double>(messages[committed].body.size());
      ++committed;
    }
    route->sequence[lane] += committed - done;
    counters_.Add(Metric::kMessagesSent, committed - done);
    counters_.Add(Metric::kBytesSent, bytes);
    for (uint32_t i = committed + 1; i < count; ++i) {
      route->view.lanes[lane].Abort(me, positions[i]);
    }
    if (committed < count) fabric.Reclaim(route->view, lane);
    done = committed;
    if (participant_->Usable() != Status::kOk) return Status::kCorrupt;
  }
  if (done > 0) {
    if (fabric.RingReaders(route->view, me)) counters_.Add(Metric::kRings, 1);
    counters_.Add(Metric::kBatchesSent, 1);
  }
  *accepted = done;
  if (done == count) return Status::kOk;
  give_back_chunks(done);
  if (done > 0 || !messages[0].waits || !IsFull(status)) NoteRefused(count - done);
  return status == Status::kOk || done > 0 ? Status::kBusy : status;
}

void Agent::AnnounceRoom(Route* route, LaneIndex lane, bool several) noexcept {
  if (route->entry == kNoEntry) return;
  participant_->fabric().wants().Announce(
      route->view.lanes[lane].words()->room, participant_->owner(),
      several ? kWantSeveral : PackLaneId(route->view.box, lane));
}

bool Agent::HasRoom(Route* route, LaneIndex lane, uint32_t cells) noexcept {
  if (route->entry == kNoEntry) return true;  // to be found anew, or to be refused
  const Lane& ring = route->view.lanes[lane];
  if (!route->view.Is(MailboxRefGeneration(route->mailbox)) || ring.Closing()) return true;
  return FreeCells(ring) >= (cells < ring.capacity() ? cells : ring.capacity()) &&
         (route->in_turn || !AtOwnCap(route, lane));
}

int64_t Agent::NextRoomSleepNs(int64_t last_ns) noexcept {
  if (last_ns == 0) return kFirstRoomSleepNs;
  return last_ns < kBackstopNs / 2 ? last_ns * 2 : kBackstopNs;
}

void Agent::WithdrawRoom(Route* route, LaneIndex lane) noexcept {
  Fabric& fabric = participant_->fabric();
  fabric.wants().Withdraw(participant_->owner());
  if (route->entry == kNoEntry) return;
  // A ring that came for us may have been the only one: pass it on while there is room for more
  // than the next few of ours.
  const Lane& ring = route->view.lanes[lane];
  if (FreeCells(ring) >= Lane::Handful(ring.capacity())) fabric.PassRoom(route->view, lane, 1);
}

}  // namespace cfc
