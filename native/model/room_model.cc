// Exhaustive check of senders that wait for room in a full lane.
//
//   wait     a sender that finds the lane full stores the lane in its `want`, sets its class in
//            the lane's room word (CAS, epoch + 1), parks on its own doorbell, tries again, waits
//   free     whoever moved the head loads the room word and rings one wanting sender: in any of
//            its classes, the first that is parked and not rung; a class in which nobody wants
//            is cleared by CAS of the whole word as loaded
//   trust    a freer that finds the sender it rang last still wanting, and awake or rung, rings
//            nobody: that one looks at the lane after this, and passes on what it leaves
//   pass on  a sender that got room after waiting, or gave up, drops its want, looks whether room
//            is left, and if so rings one more. Repair of a dead sender makes it unringable and
//            drops its want, then rings one; so does repair of somebody who died while freeing.
//
// Checked in every state: if there is a free cell and a sender asleep for want of one, then
// somebody is on the way (or dead and not repaired yet). No backstop is in the model. And from
// every state the living can reach the end in which all is sent, or given up, and read.
//
// The lane itself is a count here: a claim takes one of the free cells, at once.
#include "driver.h"
#include "room_protocol.h"

namespace cfc::model::room {
namespace {

std::vector<Configuration<Options>> Configurations() {
  return {
      {"two senders, two messages", {.messages = 2, .full = false}},
      {"two senders, two freers", {.freers = 2, .cells = 2}},
      {"two senders, deaths and quits", {.sender_deaths = 1, .freer_deaths = 1, .quits = 1}},
      {"two senders, two messages, a death", {.messages = 2, .full = false, .sender_deaths = 1}},
      {"three senders", {.senders = 3, .full = false}},
      {"two senders, two messages, trusting",
       {.messages = 2, .cells = 2, .full = false, .trusts = true}},
      {"two senders, trusting, deaths and quits",
       {.cells = 2, .sender_deaths = 1, .freer_deaths = 1, .trusts = true, .quits = 1}},
      {"three senders, two cells, trusting",
       {.senders = 3, .cells = 2, .classes = 1, .trusts = true}},
      {"three senders, all wait", {.senders = 3, .classes = 1}},
      {"three senders, two cells", {.senders = 3, .cells = 2, .classes = 1}},
      {"three senders, two freers", {.senders = 3, .freers = 2, .classes = 1, .full = false}},
      {"three senders, one dies", {.senders = 3, .full = false, .sender_deaths = 1}},
      {"three senders, one quits", {.senders = 3, .full = false, .quits = 1}},
      {"three senders, one quits, one dies",
       {.senders = 3, .classes = 1, .full = false, .sender_deaths = 1, .quits = 1}},
  };
}

std::vector<Variant<Options>> Variants() {
  return {
      {"class-before-want",
       "the class is cleared before the want is there",
       {.flaw = Flaw::kClassBeforeWant}},
      {"class-keeps-epoch",
       "a clearer that looked before the want was stored clears a class in use",
       {.senders = 3, .classes = 1, .flaw = Flaw::kClassKeepsEpoch}},
      {"no-second-try",
       "room made before the class was set rings nobody",
       {.flaw = Flaw::kNoSecondTry}},
      {"try-before-park",
       "room made between the try and the park rings nobody",
       {.flaw = Flaw::kTryBeforePark}},
      {"class-cleared-blindly",
       "a sender set its class since it was looked at",
       {.senders = 3, .classes = 1, .flaw = Flaw::kClassClearedBlindly}},
      {"woken-passes-nothing-on",
       "two freers rang the same sender; the second cell is nobody's",
       {.freers = 2, .cells = 2, .flaw = Flaw::kWokenPassesNothingOn}},
      {"quitter-passes-nothing-on",
       "the ring that it got is lost",
       {.quits = 1, .flaw = Flaw::kQuitterPassesNothingOn}},
      {"quitter-looks-first",
       "it is rung after its look",
       {.quits = 1, .flaw = Flaw::kQuitterLooksFirst}},
      {"repair-passes-nothing-on",
       "the ring that the dead one got is lost",
       {.sender_deaths = 1, .flaw = Flaw::kRepairPassesNothingOn}},
      {"repair-rings-the-dead",
       "a dead sender still wants and swallows the reaper's ring",
       {.sender_deaths = 1, .flaw = Flaw::kRepairRingsTheDead}},
      {"ring-before-free",
       "the woken sender finds the lane as full as before",
       {.flaw = Flaw::kRingBeforeFree}},
      {"trusts-one-that-is-through",
       "the sender rung last is awake, but wants nothing more and passes nothing on",
       {.senders = 3, .cells = 2, .classes = 1, .trusts = true, .flaw = Flaw::kComesWithoutWant}},
      {"trusts-before-it-frees",
       "the sender that comes finds the lane as full as before",
       {.senders = 3, .cells = 2, .classes = 1, .trusts = true, .flaw = Flaw::kComesBeforeFree}},
  };
}

}  // namespace
}  // namespace cfc::model::room

int main(int argc, char** argv) {
  using namespace cfc::model;
  Driver<room::RoomModel, room::Options> driver("room", room::Configurations(), room::Variants());
  return driver.Main(argc, argv);
}
