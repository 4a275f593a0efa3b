// Allowance: how fast and how much an agent may send: a token bucket, and quotas of messages and of
// bytes of their bodies.
//
// The words are the agent's, beside its own mailbox, so that all its processes share them and the
// next life of its name goes on where this one stopped. They bind who sends through this library;
// whoever can write the memory can write them (SECURITY.md).
//
// Threads: any. Death: what was taken for a message that was not sent then stays taken.
#pragma once

#include <algorithm>
#include <cstdint>

#include "layout.h"
#include "status.h"

namespace cfc {

// 0: no limit.
struct SendLimits {
  uint32_t per_second = 0;  // messages
  uint32_t burst = 0;       // at once, after a pause; 0: as many as per_second
  uint64_t messages = 0;    // in all
  uint64_t bytes = 0;       // of bodies, in all

  bool Any() const noexcept { return per_second != 0 || messages != 0 || bytes != 0; }
};

constexpr uint32_t kMostPerSecond = 1'000'000;

class Allowance {
 public:
  explicit Allowance(MailboxWords* words) noexcept : words_(words) {}

  // What a new name may: the bucket is full, nothing was sent.
  void Grant(const SendLimits& limits, uint64_t now_ms) noexcept {
    words_->sent_messages.store(0);
    words_->sent_bytes.store(0);
    Change(limits, now_ms);
  }
  // What a next life may; what was sent under a quota before stays counted.
  void Change(const SendLimits& limits, uint64_t now_ms) noexcept {
    const uint32_t burst = limits.burst != 0 ? limits.burst : limits.per_second;
    words_->quota_messages.store(limits.messages);
    words_->quota_bytes.store(limits.bytes);
    words_->bucket.store(Pack(now_ms, int32_t(std::min(burst, kMostPerSecond) * kMilli)));
    words_->rate.store(uint64_t{std::min(limits.per_second, kMostPerSecond)} << 32 |
                       std::min(burst, kMostPerSecond));
  }
  bool Limited() const noexcept {
    return words_->rate.load() >> 32 != 0 || words_->quota_messages.load() != 0 ||
           words_->quota_bytes.load() != 0;
  }

  // For so many messages at once. kRateLimited: try again in WaitMs; kQuotaSpent.
  Status Take(uint32_t messages, uint64_t bytes, uint64_t now_ms) noexcept {
    if (!Spend(words_->quota_messages, words_->sent_messages, messages)) {
      return Status::kQuotaSpent;
    }
    if (!Spend(words_->quota_bytes, words_->sent_bytes, bytes)) {
      words_->sent_messages.fetch_sub(messages);
      return Status::kQuotaSpent;
    }
    if (Draw(messages, now_ms)) return Status::kOk;
    words_->sent_messages.fetch_sub(messages);
    words_->sent_bytes.fetch_sub(bytes);
    return Status::kRateLimited;
  }
  // Of what was taken and not sent.
  void GiveBack(uint32_t messages, uint64_t bytes) noexcept {
    words_->sent_messages.fetch_sub(messages);
    words_->sent_bytes.fetch_sub(bytes);
    uint64_t seen = words_->bucket.load();
    const auto burst = static_cast<uint32_t>(words_->rate.load());
    for (uint32_t tries = 0; tries < kMostTries; ++tries) {
      const int64_t tokens = std::min<int64_t>(Tokens(seen) + int64_t{messages} * kMilli,
                                               int64_t{std::min(burst, kMostPerSecond)} * kMilli);
      if (words_->bucket.compare_exchange_strong(seen, Pack(seen >> 32, tokens))) return;
    }
  }
  // Until there is a token; 0: now.
  uint32_t WaitMs(uint64_t now_ms) const noexcept {
    const auto rate = static_cast<int64_t>(words_->rate.load() >> 32);
    if (rate == 0) return 0;
    const int64_t missing = kMilli - Filled(words_->bucket.load(), now_ms);
    return missing > 0 ? static_cast<uint32_t>((missing + rate - 1) / rate) : 0;
  }

 private:
  using Word = NativeMemory::Word;
  static constexpr int64_t kMilli = 1000;  // of a token: what a rate of one gives in a millisecond
  static constexpr uint32_t kMostTries = 1000;

  // ms 32 | thousandths of tokens 32, signed: a batch may take more than there are
  static constexpr uint64_t Pack(uint64_t ms, int64_t tokens) noexcept {
    const int64_t least = INT32_MIN, most = INT32_MAX;
    return ms << 32 | static_cast<uint32_t>(static_cast<int32_t>(std::clamp(tokens, least, most)));
  }
  static constexpr int64_t Tokens(uint64_t word) noexcept {
    return static_cast<int32_t>(static_cast<uint32_t>(word));
  }

  int64_t Filled(uint64_t bucket, uint64_t now_ms) const noexcept {
    const uint64_t rate = words_->rate.load();
    const auto passed_ms = static_cast<uint32_t>(now_ms) - static_cast<uint32_t>(bucket >> 32);
    const int64_t full = int64_t{std::min(static_cast<uint32_t>(rate), kMostPerSecond)} * kMilli;
    // A clock that another process read later is no long time ago.
    if (static_cast<int32_t>(passed_ms) < 0) return Tokens(bucket);
    return std::min(Tokens(bucket) + int64_t{passed_ms} * static_cast<int64_t>(rate >> 32), full);
  }

  bool Draw(uint32_t messages, uint64_t now_ms) noexcept {
    if (words_->rate.load() >> 32 == 0) return true;
    uint64_t seen = words_->bucket.load();
    for (uint32_t tries = 0; tries < kMostTries; ++tries) {
      const int64_t tokens = Filled(seen, now_ms);
      if (tokens < kMilli) return false;
      const uint64_t next = Pack(now_ms, tokens - int64_t{messages} * kMilli);
      if (words_->bucket.compare_exchange_strong(seen, next)) return true;
    }
    return false;
  }

  static bool Spend(const Word& quota, Word& used, uint64_t amount) noexcept {
    const uint64_t limit = quota.load();
    uint64_t seen = used.load();
    for (uint32_t tries = 0; tries < kMostTries; ++tries) {
      if (limit != 0 && (seen > limit || amount > limit - seen)) return false;
      if (used.compare_exchange_strong(seen, seen + amount)) return true;
    }
    return false;
  }

  MailboxWords* words_;
};

}  // namespace cfc
