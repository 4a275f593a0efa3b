// The steps of a subscriber: join, read in the order of the positions, tell what it has lost,
// sleep.
#ifndef CFC_NATIVE_MODEL_TOPIC_SUBSCRIBER_H_
#define CFC_NATIVE_MODEL_TOPIC_SUBSCRIBER_H_

#include "search.h"
#include "topic_publisher.h"
#include "topic_state.h"

namespace cfc::model::topic {

class SubscriberSteps {
 public:
  SubscriberSteps(const Options& options, const State& state, int index, Steps<State>& steps)
      : o_(options), s_(state), i_(index), steps_(steps) {}

  bool Reliable() const { return i_ == 0 && !o_.lossy; }

  void Expand() {
    const Subscriber& now = s_.subscribers[i_];
    if (!now.alive) return;
    State n = s_;
    Subscriber& me = n.subscribers[i_];
    Row& row = n.rows[i_];
    switch (now.at) {
      case SubscriberAt::kOutside:  // CLAIMED: nobody looks at the row yet
        row = Row{};
        row.kind = kRowClaimed;
        row.cursor = row.start = s_.tail;
        if (o_.flaw == Flaw::kJoinLoadsTailOnce) {
          me.next = row.start;
          return Go(n, me, SubscriberAt::kActive, "loads the tail");
        }
        return Go(n, me, SubscriberAt::kJoining, "loads the tail");
      case SubscriberAt::kJoining:
        if (row.kind != kRowClaimed) return Go(n, me, SubscriberAt::kOutside, "lost its row");
        row.kind = kJoining;
        return Go(n, me, SubscriberAt::kTailAgain, "becomes joining");
      case SubscriberAt::kTailAgain:
        me.next = s_.tail;
        return Go(n, me, SubscriberAt::kStart, "loads the tail again");
      case SubscriberAt::kStart:
        row.start = now.next;
        return Go(n, me, SubscriberAt::kCursor, "stores its start");
      case SubscriberAt::kCursor:
        row.cursor = now.next;
        return Go(n, me, SubscriberAt::kActive, "stores its cursor");
      case SubscriberAt::kActive:
        if (row.kind != kJoining && o_.flaw != Flaw::kJoinLoadsTailOnce) {
          return Go(n, me, SubscriberAt::kOutside, "was set aside");
        }
        row.kind = Reliable() ? kReliable : kLossy;
        return Go(n, me, SubscriberAt::kMine, "has subscribed");
      default:
        return Read(n, me, row, now);
    }
  }

 private:
  void Read(State& n, Subscriber& me, Row& row, const Subscriber& now) {
    const auto after = static_cast<uint8_t>(now.next + 1);
    switch (now.at) {
      case SubscriberAt::kMine:
        if (row.kind != kLagged) return Go(n, me, SubscriberAt::kCell, "looks at its row");
        me.lagged = 1;
        row.kind = kRowClaimed;
        return Go(n, me, SubscriberAt::kRejoin, "sees that it was set aside");
      case SubscriberAt::kRejoin:
        row.cursor = now.next;
        row.kind = kReliable;
        return Go(n, me, SubscriberAt::kCell, "takes part again");
      case SubscriberAt::kCell:
        return Look(n, me, now, /*asleep=*/false);
      case SubscriberAt::kCopy:
        me.body = s_.cells[now.next % kCells].body;
        if (o_.flaw == Flaw::kNoValidation) return Deliver(n, me, "copies and delivers");
        return Go(n, me, SubscriberAt::kValidate, "copies");
      case SubscriberAt::kValidate:
        if (!Same(s_.cells[now.next % kCells].word, now.seen)) {
          return Go(n, me, SubscriberAt::kCell, "finds it changed");
        }
        return Deliver(n, me, "delivers");
      case SubscriberAt::kTailOfHole:
        if (s_.tail <= now.next && o_.flaw != Flaw::kHoleBeyondTailIsRead) {
          return Go(n, me, SubscriberAt::kPark, "finds nobody has come there");
        }
        me.next = after;
        ++me.aborted;
        return Go(n, me, SubscriberAt::kAdvance, "passes a hole",
                  s_.published[now.next] != 0 ? "passes a message for a hole" : nullptr);
      case SubscriberAt::kAdvance:
        row.cursor = now.next;
        return Go(n, me, SubscriberAt::kMine, "moves its cursor");
      case SubscriberAt::kFollowHead:
        me.head = s_.head;
        return Go(n, me, SubscriberAt::kFollowCell, "loads the head");
      case SubscriberAt::kFollowCell:
        if (s_.cells[now.head % kCells].word.lap <= LapOf(now.head)) {
          return Go(n, me, SubscriberAt::kTally, "finds the head in place");
        }
        return Go(n, me, SubscriberAt::kFollowTail, "finds the head freed");
      case SubscriberAt::kFollowTail:
        if (n.tail == now.head) ++n.tail;
        return Go(n, me, SubscriberAt::kFollowUp, "helps the tail");
      case SubscriberAt::kFollowUp:
        if (n.head == now.head) ++n.head;
        return Go(n, me, SubscriberAt::kFollowHead, "moves the head");
      case SubscriberAt::kTally:
        me.tally = s_.tally;
        return Go(n, me, SubscriberAt::kPassed, "loads the count");
      case SubscriberAt::kPassed:
        me.head = s_.head;
        return Go(n, me, SubscriberAt::kTallyAgain, "loads the head");
      case SubscriberAt::kTallyAgain:
        return Overtaken(n, me, row, now);
      case SubscriberAt::kPark:
        if (!o_.sleep) return Go(n, me, SubscriberAt::kMine, "finds nothing");
        if (o_.flaw == Flaw::kLookBeforeBit) return Look(n, me, now, /*asleep=*/true);
        me.parked = 1;
        return Go(n, me, SubscriberAt::kBit, "parks");
      case SubscriberAt::kBit:
        if (o_.flaw == Flaw::kLookBeforeBit) me.parked = 1;
        n.bits.rows |= static_cast<uint8_t>(1 << i_);
        if (o_.flaw != Flaw::kBitKeepsEpoch) ++n.bits.epoch;
        return Go(n, me,
                  o_.flaw == Flaw::kLookBeforeBit ? SubscriberAt::kAsleep : SubscriberAt::kLook,
                  "sets its bit");
      case SubscriberAt::kLook:
        return Look(n, me, now, /*asleep=*/true);
      case SubscriberAt::kAsleep:
        if (now.parked != 2) return;
        me.parked = 0;
        return Go(n, me, SubscriberAt::kMine, "wakes");
      default:
        return;
    }
  }

