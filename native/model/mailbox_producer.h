// What a producer does: find a free cell at the tail, claim it, write, commit; give back what it
// lost. One shared access a step.
#ifndef CFC_NATIVE_MODEL_MAILBOX_PRODUCER_H_
#define CFC_NATIVE_MODEL_MAILBOX_PRODUCER_H_

#include "mailbox_state.h"

namespace cfc::model::mailbox {

class ProducerMoves {
 public:
  explicit ProducerMoves(const Lane& lane) : lane_(lane) {}

  // Adds the steps of producer `i`, which is alive and not stopped.
  void Expand(const State& s, int i, Steps<State>& steps) const {
    if (IsDone(s.producers[i])) return;
    Move move{s};
    Take(move, i);
    steps.Add(move.s, "producer", i, move.what, move.edge, move.violation);
    Faults(s, i, steps);
  }

  bool IsDone(const Producer& p) const {
    return p.at == ProducerAt::kIdle && p.sent >= options().messages;
  }

 private:
  using At = ProducerAt;

  const Options& options() const { return lane_.options(); }

  void Faults(const State& s, int i, Steps<State>& steps) const {
    if (s.producer_deaths < options().producer_deaths) {
      State next = s;
      next.producers[i] = Producer{};
      ++next.producer_deaths;
      steps.Add(next, "producer", i, "dies", Edge::kFault);
    }
    if (s.stops < options().stops) {
      State next = s;
      next.producers[i].stopped = 1;
      ++next.stops;
      steps.Add(next, "producer", i, "stops for ever", Edge::kFault);
    }
  }

  // Forgets the attempt in hand; the batch starts over.
  static void Rest(Producer& p) {
    const Producer old = p;
    p = Producer{};
    p.alive = old.alive;
    p.sent = old.sent;
    p.group = old.group;
    p.ahead = old.ahead;
    p.retries = old.retries;
  }

  // The batch in hand is settled, one way or the other.
  static void NextBatch(Producer& p) {
    p.group = p.sent;
    p.retries = 0;
  }

  // Nothing more can be done with this attempt: give back what was claimed, then rest.
  static void GiveUp(Producer& p) {
    if (p.claims != 0) {
      p.at = At::kAbort;
    } else {
      Rest(p);
    }
  }

  void Refuse(State& s, int i) const {
    Producer& p = s.producers[i];
    if (p.claims == 0) {
      s.refused |= Lane::Bit(lane_.IdOf(i, p.sent));
      p.sent = static_cast<uint8_t>(p.sent + 1 + p.ahead);
      p.ahead = 0;
      NextBatch(p);
    }
    GiveUp(p);
  }

  int BatchSize(const Producer& p) const {
    const int left = p.ahead != 0 ? 1 : options().messages - p.sent;
    return options().batch < left ? options().batch : left;
  }

  uint8_t IdInHand(const Producer& p, int i) const { return lane_.IdOf(i, p.sent + p.claims - 1); }

