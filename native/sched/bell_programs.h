// Programs that sleep: behind a doorbell for messages, and for room in a full lane.
#pragma once

#include <string>

#include "core/doorbell.h"
#include "core/room.h"
#include "lane_programs.h"

namespace cfc::sched {

using SchedBell = DoorbellOf<SchedMemory::Half>;

// Senders ring a reader that sleeps whenever it finds nothing. One of them may die, and is then
// repaired by one who rings for it.
class Rings : public LaneProgram {
 public:
  Rings(uint32_t senders, bool dies) : senders_(senders), dies_(dies) {}
  void SetUp() override {
    world_.SetUp(2, 0);
    bell_ = new (bell_memory_) SchedMemory::Half();
  }
  uint32_t fibers() const override { return 1 + senders_ + (dies_ ? 1 : 0); }
  bool MayDie(uint32_t fiber) const override { return dies_ && fiber == 1; }
  bool AfterADeath(uint32_t fiber) const override { return fiber > senders_; }
  void Run(uint32_t fiber) override {
    if (fiber == 0) return Read();
    if (fiber <= senders_) {
      if (world_.Send(fiber, 1) == Status::kOk) Ring();
    } else {
      Repair(1);
      uint64_t cursor = 0;
      const Taken left = world_.lane().Look(
          TakeFilter::kAll, [] { return 0u; }, cursor, nullptr);
      if (left.status == Status::kOk) Ring();
    }
  }
  std::string Check() override {
    if (Explorer::It().asleep(0) && world_.lane().CountWaiting().ready > 0) {
      return "a reader sleeps beside a message";
    }
    return LaneProgram::Check();
  }

 private:
  void Ring() {
    SchedBell(bell_).Ring([this](bool) { bell_->Wake(); });
  }
  void Read() {
    SchedBell bell(bell_);
    for (uint32_t parks = 0; parks < senders_ + 1; ++parks) {
      const uint32_t ticket = bell.Park(/*in_loop=*/false);
      uint64_t cursor = 0;
      const Taken found = world_.lane().Look(
          TakeFilter::kAll, [] { return 0u; }, cursor, nullptr);
      if (found.status != Status::kOk) bell_->Wait(ticket);
      bell.Unpark();
      world_.TakeAndAck(0);
    }
  }
  uint32_t senders_;
  bool dies_;
  SchedMemory::Half* bell_ = nullptr;
  alignas(16) unsigned char bell_memory_[sizeof(SchedMemory::Half)];
};

// The senders' side of room, and who makes it: bells, wants, and a way to ring.
class RoomProgram : public LaneProgram {
 protected:
  static constexpr uint64_t kLane = 1;

  void SetUpRoom() {
    for (auto& bell : bells_) new (&bell) SchedMemory::Half();
    for (auto& want : wants_memory_) new (&want) SchedMemory::Word();
    wants_ = WantsOf<SchedMemory>(wants_memory_.data(), kRoomClasses);
  }
  void Pass(SchedMemory::Word& room, uint32_t cells) {
    if (cells == 0 || !WantsOf<SchedMemory>::AnybodyWants(room)) return;
    wants_.Pass(room, kLane, cells, [this](uint32_t slot) {
      bool rung = false;
      const uint32_t fiber = slot - 1;
      if (fiber >= bells_.size()) return rung;
      SchedBell(&bells_[fiber]).Ring([&](bool) {
        bells_[fiber].Wake();
        rung = true;
      });
      return rung;
    });
  }
  // As Agent::Send does once it found the lane full. again(): tries to send; true: no more waiting.
  template <class Try, class HasRoom>
  void WaitFor(uint32_t process, SchedMemory::Word& room, Try&& again, HasRoom&& has_room) {
    SchedBell bell(&bells_[process]);
    bool done = false;
    for (uint32_t parks = 0; !done && parks < 2; ++parks) {
      const uint32_t ticket = bell.Park(/*in_loop=*/false);
      wants_.Announce(room, OwnerOf(process), kLane);
      done = again();
      if (!done) bells_[process].Wait(ticket);
      bell.Unpark();
    }
    wants_.Withdraw(OwnerOf(process));
    if (has_room()) Pass(room, 1);
  }