  void Look(State& n, Subscriber& me, const Subscriber& now, bool asleep) {
    const CellWord word = s_.cells[now.next % kCells].word;
    me.seen = word;
    const int ahead = word.lap - LapOf(now.next);
    bool nothing = ahead < 0 || (ahead == 0 && word.kind == kFree);
    // A hole ahead of the tail: the look before this one has loaded the tail as well.
    if (asleep && ahead == 0 && (word.kind == kHole || word.kind == kAborted)) {
      nothing = s_.tail <= now.next;
    }
    if (asleep) {
      if (nothing) {
        const bool late = o_.flaw == Flaw::kLookBeforeBit;
        return Go(n, me, late ? SubscriberAt::kBit : SubscriberAt::kAsleep, "still finds nothing");
      }
      me.parked = 0;
      return Go(n, me, SubscriberAt::kMine, "finds something");
    }
    if (ahead > 0) return Go(n, me, SubscriberAt::kFollowHead, "was overtaken");
    if (nothing) return Go(n, me, SubscriberAt::kPark, "finds nothing");
    switch (word.kind) {
      case kReady:
        return Go(n, me, SubscriberAt::kCopy, "finds a message");
      case kRetired:
        ++me.next;
        return Go(n, me, SubscriberAt::kAdvance, "loses a message that is being freed",
                  Reliable() && !Aside() ? "a reliable subscriber loses a message" : nullptr);
      case kClaimed:
        if (o_.flaw == Flaw::kClaimIsSkipped) {
          return Go(n, me, SubscriberAt::kTailOfHole, "takes a claim for a hole");
        }
        return Go(n, me, SubscriberAt::kMine, "finds a claim");
      default:
        return Go(n, me, SubscriberAt::kTailOfHole, "finds a hole");
    }
  }

  void Overtaken(State& n, Subscriber& me, const Row& row, const Subscriber& now) {
    if (!Same(s_.tally, now.tally)) {
      return Go(n, me, SubscriberAt::kTally, "finds the count changed");
    }
    if (now.head <= now.next) return Go(n, me, SubscriberAt::kMine, "finds the head behind");
    if (!now.absolute) {
      if (!row.base_known) {
        return Go(n, me, SubscriberAt::kMine, "has no base", "overtaken before its base was known");
      }
      me.aborted = static_cast<uint8_t>(me.aborted + row.base);
      me.absolute = 1;
    }
    const auto aborted =
        static_cast<uint8_t>(now.tally.count - (now.tally.position == now.head + 1 ? 1 : 0));
    const auto lost = static_cast<uint8_t>((now.head - now.next) - (aborted - me.aborted));
    uint8_t really = 0;
    for (uint8_t at = now.next; at < now.head; ++at) really += s_.published[at] != 0;
    const char* violation = nullptr;
    if (lost != really) violation = "tells another number than it lost";
    if (really > 0 && Reliable() && !Aside()) violation = "a reliable subscriber loses a message";
    me.next = now.head;
    me.aborted = aborted;
    Go(n, me, SubscriberAt::kAdvance, "tells of a gap", violation);
  }

  void Deliver(State& n, Subscriber& me, const char* what) {
    const uint8_t at = s_.subscribers[i_].next;
    const char* violation =
        me.body != s_.published[at] ? "delivers what was not published there" : nullptr;
    ++me.next;
    me.body = 0;
    Go(n, me, SubscriberAt::kAdvance, what, violation);
  }

  // It was set aside once: then it may lose some.
  bool Aside() const { return s_.subscribers[i_].lagged || s_.rows[i_].kind == kLagged; }

  // Registers that mean nothing any more would split equal states.
  void Go(State& n, Subscriber& me, SubscriberAt at, const char* what,
          const char* violation = nullptr) {
    me.at = at;
    if (at == SubscriberAt::kMine || at == SubscriberAt::kCell) {
      me.seen = CellWord{};
      me.head = 0;
      me.tally = Tally{};
    }
    steps_.Add(n, "subscriber", i_, what, Edge::kNormal, violation);
  }

  const Options& o_;
  const State& s_;
  const int i_;
  Steps<State>& steps_;
};

}  // namespace cfc::model::topic

#endif  // CFC_NATIVE_MODEL_TOPIC_SUBSCRIBER_H_
