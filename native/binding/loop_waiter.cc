#include "loop_waiter.h"

#include "core/clock.h"

namespace cfc::binding {
namespace {

constexpr uint64_t kBackstopMs = kBackstopNs / 1'000'000;
constexpr uint32_t kMostRounds = 8;  // others of the loop get their turn after so many

template <class Handle>
uv_handle_t* Base(Handle* handle) noexcept {
  return reinterpret_cast<uv_handle_t*>(handle);
}

}  // namespace

LoopWaiter::LoopWaiter(uv_loop_t* loop, Participant* participant, Look look, Ready ready,
                       Turned turned) noexcept
    : loop_(loop),
      participant_(participant),
      look_(static_cast<Look&&>(look)),
      call_ready_(static_cast<Ready&&>(ready)),
      turned_(static_cast<Turned&&>(turned)) {}

LoopWaiter* LoopWaiter::Create(Napi::Env env, Participant* participant, Look look, Ready ready,
                               Turned turned) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || !loop) return nullptr;
  const int bell = participant->BellDescriptor();
  if (bell < 0) return nullptr;
  auto* const waiter = new LoopWaiter(loop, participant, static_cast<Look&&>(look),
                                      static_cast<Ready&&>(ready), static_cast<Turned&&>(turned));
  if (uv_poll_init(loop, &waiter->poll_, bell) != 0) {
    delete waiter;
    return nullptr;
  }
  uv_prepare_init(loop, &waiter->prepare_);
  uv_check_init(loop, &waiter->check_);
  uv_idle_init(loop, &waiter->idle_);
  uv_timer_init(loop, &waiter->backstop_);
  uv_timer_init(loop, &waiter->soon_);
  uv_handle_t* const handles[] = {Base(&waiter->poll_),     Base(&waiter->prepare_),
                                  Base(&waiter->check_),    Base(&waiter->idle_),
                                  Base(&waiter->backstop_), Base(&waiter->soon_)};
  for (uv_handle_t* const handle : handles) {
    handle->data = waiter;
    uv_unref(handle);
    ++waiter->open_handles_;
  }
  // From the first turn on, whether anything is waited for or not: others see by it that the loop
  // turns.
  uv_prepare_start(&waiter->prepare_, [](uv_prepare_t* handle) {
    static_cast<LoopWaiter*>(handle->data)->OnPrepare();
  });
  uv_check_start(&waiter->check_,
                 [](uv_check_t* handle) { static_cast<LoopWaiter*>(handle->data)->OnCheck(); });
  waiter->Beat();
  return waiter;
}

void LoopWaiter::Close() noexcept {
  if (closing_) return;
  closing_ = true;
  watching_ = false;
  if (parked_) participant_->Unpark();
  parked_ = false;
  participant_->Beat(0);
  uv_close(Base(&poll_), OnClosed);
  uv_close(Base(&prepare_), OnClosed);
  uv_close(Base(&check_), OnClosed);
  uv_close(Base(&idle_), OnClosed);
  uv_close(Base(&backstop_), OnClosed);
  uv_close(Base(&soon_), OnClosed);
}

void LoopWaiter::OnClosed(uv_handle_t* handle) noexcept {
  auto* const waiter = static_cast<LoopWaiter*>(handle->data);
  if (--waiter->open_handles_ == 0) delete waiter;
}

void LoopWaiter::Watch(bool watching) noexcept {
  if (closing_ || watching == watching_) return;
  watching_ = watching;
  if (!watching) {  // the handles stay: starting and stopping them costs system calls
    uv_unref(Base(&poll_));
    if (parked_) participant_->Unpark();
    parked_ = false;
    ready_ = false;
    uv_idle_stop(&idle_);
    return;
  }
  uv_ref(Base(&poll_));
  if (started_) return;
  started_ = true;
  uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* handle, int, int) {
    static_cast<LoopWaiter*>(handle->data)->readable_ = true;
  });
  uv_timer_start(
      &backstop_,
      [](uv_timer_t* handle) {
        auto* const waiter = static_cast<LoopWaiter*>(handle->data);
        waiter->failed_ = waiter->participant_->OnBackstop(/*sweep=*/true);
        if (waiter->failed_ != Status::kOk) waiter->ready_ = true;
      },
      kBackstopMs, kBackstopMs);
}

