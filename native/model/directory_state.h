// State of the directory model: one chain of entries and those who insert into it; the bounds of a
// configuration; the rules that can be broken on purpose.
#ifndef CFC_NATIVE_MODEL_DIRECTORY_STATE_H_
#define CFC_NATIVE_MODEL_DIRECTORY_STATE_H_

#include <cstdint>
#include <cstring>

namespace cfc::model::directory {

inline constexpr int kMaxEntries = 4;
inline constexpr int kMaxActors = 3;

enum class Flaw : uint8_t {
  kNone,
  kNoSecondScan,
  kSecondScanStopsAtMine,
  kStallIsFreed,
  kPublishIsStored,
  kFreeKeepsGeneration,
  kLostQuarantineIsIgnored,
  kNoQuarantineOfHigher,
  kNameWithoutSecondLoad,
  kDeadQuarantineIsKept,
  kLiveBeforeName,
};

struct Options {
  int entries = 3;
  int actors = 2;
  int inserts = 1;  // per actor; each but the last is removed again
  // The name that each actor inserts first, and the one that it inserts after that.
  uint8_t names[kMaxActors] = {1, 1, 1};
  uint8_t later[kMaxActors] = {1, 1, 1};
  int deaths = 0;
  int stops = 0;       // budget: actors that stop for ever without dying
  int impatience = 1;  // budget: claims of actors that run, quarantined in the first scan
  Flaw flaw = Flaw::kNone;
};

enum Kind : uint8_t { kFree, kClaimed, kLive, kQuarantined };

struct Word {
  uint8_t generation;
  uint8_t kind;
  uint8_t owner;  // actor + 1
  uint8_t hash;
};

inline bool operator==(const Word& a, const Word& b) {
  return std::memcmp(&a, &b, sizeof(Word)) == 0;
}

// Names 1, 2 and 4 share a hash; 4 begins like 1 and ends like 2.
inline uint8_t FirstHalf(uint8_t name) { return name == 4 ? 1 : name; }
inline uint8_t SecondHalf(uint8_t name) { return name == 4 ? 2 : name; }
inline uint8_t HashOf(uint8_t name) { return name == 3 ? 2 : 1; }

struct Entry {
  Word word;
  uint8_t name[2];   // two halves
  uint8_t intended;  // what its claimer means to write; nobody reads this
};

enum class At : uint8_t {
  kScan,
  kName1,
  kName2,
  kRecheck,
  kFreeDead,
  kPatience,
  kClaim,
  kWrite1,
  kWrite2,
  kPublish,
  kQuarantineHigher,
  kGiveBack,
  kRemove,
  kDone
};

struct Actor {
  uint8_t alive;
  uint8_t stopped;
  At at;
  uint8_t inserted;
  uint8_t second;      // in the second scan
  uint8_t position;    // of the entry looked at
  uint8_t first_free;  // + 1; 0: none met
  uint8_t busy;        // met a claim of the living: no claim of mine this time
  uint8_t mine;        // + 1
  uint8_t half;
  uint8_t exists;    // what to say once mine is given back
  uint8_t was_live;  // the name was LIVE at some moment of this call
  Word seen;
  Word free;  // the free entry's word
  Word own;
};

struct State {
  Entry entries[kMaxEntries];
  Actor actors[kMaxActors];
  uint8_t deaths;
  uint8_t stops;
  uint8_t impatience;
};

}  // namespace cfc::model::directory

#endif  // CFC_NATIVE_MODEL_DIRECTORY_STATE_H_
