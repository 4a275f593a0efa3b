// LoopWaiter: lets an event loop sleep on a participant's doorbell.
//
// Before the loop polls it parks the doorbell, looks once more and lets the poll block on the
// participant's FIFO, which the ringer writes: one hop from another process into the loop. After
// the poll it unparks, and calls back once if there is something. A loop that does not sleep is
// never parked, so its peers make no wake calls.
//
// Threads: the loop's. Lifetime: on the heap; Close() lets it go when its handles are closed.
#pragma once

#include <napi.h>
#include <uv.h>

#include <cstdint>
#include <functional>

#include "core/participant.h"

namespace cfc::binding {

class LoopWaiter {
 public:
  // Whether something waits for us. longest: null while spinning; else it may be shortened to the
  // sleep that is wise (ns), and what is in the way is cleared.
  using Look = std::function<bool(int64_t* longest)>;
  // Called from the loop: kOk, or why whoever waits here waits in vain.
  using Ready = std::function<void(Status)>;

  // Of each turn of the loop: how long it worked, then (0: not at all) slept, and whether somebody
  // woke it.
  using Turned = std::function<void(int64_t busy_ns, int64_t slept_ns, bool woken)>;

  // Null where the loop or the FIFO could not be had; errno says why.
  static LoopWaiter* Create(Napi::Env env, Participant* participant, Look look, Ready ready,
                            Turned turned);
  void Close() noexcept;

  // While watching, the loop sleeps here and stays alive.
  void Watch(bool watching) noexcept;

 private:
  LoopWaiter(uv_loop_t* loop, Participant* participant, Look look, Ready ready,
             Turned turned) noexcept;
  ~LoopWaiter() = default;

  void Beat() noexcept;
  void OnPrepare() noexcept;
  void Prepare() noexcept;
  void OnCheck() noexcept;
  bool SpinUntilReady() noexcept;
  void Call() noexcept;
  static void OnClosed(uv_handle_t* handle) noexcept;

  uv_loop_t* loop_;
  Participant* participant_;
  Look look_;
  Ready call_ready_;
  Turned turned_;
  int64_t turn_began_ns_ = 0;
  uv_poll_t poll_;
  uv_prepare_t prepare_;
  uv_check_t check_;
  uv_idle_t idle_;
  uv_timer_t backstop_;
  uv_timer_t soon_;
  int open_handles_ = 0;
  int64_t parked_at_ns_ = 0;
  bool started_ = false;
  bool watching_ = false;
  bool parked_ = false;
  bool ready_ = false;
  bool readable_ = false;
  bool closing_ = false;
  Status failed_ = Status::kOk;
};

}  // namespace cfc::binding
