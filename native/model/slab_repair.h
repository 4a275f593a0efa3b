// How the cells and chunks of a dead producer are settled.
#ifndef CFC_NATIVE_MODEL_SLAB_REPAIR_H_
#define CFC_NATIVE_MODEL_SLAB_REPAIR_H_

#include "slab_protocol.h"

namespace cfc::model::slab {

// Settles one dead producer: all cells, then all chunks.
inline void SlabModel::Repair(State& s, int i, const char** what) const {
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
        k.at =
            Has(Flaw::kRepairFreesAllPlaced) ? KeeperAt::kRepairChunkCas : KeeperAt::kRepairPlace;
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

inline void SlabModel::NextCell(State& s, Keeper& k) const {
  ++k.cell;
  k.at = KeeperAt::kRepairCell;
  if (k.cell < options_.cells) return;
  k.cell = 0;
  k.at = KeeperAt::kRepairChunk;
  if (Has(Flaw::kRepairChunksFirst)) Repaired(s, k);
}

inline void SlabModel::NextChunk(State& s, Keeper& k) const {
  ++k.chunk;
  k.chunk_seen = ChunkWord{};
  k.at = KeeperAt::kRepairChunk;
  if (k.chunk < options_.chunks) return;
  k.chunk = 0;
  k.at = KeeperAt::kRepairCell;
  if (!Has(Flaw::kRepairChunksFirst)) Repaired(s, k);
}

inline void SlabModel::Repaired(State& s, Keeper& k) {
  s.repaired |= static_cast<uint8_t>(1 << (k.owner - 1));
  Rest(k);
}

}  // namespace cfc::model::slab

#endif  // CFC_NATIVE_MODEL_SLAB_REPAIR_H_
