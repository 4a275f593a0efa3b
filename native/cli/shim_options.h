// ShimOptions: what `cfc-native shim` is told on its command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cfc {

enum class ReadyWhen : uint8_t { kStarted, kNotified, kJoined };

struct ShimOptions {
  std::string fabric;
  std::string dir;  // that holds fabrics; empty: the default
  std::string agent;
  std::string role, team, parent;
  uint32_t mailbox_cells = 0;
  uint32_t per_second = 0;  // SendLimits; 0: none
  uint32_t burst = 0;
  uint64_t quota_messages = 0;
  uint64_t quota_bytes = 0;
  std::string out_file, err_file;  // appended to; empty: none
  std::string cwd;                 // of the command; empty: ours
  uint32_t grace_ms = 5000;        // from TERM to KILL
  uint32_t watchdog_ms = 0;        // 0: none
  uint32_t open_files = 0;         // that the command may have at most; 0: as many as we
  ReadyWhen ready = ReadyWhen::kStarted;
  bool pass = false;        // its output goes to ours as well, and our input is its
  uint32_t parent_pid = 0;  // ends when that process does; 0: outlives whoever started it
  int report_fd = -1;       // gets a line on how the start went
  uint32_t report_index = 0;
  std::vector<std::string> command;

  // False, with a line on stderr: it makes no sense.
  bool Parse(int count, char** arguments);
};

int RunShim(int count, char** arguments);

}  // namespace cfc
