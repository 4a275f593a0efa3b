// Processes: starting one without a shell, and ending everything that one left behind.
//
// A process of a map job is the subreaper of what it starts: whatever loses its parent below it
// becomes its child, so nothing gets away. The keeper's process group holds the keeper,
// coordinators and workers; each command has one of its own. That is how they are told apart.
//
// Threads: one, the only one of the process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace cfc {

struct SpawnOptions {
  int in = -1, out = -1, err = -1;  // become descriptors 0, 1 and 2; -1: inherited
  int death_signal = 0;             // sent to it when this process dies
  bool own_group = false;
  uint32_t open_files = 0;  // descriptors that it may have open at most; 0: as many as we
};

// Starts `program` with exactly these arguments and our environment. -1, with errno: not started
// (no process to be had), or the program can't be executed.
pid_t Spawn(const char* program, const std::vector<std::string>& arguments,
            const SpawnOptions& options) noexcept;

// A child of ours that ended and was not reaped yet: was it killed before it became the program?
bool EndedBeforeExec(pid_t pid) noexcept;

// The program that runs now, whatever became of its file.
constexpr const char* kSelf = "/proc/self/exe";

// Descendants that lose their parent become our children.
bool BecomeSubreaper() noexcept;

// Asks for SIGHUP when the parent dies. False: `parent` is not our parent (any more).
bool WatchParent(pid_t parent) noexcept;

std::vector<pid_t> ListChildren();

// What a file holds; false, with errno, where it can't be read.
bool ReadWhole(const char* path, std::string* text);
// The numbers that a text begins with.
void AddNumbers(const char* text, std::vector<pid_t>* pids);

// Kills a child of ours, and the group that it leads or belongs to unless that is our own.
void KillWithGroup(pid_t pid) noexcept;

// Kills and reaps children until none is left, those that are adopted meanwhile too. Gives up after
// `patience_ns`: something hangs in the kernel. True: none is left.
bool EndAllChildren(int64_t patience_ns) noexcept;

}  // namespace cfc
