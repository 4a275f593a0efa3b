// State of the slab model: cells, chunks, producers and keepers; the bounds of a
// configuration; the rules that can be broken on purpose.
#ifndef CFC_NATIVE_MODEL_SLAB_STATE_H_
#define CFC_NATIVE_MODEL_SLAB_STATE_H_

#include <cstdint>
#include <cstring>

namespace cfc::model::slab {

inline constexpr int kMaxCells = 2;
inline constexpr int kMaxChunks = 2;
inline constexpr int kMaxProducers = 2;
inline constexpr int kMaxKeepers = 2;

enum class Flaw : uint8_t {
  kNone,
  kFreeIgnoresGeneration,
  kFreeIsStored,
  kChunkAfterCell,
  kPlacedAfterCommit,
  kPlaceAfterPlaced,
  kRepairChunksFirst,
  kRepairForgetsMovedOn,
  kRepairForgetsPlaced,
  kRepairFreesAllPlaced,
  kAbortedHeaderIsRead,
  kReclaimLooksOnce,
  kRevokedKeepsChunk,
  kNoValidation,
};

struct Options {
  int cells = 2;
  int chunks = 2;
  int producers = 2;
  int messages = 1;             // per producer
  bool last_sends_one = false;  // the last producer sends one, whatever the others send
  int keepers = 2;              // readers, reclaimers and repairers in one
  int producer_deaths = 0;
  int keeper_deaths = 0;
  int quarantines = 0;
  int fences = 0;
  Flaw flaw = Flaw::kNone;
};

enum CellKind : uint8_t { kFree, kClaimed, kQuarantined, kReady, kLeased, kAcked, kAborted };
enum ChunkKind : uint8_t { kChunkFree, kLoaned, kPlaced };

struct CellWord {
  uint8_t lap;
  uint8_t kind;
  uint8_t owner;  // producer + 1, or keeper + 0x21
  uint8_t attempt;
};

struct ChunkWord {
  uint8_t generation;
  uint8_t kind;
  uint8_t owner;  // producer + 1
};

template <typename T>
bool Same(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

struct Cell {
  CellWord word;
  uint8_t chunk;       // header, in two stores: index
  uint8_t generation;  // and generation
  uint8_t id;          // the message that its claimer means to send; nobody reads this
};

struct Chunk {
  ChunkWord word;
  uint8_t place_cell;  // one word
  uint8_t place_lap;
  uint8_t body;
};

enum class ProducerAt : uint8_t {
  kLoan,
  kLoanCas,
  kClaim,
  kClaimCas,
  kBody,
  kPlace,
  kPlaced,
  kHeader1,
  kHeader2,
  kCommit,
  kLatePlaced,
  kFreeChunk,
  kGiveBack
};

struct Producer {
  uint8_t alive;
  ProducerAt at;
  uint8_t sent;
  uint8_t chunk;
  uint8_t generation;
  uint8_t cell;
  uint8_t lap;
};

enum class KeeperAt : uint8_t {
  kIdle,
  kTake,
  kHeader1,
  kHeader2,
  kBody,
  kValidate,
  kAck,
  kReclaimHeader1,
  kReclaimHeader2,
  kReclaimAgain,
  kReclaimChunk,
  kReclaimChunkCas,
  kReclaimCell,
  kCellCas,
  kRepairCell,
  kRepairCellCas,
  kRepairChunk,
  kRepairPlace,
  kRepairPlaceCell,
  kRepairChunkCas,
  kMoveHole
};

struct Keeper {
  uint8_t alive;
  KeeperAt at;
  uint8_t cell;
  uint8_t chunk;
  uint8_t generation;
  uint8_t body;
  uint8_t owner;  // whose death is repaired
  uint8_t place_cell;
  uint8_t place_lap;
  CellWord seen;
  CellWord next;
  ChunkWord chunk_seen;
};

struct State {
  Cell cells[kMaxCells];
  Chunk chunks[kMaxChunks];
  Producer producers[kMaxProducers];
  Keeper keepers[kMaxKeepers];
  uint8_t repaired;  // dead producers that somebody is through with, one bit each
  uint8_t accepted;
  uint8_t acked;
  uint8_t producer_deaths;
  uint8_t keeper_deaths;
  uint8_t quarantines;
  uint8_t moves;
  uint8_t fences;
};

}  // namespace cfc::model::slab

#endif  // CFC_NATIVE_MODEL_SLAB_STATE_H_
