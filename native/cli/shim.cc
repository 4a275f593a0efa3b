// Shim: a small parent over one command, which makes it an agent.
//
// It holds the agent's name and lease, and does nothing else in the fabric: whoever in the tree of
// the command joins with CFC_LEASE reads and sends as that agent beside it. It is the subreaper of
// that tree, so that nothing gets away, and it ends only after the last process of it. What is
// wanted of the agent (pause, resume, stop) it reads in the directory entry, where its doorbell
// calls it to; how the command ended it writes there.
//
// Of a shim that is killed, the command goes at once (its death signal), and the next shim of that
// name kills what else is left, found by CFC_LEASE in its environment.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "core/agent.h"
#include "core/clock.h"
#include "core/fabric.h"
#include "core/lifecycle.h"
#include "core/line_ring.h"
#include "core/participant.h"
#include "job.h"
#include "notify.h"
#include "process_tree.h"
#include "processes.h"
#include "shim_options.h"
#include "shim_stream.h"
#include "signals.h"

namespace cfc {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSweepNs = 20 * kMs;                   // between looks at a tree that has to end
constexpr int64_t kLeftoverGraceNs = 1000 * kMs;         // for what outlives the command
constexpr int64_t kKillPatienceNs = 10'000 * kMs;        // then something hangs in the kernel
constexpr int64_t kMostWatchdogUsec = int64_t{1} << 50;  // 35 years: no sum with it overflows
constexpr const char* kDefaultPath = "/usr/local/bin:/usr/bin:/bin";

bool IsProgram(const std::string& path) noexcept {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

// The folder of the program that runs now.
std::string OwnFolder() {
  char path[4096];
  const ssize_t bytes = readlink(kSelf, path, sizeof path);
  if (bytes <= 0 || static_cast<size_t>(bytes) == sizeof path) return "";
  const std::string text(path, static_cast<size_t>(bytes));
  return text.substr(0, text.rfind('/'));
}

// As a shell finds it. Empty, with errno, where there is none.
std::string FindProgram(const std::string& name) {
  errno = ENOENT;
  if (name.find('/') != std::string::npos) {
    if (access(name.c_str(), X_OK) != 0) return "";
    errno = EACCES;
    return IsProgram(name) ? name : "";
  }
  const char* const path = std::getenv("PATH");
  std::string folders = path ? path : kDefaultPath;
  for (size_t at = 0; at <= folders.size();) {
    const size_t end = std::min(folders.find(':', at), folders.size());
    std::string program = end == at ? "." : folders.substr(at, end - at);
    program.append("/").append(name);
    if (IsProgram(program)) return program;
    at = end + 1;
  }
  errno = ENOENT;
  return "";
}

class Shim {
 public:
  explicit Shim(const ShimOptions& options) : options_(options) {}

  int Run() {
    if (options_.report_fd >= 0) fcntl(options_.report_fd, F_SETFD, FD_CLOEXEC);
    Failure failure;
    Status status = Begin(&failure);
    if (status != Status::kOk) return Refuse(status, failure);
    lines_ = std::make_unique<LineRing>(fabric_->directory(), agent_.entry());
    if (!Start(&failure)) {
      agent_.Leave();
      me_.Unregister();
      return Refuse(Status::kSystem, failure);
    }
    Report("ok\t" + std::to_string(command_));
    Loop();
    return End();
  }

 private:
  enum class Phase : uint8_t { kRunning, kEnding, kKilling, kGone };

  Entry& entry() noexcept { return fabric_->entries()[agent_.entry()]; }

  void Report(const std::string& text) noexcept {
    if (options_.report_fd < 0) return;
    const std::string line = std::to_string(options_.report_index) + "\t" + text + "\n";
    const ssize_t unused = write(options_.report_fd, line.data(), line.size());
    (void)unused;
    close(options_.report_fd);
  }

  int Refuse(Status status, const Failure& failure) {
    std::string what = failure.path;
    std::replace_if(
        what.begin(), what.end(), [](char c) { return c == '\t' || c == '\n'; }, ' ');
    Report("failed\t" + std::to_string(static_cast<int>(status)) + "\t" +
           std::to_string(failure.error_number) + "\t" + failure.syscall + "\t" + what);
    if (options_.report_fd < 0) {
      std::fprintf(stderr, "cfc: %s: %s %s%s%s\n", options_.agent.c_str(), StatusText(status),
                   failure.path, failure.error_number ? ": " : "",
                   failure.error_number ? std::strerror(failure.error_number) : "");
    }
    if (status == Status::kLeaseHeld) return kExitTryAgain;
    if (status != Status::kSystem || failure.error_number == 0) return 1;
    return failure.error_number == ENOENT || failure.error_number == ENOTDIR ? 127 : 126;
  }

  // Everything that may be refused before there is an agent.
  Status Begin(Failure* failure) {
    const std::string base = options_.dir.empty() ? DefaultBasePath() : options_.dir;
    setenv("CFC_FABRIC", options_.fabric.c_str(), 1);
    setenv("CFC_AGENT", options_.agent.c_str(), 1);
    setenv("CFC_DIR", base.c_str(), 1);
    const char* const path = std::getenv("PATH");
    setenv("PATH", (OwnFolder() + ":" + (path ? path : kDefaultPath)).c_str(), 1);
    if (!options_.cwd.empty() && chdir(options_.cwd.c_str()) != 0) {
      return Fail(failure, Status::kSystem, "chdir", options_.cwd);
    }
    program_ = FindProgram(options_.command[0]);
    if (program_.empty()) return Fail(failure, Status::kSystem, "execve", options_.command[0]);
    null_ = Descriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null_.valid()) return Fail(failure, Status::kSystem, "open", "/dev/null");
    if (!out_.Open(options_.out_file, options_.pass ? STDOUT_FILENO : -1)) {
      return Fail(failure, Status::kSystem, "open", options_.out_file);
    }
    if (!err_.Open(options_.err_file, options_.pass ? STDERR_FILENO : -1)) {
      return Fail(failure, Status::kSystem, "open", options_.err_file);
    }
    Status status = Fabric::Open(options_.fabric, base, &fabric_, failure);
    if (status == Status::kOk) status = me_.Register(fabric_.get(), failure);
    if (status == Status::kOk && me_.BellDescriptor() < 0) {
      status = Fail(failure, Status::kSystem, "mkfifoat", fabric_->directory().path());
    }
    if (status != Status::kOk) return status;
    const bool sweep = LeftBehind();
    AgentSpec spec;
    spec.name = options_.agent;
    spec.role = options_.role;
    spec.team = options_.team;
    spec.parent = options_.parent;
    spec.mailbox_cells = options_.mailbox_cells;
    spec.limits = {options_.per_second, options_.burst, options_.quota_messages,
                   options_.quota_bytes};
    spec.shim = true;
    status = agent_.Join(&me_, spec, failure);
    if (status != Status::kOk) return status;
    token_ = LifeToken(*fabric_, agent_.entry(), agent_.incarnation());
    if (sweep) KillMarked("CFC_LEASE", token_.substr(0, token_.rfind('-') + 1), token_);
    return Status::kOk;
  }

  // Did an earlier shim of this name die over its command?
  bool LeftBehind() const noexcept {
    AgentRecord record;
    return AgentDirectory(fabric_.get()).Find(options_.agent, &record) == Status::kOk &&
           (record.facts & kFactShim) != 0 && ExitCodeOf(record.exit, record.incarnation) < 0;
  }

  bool Start(Failure* failure) {
    setenv("CFC_LEASE", token_.c_str(), 1);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (notify_.Open(token_)) setenv("NOTIFY_SOCKET", notify_.address().c_str(), 1);
    watchdog_ns_ = options_.watchdog_ms * kMs;
    if (watchdog_ns_ > 0) {
      setenv("WATCHDOG_USEC", std::to_string(watchdog_ns_ / 1000).c_str(), 1);
    }
    if (options_.ready == ReadyWhen::kJoined) entry().facts.fetch_or(kFactAwaitsGuest);
    SpawnOptions spawn;
    spawn.in = options_.pass ? -1 : null_.get();
    spawn.out = out_.write_end().get();
    spawn.err = err_.write_end().get();
    spawn.death_signal = SIGKILL;
    spawn.own_group = true;
    spawn.open_files = options_.open_files;
    command_ = Spawn(program_.c_str(), options_.command, spawn);
    if (command_ < 0) {
      // Of what comes before the program only a limit beyond ours is refused.
      const bool limit = errno == EPERM && options_.open_files != 0;
      Fail(failure, Status::kSystem, limit ? "setrlimit" : "execve", program_);
      return false;
    }
    out_.write_end().Reset();
    err_.write_end().Reset();
    entry().command.store(PackCommand(static_cast<uint32_t>(command_),
                                      ProcessStartTime(static_cast<uint32_t>(command_))));
    if (options_.ready == ReadyWhen::kStarted) BecomeReady();
    return true;
  }

  void BecomeReady() noexcept {
    entry().facts.fetch_or(kFactReady);
    if (StateOf(entry().state.load()) == AgentState::kSpawned) {
      agent_.SetState(AgentState::kWorking);
    }
    agent_.Progress();
    Rearm();
  }

  void Rearm() noexcept { watchdog_at_ns_ = watchdog_ns_ > 0 ? MonotonicNs() + watchdog_ns_ : 0; }

  void Loop() {
    int64_t looked_ns = MonotonicNs();
    while (phase_ != Phase::kGone) {
      ReapChildren();
      Obey();
      Tend();
      if (phase_ == Phase::kGone) break;
      pollfd fds[4];
      out_.FillPoll(&fds[0]);
      err_.FillPoll(&fds[1]);
      fds[2] = {notify_.fd(), POLLIN, 0};
      fds[3] = {me_.BellDescriptor(), POLLIN, 0};
      me_.ParkInLoop();
      // Looked at once more: a wish that came before we parked rang nobody.
      const int64_t longest = entry().wanted.load() != obeyed_ ? 0 : NextNs();
      Signals::Poll(fds, 4, longest);
      me_.Unpark();
      if (fds[3].revents != 0) me_.DrainBell();
      out_.Move(lines_.get());
      err_.Move(lines_.get());
      TakeNotices();
      const int64_t now = MonotonicNs();
      if (now - looked_ns >= kBackstopNs) {
        looked_ns = now;
        if (me_.OnBackstop(/*sweep=*/true) != Status::kOk)
          Kill();  // the fabric or our place in it is gone
      }
    }
  }

  int64_t NextNs() const noexcept {
    int64_t at = MonotonicNs() + kBackstopNs;
    if (phase_ == Phase::kEnding) at = std::min(at, kill_at_ns_);
    if (watchdog_at_ns_ != 0 && phase_ == Phase::kRunning && !paused_) {
      at = std::min(at, watchdog_at_ns_);
    }
    const int64_t left = std::max<int64_t>(at - MonotonicNs(), 0);
    // Processes that are adopted by us give no sign.
    return phase_ != Phase::kRunning || (paused_ && !frozen_) ? std::min(left, kSweepNs) : left;
  }

  void ReapChildren() {
    Signals::TakeChildEnded();
    int status = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0) {
      if (pid != command_) continue;
      if (WIFSTOPPED(status)) {
        entry().facts.fetch_or(kFactStopped);
      } else if (WIFCONTINUED(status)) {
        entry().facts.fetch_and(~uint64_t{kFactStopped});
      } else {
        code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (phase_ == Phase::kRunning) Terminate(std::min(GraceNs(), kLeftoverGraceNs));
      }
    }
    none_left_ = pid < 0 && errno == ECHILD;
  }

