// Programs about what becomes of a single cell: handed over, settled, counted, its chunk freed.
#pragma once

#include <array>
#include <string>

#include "core/copy.h"
#include "lane_programs.h"

namespace cfc::sched {

// A message handed over to its agent, whose next incarnation takes it back.
class HandsOver : public LaneProgram {
 public:
  void SetUp() override {
    world_.SetUp(2, 0);
    world_.Wait(3, 1);
  }
  uint32_t fibers() const override { return 2; }
  void Run(uint32_t fiber) override {
    if (fiber == 1) {
      world_.lane().FenceIncarnations(6);
      return world_.TakeAndAck(1);
    }
    const Taken taken = world_.Take(0);
    if (taken.status != Status::kOk) return;
    const uint64_t held = world_.lane().HandOver(taken.position, taken.word, 5);
    if (held != 0) world_.Ack(0, taken.position, held);
    world_.Reclaim(0);
  }
  std::string Check() override {
    world_.lane().FenceIncarnations(6);
    return LaneProgram::Check();
  }
};

// A sender waits for the verdict, which the reader or whoever frees the cell leaves; one rings.
class Receipts : public LaneProgram {
 public:
  void SetUp() override {
    world_.SetUp(2, 0);
    world_.Wait(1, 1);
    position_ = 0;
    auto& receipt = world_.lane().At(position_).words[kReceipt];
    receipt.store(PackReceipt(world_.lane().LapOf(position_), OwnerOf(1), 0));
  }
  uint32_t fibers() const override { return 3; }
  bool MayDie(uint32_t fiber) const override { return fiber == 0; }
  void Run(uint32_t fiber) override {
    SchedLane& lane = world_.lane();
    if (fiber == 0) {
      const Taken taken = world_.Take(0);
      if (taken.status != Status::kOk || world_.Ack(0, taken) != Status::kOk) return;
      if (lane.LeaveVerdict(taken.position, kAcked) != 0) ++world_.log(0).rings;
    } else if (fiber == 1) {
      VoidReason reason = kAborted;
      Status status = lane.Verdict(position_, &reason);
      // As Agent::Verdict does: gone, and nothing lost here since, so it was acked.
      if (status == Status::kStale && lane.LostCount() == 0) reason = kAcked;
      if (status != Status::kBusy && reason != kAcked) ++world_.log(1).refused;
    } else {
      Free(2);
    }
  }
  std::string Check() override {
    const int dead = Dead();
    if (dead == kNoFiber) Free(kMostFibers);
    const std::string wrong = dead == kNoFiber ? LaneProgram::Check() : "";
    if (!wrong.empty()) return wrong;
    if (dead != kNoFiber) {
      world_.lane().RepairOwner(OwnerOf(0));
      const Taken again = world_.Take(kMostFibers);
      if (again.status == Status::kOk) world_.Ack(kMostFibers, again);
      Free(kMostFibers);
    }
    if (world_.log(1).refused != 0) return "the sender was told something else than what happened";
    VoidReason reason = kAborted;
    if (world_.lane().Verdict(position_, &reason) != Status::kOk || reason != kAcked) {
      return "no verdict was left";
    }
    uint32_t rings = 0;
    for (uint32_t i = 0; i <= kMostFibers; ++i) rings += world_.log(i).rings;
    if (dead == kNoFiber && rings != 1) return "the sender is rung once, whoever was quicker";
    return "";
  }

 private:
  void Free(uint32_t process) {
    SchedLane& lane = world_.lane();
    lane.Reclaim([&](ChunkRef, uint64_t position, VoidReason reason) {
      if (lane.LeaveVerdict(position, reason) != 0) ++world_.log(process).rings;
    });
  }
  uint64_t position_ = 0;
};

// Aborted positions at the head, freed by two at once, one of whom dies.
class Counts : public LaneProgram {
 public:
  explicit Counts(bool sends) : sends_(sends) {}
  void SetUp() override {
    world_.SetUp(2, 0);
    heads_ = {};
    for (int i = 0; i < 2; ++i) {
      uint64_t position = 0;
      (void)world_.lane().TryClaim(OwnerOf(3), AlwaysValid(), &position);
      world_.lane().Abort(OwnerOf(3), position);
    }
  }
  uint32_t fibers() const override { return sends_ ? 3 : 2; }
  bool MayDie(uint32_t fiber) const override { return fiber == 0; }
  void Run(uint32_t fiber) override {
    if (fiber == 2) {
      world_.Send(2, 1);
    } else {
      world_.Reclaim(fiber);
      heads_[fiber] = world_.lane().words()->head.load();
    }
  }
  uint64_t Remembered() const override { return world_.Remembered() + Mix(heads_[0], heads_[1]); }
  std::string Check() override {
    const uint64_t head = world_.lane().words()->head.load();
    if (head < heads_[0] || head < heads_[1]) return "the head fell back";
    return LaneProgram::Check();
  }
  std::string CheckMore() override {
    return world_.lane().Census().aborted == 2 ? "" : "a position was counted twice, or never";
  }

 private:
  bool sends_;
  std::array<uint64_t, 2> heads_ = {};
};

// Chunks as the slab has them, in small: whoever frees the cell frees the chunk first, and a
// stopped reader of the chunk notices that it went on to another message.
class Chunks : public LaneProgram {
 public:
  void SetUp() override {
    world_.SetUp(2, 0);
    for (auto& word : chunk_) new (&word) SchedMemory::Word();
    chunk_[0].store(1);  // how often it was used
    Put(1);
    world_.Wait(3, 1);
    world_.Wait(3, 2);
  }
  uint32_t fibers() const override { return 2; }
  void Run(uint32_t fiber) override {
    uint64_t cursor = 0;
    const Taken taken = world_.lane().Take(
        OwnerOf(fiber), TakeFilter::kAll, [] { return 0u; }, &cursor, nullptr);
    if (fiber == 0) {
      if (taken.status != Status::kOk) return;
      uint64_t body[2];
      CopyOut(body, &chunk_[1], sizeof body);
      if (!world_.lane().Holds(taken.position, taken.word)) return;
      if (taken.position == 0 && (body[0] != 1 || body[1] != 1)) ++world_.log(0).torn;
      return;
    }
    world_.lane().Fence(OwnerOf(0));
    const Taken again = world_.lane().Take(
        OwnerOf(fiber), TakeFilter::kAll, [] { return 0u; }, &cursor, nullptr);
    for (const Taken& mine : {taken, again}) {
      if (mine.status == Status::kOk) world_.lane().Settle(mine.position, mine.word, kAcked);
    }
    bool freed = false;
    world_.lane().Reclaim([&](ChunkRef, uint64_t position, VoidReason) {
      uint64_t seen = 1;
      if (position == 0) freed = chunk_[0].compare_exchange_strong(seen, 2);
    });
    if (freed) Put(2);
  }
  std::string Check() override {
    return world_.log(0).torn != 0 ? "a torn body was read from a chunk" : "";
  }

 private:
  void Put(uint64_t value) {
    const uint64_t body[2] = {value, value};
    CopyIn(&chunk_[1], body, sizeof body);
  }
  std::array<SchedMemory::Word, 3> chunk_;
};

}  // namespace cfc::sched
