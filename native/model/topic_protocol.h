// The whole of the topic model: publishers, subscribers, the repairer, and what the environment
// does.
#ifndef CFC_NATIVE_MODEL_TOPIC_PROTOCOL_H_
#define CFC_NATIVE_MODEL_TOPIC_PROTOCOL_H_

#include <cstdio>

#include "search.h"
#include "topic_publisher.h"
#include "topic_state.h"
#include "topic_subscriber.h"

namespace cfc::model::topic {

class TopicModel {
 public:
  using State = topic::State;

  explicit TopicModel(const Options& options) : o_(options) {}

  State Initial() const {
    State s{};
    for (int i = 0; i < o_.publishers; ++i) s.publishers[i].alive = 1;
    for (int i = 0; i < o_.subscribers; ++i) {
      s.subscribers[i].alive = 1;
      if (o_.late) continue;
      s.subscribers[i].at = SubscriberAt::kMine;
      s.rows[i].kind = i == 0 && !o_.lossy ? kReliable : kLossy;
    }
    return s;
  }

  void Expand(const State& s, Steps<State>& steps) const {
    for (int i = 0; i < o_.publishers; ++i) PublisherSteps(o_, s, i, steps).Expand();
    for (int i = 0; i < o_.subscribers; ++i) SubscriberSteps(o_, s, i, steps).Expand();
    Repair(s, steps);
    Environment(s, steps);
  }

  // Nobody has anything left to do: all is published, or its publisher is dead and repaired; the
  // living have read all and know of what they lost; no claim and no row of the dead is left.
  bool IsEnd(const State& s) const {
    for (int i = 0; i < o_.publishers; ++i) {
      const Publisher& p = s.publishers[i];
      if (!p.alive && !(s.repaired >> i & 1)) return false;
      if (p.alive && (p.at != PublisherAt::kIdle || p.sent < PublisherSteps::Messages(o_, i))) {
        return false;
      }
    }
    for (const Cell& cell : s.cells) {
      if (cell.word.kind == kClaimed || cell.word.kind == kHole) return false;
    }
    for (int i = 0; i < o_.subscribers; ++i) {
      const Subscriber& me = s.subscribers[i];
      if (!me.alive) {
        if (!(s.repaired >> (4 + i) & 1) || s.rows[i].kind != kRowFree) return false;
        continue;
      }
      if (s.rows[i].kind != kReliable && s.rows[i].kind != kLossy) return false;
      if (me.next < s.tail || s.rows[i].cursor < s.tail) return false;
      if (o_.sleep && me.at != SubscriberAt::kAsleep) return false;
    }
    return true;
  }

  bool IsJudged(const State&) const { return true; }

  void Print(FILE* out, const State& s) const {
    std::fprintf(out, "head %u tail %u gate %u tally %u|%u bits %u|%u\n", s.head, s.tail, s.gate,
                 s.tally.position, s.tally.count, s.bits.epoch, s.bits.rows);
    for (const Cell& cell : s.cells) {
      std::fprintf(out, "cell lap %u kind %u owner %u body %u\n", cell.word.lap, cell.word.kind,
                   cell.word.owner, cell.body);
    }
    for (int i = 0; i < o_.subscribers; ++i) {
      const Row& row = s.rows[i];
      const Subscriber& me = s.subscribers[i];
      std::fprintf(out, "row %d kind %u cursor %u start %u base %u|%u, next %u aborted %u at %u\n",
                   i, row.kind, row.cursor, row.start, row.base_known, row.base, me.next,
                   me.aborted, static_cast<unsigned>(me.at));
    }
    for (int i = 0; i < o_.publishers; ++i) {
      const Publisher& p = s.publishers[i];
      std::fprintf(out, "publisher %d alive %u sent %u position %u at %u\n", i, p.alive, p.sent,
                   p.position, static_cast<unsigned>(p.at));
    }
  }