  int64_t GraceNs() const noexcept { return options_.grace_ms * kMs; }

  void Obey() {
    const uint64_t wish = entry().wanted.load();
    if (Signals::StopAsked() && !asked_) Stop(GraceNs());
    if (options_.parent_pid != 0 && Signals::TakeParentDied() &&
        getppid() != static_cast<pid_t>(options_.parent_pid) && !asked_) {
      Stop(GraceNs());
    }
    if (wish == obeyed_) return;
    obeyed_ = wish;
    if (WantedLife(wish) != agent_.incarnation()) return;
    switch (WantedVerb(wish)) {
      case Wanted::kRun:
        Resume();
        break;
      case Wanted::kPause:
        Pause();
        break;
      case Wanted::kStop:
        Stop(WantedGraceMs(wish) * kMs);
        break;
      case Wanted::kKill:
        asked_ = true;
        Kill();
        break;
    }
  }

  void Pause() {
    if (phase_ != Phase::kRunning || paused_) return;
    paused_ = true;
    frozen_ = freezer_.Freeze();
  }

  void Resume() {
    if (!paused_) return;
    paused_ = frozen_ = false;
    freezer_.Thaw();
    if (StateOf(entry().state.load()) == AgentState::kPaused) agent_.SetState(before_pause_);
    Rearm();
  }