  void Take(Move& m, int i) const {
    State& s = m.s;
    Producer& p = s.producers[i];
    Cell& cell = lane_.At(s, p.tail);
    const uint8_t me = static_cast<uint8_t>(kFirstProducer + i);
    const Word free{lane_.LapOf(p.tail), 0, kFree, 0};
    switch (p.at) {
      case At::kIdle:
        if (options().reissues > 0) {
          m.what = "look up the mailbox and its generation";
          p.generation = s.generation;
          p.at =
              lane_.Has(Flaw::kProducerReadsGenerationFirst) ? At::kLoadGeneration : At::kLoadTail;
          return;
        }
        [[fallthrough]];
      case At::kLoadTail:
        m.what = "load tail";
        p.tail = s.tail;
        if (options().tail_has_generation && s.generation != p.generation) {
          m.what = "load tail: reissued";
          Refuse(s, i);
        } else if (s.closing != 0) {
          m.what = "load tail: closed";
          Refuse(s, i);
        } else if (lane_.Has(Flaw::kHoleKeepsItsLap)) {
          p.at = At::kLoadHead;
        } else if (options().reissues > 0 && !options().tail_has_generation &&
                   !lane_.Has(Flaw::kProducerReadsGenerationFirst)) {
          p.at = At::kLoadGeneration;
        } else {
          p.at = At::kLoadCell;
        }
        return;
      case At::kLoadGeneration:
        m.what = "load the generation";
        if (s.generation != p.generation) {
          m.what = "load the generation: reissued";
          Refuse(s, i);
        } else {
          p.at = lane_.Has(Flaw::kProducerReadsGenerationFirst) ? At::kLoadTail : At::kLoadCell;
        }
        return;
      case At::kLoadHead:
        m.what = "load head";
        p.head = s.head;
        p.at = At::kLoadCell;
        return;
      case At::kLoadCell:
        LoadCell(m, i);
        return;
      case At::kClaim:
        m.what = "claim the cell";
        if (lane_.Cas(m, cell, free, With(free, kClaimed, me))) {
          p.claim[p.claims++] = p.tail;
          p.at = At::kHelpMine;
        } else {
          m.what = "claim the cell: lost";
          p.at = At::kLoadTail;
        }
        return;
      // The tail as it was loaded, so without the closing bit: fails once that is set.
      case At::kHelpMine:
        m.what = "advance tail past my claim";
        if (s.tail == p.tail && s.closing == 0) ++s.tail;
        p.at = At::kWriteFirst;
        return;
      case At::kHelpOther:
        m.what = "help tail past a cell that is taken";
        if (s.tail == p.tail && s.closing == 0) ++s.tail;
        p.at = At::kLoadTail;
        return;
      case At::kWriteFirst:
      case At::kWriteSecond: {
        const bool first = p.at == At::kWriteFirst;
        m.what = first ? "write the first half" : "write the second half";
        if (cell.word.owner != me ||
            (cell.word.kind != kClaimed && cell.word.kind != kQuarantined)) {
          m.Fail("a store into a cell that somebody else owns");
        }
        cell.body[first ? 0 : 1] = IdInHand(p, i);
        if (first) {
          p.at = At::kWriteSecond;
          return;
        }
        const bool more = p.claims < BatchSize(p) && !lane_.Has(Flaw::kBatchCommitsAsItClaims);
        p.at = more ? At::kLoadTail : At::kCommit;
        return;
      }
      case At::kCommit:
        Commit(m, i);
        return;
      case At::kCommitAhead:
        CommitAhead(m, i);
        return;
      case At::kAbort:
        Abort(m, i);
        return;
      // It was quarantined: the word as just read may have gone along with the ring.
      case At::kAbortLate: {
        m.what = "give back the quarantined cell";
        Cell& mine = lane_.At(s, p.claim[0]);
        if (lane_.Has(Flaw::kLateOwnerStoresDone)) {
          lane_.Store(m, mine, Word{lane_.LapOf(p.claim[0]), 0, kDone, kAborted});
          PopClaim(m, i);
        } else if (lane_.Cas(m, mine, p.seen, With(p.seen, kDone, kAborted))) {
          PopClaim(m, i);
        } else {
          m.what = "give back the quarantined cell: it moved";
          p.at = At::kAbort;
        }
        return;
      }
      case At::kDrop: {
        m.what = "drop the oldest message";
        const int dropped = p.tail + (lane_.Has(Flaw::kDropBehindHead) ? 1 : 0);
        Cell& oldest = lane_.At(s, dropped);
        const uint8_t id = oldest.body[0];
        if (lane_.Cas(m, oldest, p.seen, With(p.seen, kDone, kDropped))) {
          CheckMakesRoom(m, dropped - options().cells);
          s.dropped |= Lane::Bit(id);
          ++s.drops;
        }
        p.seen = Word{};
        p.at = At::kLoadTail;
        return;
      }
    }
  }

  void LoadCell(Move& m, int i) const {
    State& s = m.s;
    Producer& p = s.producers[i];
    const Word w = lane_.At(s, p.tail).word;
    const uint8_t lap = lane_.LapOf(p.tail);
    if (w.lap == lap && w.kind == kFree) {
      m.what = "load the cell: free";
      p.at = At::kClaim;
    } else if (w.lap == lap && w.kind == kSealed) {
      m.what = "load the cell: sealed";
      if ((s.closed >> p.generation & 1) == 0) m.Fail("an open mailbox refuses a message");
      Refuse(s, i);
    } else if (w.lap >= lap) {
      m.what = "load the cell: taken";
      p.at = At::kHelpOther;
    } else if (lane_.Has(Flaw::kHoleKeepsItsLap) && (w.kind == kQuarantined || w.kind == kDone) &&
               p.tail - p.head < options().cells) {
      m.what = "load the cell: an old hole";
      p.at = At::kHelpOther;
    } else {
      m.what = "load the cell: full";
      Full(m, i, w);
    }
  }

  void Full(Move& m, int i, Word w) const {
    State& s = m.s;
    Producer& p = s.producers[i];
    const uint8_t lap = lane_.LapOf(p.tail);
    if (s.drops < options().drops) {
      if (lane_.Has(Flaw::kDropBehindHead)) w = lane_.At(s, p.tail + 1).word;
      if (w.kind == kReady && w.lap + 1 == lap) {
        p.seen = w;
        p.at = At::kDrop;
        return;
      }
    }
    // The caller is told that nothing of this batch was accepted.
    if (p.group != p.sent) m.Fail("a batch refused as full was accepted in part");
    p.no_room = p.claims != 0;
    GiveUp(p);
  }

