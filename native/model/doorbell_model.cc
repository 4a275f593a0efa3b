// Exhaustive check of the doorbell: one word a sleeper, `epoch | LOOP | RUNG | PARKED`, that lets
// senders skip the wake-up call while nobody sleeps, and loses no wake-up when a sender is killed
// between any two instructions.
//
//   park  (a loop: drain the FIFO;) word to epoch + 1 with PARKED and without RUNG; look again;
//         wait on exactly that word, or poll the FIFO
//   ring  after the commit load the word; PARKED and not RUNG: CAS to epoch + 1, wake, and only
//         then CAS in RUNG; otherwise look at the next sleeper of the mailbox
//   Only the sleeper clears PARKED. One that leaves clears it first, then looks, then passes the
//   ring on. Whoever repairs a dead sender rings once in its place; whoever repairs a dead sleeper
//   first makes it unringable (PARKED off, or off the list of readers), then rings once.
//
// Checked in every state: when all sleepers sleep and nobody is on the way to wake one, then no
// message whose send has returned lies unread, even if a sender is dead and not repaired yet; and
// no message at all once the repair is through. The 5 s backstop is not in the model: nothing may
// need it. And from every state the living can reach the end in which everything sent is read.
#include "doorbell_protocol.h"
#include "driver.h"

namespace cfc::model::doorbell {
namespace {

std::vector<Configuration<Options>> Configurations() {
  return {
      {"futex, two senders die", {.messages = 3, .ringer_deaths = 2, .timeouts = 1}},
      {"futex, three senders", {.ringers = 3, .messages = 1, .ringer_deaths = 2, .timeouts = 1}},
      {"FIFO, two senders die", {.messages = 3, .loop = true, .ringer_deaths = 2, .timeouts = 1}},
      {"FIFO, three senders",
       {.ringers = 3, .messages = 1, .loop = true, .ringer_deaths = 2, .timeouts = 1}},
      {"futex, two sleepers, one leaves, one dies",
       {.messages = 1, .sleepers = 2, .ringer_deaths = 1, .sleeper_deaths = 1, .leaves = 1}},
      {"futex, two sleepers, one dies, two messages each", {.sleepers = 2, .sleeper_deaths = 1}},
      {"FIFO, two sleepers, one leaves, one dies",
       {.messages = 1, .sleepers = 2, .loop = true, .sleeper_deaths = 1, .leaves = 1}},
      {"futex, two sleepers time out", {.sleepers = 2, .ringer_deaths = 1, .timeouts = 1}},
  };
}

std::vector<Variant<Options>> Variants() {
  return {
      {"clear-then-wake",
       "killed between the two, PARKED is gone and the sleeper sleeps on",
       {.ringer_deaths = 1, .flaw = Flaw::kClearThenWake}},
      {"ring-keeps-epoch",
       "a wake that comes before the wait must make the wait fail",
       {.ringer_deaths = 1, .flaw = Flaw::kRingKeepsEpoch}},
      {"park-keeps-epoch",
       "a late RUNG must not land on a later park",
       {.messages = 3, .flaw = Flaw::kParkKeepsEpoch}},
      {"park-keeps-rung",
       "a new park that says RUNG is never rung",
       {.flaw = Flaw::kParkKeepsRung}},
      {"rung-before-wake",
       "killed between the two, everybody else believes it was rung",
       {.ringer_deaths = 1, .flaw = Flaw::kRungBeforeWake}},
      {"rung-ignores-epoch",
       "RUNG set on a park that nobody rang",
       {.messages = 3, .flaw = Flaw::kRungIgnoresEpoch}},
      {"ringer-clears-parked",
       "the sleeper may have parked anew by then",
       {.messages = 3, .flaw = Flaw::kRingerClearsParked}},
      {"ring-before-commit",
       "the sleeper looks, finds nothing and goes back to sleep",
       {.flaw = Flaw::kRingBeforeCommit}},
      {"no-second-look",
       "a message committed before PARKED was set rings nobody",
       {.flaw = Flaw::kNoSecondLook}},
      {"drain-after-park",
       "the byte of a RUNG already set is drained away",
       {.messages = 3, .loop = true, .flaw = Flaw::kDrainAfterPark}},
      {"shared-word",
       "the first of two sleepers to wake clears PARKED for both",
       {.sleepers = 2, .leaves = 1, .flaw = Flaw::kSharedWord}},
      {"leaver-looks-first",
       "a sender rings the leaver between its look and its unpark",
       {.sleepers = 2, .leaves = 1, .flaw = Flaw::kLeaverLooksFirst}},
      {"leaver-passes-nothing-on",
       "the ring that it got was for a message that it leaves",
       {.sleepers = 2, .leaves = 1, .flaw = Flaw::kLeaverPassesNothingOn}},
      {"repair-of-sleeper-rings-nobody",
       "the ring that the dead one got is lost",
       {.sleepers = 2, .sleeper_deaths = 1, .flaw = Flaw::kRepairOfSleeperRingsNobody}},
      {"repair-rings-the-dead",
       "a dead sleeper still says PARKED and swallows the reaper's ring",
       {.sleepers = 2, .sleeper_deaths = 1, .flaw = Flaw::kRepairRingsTheDead}},
  };
}

}  // namespace
}  // namespace cfc::model::doorbell

int main(int argc, char** argv) {
  using namespace cfc::model;
  Driver<doorbell::DoorbellModel, doorbell::Options> driver("doorbell", doorbell::Configurations(),
                                                            doorbell::Variants());
  return driver.Main(argc, argv);
}
