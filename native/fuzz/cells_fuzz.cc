// One lane, a doorbell and the room of waiting senders, in private memory: operations of several
// owners in any order, between which words change to anything.
//
// While nothing was changed, the ledger is held as well: what was accepted was acked, dropped, put
// away, or is still there.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "core/copy.h"
#include "core/doorbell.h"
#include "core/ring.h"
#include "core/room.h"
#include "tally.h"

namespace cfc::fuzz {
namespace {

using damage::kStrangeValues;
using damage::Must;

constexpr uint32_t kCells = 8;
constexpr uint32_t kOwners = 3;
constexpr uint32_t kSlots = 60;

struct Memory {
  LaneWords words;
  Cell cells[kCells];
  NativeMemory::Word wants[2 * kRoomClasses];
  NativeMemory::Half bell;
};

class Machine {
 public:
  Machine(const uint8_t* data, size_t size) : data_(data), left_(size) {
    lane_ = Lane(&memory_->words, memory_->cells, kCells);
    const uint64_t starts[] = {0, kCells * 3 + 5, (uint64_t{1} << 35) - 3, (uint64_t{1} << 31) - 2};
    const uint64_t start = starts[Byte() & 3];
    lane_.Initialize(start);
    wants_ = Wants(memory_->wants, kSlots);
    begun_at_ = static_cast<uint32_t>(start);
  }

  void Run() {
    while (left_ > 0) Step(Byte());
    if (changed_) {
      Tally::It().hit.fetch_add(1);
      return;
    }
    for (uint32_t i = 0; i < kOwners; ++i) lane_.RepairOwner(OwnerOf(i));
    lane_.FenceIncarnations(99);
    (void)Reclaim();
    const LaneCensus census = lane_.Census();
    const uint32_t acked = census.acked - begun_at_;
    Must(acked == acked_, "acks and counts differ");
    Must(accepted_ == acked_ + census.dropped + census.dead_lettered + put_away_ + census.ready,
         "the ledger does not add up");
  }

 private:
  static Owner OwnerOf(uint32_t index) {
    return MakeOwner(index % kOwners + 1, index % kOwners + 7);
  }

  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint64_t Long() {
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | Byte();
    return value;
  }

  uint32_t Reclaim() {
    return lane_.Reclaim([this](ChunkRef, uint64_t position, VoidReason reason) {
      (void)lane_.LeaveVerdict(position, reason);
    });
  }

