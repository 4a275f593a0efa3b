// What a producer does: loan, claim, write, place, commit; or take it all back.
#ifndef CFC_NATIVE_MODEL_SLAB_PRODUCER_H_
#define CFC_NATIVE_MODEL_SLAB_PRODUCER_H_

#include "slab_protocol.h"

namespace cfc::model::slab {

inline void SlabModel::Produce(const State& s, int i, Steps<State>& steps) const {
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

inline void SlabModel::Restart(Producer& p) {
  const uint8_t sent = p.sent;
  p = Producer{};
  p.alive = 1;
  p.sent = sent;
}

// Loads one chunk or cell, whichever is free.
inline void SlabModel::Choose(const State& s, int i, Steps<State>& steps) const {
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

}  // namespace cfc::model::slab

#endif  // CFC_NATIVE_MODEL_SLAB_PRODUCER_H_
