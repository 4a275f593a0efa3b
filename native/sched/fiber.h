// Fiber: a thread of a checked program, run by the explorer one shared access at a time.
//
// Entered once by its context, then by jumps: a switch costs no system call. A fiber that is left
// for good (its process was killed, or the run ended) is entered anew by Start; what it had on its
// stack is forgotten, so bodies own nothing that needs a destructor.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace cfc::sched {

class Fiber {
 public:
  using Body = void (*)(void* argument);

  // Runs `body` up to its first Leave.
  void Start(Body body, void* argument) noexcept {
    if (!stack_) stack_ = std::make_unique<char[]>(kStackBytes);
    // What earlier runs left there would tell states apart that are the same.
    if (lowest_) std::memset(lowest_ - kWiped, 0, stack_.get() + kStackBytes - lowest_ + kWiped);
    body_ = body;
    argument_ = argument;
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = kStackBytes;
    context_.uc_link = nullptr;
    entering_ = this;
    makecontext(&context_, &Fiber::Entry, 0);
    if (_setjmp(outside_) == 0) setcontext(&context_);
  }

  // From outside: goes on until the next Leave.
  void Enter() noexcept {
    if (_setjmp(outside_) == 0) _longjmp(inside_, 1);
  }

  // From inside: back to who called Start or Enter.
  void Leave() noexcept {
    if (_setjmp(inside_) == 0) {
      lowest_ = static_cast<char*>(__builtin_frame_address(0));
      _longjmp(outside_, 1);
    }
  }

  // From outside, between two steps: all that decides how it goes on, but for shared memory. What
  // lies about on its stack unused is in it too: equal hashes mean equal, others perhaps as well.
  uint64_t Hash() const noexcept {
    uint64_t hash = 0;
    const auto add = [&hash](const void* from, size_t bytes) {
      const char* at = static_cast<const char*>(from);
      for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        std::memcpy(&word, at, 8);
        hash = (hash ^ word) * 0x9e37'79b9'7f4a'7c15;
        hash ^= hash >> 29;
      }
    };
    add(inside_, offsetof(__jmp_buf_tag, __mask_was_saved));  // registers
    add(lowest_, static_cast<size_t>(stack_.get() + kStackBytes - lowest_) & ~size_t{7});
    return hash;
  }

 private:
  static constexpr size_t kStackBytes = 64 * 1024;
  static constexpr size_t kWiped = 2048;

  static void Entry() noexcept {
    Fiber* const self = entering_;
    self->body_(self->argument_);
    for (;;) self->Leave();  // the explorer does not come back here
  }

  static inline Fiber* entering_ = nullptr;

  ucontext_t context_ = {};
  jmp_buf inside_ = {};
  jmp_buf outside_ = {};
  std::unique_ptr<char[]> stack_;
  Body body_ = nullptr;
  void* argument_ = nullptr;
  char* lowest_ = nullptr;  // of its stack, in use
};

}  // namespace cfc::sched
