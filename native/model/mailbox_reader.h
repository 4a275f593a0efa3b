// What readers do: take, copy, settle; and what anybody may do for the lane: reclaim at the head,
// count, repair what the dead left, quarantine, seal, reissue. One shared access a step.
#ifndef CFC_NATIVE_MODEL_MAILBOX_READER_H_
#define CFC_NATIVE_MODEL_MAILBOX_READER_H_

#include "mailbox_state.h"

namespace cfc::model::mailbox {

class ReaderMoves {
 public:
  explicit ReaderMoves(const Lane& lane) : lane_(lane), options_(lane.options()) {}

  // Adds the steps of reader `i`, which is alive.
  void Expand(const State& s, int i, Steps<State>& steps) const {
    switch (s.readers[i].at) {
      case At::kIdle:
        Idle(s, i, steps);
        break;
      case At::kSettle:
        Settle(s, i, steps);
        break;
      default: {
        Move move{s};
        Take(move, i);
        steps.Add(move.s, "reader", i, move.what, move.edge, move.violation);
      }
    }
    const bool may_matter = s.readers[i].at != At::kIdle || options_.defer;
    if (s.reader_deaths < options_.reader_deaths && may_matter) {
      State next = s;
      next.readers[i] = Reader{};
      ++next.reader_deaths;
      for (Token& token : next.tokens) {
        if (token.id != 0 && token.word.owner == kFirstReader + i) token = Token{};
      }
      SortTokens(next);
      steps.Add(next, "reader", i, "dies", Edge::kFault);
    }
  }

  static bool IsIdle(const Reader& r) { return r.at == At::kIdle; }

 private:
  using At = ReaderAt;

  static uint8_t Me(int i) { return static_cast<uint8_t>(kFirstReader + i); }

  static void Rest(Reader& r) {
    const uint8_t cursor = r.cursor;
    r = Reader{};
    r.alive = 1;
    r.cursor = cursor;
  }

  // ---- What an idle reader may begin

  void Idle(const State& s, int i, Steps<State>& steps) const {
    const auto begin = [&](const char* what, auto&& change, Edge edge = Edge::kNormal) {
      State next = s;
      change(next, next.readers[i]);
      steps.Add(next, "reader", i, what, edge);
    };
    if (options_.reissues > 0 || options_.shell) {
      begin("take: look up generation and incarnation", [&](State&, Reader& r) {
        r.generation = s.generation;
        r.incarnation = s.incarnation;
        r.at = At::kLoadHead;
      });
    } else {
      begin("take: load head", [&](State& next, Reader&) { LoadHead(next, i); });
    }
    begin("reclaim: load head", [&](State&, Reader& r) {
      r.head = s.head;
      r.at = At::kInspectHead;
    });
    for (const Token& token : s.tokens) {
      if (token.id == 0) continue;
      if (token.word.kind == kLeased && token.word.owner != Me(i)) continue;
      // A late ack by the old incarnation may come or not: nobody may rely on it.
      const bool late = token.incarnation != s.incarnation;
      for (const At at : {At::kTokenAck, At::kTokenNack}) {
        if (at == At::kTokenNack && !options_.nack) continue;
        begin(
            late ? "late settlement by token" : "settlement by token",
            [&](State&, Reader& r) {
              r.seen = token.word;
              r.position = token.position;
              r.id = token.id;
              r.at = at;
            },
            late ? Edge::kFault : Edge::kNormal);
      }
    }
    for (int k = 0; k < options_.cells; ++k) {
      Word next_word;
      if (!FindRepair(s, s.cells[k].word, &next_word)) continue;
      begin("repair: load a cell of the dead", [&](State&, Reader& r) {
        r.position = static_cast<uint8_t>(k);
        r.seen = s.cells[k].word;
        r.next = next_word;
        r.at = At::kRepair;
      });
    }
    if (s.closes < options_.closes) {
      begin(
          "close: look up the generation",
          [&](State& next, Reader& r) {
            r.generation = s.generation;
            r.at = At::kCloseLoad;
            ++next.closes;
          },
          Edge::kFault);
    }
    const Word at_tail = lane_.At(s, s.tail).word;
    if (s.closing != 0 && at_tail.kind != kSealed && !lane_.Has(Flaw::kBitWithoutSeal)) {
      begin("seal: load tail", [&](State&, Reader& r) {
        r.position = s.tail;
        r.at = At::kSealLoad;
      });
    }
    if (s.closing != 0 && s.reopens < options_.reopens) {
      begin(
          "reopen",
          [&](State& next, Reader& r) {
            r.at = At::kOpenTail;
            ++next.reopens;
          },
          Edge::kFault);
    }
    if (options_.reissues > 0 && s.closing != 0 && (s.closed & 2) == 0) {
      begin("reissue: load head", [&](State&, Reader& r) {
        r.head = s.head;
        r.at = At::kReissueCell;
      });
    }
  }

