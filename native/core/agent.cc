#include "agent.h"

#include <unistd.h>

#include <cerrno>

#include "clock.h"
#include "failpoint.h"
#include "group.h"
#include "lifecycle.h"
#include "reaper.h"

namespace cfc {
namespace {

bool IsOptionalName(std::string_view name) noexcept { return name.empty() || IsValidName(name); }

uint64_t NowMs() noexcept { return static_cast<uint64_t>(MonotonicNs() / 1'000'000); }

}  // namespace

Status Agent::Join(Participant* participant, const AgentSpec& spec, Failure* failure) {
  if (!IsValidName(spec.name) || !IsOptionalName(spec.role) || !IsOptionalName(spec.team) ||
      !IsOptionalName(spec.parent) || spec.mailbox_cells > kMaxLaneCells) {
    errno = 0;
    return Fail(failure, Status::kInvalid, "", std::string(spec.name),
                "a name begins with a letter or digit and has up to 64 of A-Z a-z 0-9 _ -");
  }
  if (IsReservedName(spec.name)) {
    errno = 0;
    return Fail(failure, Status::kInvalid, "", std::string(spec.name),
                "parent, children and peers are addresses, and no names");
  }
  const Status usable = participant->Usable();
  if (usable != Status::kOk) return usable;
  participant_ = participant;
  AgentDirectory directory(&participant->fabric());
  Status status = Status::kBusy;
  guest_ = false;
  shim_ = spec.shim;
  Life life;
  if (!spec.life.empty() && ParseLifeToken(participant->fabric(), spec.life, &life)) {
    status = Visit(spec.name, life.entry, life.incarnation);
  }
  // Between two looks the name may come, go or change hands.
  for (int tries = 0; tries < 1000 && status == Status::kBusy; ++tries) {
    AgentRecord record;
    status = directory.Find(spec.name, &record) == Status::kOk ? TakeOver(record, spec)
                                                               : Enter(spec, failure);
  }
  if (status == Status::kOk) {
    name_ = std::string(spec.name);
  } else {
    participant_ = nullptr;
    if (failure && failure->path[0] == 0) {
      errno = 0;
      Fail(failure, status, "", std::string(spec.name));
    }
  }
  return status;
}

Status Agent::Enter(const AgentSpec& spec, Failure* failure) noexcept {
  Fabric& fabric = participant_->fabric();
  const Owner me = participant_->owner();
  AgentDirectory directory(&fabric);
  uint32_t index;
  Status status = directory.Claim(me, spec.name, &index);
  if (status != Status::kOk) return status == Status::kExists ? Status::kBusy : status;
  Entry& entry = fabric.entries()[index];
  entry.holder.store(participant_->holder());

  const uint32_t cells = spec.mailbox_cells ? spec.mailbox_cells : fabric.options().mailbox_cells;
  uint64_t ref;
  MailboxView view;
  status = fabric.mail().Allocate(me, cells, &ref, &view, failure);
  if (status != Status::kOk) {
    directory.Abandon(me, index);
    return status;
  }
  view.words->agent.store(index);
  entry.mailbox.store(ref);
  // Even: stable. Never the same twice, also across names that use this entry.
  entry.incarnation.store(((entry.incarnation.load() >> 1) + 1) << 1);
  BeginLifecycle(entry);
  entry.restarts.store(0);
  Allowance(view.words).Grant(spec.limits, NowMs());
  directory.Describe(index, spec);
  CFC_FAIL_POINT("join.described");
  if (!directory.Publish(me, index)) {
    fabric.mail().Free(me, ref);
    return Status::kBusy;
  }
  const uint64_t word = entry.word.load();
  fabric.mail().Own(me, ref);
  CFC_FAIL_POINT("join.owned");
  return BeginLife(index, word, spec.counts);
}

Status Agent::TakeOver(const AgentRecord& record, const AgentSpec& spec) noexcept {
  Fabric& fabric = participant_->fabric();
  if (!fabric.HolderDead(record.holder)) return Status::kLeaseHeld;
  // What the dead one had leased must be back in the mailbox before we read there.
  Slot* const slot = fabric.SlotAt(HolderSlot(record.holder));
  if (slot && slot->uid.load() == HolderUid(record.holder)) {
    const Owner dead = MakeOwner(HolderSlot(record.holder), SlotGeneration(slot->word.load()));
    ReapIfDead(fabric, dead, participant_->owner());
  }
  Entry& entry = fabric.entries()[record.entry];
  uint64_t seen = record.holder;
  if (!entry.holder.compare_exchange_strong(seen, participant_->holder())) return Status::kBusy;
  CFC_FAIL_POINT("takeover.holder");
  if (entry.word.load() != record.word) {  // another name lives here by now
    seen = participant_->holder();
    entry.holder.compare_exchange_strong(seen, record.holder);
    return Status::kBusy;
  }
  const uint64_t life = entry.incarnation.load() >> 1;
  if (spec.fence) {
    entry.incarnation.store(life << 1 | 1);
    AgentDirectory(&fabric).Describe(record.entry, spec);
    BeginLifecycle(entry);
    entry.restarts.store(entry.restarts.load() + 1);
    MailboxView view;
    if (fabric.mail().View(MailboxRefBox(entry.mailbox.load()), &view)) {
      Allowance(view.words).Change(spec.limits, NowMs());
    }
  }
  entry.incarnation.store((life + (spec.fence ? 1 : 0)) << 1);
  CFC_FAIL_POINT("takeover.incarnation");
  return BeginLife(record.entry, record.word, spec.counts);
}

Status Agent::Visit(std::string_view name, uint32_t index, uint32_t incarnation) noexcept {
  Fabric& fabric = participant_->fabric();
  AgentRecord record;
  if (!AgentDirectory(&fabric).Read(index, &record) || record.Name() != name ||
      record.incarnation != incarnation || fabric.HolderDead(record.holder)) {
    return Status::kLeaseLost;
  }
  guest_ = true;
  const Status status = BeginLife(index, record.word, /*counts=*/true);
  if (status != Status::kOk) return status;
  incarnation_ = incarnation;
  // The holder may have changed since it was looked at; then this life is over, and its successor
  // has not seen us in the list of readers.
  if (!Fenced()) return Status::kOk;
  RemoveReader();
  return Status::kLeaseLost;
}

// An odd incarnation is a life whose description is being rewritten, be it by a reparent: it is the
// same one, until the next is stored.
bool Agent::Fenced() const noexcept {
  return guest_ && participant_->fabric().entries()[entry_].incarnation.load() >> 1 != incarnation_;
}

bool Agent::ReaderReady() noexcept {
  if (!reading_) reading_ = AddReader();
  return reading_;
}

Status Agent::AwaitAnswers(bool awaits) noexcept {
  if (!guest_ || awaits == awaits_) return Status::kOk;
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  if (awaits && Fenced()) return Status::kLeaseLost;
  if (awaits && !ReaderReady()) return Status::kReadersFull;
  awaits_ = awaits;
  participant_->AwaitAnswers(awaits);
  // What comes too late is for anybody again.
  if (!awaits && Depth() > 0) participant_->fabric().RingReaders(view_, participant_->owner());
  return Status::kOk;
}

void Agent::FenceGuests() noexcept {
  Fabric& fabric = participant_->fabric();
  for (auto& reader : view_.words->readers) {
    const uint64_t seen = reader.load();
    const auto guest = static_cast<Owner>(seen);
    if (guest == 0 || guest == participant_->owner()) continue;
    for (Lane lane : view_.lanes) lane.Fence(guest);
    uint64_t expected = seen;
    reader.compare_exchange_strong(expected, 0);
    CFC_FAIL_POINT("takeover.guest");
    fabric.Ring(OwnerSlot(guest));  // it may sleep: it finds out that it lost
  }
}

Status Agent::BeginLife(uint32_t index, uint64_t entry_word, bool counts) noexcept {
  Fabric& fabric = participant_->fabric();
  Entry& entry = fabric.entries()[index];
  entry_ = index;
  entry_word_ = entry_word;
  incarnation_ = static_cast<uint32_t>(entry.incarnation.load() >> 1);
  mailbox_ref_ = entry.mailbox.load();
  const auto refuse = [&](Status status) {  // who cannot begin its life holds no name either
    uint64_t seen = participant_->holder();
    if (!guest_) entry.holder.compare_exchange_strong(seen, 0);
    return status;
  };
  if (!fabric.mail().View(MailboxRefBox(mailbox_ref_), &view_)) return refuse(Status::kCorrupt);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    participant_->IntendToRead(PackLaneId(view_.box, lane));
    cursor_[lane] = 0;
    leased_[lane] = 0;
    memo_[lane] = ReclaimMemo();
    empty_at_[lane] = 0;
  }
  limited_ = Allowance(view_.words).Limited();
  reading_ = false;
  awaits_ = false;
  // Before we take our place: guests of the life before may have all of them.
  if (!guest_) FenceGuests();
  if (!guest_ && !shim_ && !ReaderReady()) return refuse(Status::kReadersFull);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    reopening_[lane] = view_.lanes[lane].Reopen() != Status::kOk;
    if (!guest_) view_.lanes[lane].FenceIncarnations(incarnation_);
  }
  if (!guest_) {
    entry.pid.store(static_cast<uint64_t>(getpid()));
    entry.joined_at_ms.store(static_cast<uint64_t>(RealTimeNs() / 1'000'000));
  } else {
    const uint64_t facts = entry.facts.fetch_or(kFactGuests);
    if ((facts & (kFactAwaitsGuest | kFactReady)) == kFactAwaitsGuest) {
      entry.facts.fetch_or(kFactReady);
      if (StateOf(entry.state.load()) == AgentState::kSpawned) {
        (void)ChangeState(entry, AgentState::kWorking);
      }
    }
  }
  if (shim_) {
    entry.facts.fetch_or(kFactShim);
  } else if (!guest_) {
    entry.facts.fetch_and(~uint64_t{kFactShim});
  }
  Progress();
  fabric.SlotAt(participant_->slot_index())->agent_hint.store(index + 1);
  // Busy only where two of us hold one name, which the holder word rules out; then nothing counts.
  counters_ = CounterBlock();
  (void)(guest_ ? fabric.metrics().ShareBlock(index, &counters_)
                : fabric.metrics().TakeBlock(index, participant_->uid(), &counters_));
  if (!counts) counters_ = CounterBlock();
  woken_ = false;
  until_sample_ = 0;
  control_burst_ = 0;
  slab_bytes_ = 0;
  suspects_.count = 0;
  return Status::kOk;
}

