// Copies between private and shared memory, by atomic words.
//
// Somebody who lost a lease may still write while we read (what we then deliver is decided by a
// look at the state word afterwards). A plain memcpy would be a data race; this is none.
//
// Each word is stored with release and loaded with acquire: whoever reads a word of the next
// message also sees the state words that came before it, so the look afterwards finds its lease
// gone. Relaxed words would let a processor such as ARM load them after that look. On x86-64 both
// are plain moves. native/sched has the execution that goes wrong otherwise.
//
// Shared memory is a multiple of 8 bytes and aligned; private memory may be anything.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cfc {

// How far ahead of itself a copy fetches: the lines of a large body are in another core's cache,
// and the hardware's own prefetch stops at each page.
constexpr size_t kCopyAheadWords = 64;

template <class Word>
void PutWord(Word& to, uint64_t value) noexcept {
  to.store(value, std::memory_order_release);
}
template <class Word>
uint64_t GetWord(const Word& from) noexcept {
  return from.load(std::memory_order_acquire);
}

template <class Word>
void CopyIn(Word* to, const void* from, size_t bytes) noexcept {
  const auto* source = static_cast<const uint8_t*>(from);
  size_t word = 0;
  for (; bytes >= 8 * (kCopyAheadWords + 8); bytes -= 64, source += 64) {
    __builtin_prefetch(&to[word + kCopyAheadWords], 1);
    for (size_t i = 0; i < 8; ++i, ++word) {
      uint64_t value;
      std::memcpy(&value, source + 8 * i, 8);
      PutWord(to[word], value);
    }
  }
  for (; bytes >= 8; bytes -= 8, ++word, source += 8) {
    uint64_t value;
    std::memcpy(&value, source, 8);
    PutWord(to[word], value);
  }
  if (bytes > 0) {
    uint64_t value = 0;
    std::memcpy(&value, source, bytes);
    PutWord(to[word], value);
  }
}

template <class Word>
void CopyOut(void* to, const Word* from, size_t bytes) noexcept {
  auto* target = static_cast<uint8_t*>(to);
  size_t word = 0;
  for (; bytes >= 8 * (kCopyAheadWords + 8); bytes -= 64, target += 64) {
    __builtin_prefetch(&from[word + kCopyAheadWords]);
    for (size_t i = 0; i < 8; ++i, ++word) {
      const uint64_t value = GetWord(from[word]);
      std::memcpy(target + 8 * i, &value, 8);
    }
  }
  for (; bytes >= 8; bytes -= 8, ++word, target += 8) {
    const uint64_t value = GetWord(from[word]);
    std::memcpy(target, &value, 8);
  }
  if (bytes > 0) {
    const uint64_t value = GetWord(from[word]);
    std::memcpy(target, &value, bytes);
  }
}

}  // namespace cfc
