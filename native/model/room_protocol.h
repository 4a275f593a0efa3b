// Every step that the room model can take, one shared access each, and what they must keep.
// room_model.cc says what is checked.
#ifndef CFC_NATIVE_MODEL_ROOM_PROTOCOL_H_
#define CFC_NATIVE_MODEL_ROOM_PROTOCOL_H_

#include "room_state.h"
#include "search.h"

namespace cfc::model::room {

class RoomModel {
 public:
  using State = room::State;

  explicit RoomModel(const Options& options) : options_(options) {}

  State Initial() const {
    State s{};
    s.used = static_cast<uint8_t>(options_.full ? options_.cells : 0);
    for (int i = 0; i < options_.senders; ++i) s.senders[i].alive = 1;
    for (int i = 0; i < options_.freers; ++i) s.freer_alive[i] = 1;
    Normalize(s);
    return s;
  }

  void Expand(const State& s, Steps<State>& steps) const {
    for (int i = 0; i < options_.senders; ++i) {
      if (s.senders[i].alive == 0 || IsDone(s.senders[i])) continue;
      Send(s, i, steps);
      if (s.sender_deaths < options_.sender_deaths && s.senders[i].at != SenderAt::kIdle) {
        State next = s;
        Sender& dead = next.senders[i];
        dead.alive = dead.waiting = 0;  // its words stay as they are
        dead.at = SenderAt::kIdle;
        next.ringers[i] = Ringer{};
        next.dead_senders |= static_cast<uint8_t>(1 << i);
        ++next.sender_deaths;
        steps.Add(next, "sender", i, "dies", Edge::kFault);
      }
    }
    for (int i = 0; i < options_.freers; ++i) {
      if (s.freer_alive[i] != 0) Free(s, i, steps);
    }
    Repair(s, steps);
    for (auto& step : steps) {
      Normalize(step.next);
      if (IsStranded(step.next)) step.violation = "room is left, its waiter sleeps, nobody comes";
    }
  }

  bool IsEnd(const State& s) const {
    for (int i = 0; i < options_.senders; ++i) {
      if (s.senders[i].alive != 0 && !IsDone(s.senders[i])) return false;
    }
    return s.used == 0 && s.dead_senders == 0 && s.dead_freers == 0;
  }

  bool IsJudged(const State& s) const {
    for (int i = 0; i < options_.freers; ++i) {
      if (s.freer_alive[i] != 0) return true;
    }
    return false;
  }

  void Print(FILE* out, const State& s) const {
    std::fprintf(out, "  %d of %d cells used, room classes %x\n", s.used, options_.cells,
                 s.room_classes);
    for (int i = 0; i < options_.senders; ++i) {
      const Sender& me = s.senders[i];
      std::fprintf(out, "  sender %d: %s step %d done %d%s%s%s%s\n", i,
                   me.alive != 0 ? "up" : "dead", static_cast<int>(me.at), me.done,
                   me.want != 0 ? " wants" : "", me.parked != 0 ? " PARKED" : "",
                   me.rung != 0 ? " RUNG" : "", me.waiting != 0 ? " asleep" : "");
    }
  }

 private:
  bool Has(Flaw flaw) const { return options_.flaw == flaw; }
  static int FreerRinger(int freer) { return kMaxSenders + freer; }
  static constexpr int kReaper = kMaxSenders + kMaxFreers;
  uint8_t ClassBit(int sender) const {
    return static_cast<uint8_t>(1 << sender % options_.classes);
  }
  bool IsDone(const Sender& me) const {
    return me.at == SenderAt::kIdle && me.done >= options_.messages;
  }

  // Epochs are compared for equality only and never return: the words' are always called 1, and
  // what was loaded from them is current (1) or stale (0) for good.
  void Normalize(State& s) const {
    for (Ringer& r : s.ringers) {
      const bool bell =
          r.at == RingerAt::kCas || r.at == RingerAt::kWake || r.at == RingerAt::kRung;
      const bool room = r.at == RingerAt::kClear || (r.at == RingerAt::kWant && r.wanted == 0);
      // What is not needed any more is forgotten, so that it does not split equal states.
      if (r.wanted != 0) r.classes = 0;
      if (r.at == RingerAt::kWake || r.at == RingerAt::kRung) r.tried = r.group = r.wanted = 0;
      r.bell_epoch = bell && r.bell_epoch == s.senders[r.slot].epoch ? 1 : 0;
      r.room_epoch = room && r.room_epoch == s.room_epoch ? 1 : 0;
      // A class that changed comes back with another epoch, so a word that differs once is stale.
      if (Has(Flaw::kClassKeepsEpoch)) continue;
      if (room && r.classes != s.room_classes) r.room_epoch = 0;
      r.classes = room && r.room_epoch != 0 ? s.room_classes : 0;
    }
    for (Sender& me : s.senders) {
      const bool holds = me.at == SenderAt::kTryParked || me.at == SenderAt::kWait;
      me.ticket = holds && me.ticket == me.epoch ? 1 : 0;
      me.epoch = 1;
    }
    s.room_epoch = 1;
  }

