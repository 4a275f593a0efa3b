// State of the room model: waiting senders, those who free cells, and the words between them; the
// bounds of a configuration; the rules that can be broken on purpose.
#ifndef CFC_NATIVE_MODEL_ROOM_STATE_H_
#define CFC_NATIVE_MODEL_ROOM_STATE_H_

#include <cstdint>

namespace cfc::model::room {

inline constexpr int kMaxSenders = 3;
inline constexpr int kMaxFreers = 2;

enum class Flaw : uint8_t {
  kNone,
  kClassBeforeWant,
  kClassKeepsEpoch,
  kNoSecondTry,
  kTryBeforePark,
  kClassClearedBlindly,
  kWokenPassesNothingOn,
  kQuitterPassesNothingOn,
  kQuitterLooksFirst,
  kRepairPassesNothingOn,
  kRepairRingsTheDead,
  kRingBeforeFree,
  kComesWithoutWant,
  kComesBeforeFree,
};

struct Options {
  int senders = 2;
  int messages = 1;  // per sender
  int freers = 1;
  int cells = 1;
  int classes = 2;   // sender i is in class i mod classes
  bool full = true;  // the lane is, to begin with
  int sender_deaths = 0;
  int freer_deaths = 0;
  bool trusts = false;  // a freer rings nobody while the sender that it rang last is on its way
  int quits = 0;        // senders that reach their deadline while they sleep
  Flaw flaw = Flaw::kNone;
};

// Rings one wanting sender. Run by freers, by senders and by the reaper.
enum class RingerAt : uint8_t {
  kOff,
  kLastWant,
  kLastBell,
  kLoadRoom,
  kWant,
  kBell,
  kCas,
  kWake,
  kRung,
  kClear
};

struct Ringer {
  RingerAt at;
  uint8_t room_epoch;  // the room word as loaded
  uint8_t classes;
  uint8_t tried;   // classes looked at
  uint8_t group;   // the class in hand
  uint8_t slot;    // the sender in hand
  uint8_t wanted;  // somebody in this class wants
  uint8_t bell_epoch;
};

enum class SenderAt : uint8_t {
  kIdle,
  kTry,
  kWant,
  kClass,
  kPark,
  kTryParked,
  kWait,
  kAsleep,
  kUnpark,
  kDropWant,
  kLook,
  kPassOn
};

struct Sender {
  uint8_t alive;
  SenderAt at;
  uint8_t done;      // messages sent or given up
  uint8_t has_room;  // the message in hand was placed
  uint8_t quits;     // the deadline has come
  uint8_t want;
  uint8_t epoch;  // its doorbell
  uint8_t parked;
  uint8_t rung;
  uint8_t ticket;
  uint8_t waiting;
};

struct State {
  uint8_t used;
  uint8_t room_epoch;
  uint8_t room_classes;
  Sender senders[kMaxSenders];
  uint8_t freer_alive[kMaxFreers];
  uint8_t last[kMaxFreers];                      // 1 + the sender that this freer rang last
  Ringer ringers[kMaxSenders + kMaxFreers + 1];  // one for each sender, each freer, the reaper
  uint8_t dead_senders;                          // bit set: died and not repaired yet
  uint8_t dead_freers;                           // count
  uint8_t sender_deaths;
  uint8_t freer_deaths;
  uint8_t quits;
};

}  // namespace cfc::model::room

#endif  // CFC_NATIVE_MODEL_ROOM_STATE_H_
