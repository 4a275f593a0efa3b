// Exhaustive check of one mailbox lane: a ring of cells that producers claim and commit, readers
// lease, settle and free, and that anybody repairs, seals and reissues.
//
// Promises checked at every step
//   - no store into a cell that somebody else owns, no torn or foreign body delivered;
//   - first deliveries follow the order of their sender; repeats are marked as repeats;
//   - no state word ever comes back; head and tail never fall, and head never passes tail;
//   - behind the seal nothing accepted is left, and nothing is accepted any more;
//   - a batch refused as full was not accepted in part; a dropped message makes room;
//   - a reissued mailbox takes nothing from, gives nothing to, and is not closed by those who
//     still mean the old one.
// And from every state the living can reach the end in which all is sent or refused, every
// accepted message is settled, every claim and lease is gone, a closed lane is sealed at its head,
// a reissued one is open, and acked = head - tally.
#include "driver.h"
#include "mailbox_producer.h"
#include "mailbox_reader.h"
#include "mailbox_settle.h"
#include "mailbox_state.h"
#include "mailbox_upkeep.h"

namespace cfc::model::mailbox {
namespace {

class MailboxModel {
 public:
  using State = mailbox::State;

  explicit MailboxModel(const Options& options)
      : options_(options), lane_(options_), producer_(lane_), reader_(lane_) {}
  MailboxModel(const MailboxModel&) = delete;
  MailboxModel& operator=(const MailboxModel&) = delete;

  State Initial() const {
    State s{};
    for (int i = 0; i < options_.producers; ++i) s.producers[i].alive = 1;
    for (int i = 0; i < options_.readers; ++i) s.readers[i].alive = 1;
    return s;
  }

  void Expand(const State& s, Steps<State>& steps) const {
    for (int i = 0; i < options_.producers; ++i) {
      if (s.producers[i].alive != 0 && s.producers[i].stopped == 0) producer_.Expand(s, i, steps);
    }
    for (int i = 0; i < options_.readers; ++i) {
      if (s.readers[i].alive != 0) reader_.Expand(s, i, steps);
    }
    if (s.fences < options_.fences) Fence(s, steps);
    for (auto& step : steps) {
      if (step.violation == nullptr) step.violation = Compare(s, step.next);
    }
  }

  bool IsEnd(const State& s) const {
    for (int i = 0; i < options_.producers; ++i) {
      const Producer& p = s.producers[i];
      if (p.alive != 0 && p.stopped == 0 && !producer_.IsDone(p)) return false;
    }
    for (int i = 0; i < options_.readers; ++i) {
      if (s.readers[i].alive != 0 && !ReaderMoves::IsIdle(s.readers[i])) return false;
    }
    for (int i = 0; i < options_.cells; ++i) {
      const Word w = s.cells[i].word;
      if (w.kind == kClaimed || w.kind == kLeased || w.kind == kHeld) return false;
      const bool waits = w.kind == kQuarantined && !Lane::IsDead(s, w.owner) &&
                         s.producers[w.owner - kFirstProducer].stopped != 0;
      if (w.kind == kQuarantined && !waits) return false;
    }
    if ((s.accepted & ~Settled(s)) != 0 || (s.dead_lettered & ~s.dead_pushed) != 0) return false;
    const bool reissue_is_due = options_.reissues > 0 && (s.closed & 2) == 0;
    const bool with_seal = !lane_.Has(Flaw::kBitWithoutSeal);
    if (s.closing != 0 && with_seal && (reissue_is_due || !SealedAtHead(s))) return false;
    int acks = 0;
    for (int bit = 0; bit < 8; ++bit) acks += s.acked >> bit & 1;
    return s.head == s.tail && s.head - s.tally == acks;
  }

  bool IsJudged(const State& s) const {
    for (int i = 0; i < options_.readers; ++i) {
      if (s.readers[i].alive != 0) return true;
    }
    return false;
  }

  void Print(FILE* out, const State& s) const {
    static constexpr const char* kKinds[] = {"FREE",   "CLAIMED", "QUARANTINED", "READY",
                                             "LEASED", "HELD",    "SEALED",      "DONE"};
    std::fprintf(out, "  head %d, tail %d%s, generation %d, tally %d at %d\n", s.head, s.tail,
                 s.closing != 0 ? " closing" : "", s.generation, s.tally, s.tally_at);
    for (int i = 0; i < options_.cells; ++i) {
      const Word& w = s.cells[i].word;
      std::fprintf(out, "  cell %d: %s lap %d attempt %d owner %02x body %d,%d\n", i,
                   kKinds[w.kind], w.lap, w.attempt, w.owner, s.cells[i].body[0],
                   s.cells[i].body[1]);
    }
    for (int i = 0; i < options_.producers; ++i) {
      const Producer& p = s.producers[i];
      std::fprintf(out, "  producer %d: %s step %d tail %d sent %d\n", i,
                   p.alive == 0     ? "dead"
                   : p.stopped != 0 ? "stopped"
                                    : "up",
                   static_cast<int>(p.at), p.tail, p.sent);
    }
    for (int i = 0; i < options_.readers; ++i) {
      const Reader& r = s.readers[i];
      std::fprintf(out, "  reader %d: %s step %d head %d position %d cursor %d\n", i,
                   r.alive == 0 ? "dead" : "up", static_cast<int>(r.at), r.head, r.position,
                   r.cursor);
    }
    std::fprintf(out, "  accepted %02x refused %02x taken %02x acked %02x dropped %02x dead %02x\n",
                 s.accepted, s.refused, s.taken, s.acked, s.dropped, s.dead_lettered);
  }

