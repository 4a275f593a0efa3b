// What anybody may do for the lane: reclaim at the head, count, quarantine, close and seal,
// reissue. Each verb may be left at any step, and run by two at once.
#ifndef CFC_NATIVE_MODEL_MAILBOX_UPKEEP_H_
#define CFC_NATIVE_MODEL_MAILBOX_UPKEEP_H_

#include "mailbox_reader.h"

namespace cfc::model::mailbox {

// Free the cell at the head, or pass the hole there.
inline void ReaderMoves::Reclaim(Move& m, int i) const {
  State& s = m.s;
  Reader& r = s.readers[i];
  Cell& cell = lane_.At(s, r.head);
  switch (r.at) {
    case At::kInspectHead: {
      m.what = "load the cell at the head";
      const Word w = cell.word;
      const int ahead = w.lap - lane_.LapOf(r.head);
      const bool old_rule = lane_.Has(Flaw::kHoleKeepsItsLap);
      r.position = r.head;
      r.seen = w;
      if (ahead > 0) {
        r.at = At::kHelpTail;  // somebody died or sleeps between freeing it and moving the head
      } else if (old_rule && w.kind == kDone && (ahead == 0 || s.tail > r.head)) {
        r.at = At::kFree;
      } else if (old_rule && w.kind == kQuarantined && !Lane::IsDead(s, w.owner) &&
                 (ahead == 0 || s.tail > r.head)) {
        r.at = At::kHelpTail;
      } else if (ahead < 0 && !old_rule) {
        Rest(r);
      } else if (FindRepair(s, w, &r.next)) {
        r.at = At::kRepair;
      } else if (w.kind == kDone) {
        r.at = w.owner == kAcked || lane_.Has(Flaw::kTallyAfterFree) ? At::kFree : At::kTally;
        if (lane_.Has(Flaw::kHeadBeforeFree)) r.at = At::kEarlyHead;
      } else if (w.kind == kQuarantined || w.kind == kSealed) {
        r.at = At::kHoleTail;
      } else if (w.kind == kClaimed && s.producers[w.owner - kFirstProducer].stopped != 0) {
        r.at = At::kQuarantine;
      } else if (w.kind == kClaimed && s.quarantines < options_.quarantines) {
        m.what = "the claim at the head looks stalled";
        m.edge = Edge::kFault;
        ++s.quarantines;
        r.at = At::kQuarantine;
      } else {
        Rest(r);
      }
      return;
    }
    case At::kHoleTail:
      m.what = "load tail: is the hole behind it?";
      if (options_.hole_helps_tail && s.tail == r.head && r.seen.kind == kQuarantined) {
        m.what = "help tail past the hole";
        ++s.tail;
      }
      if (s.tail > r.head) {
        r.at = At::kTally;
      } else {
        Rest(r);
      }
      return;
    case At::kTally:
    case At::kTallyCas:
      Count(m, i);
      return;
    case At::kFree: {
      m.what = "free the cell for the next lap";
      const Word free{static_cast<uint8_t>(lane_.LapOf(r.head) + 1), 0, kFree, 0};
      if (lane_.Has(Flaw::kReclaimStoresFree)) {
        lane_.Store(m, cell, free);
      } else if (!lane_.Cas(m, cell, r.seen, free)) {
        Rest(r);
        return;
      }
      if (lane_.Has(Flaw::kHeadBeforeFree)) {
        Rest(r);
      } else {
        r.at = At::kHelpTail;
      }
      return;
    }
    case At::kMoveHole: {
      m.what = "move the hole to the next lap";
      Word moved = r.seen;
      ++moved.lap;
      if (lane_.Cas(m, cell, r.seen, moved)) {
        r.at = At::kHelpTail;
      } else {
        Rest(r);
      }
      return;
    }
    // Whatever the closing bit is: load and compare-and-swap until the tail is past the head.
    case At::kHelpTail:
      m.what = "help tail past the head";
      if (s.tail == r.head && !lane_.Has(Flaw::kTailNotHelped)) ++s.tail;
      r.at = At::kHead;
      return;
    case At::kHead: {
      m.what = "advance head";
      if (lane_.Has(Flaw::kHeadIsStored)) {
        s.head = static_cast<uint8_t>(r.head + 1);
      } else if (s.head == r.head) {
        ++s.head;
      }
      const bool uncounted = r.seen.kind == kDone && r.seen.owner != kAcked;
      if (lane_.Has(Flaw::kTallyAfterFree) && uncounted && r.seen.lap == lane_.LapOf(r.head)) {
        r.at = At::kTally;
        r.next.kind = kDone;  // marks that the cell is freed already
      } else {
        Rest(r);
      }
      return;
    }
    case At::kEarlyHead:
      m.what = "advance head";
      if (s.head == r.head) ++s.head;
      r.at = At::kFree;
      return;
    default: {  // kQuarantine
      m.what = "quarantine it";
      Word word = With(r.seen, kQuarantined, r.seen.owner);
      if (lane_.Has(Flaw::kStallFreedByTimeout)) {
        word = Word{static_cast<uint8_t>(r.seen.lap + 1), 0, kFree, 0};
      }
      lane_.Cas(m, cell, r.seen, word);
      Rest(r);
      return;
    }
  }
}

// Counts the position at the head as one without an ack: once, whoever gets there, before the
// cell moves on.
inline void ReaderMoves::Count(Move& m, int i) const {
  State& s = m.s;
  Reader& r = s.readers[i];
  const auto go_on = [&] {
    r.tally_at = r.tally = 0;
    if (lane_.Has(Flaw::kTallyAfterFree) && r.next.kind == kDone) {
      Rest(r);
    } else {
      r.at = r.seen.kind == kQuarantined ? At::kMoveHole : At::kFree;
    }
  };
  if (r.at == At::kTally) {
    m.what = "load the tally";
    if (lane_.Has(Flaw::kPlainTally)) {
      m.what = "add one to the tally";
      ++s.tally;
      go_on();
    } else if (s.tally_at > r.head) {
      go_on();
    } else {
      r.tally_at = s.tally_at;
      r.tally = s.tally;
      r.at = At::kTallyCas;
    }
    return;
  }
  m.what = "count the position";
  if (s.tally_at == r.tally_at && s.tally == r.tally) {
    s.tally_at = static_cast<uint8_t>(r.head + 1);
    ++s.tally;
    go_on();
  } else {
    Rest(r);
  }
}

// Set the closing bit on the tail, then seal the cell there; a later comer only seals.
inline void ReaderMoves::Close(Move& m, int i) const {
  State& s = m.s;
  Reader& r = s.readers[i];
  Cell& cell = lane_.At(s, r.position);
  switch (r.at) {
    case At::kCloseLoad:
      m.what = "close: load tail";
      r.position = s.tail;
      r.at = At::kCloseGeneration;
      if (options_.reissues == 0 || options_.tail_has_generation ||
          lane_.Has(Flaw::kCloserIgnoresGeneration)) {
        r.at = At::kCloseCas;
      }
      if (s.closing != 0 || (options_.tail_has_generation && s.generation != r.generation)) Rest(r);
      return;
    case At::kCloseGeneration:
      m.what = "close: load the generation";
      if (s.generation == r.generation) {
        r.at = At::kCloseCas;
      } else {
        Rest(r);
      }
      return;
    case At::kCloseCas:
      m.what = "close: set the bit";
      if (s.tail == r.position && s.closing == 0) {
        if (s.generation != r.generation) m.Fail("a closer of the old mailbox closed the new one");
        s.closing = 1;
        s.closed |= static_cast<uint8_t>(1 << s.generation);
        r.at = At::kSealLoad;
        if (lane_.Has(Flaw::kBitWithoutSeal)) Rest(r);
      } else {
        r.at = At::kCloseLoad;
      }
      return;
    case At::kSealLoad: {
      const Word w = cell.word;
      const int ahead = w.lap - lane_.LapOf(r.position);
      m.what = "seal: load the cell at the tail";
      if (ahead == 0 && w.kind == kFree) {
        r.seen = w;
        r.at = At::kSealCas;
      } else if (ahead < 0 || (ahead == 0 && w.kind == kSealed)) {
        Rest(r);
      } else {
        r.at = At::kSealHelp;
      }
      return;
    }
    case At::kSealCas:
      m.what = "seal the cell";
      lane_.Cas(m, cell, r.seen, With(r.seen, kSealed, 0));
      Rest(r);
      return;
    default:  // kSealHelp
      m.what = "seal: help tail";
      if (s.tail == r.position && s.closing != 0) ++s.tail;
      Rest(r);
      return;
  }
}

// A drained mailbox gets a new generation and opens again: generation, then tail, and only then
// does the seal become a free cell (Reclaim does that, as for any hole behind the tail).
inline void ReaderMoves::Reissue(Move& m, int i) const {
  State& s = m.s;
  Reader& r = s.readers[i];
  Cell& cell = lane_.At(s, r.head);
  switch (r.at) {
    case At::kReissueCell:
      m.what = "reissue: load the cell at the head";
      if (cell.word.kind == kSealed && cell.word.lap == lane_.LapOf(r.head)) {
        r.seen = cell.word;
        r.at = At::kReissueTail;
      } else {
        Rest(r);
      }
      return;
    case At::kReissueTail:
      m.what = "reissue: load tail";
      if (s.tail != r.head || s.closing == 0) {
        Rest(r);
      } else {
        const bool open =
            options_.tail_has_generation || lane_.Has(Flaw::kReissueBumpsGenerationLast);
        r.at = open ? At::kReissueOpen : At::kReissueBump;
      }
      return;
    case At::kReissueBump:
      m.what = "reissue: new generation";
      if (s.generation == 0) s.generation = 1;
      r.at = lane_.Has(Flaw::kReissueFreesCellFirst) ? At::kReissueEarlyFree : At::kReissueOpen;
      if (lane_.Has(Flaw::kReissueBumpsGenerationLast)) Rest(r);
      return;
    case At::kReissueEarlyFree: {
      m.what = "reissue: free the sealed cell";
      const Word free{static_cast<uint8_t>(lane_.LapOf(r.head) + 1), 0, kFree, 0};
      lane_.Cas(m, cell, r.seen, free);
      r.at = At::kReissueOpen;
      return;
    }
    case At::kReissueOpen:
      m.what = "reissue: clear the bit, tail past the seal";
      if (s.closing != 0 && (s.tail == r.head || lane_.Has(Flaw::kReissueFreesCellFirst))) {
        s.closing = 0;
        if (s.tail == r.head) ++s.tail;
        if (options_.tail_has_generation) ++s.generation;
      }
      r.at = At::kReissueBump;
      if (!lane_.Has(Flaw::kReissueBumpsGenerationLast)) Rest(r);
      return;
    default:
      Rest(r);
      return;
  }
}

// A closed lane is opened again, drained or not. First the seal, if it is not there yet: without
// it a late sealer would close the open lane. Then one swap clears the bit and passes the seal,
// which is a hole from then on.
inline void ReaderMoves::Reopen(Move& m, int i) const {
  State& s = m.s;
  Reader& r = s.readers[i];
  Cell& cell = lane_.At(s, r.position);
  switch (r.at) {
    case At::kOpenTail:
      m.what = "reopen: load tail";
      r.seen = Word{};
      r.position = s.tail;
      r.at = At::kOpenCell;
      if (s.closing == 0) Rest(r);
      return;
    case At::kOpenCell: {
      m.what = "reopen: load the cell at the tail";
      const Word w = cell.word;
      const int ahead = w.lap - lane_.LapOf(r.position);
      r.seen = w;
      if (ahead < 0) {
        Rest(r);
      } else if (ahead == 0 && w.kind == kFree && !lane_.Has(Flaw::kReopenWithoutSeal)) {
        r.at = At::kOpenSeal;
      } else {
        r.at = At::kOpenSwap;  // sealed or taken: no late sealer can seal it any more
      }
      return;
    }
    case At::kOpenSeal:
      m.what = "reopen: seal the cell first";
      lane_.Cas(m, cell, r.seen, With(r.seen, kSealed, 0));
      r.at = At::kOpenTail;
      return;
    default:  // kOpenSwap
      m.what = "reopen: clear the bit, tail past that cell";
      r.at = At::kOpenTail;  // it moved: look again
      if (s.tail == r.position && s.closing != 0) {
        s.closing = 0;
        ++s.tail;
        Rest(r);
      }
      return;
  }
}

}  // namespace cfc::model::mailbox

#endif  // CFC_NATIVE_MODEL_MAILBOX_UPKEEP_H_
