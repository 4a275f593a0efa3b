// Programs over one lane. Each says who does what; LaneWorld holds them to the ledger.
#pragma once

#include <string>

#include "lane_world.h"

namespace cfc::sched {

// What all of them share: who died, and the sum at the end.
class LaneProgram : public Program {
 public:
  std::string Check() override {
    const std::string wrong = world_.Settle(Dead());
    return wrong.empty() ? CheckMore() : wrong;
  }
  virtual std::string CheckMore() { return ""; }
  uint64_t Remembered() const override { return world_.Remembered(); }

 protected:
  int Dead() const {
    for (uint32_t i = 0; i < fibers(); ++i) {
      if (Explorer::It().died(i)) return static_cast<int>(i);
    }
    return kNoFiber;
  }
  void Repair(uint32_t process) {
    world_.lane().RepairOwner(OwnerOf(process));
    world_.Reclaim(kMostFibers);
  }
  LaneWorld world_;
};

// Two senders, one reader, in a lane of few cells whose laps are about to wrap.
class Exchange : public LaneProgram {
 public:
  Exchange(uint32_t first, uint32_t second, uint32_t takes, uint32_t cells)
      : first_(first), second_(second), takes_(takes), cells_(cells) {}
  void SetUp() override { world_.SetUp(cells_, (uint64_t{cells_} << 32) - 1); }
  uint32_t fibers() const override { return second_ > 0 ? 3 : 2; }
  void Run(uint32_t fiber) override {
    if (fiber == 0) {
      for (uint32_t i = 0; i < takes_; ++i) world_.TakeAndAck(0);
    } else {
      const uint32_t count = fiber == 1 ? first_ : second_;
      for (uint32_t i = 1; i <= count; ++i) world_.Send(fiber, i);
    }
  }
  std::string CheckMore() override { return world_.CheckOrder(0); }

 private:
  uint32_t first_, second_, takes_, cells_;
};

// A sender is killed anywhere; one repairs it while another sender and a reader go on.
class SenderDies : public LaneProgram {
 public:
  // sent: how many the one that dies sends; sends: the other one, a reader, sends as well.
  SenderDies(uint32_t sent, bool sends) : sent_(sent), sends_(sends) {}
  void SetUp() override { world_.SetUp(2, 0); }
  uint32_t fibers() const override { return 3; }
  bool MayDie(uint32_t fiber) const override { return fiber == 1; }
  bool AfterADeath(uint32_t fiber) const override { return fiber == 2; }
  void Run(uint32_t fiber) override {
    if (fiber == 0) {
      if (sends_) world_.Send(0, 1);
      world_.TakeAndAck(0);
    } else if (fiber == 1) {
      for (uint32_t i = 1; i <= sent_; ++i) world_.Send(1, i);
    } else {
      Repair(1);
    }
  }
  std::string CheckMore() override { return world_.CheckOrder(0); }

 private:
  uint32_t sent_;
  bool sends_;
};

// A reader is killed anywhere; one repairs it while another reader goes on.
class ReaderDies : public LaneProgram {
 public:
  explicit ReaderDies(uint32_t messages) : messages_(messages) {}
  void SetUp() override {
    world_.SetUp(2, 0);
    for (uint32_t i = 1; i <= messages_; ++i) world_.Wait(3, i);
  }
  uint32_t fibers() const override { return 3; }
  bool MayDie(uint32_t fiber) const override { return fiber == 0; }
  bool AfterADeath(uint32_t fiber) const override { return fiber == 2; }
  void Run(uint32_t fiber) override {
    if (fiber == 2) return Repair(0);
    world_.TakeAndAck(fiber);
    if (fiber == 0 && messages_ > 1) world_.TakeAndAck(fiber);
  }

