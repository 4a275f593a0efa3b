// SeenKeys: which keys of messages a mailbox has acknowledged lately, so that a repeat of one is
// dropped: the last 1,024 of the last two minutes.
//
// The window is the mailbox's, shared by its readers: entries of key and time in a chunk of the
// slab, taken at the first ack of a message with a key. A key is noted after its message was
// settled as acked, and so a repeat may be delivered where a reader died in between, but no message
// is dropped whose first was not acked. Keys are hashes, mixed with the generation of the mailbox:
// its next owner has seen none of them.
//
// Threads: any. Memory: none is allocated but for that chunk; where the slab is full, keys are not
// noted.
#pragma once

#include <cstdint>
#include <string_view>

#include "fabric_files.h"
#include "words.h"

namespace cfc {

constexpr uint32_t kSeenKeys = 1024;
constexpr uint64_t kSeenKeyMs = 120'000;

// Never 0, which means that a message has no key.
uint64_t HashKey(std::string_view key) noexcept;

class SeenKeys {
 public:
  SeenKeys(Fabric* fabric, MailboxWords* words, uint32_t generation) noexcept
      : fabric_(fabric), words_(words), generation_(generation) {}

  bool Has(uint64_t key, uint64_t now_ms) const noexcept;
  void Note(Owner me, uint64_t key, uint64_t now_ms) noexcept;

 private:
  NativeMemory::Word* Window() const noexcept;
  NativeMemory::Word* MakeWindow(Owner me) noexcept;
  uint64_t Mixed(uint64_t key) const noexcept;

  Fabric* fabric_;
  MailboxWords* words_;
  uint32_t generation_;
};

}  // namespace cfc
