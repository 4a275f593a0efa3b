// Doorbell: wakes the one thread that sleeps behind it, from any process that maps the word.
//
// The word is `epoch 29 | LOOP | RUNG | PARKED`. The sleeper parks by moving to a new epoch with
// PARKED set and RUNG clear, looks once more at everything it waits for, and sleeps on exactly
// that value. A ringer that published something moves to the next epoch, wakes, and only then sets
// RUNG: were RUNG set (or PARKED cleared) before the wake, a ringer killed between the two would
// leave a sleeper whom everybody believes to be woken. native/model/doorbell_model.cc searches
// every interleaving of this and of the tempting variants.
//
// Threads: one sleeper; any number of ringers in any process. Everything is seq_cst: publish then
// load here, store then look there.
// Death of a ringer: the next one rings again. Death of the sleeper: the next one in its slot
// resets the word; until then a ring there is a spare system call.
#pragma once

#include <cstdint>

#include "failpoint.h"
#include "layout.h"

namespace cfc {

constexpr uint32_t kParked = 1;
constexpr uint32_t kRung = 2;
constexpr uint32_t kLoop = 4;
constexpr uint32_t kEpochStep = 8;

template <class Half>
class DoorbellOf {
 public:
  explicit DoorbellOf(Half* word) noexcept : word_(word) {}

  // By the sleeper. Returns the value to sleep on. in_loop: it polls a FIFO rather than the word.
  uint32_t Park(bool in_loop) noexcept {
    uint32_t seen = word_->load();
    uint32_t parked;
    do {
      parked = (seen & ~(kEpochStep - 1)) + kEpochStep + kParked + (in_loop ? kLoop : 0);
    } while (!word_->compare_exchange_weak(seen, parked));
    return parked;
  }

  // By the sleeper, after it woke or decided not to sleep.
  void Unpark() noexcept { word_->fetch_and(~(kParked | kRung | kLoop)); }

  // Parked, and nobody woke it yet.
  static bool Sleeps(uint32_t seen) noexcept { return (seen & kParked) && !(seen & kRung); }

  bool IsParked() const noexcept { return word_->load() & kParked; }

  // By anybody, after publishing. `wake(in_loop)` does the system call; it must have happened
  // before RUNG tells others that it is not needed.
  template <class Wake>
  void Ring(Wake&& wake) noexcept {
    uint32_t seen = word_->load();
    while ((seen & kParked) && !(seen & kRung)) {
      const uint32_t rung = seen + kEpochStep;
      if (!word_->compare_exchange_strong(seen, rung)) continue;  // somebody rang, or it woke
      CFC_FAIL_POINT("ring.epoch");
      wake((rung & kLoop) != 0);
      CFC_FAIL_POINT("ring.wake");
      seen = rung;
      word_->compare_exchange_strong(seen, rung | kRung);
      return;
    }
  }

  Half* word() const noexcept { return word_; }

 private:
  Half* word_;
};

using Doorbell = DoorbellOf<NativeMemory::Half>;

}  // namespace cfc
