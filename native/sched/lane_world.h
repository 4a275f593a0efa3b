// LaneWorld: one lane of the real header on SchedMemory, and what its processes do with it.
//
// A message is who sent it and its how-many-th it is, as a body of two words that CopyIn and
// CopyOut carry, and as a reference to a chunk that is never looked up. Each process notes what it
// was told in a log of its own; Settle adds up the logs and what is left in the lane.
#pragma once

#include <array>
#include <cstdint>
#include <new>
#include <string>

#include "core/copy.h"
#include "core/ring.h"
#include "memory.h"

namespace cfc::sched {

using SchedLane = LaneOf<SchedMemory>;
constexpr uint32_t kMostCells = 4;
constexpr uint32_t kMostNotes = 12;

// What one process was told.
struct Log {
  struct Note {
    uint32_t message = 0;
    uint32_t attempt = 0;
  };
  std::array<Note, kMostNotes> delivered;
  std::array<uint32_t, kMostNotes> accepted;
  std::array<uint32_t, kMostNotes> acked;
  uint32_t deliveries = 0, acceptances = 0, acks = 0, tries = 0, torn = 0, refused = 0;
  uint32_t drained = 0;
  uint64_t known_tail = 0;  // as MailboxView keeps it for Reclaim
  uint32_t rings = 0;       // of a sender that waits for a verdict
};

constexpr uint32_t Message(uint32_t sender, uint32_t number) { return sender << 4 | number; }
// Of a process: its owner word. Slots and generations as in life.
constexpr Owner OwnerOf(uint32_t process) { return MakeOwner(process + 1, process + 3); }

class LaneWorld {
 public:
  // watched: others may come in between any two words of a body; else only between protocol words.
  void SetUp(uint32_t cells, uint64_t position, bool watched = false) {
    words_ = new (words_memory_) LaneWordsOf<SchedMemory>();
    cells_ = reinterpret_cast<CellOf<SchedMemory>*>(cells_memory_);
    for (uint32_t i = 0; i < cells; ++i) new (&cells_[i]) CellOf<SchedMemory>();
    for (uint32_t i = 0; i < cells && !watched; ++i) {
      for (const uint32_t word : {kSlab + 0u, kNotBefore + 0u, kPayload + 0u, kPayload + 1u}) {
        cells_[i].words[word].MakeQuiet();
      }
    }
    lane_ = SchedLane(words_, cells_, cells);
    position_ = position;
    lane_.Initialize(position);
    logs_ = {};
    now_ms_ = 1000;
  }
  SchedLane& lane() { return lane_; }
  Log& log(uint32_t process) { return logs_[process]; }
  SchedMemory::Word& room() { return words_->room; }

  // ---- what a process does

  void Fill(uint64_t position, uint32_t message) {
    auto& words = lane_.At(position).words;
    PutWord(words[kSlab], message);
    const uint64_t body[2] = {message, ~uint64_t{message}};
    CopyIn(&words[kPayload], body, sizeof body);
  }
  bool Commit(uint32_t process, uint64_t position, uint32_t message) {
    if (!lane_.Commit(OwnerOf(process), position)) return false;
    Log& log = logs_[process];
    log.accepted[log.acceptances++] = message;
    return true;
  }
  // One message; again at another place where the claim was set aside.
  Status Send(uint32_t process, uint32_t number, bool drop = false) {
    const uint32_t message = Message(process, number);
    logs_[process].tries = number;
    for (int tries = 0; tries < 3; ++tries) {
      uint64_t position = 0;
      const Status status = lane_.TryClaim(OwnerOf(process), AlwaysValid(), &position);
      if (status == Status::kFull && drop && (Reclaim(process) > 0 || lane_.DropHead())) continue;
      if (status != Status::kOk) {
        ++logs_[process].refused;
        return status;
      }
      Fill(position, message);
      if (Commit(process, position, message)) return Status::kOk;
      Reclaim(process);
    }
    return Status::kBusy;
  }

  // Takes and copies. Nothing delivered: kEmpty; position and word say what was leased.
  Taken Take(uint32_t process, TakeFilter filter = TakeFilter::kAll) {
    uint64_t cursor = 0;
    const Taken taken = lane_.Take(
        OwnerOf(process), filter, [this] { return now_ms_; }, &cursor, nullptr);
    if (taken.status != Status::kOk) return taken;
    uint64_t body[2];
    CopyOut(body, &lane_.At(taken.position).words[kPayload], sizeof body);
    if (!lane_.Holds(taken.position, taken.word)) {
      Taken nothing;
      return nothing;
    }
    Log& log = logs_[process];
    if (body[0] != ~body[1]) ++log.torn;
    log.delivered[log.deliveries++] = {static_cast<uint32_t>(body[0]), CellAttempt(taken.word)};
    return taken;
  }
  Status Ack(uint32_t process, const Taken& taken) {
    return Ack(process, taken.position, taken.word);
  }
  Status Ack(uint32_t process, uint64_t position, uint64_t word) {
    Log& log = logs_[process];
    const Status status = lane_.Settle(position, word, kAcked);
    if (status == Status::kOk) log.acked[log.acks++] = log.delivered[log.deliveries - 1].message;
    return status;
  }
  void TakeAndAck(uint32_t process) {
    const Taken taken = Take(process);
    if (taken.status == Status::kOk) {
      Ack(process, taken);
      Reclaim(process);
    }
  }
  uint32_t Reclaim(uint32_t process) {
    return lane_.Reclaim([](ChunkRef, uint64_t, VoidReason) {}, &logs_[process].known_tail);
  }

