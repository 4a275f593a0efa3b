// Exhaustive check of slab chunks: bodies too large for a cell, which the cell then only names by
// index and generation.
//
//   send     FREE -> LOANED(me) by CAS; claim a cell; write the body; write the place (cell, lap);
//            LOANED -> PLACED(me) by CAS; write the cell's header; commit. Revoked: free the
//            chunk, give the cell back, start over
//   read     lease the cell, read header and chunk, look at the lease once more, deliver, ack
//   reclaim  a DONE cell: read the header, load the cell's state once more (unchanged, else
//            leave it), PLACED -> FREE with the next generation, by CAS on the generation that the
//            header names, and only then the cell's DONE -> FREE. An aborted cell's header is
//            never read: nobody knows how much of it was written
//   repair   after a death: first the dead owner's cells (aborted), then its LOANED chunks, and
//            its PLACED ones whose cell was aborted or has moved on
//
// Checked at every step: no store into a chunk that is not on loan to the writer, no delivery of
// another body, and a committed cell always names a chunk that is placed under that generation.
// From every state the living can reach the end with all sent, all acked, and every chunk FREE.
//
// The ring is not modelled here (mailbox_model is about that): cells are taken in any order.
#include <cstdint>

#include "driver.h"

namespace cfc::model::slab {
namespace {

constexpr int kMaxCells = 2;
constexpr int kMaxChunks = 2;
constexpr int kMaxProducers = 2;
constexpr int kMaxKeepers = 2;

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
  int messages = 1;  // per producer
  int keepers = 2;   // readers, reclaimers and repairers in one
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
  uint8_t owner;    // producer + 1, or keeper + 0x21
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

enum class ProducerAt : uint8_t { kLoan, kLoanCas, kClaim, kClaimCas, kBody, kPlace, kPlaced,
                                  kHeader1, kHeader2, kCommit, kLatePlaced, kFreeChunk,
                                  kGiveBack };

struct Producer {
  uint8_t alive;
  ProducerAt at;
  uint8_t sent;
  uint8_t chunk;
  uint8_t generation;
  uint8_t cell;
  uint8_t lap;
};

enum class KeeperAt : uint8_t { kIdle, kTake, kHeader1, kHeader2, kBody, kValidate, kAck,
                                kReclaimHeader1, kReclaimHeader2, kReclaimAgain, kReclaimChunk, kReclaimChunkCas,
                                kReclaimCell, kCellCas, kRepairCell, kRepairCellCas, kRepairChunk,
                                kRepairPlace, kRepairPlaceCell, kRepairChunkCas, kMoveHole };

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

class SlabModel {
 public:
  using State = slab::State;

  explicit SlabModel(const Options& options) : options_(options) {}

  State Initial() const {
    State s{};
    for (int i = 0; i < options_.producers; ++i) s.producers[i].alive = 1;
    for (int i = 0; i < options_.keepers; ++i) s.keepers[i].alive = 1;
    return s;
  }

  void Expand(const State& s, Steps<State>& steps) const {
    for (int i = 0; i < options_.producers; ++i) {
      const Producer& p = s.producers[i];
      if (p.alive == 0 || IsDone(p)) continue;
      Produce(s, i, steps);
      if (s.producer_deaths >= options_.producer_deaths) continue;
      State next = s;
      next.producers[i] = Producer{};
      ++next.producer_deaths;
      steps.Add(next, "producer", i, "dies", Edge::kFault);
    }
    for (int i = 0; i < options_.keepers; ++i) {
      if (s.keepers[i].alive == 0) continue;
      if (s.keepers[i].at == KeeperAt::kIdle) {
        Begin(s, i, steps);
        continue;
      }
      Keep(s, i, steps);
      if (s.keeper_deaths >= options_.keeper_deaths) continue;
      State next = s;
      next.keepers[i] = Keeper{};
      ++next.keeper_deaths;
      steps.Add(next, "keeper", i, "dies", Edge::kFault);
    }
    Environment(s, steps);
    for (auto& step : steps) {
      if (step.violation == nullptr) step.violation = Judge(step.next);
    }
  }