  // Whether `word` belongs to somebody proven gone, and what it becomes.
  bool FindRepair(const State& s, Word word, Word* next) const {
    const bool claimed = word.kind == kClaimed || word.kind == kQuarantined;
    const bool leased = word.kind == kLeased || word.kind == kHeld;
    if ((!claimed && !leased) || !Lane::IsDead(s, word.owner)) return false;
    *next = claimed ? With(word, kDone, kAborted) : lane_.Redelivery(word);
    return true;
  }

  void LoadHead(State& s, int i) const {
    Reader& r = s.readers[i];
    r.head = s.head;
    r.position = s.head;
    r.at = At::kScan;
    if (r.cursor <= s.head) {
      r.cursor = 0;
    } else if (lane_.Has(Flaw::kCursorNeverReturns)) {
      r.position = r.cursor;
    } else {
      r.at = At::kPeekHead;
    }
  }

  // ---- One step of a verb under way

  void Take(Move& m, int i) const {
    State& s = m.s;
    Reader& r = s.readers[i];
    Cell& cell = lane_.At(s, r.position);
    switch (r.at) {
      case At::kIdle:
      case At::kSettle:
        return;
      case At::kLoadHead:
        m.what = "load head";
        LoadHead(s, i);
        return;
      case At::kPeekHead: {
        m.what = "look at the head before going on at the cursor";
        const Word w = lane_.At(s, r.head).word;
        const bool ready = w.kind == kReady && w.lap == lane_.LapOf(r.head);
        r.position = ready ? r.head : r.cursor;
        r.at = At::kScan;
        return;
      }
      case At::kScan:
        Scan(m, i);
        return;
      // A seal that the tail has passed is a hole: the lane was opened again.
      case At::kScanSealed:
        m.what = "scan: is the tail past the seal?";
        if (s.tail > r.position) {
          ++r.position;
          r.at = At::kScan;
        } else {
          ScanIsEmpty(r);
        }
        return;
      case At::kGuard:
        m.what = "look at the passed claim again";
        if (lane_.At(s, r.skipped - 1).word == r.next) {
          r.next = Word{};
          r.at = AfterGuard();
        } else {
          Rest(r);
        }
        return;
      case At::kTakeGeneration:
        m.what = "load the generation";
        if (s.generation == r.generation) {
          r.at = lane_.Has(Flaw::kReaderIgnoresGeneration) ? At::kScan : At::kTake;
        } else {
          Rest(r);
        }
        return;
      case At::kTake:
        TakeCas(m, i);
        return;
      case At::kCopyFirst:
        m.what = "copy the first half";
        r.first_half = cell.body[0];
        r.at = At::kCopySecond;
        return;
      case At::kCopySecond:
        m.what = "copy the second half";
        r.id = cell.body[1];
        r.at = At::kValidate;
        return;
      case At::kValidate:
        m.what = "load the state once more";
        if (!(cell.word == r.seen) && !lane_.Has(Flaw::kNoValidation)) {
          Rest(r);
          return;
        }
        if (r.first_half != r.id) m.Fail("a torn or foreign body was delivered");
        r.first_half = 0;
        r.at = options_.shell ? At::kHandOver : At::kSettle;
        if (r.seen.attempt >= options_.attempt_limit) {
          r.at = lane_.Has(Flaw::kDeadLetterAfterDone) ? At::kDeadLetterDone : At::kDeadLetterPush;
        }
        return;
      case At::kDeadLetterPush:
        m.what = "push it to the dead letters";
        s.dead_pushed |= Lane::Bit(r.id);
        if (lane_.Has(Flaw::kDeadLetterAfterDone)) {
          Rest(r);
        } else {
          r.at = At::kDeadLetterDone;
        }
        return;
      case At::kDeadLetterDone:
        m.what = "mark it dead-lettered";
        if (lane_.Cas(m, cell, r.seen, With(r.seen, kDone, kDeadLettered))) {
          s.dead_lettered |= Lane::Bit(r.id);
          if (lane_.Has(Flaw::kDeadLetterAfterDone)) {
            r.at = At::kDeadLetterPush;
            return;
          }
        }
        Rest(r);
        return;
      case At::kHandOver: {
        m.what = "printed: hand the lease over to the incarnation";
        const uint8_t incarnation =
            lane_.Has(Flaw::kHandOverToCurrentIncarnation) ? s.incarnation : r.incarnation;
        Word held = With(r.seen, kHeld, static_cast<uint8_t>(kFirstIncarnation + incarnation));
        if (lane_.Has(Flaw::kLeaseToAgentAtOnce)) held = r.seen;
        if (held == r.seen || lane_.Cas(m, cell, r.seen, held)) {
          Keep(m, {held, r.position, r.id, r.incarnation});
        }
        Rest(r);
        return;
      }
      case At::kRepair:
        m.what = "repair it";
        lane_.Cas(m, cell, r.seen, r.next);
        Rest(r);
        return;
      case At::kTokenAck:
      case At::kTokenNack:
        TokenCas(m, i);
        return;
      default:
        if (r.at >= At::kOpenTail) {
          Reopen(m, i);
        } else if (r.at >= At::kReissueCell) {
          Reissue(m, i);
        } else if (r.at >= At::kCloseLoad) {
          Close(m, i);
        } else {
          Reclaim(m, i);
        }
    }
  }

