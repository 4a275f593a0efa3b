#include "command.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/clock.h"
#include "processes.h"
#include "signals.h"

namespace cfc {
namespace {

constexpr int64_t kTreePatienceNs = 5'000'000'000;
constexpr int kMostSpawns = 16;
// No process or descriptor to be had: others will end sooner or later. How long to go on trying.
constexpr int64_t kResourcePatienceNs = 60'000'000'000;

bool IsShortage(int error) noexcept {
  return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
}

bool MakePipe(Descriptor* read_end, Descriptor* write_end, bool we_read) noexcept {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return false;
  *read_end = Descriptor(fds[0]);
  *write_end = Descriptor(fds[1]);
  fcntl(we_read ? fds[0] : fds[1], F_SETFL, O_NONBLOCK);
  return true;
}

// Reads what is there. False: the pipe is at its end.
bool Drain(const Descriptor& pipe, size_t keep_bytes, std::string* kept, bool* cut) {
  char buffer[16384];
  for (;;) {
    const ssize_t bytes = read(pipe.get(), buffer, sizeof buffer);
    if (bytes == 0) return false;
    if (bytes < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN;
    }
    const size_t room = std::min(keep_bytes - kept->size(), static_cast<size_t>(bytes));
    kept->append(buffer, room);
    if (room < static_cast<size_t>(bytes)) *cut = true;
  }
}

// Writes what fits. False: all is written, or nobody reads any more.
bool Feed(const Descriptor& pipe, std::string_view* input) noexcept {
  while (!input->empty()) {
    const ssize_t bytes = write(pipe.get(), input->data(), input->size());
    if (bytes < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN;
    }
    input->remove_prefix(static_cast<size_t>(bytes));
  }
  return false;
}

int ExitCode(int status) noexcept {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Reason(const std::string& program, int error) {
  const char* hint = "";
  if (error == ENOEXEC) hint = " (a script needs an interpreter line: #!/bin/sh)";
  if (error == E2BIG) hint = " (the task is longer than an argument may be: use --ndjson)";
  return "cfc: " + program + ": " + std::strerror(error) + hint + "\n";
}

}  // namespace

Command::Command(std::string program, std::vector<std::string> arguments, size_t keep_bytes)
    : program_(static_cast<std::string&&>(program)),
      arguments_(static_cast<std::vector<std::string>&&>(arguments)),
      keep_bytes_(keep_bytes),
      null_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {}

CommandResult Command::RunWithArgument(std::string_view argument) {
  if (argument.find('\0') != std::string_view::npos) {
    CommandResult result;
    result.exit_code = 126;
    result.err = "cfc: an argument can't hold a NUL byte\n";
    return result;
  }
  arguments_.emplace_back(argument);
  CommandResult result = Run(arguments_, nullptr);
  arguments_.pop_back();
  return result;
}

CommandResult Command::RunWithInput(std::string_view input) { return Run(arguments_, &input); }

pid_t Command::Start(const std::vector<std::string>& arguments, bool with_input, Descriptor* in,
                     Descriptor* out, Descriptor* err) {
  Descriptor child_in, child_out, child_err;
  if (!MakePipe(out, &child_out, true) || !MakePipe(err, &child_err, true)) return -1;
  if (with_input && !MakePipe(&child_in, in, false)) return -1;
  SpawnOptions options;
  options.in = with_input ? child_in.get() : null_.get();
  options.out = child_out.get();
  options.err = child_err.get();
  options.death_signal = SIGKILL;
  options.own_group = true;
  return Spawn(program_.c_str(), arguments, options);
}

// Somebody who kills one of our workers may hit its child that is about to become the program, and
// still looks like a worker. That was no answer of the program's.
CommandResult Command::Run(const std::vector<std::string>& arguments,
                           const std::string_view* input) {
  bool ran = true;
  CommandResult result = RunOnce(arguments, input, &ran);
  for (int tries = 0; !ran && tries < kMostSpawns; ++tries) {
    result = RunOnce(arguments, input, &ran);
  }
  return result;
}

CommandResult Command::RunOnce(const std::vector<std::string>& arguments,
                               const std::string_view* input, bool* ran) {
  *ran = true;
  CommandResult result;
  Descriptor in, out, err;
  const Deadline patience = Deadline::After(kResourcePatienceNs);
  int64_t pause_ns = 10'000'000;
  int64_t began_ns = MonotonicNs();
  pid_t pid;
  while ((pid = Start(arguments, input != nullptr, &in, &out, &err)) < 0) {
    const int error = errno;
    if (IsShortage(error) && !patience.Passed()) {
      Signals::Poll(nullptr, 0, pause_ns);
      pause_ns = std::min<int64_t>(2 * pause_ns, 1'000'000'000);
      if (abandon && abandon()) {
        result.abandoned = true;
        return result;
      }
      began_ns = MonotonicNs();
      continue;
    }
    result.exit_code = error == ENOENT || error == ENOTDIR ? 127 : 126;
    result.err = Reason(program_, error);
    return result;
  }
  result.started = true;

  std::string_view rest = input ? *input : std::string_view();
  for (;;) {
    siginfo_t ended = {};
    if (waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        ended.si_pid == pid) {
      *ran = ended.si_code == CLD_EXITED || !EndedBeforeExec(pid);
      int status = 0;
      waitpid(pid, &status, 0);
      result.exit_code = ExitCode(status);
      break;
    }
    if (abandon && abandon()) {
      result.abandoned = true;
      EndAllChildren(kTreePatienceNs);
      return result;
    }
    pollfd fds[3];
    nfds_t count = 0;
    if (out.valid()) fds[count++] = {out.get(), POLLIN, 0};
    if (err.valid()) fds[count++] = {err.get(), POLLIN, 0};
    if (in.valid()) fds[count++] = {in.get(), POLLOUT, 0};
    Signals::Poll(fds, count, kBackstopNs);
    Signals::TakeChildEnded();
    if (out.valid() && !Drain(out, keep_bytes_, &result.out, &result.out_cut)) out.Reset();
    if (err.valid() && !Drain(err, keep_bytes_, &result.err, &result.err_cut)) err.Reset();
    if (in.valid() && !Feed(in, &rest)) in.Reset();
  }
  result.duration_us = static_cast<uint64_t>(MonotonicNs() - began_ns) / 1000;
  // What it left in the background goes with it; then nobody writes to the pipes any more.
  EndAllChildren(kTreePatienceNs);
  if (out.valid()) Drain(out, keep_bytes_, &result.out, &result.out_cut);
  if (err.valid()) Drain(err, keep_bytes_, &result.err, &result.err_cut);
  return result;
}

}  // namespace cfc
