#include "signals.h"

#include <cerrno>
#include <cstring>

namespace cfc {

volatile sig_atomic_t Signals::stop_ = 0;
volatile sig_atomic_t Signals::parent_died_ = 0;
volatile sig_atomic_t Signals::child_ended_ = 0;
Fabric* volatile Signals::ringing_ = nullptr;
volatile uint32_t Signals::ringing_slot_ = 0;

namespace {

constexpr int kCaught[] = {SIGTERM, SIGHUP, SIGCHLD, SIGPIPE};

sigset_t CaughtSet() noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kCaught) sigaddset(&set, number);
  return set;
}

}  // namespace

void Signals::Handle(int number) noexcept {
  const int saved = errno;
  if (number == SIGTERM) stop_ = 1;
  if (number == SIGHUP) parent_died_ = 1;
  if (number == SIGCHLD) child_ended_ = 1;
  if (Fabric* const fabric = ringing_) fabric->Ring(ringing_slot_);
  errno = saved;
}

void Signals::Install() noexcept {
  const sigset_t set = CaughtSet();
  sigprocmask(SIG_SETMASK, &set, nullptr);
  struct sigaction action = {};
  action.sa_handler = &Signals::Handle;
  action.sa_mask = set;
  for (const int number : kCaught) sigaction(number, &action, nullptr);
}

int Signals::Poll(pollfd* fds, nfds_t count, int64_t timeout_ns) noexcept {
  sigset_t open;
  sigemptyset(&open);
  timespec timeout;
  timeout.tv_sec = timeout_ns / 1'000'000'000;
  timeout.tv_nsec = timeout_ns % 1'000'000'000;
  return ppoll(fds, count, timeout_ns < 0 ? nullptr : &timeout, &open);
}

Signals::Window::Window(Fabric* fabric, uint32_t slot) noexcept {
  ringing_slot_ = slot;
  ringing_ = fabric;
  const sigset_t set = CaughtSet();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

Signals::Window::~Window() {
  const sigset_t set = CaughtSet();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  ringing_ = nullptr;
}

}  // namespace cfc
