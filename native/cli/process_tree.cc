#include "process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <map>
#include <string>

#include "core/lifecycle.h"
#include "core/region.h"
#include "processes.h"

namespace cfc {
namespace {

// Numbers that name entries of a directory of /proc.
std::vector<pid_t> NumbersIn(const std::string& path) {
  std::vector<pid_t> numbers;
  DIR* const dir = opendir(path.c_str());
  if (!dir) return numbers;
  while (const dirent* const entry = readdir(dir)) {
    const long number = std::strtol(entry->d_name, nullptr, 10);
    if (number > 0) numbers.push_back(static_cast<pid_t>(number));
  }
  closedir(dir);
  return numbers;
}

// The children of all threads of a process. False: the kernel keeps no such lists.
bool AddChildrenOf(pid_t pid, std::vector<pid_t>* out) {
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const pid_t thread : NumbersIn(tasks)) {
    std::string text;
    if (!ReadWhole((tasks + "/" + std::to_string(thread) + "/children").c_str(), &text)) {
      if (errno == ENOENT && pid == getpid()) return false;
      continue;  // it ended meanwhile
    }
    AddNumbers(text.c_str(), out);
  }
  return true;
}

// Where there are no lists: asks every process for its parent.
std::vector<pid_t> ScanTree() {
  std::multimap<pid_t, pid_t> children;
  for (const pid_t pid : NumbersIn("/proc")) {
    std::string stat;
    if (!ReadWhole(("/proc/" + std::to_string(pid) + "/stat").c_str(), &stat)) continue;
    const size_t after = stat.rfind(')');
    if (after == std::string::npos || stat.size() < after + 5) continue;
    children.emplace(static_cast<pid_t>(std::strtol(stat.c_str() + after + 4, nullptr, 10)), pid);
  }
  std::vector<pid_t> tree = {getpid()};
  for (size_t i = 0; i < tree.size(); ++i) {
    const auto [from, to] = children.equal_range(tree[i]);
    for (auto child = from; child != to; ++child) tree.push_back(child->second);
  }
  tree.erase(tree.begin());
  return tree;
}

std::vector<pid_t> ListPids() {
  std::vector<pid_t> tree;
  if (!AddChildrenOf(getpid(), &tree)) return ScanTree();
  for (size_t i = 0; i < tree.size(); ++i) AddChildrenOf(tree[i], &tree);
  // Who lost its parent while we looked became our child behind our back.
  std::vector<pid_t> own;
  AddChildrenOf(getpid(), &own);
  for (const pid_t pid : own) {
    if (std::find(tree.begin(), tree.end(), pid) == tree.end()) tree.push_back(pid);
  }
  return tree;
}

bool IsStopped(char state) noexcept { return state == 'T' || state == 't'; }

}  // namespace

std::vector<TreeProcess> ListTree() {
  std::vector<TreeProcess> tree;
  for (const pid_t pid : ListPids()) {
    TreeProcess process;
    process.pid = pid;
    process.start_time = ProcessStartTime(static_cast<uint32_t>(pid), &process.state);
    const bool gone = process.start_time == 0 || process.state == 'Z' || process.state == 'X';
    if (!gone) tree.push_back(process);
  }
  return tree;
}

bool SignalProcess(const TreeProcess& process, int number) noexcept {
#ifdef SYS_pidfd_open
  const Descriptor pidfd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  if (pidfd.valid()) {
    // The descriptor is of whoever has the number now: is it still the one that was meant?
    if (ProcessStartTime(static_cast<uint32_t>(process.pid)) != process.start_time) return false;
    return syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0) == 0;
  }
#endif
  if (ProcessStartTime(static_cast<uint32_t>(process.pid)) != process.start_time) return false;
  return kill(process.pid, number) == 0;
}

void SignalTree(int number) {
  for (const TreeProcess& process : ListTree()) SignalProcess(process, number);
}

bool Freezer::Freeze() {
  bool all = true;
  std::vector<pid_t> seen;
  for (const TreeProcess& process : ListTree()) {
    seen.push_back(process.pid);
    if (IsStopped(process.state)) {
      if (!begun_) stopped_before_.push_back(process);
      continue;
    }
    SignalProcess(process, SIGSTOP);
    all = false;
  }
  begun_ = true;
  std::sort(seen.begin(), seen.end());
  const bool settled = all && seen == last_;
  last_ = all ? seen : std::vector<pid_t>();
  return settled;
}

void Freezer::Thaw() {
  for (const TreeProcess& process : ListTree()) {
    const bool before =
        std::any_of(stopped_before_.begin(), stopped_before_.end(), [&](const TreeProcess& one) {
          return one.pid == process.pid && one.start_time == process.start_time;
        });
    if (!before) SignalProcess(process, SIGCONT);
  }
  *this = Freezer();
}

void KillMarked(std::string_view name, std::string_view prefix, std::string_view except) {
  const std::string begins = std::string(name) + "=" + std::string(prefix);
  const std::string spared = std::string(name) + "=" + std::string(except);
  for (const pid_t pid : NumbersIn("/proc")) {
    if (pid == getpid()) continue;
    TreeProcess process;
    process.pid = pid;
    process.start_time = ProcessStartTime(static_cast<uint32_t>(pid), &process.state);
    std::string environment;
    if (!ReadWhole(("/proc/" + std::to_string(pid) + "/environ").c_str(), &environment)) continue;
    environment.insert(environment.begin(), '\0');
    for (size_t at = environment.find('\0' + begins); at != std::string::npos;
         at = environment.find('\0' + begins, at + 1)) {
      const std::string value = environment.substr(at + 1, environment.find('\0', at + 1) - at - 1);
      if (value != spared) SignalProcess(process, SIGKILL);
    }
  }
}

}  // namespace cfc
