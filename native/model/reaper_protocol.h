// Every step that the reaper model can take, one shared access each, and what they must keep.
// reaper_model.cc says what is checked.
#ifndef CFC_NATIVE_MODEL_REAPER_PROTOCOL_H_
#define CFC_NATIVE_MODEL_REAPER_PROTOCOL_H_

#include "reaper_state.h"
#include "search.h"

namespace cfc::model::reaper {

class ReaperModel {
 public:
  using State = reaper::State;

  explicit ReaperModel(const Options& options) : options_(options) {}

  State Initial() const {
    State s{};
    for (int i = 0; i < options_.actors; ++i) s.actors[i].alive = 1;
    return s;
  }

  void Expand(const State& s, Steps<State>& steps) const {
    for (int i = 0; i < options_.actors; ++i) {
      if (s.actors[i].alive == 0) {
        if (s.births >= options_.births || s.deaths == 0) continue;
        State next = s;
        next.actors[i].alive = 1;
        ++next.births;
        steps.Add(next, "process", i, "starts", Edge::kFault);
        continue;
      }
      if (s.actors[i].at == At::kIdle) {
        Begin(s, i, steps);
      } else {
        Run(s, i, steps);
      }
      if (s.deaths >= options_.deaths) continue;
      State next = s;
      next.actors[i] = Actor{};
      for (uint8_t& lock : next.locks) {
        if (lock == i + 1) lock = 0;
      }
      ++next.deaths;
      steps.Add(next, "process", i, "dies", Edge::kFault);
    }
    for (auto& step : steps) {
      if (step.violation == nullptr) step.violation = Judge(step.next);
    }
  }

  bool IsEnd(const State& s) const {
    for (int i = 0; i < options_.actors; ++i) {
      const Actor& me = s.actors[i];
      if (me.alive != 0 && (me.at != At::kIdle || me.works < options_.works)) return false;
    }
    for (int k = 0; k < options_.cells; ++k) {
      if (s.cells[k].owner != 0) return false;
    }
    for (int k = 0; k < options_.slots; ++k) {
      if (s.slots[k].kind == kReaping) return false;
      if (s.slots[k].kind == kLive && s.locks[k] == 0) return false;
    }
    return true;
  }

  bool IsJudged(const State& s) const {
    for (int i = 0; i < options_.actors; ++i) {
      if (s.actors[i].alive != 0) return true;
    }
    return false;
  }

  void Print(FILE* out, const State& s) const {
    static constexpr const char* kKinds[] = {"FREE", "LIVE", "REAPING"};
    for (int k = 0; k < options_.slots; ++k) {
      const SlotWord& w = s.slots[k];
      std::fprintf(out, "  slot %d: %s generation %d", k, kKinds[w.kind], w.generation);
      if (w.kind == kReaping) std::fprintf(out, " by %d.%d", w.reaper - 1, w.reaper_generation);
      std::fprintf(out, s.locks[k] != 0 ? ", locked by process %d\n" : ", not locked\n",
                   s.locks[k] - 1);
    }
    for (int k = 0; k < options_.cells; ++k) {
      const CellWord& w = s.cells[k];
      std::fprintf(out, "  cell %d: lap %d owner %d.%d\n", k, w.lap, w.owner - 1, w.generation);
    }
    for (int i = 0; i < options_.actors; ++i) {
      const Actor& me = s.actors[i];
      std::fprintf(out, "  process %d: %s step %d slot %d.%d\n", i, me.alive != 0 ? "up" : "dead",
                   static_cast<int>(me.at), me.slot - 1, me.generation);
    }
  }

 private:
  bool Has(Flaw flaw) const { return options_.flaw == flaw; }

  CellWord Signed(CellWord free, const Actor& me) const {
    free.owner = me.slot;
    free.generation = Has(Flaw::kOwnerWithoutGeneration) ? 0 : me.generation;
    return free;
  }

  SlotWord ReapingBy(SlotWord w, const Actor& me) const {
    w.kind = kReaping;
    w.reaper = me.slot;
    w.reaper_generation = Has(Flaw::kReaperWithoutGeneration) ? 0 : me.generation;
    return w;
  }

  SlotWord Freed(SlotWord w) const {
    const uint8_t step = Has(Flaw::kFreeKeepsGeneration) ? 0 : 1;
    return SlotWord{static_cast<uint8_t>(w.generation + step), kFree, 0, 0};
  }

  bool IsOf(CellWord cell, int slot, uint8_t generation) const {
    return cell.owner == slot + 1 &&
           (cell.generation == generation || Has(Flaw::kOwnerWithoutGeneration));
  }

  static void Rest(Actor& me) {
    const Actor old = me;
    me = Actor{};
    me.alive = 1;
    me.works = old.works;
    if (old.rescue != 0) {
      me.at = At::kUnlock;
      me.slot = old.slot;
    }
    if (old.member == 0) return;
    me.at = At::kIdle;
    me.member = 1;
    me.slot = old.slot;
    me.generation = old.generation;
  }

