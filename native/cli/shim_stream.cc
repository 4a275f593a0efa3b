#include "shim_stream.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace cfc {
namespace {

constexpr size_t kPieceBytes = 64 << 10;
constexpr size_t kAtomicBytes = 4096;  // a pipe that is ready takes so much without waiting
constexpr int kFinishWaitMs = 1000;    // for a reader of ours that does not read

}  // namespace

bool ShimStream::Open(const std::string& file, int pass_fd) noexcept {
  if (pass_fd < 0 || isatty(pass_fd) == 0 || !OpenTerminal(pass_fd)) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return false;
    read_end_ = Descriptor(fds[0]);
    write_end_ = Descriptor(fds[1]);
  }
  fcntl(read_end_.get(), F_SETFL, O_NONBLOCK);
  pass_fd_ = pass_fd;
  if (file.empty()) return true;
  file_ = Descriptor(
      open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600));
  return file_.valid();
}

// Programs that write to a terminal do so line by line, and to a pipe when they have a lot. It is
// raw, so that nothing is changed on its way to the real one, and nobody's controlling terminal.
bool ShimStream::OpenTerminal(int like_fd) noexcept {
#ifdef TIOCGPTPEER
  Descriptor ours(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  int locked = 0;
  if (!ours.valid() || ioctl(ours.get(), TIOCSPTLCK, &locked) != 0) return false;
  Descriptor theirs(ioctl(ours.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios mode;
  if (!theirs.valid() || tcgetattr(theirs.get(), &mode) != 0) return false;
  cfmakeraw(&mode);
  if (tcsetattr(theirs.get(), TCSANOW, &mode) != 0) return false;
  winsize size;
  if (ioctl(like_fd, TIOCGWINSZ, &size) == 0) ioctl(theirs.get(), TIOCSWINSZ, &size);
  read_end_ = static_cast<Descriptor&&>(ours);
  write_end_ = static_cast<Descriptor&&>(theirs);
  return true;
#else
  (void)like_fd;
  return false;
#endif
}

void ShimStream::FillPoll(pollfd* out) const noexcept {
  *out = {-1, 0, 0};
  if (!pending_.empty()) {
    *out = {pass_fd_, POLLOUT, 0};
  } else if (read_end_.valid()) {
    *out = {read_end_.get(), POLLIN, 0};
  }
}

// False: there is nothing more to be had now.
bool ShimStream::Read(LineRing* lines) {
  if (!read_end_.valid()) return false;
  char buffer[kPieceBytes];
  const ssize_t bytes = read(read_end_.get(), buffer, sizeof buffer);
  if (bytes < 0 && errno == EINTR) return true;
  if (bytes < 0 && errno == EAGAIN) return false;
  if (bytes <= 0) {
    read_end_.Reset();
    return false;
  }
  const std::string_view text(buffer, static_cast<size_t>(bytes));
  lines->Append(text);
  if (file_.valid()) {
    std::string_view rest = text;
    while (!rest.empty()) {
      const ssize_t written = write(file_.get(), rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) break;
      rest.remove_prefix(static_cast<size_t>(written));
    }
  }
  if (pass_fd_ >= 0) pending_.append(text);
  return true;
}

// False: it would have to wait, or nobody reads any more.
bool ShimStream::Pass() noexcept {
  while (!pending_.empty()) {
    pollfd one = {pass_fd_, POLLOUT, 0};
    if (poll(&one, 1, 0) <= 0) return false;
    const ssize_t bytes = write(pass_fd_, pending_.data(), std::min(pending_.size(), kAtomicBytes));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) return false;
    if (bytes < 0) {
      pending_.clear();
      pass_fd_ = -1;
      read_end_.Reset();
      return false;
    }
    pending_.erase(0, static_cast<size_t>(bytes));
  }
  return true;
}

void ShimStream::Move(LineRing* lines) {
  if (!Pass()) return;
  // One piece a turn: who writes without end keeps nobody from being heard.
  if (Read(lines)) Pass();
}

void ShimStream::Finish(LineRing* lines) {
  for (;;) {
    while (!pending_.empty() && !Pass()) {
      pollfd one = {pass_fd_, POLLOUT, 0};
      if (pass_fd_ < 0 || poll(&one, 1, kFinishWaitMs) == 0) pending_.clear();
    }
    if (!Read(lines)) return;
  }
}

}  // namespace cfc
