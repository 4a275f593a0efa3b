// Job: what every process of a map job is told on its command line.
//
// The keeper is started with all of it and hands it down, with the name and the place in the tree
// of each process that it starts.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace cfc {

// Exit codes among ourselves; what a person sees comes from the master.
constexpr int kExitUsage = 2;
constexpr int kExitGaveUp = 70;    // its children can't be started
constexpr int kExitTryAgain = 75;  // the name is still held by an earlier life
constexpr int kExitOrphaned = 76;  // its parent died

constexpr uint32_t kStartsUnderWay = 128;  // processes of a job that may be on their way to a name

struct Job {
  std::string fabric;
  std::string parent;  // agent that results go to
  uint32_t retries = 3;
  uint32_t output_bytes = 1u << 20;  // kept of stdout, and of stderr
  bool ndjson = false;               // the task is the command's standard input
  bool echo = false;                 // no command: the answer is the task
  std::string program;               // the command's file, found in PATH by the master
  std::vector<std::string> command;

  // Of one process.
  std::string name;
  std::string team;
  pid_t parent_pid = 0;
  pid_t keeper_pid = 0;  // adopts the workers of a dead coordinator
  uint32_t workers = 0;
  uint32_t cells = 8;         // of a worker's mailbox: one task runs, a second may be on its way
  uint32_t coordinators = 0;  // of the job; 0: workers are the keeper's own
  bool attach = false;        // the fabric is there already: an earlier keeper made it

  // Fills in from what follows the role. False, with a line on stderr: it makes no sense.
  bool Parse(int count, char** arguments);
  // The command line of `role` with this job, beginning with the program's name.
  std::vector<std::string> ToArguments(const char* role) const;
};

int RunKeeper(const Job& job);
int RunCoordinator(const Job& job);
int RunWorker(const Job& job);

}  // namespace cfc
