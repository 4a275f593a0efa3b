// Every agent as a row of doubles and of texts: what snapshot() tells, without one object an agent.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "convert.h"
#include "core/clock.h"
#include "core/directory.h"
#include "core/lease.h"
#include "core/lifecycle.h"
#include "fabric_wrap.h"
#include "liveness.h"

namespace cfc::binding {
namespace {

static_assert(kMaxNameBytes < kTableTextBytes && kStatusTextBytes < kTableTextBytes &&
              kTableTextBytes <= 256);

// Its length, then the text.
void WriteText(std::string_view text, uint32_t nth, uint8_t* row) noexcept {
  uint8_t* const place = row + size_t{nth} * kTableTextBytes;
  place[0] = static_cast<uint8_t>(text.size());
  std::memcpy(place + 1, text.data(), text.size());
}

void FillBox(Fabric& fabric, const AgentRecord& record, double* row) noexcept {
  MailboxView view;
  if (!fabric.mail().View(MailboxRefBox(record.mailbox), &view)) return;
  for (const Lane& lane : view.lanes) {
    const uint64_t depth = lane.Depth();
    row[kTableDepth] += static_cast<double>(depth);
    row[kTableCapacity] += lane.capacity();
    if (depth != 0) row[kTableLeased] += lane.CountWaiting().leased;
  }
}

}  // namespace

// table(probe, metrics, out: Float64Array, texts: Uint8Array): a row for each agent of the
// directory: TableColumn, then the first `metrics` of the schema, of who holds the name now; and
// its name, role, team, parent and status text. The number of rows; where they do not fit, minus
// that. probe: also asks /proc for who is stopped.
Napi::Value FabricWrap::Table(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!fabric_) return Napi::Number::New(env, 0);
  const bool probe = ToBool(info[0]);
  const uint32_t metrics = std::min(ToUint32(info[1]), kBlockValues);
  auto out = info[2].As<Napi::Float64Array>();
  auto texts = info[3].As<Napi::Uint8Array>();
  const size_t width = kTableColumns + size_t{metrics};
  constexpr size_t kTextRow = size_t{kTableTexts} * kTableTextBytes;
  const size_t room = std::min(out.ElementLength() / width, texts.ElementLength() / kTextRow);
  const double now_ms = static_cast<double>(RealTimeNs()) / 1e6;
  const double monotonic_ms = static_cast<double>(MonotonicNs()) / 1e6;
  const AgentDirectory directory(fabric_.get());
  const Liveness liveness(fabric_.get());
  LeaseSurvey leases(fabric_->directory());
  uint32_t rows = 0;
  AgentRecord record;
  for (uint32_t i = 0; i < fabric_->entry_count(); ++i) {
    if (!directory.Read(i, &record)) continue;
    if (++rows > room) continue;
    double* const row = out.Data() + size_t{rows - 1} * width;
    std::fill(row, row + kTableColumns, 0);
    const int exit_code = ExitCodeOf(record.exit, record.incarnation);
    row[kTableEntry] = i;
    row[kTablePid] = record.pid;
    row[kTableState] = static_cast<double>(record.state);
    row[kTableRestarts] = static_cast<double>(record.restarts);
    row[kTableJoinedAtMs] = static_cast<double>(record.joined_at_ms);
    row[kTableProgressAtMs] = now_ms - (monotonic_ms - static_cast<double>(record.progress_at_ms));
    row[kTableFacts] = static_cast<double>(record.facts);
    row[kTableExitCode] = exit_code;
    row[kTableCommandPid] = CommandPid(record.command);
    if (!fabric_->HolderDead(record.holder, &leases)) {
      row[kTableLiveness] = probe && liveness.Stopped(record) ? kStalled
                            : liveness.Busy(record)           ? kBusy
                                                              : kAlive;
    } else {
      // A shim that was killed between its last word and its leave has left all the same.
      row[kTableLiveness] = record.holder != 0 && exit_code < 0 ? kDead : kLeft;
    }
    FillBox(*fabric_, record, row);
    row[kTableCounted] = fabric_->metrics().ReadValues(i, metrics, row + kTableColumns);
    uint8_t* const text_row = texts.Data() + size_t{rows - 1} * kTextRow;
    char status[kStatusTextBytes];
    const uint32_t status_bytes = ReadStatusText(fabric_->entries()[i], status);
    WriteText(record.Name(), 0, text_row);
    WriteText(record.Role(), 1, text_row);
    WriteText(record.Team(), 2, text_row);
    WriteText(record.Parent(), 3, text_row);
    WriteText({status, status_bytes}, 4, text_row);
  }
  return Napi::Number::New(env, rows > room ? -static_cast<double>(rows) : rows);
}

}  // namespace cfc::binding