  bool IsEnd(const State& s) const {
    for (int i = 0; i < options_.producers; ++i) {
      const Producer& p = s.producers[i];
      if (p.alive != 0 ? !IsDone(p) : (s.repaired >> i & 1) == 0) return false;
    }
    for (int i = 0; i < options_.keepers; ++i) {
      if (s.keepers[i].alive != 0 && s.keepers[i].at != KeeperAt::kIdle) return false;
    }
    for (int k = 0; k < options_.cells; ++k) {
      if (s.cells[k].word.kind != kFree) return false;
    }
    for (int k = 0; k < options_.chunks; ++k) {
      if (s.chunks[k].word.kind != kChunkFree) return false;
    }
    return s.accepted == s.acked;
  }

  bool IsJudged(const State& s) const {
    for (int i = 0; i < options_.keepers; ++i) {
      if (s.keepers[i].alive != 0) return true;
    }
    return false;
  }

  void Print(FILE* out, const State& s) const {
    static constexpr const char* kCells[] = {"FREE",   "CLAIMED", "QUARANTINED", "READY",
                                             "LEASED", "ACKED",   "ABORTED"};
    static constexpr const char* kChunks[] = {"FREE", "LOANED", "PLACED"};
    for (int k = 0; k < options_.cells; ++k) {
      const Cell& c = s.cells[k];
      std::fprintf(out, "  cell %d: %s lap %d owner %02x, names chunk %d generation %d\n", k,
                   kCells[c.word.kind], c.word.lap, c.word.owner, c.chunk, c.generation);
    }
    for (int k = 0; k < options_.chunks; ++k) {
      const Chunk& c = s.chunks[k];
      std::fprintf(out, "  chunk %d: %s generation %d owner %d, place cell %d lap %d, body %d\n", k,
                   kChunks[c.word.kind], c.word.generation, c.word.owner - 1, c.place_cell,
                   c.place_lap, c.body);
    }
  }

 private:
  bool Has(Flaw flaw) const { return options_.flaw == flaw; }
  bool IsDone(const Producer& p) const {
    return p.at == ProducerAt::kLoan && p.sent >= options_.messages;
  }

  static bool IsDead(const State& s, uint8_t owner) {
    if (owner == 0) return false;
    return owner > 0x20 ? s.keepers[owner - 0x21].alive == 0 : s.producers[owner - 1].alive == 0;
  }

  template <typename Word>
  static bool Cas(Word& word, const Word& expected, const Word& desired) {
    if (!Same(word, expected)) return false;
    word = desired;
    return true;
  }

  static ChunkWord Freed(ChunkWord w) {
    return ChunkWord{static_cast<uint8_t>(w.generation + 1), kChunkFree, 0};
  }

  static CellWord With(CellWord w, CellKind kind, int owner) {
    w.kind = kind;
    w.owner = static_cast<uint8_t>(owner);
    return w;
  }

  // ---- Producers

