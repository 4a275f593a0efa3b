// The steps of a publisher: claim, write, commit, ring; and where the log is full, free the cell at
// the head, after a scan of the rows where the gate stands in the way.
#ifndef CFC_NATIVE_MODEL_TOPIC_PUBLISHER_H_
#define CFC_NATIVE_MODEL_TOPIC_PUBLISHER_H_

#include "search.h"
#include "topic_state.h"

namespace cfc::model::topic {

inline uint8_t LapOf(uint8_t position) { return static_cast<uint8_t>(position / kCells); }

class PublisherSteps {
 public:
  PublisherSteps(const Options& options, const State& state, int index, Steps<State>& steps)
      : o_(options), s_(state), i_(index), steps_(steps) {}

  void Expand() {
    if (!s_.publishers[i_].alive) return;
    State n = s_;
    Publisher& p = n.publishers[i_];
    const Publisher& now = s_.publishers[i_];
    switch (now.at) {
      case PublisherAt::kIdle:
        if (now.sent >= Messages(o_, i_)) return;
        for (int r = 0; r < o_.subscribers; ++r) {
          if (s_.rows[r].kind >= kReliable) p.joined |= static_cast<uint8_t>(1 << r);
        }
        return Go(n, p, PublisherAt::kTail, "begins to publish");
      case PublisherAt::kTail:
        if (s_.tail + 1 >= kMaxPositions) return;
        p.position = s_.tail;
        return Go(n, p, PublisherAt::kCell, "loads the tail");
      case PublisherAt::kCell: {
        p.seen = s_.cells[now.position % kCells].word;
        const int ahead = p.seen.lap - LapOf(now.position);
        if (ahead < 0) return Go(n, p, PublisherAt::kHead, "finds the log full");
        if (ahead == 0 && p.seen.kind == kFree) {
          return Go(n, p, PublisherAt::kClaim, "finds the cell free");
        }
        return Go(n, p, PublisherAt::kHelpTail, "finds the cell taken");
      }
      case PublisherAt::kHelpTail:
        if (n.tail == now.position) ++n.tail;
        return Go(n, p, PublisherAt::kTail, "helps the tail");
      case PublisherAt::kClaim: {
        if (!Swap(n, now.position, now.seen, {now.seen.lap, kClaimed, Me()})) {
          return Go(n, p, PublisherAt::kTail, "loses the claim");
        }
        const char* violation = nullptr;
        for (int r = 0; r < o_.subscribers; ++r) {
          if ((now.joined >> r & 1) && s_.rows[r].kind >= kReliable &&
              now.position < s_.rows[r].start) {
            violation = "published after subscribe, and before its start";
          }
        }
        p.at = PublisherAt::kTailUp;
        return steps_.Add(n, "publisher", i_, "claims", Edge::kNormal, violation);
      }
      case PublisherAt::kTailUp:
        if (n.tail == now.position) ++n.tail;
        return Go(n, p, PublisherAt::kBody, "moves the tail");
      case PublisherAt::kBody:
        n.cells[now.position % kCells].body = Body();
        return Go(n, p, PublisherAt::kCommit, "writes the body");
      case PublisherAt::kCommit: {
        const CellWord claimed = {LapOf(now.position), kClaimed, Me()};
        if (!Swap(n, now.position, claimed, {claimed.lap, kReady, Me()})) {
          return Go(n, p, PublisherAt::kGiveBack, "was set aside");
        }
        n.published[now.position] = Body();
        ++p.sent;
        if (!o_.sleep) return Done(n, p, "commits");
        return Go(n, p, PublisherAt::kRingLoad, "commits");
      }
      case PublisherAt::kGiveBack: {
        Cell& cell = n.cells[now.position % kCells];
        if (cell.word.owner == Me() && cell.word.kind == kHole) {
          cell.word = {cell.word.lap, kAborted, 0};
        }
        return Go(n, p, PublisherAt::kTail, "gives its claim back");
      }
      case PublisherAt::kRingLoad:
        p.bits = s_.bits;
        p.asleep = 0;
        p.row = 0;
        if (s_.bits.rows == 0) return Done(n, p, "finds nobody asleep");
        return Go(n, p, PublisherAt::kRingOne, "loads who sleeps");
      case PublisherAt::kRingOne: {
        if (now.row >= o_.subscribers) {
          if (now.asleep == now.bits.rows) return Done(n, p, "has rung all");
          return Go(n, p, PublisherAt::kRingClear, "has rung all");
        }
        if (now.bits.rows >> now.row & 1) {
          Subscriber& sleeper = n.subscribers[now.row];
          if (sleeper.alive && sleeper.parked) {
            sleeper.parked = 2;
            p.asleep |= static_cast<uint8_t>(1 << now.row);
          }
        }
        ++p.row;
        return Go(n, p, PublisherAt::kRingOne, "rings one");
      }
      case PublisherAt::kRingClear:
        if (Same(n.bits, now.bits)) {
          n.bits.rows = now.asleep;
          if (o_.flaw != Flaw::kBitKeepsEpoch) ++n.bits.epoch;
        }
        return Done(n, p, "clears who is awake");
      default:
        return Free(n, p, now);
    }
  }

