// Exhaustive check of topics: one log, publishers, subscribers with cursors.
//
//   publish    claim the cell at the tail, write, commit, ring who sleeps. The log full: free the
//              cell at the head, if the head is before the gate; else scan the rows, move the gate
//   scan       load the tail; of each row the cursor, and until its base is known its start; the
//              least of them is the gate. The head at a row's start: write its base down
//   free       READY -> RETIRED, or count the aborted position; cell free of the next lap; head + 1
//   subscribe  the row JOINING with the cursor at the tail; load the tail again: that is the start
//   read       copy, load the state again. Overtaken: go to the head; the number of messages lost
//   is
//              the positions between, less those aborted before the head, plus those before next
//   sleep      park, set the bit with a new epoch, look again
//   repair     abort the dead publisher's claims, ring all who sleep; free the dead subscriber's
//   row
//
// Checked at every step: what is delivered was published at that position; a gap is told with the
// very number of messages in it; a reliable subscriber that was never set aside loses none; what
// was published after subscribe has returned lies behind the start; the head never falls. From
// every state the living can reach the end: all published, all read, nothing left of the dead.
//
// Generations of rows and cells, and waking publishers, are not modelled here (reaper, mailbox,
// room); nor is the memory of bodies (slab).
#include "driver.h"
#include "topic_protocol.h"

namespace cfc::model::topic {
namespace {

std::vector<Configuration<Options>> Configurations() {
  return {
      {"one publisher, reliable", {.publishers = 1, .messages = 4}},
      {"one publisher, lossy", {.publishers = 1, .messages = 4, .lossy = true}},
      {"two publishers, reliable", {}},
      {"two publishers, lossy", {.lossy = true}},
      {"one of each kind", {.publishers = 1, .messages = 4, .subscribers = 2}},
      {"comes late, reliable", {.late = true}},
      {"comes late, lossy", {.lossy = true, .late = true}},
      {"comes late, one publisher of many", {.publishers = 1, .messages = 5, .late = true}},
      {"a publisher dies, reliable", {.publisher_deaths = 1}},
      {"a publisher dies, lossy", {.lossy = true, .publisher_deaths = 1}},
      {"a publisher dies while a lossy one comes",
       {.lossy = true, .late = true, .publisher_deaths = 1}},
      {"a publisher dies while a reliable one comes", {.late = true, .publisher_deaths = 1}},
      {"a publisher and its repairer die", {.publisher_deaths = 1, .repairer_deaths = 1}},
      {"a subscriber dies", {.publishers = 1, .messages = 4, .subscriber_deaths = 1}},
      {"a subscriber dies as it comes",
       {.publishers = 1, .messages = 4, .late = true, .subscriber_deaths = 1}},
      {"a subscriber and its repairer die",
       {.publishers = 1, .messages = 4, .subscriber_deaths = 1, .repairer_deaths = 1}},
      {"a claim set aside, reliable", {.quarantines = 1}},
      {"a claim set aside, lossy", {.lossy = true, .quarantines = 1}},
      {"a laggard", {.publishers = 1, .messages = 4, .lags = 1}},
      {"a laggard, two publishers", {.lags = 1}},
      {"a laggard as it comes", {.publishers = 1, .messages = 3, .late = true, .lags = 1}},
      {"a laggard and a death", {.publisher_deaths = 1, .lags = 1}},
      {"sleeping", {.publishers = 1, .messages = 3, .sleep = true}},
      {"sleeping, two publishers", {.messages = 2, .sleep = true}},
      {"two sleep", {.publishers = 1, .messages = 2, .subscribers = 2, .sleep = true}},
      {"sleeping, a publisher dies",
       {.publishers = 1, .messages = 2, .subscribers = 2, .publisher_deaths = 1, .sleep = true}},
      {"sleeping, a subscriber dies",
       {.publishers = 1, .messages = 2, .subscribers = 2, .subscriber_deaths = 1, .sleep = true}},
  };
}

std::vector<Variant<Options>> Variants() {
  return {
      {"join-loads-tail-once",
       "a scan that missed the row lets publishers pass its start",
       {.late = true, .flaw = Flaw::kJoinLoadsTailOnce}},
      {"scan-loads-tail-last",
       "the row came after the look and before the load of the tail",
       {.messages = 3, .late = true, .flaw = Flaw::kScanLoadsTailLast}},
      {"scan-ignores-joining",
       "the gate moves past a start that was loaded already",
       {.late = true, .flaw = Flaw::kScanIgnoresJoining}},
      {"base-holds-nothing",
       "the head passes the start, and nobody knows how many were aborted before it",
       {.messages = 3,
        .last_sends_one = true,
        .lossy = true,
        .late = true,
        .publisher_deaths = 1,
        .flaw = Flaw::kBaseHoldsNothing}},
      {"count-after-free",
       "killed between the two, or just slow: the count misses a position that was passed",
       {.lossy = true, .publisher_deaths = 1, .flaw = Flaw::kCountAfterFree}},
      {"hole-not-counted",
       "a hole that moves along carried no message either",
       {.lossy = true, .quarantines = 1, .flaw = Flaw::kHoleNotCounted}},
      {"no-validation",
       "overwritten during the copy",
       {.lossy = true, .flaw = Flaw::kNoValidation}},
      {"free-ignores-gate", "a reliable subscriber is overtaken", {.flaw = Flaw::kFreeIgnoresGate}},
      {"free-is-stored",
       "a late plain store wipes out a message that was published meanwhile",
       {.messages = 3, .last_sends_one = true, .lossy = true, .flaw = Flaw::kFreeIsStored}},
      {"retire-is-stored",
       "the same",
       {.messages = 3, .last_sends_one = true, .lossy = true, .flaw = Flaw::kRetireIsStored}},
      {"head-is-stored",
       "a late plain store takes the head back",
       {.messages = 3, .last_sends_one = true, .lossy = true, .flaw = Flaw::kHeadIsStored}},
      {"claim-is-skipped", "what is claimed may be published yet", {.flaw = Flaw::kClaimIsSkipped}},
      {"look-before-bit",
       "published between the look and the bit",
       {.publishers = 1, .messages = 2, .sleep = true, .flaw = Flaw::kLookBeforeBit}},
      {"bit-keeps-epoch",
       "a ringer clears the bit of one that woke, parked again and set it anew",
       {.messages = 2, .sleep = true, .flaw = Flaw::kBitKeepsEpoch}},
      {"joining-holds-no-start",
       "seen as joining, it reads on before its cursor is loaded; the head passes its start",
       {.publishers = 1, .messages = 5, .late = true, .flaw = Flaw::kJoiningHoldsNoStart}},
      {"repair-rings-nobody",
       "killed between the commit and the ring",
       {.publishers = 1,
        .messages = 1,
        .publisher_deaths = 1,
        .sleep = true,
        .flaw = Flaw::kRepairRingsNobody}},
      {"repair-keeps-row",
       "publishers wait for the dead",
       {.publishers = 1, .messages = 4, .subscriber_deaths = 1, .flaw = Flaw::kRepairKeepsRow}},
  };
}

}  // namespace
}  // namespace cfc::model::topic

int main(int argc, char** argv) {
  using namespace cfc::model;
  Driver<topic::TopicModel, topic::Options> driver("topic", topic::Configurations(),
                                                   topic::Variants());
  return driver.Main(argc, argv);
}
