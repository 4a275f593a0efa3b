// Every step that the slab model can take, one shared access each, and what they must keep.
// slab_model.cc says what is checked.
#ifndef CFC_NATIVE_MODEL_SLAB_PROTOCOL_H_
#define CFC_NATIVE_MODEL_SLAB_PROTOCOL_H_

#include "search.h"
#include "slab_state.h"

namespace cfc::model::slab {

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
      if (p.alive == 0 || IsDone(s, i)) continue;
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
      if (p.alive != 0 ? !IsDone(s, i) : (s.repaired >> i & 1) == 0) return false;
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
  bool IsDone(const State& s, int i) const {
    const bool one = options_.last_sends_one && i == options_.producers - 1;
    const Producer& p = s.producers[i];
    return p.at == ProducerAt::kLoan && p.sent >= (one ? 1 : options_.messages);
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

  // ---- Producers, in slab_producer.h

  void Produce(const State& s, int i, Steps<State>& steps) const;
  static void Restart(Producer& p);
  void Choose(const State& s, int i, Steps<State>& steps) const;

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

  // ---- Repair, in slab_repair.h

  void Repair(State& s, int i, const char** what) const;
  void NextCell(State& s, Keeper& k) const;
  void NextChunk(State& s, Keeper& k) const;
  static void Repaired(State& s, Keeper& k);

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

}  // namespace cfc::model::slab

#endif  // CFC_NATIVE_MODEL_SLAB_PROTOCOL_H_
