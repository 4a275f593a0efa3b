// State of one mailbox lane as the checker sees it: cells, head, tail, the tally of positions that
// were never acked, and every program counter and register of its producers and readers.
#ifndef CFC_NATIVE_MODEL_MAILBOX_STATE_H_
#define CFC_NATIVE_MODEL_MAILBOX_STATE_H_

#include <cstdint>
#include <cstring>

#include "search.h"

namespace cfc::model::mailbox {

inline constexpr int kMaxCells = 3;
inline constexpr int kMaxProducers = 3;
inline constexpr int kMaxReaders = 2;
inline constexpr int kMaxTokens = 4;

// One rule broken on purpose; kNone is the protocol.
enum class Flaw : uint8_t {
  kNone,
  kReclaimStoresFree,
  kHeadIsStored,
  kAckStoresDone,
  kCommitStoresReady,
  kNackStoresReady,
  kSkipWithoutGuard,
  kSkipTwoClaims,
  kNoValidation,
  kRepeatUnmarked,
  kHeadBeforeFree,
  kTailNotHelped,
  kLeaseToAgentAtOnce,
  kHandOverToCurrentIncarnation,
  kStallFreedByTimeout,
  kLateOwnerStoresDone,
  kHoleKeepsItsLap,
  kPlainTally,
  kTallyAfterFree,
  kBitWithoutSeal,
  kReissueFreesCellFirst,
  kReissueBumpsGenerationLast,
  kProducerReadsGenerationFirst,
  kReaderIgnoresGeneration,
  kCloserIgnoresGeneration,
  kReopenWithoutSeal,
  kDropBehindHead,
  kDeadLetterAfterDone,
  kCursorPassesClaim,
  kCursorNeverReturns,
  kBatchCommitsAsItClaims,
  kBatchGoesOnAfterRevoke,
};

// Bounds of one configuration. Budgets count faults over the whole run.
struct Options {
  int cells = 2;
  int producers = 2;
  int messages = 1;  // per producer
  int readers = 2;
  int batch = 1;                     // messages that a producer claims together; 1 or 2
  int producer_deaths = 0;           // budget
  int reader_deaths = 0;             // budget
  int stops = 0;                     // budget: producers that stop for ever without dying
  int quarantines = 0;               // budget: claims revoked although their owner lives and runs
  int fences = 0;                    // budget: leases taken from readers that live on
  int drops = 0;                     // budget: drop-oldest by a sender that finds the lane full
  int closes = 0;                    // budget
  int reissues = 0;                  // 0 or 1: a drained mailbox gets a new generation
  bool tail_has_generation = false;  // the generation is part of the tail word
  int reopens = 0;                   // budget: a closed lane is opened again, drained or not
  bool hole_helps_tail = false;      // a hole at an empty lane's head is passed, not waited for
  int batch_retries = 1;             // of a batch that found no room; then its sender gives up
  bool shell = false;  // readers are short-lived processes of one agent: hand-over to HELD
  bool defer = false;  // a reader may keep a lease and go on reading: acks in any order
  bool nack = false;
  int attempt_limit = 14;  // dead-lettered at this attempt; attempts saturate one above it
  bool cursor = false;     // readers start their scan at a private cursor
  Flaw flaw = Flaw::kNone;
};

enum Kind : uint8_t { kFree, kClaimed, kQuarantined, kReady, kLeased, kHeld, kSealed, kDone };

// Owners: producers from 1, readers from 0x20, incarnations of the agent from 0x40. A cell that
// is DONE has the reason in their place.
inline constexpr uint8_t kFirstProducer = 1;
inline constexpr uint8_t kFirstReader = 0x20;
inline constexpr uint8_t kFirstIncarnation = 0x40;
enum Reason : uint8_t { kAcked = 0xA0, kAborted, kDropped, kDeadLettered };

struct Word {
  uint8_t lap;
  uint8_t attempt;
  uint8_t kind;
  uint8_t owner;
};

inline bool operator==(const Word& a, const Word& b) {
  return std::memcmp(&a, &b, sizeof(Word)) == 0;
}

// `word` with another kind and owner, in the same lap and attempt.
inline Word With(Word word, Kind kind, uint8_t owner) {
  word.kind = kind;
  word.owner = owner;
  return word;
}

// A body is written and read in two halves, so that a torn copy shows.
struct Cell {
  Word word;
  uint8_t body[2];
};

enum class ProducerAt : uint8_t {
  kIdle,
  kLoadTail,
  kLoadGeneration,
  kLoadHead,  // only where holes keep their lap
  kLoadCell,
  kClaim,
  kHelpMine,
  kHelpOther,
  kWriteFirst,
  kWriteSecond,
  kCommit,
  kCommitAhead,
  kAbort,
  kAbortLate,
  kDrop,
};

struct Producer {
  uint8_t alive;
  uint8_t stopped;
  ProducerAt at;
  uint8_t sent;      // messages accepted or refused so far
  uint8_t group;     // first message of the batch in hand
  uint8_t claims;    // cells claimed and not yet committed or given back
  uint8_t ahead;     // 1: the message after the next is accepted already; only a flaw does that
  uint8_t retries;   // times that this batch found no room
  uint8_t no_room;   // 1: it did so just now
  uint8_t claim[2];  // their positions, in order
  uint8_t tail;
  uint8_t head;
  uint8_t generation;  // of the mailbox it looked up
  Word seen;
};

enum class ReaderAt : uint8_t {
  kIdle,
  kLoadHead,
  kPeekHead,
  kScan,
  kScanSealed,
  kGuard,
  kTakeGeneration,
  kTake,
  kCopyFirst,
  kCopySecond,
  kValidate,
  kSettle,
  kDeadLetterPush,
  kDeadLetterDone,
  kHandOver,
  kTokenAck,
  kTokenNack,
  kRepair,
  kInspectHead,
  kHoleTail,
  kTally,
  kTallyCas,
  kFree,
  kMoveHole,
  kHelpTail,
  kHead,
  kQuarantine,
  kEarlyHead,
  kCloseLoad,
  kCloseGeneration,
  kCloseCas,
  kSealLoad,
  kSealCas,
  kSealHelp,
  kReissueCell,
  kReissueTail,
  kReissueBump,
  kReissueOpen,
  kReissueEarlyFree,
  kOpenTail,
  kOpenCell,
  kOpenSeal,
  kOpenSwap,
};

struct Reader {
  uint8_t alive;
  ReaderAt at;
  uint8_t head;
  uint8_t position;
  uint8_t skipped;  // positions of claimed cells passed, +1; 0: none
  uint8_t first_half;
  uint8_t id;
  uint8_t cursor;       // private; lives from one take to the next
  uint8_t generation;   // of the mailbox it looked up
  uint8_t incarnation;  // of the agent that it belongs to
  uint8_t tally_at;
  uint8_t tally;
  Word seen;
  Word next;  // what to store; while scanning: the word of the skipped cell
};

// What the holder of a delivered message keeps until it acks or nacks.
struct Token {
  Word word;
  uint8_t position;
  uint8_t id;           // 0: none
  uint8_t incarnation;  // of the process that printed it
};

struct State {
  Cell cells[kMaxCells];
  uint8_t head;
  uint8_t tail;
  uint8_t closing;      // top bit of the tail
  uint8_t generation;   // of the mailbox
  uint8_t incarnation;  // of the agent
  uint8_t tally_at;     // tally word: last position counted, +1
  uint8_t tally;        // and how many
  Producer producers[kMaxProducers];
  Reader readers[kMaxReaders];
  Token tokens[kMaxTokens];
  // What happened, one bit a message.
  uint8_t accepted;
  uint8_t refused;
  uint8_t taken;
  uint8_t acked;
  uint8_t dropped;
  uint8_t dead_pushed;
  uint8_t dead_lettered;
  uint8_t second_generation;  // accepted by the reissued mailbox
  uint8_t closed;             // generations that were closed, one bit each
  uint8_t drained;            // somebody could have seen the seal at the head
  // Budgets used.
  uint8_t producer_deaths;
  uint8_t reader_deaths;
  uint8_t stops;
  uint8_t quarantines;
  uint8_t fences;
  uint8_t drops;
  uint8_t closes;
  uint8_t reopens;
};

// One step in the making: a copy of the state, changed by at most one shared access.
struct Move {
  State s;
  const char* what = "";
  const char* violation = nullptr;
  Edge edge = Edge::kNormal;