  static void StartRing(Ringer& r) {
    r = Ringer{};
    r.at = RingerAt::kLoadRoom;
  }

  // ---- Senders

  void Send(const State& s, int i, Steps<State>& steps) const {
    if (s.senders[i].at == SenderAt::kPassOn) {
      if (s.ringers[i].at != RingerAt::kOff) {
        Ring(s, i, "sender", i, steps);
        return;
      }
      State next = s;
      Finish(next.senders[i]);
      steps.Add(next, "sender", i, "is through");
      return;
    }
    State next = s;
    Sender& me = next.senders[i];
    const bool room = next.used < options_.cells;
    const char* what = "";
    switch (me.at) {
      case SenderAt::kIdle:
      case SenderAt::kTry:
        what = room ? "claim a cell" : "full";
        if (room) ++next.used;
        if (me.want == 0) {
          me.at = Has(Flaw::kClassBeforeWant) ? SenderAt::kClass : SenderAt::kWant;
          if (room) Finish(me);
        } else {
          me.has_room = room ? 1 : 0;
          me.at = room ? SenderAt::kDropWant : SenderAt::kPark;
        }
        break;
      case SenderAt::kWant:
        what = "store want";
        me.want = 1;
        me.at = Has(Flaw::kClassBeforeWant) ? AfterClass() : SenderAt::kClass;
        break;
      case SenderAt::kClass:
        what = "set the class";
        next.room_classes |= ClassBit(i);
        if (!Has(Flaw::kClassKeepsEpoch)) ++next.room_epoch;
        me.at = Has(Flaw::kClassBeforeWant) ? SenderAt::kWant : AfterClass();
        break;
      case SenderAt::kPark:
        what = "park";
        ++me.epoch;
        me.parked = 1;
        me.rung = 0;
        me.ticket = me.epoch;
        me.at = Has(Flaw::kNoSecondTry) || Has(Flaw::kTryBeforePark) ? SenderAt::kWait
                                                                     : SenderAt::kTryParked;
        break;
      case SenderAt::kTryParked:
        what = room ? "try again: claim a cell" : "try again: full";
        if (room) ++next.used;
        me.has_room = room ? 1 : 0;
        me.at = room ? SenderAt::kUnpark : SenderAt::kWait;
        if (Has(Flaw::kTryBeforePark)) me.at = room ? SenderAt::kDropWant : SenderAt::kPark;
        break;
      case SenderAt::kWait:
        what = "wait";
        if (me.epoch == me.ticket && me.parked != 0 && me.rung == 0) {
          me.waiting = 1;
          me.at = SenderAt::kAsleep;
        } else {
          what = "wait: the word has changed";
          me.at = SenderAt::kUnpark;
        }
        break;
      case SenderAt::kAsleep:
        if (me.waiting != 0) {
          Quit(s, i, steps);
          return;
        }
        what = "wake up";
        me.at = SenderAt::kUnpark;
        break;
      case SenderAt::kUnpark:
        what = "clear PARKED";
        me.parked = me.rung = 0;
        me.at = me.has_room != 0 || me.quits != 0 ? SenderAt::kDropWant : SenderAt::kTry;
        break;
      case SenderAt::kDropWant:
        what = "drop want";
        me.want = 0;
        me.at = SenderAt::kLook;
        if (Has(Flaw::kQuitterLooksFirst) && me.quits != 0) me.at = SenderAt::kPassOn;
        break;
      case SenderAt::kLook: {
        what = room ? "room is left: pass the ring on" : "no room is left";
        const bool silent =
            me.quits != 0 ? Has(Flaw::kQuitterPassesNothingOn) : Has(Flaw::kWokenPassesNothingOn);
        if (room && !silent) StartRing(next.ringers[i]);
        me.at = SenderAt::kPassOn;
        if (Has(Flaw::kQuitterLooksFirst) && me.quits != 0) me.at = SenderAt::kUnpark;
        break;
      }
      case SenderAt::kPassOn:
        return;
    }
    steps.Add(next, "sender", i, what);
  }

