#include "process_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "region.h"

namespace cfc {
namespace {

bool ReadText(uint32_t pid, const char* what, char* text, size_t bytes) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/%s", pid, what);
  const Descriptor file(open(path, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return false;
  const ssize_t got = read(file.get(), text, bytes - 1);
  if (got <= 0) return false;
  text[got] = 0;
  return true;
}

uint64_t CountDescriptors(uint32_t pid) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/fd", pid);
  struct stat info;
  // From Linux 6.2 on the size of that directory is their number.
  if (stat(path, &info) == 0 && info.st_size > 0) return static_cast<uint64_t>(info.st_size);
  DIR* const directory = opendir(path);
  if (!directory) return 0;
  uint64_t count = 0;
  while (const dirent* const entry = readdir(directory)) count += entry->d_name[0] != '.';
  closedir(directory);
  return count;
}

}  // namespace

bool ReadProcessUsage(uint32_t pid, ProcessUsage* out) noexcept {
  char text[1024];
  if (!ReadText(pid, "stat", text, sizeof text)) return false;
  // After the name, which may hold anything, even brackets and spaces.
  const char* field = std::strrchr(text, ')');
  constexpr int kUserTicks = 14, kSystemTicks = 15, kStartTicks = 22;
  uint64_t user = 0, system = 0;
  for (int n = 2; n < kStartTicks; ++n) {
    field = field ? std::strchr(field + 1, ' ') : nullptr;
    if (!field) return false;
    const uint64_t value = std::strtoull(field + 1, nullptr, 10);
    if (n + 1 == kUserTicks) user = value;
    if (n + 1 == kSystemTicks) system = value;
    if (n + 1 == kStartTicks) out->start_ticks = value;
  }
  out->cpu_ticks = user + system;
  if (!ReadText(pid, "statm", text, sizeof text)) return false;
  char* end = nullptr;
  std::strtoull(text, &end, 10);
  const uint64_t resident = std::strtoull(end, &end, 10);
  const uint64_t shared = std::strtoull(end, &end, 10);
  static const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  out->own_bytes = resident > shared ? (resident - shared) * page_bytes : 0;
  out->descriptors = CountDescriptors(pid);
  return true;
}

}  // namespace cfc
