// Handing on what waits for an agent that will not come back.
#include <string>

#include "agent.h"
#include "copy.h"
#include "failpoint.h"

namespace cfc {
namespace {

// What a message keeps wherever it goes. Its place, its chunks and its receipt are of the mailbox.
constexpr CellWord kCarried[] = {kSenderUid, kNumber,         kSequence,
                                 kSentAtNs,  kCorrelationUid, kCorrelationNumber};

}  // namespace

Status Agent::Forward(const LeaseToken& token, Route* route, Receipt* receipt,
                      bool* asked) noexcept {
  const Status usable = participant_->Usable();
  if (usable != Status::kOk) return usable;
  Fabric& fabric = participant_->fabric();
  const Owner me = participant_->owner();
  const Lane& source = view_.lanes[token.lane];
  const Cell& from = source.At(token.position);
  Delivery delivery;
  const bool sound = ReadCell(from, &delivery);
  delivery.token = token;
  uint64_t carried[std::size(kCarried)];
  for (size_t i = 0; i < std::size(kCarried); ++i) carried[i] = GetWord(from.words[kCarried[i]]);
  const uint64_t wanted = GetWord(from.words[kReceipt]);
  if (!source.Holds(token.position, token.word)) return Status::kLeaseLost;
  if (!sound) return Status::kCorrupt;
  *asked = wanted != 0 && ReceiptLap(wanted) == source.LapOf(token.position);

  std::string body;
  ChunkRef chunk = 0;
  if (!delivery.BodyIsInline()) {
    body.resize(delivery.body_bytes);
    const Status copied = CopyBody(delivery, body.data());
    if (copied != Status::kOk) return copied;
    const Status placed = Place({.body = body}, &chunk);
    if (placed != Status::kOk) return placed;
    // Long texts may have sent a small body into the slab: it goes there again.
    if (chunk == 0) {
      const Status borrowed = fabric.slab().Borrow(me, body.size(), &chunk);
      if (borrowed != Status::kOk) return borrowed;
      fabric.slab().Write(chunk, body.data(), body.size());
    }
  }
  uint64_t position;
  Status status = Claim(route, token.lane, FullPolicy::kReject, &position);
  if (status != Status::kOk) {
    if (chunk != 0) fabric.slab().GiveBack(me, chunk);
    return status;
  }
  Lane& lane = route->view.lanes[token.lane];
  Cell& cell = lane.At(position);
  for (size_t i = 0; i < std::size(kCarried); ++i) PutWord(cell.words[kCarried[i]], carried[i]);
  CellLengths lengths;
  lengths.body = delivery.body_bytes;
  lengths.from = delivery.from_bytes;
  lengths.type = delivery.type_bytes;
  lengths.kind = delivery.kind;
  lengths.flags = delivery.flags;
  PutWord(cell.words[kSlab], chunk);
  PutWord(cell.words[kLengths], PackLengths(lengths));
  if ((lengths.flags & kFlagExpires) != 0) {
    PutWord(cell.words[kExpiry], delivery.expires_at_ms);
  }
  PutWord(cell.words[kReceipt], *asked ? PackReceipt(lane.LapOf(position), me, 0) : 0);
  CopyIn(&cell.words[kPayload], delivery.payload,
         size_t{delivery.key_bytes} + delivery.from_bytes + delivery.type_bytes +
             (chunk == 0 ? delivery.body_bytes : 0));
  CFC_FAIL_POINT("forward.copied");
  if (chunk != 0) fabric.slab().Place(me, chunk, PackPlace(route->view.box, token.lane, position));
  const uint32_t lost = *asked ? lane.LostCount() : 0;
  if (!lane.Commit(me, position)) {
    fabric.Reclaim(route->view, token.lane);
    if (chunk != 0) fabric.slab().GiveBack(me, chunk);
    return Status::kBusy;
  }
  CFC_FAIL_POINT("forward.accepted");
  if (participant_->Usable() != Status::kOk) return Status::kCorrupt;
  route->in_turn = false;
  Remember(route, token.lane, position);
  fabric.RingReaders(route->view, me);
  counters_.Add(Metric::kMessagesSent, 1);
  counters_.Add(Metric::kBytesSent, static_cast<double>(delivery.body_bytes));
  *receipt = {delivery.id, token.lane, position, route->mailbox, lost};
  return Status::kOk;
}

}  // namespace cfc
