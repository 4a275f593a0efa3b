// State of the topic model: the log, the rows, publishers, subscribers and a repairer; the bounds
// of a configuration; the rules that can be broken on purpose.
#ifndef CFC_NATIVE_MODEL_TOPIC_STATE_H_
#define CFC_NATIVE_MODEL_TOPIC_STATE_H_

#include <cstdint>
#include <cstring>

namespace cfc::model::topic {

inline constexpr int kCells = 2;
inline constexpr int kMaxPublishers = 2;
inline constexpr int kMaxSubscribers = 2;
inline constexpr int kMaxPositions = 16;

enum class Flaw : uint8_t {
  kNone,
  kJoinLoadsTailOnce,
  kScanLoadsTailLast,
  kScanIgnoresJoining,
  kBaseHoldsNothing,
  kCountAfterFree,
  kHoleNotCounted,
  kNoValidation,
  kFreeIgnoresGate,
  kFreeIsStored,
  kRetireIsStored,
  kHeadIsStored,
  kClaimIsSkipped,
  kHoleBeyondTailIsRead,
  kLookBeforeBit,
  kBitKeepsEpoch,
  kJoiningHoldsNoStart,
  kRepairRingsNobody,
  kRepairKeepsRow,
};

struct Options {
  int publishers = 2;
  int messages = 2;             // of the first publisher; the others publish one less, at least one
  bool last_sends_one = false;  // whatever the first publishes
  int subscribers = 1;          // the first is reliable, the second lossy
  bool lossy = false;           // all are
  bool late = false;            // they subscribe at any time; else before anything is published
  int publisher_deaths = 0;
  int subscriber_deaths = 0;
  int repairer_deaths = 0;
  int quarantines = 0;
  int lags = 0;
  bool sleep = false;  // who finds nothing sleeps until it is rung; else it looks again
  Flaw flaw = Flaw::kNone;
};

enum CellKind : uint8_t { kFree, kClaimed, kHole, kReady, kRetired, kAborted };
enum RowKind : uint8_t { kRowFree, kRowClaimed, kJoining, kReliable, kLossy, kLagged };

struct CellWord {
  uint8_t lap;
  uint8_t kind;
  uint8_t owner;  // publisher + 1
};

template <typename T>
bool Same(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

struct Cell {
  CellWord word;
  uint8_t body;
};

struct Row {
  uint8_t kind;
  uint8_t cursor;
  uint8_t start;
  uint8_t base_known;
  uint8_t base;
};

// How many positions before `position` were aborted.
struct Tally {
  uint8_t position;
  uint8_t count;
};

struct Bits {
  uint8_t epoch;
  uint8_t rows;
};

enum class PublisherAt : uint8_t {
  kIdle,
  kTail,
  kCell,
  kHelpTail,
  kClaim,
  kTailUp,
  kBody,
  kCommit,
  kGiveBack,
  kRingLoad,
  kRingOne,
  kRingClear,
  kHead,
  kHeadCell,
  kGate,
  kRetire,
  kCountLoad,
  kCountCell,
  kCountCas,
  kFreeCas,
  kHoleCas,
  kFollowTail,
  kFollowHead,
  kScanTail,
  kRowWord,
  kRowCursor,
  kRowStart,
  kBaseTally,
  kBaseHead,
  kBaseAgain,
  kGateUp
};

struct Publisher {
  uint8_t alive;
  PublisherAt at;
  uint8_t sent;
  uint8_t position;
  uint8_t joined;  // subscribers that had joined when this publish began, one bit each
  CellWord seen;
  uint8_t head;
  uint8_t row;
  uint8_t least;
  uint8_t base_head;
  Tally tally;
  Bits bits;
  uint8_t asleep;
};

enum class SubscriberAt : uint8_t {
  kOutside,
  kJoining,
  kTailAgain,
  kStart,
  kCursor,
  kActive,
  kMine,
  kCell,
  kCopy,
  kValidate,
  kTailOfHole,
  kAdvance,
  kFollowHead,
  kFollowCell,
  kFollowTail,
  kFollowUp,
  kTally,
  kPassed,
  kTallyAgain,
  kRejoin,
  kPark,
  kBit,
  kLook,
  kAsleep
};

struct Subscriber {
  uint8_t alive;
  SubscriberAt at;
  uint8_t next;
  uint8_t aborted;   // before next: since its start, or of all
  uint8_t absolute;  // which of the two
  uint8_t lagged;    // ever
  uint8_t parked;    // 1, or 2 once it was rung
  uint8_t body;
  CellWord seen;
  uint8_t head;
  Tally tally;
};

struct Repairer {
  uint8_t busy;  // publisher + 1, or 0x10 + subscriber + 1
  uint8_t step;
};

struct State {
  Cell cells[kCells];
  uint8_t head;
  uint8_t tail;
  uint8_t gate;
  Tally tally;
  Bits bits;
  Row rows[kMaxSubscribers];
  Publisher publishers[kMaxPublishers];
  Subscriber subscribers[kMaxSubscribers];
  Repairer repairer;
  uint8_t repaired;                  // the dead with whom repair is through: publishers, then 0x10
  uint8_t published[kMaxPositions];  // what was committed where; nobody reads this
  uint8_t publisher_deaths;
  uint8_t subscriber_deaths;
  uint8_t repairer_deaths;
  uint8_t quarantines;
  uint8_t lags;
};

}  // namespace cfc::model::topic

#endif  // CFC_NATIVE_MODEL_TOPIC_STATE_H_
