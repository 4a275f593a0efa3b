#include "notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "core/clock.h"

namespace cfc {
namespace {

constexpr size_t kMostBytes = 4096;  // of a datagram; systemd takes no more either
constexpr int kTries = 8;

}  // namespace

Notice ParseNotice(std::string_view text) {
  Notice notice;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, equals);
    const std::string_view value = line.substr(equals + 1);
    if (key == "READY") {
      notice.ready = notice.ready || value == "1";
    } else if (key == "STOPPING") {
      notice.stopping = notice.stopping || value == "1";
    } else if (key == "WATCHDOG") {
      notice.alive = notice.alive || value == "1";
      notice.trouble = notice.trouble || value == "trigger";
    } else if (key == "STATUS") {
      notice.has_status = true;
      notice.status = std::string(value);
    } else if (key == "WATCHDOG_USEC") {
      int64_t usec = 0;
      const auto parsed = std::from_chars(value.data(), value.data() + value.size(), usec);
      if (parsed.ec == std::errc() && usec >= 0) notice.watchdog_usec = usec;
    }
  }
  return notice;
}

bool NotifySocket::Open(std::string_view token) noexcept {
  Descriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return false;
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  // Somebody may sit on the name: it is no secret, and the namespace is everybody's.
  for (int i = 0; i < kTries; ++i) {
    const std::string name =
        "cfc-" + std::string(token) + "-" + std::to_string(MonotonicNs() % 1'000'000'000);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (name.size() + 1 > sizeof address.sun_path) return false;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0) {
      socket_ = static_cast<Descriptor&&>(socket);
      address_ = "@" + name;
      return true;
    }
    if (errno != EADDRINUSE) return false;
  }
  return false;
}

bool NotifySocket::Next(Notice* out) {
  char text[kMostBytes];
  alignas(cmsghdr) char control[256];  // descriptors may come too; they are closed below
  for (;;) {
    iovec part = {text, sizeof text};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t bytes = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return false;
    bool ours = false;
    for (cmsghdr* one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one)) {
      if (one->cmsg_level != SOL_SOCKET) continue;
      if (one->cmsg_type == SCM_CREDENTIALS) {
        ucred sender;
        std::memcpy(&sender, CMSG_DATA(one), sizeof sender);
        ours = sender.uid == geteuid();
      } else if (one->cmsg_type == SCM_RIGHTS) {
        const size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; ++i) {
          int fd;
          std::memcpy(&fd, CMSG_DATA(one) + i * sizeof fd, sizeof fd);
          close(fd);
        }
      }
    }
    if (!ours) continue;
    *out = ParseNotice(std::string_view(text, static_cast<size_t>(bytes)));
    return true;
  }
}

}  // namespace cfc