  // A rescuer signs with the slot itself, which is not LIVE: only the lock tells.
  At TestReaper(SlotWord w, int slot) const {
    const bool rescuer = w.reaper == slot + 1;
    return rescuer ? At::kReaperLock : At::kReaperSlot;
  }

  // What a member may begin: a claim, or a look at some slot.
  void Begin(const State& s, int i, Steps<State>& steps) const {
    for (int k = 0; k < options_.cells && s.actors[i].works < options_.works; ++k) {
      if (s.cells[k].owner != 0) continue;
      State next = s;
      Actor& me = next.actors[i];
      me.cell = static_cast<uint8_t>(k);
      me.cell_seen = s.cells[k];
      me.at = At::kClaim;
      steps.Add(next, "process", i, "load a cell: free");
    }
    for (int k = 0; k < options_.slots; ++k) {
      const SlotWord w = s.slots[k];
      if (w.kind == kFree || k + 1 == s.actors[i].slot) continue;
      if (w.kind == kReaping && w.reaper == s.actors[i].slot &&
          !Has(Flaw::kReaperWithoutGeneration) && w.reaper_generation == s.actors[i].generation) {
        continue;
      }
      if (w.kind == kReaping && Has(Flaw::kNoTakeOver)) continue;
      State next = s;
      Actor& me = next.actors[i];
      me.target = static_cast<uint8_t>(k);
      me.seen = w;
      me.at = w.kind == kLive ? At::kReapLock : TestReaper(w, k);
      steps.Add(next, "process", i,
                w.kind == kLive ? "look at a slot: live" : "look at a slot: being reaped");
    }
  }

  void Run(const State& s, int i, Steps<State>& steps) const {
    if (s.actors[i].at == At::kJoin) {
      Join(s, i, steps);
      return;
    }
    State next = s;
    Actor& me = next.actors[i];
    SlotWord& target = next.slots[me.target];
    CellWord& cell = next.cells[me.cell];
    const char* what = "";
    const char* violation = nullptr;
    switch (me.at) {
      case At::kJoin:
      case At::kIdle:
        return;
      case At::kLock:
        what = "take the slot's lock";
        if (next.locks[me.slot - 1] == 0) {
          next.locks[me.slot - 1] = static_cast<uint8_t>(i + 1);
          me.at = At::kLive;
          if (Has(Flaw::kLiveBeforeLock)) {
            me.member = 1;
            Rest(me);
          }
        } else {
          what = "take the slot's lock: held";
          Rest(me);
        }
        break;
      case At::kLive: {
        SlotWord& mine = next.slots[me.slot - 1];
        const SlotWord live{me.generation, kLive, 0, 0};
        what = "go live in it";
        if (Same(mine, SlotWord{me.generation, kFree, 0, 0})) {
          mine = live;
          if (Has(Flaw::kLiveBeforeLock)) {
            me.at = At::kLock;
          } else {
            me.member = 1;
            Rest(me);
          }
        } else {
          what = "go live in it: lost";
          me.at = At::kUnlock;
          if (Has(Flaw::kLiveBeforeLock) || Has(Flaw::kLoserKeepsLock)) Rest(me);
        }
        break;
      }
      case At::kUnlock:
        what = "release the lock";
        next.locks[me.slot - 1] = 0;
        Rest(me);
        break;
      case At::kRescueLock:
        what = "no slot is free: take the lock of one that is not";
        if (next.locks[me.target] == 0) {
          next.locks[me.target] = static_cast<uint8_t>(i + 1);
          me.slot = static_cast<uint8_t>(me.target + 1);
          me.rescue = 1;
          me.at = At::kRescueLook;
        } else {
          what = "no slot is free: this one's lock is held";
          Rest(me);
        }
        break;
      case At::kRescueLook:
        what = "look at its word again";
        me.seen = target;
        me.generation = target.generation;
        me.at = At::kReap;
        if (target.kind == kReaping && target.reaper != me.slot) me.at = At::kReaperSlot;
        if (target.kind == kFree) Rest(me);
        break;
      case At::kClaim:
        what = "claim a cell";
        if (Same(cell, me.cell_seen)) {
          cell = me.cell_seen = Signed(cell, me);
          me.at = At::kFinish;
        } else {
          Rest(me);
        }
        break;
      case At::kFinish:
        what = "finish it";
        if (Same(cell, me.cell_seen)) {
          cell = CellWord{static_cast<uint8_t>(cell.lap + 1), 0, 0};
        } else {
          violation = "a living participant lost its claim";
        }
        ++me.works;
        Rest(me);
        break;
      case At::kReapLock:
        what = "test the slot's lock";
        if (next.locks[me.target] == 0) {
          me.at = At::kReap;
        } else {
          Rest(me);
        }
        break;
      case At::kReaperSlot: {
        what = "look at the reaper's slot";
        const SlotWord& other = next.slots[me.seen.reaper - 1];
        const bool live = other.kind == kLive && (other.generation == me.seen.reaper_generation ||
                                                  Has(Flaw::kReaperWithoutGeneration));
        me.at = live ? At::kReaperLock : At::kReap;
        break;
      }
      case At::kReaperLock: {
        what = "test the reaper's lock";
        const bool held = next.locks[me.seen.reaper - 1] != 0;
        me.at = At::kReap;
        if (!held) break;
        if (next.takeovers < options_.takeovers_from_living) {
          State impatient = next;
          ++impatient.takeovers;
          steps.Add(impatient, "process", i, "takes over from a living reaper", Edge::kFault);
        }
        Rest(me);
        break;
      }
      case At::kReap: {
        what = "mark the slot as reaped by me";
        const bool blind = Has(Flaw::kReapIgnoresGeneration) && target.kind == kLive;
        if (Same(target, me.seen) || blind) {
          const bool takes_over = me.seen.kind == kReaping;
          target = me.seen = ReapingBy(target, me);
          me.at = Has(Flaw::kFreeBeforeRepair) ? At::kFreeSlot : At::kCell;
          if (takes_over && Has(Flaw::kTakeOverGoesOnHalfWay)) me.at = At::kFreeSlot;
        } else {
          what = "mark the slot as reaped by me: lost";
          Rest(me);
        }
        break;
      }
      case At::kCell:
        what = "repair: load a cell";
        me.at = At::kCellCas;
        me.cell_seen = cell;
        if (!IsOf(cell, me.target, me.seen.generation)) NextCell(me);
        break;
      case At::kCellCas:
        what = "repair: abort it";
        if (Same(cell, me.cell_seen) || Has(Flaw::kRepairIsStored)) {
          cell = CellWord{static_cast<uint8_t>(me.cell_seen.lap + 1), 0, 0};
          NextCell(me);
        } else {
          me.at = At::kCell;
        }
        me.cell_seen = CellWord{};
        break;
      case At::kFreeSlot:
        what = "free the slot";
        if (Same(target, me.seen) || Has(Flaw::kFreeIsStored)) {
          if (HasCells(next, me.target, me.seen.generation)) {
            violation = "a slot was freed before its repair was through";
          }
          target = Freed(me.seen);
        }
        Rest(me);
        break;
    }
    steps.Add(next, "process", i, what, Edge::kNormal, violation);
  }

