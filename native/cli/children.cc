#include "children.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/clock.h"
#include "core/directory.h"
#include "job.h"
#include "processes.h"
#include "signals.h"

namespace cfc {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kLongestPauseNs = 2 * kSecondNs;
constexpr uint32_t kBurst = 20;  // starts within a second before it has to wait for the next
constexpr uint32_t kFailuresToGiveUp = 12;
constexpr int64_t kBlindLookNs = 50'000'000;   // at those whose end nothing tells
constexpr uint32_t kStartsAtOnce = 8;          // then look at what else there is to do
constexpr int64_t kArrivalLookNs = 1'000'000;  // at those on their way, while others wait for them
constexpr int64_t kArrivalPatienceNs = kSecondNs;  // then others need not wait for it any more

int OpenPidfd(pid_t pid) noexcept {
#ifdef SYS_pidfd_open
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
#else
  (void)pid;
  errno = ENOSYS;
  return -1;
#endif
}

bool IsReadable(int fd) noexcept {
  pollfd one = {fd, POLLIN, 0};
  return poll(&one, 1, 0) > 0;
}

std::string Describe(int status) {
  if (WIFSIGNALED(status)) return std::string("ended by signal ") + strsignal(WTERMSIG(status));
  return "ended with code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

Children::Children(Fabric* fabric, uint32_t at_once)
    : fabric_(fabric), at_once_(at_once), null_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {}

void Children::Add(std::string name, std::vector<std::string> arguments) {
  Child child;
  child.name = static_cast<std::string&&>(name);
  child.arguments = static_cast<std::vector<std::string>&&>(arguments);
  children_.push_back(static_cast<Child&&>(child));
}

// An earlier life that outlived its coordinator goes on, watched through a pidfd. A kernel or a
// sandbox without them leaves the lease, which nobody can wait for: it is looked at now and then.
bool Children::Adopt(Child* child) {
  AgentDirectory directory(fabric_);
  AgentRecord record;
  if (directory.Find(child->name, &record) != Status::kOk) return false;
  if (fabric_->HolderDead(record.holder) || record.pid == 0) return false;
  const auto pid = static_cast<pid_t>(record.pid);
  Descriptor pidfd(OpenPidfd(pid));
  // It may have died, and its number be another's, between the two looks.
  if (directory.Find(child->name, &record) != Status::kOk || fabric_->HolderDead(record.holder) ||
      static_cast<pid_t>(record.pid) != pid) {
    return false;
  }
  child->adopted = true;
  child->pidfd = static_cast<Descriptor&&>(pidfd);
  child->holder = record.holder;
  child->pid = pid;
  child->started_ns = MonotonicNs();
  return true;
}

bool Children::AdoptedEnded(const Child& child) const noexcept {
  return child.pidfd.valid() ? IsReadable(child.pidfd.get()) : fabric_->HolderDead(child.holder);
}

void Children::Start(Child* child) {
  const int64_t now = MonotonicNs();
  if (now - child->burst_ns > kSecondNs) {
    child->burst_ns = now;
    child->burst = 0;
  }
  if (++child->burst > kBurst) {
    child->start_at_ns = child->burst_ns + kSecondNs;
    return;
  }
  child->started_ns = now;
  SpawnOptions options;  // our own input and output are for talking to the master
  options.in = null_.get();
  options.out = STDERR_FILENO;
  child->pid = Spawn(kSelf, child->arguments, options);
  if (child->pid > 0) return;
  child->pid = 0;
  child->why = std::string("can't be started: ") + std::strerror(errno);
  ++child->failures;
  child->start_at_ns =
      now + std::min(kLongestPauseNs, int64_t{10'000'000} << std::min(child->failures, 10u));
}

bool Children::Joined(const Child& child) const {
  AgentRecord record;
  return AgentDirectory(fabric_).Find(child.name, &record) == Status::kOk &&
         static_cast<pid_t>(record.pid) == child.pid;
}

void Children::Died(size_t index, int status, bool known_status) {
  Child& child = children_[index];
  const bool clean = known_status && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  const bool began = clean || !known_status || Joined(child);
  child.failures = began ? 0 : child.failures + 1;
  if (known_status) child.why = Describe(status);
  if (known_status && WIFEXITED(status) && WEXITSTATUS(status) == kExitGaveUp) {
    child.failures = kFailuresToGiveUp;
  }
  child.pid = 0;
  child.adopted = false;
  child.pidfd.Reset();
  child.start_at_ns = 0;
  if (!began) {
    child.start_at_ns = MonotonicNs() + std::min(kLongestPauseNs, int64_t{5'000'000} << std::min(
                                                                      child.failures, 10u));
  }
  died_.push_back(index);
}

// Who is our child, but none that we started, lost its parent: a living worker of a coordinator
// that died (of our group), or something that a dead worker's command left.
void Children::KillLeftovers() {
  const pid_t group = getpgrp();
  for (const pid_t pid : ListChildren()) {
    if (getpgid(pid) != group) KillWithGroup(pid);
  }
}

std::vector<size_t> Children::Tend() {
  died_.clear();
  if (!begun_) {
    begun_ = true;
    for (Child& child : children_) Adopt(&child);
  }
  if (Signals::TakeChildEnded()) {
    int status = 0;
    pid_t pid;
    bool any = false;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      any = true;
      for (size_t i = 0; i < children_.size(); ++i) {
        if (children_[i].pid != pid || children_[i].adopted) continue;
        Died(i, status, true);
        break;
      }
    }
    if (any) KillLeftovers();
  }
  for (size_t i = 0; i < children_.size(); ++i) {
    Child& child = children_[i];
    if (child.adopted && AdoptedEnded(child)) Died(i, 0, false);
  }
  std::vector<size_t> died = died_;
  if (stopping_) return died;
  const int64_t now = MonotonicNs();
  LookWhoArrived();
  uint32_t starts = 0;
  for (size_t i = 0; i < children_.size() && coming_.size() < at_once_; ++i) {
    Child& child = children_[i];
    if (child.pid != 0 || child.start_at_ns > now) continue;
    Start(&child);
    if (child.pid != 0) coming_.push_back(i);
    if (++starts == kStartsAtOnce) break;
  }
  return died;
}

void Children::LookWhoArrived() {
  const int64_t late_ns = MonotonicNs() - kArrivalPatienceNs;
  const auto gone = [&](size_t i) {
    const Child& child = children_[i];
    return child.pid == 0 || child.started_ns < late_ns || Joined(child);
  };
  coming_.erase(std::remove_if(coming_.begin(), coming_.end(), gone), coming_.end());
}

void Children::FillPoll(std::vector<pollfd>* fds) const {
  for (const Child& child : children_) {
    if (child.pidfd.valid()) fds->push_back({child.pidfd.get(), POLLIN, 0});
  }
}

int64_t Children::NextLookNs() const noexcept {
  int64_t next = kBackstopNs;
  for (const Child& child : children_) {
    if (child.adopted && !child.pidfd.valid()) next = kBlindLookNs;
  }
  if (stopping_) return next;
  const int64_t now = MonotonicNs();
  for (const Child& child : children_) {
    if (child.pid == 0) next = std::min(next, std::max<int64_t>(child.start_at_ns - now, 0));
  }
  return coming_.size() < at_once_ || next > kArrivalLookNs ? next : kArrivalLookNs;
}

void Children::Stop() {
  if (stopping_) return;
  stopping_ = true;
  for (const Child& child : children_) {
    if (child.pid == 0) continue;
    // Ours are not reaped before we look, and of others we just asked: the number is theirs.
    if (child.adopted && AdoptedEnded(child)) continue;
    kill(child.pid, SIGTERM);
  }
}

bool Children::AllGone() const noexcept {
  return std::all_of(children_.begin(), children_.end(),
                     [](const Child& child) { return child.pid == 0; });
}

bool Children::GaveUp(std::string* why) const {
  if (children_.empty() || !AllGone()) return false;
  for (const Child& child : children_) {
    if (child.failures < kFailuresToGiveUp) return false;
  }
  *why = children_[0].name + " " + children_[0].why;
  return true;
}

}  // namespace cfc
