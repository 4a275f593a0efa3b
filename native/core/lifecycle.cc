#include "lifecycle.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "clock.h"
#include "copy.h"
#include "directory.h"
#include "failpoint.h"

namespace cfc {
namespace {

constexpr uint32_t kUuidBytes = 8;  // of the fabric's sixteen: enough to tell two apart
constexpr uint64_t kCountStep = 256;

void Note(Entry& entry, uint64_t count, AgentState from, AgentState to) noexcept {
  const auto at_ms = static_cast<uint64_t>(RealTimeNs() / 1'000'000);
  entry.changes[count % kStateChanges].store(at_ms << 16 | (count & 0xff) << 8 |
                                             static_cast<uint64_t>(from) << 4 |
                                             static_cast<uint64_t>(to));
}

void HexOf(const Fabric& fabric, char out[2 * kUuidBytes + 1]) noexcept {
  for (uint32_t i = 0; i < kUuidBytes; ++i) {
    std::snprintf(out + size_t{2} * i, 3, "%02x", fabric.uuid()[i]);
  }
}

}  // namespace

Status ChangeState(Entry& entry, AgentState to) noexcept {
  uint64_t seen = entry.state.load();
  for (;;) {
    const AgentState from = StateOf(seen);
    if (!MayChange(from, to)) return Status::kInvalid;
    if (from == to) return Status::kOk;
    const uint64_t count = (seen / kCountStep) + 1;
    if (!entry.state.compare_exchange_strong(seen,
                                             count * kCountStep + static_cast<uint64_t>(to))) {
      continue;
    }
    CFC_FAIL_POINT("state.changed");
    Note(entry, count, from, to);
    return Status::kOk;
  }
}

void BeginLifecycle(Entry& entry) noexcept {
  entry.exit.store(0);
  entry.command.store(0);
  entry.wanted.store(0);
  entry.facts.store(0);
  WriteStatusText(entry, {});
  const uint64_t seen = entry.state.load();
  const uint64_t count = (seen / kCountStep) + 1;
  entry.state.store(count * kCountStep + static_cast<uint64_t>(AgentState::kSpawned));
  Note(entry, count, StateOf(seen), AgentState::kSpawned);
}

uint32_t ReadChanges(const Entry& entry, StateChange out[kStateChanges]) noexcept {
  const uint64_t count = entry.state.load() / kCountStep;
  uint32_t found = 0;
  for (uint64_t i = count > kStateChanges ? count - kStateChanges + 1 : 1; i <= count; ++i) {
    const uint64_t word = entry.changes[i % kStateChanges].load();
    if ((word >> 8 & 0xff) != (i & 0xff) || word >> 16 == 0) continue;  // not noted (yet)
    out[found].at_ms = word >> 16;
    out[found].from = StateOf(word >> 4 & 15);
    out[found].to = StateOf(word & 15);
    ++found;
  }
  return found;
}

void WriteExit(Entry& entry, uint32_t life, int code) noexcept {
  entry.exit.store(PackExit(life, code));
  CFC_FAIL_POINT("exit.written");
}

uint64_t ProcessStartTime(uint32_t pid, char* state) noexcept {
  char path[32] = "/proc/self/stat";
  if (pid != 0) std::snprintf(path, sizeof path, "/proc/%u/stat", pid);
  const Descriptor file(open(path, O_RDONLY | O_CLOEXEC));
  char text[1024] = {};
  if (!file.valid() || read(file.get(), text, sizeof text - 1) <= 0) return 0;
  // "pid (name) state …": the name may hold anything, parentheses too.
  const char* field = std::strrchr(text, ')');
  if (field && state) *state = field[1] == ' ' ? field[2] : '?';
  for (int n = 2; field && n < 22; ++n) field = std::strchr(field + 1, ' ');
  return field ? std::strtoull(field + 1, nullptr, 10) : 0;
}

Status Want(Fabric& fabric, std::string_view name, Wanted verb, uint32_t grace_ms) noexcept {
  AgentRecord record;
  const Status found = AgentDirectory(&fabric).Find(name, &record);
  if (found != Status::kOk) return found;
  if (fabric.HolderDead(record.holder)) return Status::kNoReader;
  Entry& entry = fabric.entries()[record.entry];
  if ((entry.facts.load() & kFactShim) == 0) return Status::kInvalid;
  const uint64_t wish = PackWanted(record.incarnation, std::min(grace_ms, kMostGraceMs), verb);
  uint64_t seen = entry.wanted.load();
  do {
    // Whoever asks twice for an end may hasten it, and nobody else may.
    if (WantedLife(seen) == record.incarnation && WantedVerb(seen) >= Wanted::kStop &&
        verb < WantedVerb(seen)) {
      return verb < Wanted::kStop ? Status::kClosed : Status::kOk;
    }
  } while (!entry.wanted.compare_exchange_strong(seen, wish));
  CFC_FAIL_POINT("control.wanted");
  fabric.Ring(HolderSlot(record.holder));
  return Status::kOk;
}

void WriteStatusText(Entry& entry, std::string_view text) noexcept {
  char padded[kStatusTextBytes] = {};
  size_t bytes = std::min<size_t>(text.size(), kStatusTextBytes);
  // Not in the middle of a character.
  while (bytes < text.size() && bytes > 0 && (static_cast<uint8_t>(text[bytes]) & 0xc0) == 0x80) {
    --bytes;
  }
  std::copy_n(text.data(), bytes, padded);
  const auto sequence = static_cast<uint32_t>(entry.text_word.load() >> 32) | 1;
  entry.text_word.store(uint64_t{sequence} << 32);
  CopyIn(entry.text, padded, kStatusTextBytes);
  entry.text_word.store(uint64_t{sequence + 1} << 32 | bytes);
}

uint32_t ReadStatusText(const Entry& entry, char out[kStatusTextBytes]) noexcept {
  for (int tries = 0; tries < 8; ++tries) {
    const uint64_t word = entry.text_word.load();
    if ((word >> 32 & 1) != 0) continue;
    CopyOut(out, entry.text, kStatusTextBytes);
    if (entry.text_word.load() != word) continue;
    return std::min(static_cast<uint32_t>(word), kStatusTextBytes);
  }
  return 0;
}

std::string LifeToken(const Fabric& fabric, uint32_t entry, uint32_t incarnation) {
  char hex[2 * kUuidBytes + 1];
  HexOf(fabric, hex);
  return std::string(hex) + "-" + std::to_string(entry) + "-" + std::to_string(incarnation);
}

bool ParseLifeToken(const Fabric& fabric, std::string_view token, Life* out) noexcept {
  char hex[2 * kUuidBytes + 1];
  HexOf(fabric, hex);
  const std::string_view own(hex, size_t{2} * kUuidBytes);
  if (token.substr(0, own.size()) != own || token.size() <= own.size() ||
      token[own.size()] != '-') {
    return false;
  }
  const char* const end = token.data() + token.size();
  const auto entry = std::from_chars(token.data() + own.size() + 1, end, out->entry);
  if (entry.ec != std::errc() || entry.ptr == end || *entry.ptr != '-') return false;
  const auto life = std::from_chars(entry.ptr + 1, end, out->incarnation);
  return life.ec == std::errc() && life.ptr == end;
}

}  // namespace cfc