bool Agent::AddReader() noexcept {
  Fabric& fabric = participant_->fabric();
  for (int round = 0; round < 2; ++round) {
    for (auto& reader : view_.words->readers) {
      uint64_t seen = reader.load();
      if (seen == participant_->owner()) return true;
      if (seen != 0 && (round == 0 || !fabric.ProvenDead(static_cast<Owner>(seen)))) continue;
      if (reader.compare_exchange_strong(seen, participant_->owner())) return true;
    }
  }
  return false;
}

void Agent::RemoveReader() noexcept {
  for (auto& reader : view_.words->readers) {
    uint64_t seen = participant_->owner();
    reader.compare_exchange_strong(seen, 0);
  }
}

void Agent::Leave() noexcept {
  if (!participant_) return;
  CloseTopics();
  if (participant_->Usable() != Status::kOk) {  // a forked child leaves the parent's things alone
    participant_ = nullptr;
    return;
  }
  Fabric& fabric = participant_->fabric();
  const Owner me = participant_->owner();
  (void)AwaitAnswers(false);
  uint64_t depth = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    view_.lanes[lane].Fence(me);
    fabric.Reclaim(view_, lane);
    depth += view_.lanes[lane].Depth();
  }
  CFC_FAIL_POINT("leave.fenced");
  RemoveReader();
  bool gone = false;
  if (guest_) {
    if (depth != 0 && !Fenced()) fabric.RingReaders(view_, me);
    ForgetLanes();
    return;
  }
  // How its command ended is to be seen until somebody forgets the name.
  const bool told = ExitCodeOf(fabric.entries()[entry_].exit.load(), incarnation_) >= 0;
  // Disowned before it is closed: who finds a closed lane in an owned box may open it again.
  if (depth == 0 && !told && fabric.mail().Disown(me, mailbox_ref_)) {
    CFC_FAIL_POINT("leave.disowned");
    bool drained = true;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      view_.lanes[lane].Close([this] { return StillMine(); });
      fabric.Reclaim(view_, lane);
      drained = drained && view_.lanes[lane].Drained();
    }
    CFC_FAIL_POINT("leave.closed");
    if (drained) {
      AgentRecord record;
      record.entry = entry_;
      record.word = entry_word_;
      gone = AgentDirectory(&fabric).Remove(record);
      CFC_FAIL_POINT("leave.removed");
    }
    if (gone) {
      fabric.mail().Free(me, mailbox_ref_);
    } else {
      for (auto& lane : view_.lanes) lane.Reopen();
      fabric.mail().Own(me, mailbox_ref_);
    }
  }
  if (!gone) {
    // Something is queued: name and mailbox wait for a successor, and senders may go on.
    uint64_t seen = participant_->holder();
    fabric.entries()[entry_].holder.compare_exchange_strong(seen, 0);
    fabric.RingReaders(view_, me);
  }
  ForgetLanes();
}

void Agent::ForgetLanes() noexcept {
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    participant_->ForgetReading(PackLaneId(view_.box, lane));
  }
  counters_ = CounterBlock();
  routes_.clear();
  participant_ = nullptr;
}

Status Agent::SetState(AgentState state) noexcept {
  if (Fenced()) return Status::kLeaseLost;
  return ChangeState(participant_->fabric().entries()[entry_], state);
}

void Agent::Progress() noexcept {
  participant_->fabric().entries()[entry_].progress_at_ms.store(
      static_cast<uint64_t>(CoarseMonotonicNs() / 1'000'000), std::memory_order_relaxed);
}

uint64_t Agent::Depth() const noexcept {
  return view_.lanes[kControlLane].Depth() + view_.lanes[kWorkLane].Depth();
}

}  // namespace cfc