  void Fail(const char* why) {
    if (violation == nullptr) violation = why;
  }
};

// Rules that producers and readers share.
class Lane {
 public:
  explicit Lane(const Options& options) : options_(options) {}

  const Options& options() const { return options_; }
  bool Has(Flaw flaw) const { return options_.flaw == flaw; }
  uint8_t LapOf(int position) const { return static_cast<uint8_t>(position / options_.cells); }
  Cell& At(State& s, int position) const { return s.cells[position % options_.cells]; }
  const Cell& At(const State& s, int position) const { return s.cells[position % options_.cells]; }
  uint8_t IdOf(int producer, int message) const {
    return static_cast<uint8_t>(1 + producer * options_.messages + message);
  }
  static uint8_t Bit(int id) { return static_cast<uint8_t>(1 << (id - 1)); }

  // Whether the owner in a state word is proven gone.
  static bool IsDead(const State& s, uint8_t owner) {
    if (owner >= kFirstIncarnation) return owner != kFirstIncarnation + s.incarnation;
    if (owner >= kFirstReader) return s.readers[owner - kFirstReader].alive == 0;
    return s.producers[owner - kFirstProducer].alive == 0;
  }

  bool Cas(Move& move, Cell& cell, Word expected, Word desired) const {
    if (!(cell.word == expected)) return false;
    Store(move, cell, desired);
    return true;
  }

  // Checks that no word returns: (lap, attempt, kind, owner) grows, and for a kind that is kept
  // only the lap may. An attempt that has saturated is the one exception.
  void Store(Move& move, Cell& cell, Word desired) const {
    const auto rank = [](const Word& w) { return w.lap << 16 | w.attempt << 8 | w.kind; };
    const bool saturated = desired.kind == kReady && desired.attempt == Saturated() &&
                           cell.word.attempt == Saturated() && desired.lap == cell.word.lap;
    if (rank(desired) <= rank(cell.word) && !saturated && !Has(Flaw::kRepeatUnmarked)) {
      move.Fail("a state word came back");
    }
    cell.word = desired;
  }

  Word Redelivery(Word word) const {
    Word next = With(word, kReady, 0);
    if (!Has(Flaw::kRepeatUnmarked) && next.attempt < Saturated()) ++next.attempt;
    return next;
  }

  int Saturated() const { return options_.attempt_limit + 1; }

 private:
  const Options& options_;
};

}  // namespace cfc::model::mailbox

#endif  // CFC_NATIVE_MODEL_MAILBOX_STATE_H_