  void Step(uint8_t what) {
    const Owner me = OwnerOf(what >> 6);
    switch (what & 31) {
      case 0:
      case 1:
      case 2: {
        uint64_t position;
        if (claims_ == kMost || lane_.TryClaim(me, AlwaysValid(), &position) != Status::kOk) break;
        const uint64_t body[3] = {position, position, position};
        CopyIn(&lane_.At(position).words[kPayload], body, 17 + (what >> 5));
        lane_.At(position).words[kReceipt].store(PackReceipt(lane_.LapOf(position), me, 0));
        claimed_[claims_++] = {me, position, 0};
        break;
      }
      case 3:
      case 4:
      case 5: {
        if (claims_ == 0) break;
        const Held claim = claimed_[--claims_];
        if (lane_.Commit(claim.owner, claim.position)) ++accepted_;
        break;
      }
      case 6: {
        if (claims_ == 0) break;
        const Held claim = claimed_[--claims_];
        lane_.Abort(claim.owner, claim.position);
        break;
      }
      case 7:
      case 8:
      case 9: {
        if (leases_ == kMost) break;
        const Taken taken = lane_.Take(
            me, what & 32 ? TakeFilter::kRepliesOnly : TakeFilter::kAll, [this] { return now_ms_; },
            &cursor_, &suspects_);
        if (taken.status != Status::kOk) break;
        char body[64];
        CopyOut(body, &lane_.At(taken.position).words[kPayload], 17 + (what >> 5));
        if (lane_.Holds(taken.position, taken.word)) {
          leased_[leases_++] = {me, taken.position, taken.word};
        }
        break;
      }
      case 10:
      case 11:
      case 12: {
        if (leases_ == 0) break;
        const Held lease = leased_[--leases_];
        const uint32_t reason = what >> 6;
        if (lane_.Settle(lease.position, lease.word, static_cast<VoidReason>(reason)) !=
            Status::kOk) {
          break;
        }
        if (reason == kAcked) ++acked_;
        if (reason == kAborted) ++put_away_;
        VoidReason verdict;
        (void)lane_.LeaveVerdict(lease.position, static_cast<VoidReason>(reason));
        (void)lane_.Verdict(lease.position, &verdict);
        break;
      }
      case 13: {
        if (leases_ == 0) break;
        const Held lease = leased_[--leases_];
        (void)lane_.GiveBack(lease.position, lease.word, what & 32 ? now_ms_ + 20 : 0);
        break;
      }
      case 14: {
        if (leases_ == 0) break;
        Held& lease = leased_[leases_ - 1];
        const uint64_t word = lane_.HandOver(lease.position, lease.word, what >> 5);
        if (word != 0) lease.word = word;
        break;
      }
      case 15:
      case 16:
        (void)Reclaim();
        break;
      case 17:
        now_ms_ += 200;
        (void)lane_.QuarantineHead(now_ms_);
        break;
      case 18:
        (void)lane_.RepairOwner(me);
        break;
      case 19:
        (void)lane_.Fence(me);
        break;
      case 20:
        (void)lane_.FenceIncarnations(what >> 5);
        break;
      case 21:
        lane_.Close();
        break;
      case 22:
        (void)lane_.Reopen();
        break;
      case 23:
        (void)lane_.Seal();
        (void)lane_.Drained();
        break;
      case 24:
        (void)lane_.DropHead();
        break;
      case 25:
        wants_.Announce(memory_->words.room, me, 1);
        (void)wants_.WantOf(me);
        break;
      case 26:
        wants_.Pass(memory_->words.room, 1, 1 + (what >> 6), [this](uint32_t slot) {
          Doorbell bell(&memory_->bell);
          bell.Ring([](bool) {});
          return slot % 2 == 0;
        });
        break;
      case 27:
        (void)wants_.Withdraw(me);
        break;
      case 28:
        if (what & 32) {
          (void)Doorbell(&memory_->bell).Park(what & 64);
        } else {
          Doorbell(&memory_->bell).Unpark();
        }
        break;
      case 29:
        (void)lane_.Census();
        (void)lane_.CountWaiting();
        (void)lane_.Depth();
        break;
      default:
        Change();
    }
  }

  // A word becomes anything.
  void Change() {
    const uint8_t which = Byte();
    const uint64_t value =
        which & 128 ? kStrangeValues[Byte() % std::size(kStrangeValues)] : Long();
    changed_ = true;
    switch (which & 15) {
      case 0:
        memory_->words.tail.store(value);
        break;
      case 1:
        memory_->words.head.store(value);
        break;
      case 2:
        memory_->words.voids[which >> 4 & 1].store(value);
        break;
      case 3:
        memory_->words.stall.store(value);
        break;
      case 4:
        memory_->words.room.store(value);
        break;
      case 5:
        memory_->bell.store(static_cast<uint32_t>(value));
        break;
      case 6:
        memory_->wants[value % std::size(memory_->wants)].store(value);
        break;
      case 7: {  // close to what stands there
        auto& state = memory_->cells[which >> 4 & 7].words[kState];
        state.store(state.load() ^ (value & 0x0000'0003'0000'03ff));
        break;
      }
      default:
        memory_->cells[which >> 4 & 7].words[(which & 7) % kCellWords].store(value);
    }
  }

  struct Held {
    Owner owner;
    uint64_t position;
    uint64_t word;
  };
  static constexpr uint32_t kMost = 32;

  const uint8_t* data_;
  size_t left_;
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();  // apart: ASan sees its bounds
  Lane lane_;
  Wants wants_;
  Suspects suspects_;
  Held claimed_[kMost] = {};
  Held leased_[kMost] = {};
  uint32_t claims_ = 0, leases_ = 0;
  uint32_t accepted_ = 0, acked_ = 0, put_away_ = 0;
  uint32_t begun_at_ = 0;
  uint32_t now_ms_ = 1000;
  uint64_t cursor_ = 0;
  bool changed_ = false;
};

}  // namespace
}  // namespace cfc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfc::fuzz;
  using namespace cfc::damage;
  static const bool begun = (Tally::Begin("cells"), true);
  (void)begun;
  Tally::It().injected.fetch_add(1);
  Machine(data, size).Run();
  return 0;
}
