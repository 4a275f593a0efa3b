// Every step that the doorbell model can take, one shared access each, and what they must keep.
// doorbell_model.cc says what is checked.
#ifndef CFC_NATIVE_MODEL_DOORBELL_PROTOCOL_H_
#define CFC_NATIVE_MODEL_DOORBELL_PROTOCOL_H_

#include "doorbell_state.h"
#include "search.h"

namespace cfc::model::doorbell {

class DoorbellModel {
 public:
  using State = doorbell::State;

  explicit DoorbellModel(const Options& options) : options_(options) {}

  State Initial() const {
    State s{};
    for (Word& word : s.words) word.epoch = 1;
    for (int i = 0; i < options_.ringers; ++i) s.ringers[i].alive = 1;
    for (int i = 0; i < options_.sleepers; ++i) s.sleepers[i].alive = 1;
    s.ringers[Reaper()].alive = 1;
    return s;
  }

  void Expand(const State& s, Steps<State>& steps) const {
    for (int i = 0; i < options_.ringers; ++i) {
      if (s.ringers[i].alive == 0 || IsDone(s.ringers[i])) continue;
      Ring(s, i, "sender", i, steps);
      if (s.ringer_deaths < options_.ringer_deaths) {
        State next = s;
        next.ringers[i] = Ringer{};
        ++next.ringer_deaths;
        ++next.dead_ringers;
        steps.Add(next, "sender", i, "dies", Edge::kFault);
      }
    }
    for (int i = 0; i < options_.sleepers; ++i) {
      if (s.sleepers[i].alive == 0) continue;
      Sleep(s, i, steps);
      if (s.sleeper_deaths < options_.sleeper_deaths) {
        State next = s;
        next.sleepers[i] = Sleeper{};
        next.ringers[PassOn(i)] = Ringer{};
        ++next.sleeper_deaths;
        ++next.dead_sleepers;
        steps.Add(next, "sleeper", i, "dies", Edge::kFault);
      }
    }
    Repair(s, steps);
    for (auto& step : steps) {
      Normalize(step.next);
      if (step.violation == nullptr && IsStranded(step.next)) {
        step.violation = "everybody sleeps, nobody is on the way, and a message lies unread";
      }
    }
  }

  bool IsEnd(const State& s) const {
    for (int i = 0; i < options_.ringers; ++i) {
      if (s.ringers[i].alive != 0 && !IsDone(s.ringers[i])) return false;
    }
    return s.dead_ringers + s.dead_sleepers == 0 && s.seen == s.committed;
  }

  bool IsJudged(const State& s) const {
    for (int i = 0; i < options_.sleepers; ++i) {
      if (s.sleepers[i].alive != 0 && s.sleepers[i].leaving == 0) return true;
    }
    return false;
  }

  void Print(FILE* out, const State& s) const {
    std::fprintf(out, "  committed %d, seen %d, returned %02x\n", s.committed, s.seen, s.returned);
    for (int i = 0; i < options_.sleepers; ++i) {
      const Sleeper& me = s.sleepers[i];
      const Word& w = s.words[WordOf(i)];
      std::fprintf(out, "  sleeper %d: %s step %d ticket %d bytes %d; word epoch %d%s%s\n", i,
                   me.alive == 0  ? "dead"
                   : me.gone != 0 ? "gone"
                                  : "up",
                   static_cast<int>(me.at), me.ticket, me.bytes, w.epoch,
                   w.parked != 0 ? " PARKED" : "", w.rung != 0 ? " RUNG" : "");
    }
  }

 private:
  bool Has(Flaw flaw) const { return options_.flaw == flaw; }
  int Reaper() const { return kMaxRingers + kMaxSleepers; }
  static int PassOn(int sleeper) { return kMaxRingers + sleeper; }
  int WordOf(int sleeper) const { return Has(Flaw::kSharedWord) ? 0 : sleeper; }
  int WordCount() const { return Has(Flaw::kSharedWord) ? 1 : options_.sleepers; }

