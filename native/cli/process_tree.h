// ProcessTree: everything below this process, which is its subreaper.
//
// A process may fork while it is looked for, and lose its parent while its siblings are listed. So
// nothing here is done in one look: who wants all of them stopped or gone asks again until a look
// finds nothing left to do.
//
// Threads: one, the only one of the process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace cfc {

struct TreeProcess {
  pid_t pid = 0;
  uint64_t start_time = 0;  // with the pid: this process, and no later one of that number
  char state = '?';         // the letter of /proc/PID/stat
};

// Every descendant, parents before their children. The dead that nobody reaped are left out.
std::vector<TreeProcess> ListTree();

// False where that very process is gone.
bool SignalProcess(const TreeProcess& process, int number) noexcept;
void SignalTree(int number);

// Stops a tree to a fixed point, and lets it go on again.
class Freezer {
 public:
  // One look. True: all were stopped, in this look and in the one before, and none came between.
  bool Freeze();
  // Who was stopped before the first look stays so.
  void Thaw();

 private:
  bool begun_ = false;
  std::vector<TreeProcess> stopped_before_;
  std::vector<pid_t> last_;
};

// Kills every process of this user whose environment has NAME=VALUE with a value that begins with
// `prefix` but for `except`: what a shim that was killed left behind, wherever it is now.
void KillMarked(std::string_view name, std::string_view prefix, std::string_view except);

}  // namespace cfc