  static int Messages(const Options& options, int index) {
    if (index == 0 || options.messages == 1) return options.messages;
    return options.last_sends_one ? 1 : options.messages - 1;
  }

 private:
  void Free(State& n, Publisher& p, const Publisher& now) {
    switch (now.at) {
      case PublisherAt::kHead:
        p.head = s_.head;
        return Go(n, p, PublisherAt::kHeadCell, "loads the head");
      case PublisherAt::kHeadCell: {
        p.seen = s_.cells[now.head % kCells].word;
        const int ahead = p.seen.lap - LapOf(now.head);
        if (ahead > 0) return Go(n, p, PublisherAt::kFollowTail, "finds the head freed");
        if (ahead < 0 || s_.head != now.head) {
          return Go(n, p, PublisherAt::kTail, "finds the head moved");
        }
        return Go(n, p, PublisherAt::kGate, "loads the cell at the head");
      }
      case PublisherAt::kGate:
        if (now.head >= s_.gate && o_.flaw != Flaw::kFreeIgnoresGate) {
          return Go(
              n, p,
              o_.flaw == Flaw::kScanLoadsTailLast ? PublisherAt::kRowWord : PublisherAt::kScanTail,
              "stands at the gate");
        }
        if (now.seen.kind == kReady) return Go(n, p, PublisherAt::kRetire, "may pass the gate");
        if (now.seen.kind == kRetired) return Go(n, p, PublisherAt::kFreeCas, "may pass the gate");
        if (now.seen.kind == kAborted || now.seen.kind == kHole) {
          if (o_.flaw == Flaw::kCountAfterFree && now.seen.kind == kAborted) {
            return Go(n, p, PublisherAt::kFreeCas, "may pass the gate");
          }
          if (o_.flaw == Flaw::kHoleNotCounted && now.seen.kind == kHole) {
            return Go(n, p, PublisherAt::kHoleCas, "may pass the gate");
          }
          return Go(n, p, PublisherAt::kCountLoad, "may pass the gate");
        }
        return Go(n, p, PublisherAt::kTail, "finds a claim in the way");
      case PublisherAt::kRetire:
        if (o_.flaw == Flaw::kRetireIsStored) {
          n.cells[now.head % kCells].word = {now.seen.lap, kRetired, 0};
        } else {
          Swap(n, now.head, now.seen, {now.seen.lap, kRetired, 0});
        }
        return Go(n, p, PublisherAt::kHead, "retires the oldest");
      case PublisherAt::kCountLoad:
        p.tally = s_.tally;
        return Go(n, p, PublisherAt::kCountCell, "loads the count");
      case PublisherAt::kCountCell:
        if (o_.flaw != Flaw::kCountAfterFree && !Same(s_.cells[now.head % kCells].word, now.seen)) {
          return Go(n, p, PublisherAt::kHead, "finds the cell changed");
        }
        return Go(n, p, PublisherAt::kCountCas, "sees the cell unchanged");
      case PublisherAt::kCountCas: {
        const auto next = static_cast<uint8_t>(now.head + 1);
        if (now.tally.position < next) {
          if (!Same(n.tally, now.tally)) return Go(n, p, PublisherAt::kCountLoad, "loses a count");
          n.tally = {next, static_cast<uint8_t>(now.tally.count + 1)};
        }
        if (o_.flaw == Flaw::kCountAfterFree && now.seen.kind == kAborted) {
          return Go(n, p, PublisherAt::kFollowTail, "counts");
        }
        return Go(n, p, now.seen.kind == kHole ? PublisherAt::kHoleCas : PublisherAt::kFreeCas,
                  "counts");
      }
      case PublisherAt::kFreeCas: {
        const auto lap = static_cast<uint8_t>(now.seen.lap + 1);
        if (o_.flaw == Flaw::kFreeIsStored) {
          n.cells[now.head % kCells].word = {lap, kFree, 0};
        } else {
          if (!Swap(n, now.head, now.seen, {lap, kFree, 0})) {
            return Go(n, p, PublisherAt::kHead, "finds the cell changed");
          }
        }
        if (o_.flaw == Flaw::kCountAfterFree && now.seen.kind == kAborted) {
          return Go(n, p, PublisherAt::kCountLoad, "frees");
        }
        return Go(n, p, PublisherAt::kFollowTail, "frees");
      }
      case PublisherAt::kHoleCas:
        if (!Swap(n, now.head, now.seen,
                  {static_cast<uint8_t>(now.seen.lap + 1), kHole, now.seen.owner})) {
          return Go(n, p, PublisherAt::kHead, "finds the cell changed");
        }
        return Go(n, p, PublisherAt::kFollowTail, "moves the hole on");
      case PublisherAt::kFollowTail:
        if (n.tail == now.head) ++n.tail;
        return Go(n, p, PublisherAt::kFollowHead, "helps the tail");
      case PublisherAt::kFollowHead:
        if (o_.flaw == Flaw::kHeadIsStored) {
          n.head = static_cast<uint8_t>(now.head + 1);
        } else if (n.head == now.head) {
          ++n.head;
        }
        return Go(n, p, PublisherAt::kTail, "moves the head",
                  n.head < s_.head ? "the head falls back" : nullptr);
      default:
        return Scan(n, p, now);
    }
  }

