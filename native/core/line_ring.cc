#include "line_ring.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "failpoint.h"

namespace cfc {
namespace {

constexpr off_t kRingAt = kLineFileBytes - kLineRingBytes;

struct FileName {
  char text[24];
  explicit FileName(uint32_t entry) noexcept {
    std::snprintf(text, sizeof text, "lines.%05u", entry);
  }
};

// What is ours, closed to others, one link: else none.
int OpenChecked(const Directory& directory, uint32_t entry, int flags) noexcept {
  const FileName name(entry);
  const int fd =
      openat(directory.fd(), name.text, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
  if (fd < 0) return -1;
  FileInfo info;
  if (ReadFileInfo(fd, "", &info) && S_ISREG(info.mode) && info.uid == geteuid() &&
      info.links == 1 && (info.mode & 077) == 0) {
    return fd;
  }
  close(fd);
  errno = EINVAL;
  return -1;
}

bool WriteAt(int fd, const void* bytes, size_t count, off_t at) noexcept {
  return pwrite(fd, bytes, count, at) == static_cast<ssize_t>(count);
}

}  // namespace

LineRing::LineRing(const Directory& directory, uint32_t entry) noexcept
    : directory_(directory), entry_(entry) {}

bool LineRing::Open() noexcept {
  if (file_.valid() || failed_) return file_.valid();
  file_ = Descriptor(OpenChecked(directory_, entry_, O_RDWR | O_CREAT));
  failed_ = !file_.valid();
  if (failed_) return false;
  // Whatever the umask left.
  fchmod(file_.get(), 0600);
  if (pread(file_.get(), &counts_, sizeof counts_, 0) != sizeof counts_) counts_ = {};
  return true;
}

void LineRing::Append(std::string_view bytes) noexcept {
  if (bytes.empty() || !Open()) return;
  const uint64_t end = counts_.written + bytes.size();
  // An earlier writer may have died further on.
  const uint64_t begun = std::max(end, counts_.begun);
  if (!WriteAt(file_.get(), &begun, sizeof begun, offsetof(LineCounts, begun))) return;
  counts_.begun = begun;
  if (bytes.size() > kLineRingBytes) bytes.remove_prefix(bytes.size() - kLineRingBytes);
  uint64_t at = end - bytes.size();
  while (!bytes.empty()) {
    const uint64_t place = at % kLineRingBytes;
    const size_t piece = std::min<size_t>(bytes.size(), kLineRingBytes - place);
    if (!WriteAt(file_.get(), bytes.data(), piece, kRingAt + static_cast<off_t>(place))) return;
    bytes.remove_prefix(piece);
    at += piece;
  }
  CFC_FAIL_POINT("lines.written");
  if (WriteAt(file_.get(), &end, sizeof end, offsetof(LineCounts, written))) counts_.written = end;
}

std::string LineRing::Read(const Directory& directory, uint32_t entry) {
  std::string text;
  const Descriptor file(OpenChecked(directory, entry, O_RDONLY));
  char ring[kLineRingBytes];
  uint64_t before = 0;
  LineCounts after = {};
  if (!file.valid() || pread(file.get(), &before, sizeof before, 0) != sizeof before) return text;
  const ssize_t bytes = pread(file.get(), ring, sizeof ring, kRingAt);
  if (bytes <= 0 || pread(file.get(), &after, sizeof after, 0) != sizeof after ||
      after.written < before) {
    return text;
  }
  const auto there = static_cast<uint64_t>(bytes);
  // From the oldest byte that nobody wrote over while we copied, or died writing over.
  const uint64_t newest = std::max(after.written, after.begun);
  uint64_t from = newest > kLineRingBytes ? newest - kLineRingBytes : 0;
  const bool cut = from > 0;
  for (; from < before; ++from) {
    const uint64_t place = from % kLineRingBytes;
    if (place < there) text.push_back(ring[place]);
  }
  if (cut) {
    const size_t line = text.find('\n');
    text.erase(0, line == std::string::npos ? 0 : line + 1);
  }
  return text;
}

void LineRing::Remove(const Directory& directory, uint32_t entry) noexcept {
  unlinkat(directory.fd(), FileName(entry).text, 0);
}

}  // namespace cfc