 private:
  static uint8_t Settled(const State& s) { return s.acked | s.dropped | s.dead_lettered; }

  bool SealedAtHead(const State& s) const {
    const Word w = lane_.At(s, s.head).word;
    return w.kind == kSealed && w.lap == lane_.LapOf(s.head) && s.tail == s.head;
  }

  // The agent is stopped, restarted or adopted. Its old processes live on and know nothing.
  void Fence(const State& s, Steps<State>& steps) const {
    if (options_.shell) {
      State next = s;
      ++next.incarnation;
      ++next.fences;
      steps.Add(next, "agent", 0, "is fenced: a new incarnation", Edge::kFault);
      return;
    }
    for (int k = 0; k < options_.cells; ++k) {
      const Word w = s.cells[k].word;
      if (w.kind != kLeased) continue;
      Move move{s};
      lane_.Cas(move, move.s.cells[k], w, lane_.Redelivery(w));
      ++move.s.fences;
      steps.Add(move.s, "agent", 0, "is fenced: a lease is taken back", Edge::kFault,
                move.violation);
    }
  }

  // What no step may do, whoever takes it; notes in `b` that the lane was seen drained.
  const char* Compare(const State& a, State& b) const {
    if (b.head < a.head) return "head fell";
    if (b.tail < a.tail) return "tail fell";
    if (b.head > b.tail && !lane_.Has(Flaw::kHeadBeforeFree)) return "head passed tail";
    if (a.closing != 0 && b.closing == 0) b.drained = 0;  // opened again
    const bool drained =
        lane_.Has(Flaw::kBitWithoutSeal) ? b.closing != 0 && b.head == b.tail : SealedAtHead(b);
    if (drained && b.generation == 0) b.drained = 1;
    const uint8_t first_generation = b.accepted & ~b.second_generation;
    if (b.drained != 0 && (first_generation & ~Settled(b)) != 0) {
      return "an accepted message is left behind the seal";
    }
    return nullptr;
  }