  SenderAt AfterClass() const {
    return Has(Flaw::kTryBeforePark) ? SenderAt::kTryParked : SenderAt::kPark;
  }

  static void Finish(Sender& me) {
    const Sender old = me;
    me = Sender{};
    me.alive = 1;
    me.epoch = old.epoch;
    me.done = static_cast<uint8_t>(old.done + 1);
  }

  void Quit(const State& s, int i, Steps<State>& steps) const {
    if (s.quits >= options_.quits) return;
    State next = s;
    Sender& me = next.senders[i];
    me.waiting = 0;
    me.quits = 1;
    me.at = Has(Flaw::kQuitterLooksFirst) ? SenderAt::kLook : SenderAt::kUnpark;
    ++next.quits;
    steps.Add(next, "sender", i, "gives up at its deadline", Edge::kFault);
  }

  // ---- Freers and the reaper

  void Free(const State& s, int i, Steps<State>& steps) const {
    if (s.ringers[FreerRinger(i)].at != RingerAt::kOff) {
      Ring(s, FreerRinger(i), "freer", i, steps);
      if (s.freer_deaths < options_.freer_deaths) {
        State next = s;
        next.freer_alive[i] = 0;
        next.ringers[FreerRinger(i)] = Ringer{};
        ++next.dead_freers;
        ++next.freer_deaths;
        steps.Add(next, "freer", i, "dies", Edge::kFault);
      }
      return;
    }
    if (s.used == 0) return;
    State next = s;
    const bool late = Has(Flaw::kRingBeforeFree) || Has(Flaw::kComesBeforeFree);
    if (!late) --next.used;
    Ringer& r = next.ringers[FreerRinger(i)];
    StartRing(r);
    if (options_.trusts && s.last[i] != 0) {
      r.slot = static_cast<uint8_t>(s.last[i] - 1);
      r.at = Has(Flaw::kComesWithoutWant) ? RingerAt::kLastBell : RingerAt::kLastWant;
    } else if (Has(Flaw::kComesBeforeFree)) {
      --next.used;
    }
    steps.Add(next, "freer", i, "free a cell, move the head");
  }

  void Repair(const State& s, Steps<State>& steps) const {
    State next = s;
    if (s.ringers[kReaper].at != RingerAt::kOff) {
      Ring(s, kReaper, "reaper", 0, steps);
      return;
    }
    if (s.dead_freers != 0) {
      --next.dead_freers;
      StartRing(next.ringers[kReaper]);
      steps.Add(next, "reaper", 0, "meets a dead freer");
      return;
    }
    for (int i = 0; i < options_.senders; ++i) {
      if ((s.dead_senders >> i & 1) == 0) continue;
      Sender& dead = next.senders[i];
      if (dead.want != 0 && !Has(Flaw::kRepairRingsTheDead)) {
        dead.want = 0;
        steps.Add(next, "reaper", 0, "drops the want of a dead sender");
        return;
      }
      next.dead_senders &= static_cast<uint8_t>(~(1 << i));
      if (!Has(Flaw::kRepairPassesNothingOn)) StartRing(next.ringers[kReaper]);
      steps.Add(next, "reaper", 0, "rings in place of a dead sender");
      return;
    }
  }

  // ---- Ringing