  bool IsDone(const Ringer& r) const {
    return r.at == RingerAt::kIdle && r.sent >= options_.messages;
  }

  // Epochs only grow and are only compared for equality with the word. So the word's is always
  // called 1 and a register is current (1) or stale (0) for good; that keeps the space finite.
  void Normalize(State& s) const {
    for (Ringer& r : s.ringers) {
      const bool holds = r.at == RingerAt::kCas || r.at == RingerAt::kWake ||
                         r.at == RingerAt::kRung || r.at == RingerAt::kClear;
      r.epoch = holds && r.epoch == s.words[r.target].epoch ? 1 : 0;
    }
    for (int i = 0; i < options_.sleepers; ++i) {
      Sleeper& me = s.sleepers[i];
      const bool holds = me.at == SleeperAt::kLook || me.at == SleeperAt::kWait;
      me.ticket = holds && me.ticket == s.words[WordOf(i)].epoch ? 1 : 0;
    }
    for (Word& word : s.words) word.epoch = 1;
  }

  // ---- Ringing: by senders, by a sleeper that leaves, by the reaper

  static void StartRing(Ringer& r) {
    r.alive = 1;
    r.at = RingerAt::kLoad;
  }

  void Returned(State& s, int i) const {
    Ringer& r = s.ringers[i];
    if (i >= kMaxRingers) {
      r = Ringer{};
      r.alive = i == Reaper() ? 1 : 0;
      return;
    }
    if (Has(Flaw::kRingBeforeCommit)) {
      r.at = RingerAt::kCommit;
      return;
    }
    Finish(s, r);
  }

  static void Finish(State& s, Ringer& r) {
    s.returned |= static_cast<uint8_t>(1 << r.position);
    const uint8_t sent = static_cast<uint8_t>(r.sent + 1);
    r = Ringer{};
    r.alive = 1;
    r.sent = sent;
  }

  void Ring(const State& s, int i, const char* who, int index, Steps<State>& steps) const {
    State next = s;
    Ringer& r = next.ringers[i];
    Word& word = next.words[r.target];
    const char* what = "";
    switch (r.at) {
      case RingerAt::kIdle:
      case RingerAt::kCommit:
        if (Has(Flaw::kRingBeforeCommit) && r.at == RingerAt::kIdle) {
          r.at = RingerAt::kLoad;
          Ring(next, i, who, index, steps);
          return;
        }
        what = "commit a message";
        r.position = next.committed++;
        if (Has(Flaw::kRingBeforeCommit)) {
          Finish(next, r);
        } else {
          r.at = RingerAt::kLoad;
        }
        break;
      case RingerAt::kLoad:
        what = "load the word";
        if (word.parked != 0 && word.rung == 0) {
          r.epoch = word.epoch;
          r.at = RingerAt::kCas;
        } else if (++r.target == WordCount()) {
          what = "load the last word: nobody to wake";
          Returned(next, i);
        }
        break;
      case RingerAt::kCas:
        what = "CAS to the next epoch";
        r.at = RingerAt::kLoad;
        if (word.epoch == r.epoch && word.parked != 0 && word.rung == 0) {
          if (!Has(Flaw::kRingKeepsEpoch)) ++word.epoch;
          if (Has(Flaw::kClearThenWake)) word.parked = 0;
          if (Has(Flaw::kRungBeforeWake)) word.rung = 1;
          r.epoch = word.epoch;
          r.at = RingerAt::kWake;
        }
        break;
      case RingerAt::kWake:
        Wake(next, i, who, index, steps);
        return;
      case RingerAt::kRung:
        what = "CAS in RUNG";
        if ((word.epoch == r.epoch && word.parked != 0) || Has(Flaw::kRungIgnoresEpoch)) {
          word.rung = 1;
        }
        Returned(next, i);
        break;
      case RingerAt::kClear:
        what = "clear PARKED";
        word.parked = 0;
        Returned(next, i);
        break;
    }
    steps.Add(next, who, index, what);
  }