bool LoopWaiter::SpinUntilReady() noexcept {
  auto& spin = participant_->spin();
  if (!spin.Worthwhile()) return false;
  int64_t now_ns = MonotonicNs();
  const int64_t began_ns = now_ns;
  int64_t look_ns = now_ns + participant_->SpinLeadNs();
  while (now_ns < began_ns + Participant::Spin::kNs) {
    Participant::Relax();
    if (now_ns >= look_ns) {
      if (look_(nullptr)) {
        spin.Paid();
        return true;
      }
      look_ns = now_ns + (now_ns - began_ns) / 4;
    }
    now_ns = MonotonicNs();
  }
  spin.Wasted();
  return false;
}

void LoopWaiter::Beat() noexcept { participant_->Beat(uv_now(loop_)); }

void LoopWaiter::OnPrepare() noexcept {
  Prepare();
  if (closing_) return;   // what it called closed the fabric: the participant is gone
  participant_->Beat(0);  // a loop that polls is not stuck, however long it sleeps
}

void LoopWaiter::Prepare() noexcept {
  // What comes while we are here is handled here, as far as that goes: a turn of the loop for each
  // message of an exchange costs as much as the message.
  for (uint32_t round = 0; watching_ && round < kMostRounds; ++round) {
    // Only a loop that is about to sleep needs to be woken. But 0 is also the answer while watchers
    // wait to be registered, and then the poll would block all the same: so it must not block in a
    // turn in which we don't park. Once, a receiver slept here for ever, unparked.
    if (ready_ || uv_backend_timeout(loop_) == 0) break;
    if (!SpinUntilReady()) {
      participant_->ParkInLoop();
      int64_t longest = kBackstopNs;
      if (!look_(&longest)) {
        parked_ = true;
        parked_at_ns_ = MonotonicNs();
        if (longest < kBackstopNs) {
          uv_timer_start(
              &soon_, [](uv_timer_t*) {}, static_cast<uint64_t>(longest / 1'000'000) + 1, 0);
        }
        return;
      }
      participant_->Unpark();
    }
    uv_update_time(loop_);  // for the timers that are started now
    Call();
  }
  if (watching_) uv_idle_start(&idle_, [](uv_idle_t*) {});  // the poll must not block now
}

void LoopWaiter::Call() noexcept {
  ready_ = false;
  const Status failed = failed_;
  failed_ = Status::kOk;
  call_ready_(failed);
}

void LoopWaiter::OnCheck() noexcept {
  const int64_t now_ns = MonotonicNs();
  int64_t slept_ns = 0;
  Beat();
  if (parked_) {
    participant_->Unpark();
    parked_ = false;
    slept_ns = now_ns - parked_at_ns_;
    participant_->spin().Slept(slept_ns);
  }
  // From one poll to the next: what comes meanwhile waits for as long.
  // Where nobody waits, nothing says how long the poll slept.
  if (turn_began_ns_ != 0 && watching_) {
    turned_(now_ns - slept_ns - turn_began_ns_, slept_ns, readable_);
  }
  turn_began_ns_ = watching_ ? now_ns : 0;
  uv_idle_stop(&idle_);
  // Drained while unparked: after parking it would swallow the byte of a ring already given.
  if (readable_) {
    participant_->DrainBell();
    readable_ = false;
    ready_ = true;  // somebody rang; what for is not always to be seen by a look
  }
  if (watching_ && (ready_ || look_(nullptr))) Call();
  ready_ = false;
}

}  // namespace cfc::binding
