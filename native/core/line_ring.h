// LineRing: the last output of an agent's command, a small file of the fabric (lines.NNNNN).
//
// Bytes go round in it; a word says how many came so far, so that a reader knows where they begin,
// and another one how many are coming, so that it knows what they displace. One writer, the shim;
// any number of readers, who take what was not overwritten while they copied. A writer that dies in
// the middle leaves bytes that no reader counts.
//
// The file is made at the first output, so who says nothing costs nothing. It stays after the end,
// and the next life of the entry goes on in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "region.h"
#include "status.h"

namespace cfc {

constexpr uint32_t kLineFileBytes = 4096;
constexpr uint32_t kLineRingBytes = kLineFileBytes - 64;

// In front of the ring.
struct LineCounts {
  uint64_t written = 0;  // bytes so far
  uint64_t begun = 0;    // with those that were being written: what they displaced is gone
};

// By reads and writes through a descriptor, not a mapping: whoever truncates the file kills nobody.
class LineRing {
 public:
  explicit LineRing(const Directory& directory, uint32_t entry) noexcept;

  // Best effort: a full file system costs the lines, and nothing else.
  void Append(std::string_view bytes) noexcept;

  // What is there of an entry, from the first whole line on; empty where there is none.
  static std::string Read(const Directory& directory, uint32_t entry);
  static void Remove(const Directory& directory, uint32_t entry) noexcept;

 private:
  bool Open() noexcept;

  const Directory& directory_;
  uint32_t entry_;
  Descriptor file_;
  bool failed_ = false;
  LineCounts counts_;
};

}  // namespace cfc