  void Ring(const State& s, int ringer, const char* who, int index, Steps<State>& steps) const {
    State next = s;
    Ringer& r = next.ringers[ringer];
    const char* what = "";
    switch (r.at) {
      case RingerAt::kOff:
        return;
      case RingerAt::kLastWant:
        what = "load the want of the one rung last";
        r.at = RingerAt::kLastBell;
        if (s.senders[r.slot].want == 0) BeginToRing(next, r);
        break;
      case RingerAt::kLastBell: {
        const Sender& other = s.senders[r.slot];
        what = "load its doorbell: it sleeps";
        if (other.parked != 0 && other.rung == 0) {
          BeginToRing(next, r);
        } else {
          what = "load its doorbell: it comes";
          BeginToRing(next, r);
          r = Ringer{};
        }
        break;
      }
      case RingerAt::kLoadRoom: {
        const uint8_t left = s.room_classes & ~r.tried;
        for (int group = 0; group < options_.classes; ++group) {
          if ((left >> group & 1) == 0) continue;
          State choice = s;
          Ringer& mine = choice.ringers[ringer];
          mine.room_epoch = s.room_epoch;
          mine.classes = s.room_classes;
          mine.group = mine.slot = static_cast<uint8_t>(group);
          mine.wanted = 0;
          mine.at = RingerAt::kWant;
          steps.Add(choice, who, index, "load the room word, choose a class");
        }
        if (left != 0) return;
        what = "load the room word: nobody to ring";
        Stop(next, ringer);
        break;
      }
      case RingerAt::kWant:
        what = "load a want";
        if (s.senders[r.slot].want != 0) {
          r.wanted = 1;
          r.at = RingerAt::kBell;
        } else {
          NextSlot(r);
        }
        break;
      case RingerAt::kBell: {
        what = "load its doorbell";
        const Sender& other = s.senders[r.slot];
        if (other.parked != 0 && other.rung == 0) {
          r.bell_epoch = other.epoch;
          r.at = RingerAt::kCas;
        } else {
          NextSlot(r);
        }
        break;
      }
      case RingerAt::kCas: {
        what = "CAS its doorbell to the next epoch";
        Sender& other = next.senders[r.slot];
        r.at = RingerAt::kBell;
        if (other.parked != 0 && other.rung == 0 && other.epoch == r.bell_epoch) {
          r.bell_epoch = ++other.epoch;
          r.at = RingerAt::kWake;
        }
        break;
      }
      case RingerAt::kWake:
        what = "wake it";
        next.senders[r.slot].waiting = 0;
        r.at = RingerAt::kRung;
        if (options_.trusts && ringer >= kMaxSenders && ringer != kReaper) {
          next.last[ringer - kMaxSenders] = static_cast<uint8_t>(r.slot + 1);
        }
        break;
      case RingerAt::kRung: {
        what = "CAS in RUNG";
        Sender& other = next.senders[r.slot];
        if (other.parked != 0 && other.epoch == r.bell_epoch) other.rung = 1;
        Stop(next, ringer);
        break;
      }
      case RingerAt::kClear: {
        what = "clear a class in which nobody wants";
        const uint8_t bit = static_cast<uint8_t>(1 << r.group);
        const bool same = s.room_epoch == r.room_epoch && s.room_classes == r.classes;
        if (same || Has(Flaw::kClassClearedBlindly)) {
          next.room_classes &= static_cast<uint8_t>(~bit);
        }
        const uint8_t tried = r.tried;
        StartRing(r);
        r.tried = tried;
        break;
      }
    }
    steps.Add(next, who, index, what);
  }

  void BeginToRing(State& s, Ringer& r) const {
    if (Has(Flaw::kComesBeforeFree) && s.used != 0) --s.used;
    StartRing(r);
  }

  // Goes on to the next sender of the class, or to what follows the last one.
  void NextSlot(Ringer& r) const {
    r.slot = static_cast<uint8_t>(r.slot + options_.classes);
    r.at = RingerAt::kWant;
    if (r.slot < options_.senders) return;
    if (r.wanted == 0) {
      r.slot = 0;
      r.at = RingerAt::kClear;
      return;
    }
    const uint8_t tried = static_cast<uint8_t>(r.tried | 1 << r.group);
    StartRing(r);
    r.tried = tried;
  }

  void Stop(State& s, int ringer) const {
    s.ringers[ringer] = Ringer{};
    const bool freer = ringer >= kMaxSenders && ringer != kReaper;
    if (Has(Flaw::kRingBeforeFree) && freer && s.used != 0) --s.used;
  }

  bool IsStranded(const State& s) const {
    if (s.used >= options_.cells || s.dead_senders != 0 || s.dead_freers != 0) return false;
    for (const Ringer& r : s.ringers) {
      if (r.at != RingerAt::kOff) return false;
    }
    bool waits = false;
    for (int i = 0; i < options_.senders; ++i) {
      const Sender& me = s.senders[i];
      if (me.alive == 0 || me.at == SenderAt::kIdle) continue;
      if (me.waiting == 0) return false;
      waits = true;
    }
    return waits;
  }

  const Options options_;
};

}  // namespace cfc::model::room

#endif  // CFC_NATIVE_MODEL_ROOM_PROTOCOL_H_
