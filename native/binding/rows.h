// Rows: what is known of a message, as one line of doubles that JavaScript reads.
//
// src/core/native.ts has the columns by name.
#pragma once

#include <cstdint>

#include "core/agent.h"

namespace cfc::binding {

enum Column : uint32_t {
  kBodyOffset,
  kBodyBytes,
  kBodyKindColumn,
  kFlagsColumn,
  kLaneColumn,
  kAttemptColumn,
  kUidColumn,
  kNumberColumn,
  kSequenceColumn,
  kSentAtMsColumn,
  kCorrelationUidColumn,
  kCorrelationNumberColumn,
  kFromColumn,
  kTypeColumn,
  kLeaseColumn,
  kExpiresAtMsColumn,
  kColumns
};

// Everything but the offset, the texts and the lease, which only a take has.
inline void FillRow(double* row, const Delivery& delivery) noexcept {
  row[kBodyBytes] = delivery.body_bytes;
  row[kBodyKindColumn] = static_cast<double>(delivery.kind);
  row[kFlagsColumn] = delivery.flags;
  row[kLaneColumn] = delivery.token.lane;
  row[kAttemptColumn] = delivery.attempt;
  row[kUidColumn] = static_cast<double>(delivery.id.uid);
  row[kNumberColumn] = static_cast<double>(delivery.id.number);
  row[kSequenceColumn] = static_cast<double>(delivery.sequence);
  row[kSentAtMsColumn] = static_cast<double>(delivery.sent_at_ns) / 1e6;
  row[kCorrelationUidColumn] = static_cast<double>(delivery.correlation.uid);
  row[kCorrelationNumberColumn] = static_cast<double>(delivery.correlation.number);
  row[kExpiresAtMsColumn] = static_cast<double>(delivery.expires_at_ms);
}

}  // namespace cfc::binding