  // One byte, or FUTEX_WAKE of one of those who wait on the word.
  void Wake(const State& s, int i, const char* who, int index, Steps<State>& steps) const {
    const int target = s.ringers[i].target;
    bool woken = false;
    for (int k = 0; k < options_.sleepers; ++k) {
      if (WordOf(k) != target) continue;
      if (!options_.loop && s.sleepers[k].waiting == 0) continue;
      State next = s;
      Sleeper& sleeper = next.sleepers[k];
      if (!options_.loop) {
        sleeper.waiting = 0;
      } else if (sleeper.bytes < kFifoRoom) {
        ++sleeper.bytes;  // a full FIFO is readable: as good as rung
      }
      AfterWake(next, i);
      steps.Add(next, who, index, "wake");
      woken = true;
    }
    if (woken) return;
    State next = s;
    AfterWake(next, i);
    steps.Add(next, who, index, "wake: nobody waits yet");
  }

  void AfterWake(State& s, int i) const {
    if (Has(Flaw::kClearThenWake) || Has(Flaw::kRungBeforeWake)) {
      Returned(s, i);
    } else {
      s.ringers[i].at = Has(Flaw::kRingerClearsParked) ? RingerAt::kClear : RingerAt::kRung;
    }
  }

  // ---- Sleeping

  void Sleep(const State& s, int i, Steps<State>& steps) const {
    if (s.sleepers[i].gone != 0) return;
    if (s.sleepers[i].at == SleeperAt::kPassOn) {
      State next = s;
      if (next.ringers[PassOn(i)].alive != 0) {
        Ring(s, PassOn(i), "leaving sleeper", i, steps);
      } else {
        next.sleepers[i] = Sleeper{};
        next.sleepers[i].alive = next.sleepers[i].leaving = next.sleepers[i].gone = 1;
        steps.Add(next, "sleeper", i, "is gone");
      }
      return;
    }
    MayLeave(s, i, steps);
    State next = s;
    Sleeper& me = next.sleepers[i];
    Word& word = next.words[WordOf(i)];
    const bool more = next.seen < next.committed;
    const char* what = "";
    switch (me.at) {
      case SleeperAt::kScan:
        what = more ? "take a message" : "nothing to take";
        if (more) {
          ++next.seen;
        } else {
          const bool drain = options_.loop && !Has(Flaw::kDrainAfterPark);
          me.at = drain ? SleeperAt::kDrain : SleeperAt::kPark;
        }
        break;
      case SleeperAt::kDrain:
        what = "drain the FIFO";
        me.bytes = 0;
        me.at = Has(Flaw::kDrainAfterPark) ? SleeperAt::kWait : SleeperAt::kPark;
        break;
      case SleeperAt::kPark:
        what = "park: next epoch, PARKED";
        if (!Has(Flaw::kParkKeepsEpoch)) ++word.epoch;
        word.parked = 1;
        if (!Has(Flaw::kParkKeepsRung)) word.rung = 0;
        me.ticket = word.epoch;
        me.at = Has(Flaw::kNoSecondLook) ? SleeperAt::kWait : SleeperAt::kLook;
        break;
      case SleeperAt::kLook:
        what = "look again";
        me.at = Has(Flaw::kDrainAfterPark) ? SleeperAt::kDrain : SleeperAt::kWait;
        if (more) me.at = SleeperAt::kUnpark;
        break;
      case SleeperAt::kWait:
        what = "wait";
        if (options_.loop || (word.epoch == me.ticket && word.parked != 0 &&
                              (word.rung == 0 || Has(Flaw::kParkKeepsRung)))) {
          me.waiting = options_.loop ? 0 : 1;
          me.at = SleeperAt::kAsleep;
        } else {
          what = "wait: the word has changed";
          me.at = SleeperAt::kUnpark;
        }
        break;
      case SleeperAt::kAsleep:
        if (options_.loop ? me.bytes == 0 : me.waiting != 0) {
          Timeout(s, i, steps);
          return;
        }
        what = "wake up";
        me.at = SleeperAt::kUnpark;
        break;
      case SleeperAt::kUnpark:
        what = "clear PARKED";
        word.parked = 0;
        me.at = me.leaving != 0 ? SleeperAt::kLastLook : SleeperAt::kScan;
        break;
      case SleeperAt::kLeave:
      case SleeperAt::kLastLook:
        what = more ? "leaving: something is left" : "leaving: nothing is left";
        if (more && !Has(Flaw::kLeaverPassesNothingOn)) StartRing(next.ringers[PassOn(i)]);
        me.at = me.at == SleeperAt::kLeave ? SleeperAt::kLateUnpark : SleeperAt::kPassOn;
        break;
      case SleeperAt::kLateUnpark:
        what = "clear PARKED";
        word.parked = 0;
        me.at = SleeperAt::kPassOn;
        break;
      case SleeperAt::kPassOn:
        return;
    }
    steps.Add(next, "sleeper", i, what);
  }

