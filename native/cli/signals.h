// Signals: what this process was told, as flags that every wait of ours notices.
//
// Signals are blocked except while we sleep, so that none arrives between a look at its flag and
// the sleep: in Poll the kernel opens them for just that long, and around a wait on a doorbell
// (Window) the handler rings that doorbell.
//
//   SIGTERM  end in good order: finish what is running
//   SIGHUP   the parent died (PR_SET_PDEATHSIG)
//   SIGCHLD  a child ended
//   SIGPIPE  caught and forgotten; unlike an ignored one, it is back to normal after exec
//
// Threads: one, the only one of the process.
#pragma once

#include <poll.h>

#include <csignal>
#include <cstdint>

#include "core/fabric.h"

namespace cfc {

class Signals {
 public:
  // Blocks and catches them.
  static void Install() noexcept;

  static bool StopAsked() noexcept { return stop_ != 0; }
  // True once after each SIGHUP or SIGCHLD.
  static bool TakeParentDied() noexcept { return Take(&parent_died_); }
  static bool TakeChildEnded() noexcept { return Take(&child_ended_); }
  static bool Pending() noexcept { return stop_ != 0 || parent_died_ != 0 || child_ended_ != 0; }

  // As poll(2), ended by any of these signals. timeout_ns: negative waits for ever.
  static int Poll(pollfd* fds, nfds_t count, int64_t timeout_ns) noexcept;

  // Opens them while `slot` of `fabric` sleeps on its doorbell.
  class Window {
   public:
    Window(Fabric* fabric, uint32_t slot) noexcept;
    Window(const Window&) = delete;
    Window& operator=(const Window&) = delete;
    ~Window();
  };

 private:
  static bool Take(volatile sig_atomic_t* flag) noexcept {
    const bool was = *flag != 0;
    *flag = 0;
    return was;
  }
  static void Handle(int number) noexcept;

  static volatile sig_atomic_t stop_;
  static volatile sig_atomic_t parent_died_;
  static volatile sig_atomic_t child_ended_;
  static Fabric* volatile ringing_;
  static volatile uint32_t ringing_slot_;
};

}  // namespace cfc
