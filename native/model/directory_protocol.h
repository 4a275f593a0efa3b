// Every step that the directory model can take, one shared access each, and what they must keep.
// directory_model.cc says what is checked.
#ifndef CFC_NATIVE_MODEL_DIRECTORY_PROTOCOL_H_
#define CFC_NATIVE_MODEL_DIRECTORY_PROTOCOL_H_

#include "directory_state.h"
#include "search.h"

namespace cfc::model::directory {

class DirectoryModel {
 public:
  using State = directory::State;

  explicit DirectoryModel(const Options& options) : options_(options) {}

  State Initial() const {
    State s{};
    for (int i = 0; i < options_.actors; ++i) s.actors[i].alive = 1;
    return s;
  }

  void Expand(const State& s, Steps<State>& steps) const {
    for (int i = 0; i < options_.actors; ++i) {
      const Actor& me = s.actors[i];
      if (me.alive == 0 || me.stopped != 0) continue;
      if (me.at == At::kDone) {
        Sweep(s, i, steps);
        continue;
      }
      Run(s, i, steps);
      if (s.deaths < options_.deaths) {
        State next = s;
        next.actors[i] = Actor{};
        ++next.deaths;
        steps.Add(next, "actor", i, "dies", Edge::kFault);
      }
      if (s.stops < options_.stops) {
        State next = s;
        next.actors[i].stopped = 1;
        ++next.stops;
        steps.Add(next, "actor", i, "stops for ever", Edge::kFault);
      }
    }
    for (auto& step : steps) {
      if (step.violation == nullptr) step.violation = Judge(step.next);
      Normalize(step.next);
    }
  }

  bool IsEnd(const State& s) const {
    for (int i = 0; i < options_.actors; ++i) {
      const Actor& me = s.actors[i];
      if (me.alive != 0 && me.stopped == 0 && me.at != At::kDone) return false;
    }
    for (int k = 0; k < options_.entries; ++k) {
      const Word& w = s.entries[k].word;
      if (w.kind == kFree) continue;
      const bool stopped = s.actors[w.owner - 1].stopped != 0;
      if (w.kind != kLive && !stopped) return false;
      if (s.actors[w.owner - 1].alive == 0) return false;
    }
    return true;
  }

  bool IsJudged(const State& s) const {
    for (int i = 0; i < options_.actors; ++i) {
      if (s.actors[i].alive != 0 && s.actors[i].stopped == 0) return true;
    }
    return false;
  }

  void Print(FILE* out, const State& s) const {
    static constexpr const char* kKinds[] = {"FREE", "CLAIMED", "LIVE", "QUARANTINED"};
    for (int k = 0; k < options_.entries; ++k) {
      const Entry& e = s.entries[k];
      std::fprintf(out, "  entry %d: %s generation %d owner %d hash %d name %d,%d\n", k,
                   kKinds[e.word.kind], e.word.generation, e.word.owner - 1, e.word.hash, e.name[0],
                   e.name[1]);
    }
    for (int i = 0; i < options_.actors; ++i) {
      const Actor& me = s.actors[i];
      std::fprintf(out, "  actor %d: %s step %d%s\n", i,
                   me.alive == 0     ? "dead"
                   : me.stopped != 0 ? "stopped"
                                     : "up",
                   static_cast<int>(me.at), me.second != 0 ? " (second scan)" : "");
    }
  }

 private:
  bool Has(Flaw flaw) const { return options_.flaw == flaw; }
  uint8_t NameOf(const State& s, int i) const {
    return s.actors[i].inserted == 0 ? options_.names[i] : options_.later[i];
  }
  static bool IsDead(const State& s, Word w) {
    return w.kind != kFree && s.actors[w.owner - 1].alive == 0;
  }

  Word Freed(Word w) const {
    const uint8_t step = Has(Flaw::kFreeKeepsGeneration) ? 0 : 1;
    return Word{static_cast<uint8_t>(w.generation + step), kFree, 0, 0};
  }