  // The head itself may lag behind cells that are free already.
  void CheckMakesRoom(Move& m, int dropped) const {
    for (int position = m.s.head; position < dropped; ++position) {
      if (lane_.At(m.s, position).word.lap <= lane_.LapOf(position)) {
        m.Fail("a drop that makes no room");
      }
    }
  }

  void PopClaim(Move& m, int i) const {
    Producer& p = m.s.producers[i];
    p.claim[0] = p.claim[1];
    p.claim[1] = 0;
    --p.claims;
    p.seen = Word{};
    if (p.claims != 0) {
      p.at = At::kAbort;
      return;
    }
    // Only so that positions, and with them the space, stay bounded: in the end "full" is taken
    // for an answer.
    if (p.no_room != 0 && ++p.retries > options().batch_retries) {
      while (p.sent < p.group + options().batch) {
        m.s.refused |= Lane::Bit(lane_.IdOf(i, p.sent));
        ++p.sent;
      }
      NextBatch(p);
    }
    Rest(p);
  }

  void Commit(Move& m, int i) const {
    State& s = m.s;
    Producer& p = s.producers[i];
    const uint8_t me = static_cast<uint8_t>(kFirstProducer + i);
    const uint8_t position = p.claim[0];
    const Word claimed{lane_.LapOf(position), 0, kClaimed, me};
    Cell& cell = lane_.At(s, position);
    m.what = "commit";
    if (lane_.Has(Flaw::kCommitStoresReady)) {
      lane_.Store(m, cell, With(claimed, kReady, me));
    } else if (!lane_.Cas(m, cell, claimed, With(claimed, kReady, me))) {
      m.what = "commit: revoked";
      p.group = p.sent;  // what was committed stays accepted; the rest is a batch of its own
      const bool goes_on = lane_.Has(Flaw::kBatchGoesOnAfterRevoke) && p.claims > 1;
      p.at = goes_on ? At::kCommitAhead : At::kAbort;
      return;
    }
    Accept(m, i, p.sent);
    const bool more = p.claims > 1;
    p.claim[0] = p.claim[1];
    p.claim[1] = 0;
    --p.claims;
    p.sent = static_cast<uint8_t>(p.sent + 1 + p.ahead);
    p.ahead = 0;
    if (more) return;
    const bool unfinished = lane_.Has(Flaw::kBatchCommitsAsItClaims) &&
                            p.sent < options().messages && p.sent == p.group + 1;
    if (!unfinished) NextBatch(p);
    Rest(p);
  }

  // The flaw: the first cell of the batch was revoked, the second is committed all the same.
  void CommitAhead(Move& m, int i) const {
    Producer& p = m.s.producers[i];
    const Word claimed{lane_.LapOf(p.claim[1]), 0, kClaimed,
                       static_cast<uint8_t>(kFirstProducer + i)};
    m.what = "commit the next cell";
    if (lane_.Cas(m, lane_.At(m.s, p.claim[1]), claimed, With(claimed, kReady, claimed.owner))) {
      Accept(m, i, p.sent + 1);
      p.ahead = 1;
      p.claim[1] = 0;
      p.claims = 1;
    }
    p.at = At::kAbort;
  }

  void Accept(Move& m, int i, int message) const {
    State& s = m.s;
    const Producer& p = s.producers[i];
    const uint8_t bit = Lane::Bit(lane_.IdOf(i, message));
    s.accepted |= bit;
    if (p.generation != s.generation) m.Fail("a message for the old mailbox reached the new one");
    if (p.generation != 0) {
      s.second_generation |= bit;
    } else if (s.drained != 0) {
      m.Fail("a message was accepted behind the seal");
    }
  }

  void Abort(Move& m, int i) const {
    State& s = m.s;
    Producer& p = s.producers[i];
    const uint8_t me = static_cast<uint8_t>(kFirstProducer + i);
    Cell& cell = lane_.At(s, p.claim[0]);
    const Word w = cell.word;
    if (w.kind == kQuarantined && w.owner == me) {
      m.what = "load my cell: quarantined";
      p.seen = w;
      p.at = At::kAbortLate;
      return;
    }
    m.what = "abort my claim";
    const Word claimed{lane_.LapOf(p.claim[0]), 0, kClaimed, me};
    if (w == claimed) lane_.Cas(m, cell, w, With(claimed, kDone, kAborted));
    PopClaim(m, i);
  }

  const Lane& lane_;
};

}  // namespace cfc::model::mailbox

#endif  // CFC_NATIVE_MODEL_MAILBOX_PRODUCER_H_
