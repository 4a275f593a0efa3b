#include "process_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

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
  struct statx info;  // not stat: glibc 2.33 is the first that has that symbol
  // From Linux 6.2 on the size of that directory is their number.
  if (statx(AT_FDCWD, path, 0, STATX_SIZE, &info) == 0 && info.stx_size > 0) return info.stx_size;
  DIR* const directory = opendir(path);
  if (!directory) return 0;
  uint64_t count = 0;
  while (const dirent* const entry = readdir(directory)) count += entry->d_name[0] != '.';
  closedir(directory);
  return count;
}

struct Times {
  uint64_t own_ticks = 0;
  uint64_t reaped_ticks = 0;  // of children that ended and were waited for
  uint64_t start_ticks = 0;
};

bool ReadTimes(uint32_t pid, Times* out) noexcept {
  char text[1024];
  if (!ReadText(pid, "stat", text, sizeof text)) return false;
  // After the name, which may hold anything, even brackets and spaces.
  const char* field = std::strrchr(text, ')');
  constexpr int kUserTicks = 14, kStartTicks = 22;
  uint64_t values[kStartTicks - kUserTicks + 1] = {};
  for (int n = 3; n <= kStartTicks; ++n) {
    field = field ? std::strchr(field + 1, ' ') : nullptr;
    if (!field) return false;
    if (n >= kUserTicks) values[n - kUserTicks] = std::strtoull(field + 1, nullptr, 10);
  }
  out->own_ticks = values[0] + values[1];
  out->reaped_ticks = values[2] + values[3];
  out->start_ticks = values[kStartTicks - kUserTicks];
  return true;
}

bool ReadOwnBytes(uint32_t pid, uint64_t* bytes) noexcept {
  char text[256];
  if (!ReadText(pid, "statm", text, sizeof text)) return false;
  char* end = nullptr;
  std::strtoull(text, &end, 10);
  const uint64_t resident = std::strtoull(end, &end, 10);
  const uint64_t shared = std::strtoull(end, &end, 10);
  static const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  *bytes = resident > shared ? (resident - shared) * page_bytes : 0;
  return true;
}

// Processes that were found, each once, in the order in which they were.
class Found {
 public:
  bool Reserve() noexcept {
    pids_.reset(new (std::nothrow) uint32_t[kMostTreeProcesses]);
    return pids_ != nullptr;
  }
  uint32_t count() const noexcept { return count_; }
  uint32_t At(uint32_t i) const noexcept { return pids_[i]; }

  void AddChildrenOf(uint32_t pid) noexcept {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%u/task", pid);
    DIR* const threads = opendir(path);
    if (!threads) return;
    while (const dirent* const thread = readdir(threads)) {
      if (thread->d_name[0] != '.') AddListed(pid, thread->d_name);
    }
    closedir(threads);
  }

 private:
  // Numbers, each with a space behind it, however long the list is.
  void AddListed(uint32_t pid, const char* thread) noexcept {
    char path[96];
    std::snprintf(path, sizeof path, "/proc/%u/task/%.16s/children", pid, thread);
    const Descriptor file(open(path, O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return;
    char text[1024];
    uint32_t number = 0;
    for (;;) {
      const ssize_t got = read(file.get(), text, sizeof text);
      if (got <= 0) return;
      for (ssize_t i = 0; i < got; ++i) {
        if (text[i] >= '0' && text[i] <= '9') {
          number = number * 10 + static_cast<uint32_t>(text[i] - '0');
        } else if (number != 0) {
          if (count_ < kMostTreeProcesses) pids_[count_++] = number;
          number = 0;
        }
      }
    }
  }

  std::unique_ptr<uint32_t[]> pids_;
  uint32_t count_ = 0;
};

}  // namespace

bool ReadProcessUsage(uint32_t pid, ProcessUsage* out) noexcept {
  Times times;
  if (!ReadTimes(pid, &times) || !ReadOwnBytes(pid, &out->own_bytes)) return false;
  out->cpu_ticks = times.own_ticks;
  out->start_ticks = times.start_ticks;
  out->descriptors = CountDescriptors(pid);
  return true;
}

bool ReadUsageBelow(uint32_t pid, ProcessUsage* out) noexcept {
  Times times;
  Found below;
  if (!ReadTimes(pid, &times) || !below.Reserve()) return false;
  *out = {0, 0, times.reaped_ticks, times.start_ticks};
  below.AddChildrenOf(pid);
  if (below.count() == 0) return false;
  for (uint32_t i = 0; i < below.count(); ++i) {
    const uint32_t one = below.At(i);
    uint64_t bytes = 0;
    if (!ReadTimes(one, &times) || !ReadOwnBytes(one, &bytes)) continue;  // it ended meanwhile
    out->own_bytes += bytes;
    out->descriptors += CountDescriptors(one);
    out->cpu_ticks += times.own_ticks + times.reaped_ticks;
    below.AddChildrenOf(one);
  }
  return true;
}

}  // namespace cfc