  static bool Cas(Entry& entry, Word expected, Word desired) {
    if (!(entry.word == expected)) return false;
    entry.word = desired;
    return true;
  }

  // Generations only grow and are compared for equality. The entry's is always called 1; what an
  // actor loaded is current (1) or stale (0) for good.
  void Normalize(State& s) const {
    if (Has(Flaw::kFreeKeepsGeneration)) return;
    for (Actor& me : s.actors) {
      Refresh(s, me.position, me.seen);
      if (me.first_free != 0) Refresh(s, me.first_free - 1, me.free);
      if (me.mine != 0) Refresh(s, me.mine - 1, me.own);
    }
    for (int k = 0; k < options_.entries; ++k) s.entries[k].word.generation = 1;
  }

  void Refresh(const State& s, int entry, Word& word) const {
    if (word == Word{}) return;
    if (entry < options_.entries && word.generation == s.entries[entry].word.generation) {
      word.generation = 1;
    } else {
      word = Word{};
      word.kind = 0xff;  // never equal again
    }
  }

  // ---- Moves

  static void Restart(Actor& me) {
    const Actor old = me;
    me = Actor{};
    me.alive = 1;
    me.inserted = old.inserted;
    me.was_live = old.was_live;
  }

  // The call returns: the name is mine (then perhaps removed again), or it exists already.
  void Finish(State& s, int i) const {
    Actor& me = s.actors[i];
    const uint8_t inserted = static_cast<uint8_t>(me.inserted + 1);
    me = Actor{};
    me.alive = 1;
    me.inserted = inserted;
    if (inserted >= options_.inserts) me.at = At::kDone;
    NoteLive(s);
  }

  void NextEntry(State& s, int i) const {
    Actor& me = s.actors[i];
    me.half = 0;
    me.seen = Word{};
    me.at = At::kScan;
    ++me.position;
    if (Has(Flaw::kSecondScanStopsAtMine) && me.second != 0 && me.position == me.mine) {
      me.position = static_cast<uint8_t>(options_.entries);
    }
    if (me.position < options_.entries) return;
    me.position = 0;
    if (me.second != 0) {
      me.at = At::kPublish;
    } else if (me.busy != 0) {
      Restart(me);
    } else if (me.first_free != 0) {
      me.at = At::kClaim;
    } else {
      Finish(s, i);  // the chain is full: an answer, too
    }
  }