  void Scan(State& n, Publisher& p, const Publisher& now) {
    const bool last = o_.flaw == Flaw::kScanLoadsTailLast;
    switch (now.at) {
      case PublisherAt::kScanTail:
        if (last) {
          p.least = now.least < s_.tail ? now.least : s_.tail;
          return Go(n, p, PublisherAt::kGateUp, "loads the tail");
        }
        p.least = s_.tail;
        p.row = 0;
        return Go(n, p, PublisherAt::kRowWord, "loads the tail");
      case PublisherAt::kRowWord: {
        if (last && now.row == 0) p.least = kMaxPositions;
        if (now.row >= o_.subscribers) {
          return Go(n, p, last ? PublisherAt::kScanTail : PublisherAt::kGateUp, "saw all rows");
        }
        const Row& row = s_.rows[now.row];
        p.seen.kind = row.kind;
        const bool joining = row.kind == kJoining && o_.flaw != Flaw::kScanIgnoresJoining;
        if (joining || row.kind == kReliable || row.kind == kLossy) {
          return Go(n, p, PublisherAt::kRowCursor, "sees a row");
        }
        ++p.row;
        return Go(n, p, PublisherAt::kRowWord, "sees no row");
      }
      case PublisherAt::kRowCursor: {
        const Row& row = s_.rows[now.row];
        if (now.seen.kind != kLossy && row.cursor < now.least) p.least = row.cursor;
        if (now.seen.kind == kJoining && o_.flaw != Flaw::kJoiningHoldsNoStart) {
          return Go(n, p, PublisherAt::kRowStart, "loads a cursor");
        }
        if (now.seen.kind != kJoining && !row.base_known) {
          return Go(n, p, PublisherAt::kBaseTally, "loads a cursor");
        }
        ++p.row;
        return Go(n, p, PublisherAt::kRowWord, "loads a cursor");
      }
      case PublisherAt::kRowStart:  // by now it may read, and be past its start
        if (s_.rows[now.row].start < now.least) p.least = s_.rows[now.row].start;
        ++p.row;
        return Go(n, p, PublisherAt::kRowWord, "loads a start");
      case PublisherAt::kBaseTally:
        p.tally = s_.tally;
        return Go(n, p, PublisherAt::kBaseHead, "loads the count");
      case PublisherAt::kBaseHead:
        p.base_head = s_.head;
        return Go(n, p, PublisherAt::kBaseAgain, "loads the head");
      case PublisherAt::kBaseAgain: {
        Row& row = n.rows[now.row];
        if (!Same(s_.tally, now.tally)) {
          return Go(n, p, PublisherAt::kBaseTally, "finds the count changed");
        }
        const bool there = o_.flaw == Flaw::kBaseHoldsNothing ? now.base_head >= row.start
                                                              : now.base_head == row.start;
        // The row may have gone meanwhile: a swap that names its generation, which has changed.
        const bool same = row.kind == now.seen.kind && !row.base_known;
        if (there && same) {
          row.base_known = 1;
          row.base = static_cast<uint8_t>(now.tally.count -
                                          (now.tally.position == now.base_head + 1 ? 1 : 0));
        } else if (!there && o_.flaw != Flaw::kBaseHoldsNothing && row.start < now.least) {
          p.least = row.start;
        }
        ++p.row;
        return Go(n, p, PublisherAt::kRowWord, "writes the base, or waits for it");
      }
      case PublisherAt::kGateUp:
        if (n.gate < now.least) n.gate = now.least;
        return Go(n, p, PublisherAt::kTail, "moves the gate");
      default:
        return;
    }
  }

  void Done(State& n, Publisher& p, const char* what) {
    const uint8_t sent = p.sent;
    p = Publisher{};
    p.alive = 1;
    p.sent = sent;
    steps_.Add(n, "publisher", i_, what);
  }
  void Go(State& n, Publisher& p, PublisherAt at, const char* what,
          const char* violation = nullptr) {
    p.at = at;
    if (at == PublisherAt::kTail) {  // registers that mean nothing any more split equal states
      p.position = p.head = p.row = p.least = p.base_head = 0;
      p.seen = CellWord{};
      p.tally = Tally{};
    }
    steps_.Add(n, "publisher", i_, what, Edge::kNormal, violation);
  }
  static bool Swap(State& n, uint8_t position, const CellWord& from, const CellWord& to) {
    CellWord& word = n.cells[position % kCells].word;
    if (!Same(word, from)) return false;
    word = to;
    return true;
  }
  uint8_t Me() const { return static_cast<uint8_t>(i_ + 1); }
  uint8_t Body() const { return static_cast<uint8_t>((i_ + 1) * 8 + s_.publishers[i_].sent + 1); }

  const Options& o_;
  const State& s_;
  const int i_;
  Steps<State>& steps_;
};

}  // namespace cfc::model::topic

#endif  // CFC_NATIVE_MODEL_TOPIC_PUBLISHER_H_