  void Produce(const State& s, int i, Steps<State>& steps) const {
    const Producer& now = s.producers[i];
    if (now.at == ProducerAt::kLoan || now.at == ProducerAt::kClaim) {
      Choose(s, i, steps);
      return;
    }
    State next = s;
    Producer& p = next.producers[i];
    const uint8_t me = static_cast<uint8_t>(i + 1);
    Chunk& chunk = next.chunks[p.chunk];
    Cell& cell = next.cells[p.cell];
    const ChunkWord loaned{p.generation, kLoaned, me};
    const ChunkWord placed{p.generation, kPlaced, me};
    const CellWord claimed{p.lap, kClaimed, me, 0};
    const uint8_t id = static_cast<uint8_t>(1 + i * options_.messages + p.sent);
    const char* what = "";
    const char* violation = nullptr;
    switch (p.at) {
      case ProducerAt::kLoan:
      case ProducerAt::kClaim:
        return;
      case ProducerAt::kLoanCas:
        what = "loan the chunk";
        if (Cas(chunk.word, ChunkWord{p.generation, kChunkFree, 0}, loaned)) {
          p.at = ProducerAt::kClaim;
        } else {
          Restart(p);
        }
        break;
      case ProducerAt::kClaimCas:
        what = "claim the cell";
        if (Cas(cell.word, CellWord{p.lap, kFree, 0, 0}, claimed)) {
          cell.id = id;
          p.at = ProducerAt::kBody;
        } else {
          p.cell = p.lap = 0;
          p.at = ProducerAt::kClaim;
        }
        break;
      case ProducerAt::kBody:
        what = "write the body";
        if (!Same(chunk.word, loaned)) violation = "a store into a chunk that is not on loan";
        chunk.body = id;
        p.at = Has(Flaw::kPlaceAfterPlaced) ? ProducerAt::kPlaced : ProducerAt::kPlace;
        if (Has(Flaw::kPlacedAfterCommit)) p.at = ProducerAt::kHeader1;
        break;
      case ProducerAt::kPlace:
        what = "write the place";
        chunk.place_cell = p.cell;
        chunk.place_lap = p.lap;
        p.at = Has(Flaw::kPlaceAfterPlaced) ? ProducerAt::kHeader1 : ProducerAt::kPlaced;
        if (Has(Flaw::kPlacedAfterCommit)) p.at = ProducerAt::kLatePlaced;
        break;
      case ProducerAt::kPlaced:
        what = "place the chunk";
        Cas(chunk.word, loaned, placed);
        p.at = Has(Flaw::kPlaceAfterPlaced) ? ProducerAt::kPlace : ProducerAt::kHeader1;
        break;
      case ProducerAt::kHeader1:
        what = "write the index into the header";
        cell.chunk = p.chunk;
        p.at = ProducerAt::kHeader2;
        break;
      case ProducerAt::kHeader2:
        what = "write the generation into the header";
        cell.generation = p.generation;
        p.at = ProducerAt::kCommit;
        break;
      case ProducerAt::kCommit:
        what = "commit";
        if (Cas(cell.word, claimed, With(claimed, kReady, 0))) {
          next.accepted |= static_cast<uint8_t>(1 << (id - 1));
          if (Has(Flaw::kPlacedAfterCommit)) {
            p.at = ProducerAt::kPlace;
          } else {
            ++p.sent;
            Restart(p);
          }
        } else {
          what = "commit: revoked";
          p.at = Has(Flaw::kRevokedKeepsChunk) ? ProducerAt::kGiveBack : ProducerAt::kFreeChunk;
        }
        break;
      case ProducerAt::kLatePlaced:
        what = "place the chunk";
        Cas(chunk.word, loaned, placed);
        ++p.sent;
        Restart(p);
        break;
      case ProducerAt::kFreeChunk:
        what = "free my chunk";
        Cas(chunk.word, placed, Freed(placed));
        p.chunk = p.generation = 0;
        p.at = ProducerAt::kGiveBack;
        break;
      case ProducerAt::kGiveBack:
        what = "give the quarantined cell back";
        if (cell.word.kind == kQuarantined && cell.word.owner == me) {
          cell.word = With(cell.word, kAborted, 0);
        }
        Restart(p);
        break;
    }
    steps.Add(next, "producer", i, what, Edge::kNormal, violation);
  }

  static void Restart(Producer& p) {
    const uint8_t sent = p.sent;
    p = Producer{};
    p.alive = 1;
    p.sent = sent;
  }