 private:
  // One repairer at a time; its death leaves all to the next, which begins anew.
  void Repair(const State& s, Steps<State>& steps) const {
    State n = s;
    Repairer& r = n.repairer;
    if (s.repairer.busy == 0) {
      for (int i = 0; i < o_.publishers; ++i) {
        if (s.publishers[i].alive || (s.repaired >> i & 1)) continue;
        n = s;
        n.repairer = {static_cast<uint8_t>(i + 1), 0};
        steps.Add(n, "repairer", i, "finds a dead publisher");
      }
      for (int i = 0; i < o_.subscribers; ++i) {
        if (s.subscribers[i].alive || (s.repaired >> (4 + i) & 1)) continue;
        n = s;
        n.repairer = {static_cast<uint8_t>(0x10 + i + 1), 0};
        steps.Add(n, "repairer", i, "finds a dead subscriber");
      }
      return;
    }
    if (s.repairer_deaths < o_.repairer_deaths) {
      State dead = s;
      dead.repairer = Repairer{};
      ++dead.repairer_deaths;
      steps.Add(dead, "repairer", 0, "dies", Edge::kFault);
    }
    if (s.repairer.busy >= 0x10) {
      const int i = s.repairer.busy - 0x11;
      if (o_.flaw != Flaw::kRepairKeepsRow) n.rows[i] = Row{};
      n.repaired |= static_cast<uint8_t>(0x10 << i);
      n.repairer = Repairer{};
      return steps.Add(n, "repairer", i, "frees the row");
    }
    const auto owner = s.repairer.busy;
    if (s.repairer.step < kCells) {
      CellWord& word = n.cells[s.repairer.step].word;
      if (word.owner == owner && (word.kind == kClaimed || word.kind == kHole)) {
        word = {word.lap, kAborted, 0};
      }
      ++r.step;
      return steps.Add(n, "repairer", owner - 1, "looks at a cell");
    }
    const int row = s.repairer.step - kCells;
    if (row < o_.subscribers) {
      Subscriber& sleeper = n.subscribers[row];
      if (o_.flaw != Flaw::kRepairRingsNobody && (s.bits.rows >> row & 1) && sleeper.alive &&
          sleeper.parked) {
        sleeper.parked = 2;
      }
      ++r.step;
      return steps.Add(n, "repairer", owner - 1, "rings");
    }
    n.repaired |= static_cast<uint8_t>(1 << (owner - 1));
    n.repairer = Repairer{};
    steps.Add(n, "repairer", owner - 1, "is through");
  }

  void Environment(const State& s, Steps<State>& steps) const {
    for (int i = 0; i < o_.publishers && s.publisher_deaths < o_.publisher_deaths; ++i) {
      if (!s.publishers[i].alive) continue;
      State n = s;
      n.publishers[i] = Publisher{};
      ++n.publisher_deaths;
      steps.Add(n, "publisher", i, "dies", Edge::kFault);
    }
    for (int i = 0; i < o_.subscribers && s.subscriber_deaths < o_.subscriber_deaths; ++i) {
      if (!s.subscribers[i].alive) continue;
      State n = s;
      const uint8_t parked = s.subscribers[i].parked;
      n.subscribers[i] = Subscriber{};
      n.subscribers[i].parked = parked;
      ++n.subscriber_deaths;
      steps.Add(n, "subscriber", i, "dies", Edge::kFault);
    }
    for (int c = 0; c < kCells && s.quarantines < o_.quarantines; ++c) {
      if (s.cells[c].word.kind != kClaimed) continue;
      State n = s;
      n.cells[c].word.kind = kHole;
      ++n.quarantines;
      steps.Add(n, "anybody", c, "sets a stalled claim aside", Edge::kFault);
    }
    for (int i = 0; i < o_.subscribers && s.lags < o_.lags; ++i) {
      if (s.rows[i].kind != kReliable && s.rows[i].kind != kJoining) continue;
      // As SetAside: not before the base of a row that reads is known.
      if (s.rows[i].kind == kReliable && !s.rows[i].base_known) continue;
      State n = s;
      n.rows[i].kind = kLagged;
      ++n.lags;
      steps.Add(n, "publisher", i, "sets a laggard aside", Edge::kFault);
    }
  }

  Options o_;
};

}  // namespace cfc::model::topic

#endif  // CFC_NATIVE_MODEL_TOPIC_PROTOCOL_H_
