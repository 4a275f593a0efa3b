#include "processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/clock.h"
#include "core/region.h"
#include "signals.h"

namespace cfc {
namespace {

// In the child, which still shares our memory: system calls only. Its errors come back in *error.
[[noreturn]] void Become(const char* program, char* const* arguments, const SpawnOptions& options,
                         pid_t parent, volatile int* error) noexcept {
  if (options.own_group) setpgid(0, 0);
  const int wanted[] = {options.in, options.out, options.err};
  for (int fd = 0; fd < 3; ++fd) {
    if (wanted[fd] >= 0 && dup2(wanted[fd], fd) < 0) {
      *error = errno;
      _exit(127);
    }
  }
  if (options.open_files != 0) {
    // Both limits: what it may have it can't raise again.
    const struct rlimit most = {options.open_files, options.open_files};
    if (setrlimit(RLIMIT_NOFILE, &most) != 0) {
      *error = errno;
      _exit(127);
    }
  }
  if (options.death_signal != 0) {
    prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(options.death_signal));
    // It may have died before we asked.
    if (getppid() != parent) _exit(127);
  }
  sigset_t none;
  sigemptyset(&none);
  // Handlers are still ours until exec: what is pending must not run them in shared memory.
  for (const int number : {SIGTERM, SIGHUP, SIGCHLD, SIGPIPE}) std::signal(number, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(program, arguments, environ);
  *error = errno;
  _exit(127);
}

// Where the kernel keeps no list of children: asks every process for its parent.
void ScanProcesses(std::vector<pid_t>* pids) {
  DIR* const dir = opendir("/proc");
  if (!dir) return;
  const pid_t self = getpid();
  while (const dirent* const entry = readdir(dir)) {
    const long pid = std::strtol(entry->d_name, nullptr, 10);
    if (pid <= 0) continue;
    std::string stat;
    if (!ReadWhole(("/proc/" + std::to_string(pid) + "/stat").c_str(), &stat)) continue;
    // "pid (name) state parent": the name may hold anything, parentheses too.
    const size_t after = stat.rfind(')');
    if (after == std::string::npos || stat.size() < after + 5) continue;
    if (std::strtol(stat.c_str() + after + 4, nullptr, 10) == self) {
      pids->push_back(static_cast<pid_t>(pid));
    }
  }
  closedir(dir);
}

}  // namespace

void AddNumbers(const char* text, std::vector<pid_t>* pids) {
  char* end = nullptr;
  for (long pid = std::strtol(text, &end, 10); end != text; pid = std::strtol(text, &end, 10)) {
    pids->push_back(static_cast<pid_t>(pid));
    text = end;
  }
}

bool ReadWhole(const char* path, std::string* text) {
  const Descriptor file(open(path, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return false;
  char buffer[4096];
  for (;;) {
    const ssize_t bytes = read(file.get(), buffer, sizeof buffer);
    if (bytes == 0) return true;
    if (bytes < 0) return false;
    text->append(buffer, static_cast<size_t>(bytes));
  }
}

// vfork: the child of a large mapping costs no copy of its page tables.
__attribute__((noinline)) pid_t Spawn(const char* program,
                                      const std::vector<std::string>& arguments,
                                      const SpawnOptions& options) noexcept {
  std::vector<char*> pointers;
  pointers.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  const pid_t parent = getpid();
  volatile int error = 0;
  // posix_spawn can't ask for a signal at our death. Become() never returns into this frame, and
  // does nothing but system calls.
  const pid_t pid = vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork)
  if (pid == 0) {
    Become(program, pointers.data(), options, parent, &error);  // NOLINT(clang-analyzer-unix.Vfork)
  }
  if (pid < 0) return -1;
  if (error == 0) return pid;
  const int why = error;
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  errno = why;
  return -1;
}

bool EndedBeforeExec(pid_t pid) noexcept {
  constexpr unsigned long kForkedNotExecuted = 0x40;  // PF_FORKNOEXEC of the kernel
  std::string stat;
  if (!ReadWhole(("/proc/" + std::to_string(pid) + "/stat").c_str(), &stat)) return false;
  const char* field = std::strrchr(stat.c_str(), ')');
  for (int n = 2; field && n < 9; ++n) field = std::strchr(field + 1, ' ');
  return field && (std::strtoul(field, nullptr, 10) & kForkedNotExecuted) != 0;
}

bool BecomeSubreaper() noexcept { return prctl(PR_SET_CHILD_SUBREAPER, 1UL) == 0; }

bool WatchParent(pid_t parent) noexcept {
  prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(SIGHUP));
  return getppid() == parent;
}

std::vector<pid_t> ListChildren() {
  std::vector<pid_t> pids;
  std::string text;
  const std::string self = std::to_string(getpid());
  if (ReadWhole(("/proc/self/task/" + self + "/children").c_str(), &text)) {
    AddNumbers(text.c_str(), &pids);
  } else {
    ScanProcesses(&pids);
  }
  return pids;
}

void KillWithGroup(pid_t pid) noexcept {
  const pid_t group = getpgid(pid);
  if (group > 1 && group != getpgrp()) kill(-group, SIGKILL);
  kill(pid, SIGKILL);
}

bool EndAllChildren(int64_t patience_ns) noexcept {
  const Deadline deadline = Deadline::After(patience_ns);
  for (;;) {
    pid_t reaped;
    do {
      reaped = waitpid(-1, nullptr, WNOHANG);
    } while (reaped > 0 || (reaped < 0 && errno == EINTR));
    if (reaped < 0) return true;  // ECHILD: nobody is left
    if (deadline.Passed()) return false;
    for (const pid_t pid : ListChildren()) KillWithGroup(pid);
    Signals::TakeChildEnded();
    // A child that is adopted later gives no signal of its own.
    Signals::Poll(nullptr, 0, std::min<int64_t>(deadline.RemainingNs(), 20'000'000));
  }
}

}  // namespace cfc