  // Loads one chunk or cell, whichever is free.
  void Choose(const State& s, int i, Steps<State>& steps) const {
    if (s.producers[i].at == ProducerAt::kLoan) {
      for (int k = 0; k < options_.chunks; ++k) {
        if (s.chunks[k].word.kind != kChunkFree) continue;
        State next = s;
        next.producers[i].chunk = static_cast<uint8_t>(k);
        next.producers[i].generation = s.chunks[k].word.generation;
        next.producers[i].at = ProducerAt::kLoanCas;
        steps.Add(next, "producer", i, "load a chunk: free");
      }
      return;
    }
    for (int k = 0; k < options_.cells; ++k) {
      if (s.cells[k].word.kind != kFree) continue;
      State next = s;
      next.producers[i].cell = static_cast<uint8_t>(k);
      next.producers[i].lap = s.cells[k].word.lap;
      next.producers[i].at = ProducerAt::kClaimCas;
      steps.Add(next, "producer", i, "load a cell: free");
    }
  }

  // ---- Keepers

  void Begin(const State& s, int i, Steps<State>& steps) const {
    const auto begin = [&](int cell, KeeperAt at, CellWord desired, const char* what) {
      State next = s;
      Keeper& k = next.keepers[i];
      k.cell = static_cast<uint8_t>(cell);
      k.seen = s.cells[cell].word;
      k.next = desired;
      k.at = at;
      steps.Add(next, "keeper", i, what);
    };
    for (int c = 0; c < options_.cells; ++c) {
      const CellWord w = s.cells[c].word;
      if (w.kind == kReady) begin(c, KeeperAt::kTake, {}, "load a cell: ready");
      if (w.kind == kAcked) {
        const bool late = Has(Flaw::kChunkAfterCell);
        begin(c, late ? KeeperAt::kReclaimCell : KeeperAt::kReclaimHeader1, {},
              "load a cell: acked");
      }
      if (w.kind == kAborted) {
        const bool reads = Has(Flaw::kAbortedHeaderIsRead);
        begin(c, reads ? KeeperAt::kReclaimHeader1 : KeeperAt::kReclaimCell, {},
              "load a cell: aborted");
      }
      if (w.kind == kLeased && IsDead(s, w.owner)) {
        CellWord again = With(w, kReady, 0);
        ++again.attempt;
        begin(c, KeeperAt::kCellCas, again, "load a cell: lease of a dead reader");
      }
      if (w.kind == kQuarantined && s.moves < options_.quarantines && !IsDead(s, w.owner)) {
        CellWord moved = w;
        ++moved.lap;
        begin(c, KeeperAt::kMoveHole, moved, "load a cell: a hole");
      }
    }
    for (int p = 0; p < options_.producers; ++p) {
      if (s.producers[p].alive != 0 || (s.repaired >> p & 1) != 0) continue;
      State next = s;
      Keeper& k = next.keepers[i];
      k.owner = static_cast<uint8_t>(p + 1);
      k.at = Has(Flaw::kRepairChunksFirst) ? KeeperAt::kRepairChunk : KeeperAt::kRepairCell;
      steps.Add(next, "keeper", i, "meets a dead producer");
    }
  }

  static void Rest(Keeper& k) {
    k = Keeper{};
    k.alive = 1;
  }

