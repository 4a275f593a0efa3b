// BufferPool: memory for large bodies that JavaScript holds for a while.
//
// Fresh memory costs a page fault per 4 KiB, several times what the copy costs. Blocks come back
// when JavaScript has dropped the last view of them, and are handed out again then.
//
// Threads: any; finalizers may run late, and after the environment that took the block.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

namespace cfc::binding {

class BufferPool {
 public:
  // Blocks of at least this size are worth keeping; smaller ones come from the arena.
  static constexpr size_t kLeastBytes = size_t{128} * 1024;
  static constexpr size_t kMostKeptBytes = size_t{64} * 1024 * 1024;

  BufferPool() = default;
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool() {
    for (const Block& block : free_) std::free(block.memory);
  }

  static size_t RoundUp(size_t bytes) noexcept {
    size_t size = kLeastBytes;
    while (size < bytes) size *= 2;
    return size;
  }

  // Null where there is no memory. `bytes` comes from RoundUp.
  void* Take(size_t bytes) noexcept {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (size_t i = free_.size(); i > 0; --i) {
        if (free_[i - 1].bytes != bytes) continue;
        void* const memory = free_[i - 1].memory;
        free_[i - 1] = free_.back();
        free_.pop_back();
        kept_bytes_ -= bytes;
        return memory;
      }
    }
    return std::aligned_alloc(64, bytes);
  }

  void Give(void* memory, size_t bytes) noexcept {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (kept_bytes_ + bytes <= kMostKeptBytes) {
        free_.push_back({memory, bytes});
        kept_bytes_ += bytes;
        return;
      }
    }
    std::free(memory);
  }

 private:
  struct Block {
    void* memory;
    size_t bytes;
  };
  std::mutex mutex_;
  std::vector<Block> free_;
  size_t kept_bytes_ = 0;
};

}  // namespace cfc::binding