  At AfterGuard() const {
    const bool check = options_.reissues > 0 && !lane_.Has(Flaw::kReaderIgnoresGeneration);
    return check ? At::kTakeGeneration : At::kTake;
  }

  void Scan(Move& m, int i) const {
    State& s = m.s;
    Reader& r = s.readers[i];
    const Word w = lane_.At(s, r.position).word;
    const int ahead = w.lap - lane_.LapOf(r.position);
    m.what = "scan: load a cell";
    if (r.position - r.head >= options_.cells || ahead < 0 || (ahead == 0 && w.kind == kFree)) {
      m.what = "scan: nothing to take";
      ScanIsEmpty(r);
      return;
    }
    if (ahead == 0 && w.kind == kSealed) {
      m.what = "scan: a seal";
      r.at = At::kScanSealed;
      return;
    }
    if (ahead == 0 && FindRepair(s, w, &r.next)) {
      m.what = "scan: a cell of the dead";
      r.seen = w;
      r.at = At::kRepair;
      return;
    }
    if (ahead == 0 && w.kind == kReady) {
      m.what = "scan: ready";
      r.seen = w;
      r.at = AfterGuard();
      if (r.skipped != 0 && !lane_.Has(Flaw::kSkipWithoutGuard)) r.at = At::kGuard;
      if (r.at != At::kGuard) r.next = Word{};
      return;
    }
    if (ahead == 0 && w.kind == kClaimed) {
      m.what = "scan: pass a claimed cell";
      if (r.skipped != 0 && !lane_.Has(Flaw::kSkipTwoClaims)) {
        m.what = "scan: a second claimed cell";
        Rest(r);
        return;
      }
      r.skipped = static_cast<uint8_t>(r.position + 1);
      r.next = w;
    } else {
      r.next = r.skipped != 0 ? r.next : Word{};
    }
    ++r.position;
  }

  void ScanIsEmpty(Reader& r) const {
    if (!lane_.Has(Flaw::kCursorNeverReturns)) r.cursor = 0;
    Rest(r);
  }

  void TakeCas(Move& m, int i) const {
    State& s = m.s;
    Reader& r = s.readers[i];
    Cell& cell = lane_.At(s, r.position);
    uint8_t holder = Me(i);
    if (lane_.Has(Flaw::kLeaseToAgentAtOnce)) {
      holder = static_cast<uint8_t>(kFirstIncarnation + r.incarnation);
    }
    m.what = "take";
    if (!lane_.Cas(m, cell, r.seen, With(r.seen, kLeased, holder))) {
      m.what = "take: lost";
      Rest(r);
      return;
    }
    CheckTaken(m, cell.body[0], r);
    if (options_.cursor) {
      const bool at_claim = r.skipped != 0 && !lane_.Has(Flaw::kCursorPassesClaim);
      r.cursor = static_cast<uint8_t>(at_claim ? r.skipped - 1 : r.position + 1);
    }
    r.seen = With(r.seen, kLeased, holder);
    r.skipped = 0;
    r.head = 0;
    r.at = At::kCopyFirst;
  }

  // Repeats are marked; first deliveries come in the order in which their sender sent them.
  void CheckTaken(Move& m, int id, const Reader& r) const {
    State& s = m.s;
    const uint8_t bit = Lane::Bit(id);
    if (r.seen.attempt == 0) {
      if ((s.taken & bit) != 0) m.Fail("a repeat was not marked as one");
      const bool first = (id - 1) % options_.messages == 0;
      const uint8_t settled = s.taken | s.dropped | s.refused;
      if (!first && (settled & Lane::Bit(id - 1)) == 0) {
        m.Fail("a message overtook an earlier one of its sender");
      }
    }
    if (((s.second_generation & bit) != 0) != (r.generation != 0)) {
      m.Fail("a reader of the old mailbox took a message of the new one");
    }
    s.taken |= bit;
  }

  // ---- Settlement, in mailbox_settle.h

  void Settle(const State& s, int i, Steps<State>& steps) const;
  void Ack(Move& m, int position, Word word, int id) const;
  void Nack(Move& m, int position, Word word) const;
  void TokenCas(Move& m, int i) const;
  void Keep(Move& m, Token kept) const;
  static void SortTokens(State& s);

  // ---- Upkeep, in mailbox_upkeep.h

  void Reclaim(Move& m, int i) const;
  void Count(Move& m, int i) const;
  void Close(Move& m, int i) const;
  void Reissue(Move& m, int i) const;
  void Reopen(Move& m, int i) const;

  const Lane& lane_;
  const Options& options_;
};

}  // namespace cfc::model::mailbox

#endif  // CFC_NATIVE_MODEL_MAILBOX_READER_H_
