#include "shim_options.h"

#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "core/region.h"

namespace cfc {
namespace {

struct TextOption {
  const char* name;
  std::string ShimOptions::*field;
};
constexpr TextOption kTexts[] = {
    {"--fabric", &ShimOptions::fabric}, {"--dir", &ShimOptions::dir},
    {"--agent", &ShimOptions::agent},   {"--role", &ShimOptions::role},
    {"--team", &ShimOptions::team},     {"--parent", &ShimOptions::parent},
    {"--out", &ShimOptions::out_file},  {"--err", &ShimOptions::err_file},
    {"--cwd", &ShimOptions::cwd},
};

struct NumberOption {
  const char* name;
  uint32_t ShimOptions::*field;
};
constexpr NumberOption kNumbers[] = {
    {"--cells", &ShimOptions::mailbox_cells},   {"--grace-ms", &ShimOptions::grace_ms},
    {"--open-files", &ShimOptions::open_files}, {"--watchdog-ms", &ShimOptions::watchdog_ms},
    {"--parent-pid", &ShimOptions::parent_pid}, {"--report-index", &ShimOptions::report_index},
    {"--per-second", &ShimOptions::per_second}, {"--burst", &ShimOptions::burst},
};

struct AmountOption {
  const char* name;
  uint64_t ShimOptions::*field;
};
constexpr AmountOption kAmounts[] = {
    {"--quota-messages", &ShimOptions::quota_messages},
    {"--quota-bytes", &ShimOptions::quota_bytes},
};

template <class Number>
bool ParseNumber(std::string_view text, Number* out) noexcept {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), *out);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

bool ParseReady(std::string_view text, ReadyWhen* out) noexcept {
  if (text == "started") {
    *out = ReadyWhen::kStarted;
  } else if (text == "notify") {
    *out = ReadyWhen::kNotified;
  } else if (text == "join") {
    *out = ReadyWhen::kJoined;
  } else {
    return false;
  }
  return true;
}

bool TakeOption(ShimOptions* options, std::string_view name, const char* value) {
  for (const TextOption& one : kTexts) {
    if (name != one.name) continue;
    options->*one.field = value;
    return true;
  }
  for (const NumberOption& one : kNumbers) {
    if (name == one.name) return ParseNumber(value, &(options->*one.field));
  }
  for (const AmountOption& one : kAmounts) {
    if (name == one.name) return ParseNumber(value, &(options->*one.field));
  }
  if (name == "--ready") return ParseReady(value, &options->ready);
  uint32_t fd = 0;
  if (name != "--report-fd" || !ParseNumber(value, &fd) || fd > 1'000'000) return false;
  options->report_fd = static_cast<int>(fd);
  return true;
}

}  // namespace

bool ShimOptions::Parse(int count, char** arguments) {
  int i = 0;
  for (; i < count && std::strcmp(arguments[i], "--") != 0; ++i) {
    const std::string_view option = arguments[i];
    if (option == "--pass") {
      pass = true;
      continue;
    }
    const char* const value = i + 1 < count ? arguments[++i] : "";
    if (!TakeOption(this, option, value)) {
      std::fprintf(stderr, "cfc-native: %.*s %s: not understood\n", static_cast<int>(option.size()),
                   option.data(), value);
      return false;
    }
  }
  for (++i; i < count; ++i) command.emplace_back(arguments[i]);
  if (!IsValidName(fabric) || !IsValidName(agent) || command.empty()) {
    std::fputs("cfc-native: --fabric, --agent and a command are needed\n", stderr);
    return false;
  }
  return true;
}

}  // namespace cfc
