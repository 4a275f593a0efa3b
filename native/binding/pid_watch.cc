#include "pid_watch.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434  // the same on every architecture; headers of glibc 2.28 lack it
#endif

namespace cfc::binding {
namespace {

constexpr int kMostAtOnce = 256;

int OpenPid(uint32_t pid) noexcept {
  return static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0));
}

}  // namespace

PidWatch* PidWatch::Create(Napi::Env env, Ended ended) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || !loop) return nullptr;
  const int probe = OpenPid(static_cast<uint32_t>(getpid()));
  if (probe < 0) return nullptr;
  close(probe);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return nullptr;
  auto* const watch = new PidWatch(static_cast<Ended&&>(ended));
  watch->epoll_ = epoll;
  watch->poll_.data = watch;
  if (uv_poll_init(loop, &watch->poll_, epoll) != 0) {
    close(epoll);
    delete watch;
    return nullptr;
  }
  uv_poll_start(&watch->poll_, UV_READABLE, [](uv_poll_t* handle, int, int) {
    static_cast<PidWatch*>(handle->data)->OnReadable();
  });
  return watch;
}

int PidWatch::Add(uint32_t pid) {
  Remove(pid);
  const int fd = OpenPid(pid);
  if (fd < 0) return errno;
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u32 = pid;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
    const int error = errno;
    close(fd);
    return error;
  }
  descriptors_[pid] = fd;
  return 0;
}

void PidWatch::Remove(uint32_t pid) noexcept {
  const auto found = descriptors_.find(pid);
  if (found == descriptors_.end()) return;
  close(found->second);  // which takes it out of the epoll set: nobody else has the descriptor
  descriptors_.erase(found);
}

void PidWatch::OnReadable() {
  epoll_event events[kMostAtOnce];
  const int count = epoll_wait(epoll_, events, kMostAtOnce, 0);
  if (count <= 0) return;
  std::vector<uint32_t> ended;
  for (int i = 0; i < count; ++i) {
    ended.push_back(events[i].data.u32);
    Remove(events[i].data.u32);
  }
  ended_(ended);
}

void PidWatch::Close() noexcept {
  if (closing_) return;
  closing_ = true;
  uv_poll_stop(&poll_);
  for (const auto& [pid, fd] : descriptors_) close(fd);
  descriptors_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), [](uv_handle_t* handle) {
    auto* const watch = static_cast<PidWatch*>(handle->data);
    close(watch->epoll_);
    delete watch;
  });
}

}  // namespace cfc::binding