  void Keep(const State& s, int i, Steps<State>& steps) const {
    State next = s;
    Keeper& k = next.keepers[i];
    Cell& cell = next.cells[k.cell];
    const char* what = "";
    const char* violation = nullptr;
    switch (k.at) {
      case KeeperAt::kIdle:
        return;
      case KeeperAt::kTake: {
        what = "take";
        const CellWord leased = With(k.seen, kLeased, 0x21 + i);
        if (Cas(cell.word, k.seen, leased)) {
          k.seen = leased;
          k.at = KeeperAt::kHeader1;
        } else {
          Rest(k);
        }
        break;
      }
      case KeeperAt::kHeader1:
      case KeeperAt::kReclaimHeader1:
        what = "read the index in the header";
        k.chunk = cell.chunk;
        k.at = k.at == KeeperAt::kHeader1 ? KeeperAt::kHeader2 : KeeperAt::kReclaimHeader2;
        break;
      case KeeperAt::kHeader2:
      case KeeperAt::kReclaimHeader2:
        what = "read the generation in the header";
        k.generation = cell.generation;
        k.at = k.at == KeeperAt::kHeader2 ? KeeperAt::kBody : KeeperAt::kReclaimAgain;
        break;
      // Another reclaimer may have freed the cell before the header was read; then it is that of
      // the next message, and its generation would match.
      case KeeperAt::kReclaimAgain:
        what = "load the cell's state once more";
        if (Same(cell.word, k.seen) || Has(Flaw::kReclaimLooksOnce) || Has(Flaw::kChunkAfterCell)) {
          k.at = KeeperAt::kReclaimChunk;
        } else {
          Rest(k);
        }
        break;
      case KeeperAt::kBody:
        what = "copy the body";
        k.body = next.chunks[k.chunk].body;
        k.at = KeeperAt::kValidate;
        break;
      case KeeperAt::kValidate:
        what = "look at the lease once more";
        if (!Same(cell.word, k.seen) && !Has(Flaw::kNoValidation)) {
          Rest(k);
          break;
        }
        what = "look at the lease once more: deliver";
        if (k.body != cell.id) violation = "another body was delivered";
        k.chunk = k.generation = k.body = 0;
        k.at = KeeperAt::kAck;
        break;
      case KeeperAt::kAck:
        what = "ack";
        if (Cas(cell.word, k.seen, With(k.seen, kAcked, 0))) {
          next.acked |= static_cast<uint8_t>(1 << (cell.id - 1));
        }
        Rest(k);
        break;
      case KeeperAt::kReclaimChunk: {
        what = "load the chunk's word";
        const ChunkWord w = next.chunks[k.chunk].word;
        const bool mine = w.kind == kPlaced &&
                          (w.generation == k.generation || Has(Flaw::kFreeIgnoresGeneration));
        k.chunk_seen = w;
        k.at = mine ? KeeperAt::kReclaimChunkCas : KeeperAt::kReclaimCell;
        if (!mine) AfterChunk(k);
        break;
      }
      case KeeperAt::kReclaimChunkCas:
        what = "free the chunk";
        if (Has(Flaw::kFreeIsStored)) {
          next.chunks[k.chunk].word = Freed(k.chunk_seen);
        } else {
          Cas(next.chunks[k.chunk].word, k.chunk_seen, Freed(k.chunk_seen));
        }
        AfterChunk(k);
        break;
      case KeeperAt::kReclaimCell: {
        what = "free the cell for the next lap";
        const CellWord free{static_cast<uint8_t>(k.seen.lap + 1), kFree, 0, 0};
        const bool freed = Cas(cell.word, k.seen, free);
        const bool chunk_is_due = Has(Flaw::kChunkAfterCell) && k.seen.kind == kAcked;
        if (freed && chunk_is_due) {
          k.at = KeeperAt::kReclaimHeader1;
        } else {
          Rest(k);
        }
        break;
      }
      case KeeperAt::kMoveHole:
        ++next.moves;
        [[fallthrough]];
      case KeeperAt::kCellCas:
        what = "change the cell";
        Cas(cell.word, k.seen, k.next);
        Rest(k);
        break;
      default:
        Repair(next, i, &what);
    }
    steps.Add(next, "keeper", i, what, Edge::kNormal, violation);
  }

  void AfterChunk(Keeper& k) const {
    k.chunk = k.generation = 0;
    k.chunk_seen = ChunkWord{};
    k.at = KeeperAt::kReclaimCell;
    if (Has(Flaw::kChunkAfterCell)) Rest(k);
  }