 private:
  uint32_t messages_;
};

// A reader stops while it copies; its lease is taken back, the message read by another, and the
// cell used again. What the first one copied must not count.
class Fenced : public LaneProgram {
 public:
  void SetUp() override {
    world_.SetUp(2, 0, /*watched=*/true);
    world_.Wait(3, 1);
    world_.Wait(3, 2);
    uint64_t cursor = 0;  // the second is acked already: what comes next is the first one's cell
    (void)world_.lane().Take(
        OwnerOf(3), TakeFilter::kAll, [] { return 0u; }, &cursor, nullptr);
    const Taken second = world_.lane().Take(
        OwnerOf(3), TakeFilter::kAll, [] { return 0u; }, &cursor, nullptr);
    world_.log(3).delivered[world_.log(3).deliveries++] = {Message(3, 2), 0};
    world_.Ack(3, second);
    world_.lane().Fence(OwnerOf(3));
  }
  uint32_t fibers() const override { return 2; }
  void Run(uint32_t fiber) override {
    if (fiber == 0) {
      const Taken taken = world_.Take(0);
      if (taken.status == Status::kOk) world_.Ack(0, taken);
      return;
    }
    world_.lane().Fence(OwnerOf(0));
    world_.TakeAndAck(1);
    world_.Send(1, 1);
  }
};

// A sender that stalls loses its place and may wake at any time.
class Stalled : public LaneProgram {
 public:
  explicit Stalled(bool read) : read_(read) {}
  void SetUp() override { world_.SetUp(2, 4); }
  uint32_t fibers() const override { return read_ ? 3 : 2; }
  void Run(uint32_t fiber) override {
    if (fiber == 0) {
      world_.Send(0, 1);
    } else if (fiber == 1) {
      world_.lane().QuarantineHead(1000);
      world_.lane().QuarantineHead(1000 + kQuarantineMs);
      world_.Reclaim(1);
      if (read_) world_.Send(1, 1);
    } else {
      world_.TakeAndAck(2);
    }
  }

 private:
  bool read_;
};

// The owner leaves while others send; perhaps it stays after all.
class Closes : public LaneProgram {
 public:
  Closes(bool reopens, uint32_t others) : reopens_(reopens), others_(others) {}
  void SetUp() override { world_.SetUp(2, 2); }
  uint32_t fibers() const override { return 1 + others_; }
  void Run(uint32_t fiber) override {
    if (fiber > 0) {
      world_.Send(fiber, 1);
      if (fiber == 1) world_.Send(fiber, 2);
      return;
    }
    world_.TakeAndAck(0);
    world_.lane().Close();
    world_.TakeAndAck(0);
    if (reopens_) {
      world_.lane().Reopen();
    } else if (world_.lane().Drained()) {
      ++world_.log(0).drained;
    }
  }
  std::string Check() override {
    SchedLane& lane = world_.lane();
    if (reopens_ && !lane.Closing() && world_.Send(3, 1) == Status::kClosed) {
      return "an open lane says that it is closed";
    }
    // By the sums of LaneWorld, with the seal as the one thing that stays.
    for (uint32_t i = 0; i <= lane.capacity(); ++i) {
      world_.TakeAndAck(kMostFibers);
      world_.Reclaim(kMostFibers);
      if (lane.Closing()) lane.Seal();
    }
    if (world_.log(0).drained && world_.log(kMostFibers).deliveries > 0) {
      return "something came after all had been read";
    }
    if (lane.Closing() && !lane.Drained()) return "the seal never comes";
    if (lane.Closing() && lane.Reopen() != Status::kOk) return "a drained lane does not open";
    world_.Reclaim(kMostFibers);
    const std::string wrong = world_.Settle(kNoFiber);
    return wrong.empty() ? world_.CheckOrder(0) : wrong;
  }

 private:
  bool reopens_;
  uint32_t others_;
};

// A full lane whose senders drop the oldest, while it is read.
class DropsOldest : public LaneProgram {
 public:
  DropsOldest(uint32_t senders, bool read) : senders_(senders), read_(read) {}
  void SetUp() override {
    world_.SetUp(2, 0);
    world_.Wait(3, 1);
    world_.Wait(3, 2);
  }
  uint32_t fibers() const override { return 1 + senders_; }
  void Run(uint32_t fiber) override {
    if (fiber > 0) {
      world_.Send(fiber, 1, /*drop=*/true);
    } else if (read_) {
      world_.TakeAndAck(0);
    }
  }

 private:
  uint32_t senders_;
  bool read_;
};

// Two readers compete, and one gives its message back.
class GivesBack : public LaneProgram {
 public:
  GivesBack(uint32_t delay_ms, bool again) : delay_ms_(delay_ms), again_(again) {}
  void SetUp() override {
    world_.SetUp(2, 0);
    world_.Wait(3, 1);
    world_.Wait(3, 2);
  }
  uint32_t fibers() const override { return 2; }
  void Run(uint32_t fiber) override {
    if (fiber == 0) {
      const Taken taken = world_.Take(0);
      if (taken.status == Status::kOk) {
        world_.lane().GiveBack(taken.position, taken.word, delay_ms_ ? 1000 + delay_ms_ : 0);
      }
    } else {
      world_.TakeAndAck(1);
    }
    if (again_) world_.TakeAndAck(fiber);
  }
  std::string Check() override {
    world_.now_ms_ += delay_ms_;
    return LaneProgram::Check();
  }

 private:
  uint32_t delay_ms_;
  bool again_;
};

}  // namespace cfc::sched