  uint64_t Remembered() const {
    uint64_t hash = 0;
    const auto* words = reinterpret_cast<const uint32_t*>(logs_.data());
    for (size_t i = 0; i < sizeof logs_ / 4; ++i) {
      if (words[i] != 0) hash += Mix(i, words[i]);
    }
    return hash;
  }

  // ---- before the fibers

  // A message of `process` that waits already.
  void Wait(uint32_t process, uint32_t number) {
    if (Send(process, number) != Status::kOk) OutOf("cells");
  }

  // ---- at the end

  // Reads what is left, frees everything, and holds the ledger against the lane. dead: a process
  // that died (its cells are settled here, if nobody did it), or kNoFiber.
  std::string Settle(int dead) {
    constexpr uint32_t kAfter = kMostFibers;
    if (dead != kNoFiber) lane_.RepairOwner(OwnerOf(static_cast<uint32_t>(dead)));
    for (uint32_t i = 0; i <= lane_.capacity(); ++i) {
      TakeAndAck(kAfter);
      Reclaim(kAfter);
    }
    return CheckLedger(dead);
  }

  std::string CheckLedger(int dead) {
    std::array<uint32_t, (kMostFibers + 1) << 4> accepted = {};
    std::array<uint32_t, (kMostFibers + 1) << 4> acked = {};
    std::array<uint32_t, (kMostFibers + 1) << 4> first = {};
    uint32_t acks = 0;
    for (const Log& log : logs_) {
      if (log.torn != 0) return "a torn body was delivered";
      for (uint32_t i = 0; i < log.acceptances; ++i) ++accepted[log.accepted[i]];
      for (uint32_t i = 0; i < log.acks; ++i) ++acked[log.acked[i]];
      acks += log.acks;
      for (uint32_t i = 0; i < log.deliveries; ++i) {
        if (log.delivered[i].message >= first.size()) return "a strange body was delivered";
        if (log.delivered[i].attempt == 0) ++first[log.delivered[i].message];
      }
    }
    const LaneCensus census = lane_.Census();
    uint32_t lost = 0;
    uint32_t died_acking = 0;
    for (uint32_t message = 0; message < accepted.size(); ++message) {
      const bool of_dead = dead != kNoFiber && message >> 4 == static_cast<uint32_t>(dead);
      const uint32_t tried = logs_[message >> 4].tries >= (message & 15) && (message & 15) > 0;
      if (accepted[message] > 1) return "one message was accepted twice";
      if (acked[message] > 1) return "one message was acked twice";
      if (first[message] > 1) return "a message was delivered twice, and the second not flagged";
      if (acked[message] && !accepted[message] && !(of_dead && tried)) {
        return "a message was delivered that was not accepted";
      }
      if (acked[message] || !accepted[message]) continue;
      // The last one that a dead reader was delivered may have been acked by it.
      if (dead != kNoFiber && DeliveredLast(logs_[static_cast<uint32_t>(dead)], message)) {
        ++died_acking;
      } else {
        ++lost;
      }
    }
    if (lost > census.dropped) return "an accepted message is lost";
    if (lost < census.dropped) return "a message was dropped and delivered";
    if (census.claimed + census.quarantined + census.ready + census.leased + census.held +
            census.done !=
        0) {
      return "something is left in the lane";
    }
    if (census.head != census.tail) return "head and tail differ";
    const uint32_t counted = census.acked - static_cast<uint32_t>(position_);
    if (counted < acks || counted > acks + died_acking) return "the counts are wrong";
    return "";
  }

  // First deliveries to one reader come in the order in which their sender sent them.
  std::string CheckOrder(uint32_t reader) {
    std::array<uint32_t, kMostFibers + 1> last = {};
    const auto look = [&](const Log& log) {
      for (uint32_t i = 0; i < log.deliveries; ++i) {
        if (log.delivered[i].attempt != 0) continue;
        const uint32_t sender = log.delivered[i].message >> 4;
        const uint32_t number = log.delivered[i].message & 15;
        if (sender >= last.size()) return false;
        if (number <= last[sender]) return false;
        last[sender] = number;
      }
      return true;
    };
    if (look(logs_[reader]) && look(logs_[kMostFibers])) return "";
    return "a second message overtook a first";
  }

  uint32_t now_ms_ = 1000;

 private:
  static bool DeliveredLast(const Log& log, uint32_t message) {
    return log.deliveries > 0 && log.delivered[log.deliveries - 1].message == message;
  }

  alignas(LaneWordsOf<SchedMemory>) unsigned char words_memory_[sizeof(LaneWordsOf<SchedMemory>)];
  alignas(128) unsigned char cells_memory_[kMostCells * sizeof(CellOf<SchedMemory>)];
  LaneWordsOf<SchedMemory>* words_ = nullptr;
  CellOf<SchedMemory>* cells_ = nullptr;
  SchedLane lane_;
  uint64_t position_ = 0;
  std::array<Log, kMostFibers + 1> logs_;
};

}  // namespace cfc::sched
