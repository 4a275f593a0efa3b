#include "seen_keys.h"

#include "failpoint.h"

namespace cfc {
namespace {

using Word = NativeMemory::Word;

constexpr size_t kEntryWords = 2;  // key, time in ms; 0: nothing
static_assert(kSeenKeys * kEntryWords * sizeof(Word) == kChunkBytes[2]);

// The finalizer of splitmix64: every bit of the result depends on every bit of x.
constexpr uint64_t Mix(uint64_t x) noexcept {
  x = (x ^ x >> 30) * 0xbf58'476d'1ce4'e5b9;
  x = (x ^ x >> 27) * 0x94d0'49bb'1331'11eb;
  return x ^ x >> 31;
}

}  // namespace

uint64_t HashKey(std::string_view key) noexcept {
  uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (const char c : key) {
    hash ^= static_cast<uint8_t>(c);
    hash = Mix(hash * 0x100'0000'01b3);
  }
  return hash != 0 ? hash : 1;
}

uint64_t SeenKeys::Mixed(uint64_t key) const noexcept {
  const uint64_t mixed = Mix(key + generation_ * 0x9e37'79b9'7f4a'7c15);
  return mixed != 0 ? mixed : 1;
}

Word* SeenKeys::Window() const noexcept {
  const ChunkRef ref = words_->keys.load();
  return ref != 0 ? fabric_->slab().Kept(ref, kChunkBytes[2]) : nullptr;
}

Word* SeenKeys::MakeWindow(Owner me) noexcept {
  ChunkRef seen = words_->keys.load();
  // Somebody is about to keep it; or died of it, and repair frees it.
  if (seen != 0 && fabric_->slab().Stands(seen)) return Window();
  Slab& slab = fabric_->slab();
  ChunkRef chunk = 0;
  if (slab.Borrow(me, kChunkBytes[2], &chunk) != Status::kOk) return nullptr;
  slab.Zero(chunk);
  if (!words_->keys.compare_exchange_strong(seen, chunk)) {
    slab.GiveBack(me, chunk);  // somebody was quicker
    return Window();
  }
  CFC_FAIL_POINT("keys.announced");
  slab.Keep(me, chunk);
  CFC_FAIL_POINT("keys.kept");
  return Window();
}

bool SeenKeys::Has(uint64_t key, uint64_t now_ms) const noexcept {
  const Word* const window = Window();
  if (!window) return false;
  const uint64_t wanted = Mixed(key);
  for (uint32_t i = 0; i < kSeenKeys; ++i) {
    if (window[kEntryWords * i].load(std::memory_order_relaxed) != wanted) continue;
    const uint64_t at_ms = window[kEntryWords * i + 1].load(std::memory_order_acquire);
    // Who noted it may have looked at the clock after us.
    if (at_ms == 0 || (now_ms > at_ms && now_ms - at_ms > kSeenKeyMs)) continue;
    // The time of another key that came into its place meanwhile says nothing of this one.
    if (window[kEntryWords * i].load(std::memory_order_acquire) == wanted) return true;
  }
  return false;
}

void SeenKeys::Note(Owner me, uint64_t key, uint64_t now_ms) noexcept {
  Word* window = Window();
  if (!window) window = MakeWindow(me);
  if (!window) return;
  const uint64_t next = words_->keys_next.fetch_add(1);
  Word* const entry = window + kEntryWords * (next % kSeenKeys);
  entry[1].store(0);
  entry[0].store(Mixed(key));
  CFC_FAIL_POINT("keys.noting");
  entry[1].store(now_ms != 0 ? now_ms : 1);
}

}  // namespace cfc
