// State of the reaper model: slots, locks, cells and processes; the bounds of a
// configuration; the rules that can be broken on purpose.
#ifndef CFC_NATIVE_MODEL_REAPER_STATE_H_
#define CFC_NATIVE_MODEL_REAPER_STATE_H_

#include <cstdint>
#include <cstring>

namespace cfc::model::reaper {

inline constexpr int kMaxSlots = 3;
inline constexpr int kMaxCells = 2;
inline constexpr int kMaxActors = 3;

enum class Flaw : uint8_t {
  kNone,
  kLiveBeforeLock,
  kLoserKeepsLock,
  kReapIgnoresGeneration,
  kFreeKeepsGeneration,
  kFreeBeforeRepair,
  kFreeIsStored,
  kRepairIsStored,
  kOwnerWithoutGeneration,
  kReaperWithoutGeneration,
  kNoTakeOver,
  kTakeOverGoesOnHalfWay,
  kNoRescue,
};

struct Options {
  int slots = 3;
  int cells = 2;
  int actors = 3;
  int works = 1;                  // claims per process
  int deaths = 1;                 // budget
  int births = 0;                 // budget: new processes in place of dead ones
  int takeovers_from_living = 0;  // budget: harmless, as every step is repeatable
  Flaw flaw = Flaw::kNone;
};

enum SlotKind : uint8_t { kFree, kLive, kReaping };

struct SlotWord {
  uint8_t generation;
  uint8_t kind;
  uint8_t reaper;  // slot + 1
  uint8_t reaper_generation;
};

struct CellWord {
  uint8_t lap;
  uint8_t owner;  // slot + 1; 0: free
  uint8_t generation;
};

template <typename T>
bool Same(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

enum class At : uint8_t {
  kJoin,
  kLock,
  kLive,
  kUnlock,
  kRescueLock,
  kRescueLook,
  kIdle,
  kClaim,
  kFinish,
  kReapLock,
  kReaperSlot,
  kReaperLock,
  kReap,
  kCell,
  kCellCas,
  kFreeSlot
};

struct Actor {
  uint8_t alive;
  At at;
  uint8_t slot;  // mine, or the one that I try to get; + 1
  uint8_t generation;
  uint8_t member;  // LIVE in that slot
  uint8_t rescue;  // holds the lock of a dead slot, to reap it
  uint8_t works;
  uint8_t target;  // slot to reap
  uint8_t cell;
  SlotWord seen;
  CellWord cell_seen;
};

struct State {
  SlotWord slots[kMaxSlots];
  uint8_t locks[kMaxSlots];  // actor + 1; the kernel's, not in shared memory
  CellWord cells[kMaxCells];
  Actor actors[kMaxActors];
  uint8_t deaths;
  uint8_t births;
  uint8_t takeovers;
};

}  // namespace cfc::model::reaper

#endif  // CFC_NATIVE_MODEL_REAPER_STATE_H_