  void Stop(int64_t grace_ns) {
    asked_ = true;
    if (phase_ == Phase::kKilling) return;
    if (phase_ == Phase::kEnding) {
      kill_at_ns_ = std::min(kill_at_ns_, MonotonicNs() + grace_ns);
      return;
    }
    Terminate(grace_ns);
  }

  void Terminate(int64_t grace_ns) {
    phase_ = Phase::kEnding;
    kill_at_ns_ = MonotonicNs() + grace_ns;
    SignalTree(SIGTERM);
    SignalTree(SIGCONT);  // who is stopped could not hear it
    paused_ = false;
  }

  void Kill() {
    if (phase_ == Phase::kKilling) return;
    phase_ = Phase::kKilling;
    killed_ = true;
    kill_at_ns_ = MonotonicNs() + kKillPatienceNs;
  }

  // What is due.
  void Tend() {
    const int64_t now = MonotonicNs();
    if (paused_ && !frozen_) {
      frozen_ = freezer_.Freeze();
      if (frozen_) {
        before_pause_ = StateOf(entry().state.load());
        if (before_pause_ == AgentState::kSpawned) before_pause_ = AgentState::kWorking;
        agent_.SetState(AgentState::kPaused);
      }
    }
    if (phase_ == Phase::kRunning && !paused_ && watchdog_at_ns_ != 0 && now >= watchdog_at_ns_) {
      Bark();
    }
    if (phase_ == Phase::kEnding && now >= kill_at_ns_) Kill();
    if (phase_ == Phase::kKilling) {
      SignalTree(SIGKILL);
      if (now >= kill_at_ns_) none_left_ = true;
    }
    if (phase_ != Phase::kRunning && none_left_) phase_ = Phase::kGone;
  }

