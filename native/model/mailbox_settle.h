// How a delivered message is settled: ack and nack, at once or later by token.
#ifndef CFC_NATIVE_MODEL_MAILBOX_SETTLE_H_
#define CFC_NATIVE_MODEL_MAILBOX_SETTLE_H_

#include <algorithm>

#include "mailbox_reader.h"

namespace cfc::model::mailbox {

inline void ReaderMoves::Settle(const State& s, int i, Steps<State>& steps) const {
  const Reader& now = s.readers[i];
  {
    Move move{s};
    Reader& r = move.s.readers[i];
    Ack(move, r.position, now.seen, now.id);
    Rest(r);
    steps.Add(move.s, "reader", i, "ack", Edge::kNormal, move.violation);
  }
  if (options_.nack) {
    Move move{s};
    Reader& r = move.s.readers[i];
    Nack(move, r.position, now.seen);
    Rest(r);
    steps.Add(move.s, "reader", i, "nack", Edge::kNormal, move.violation);
  }
  if (options_.defer) {
    Move move{s};
    Reader& r = move.s.readers[i];
    Keep(move, {now.seen, now.position, now.id, s.incarnation});
    Rest(r);
    steps.Add(move.s, "reader", i, "keep the lease and read on", Edge::kNormal, move.violation);
  }
}

inline void ReaderMoves::Ack(Move& m, int position, Word word, int id) const {
  Cell& cell = lane_.At(m.s, position);
  const Word done = With(word, kDone, kAcked);
  if (lane_.Has(Flaw::kAckStoresDone)) {
    lane_.Store(m, cell, done);
  } else if (!lane_.Cas(m, cell, word, done)) {
    return;  // the lease was lost, or it was acked already
  }
  if (cell.body[0] != id) m.Fail("an ack settled another message");
  m.s.acked |= Lane::Bit(id);
}

inline void ReaderMoves::Nack(Move& m, int position, Word word) const {
  Cell& cell = lane_.At(m.s, position);
  if (lane_.Has(Flaw::kNackStoresReady)) {
    lane_.Store(m, cell, lane_.Redelivery(word));
  } else {
    lane_.Cas(m, cell, word, lane_.Redelivery(word));
  }
}

inline void ReaderMoves::TokenCas(Move& m, int i) const {
  Reader& r = m.s.readers[i];
  if (r.at == At::kTokenAck) {
    m.what = "ack by token";
    Ack(m, r.position, r.seen, r.id);
  } else {
    m.what = "nack by token";
    Nack(m, r.position, r.seen);
  }
  for (Token& token : m.s.tokens) {
    if (token.position == r.position && token.word == r.seen && token.id == r.id) token = Token{};
  }
  SortTokens(m.s);
  Rest(r);
}

// Room for a token is made by forgetting one whose lease is lost.
inline void ReaderMoves::Keep(Move& m, Token kept) const {
  Token* place = nullptr;
  for (Token& token : m.s.tokens) {
    if (token.id == 0) place = &token;
  }
  for (Token& token : m.s.tokens) {
    const bool lost = !(lane_.At(m.s, token.position).word == token.word);
    if (place == nullptr && lost) place = &token;
  }
  if (place == nullptr) {
    m.Fail("the model has too few tokens");
    return;
  }
  *place = kept;
  SortTokens(m.s);
}

inline void ReaderMoves::SortTokens(State& s) {
  std::sort(std::begin(s.tokens), std::end(s.tokens),
            [](const Token& a, const Token& b) { return std::memcmp(&a, &b, sizeof(Token)) > 0; });
}

}  // namespace cfc::model::mailbox

#endif  // CFC_NATIVE_MODEL_MAILBOX_SETTLE_H_