  const Options options_;
  const Lane lane_;
  const ProducerMoves producer_;
  const ReaderMoves reader_;
};

std::vector<Configuration<Options>> Configurations() {
  return {
      {"two producers, two readers, a reader dies", {.messages = 2, .reader_deaths = 1}},
      {"a producer and a reader die", {.producer_deaths = 1, .reader_deaths = 1}},
      {"both producers die", {.producer_deaths = 2}},
      {"three producers, one dies", {.producers = 3, .readers = 1, .producer_deaths = 1}},
      {"three cells", {.cells = 3, .messages = 2, .readers = 1, .producer_deaths = 1}},
      {"three cells, two readers", {.cells = 3, .messages = 2}},
      {"quarantine", {.producer_deaths = 1, .reader_deaths = 1, .quarantines = 1}},
      {"quarantine twice", {.messages = 2, .readers = 1, .producer_deaths = 1, .quarantines = 2}},
      {"three cells, quarantine", {.cells = 3, .quarantines = 1}},
      {"quarantine, holes are passed at once",
       {.producer_deaths = 1, .quarantines = 1, .hole_helps_tail = true}},
      {"close, quarantine, holes are passed at once",
       {.quarantines = 1, .closes = 1, .hole_helps_tail = true}},
      {"a producer stops for ever", {.messages = 2, .reader_deaths = 1, .stops = 1}},
      {"fence", {.reader_deaths = 1, .fences = 1}},
      {"leases kept, acks in any order",
       {.producers = 1, .messages = 3, .reader_deaths = 1, .fences = 1, .defer = true}},
      {"shell readers, fence", {.reader_deaths = 1, .fences = 1, .shell = true}},
      {"nack and dead letters",
       {.producers = 1, .messages = 2, .reader_deaths = 1, .nack = true, .attempt_limit = 1}},
      {"nack, two producers", {.reader_deaths = 1, .nack = true, .attempt_limit = 2}},
      {"shell readers, nack by token",
       {.producers = 1,
        .messages = 2,
        .reader_deaths = 1,
        .shell = true,
        .nack = true,
        .attempt_limit = 1}},
      {"drop-oldest", {.messages = 2, .readers = 1, .producer_deaths = 1, .drops = 1}},
      {"drop-oldest, two readers", {.producers = 1, .messages = 3, .reader_deaths = 1, .drops = 1}},
      {"drop-oldest, quarantine", {.reader_deaths = 1, .quarantines = 1, .drops = 1}},
      {"close", {.producer_deaths = 1, .reader_deaths = 1, .closes = 1}},
      {"close and quarantine", {.reader_deaths = 1, .quarantines = 1, .closes = 1}},
      {"close, a producer stops for ever", {.reader_deaths = 1, .stops = 1, .closes = 1}},
      {"close, drop-oldest",
       {.messages = 2, .readers = 1, .producer_deaths = 1, .drops = 1, .closes = 1}},
      {"close, nack",
       {.producers = 1,
        .messages = 2,
        .reader_deaths = 1,
        .closes = 1,
        .nack = true,
        .attempt_limit = 1}},
      {"close, shell readers, fence", {.fences = 1, .closes = 1, .shell = true}},
      {"close and reissue", {.reader_deaths = 1, .closes = 1, .reissues = 1}},
      {"two closers and reissue",
       {.producers = 1, .messages = 2, .reader_deaths = 1, .closes = 2, .reissues = 1}},
      {"reissue, generation in the tail word",
       {.reader_deaths = 1, .closes = 2, .reissues = 1, .tail_has_generation = true}},
      {"close and reopen", {.closes = 1, .reopens = 1}},
      {"close and reopen, a producer dies",
       {.messages = 2, .readers = 1, .producer_deaths = 1, .closes = 2, .reopens = 2}},
      {"close and reopen, a reader dies",
       {.producers = 1, .messages = 2, .reader_deaths = 1, .closes = 2, .reopens = 2}},
      {"batches", {.cells = 3, .messages = 2, .readers = 1, .batch = 2, .producer_deaths = 1}},
      {"batches, two readers", {.cells = 3, .messages = 2, .batch = 2}},
      {"batches, quarantine",
       {.cells = 3,
        .producers = 1,
        .messages = 2,
        .batch = 2,
        .producer_deaths = 1,
        .reader_deaths = 1,
        .quarantines = 2}},
      {"batches, close",
       {.messages = 2, .readers = 1, .batch = 2, .producer_deaths = 1, .closes = 1}},
      {"private cursor",
       {.cells = 3, .producers = 1, .messages = 3, .reader_deaths = 1, .cursor = true}},
      {"private cursor, two producers, two readers", {.cells = 3, .messages = 2, .cursor = true}},
      {"private cursor, fence, kept leases",
       {.cells = 3, .messages = 2, .readers = 1, .fences = 1, .defer = true, .cursor = true}},
      {"private cursor, quarantine",
       {.cells = 3,
        .messages = 2,
        .readers = 1,
        .producer_deaths = 1,
        .quarantines = 1,
        .cursor = true}},
  };
}

std::vector<Variant<Options>> Variants() {
  return {
      {"reclaim-stores-free",
       "a late plain store wipes out an accepted message",
       {.messages = 2, .flaw = Flaw::kReclaimStoresFree}},
      {"head-is-stored",
       "a late store moves the head back",
       {.messages = 2, .flaw = Flaw::kHeadIsStored}},
      {"ack-stores-done",
       "who lost the lease must not settle the message",
       {.fences = 1, .flaw = Flaw::kAckStoresDone}},
      {"commit-stores-ready",
       "who was revoked must not publish",
       {.quarantines = 1, .flaw = Flaw::kCommitStoresReady}},
      {"nack-stores-ready",
       "a late nack brings a settled message back",
       {.fences = 1, .nack = true, .attempt_limit = 2, .flaw = Flaw::kNackStoresReady}},
      {"skip-without-guard",
       "a passed claim may commit, and its sender's next message overtakes it",
       {.producers = 1, .messages = 2, .flaw = Flaw::kSkipWithoutGuard}},
      {"skip-two-claims",
       "one guard covers one passed claim",
       {.cells = 3, .messages = 2, .readers = 1, .flaw = Flaw::kSkipTwoClaims}},
      {"no-validation",
       "a lease revoked during the copy must deliver nothing",
       {.messages = 2, .fences = 1, .flaw = Flaw::kNoValidation}},
      {"repeat-unmarked",
       "a receiver cannot tell a repeat that carries no attempt",
       {.reader_deaths = 1, .flaw = Flaw::kRepeatUnmarked}},
      {"head-before-free",
       "killed between the two, the cell is never freed",
       {.messages = 2, .reader_deaths = 1, .flaw = Flaw::kHeadBeforeFree}},
      {"tail-not-helped",
       "the head passes the tail of a producer that died after its claim",
       {.producer_deaths = 1, .flaw = Flaw::kTailNotHelped}},
      {"lease-to-agent-at-once",
       "a reader that dies before printing leaves a lease that sticks",
       {.reader_deaths = 1, .shell = true, .flaw = Flaw::kLeaseToAgentAtOnce}},
      {"hand-over-to-current-incarnation",
       "a late process must hand over to its own incarnation",
       {.fences = 1, .shell = true, .flaw = Flaw::kHandOverToCurrentIncarnation}},
      {"stall-freed-by-timeout",
       "a stalled owner wakes up and writes into somebody's cell",
       {.quarantines = 1, .flaw = Flaw::kStallFreedByTimeout}},
      {"late-owner-stores-done",
       "a hole moves on with the ring; its owner must load it anew",
       {.quarantines = 1, .flaw = Flaw::kLateOwnerStoresDone}},
      {"hole-keeps-its-lap",
       "with two reclaimers a stale one frees or passes the hole twice",
       {.producers = 1, .messages = 2, .quarantines = 1, .flaw = Flaw::kHoleKeepsItsLap}},
      {"plain-tally",
       "two reclaimers count one position twice",
       {.producer_deaths = 1, .flaw = Flaw::kPlainTally}},
      {"tally-after-free",
       "killed between the two, the position is never counted",
       {.producer_deaths = 1, .reader_deaths = 1, .flaw = Flaw::kTallyAfterFree}},
      {"bit-without-seal",
       "a producer that loaded the tail before the bit commits behind it",
       {.closes = 1, .flaw = Flaw::kBitWithoutSeal}},
      {"reissue-frees-cell-first",
       "a late sealer takes the freed cell for a claimed one",
       {.producers = 1,
        .messages = 2,
        .closes = 1,
        .reissues = 1,
        .flaw = Flaw::kReissueFreesCellFirst}},
      {"reissue-bumps-generation-last",
       "between the two, the new mailbox passes for the old one",
       {.messages = 1, .closes = 1, .reissues = 1, .flaw = Flaw::kReissueBumpsGenerationLast}},
      {"producer-reads-generation-first",
       "the tail may be that of the new mailbox",
       {.closes = 1, .reissues = 1, .flaw = Flaw::kProducerReadsGenerationFirst}},
      {"reader-ignores-generation",
       "a late reader of the old mailbox takes from the new one",
       {.closes = 1, .reissues = 1, .flaw = Flaw::kReaderIgnoresGeneration}},
      {"closer-ignores-generation",
       "a late closer of the old mailbox closes the new one",
       {.producers = 1,
        .messages = 1,
        .closes = 2,
        .reissues = 1,
        .flaw = Flaw::kCloserIgnoresGeneration}},
      {"reopen-without-seal",
       "the tail passes a free cell, on which nobody can count any more",
       {.closes = 1, .reopens = 1, .flaw = Flaw::kReopenWithoutSeal}},
      {"drop-behind-head",
       "a message is lost and no room is made",
       {.messages = 2, .drops = 1, .flaw = Flaw::kDropBehindHead}},
      {"dead-letter-after-done",
       "killed between the two, the message is in neither ring",
       {.producers = 1,
        .reader_deaths = 1,
        .nack = true,
        .attempt_limit = 1,
        .flaw = Flaw::kDeadLetterAfterDone}},
      {"cursor-passes-claim",
       "the next take begins behind a claim, and no guard looks at it",
       {.cells = 3, .messages = 2, .readers = 1, .cursor = true, .flaw = Flaw::kCursorPassesClaim}},
      {"cursor-never-returns",
       "a message that came back behind the cursor is never seen",
       {.cells = 3,
        .producers = 1,
        .messages = 2,
        .readers = 1,
        .fences = 1,
        .defer = true,
        .cursor = true,
        .flaw = Flaw::kCursorNeverReturns}},
      {"batch-commits-as-it-claims",
       "no room half-way leaves a part accepted",
       {.messages = 2, .readers = 1, .batch = 2, .flaw = Flaw::kBatchCommitsAsItClaims}},
      {"batch-goes-on-after-revoke",
       "the message that was revoked is sent after its successor",
       {.cells = 3,
        .producers = 1,
        .messages = 2,
        .readers = 1,
        .batch = 2,
        .quarantines = 1,
        .flaw = Flaw::kBatchGoesOnAfterRevoke}},
  };
}

}  // namespace
}  // namespace cfc::model::mailbox

int main(int argc, char** argv) {
  using namespace cfc::model;
  Driver<mailbox::MailboxModel, mailbox::Options> driver("mailbox", mailbox::Configurations(),
                                                         mailbox::Variants());
  return driver.Main(argc, argv);
}