  void MayLeave(const State& s, int i, Steps<State>& steps) const {
    const SleeperAt at = s.sleepers[i].at;
    if (s.leaves >= options_.leaves) return;
    if (at != SleeperAt::kScan && at != SleeperAt::kAsleep) return;
    State next = s;
    next.sleepers[i].leaving = 1;
    next.sleepers[i].waiting = 0;
    next.sleepers[i].at = Has(Flaw::kLeaverLooksFirst) ? SleeperAt::kLeave : SleeperAt::kUnpark;
    ++next.leaves;
    steps.Add(next, "sleeper", i, "begins to leave", Edge::kFault);
  }

  void Timeout(const State& s, int i, Steps<State>& steps) const {
    if (s.timeouts >= options_.timeouts) return;
    State next = s;
    next.sleepers[i].waiting = 0;
    next.sleepers[i].at = SleeperAt::kUnpark;
    ++next.timeouts;
    steps.Add(next, "sleeper", i, "times out", Edge::kFault);
  }

  // ---- Repair and judgement

  void Repair(const State& s, Steps<State>& steps) const {
    if (s.ringers[Reaper()].at != RingerAt::kIdle) {
      Ring(s, Reaper(), "reaper", 0, steps);
      return;
    }
    if (s.dead_ringers + s.dead_sleepers == 0) return;
    State next = s;
    if (s.dead_ringers != 0) {
      --next.dead_ringers;
      StartRing(next.ringers[Reaper()]);
      steps.Add(next, "reaper", 0, "rings for a dead sender");
      return;
    }
    // The dead sleeper leaves the list of those to ring first, else it may get the reaper's ring.
    for (int i = 0; i < options_.sleepers; ++i) {
      if (s.sleepers[i].alive != 0 || s.words[i].parked == 0) continue;
      if (Has(Flaw::kRepairRingsTheDead)) continue;
      ++next.words[i].epoch;
      next.words[i].parked = next.words[i].rung = 0;
      steps.Add(next, "reaper", 0, "clears PARKED of a dead sleeper");
      return;
    }
    --next.dead_sleepers;
    if (!Has(Flaw::kRepairOfSleeperRingsNobody)) StartRing(next.ringers[Reaper()]);
    steps.Add(next, "reaper", 0, "rings for a dead sleeper");
  }

  bool IsStranded(const State& s) const {
    bool any = false;
    for (int i = 0; i < options_.sleepers; ++i) {
      const Sleeper& me = s.sleepers[i];
      if (me.alive == 0 || me.gone != 0) continue;
      any = true;
      if (me.at != SleeperAt::kAsleep) return false;
      if (options_.loop ? me.bytes != 0 : me.waiting == 0) return false;
    }
    if (!any || s.dead_sleepers != 0) return false;
    for (const Ringer& r : s.ringers) {
      if (r.alive != 0 && r.at != RingerAt::kIdle) return false;
    }
    if (s.returned >> s.seen != 0) return true;
    return s.dead_ringers == 0 && s.seen < s.committed;
  }

  const Options options_;
};

}  // namespace cfc::model::doorbell

#endif  // CFC_NATIVE_MODEL_DOORBELL_PROTOCOL_H_