  // Settles one dead producer: all cells, then all chunks.
  void Repair(State& s, int i, const char** what) const {
    Keeper& k = s.keepers[i];
    Cell& cell = s.cells[k.cell];
    Chunk& chunk = s.chunks[k.chunk];
    switch (k.at) {
      case KeeperAt::kRepairCell: {
        *what = "repair: load a cell";
        const CellWord w = cell.word;
        if ((w.kind == kClaimed || w.kind == kQuarantined) && w.owner == k.owner) {
          k.seen = w;
          k.at = KeeperAt::kRepairCellCas;
        } else {
          NextCell(s, k);
        }
        return;
      }
      case KeeperAt::kRepairCellCas:
        *what = "repair: abort it";
        k.at = KeeperAt::kRepairCell;
        if (Cas(cell.word, k.seen, With(k.seen, kAborted, 0))) NextCell(s, k);
        k.seen = CellWord{};
        return;
      case KeeperAt::kRepairChunk: {
        *what = "repair: load a chunk";
        const ChunkWord w = chunk.word;
        if (w.owner == k.owner && w.kind == kLoaned) {
          k.chunk_seen = w;
          k.at = KeeperAt::kRepairChunkCas;
        } else if (w.owner == k.owner && w.kind == kPlaced && !Has(Flaw::kRepairForgetsPlaced)) {
          k.chunk_seen = w;
          k.at = Has(Flaw::kRepairFreesAllPlaced) ? KeeperAt::kRepairChunkCas
                                                  : KeeperAt::kRepairPlace;
        } else {
          NextChunk(s, k);
        }
        return;
      }
      case KeeperAt::kRepairPlace:
        *what = "repair: load the chunk's place";
        k.place_cell = chunk.place_cell;
        k.place_lap = chunk.place_lap;
        k.at = KeeperAt::kRepairPlaceCell;
        return;
      case KeeperAt::kRepairPlaceCell: {
        *what = "repair: load the cell at that place";
        const CellWord w = s.cells[k.place_cell].word;
        const bool moved_on = w.lap != k.place_lap && !Has(Flaw::kRepairForgetsMovedOn);
        const bool aborted = w.lap == k.place_lap && w.kind == kAborted;
        k.place_cell = k.place_lap = 0;
        if (moved_on || aborted) {
          k.at = KeeperAt::kRepairChunkCas;
        } else {
          NextChunk(s, k);  // committed: it is freed with its cell
        }
        return;
      }
      default:  // kRepairChunkCas
        *what = "repair: free the chunk";
        Cas(chunk.word, k.chunk_seen, Freed(k.chunk_seen));
        NextChunk(s, k);
        return;
    }
  }

  void NextCell(State& s, Keeper& k) const {
    ++k.cell;
    k.at = KeeperAt::kRepairCell;
    if (k.cell < options_.cells) return;
    k.cell = 0;
    k.at = KeeperAt::kRepairChunk;
    if (Has(Flaw::kRepairChunksFirst)) Repaired(s, k);
  }

  void NextChunk(State& s, Keeper& k) const {
    ++k.chunk;
    k.chunk_seen = ChunkWord{};
    k.at = KeeperAt::kRepairChunk;
    if (k.chunk < options_.chunks) return;
    k.chunk = 0;
    k.at = KeeperAt::kRepairCell;
    if (!Has(Flaw::kRepairChunksFirst)) Repaired(s, k);
  }

  static void Repaired(State& s, Keeper& k) {
    s.repaired |= static_cast<uint8_t>(1 << (k.owner - 1));
    Rest(k);
  }

  // ---- What happens to them, and judgement

  void Environment(const State& s, Steps<State>& steps) const {
    for (int c = 0; c < options_.cells; ++c) {
      const CellWord w = s.cells[c].word;
      State next = s;
      if (w.kind == kClaimed && s.quarantines < options_.quarantines) {
        next.cells[c].word = With(w, kQuarantined, w.owner);
        ++next.quarantines;
        steps.Add(next, "cell", c, "is quarantined", Edge::kFault);
      } else if (w.kind == kLeased && s.fences < options_.fences) {
        next.cells[c].word = With(w, kReady, 0);
        ++next.cells[c].word.attempt;
        ++next.fences;
        steps.Add(next, "cell", c, "is taken back from its reader", Edge::kFault);
      }
    }
  }

  const char* Judge(const State& s) const {
    for (int c = 0; c < options_.cells; ++c) {
      const Cell& cell = s.cells[c];
      if (cell.word.kind != kReady && cell.word.kind != kLeased) continue;
      const Chunk& chunk = s.chunks[cell.chunk];
      const bool placed = chunk.word.kind == kPlaced || Has(Flaw::kPlacedAfterCommit);
      if (!placed || chunk.word.generation != cell.generation || chunk.body != cell.id) {
        return "a committed message lost its chunk";
      }
    }
    return nullptr;
  }