  void Run(const State& s, int i, Steps<State>& steps) const {
    State next = s;
    Actor& me = next.actors[i];
    const uint8_t name = NameOf(s, i);
    Entry& entry = next.entries[me.position];
    const char* what = "";
    const char* violation = nullptr;
    switch (me.at) {
      case At::kScan:
        Scan(s, i, steps);
        return;
      case At::kName1:
        what = "load the first half of a name";
        me.half = entry.name[0];
        me.at = At::kName2;
        break;
      case At::kName2:
        what = "load the second half of a name";
        me.half = me.half == FirstHalf(name) && entry.name[1] == SecondHalf(name) ? 1 : 0;
        me.at = At::kRecheck;
        break;
      case At::kRecheck:
        what = "load the state word once more";
        if (!(entry.word == me.seen) && !Has(Flaw::kNameWithoutSecondLoad)) {
          me.half = 0;
          me.seen = Word{};
          me.at = At::kScan;  // look at this entry again
        } else if (me.half != 0) {
          what = "load the state word once more: the name exists";
          if (me.was_live == 0) violation = "\"exists\" was said of a name that was not there";
          me.exists = 1;
          if (me.mine != 0) {
            me.at = At::kGiveBack;
            me.half = me.position = me.second = 0;
            me.seen = Word{};
          } else {
            Finish(next, i);
          }
        } else {
          NextEntry(next, i);
        }
        break;
      case At::kFreeDead:
        what = "free what the dead hold";
        Cas(entry, me.seen, Freed(me.seen));
        me.seen = Word{};
        me.at = At::kScan;
        break;
      case At::kPatience:
        what = "quarantine a claim of the living";
        if (Has(Flaw::kStallIsFreed)) {
          Cas(entry, me.seen, Freed(me.seen));
        } else {
          Cas(entry, me.seen, Quarantine(me.seen));
        }
        me.seen = Word{};
        me.at = At::kScan;
        break;
      case At::kClaim: {
        what = "claim";
        const uint8_t at = static_cast<uint8_t>(me.first_free - 1);
        const Word claimed{me.free.generation, kClaimed, static_cast<uint8_t>(i + 1), HashOf(name)};
        if (Cas(next.entries[at], me.free, claimed)) {
          next.entries[at].intended = name;
          me.mine = me.first_free;
          me.own = claimed;
          me.first_free = 0;
          me.free = Word{};
          me.at = At::kWrite1;
          if (Has(Flaw::kLiveBeforeName)) {
            next.entries[at].word.kind = me.own.kind = kLive;
          }
        } else {
          what = "claim: lost";
          Restart(me);
        }
        break;
      }
      case At::kWrite1:
      case At::kWrite2: {
        const bool first = me.at == At::kWrite1;
        what = first ? "write the first half of the name" : "write the second half of the name";
        Entry& own = next.entries[me.mine - 1];
        if (own.word.owner != i + 1) violation = "a name was stored into somebody else's entry";
        own.name[first ? 0 : 1] = first ? FirstHalf(name) : SecondHalf(name);
        me.at = first ? At::kWrite2 : At::kScan;
        me.second = first ? 0 : 1;
        if (!first && Has(Flaw::kNoSecondScan)) me.at = At::kPublish;
        break;
      }
      case At::kPublish: {
        what = "publish";
        Entry& own = next.entries[me.mine - 1];
        Word live = me.own;
        live.kind = kLive;
        if (Has(Flaw::kPublishIsStored)) own.word = live;
        if (Has(Flaw::kPublishIsStored) || Cas(own, me.own, live) || own.word == live) {
          const uint8_t mine = me.mine;
          const bool last = me.inserted + 1 >= options_.inserts;
          Finish(next, i);
          if (!last) {
            me.at = At::kRemove;
            me.mine = mine;
            me.own = live;
          }
        } else {
          what = "publish: quarantined";
          me.at = At::kGiveBack;
          me.second = 0;
        }
        break;
      }
      case At::kQuarantineHigher:
        what = "quarantine a higher claim";
        if (Cas(entry, me.seen, Quarantine(me.seen)) || Has(Flaw::kLostQuarantineIsIgnored)) {
          NextEntry(next, i);
        } else {
          what = "quarantine a higher claim: it changed";
          me.seen = Word{};
          me.at = At::kScan;
        }
        break;
      case At::kGiveBack: {
        what = "give my entry back";
        Entry& own = next.entries[me.mine - 1];
        // Mine, claimed or quarantined: nobody else frees it while I live.
        if (own.word.owner == i + 1 && own.word.kind != kFree) own.word = Freed(own.word);
        const bool exists = me.exists != 0;
        if (exists) {
          Finish(next, i);
        } else {
          Restart(me);
        }
        break;
      }
      case At::kRemove: {
        what = "remove my name";
        const uint8_t inserted = me.inserted;
        Cas(next.entries[me.mine - 1], me.own, Freed(me.own));
        me = Actor{};
        me.alive = 1;
        me.inserted = inserted;
        NoteLive(next);
        break;
      }
      case At::kDone:
        return;
    }
    steps.Add(next, "actor", i, what, Edge::kNormal, violation);
  }

  static Word Quarantine(Word w) {
    w.kind = kQuarantined;
    return w;
  }