 private:
  std::array<SchedMemory::Half, kMostFibers> bells_;
  std::array<SchedMemory::Word, kRoomClasses> wants_memory_;
  WantsOf<SchedMemory> wants_;
};

// Senders sleep for room in a full lane, which a reader makes. The reader may die on the way, and
// is then repaired by one who passes the room on.
class WaitsForRoom : public RoomProgram {
 public:
  WaitsForRoom(uint32_t senders, uint32_t takes, bool dies)
      : senders_(senders), takes_(takes), dies_(dies) {}
  void SetUp() override {
    world_.SetUp(2, 0);
    world_.Wait(3, 1);
    world_.Wait(3, 2);
    SetUpRoom();
  }
  uint32_t fibers() const override { return 1 + senders_ + (dies_ ? 1 : 0); }
  bool MayDie(uint32_t fiber) const override { return dies_ && fiber == 0; }
  bool AfterADeath(uint32_t fiber) const override { return fiber > senders_; }
  void Run(uint32_t fiber) override {
    if (fiber == 0) {
      for (uint32_t i = 0; i < takes_; ++i) {
        const Taken taken = world_.Take(0);
        if (taken.status == Status::kOk) world_.Ack(0, taken);
        Pass(world_.room(), world_.Reclaim(0));
      }
    } else if (fiber <= senders_) {
      WaitFor(
          fiber, world_.room(), [&] { return world_.Send(fiber, 1) != Status::kFull; },
          [&] { return HasRoom(); });
    } else {
      Repair(0);
      if (HasRoom()) Pass(world_.room(), 1);
    }
  }
  std::string Check() override {
    for (uint32_t i = 1; i <= senders_; ++i) {
      if (HasRoom() && Explorer::It().asleep(i)) return "a sender sleeps beside room";
    }
    return LaneProgram::Check();
  }

 private:
  bool HasRoom() { return world_.lane().Depth() < world_.lane().capacity(); }
  uint32_t senders_, takes_;
  bool dies_;
};

// A sender that waits, one that snatches what comes free, and one who frees two cells, of a lane
// that is no more than a count: so that more of the room itself can be searched. A class is set
// already in which nobody wants any more.
class SharesRoom : public RoomProgram {
 public:
  void SetUp() override {
    world_.SetUp(2, 0);
    SetUpRoom();
    free_ = new (free_memory_) SchedMemory::Word();
    sent_ = false;
    world_.room().store(uint64_t{1} << 40);
  }
  uint32_t fibers() const override { return 3; }
  void Run(uint32_t fiber) override {
    if (fiber == 0) {
      for (int i = 0; i < 2; ++i) {
        Add(1);
        Pass(world_.room(), 1);
      }
      return;
    }
    if (fiber == 2) {
      (void)Add(~uint64_t{0});
      return;
    }
    WaitFor(
        fiber, world_.room(), [&] { return sent_ = Add(~uint64_t{0}); },
        [&] { return free_->load() > 0; });
  }
  uint64_t Remembered() const override { return sent_; }
  std::string Check() override {
    const bool beside = free_->load() > 0 && Explorer::It().asleep(1);
    return beside ? "a sender sleeps beside room" : "";
  }

 private:
  // False where it would fall below nothing.
  bool Add(uint64_t amount) {
    uint64_t seen = free_->load();
    while (seen + amount <= 2) {
      if (free_->compare_exchange_strong(seen, seen + amount)) return true;
    }
    return false;
  }
  SchedMemory::Word* free_ = nullptr;
  bool sent_ = false;
  alignas(16) unsigned char free_memory_[sizeof(SchedMemory::Word)];
};

}  // namespace cfc::sched
