// State of the doorbell model: senders, sleepers and the words between them; the bounds of a
// configuration; the rules that can be broken on purpose.
#ifndef CFC_NATIVE_MODEL_DOORBELL_STATE_H_
#define CFC_NATIVE_MODEL_DOORBELL_STATE_H_

#include <cstdint>

namespace cfc::model::doorbell {

inline constexpr int kMaxRingers = 3;
inline constexpr int kMaxSleepers = 2;
inline constexpr int kFifoRoom = 2;

enum class Flaw : uint8_t {
  kNone,
  kClearThenWake,
  kRingKeepsEpoch,
  kParkKeepsEpoch,
  kParkKeepsRung,
  kRungBeforeWake,
  kRungIgnoresEpoch,
  kRingerClearsParked,
  kRingBeforeCommit,
  kNoSecondLook,
  kDrainAfterPark,
  kSharedWord,
  kLeaverLooksFirst,
  kLeaverPassesNothingOn,
  kRepairOfSleeperRingsNobody,
  kRepairRingsTheDead,
};

struct Options {
  int ringers = 2;
  int messages = 2;  // per ringer
  int sleepers = 1;
  bool loop = false;  // sleepers poll a FIFO instead of waiting on the word
  int ringer_deaths = 0;
  int sleeper_deaths = 0;
  int leaves = 0;    // sleepers that stop reading, with messages left or after a time-out
  int timeouts = 0;  // waits that end for no reason
  Flaw flaw = Flaw::kNone;
};

struct Word {
  uint8_t epoch;
  uint8_t parked;
  uint8_t rung;
};

enum class RingerAt : uint8_t { kIdle, kCommit, kLoad, kCas, kWake, kRung, kClear };

// A sender; the last one is the reaper, which only rings.
struct Ringer {
  uint8_t alive;
  RingerAt at;
  uint8_t sent;
  uint8_t position;  // of the message in hand
  uint8_t target;    // the sleeper it looks at
  uint8_t epoch;
};

enum class SleeperAt : uint8_t {
  kScan,
  kDrain,
  kPark,
  kLook,
  kWait,
  kAsleep,
  kUnpark,
  kLeave,
  kLastLook,
  kLateUnpark,
  kPassOn
};

struct Sleeper {
  uint8_t alive;
  SleeperAt at;
  uint8_t ticket;   // epoch of its last park
  uint8_t waiting;  // in the kernel, on the futex
  uint8_t bytes;    // in its FIFO
  uint8_t leaving;
  uint8_t gone;
};

struct State {
  Word words[kMaxSleepers];
  uint8_t committed;  // messages in the mailbox so far
  uint8_t seen;       // of these, taken by some sleeper
  uint8_t returned;   // positions whose send has returned, one bit each
  Ringer ringers[kMaxRingers + kMaxSleepers + 1];  // senders, one for each sleeper, the reaper
  Sleeper sleepers[kMaxSleepers];
  uint8_t dead_ringers;   // died and not yet repaired
  uint8_t dead_sleepers;  // likewise
  uint8_t ringer_deaths;
  uint8_t sleeper_deaths;
  uint8_t leaves;
  uint8_t timeouts;
};

}  // namespace cfc::model::doorbell

#endif  // CFC_NATIVE_MODEL_DOORBELL_STATE_H_
