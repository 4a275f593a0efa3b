// Exhaustive check of inserting unique names into one chain of the directory, without a lock.
//
// An entry is FREE, CLAIMED(owner, hash), LIVE(owner) or QUARANTINED(owner), with a generation
// that every return to FREE advances; the name itself is written after the claim, in pieces.
//
//   1  scan the chain: a LIVE entry with my name: exists. A CLAIMED one of my hash: of the dead,
//      free it; of the living, wait, or lose patience and quarantine it
//   2  claim the first FREE entry
//   3  write the name
//   4  scan the whole chain again: LIVE with my name: give mine back, exists. CLAIMED with my
//      hash at a lower position: give mine back, start over; at a higher one: quarantine it
//   5  CLAIMED -> LIVE; if that fails I was quarantined: give mine back, start over
//   Remove is LIVE -> FREE by the owner. What the dead hold is freed by whoever meets it.
//   A name is compared between two loads of the state word, which must be equal.
//
// Checked at every step: no two LIVE entries of one name, no store of a name into an entry of
// somebody else, no LIVE entry with half a name, and "exists" is said only of a name that was LIVE
// during the call. From every state the living can finish, whoever stopped or died, and nothing
// of the dead is left.
#include "directory_protocol.h"
#include "driver.h"

namespace cfc::model::directory {
namespace {

std::vector<Configuration<Options>> Configurations() {
  return {
      {"two inserts, one dies", {.deaths = 1, .impatience = 2}},
      {"two inserts, one stops", {.stops = 1, .impatience = 2}},
      {"insert, remove, insert, remove, insert", {.inserts = 3, .deaths = 1, .impatience = 2}},
      {"two names of one hash", {.inserts = 2, .names = {1, 2}, .later = {2, 1}, .deaths = 1}},
      {"two names of two hashes", {.inserts = 3, .names = {1, 3}, .later = {3, 1}, .deaths = 1}},
      {"a name made of two halves", {.inserts = 3, .names = {1, 4}, .later = {2, 4}, .deaths = 1}},
      {"three inserts, one dies, one stops",
       {.entries = 4, .actors = 3, .deaths = 1, .stops = 1, .impatience = 2}},
      {"three actors, two inserts", {.actors = 3, .inserts = 2, .deaths = 1}},
      {"three actors, two names",
       {.entries = 4, .actors = 3, .names = {1, 1, 2}, .later = {1, 2, 1}, .deaths = 2}},
  };
}

std::vector<Variant<Options>> Variants() {
  return {
      {"no-second-scan", "two claim two entries and both publish", {.flaw = Flaw::kNoSecondScan}},
      {"second-scan-stops-at-mine",
       "who claimed higher up earlier is not seen",
       {.inserts = 2, .flaw = Flaw::kSecondScanStopsAtMine}},
      {"no-quarantine-of-higher",
       "who claimed higher up may have scanned before me",
       {.inserts = 2, .flaw = Flaw::kNoQuarantineOfHigher}},
      {"lost-quarantine-is-ignored",
       "the higher claim went live meanwhile",
       {.inserts = 2, .flaw = Flaw::kLostQuarantineIsIgnored}},
      {"stall-is-freed",
       "a stalled owner wakes up and writes into somebody's entry",
       {.flaw = Flaw::kStallIsFreed}},
      {"publish-is-stored",
       "who was quarantined must not publish",
       {.inserts = 2, .flaw = Flaw::kPublishIsStored}},
      {"free-keeps-generation",
       "a late claim or comparison takes a new entry for the old one",
       {.inserts = 2, .names = {1, 4}, .later = {2, 4}, .flaw = Flaw::kFreeKeepsGeneration}},
      {"name-without-second-load",
       "half of the name belongs to another entry by now",
       {.inserts = 2, .names = {1, 4}, .later = {2, 4}, .flaw = Flaw::kNameWithoutSecondLoad}},
      {"dead-quarantine-is-kept",
       "an entry whose quarantined owner died is lost for ever",
       {.deaths = 1, .flaw = Flaw::kDeadQuarantineIsKept}},
      {"live-before-name", "others compare with half a name", {.flaw = Flaw::kLiveBeforeName}},
  };
}

}  // namespace
}  // namespace cfc::model::directory

int main(int argc, char** argv) {
  using namespace cfc::model;
  Driver<directory::DirectoryModel, directory::Options> driver(
      "directory", directory::Configurations(), directory::Variants());
  return driver.Main(argc, argv);
}
