// Exhaustive check of slab chunks: bodies too large for a cell, which the cell then only names by
// index and generation.
//
//   send     FREE -> LOANED(me) by CAS; claim a cell; write the body; write the place (cell, lap);
//            LOANED -> PLACED(me) by CAS; write the cell's header; commit. Revoked: free the
//            chunk, give the cell back, start over
//   read     lease the cell, read header and chunk, look at the lease once more, deliver, ack
//   reclaim  a DONE cell: read the header, load the cell's state once more (unchanged, else
//            leave it), PLACED -> FREE with the next generation, by CAS on the generation that the
//            header names, and only then the cell's DONE -> FREE. An aborted cell's header is
//            never read: nobody knows how much of it was written
//   repair   after a death: first the dead owner's cells (aborted), then its LOANED chunks, and
//            its PLACED ones whose cell was aborted or has moved on
//
// Checked at every step: no store into a chunk that is not on loan to the writer, no delivery of
// another body, and a committed cell always names a chunk that is placed under that generation.
// From every state the living can reach the end with all sent, all acked, and every chunk FREE.
//
// The ring is not modelled here (mailbox_model is about that): cells are taken in any order.
#include "driver.h"
#include "slab_producer.h"
#include "slab_protocol.h"
#include "slab_repair.h"

namespace cfc::model::slab {
namespace {

std::vector<Configuration<Options>> Configurations() {
  return {
      {"two producers, one chunk", {.chunks = 1, .messages = 2, .keeper_deaths = 1}},
      {"two producers, two chunks", {.messages = 2}},
      {"a producer dies", {.producer_deaths = 1}},
      {"a producer dies, one keeper, two messages",
       {.messages = 2, .keepers = 1, .producer_deaths = 1}},
      {"both producers die", {.chunks = 1, .producer_deaths = 2}},
      {"a producer and a keeper die",
       {.cells = 1, .chunks = 1, .producer_deaths = 1, .keeper_deaths = 1}},
      {"quarantine", {.cells = 1, .producer_deaths = 1, .quarantines = 1}},
      {"quarantine, two cells", {.keepers = 1, .producer_deaths = 1, .quarantines = 1}},
      {"leases taken back", {.chunks = 1, .keeper_deaths = 1, .fences = 1}},
  };
}

std::vector<Variant<Options>> Variants() {
  return {
      {"free-ignores-generation",
       "a late second freer frees the next message's chunk",
       {.chunks = 1, .messages = 2, .flaw = Flaw::kFreeIgnoresGeneration}},
      {"free-is-stored",
       "a late plain store frees the next message's chunk",
       {.chunks = 1, .messages = 2, .flaw = Flaw::kFreeIsStored}},
      {"chunk-after-cell",
       "killed between the two, nothing names the chunk any more",
       {.keeper_deaths = 1, .flaw = Flaw::kChunkAfterCell}},
      {"placed-after-commit",
       "killed between the two, repair frees the chunk of a sent message",
       {.producer_deaths = 1, .flaw = Flaw::kPlacedAfterCommit}},
      {"place-after-placed",
       "repair looks for the chunk's message in an older place",
       {.messages = 2, .keepers = 1, .producer_deaths = 1, .flaw = Flaw::kPlaceAfterPlaced}},
      {"repair-chunks-first",
       "the chunk's cell is not aborted yet, so the chunk is left",
       {.producer_deaths = 1, .flaw = Flaw::kRepairChunksFirst}},
      {"repair-forgets-moved-on",
       "the aborted cell was reclaimed before repair looked at it",
       {.producer_deaths = 1, .flaw = Flaw::kRepairForgetsMovedOn}},
      {"repair-forgets-placed",
       "killed before the commit, the placed chunk is lost",
       {.producer_deaths = 1, .flaw = Flaw::kRepairForgetsPlaced}},
      {"repair-frees-all-placed",
       "a sent message outlives its sender",
       {.messages = 2, .keepers = 1, .producer_deaths = 1, .flaw = Flaw::kRepairFreesAllPlaced}},
      {"aborted-header-is-read",
       "half a header names somebody else's chunk",
       {.messages = 3,
        .last_sends_one = true,
        .keepers = 1,
        .producer_deaths = 1,
        .flaw = Flaw::kAbortedHeaderIsRead}},
      {"reclaim-looks-once",
       "the header read late names the chunk of the cell's next message",
       {.cells = 1, .chunks = 1, .flaw = Flaw::kReclaimLooksOnce}},
      {"revoked-keeps-chunk",
       "nobody else may free the chunk of a living owner",
       {.quarantines = 1, .flaw = Flaw::kRevokedKeepsChunk}},
      {"no-validation",
       "a lease lost during the copy, and the chunk is another message's by now",
       {.chunks = 1, .messages = 2, .fences = 1, .flaw = Flaw::kNoValidation}},
  };
}

}  // namespace
}  // namespace cfc::model::slab

int main(int argc, char** argv) {
  using namespace cfc::model;
  Driver<slab::SlabModel, slab::Options> driver("slab", slab::Configurations(), slab::Variants());
  return driver.Main(argc, argv);
}
