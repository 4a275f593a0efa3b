#include "job.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/region.h"

namespace cfc {
namespace {

bool ParseNumber(const char* text, uint32_t* out) noexcept {
  char* end = nullptr;
  errno = 0;
  const unsigned long value = std::strtoul(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || value > UINT_MAX) return false;
  *out = static_cast<uint32_t>(value);
  return true;
}

bool ParsePid(const char* text, pid_t* out) noexcept {
  uint32_t value;
  if (!ParseNumber(text, &value) || value > INT_MAX) return false;
  *out = static_cast<pid_t>(value);
  return true;
}

}  // namespace

bool Job::Parse(int count, char** arguments) {
  int i = 0;
  for (; i < count && std::strcmp(arguments[i], "--") != 0; ++i) {
    const std::string option = arguments[i];
    if (option == "--ndjson") {
      ndjson = true;
    } else if (option == "--echo") {
      echo = true;
    } else if (option == "--attach") {
      attach = true;
    } else {
      const char* const value = i + 1 < count ? arguments[++i] : "";
      bool known = true;
      if (option == "--fabric") {
        fabric = value;
      } else if (option == "--parent") {
        parent = value;
      } else if (option == "--program") {
        program = value;
      } else if (option == "--name") {
        name = value;
      } else if (option == "--team") {
        team = value;
      } else if (option == "--retries") {
        known = ParseNumber(value, &retries);
      } else if (option == "--output-bytes") {
        known = ParseNumber(value, &output_bytes);
      } else if (option == "--workers") {
        known = ParseNumber(value, &workers);
      } else if (option == "--cells") {
        known = ParseNumber(value, &cells);
      } else if (option == "--coordinators") {
        known = ParseNumber(value, &coordinators);
      } else if (option == "--parent-pid") {
        known = ParsePid(value, &parent_pid);
      } else if (option == "--keeper-pid") {
        known = ParsePid(value, &keeper_pid);
      } else {
        known = false;
      }
      if (!known) {
        std::fprintf(stderr, "cfc-native: %s %s: not understood\n", option.c_str(), value);
        return false;
      }
    }
  }
  for (++i; i < count; ++i) command.emplace_back(arguments[i]);
  if (!IsValidName(fabric) || !IsValidName(parent) || (!echo && command.empty())) {
    std::fputs("cfc-native: --fabric, --parent and a command are needed\n", stderr);
    return false;
  }
  return true;
}

std::vector<std::string> Job::ToArguments(const char* role) const {
  std::vector<std::string> arguments = {"cfc-native", role};
  const auto add = [&](const char* option, const std::string& value) {
    arguments.emplace_back(option);
    arguments.push_back(value);
  };
  add("--fabric", fabric);
  add("--parent", parent);
  add("--retries", std::to_string(retries));
  add("--output-bytes", std::to_string(output_bytes));
  if (ndjson) arguments.emplace_back("--ndjson");
  if (echo) arguments.emplace_back("--echo");
  if (!program.empty()) add("--program", program);
  if (!name.empty()) add("--name", name);
  if (!team.empty()) add("--team", team);
  add("--parent-pid", std::to_string(parent_pid));
  add("--keeper-pid", std::to_string(keeper_pid));
  if (workers != 0) add("--workers", std::to_string(workers));
  if (coordinators != 0) add("--coordinators", std::to_string(coordinators));
  add("--cells", std::to_string(cells));
  arguments.emplace_back("--");
  arguments.insert(arguments.end(), command.begin(), command.end());
  return arguments;
}

}  // namespace cfc
