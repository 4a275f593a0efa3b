// Exhaustive check of participant slots: how one is taken, how a dead participant's is repaired
// and reissued, and what happens when the reaper dies as well.
//
//   join     find a FREE slot; take its lock, which the kernel releases at death; FREE -> LIVE by
//            CAS; if that fails, release the lock and look on
//   work     claim cells, signed with slot and generation, and finish them
//   reap     LIVE -> REAPING(me) once the lock was found free; abort every cell of that owner, by
//            CAS on the word as read; REAPING(me) -> FREE with the next generation
//   take over  REAPING(other) -> REAPING(me) once the other is proven dead: its slot is not LIVE
//            in the generation that it signed with, or its lock is free. Then all steps again
//   rescue   a process that finds no FREE slot takes the lock of one that is not: that proves its
//            holder dead and keeps others out. It reaps in the name of that very slot, so that
//            whoever finds the mark tests that lock; then it releases the lock and looks again
//
// Checked at every step: nobody repairs a cell of the living or takes a slot from under them, and
// no slot is FREE while a cell is still signed with its last generation. From every state with a
// participant left, all cells get free and all slots of the dead are FREE again.
#include "driver.h"
#include "reaper_protocol.h"

namespace cfc::model::reaper {
namespace {

std::vector<Configuration<Options>> Configurations() {
  return {
      {"three processes, one dies", {}},
      {"three processes, two die", {.cells = 1, .deaths = 2}},
      {"a reaper dies, a new process joins", {.cells = 1, .deaths = 2, .births = 1}},
      {"two processes, each dies and comes again",
       {.slots = 2, .actors = 2, .works = 1, .deaths = 2, .births = 2}},
      {"no slot is left but those of the dead",
       {.slots = 2, .cells = 1, .actors = 2, .deaths = 3, .births = 3}},
      {"takeover from the living",
       {.cells = 1, .deaths = 1, .births = 1, .takeovers_from_living = 2}},
      {"two claims each", {.slots = 2, .actors = 2, .works = 2, .deaths = 2, .births = 1}},
  };
}

std::vector<Variant<Options>> Variants() {
  return {
      {"live-before-lock",
       "a reaper finds the lock of the newborn free",
       {.slots = 2, .actors = 2, .flaw = Flaw::kLiveBeforeLock}},
      {"loser-keeps-lock",
       "the slot that it did not get looks alive for ever",
       {.slots = 2, .actors = 2, .flaw = Flaw::kLoserKeepsLock}},
      {"no-rescue",
       "the dead fill all slots, and nobody may enter to reap them",
       {.slots = 2, .actors = 2, .deaths = 2, .births = 1, .flaw = Flaw::kNoRescue}},
      {"reap-ignores-generation",
       "the slot was reissued since its lock was found free",
       {.cells = 1, .births = 1, .flaw = Flaw::kReapIgnoresGeneration}},
      {"free-keeps-generation",
       "a late reaper takes the next owner for the last one",
       {.cells = 1, .births = 1, .flaw = Flaw::kFreeKeepsGeneration}},
      {"free-before-repair",
       "killed between the two, nobody repairs the cells",
       {.flaw = Flaw::kFreeBeforeRepair}},
      {"free-is-stored",
       "a late store frees the slot of the next owner",
       {.cells = 1,
        .deaths = 1,
        .births = 1,
        .takeovers_from_living = 1,
        .flaw = Flaw::kFreeIsStored}},
      {"repair-is-stored",
       "a late store wipes out somebody's claim",
       {.cells = 1,
        .deaths = 1,
        .births = 1,
        .takeovers_from_living = 1,
        .flaw = Flaw::kRepairIsStored}},
      {"owner-without-generation",
       "a late reaper aborts a claim of the slot's next owner",
       {.cells = 1,
        .works = 2,
        .deaths = 1,
        .births = 1,
        .takeovers_from_living = 1,
        .flaw = Flaw::kOwnerWithoutGeneration}},
      {"reaper-without-generation",
       "a new process in the dead reaper's slot passes for the reaper",
       {.cells = 1, .deaths = 2, .births = 1, .flaw = Flaw::kReaperWithoutGeneration}},
      {"no-take-over",
       "the slot of a dead reaper's victim is lost for ever",
       {.cells = 1, .deaths = 2, .flaw = Flaw::kNoTakeOver}},
      {"take-over-goes-on-half-way",
       "how far the dead reaper came is not known",
       {.cells = 1, .deaths = 2, .flaw = Flaw::kTakeOverGoesOnHalfWay}},
  };
}

}  // namespace
}  // namespace cfc::model::reaper

int main(int argc, char** argv) {
  using namespace cfc::model;
  Driver<reaper::ReaperModel, reaper::Options> driver("reaper", reaper::Configurations(),
                                                      reaper::Variants());
  return driver.Main(argc, argv);
}