  // The program has not been heard of for too long. As systemd does it: SIGABRT, so that it leaves
  // a trace of where it was.
  void Bark() {
    entry().facts.fetch_or(kFactOverdue);
    kill(command_, SIGABRT);
    phase_ = Phase::kEnding;
    kill_at_ns_ = MonotonicNs() + GraceNs();
  }

  void TakeNotices() {
    Notice notice;
    while (notify_.fd() >= 0 && notify_.Next(&notice)) {
      if (notice.has_status) WriteStatusText(entry(), notice.status);
      if (notice.watchdog_usec >= 0) {
        watchdog_ns_ = std::min(notice.watchdog_usec, kMostWatchdogUsec) * 1000;
      }
      if (notice.ready) {
        BecomeReady();
      } else if (notice.alive || notice.watchdog_usec >= 0) {
        agent_.Progress();
        Rearm();
      }
      if (notice.trouble && phase_ == Phase::kRunning) Bark();
    }
  }

  int End() {
    out_.Finish(lines_.get());
    err_.Finish(lines_.get());
    if (code_ < 0) code_ = 128 + SIGKILL;
    WriteExit(entry(), agent_.incarnation(), code_);
    const bool well = code_ == 0 || (asked_ && !killed_);
    agent_.SetState(well ? AgentState::kComplete : AgentState::kFailed);
    agent_.Leave();
    me_.Unregister();
    return code_;
  }

  const ShimOptions& options_;
  std::string program_;
  std::string token_;
  Descriptor null_;
  ShimStream out_, err_;
  std::unique_ptr<Fabric> fabric_;
  Participant me_;
  Agent agent_;
  std::unique_ptr<LineRing> lines_;
  NotifySocket notify_;
  Freezer freezer_;
  pid_t command_ = 0;
  int code_ = -1;
  uint64_t obeyed_ = 0;
  Phase phase_ = Phase::kRunning;
  int64_t kill_at_ns_ = 0;
  int64_t watchdog_ns_ = 0;
  int64_t watchdog_at_ns_ = 0;
  AgentState before_pause_ = AgentState::kWorking;
  bool paused_ = false;  // wanted
  bool frozen_ = false;  // and done
  bool asked_ = false;   // to stop
  bool killed_ = false;
  bool none_left_ = false;
};

}  // namespace

int RunShim(int count, char** arguments) {
  ShimOptions options;
  if (!options.Parse(count, arguments)) return kExitUsage;
  Signals::Install();
  setsid();
  BecomeSubreaper();
  if (options.parent_pid != 0 && !WatchParent(static_cast<pid_t>(options.parent_pid))) {
    return kExitOrphaned;
  }
  return std::make_unique<Shim>(options)->Run();
}

}  // namespace cfc
