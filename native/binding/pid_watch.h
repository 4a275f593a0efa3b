// PidWatch: tells JavaScript in the turn in which processes end, whoever started them.
//
// One epoll descriptor over pidfds, which the event loop polls: no thread, no timer, nothing to do
// while everybody lives. A pidfd means one process, never its number's next owner.
//
// Ownership: Close() frees it once libuv has let go. Threads: that of the loop.
#pragma once

#include <napi.h>
#include <uv.h>

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

namespace cfc::binding {

class PidWatch {
 public:
  using Ended = std::function<void(const std::vector<uint32_t>& pids)>;

  // Null where the kernel has no pidfds (or a sandbox forbids them), or no descriptor is free.
  static PidWatch* Create(Napi::Env env, Ended ended);
  PidWatch(const PidWatch&) = delete;
  PidWatch& operator=(const PidWatch&) = delete;

  // 0, or an errno: ESRCH where it has ended and was waited for already. One that ended and was
  // not is told. Watching the same number again replaces the first.
  int Add(uint32_t pid);
  void Remove(uint32_t pid) noexcept;
  void Close() noexcept;

 private:
  explicit PidWatch(Ended ended) noexcept : ended_(static_cast<Ended&&>(ended)) {}
  ~PidWatch() = default;
  void OnReadable();

  Ended ended_;
  int epoll_ = -1;
  bool closing_ = false;
  uv_poll_t poll_ = {};
  std::unordered_map<uint32_t, int> descriptors_;  // by pid
};

}  // namespace cfc::binding