  void Scan(const State& s, int i, Steps<State>& steps) const {
    State next = s;
    Actor& me = next.actors[i];
    const Word w = s.entries[me.position].word;
    const uint8_t hash = HashOf(NameOf(s, i));
    const bool mine = me.mine == me.position + 1;
    const bool rival = w.kind == kClaimed && w.hash == hash && !mine;
    const char* what = "scan: load a state word";
    me.seen = w;
    if (w.kind != kFree && !mine && IsDead(s, w) &&
        !(w.kind == kQuarantined && Has(Flaw::kDeadQuarantineIsKept))) {
      what = "scan: an entry of the dead";
      me.at = At::kFreeDead;
    } else if (w.kind == kLive && w.hash == hash && !mine) {
      what = "scan: a live entry of this hash";
      me.at = At::kName1;
    } else if (rival && me.second == 0) {
      what = "scan: a claim of this hash";
      const bool stopped = s.actors[w.owner - 1].stopped != 0;
      if (stopped || s.impatience < options_.impatience) {
        State patience = next;
        patience.actors[i].at = At::kPatience;
        if (!stopped) ++patience.impatience;
        steps.Add(patience, "actor", i, "scan: a claim of this hash that takes too long",
                  stopped ? Edge::kNormal : Edge::kFault);
      }
      me.busy = 1;
      NextEntry(next, i);
    } else if (rival && (me.position + 1 < me.mine)) {
      what = "scan: a lower claim of this hash";
      me.at = At::kGiveBack;
      me.second = me.position = 0;
      me.seen = Word{};
    } else if (rival && !Has(Flaw::kNoQuarantineOfHigher)) {
      what = "scan: a higher claim of this hash";
      me.at = At::kQuarantineHigher;
    } else {
      if (w.kind == kFree && me.second == 0 && me.first_free == 0) {
        what = "scan: free";
        me.first_free = static_cast<uint8_t>(me.position + 1);
        me.free = w;
      }
      NextEntry(next, i);
    }
    steps.Add(next, "actor", i, what);
  }

  // An actor that is through frees what the dead hold, as the reaper of a slot does.
  void Sweep(const State& s, int i, Steps<State>& steps) const {
    for (int k = 0; k < options_.entries; ++k) {
      const Word w = s.entries[k].word;
      if (w.kind == kFree || !IsDead(s, w)) continue;
      if (w.kind == kQuarantined && Has(Flaw::kDeadQuarantineIsKept)) continue;
      State next = s;
      next.entries[k].word = Freed(w);
      steps.Add(next, "actor", i, "sweeps an entry of the dead");
    }
  }

  // ---- Judgement

  static bool IsName(const Entry& entry, uint8_t name) {
    return entry.name[0] == FirstHalf(name) && entry.name[1] == SecondHalf(name);
  }

  // Marks all calls under way whose name is LIVE right now.
  void NoteLive(State& s) const {
    for (int i = 0; i < options_.actors; ++i) {
      for (int k = 0; k < options_.entries; ++k) {
        const Entry& e = s.entries[k];
        const bool live = e.word.kind == kLive && IsName(e, NameOf(s, i));
        const bool calling = s.actors[i].alive != 0 && s.actors[i].at != At::kDone;
        if (live && calling) s.actors[i].was_live = 1;
      }
    }
  }

  const char* Judge(State& s) const {
    NoteLive(s);
    for (int k = 0; k < options_.entries; ++k) {
      const Entry& e = s.entries[k];
      if (e.word.kind != kLive) continue;
      if (!IsName(e, e.intended)) return "a live entry has half a name";
      for (int j = k + 1; j < options_.entries; ++j) {
        const Entry& other = s.entries[j];
        if (other.word.kind == kLive && IsName(other, e.intended)) {
          return "two live entries have the same name";
        }
      }
    }
    return nullptr;
  }

  const Options options_;
};

}  // namespace cfc::model::directory

#endif  // CFC_NATIVE_MODEL_DIRECTORY_PROTOCOL_H_