  const Options options_;
};

std::vector<Configuration<Options>> Configurations() {
  return {
      {"two producers, one chunk", {.chunks = 1, .messages = 2, .keeper_deaths = 1}},
      {"two producers, two chunks", {.messages = 2}},
      {"a producer dies", {.producer_deaths = 1}},
      {"a producer dies, one keeper, two messages",
       {.messages = 2, .keepers = 1, .producer_deaths = 1}},
      {"both producers die", {.chunks = 1, .producer_deaths = 2}},
      {"a producer and a keeper die",
       {.cells = 1, .chunks = 1, .producer_deaths = 1, .keeper_deaths = 1}},
      {"quarantine", {.cells = 1, .producer_deaths = 1, .quarantines = 1}},
      {"quarantine, two cells", {.keepers = 1, .producer_deaths = 1, .quarantines = 1}},
      {"leases taken back", {.chunks = 1, .keeper_deaths = 1, .fences = 1}},
  };
}

std::vector<Variant<Options>> Variants() {
  return {
      {"free-ignores-generation", "a late second freer frees the next message's chunk",
       {.chunks = 1, .messages = 2, .flaw = Flaw::kFreeIgnoresGeneration}},
      {"free-is-stored", "a late plain store frees the next message's chunk",
       {.chunks = 1, .messages = 2, .flaw = Flaw::kFreeIsStored}},
      {"chunk-after-cell", "killed between the two, nothing names the chunk any more",
       {.keeper_deaths = 1, .flaw = Flaw::kChunkAfterCell}},
      {"placed-after-commit", "killed between the two, repair frees the chunk of a sent message",
       {.producer_deaths = 1, .flaw = Flaw::kPlacedAfterCommit}},
      {"place-after-placed", "repair looks for the chunk's message in an older place",
       {.messages = 2, .keepers = 1, .producer_deaths = 1, .flaw = Flaw::kPlaceAfterPlaced}},
      {"repair-chunks-first", "the chunk's cell is not aborted yet, so the chunk is left",
       {.producer_deaths = 1, .flaw = Flaw::kRepairChunksFirst}},
      {"repair-forgets-moved-on", "the aborted cell was reclaimed before repair looked at it",
       {.producer_deaths = 1, .flaw = Flaw::kRepairForgetsMovedOn}},
      {"repair-forgets-placed", "killed before the commit, the placed chunk is lost",
       {.producer_deaths = 1, .flaw = Flaw::kRepairForgetsPlaced}},
      {"repair-frees-all-placed", "a sent message outlives its sender",
       {.messages = 2, .keepers = 1, .producer_deaths = 1, .flaw = Flaw::kRepairFreesAllPlaced}},
      {"aborted-header-is-read", "half a header names somebody else's chunk",
       {.messages = 3, .keepers = 1, .producer_deaths = 1, .flaw = Flaw::kAbortedHeaderIsRead}},
      {"reclaim-looks-once", "the header read late names the chunk of the cell's next message",
       {.cells = 1, .chunks = 1, .flaw = Flaw::kReclaimLooksOnce}},
      {"revoked-keeps-chunk", "nobody else may free the chunk of a living owner",
       {.quarantines = 1, .flaw = Flaw::kRevokedKeepsChunk}},
      {"no-validation", "a lease lost during the copy, and the chunk is another message's by now",
       {.chunks = 1, .messages = 2, .fences = 1, .flaw = Flaw::kNoValidation}},
  };
}

}  // namespace
}  // namespace cfc::model::slab

int main(int argc, char** argv) {
  using namespace cfc::model;
  Driver<slab::SlabModel, slab::Options> driver("slab", slab::Configurations(), slab::Variants());
  return driver.Main(argc, argv);
}