  void Join(const State& s, int i, Steps<State>& steps) const {
    bool any_free = false;
    for (int k = 0; k < options_.slots; ++k) any_free |= s.slots[k].kind == kFree;
    for (int k = 0; k < options_.slots && !any_free && !Has(Flaw::kNoRescue); ++k) {
      State next = s;
      next.actors[i].target = static_cast<uint8_t>(k);
      next.actors[i].at = At::kRescueLock;
      steps.Add(next, "process", i, "load the slots: none is free");
    }
    for (int k = 0; k < options_.slots; ++k) {
      if (s.slots[k].kind != kFree) continue;
      State next = s;
      Actor& me = next.actors[i];
      me.slot = static_cast<uint8_t>(k + 1);
      me.generation = s.slots[k].generation;
      me.at = Has(Flaw::kLiveBeforeLock) ? At::kLive : At::kLock;
      steps.Add(next, "process", i, "load a slot: free");
    }
  }

  void NextCell(Actor& me) const {
    ++me.cell;
    me.cell_seen = CellWord{};
    me.at = At::kCell;
    if (me.cell < options_.cells) return;
    me.cell = 0;
    me.at = At::kFreeSlot;
    if (Has(Flaw::kFreeBeforeRepair)) Rest(me);
  }

  bool HasCells(const State& s, int slot, uint8_t generation) const {
    for (int k = 0; k < options_.cells; ++k) {
      if (IsOf(s.cells[k], slot, generation)) return true;
    }
    return false;
  }

  const char* Judge(const State& s) const {
    for (int i = 0; i < options_.actors; ++i) {
      const Actor& me = s.actors[i];
      if (me.member == 0) continue;
      if (!Same(s.slots[me.slot - 1], SlotWord{me.generation, kLive, 0, 0})) {
        return "a slot was taken from a living participant";
      }
      if (me.at == At::kFinish && !Same(s.cells[me.cell], me.cell_seen)) {
        return "a cell was taken from a living participant";
      }
    }
    return nullptr;
  }

  const Options options_;
};

}  // namespace cfc::model::reaper

#endif  // CFC_NATIVE_MODEL_REAPER_PROTOCOL_H_
