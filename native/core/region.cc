#include "region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "clock.h"
#include "failpoint.h"
#include "guard.h"

namespace cfc {
namespace {

uint64_t HeaderChecksum(const FileHeader& header) noexcept {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
  uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (size_t i = 0; i < offsetof(FileHeader, checksum); ++i) {
    hash ^= bytes[i];
    hash *= 0x100'0000'01b3;
  }
  return hash;
}

void ReadBootId(uint8_t out[16]) noexcept {
  std::memset(out, 0, 16);
  const Descriptor file(open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  char text[40] = {};
  if (!file.valid() || read(file.get(), text, sizeof text - 1) <= 0) return;
  int digits = 0;
  for (const char* c = text; *c && digits < 32; ++c) {
    int value;
    if (*c >= '0' && *c <= '9') {
      value = *c - '0';
    } else if (*c >= 'a' && *c <= 'f') {
      value = *c - 'a' + 10;
    } else {
      continue;
    }
    out[digits / 2] = static_cast<uint8_t>(out[digits / 2] << 4 | value);
    ++digits;
  }
}

// Ours, and closed to everybody else. `kind` is S_IFDIR or S_IFREG.
Status CheckOwned(const FileInfo& info, mode_t kind, const std::string& path,
                  Failure* failure) noexcept {
  if ((info.mode & S_IFMT) != kind) {
    errno = 0;
    return Fail(failure, Status::kNotRegular, "statx", path,
                kind == S_IFDIR ? "not a directory" : "not a plain file");
  }
  if (info.uid != geteuid()) {
    errno = 0;
    Fail(failure, Status::kForeign, "statx", path, "it belongs to another user");
    if (failure) failure->owner_uid = info.uid;
    return Status::kForeign;
  }
  if ((info.mode & 077) != 0) {
    errno = 0;
    Fail(failure, Status::kForeign, "statx", path, "its mode lets other users in");
    if (failure) failure->owner_uid = info.uid;
    return Status::kForeign;
  }
  if (kind == S_IFREG && info.links > 1) {
    errno = 0;
    Fail(failure, Status::kForeign, "statx", path, "it has another hard link");
    if (failure) failure->owner_uid = info.uid;
    return Status::kForeign;
  }
  return Status::kOk;
}

Status OpenFailure(Failure* failure, const std::string& path) noexcept {
  switch (errno) {
    case ENOENT:
      return Fail(failure, Status::kNoFabric, "openat", path, "it is missing");
    case ELOOP:
      return Fail(failure, Status::kNotRegular, "openat", path, "a symbolic link is in the way");
    case ENOTDIR:
      return Fail(failure, Status::kNotRegular, "openat", path, "not a directory");
    case EISDIR:
      return Fail(failure, Status::kNotRegular, "openat", path, "not a plain file");
    case EACCES:
    case EPERM: {
      const int reason = errno;
      FileInfo info;
      const bool known = ReadFileInfo(AT_FDCWD, path.c_str(), &info);
      errno = reason;
      Fail(failure, Status::kForeign, "openat", path, "access denied");
      if (failure && known) failure->owner_uid = info.uid;
      return Status::kForeign;
    }
    default:
      return Fail(failure, Status::kSystem, "openat", path);
  }
}

Status CheckHeader(const FileHeader& header, FileKind kind, const uint8_t* uuid, uint64_t bytes,
                   const std::string& path, Failure* failure) noexcept {
  errno = 0;
  if (header.magic != kMagic) {
    return Fail(failure, Status::kCorrupt, "", path, "it does not begin as a file of cfc");
  }
  if (header.layout_major != kLayoutMajor || header.incompatible_features != 0) {
    Fail(failure, Status::kLayout, "", path);
    if (failure) {
      std::snprintf(failure->detail, sizeof failure->detail, "layout %u.%u, this build reads %u.x",
                    header.layout_major, header.layout_minor, kLayoutMajor);
    }
    return Status::kLayout;
  }
  if (header.checksum != HeaderChecksum(header)) {
    return Fail(failure, Status::kCorrupt, "", path, "the checksum of its header is wrong");
  }
  if (header.byte_order != kByteOrderMark || header.layout_hash != LayoutHash() ||
      header.page_bytes != static_cast<uint32_t>(sysconf(_SC_PAGESIZE))) {
    return Fail(failure, Status::kLayout, "", path, "same version, other sizes or byte order");
  }
  if (header.kind != static_cast<uint32_t>(kind)) {
    return Fail(failure, Status::kCorrupt, "", path, "it is another kind of file");
  }
  if (header.file_bytes != bytes) {
    return Fail(failure, Status::kCorrupt, "", path, "its size is not what its header says");
  }
  if (uuid && std::memcmp(uuid, header.fabric_uuid, sizeof header.fabric_uuid) != 0) {
    return Fail(failure, Status::kCorrupt, "", path, "it belongs to another fabric");
  }
  if (header.ready != kMagic) {
    return Fail(failure, Status::kCorrupt, "", path, "it was never finished");
  }
  return Status::kOk;
}

Status Map(int fd, uint64_t bytes, bool writable, const std::string& path, uint8_t** base,
           Failure* failure) noexcept {
  void* const mapped =
      mmap(nullptr, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return Fail(failure, Status::kSystem, "mmap", path);
  madvise(mapped, bytes, MADV_DONTDUMP);
  *base = static_cast<uint8_t*>(mapped);
  return Status::kOk;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = other.Release();
  }
  return *this;
}

void Descriptor::Reset() noexcept {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Status Fail(Failure* failure, Status status, const char* syscall, const std::string& path,
            const char* detail) noexcept {
  if (!failure) return status;
  const int reason = errno;
  *failure = Failure();
  failure->error_number = reason;
  failure->syscall = syscall;
  std::snprintf(failure->path, sizeof failure->path, "%s", path.c_str());
  std::snprintf(failure->detail, sizeof failure->detail, "%s", detail);
  return status;
}

bool ReadFileInfo(int fd, const char* name, FileInfo* out) noexcept {
  struct statx info;
  const int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
  if (statx(fd, name, flags, STATX_BASIC_STATS, &info) != 0) return false;
  out->mode = info.stx_mode;
  out->uid = info.stx_uid;
  out->links = info.stx_nlink;
  out->bytes = info.stx_size;
  out->blocks_512 = info.stx_blocks;
  out->device = uint64_t{info.stx_dev_major} << 32 | info.stx_dev_minor;
  out->inode = info.stx_ino;
  return true;
}

bool IsValidName(std::string_view name) noexcept {
  if (name.empty() || name.size() > kMaxNameBytes) return false;
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!plain && (i == 0 || (c != '_' && c != '-'))) return false;
  }
  return true;
}

std::string DefaultBasePath() {
  const char* chosen = std::getenv("CFC_DIR");
  if (chosen && *chosen) return chosen;
  return "/dev/shm/cfc-" + std::to_string(geteuid());
}

uint64_t FreeBytes(const Directory& directory) noexcept {
  struct statfs info;
  if (fstatfs(directory.fd(), &info) != 0) return 0;
  return static_cast<uint64_t>(info.f_bavail) * static_cast<uint64_t>(info.f_bsize);
}

Status Directory::Open(const std::string& path, bool create, Directory* out, Failure* failure) {
  if (create && mkdir(path.c_str(), 0700) == 0) {
    FileInfo made;  // the umask may have taken rights from us
    if (ReadFileInfo(AT_FDCWD, path.c_str(), &made) && S_ISDIR(made.mode) &&
        (made.mode & 0700) != 0700) {
      chmod(path.c_str(), 0700);
    }
  } else if (create && errno != EEXIST) {
    if (errno == ENOSPC) return Fail(failure, Status::kNoSpace, "mkdir", path);
    return Fail(failure, Status::kSystem, "mkdir", path);
  }
  Descriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return OpenFailure(failure, path);
  FileInfo info;
  if (!ReadFileInfo(fd.get(), "", &info)) return Fail(failure, Status::kSystem, "statx", path);
  const Status status = CheckOwned(info, S_IFDIR, path, failure);
  if (status != Status::kOk) return status;
  out->fd_ = static_cast<Descriptor&&>(fd);
  out->path_ = path;
  return Status::kOk;
}

Status Directory::OpenChild(std::string_view name, Directory* out, Failure* failure) const {
  const std::string child(name);
  const std::string path = path_ + "/" + child;
  Descriptor fd(openat(fd_.get(), child.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return OpenFailure(failure, path);
  FileInfo info;
  if (!ReadFileInfo(fd.get(), "", &info)) return Fail(failure, Status::kSystem, "statx", path);
  const Status status = CheckOwned(info, S_IFDIR, path, failure);
  if (status != Status::kOk) return status;
  out->fd_ = static_cast<Descriptor&&>(fd);
  out->path_ = path;
  return Status::kOk;
}

bool Directory::Removed() const noexcept {
  FileInfo info;
  return !ReadFileInfo(fd_.get(), "", &info) || info.links == 0;
}

Region& Region::operator=(Region&& other) noexcept {
  if (this != &other) {
    Unmap();
    base_ = other.base_;
    bytes_ = other.bytes_;
    guard_ = other.guard_;
    std::memcpy(copy_, other.copy_, sizeof copy_);
    other.base_ = nullptr;
    other.guard_ = -1;
  }
  return *this;
}

void Region::Unmap() noexcept {
  UnguardRange(guard_);
  guard_ = -1;
  if (base_) munmap(base_, bytes_);
  base_ = nullptr;
}

bool Region::Lost() const noexcept { return GuardedRangeLost(guard_); }

Status Region::Begin(const Directory& directory, const std::string& name, FileHeader header,
                     uint64_t bytes, Pending* pending, Region* out, Failure* failure) {
  const std::string path = directory.path() + "/" + name;
  pending->file = Descriptor(openat(directory.fd(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!pending->file.valid()) {
    if (errno == ENOSPC) return Fail(failure, Status::kNoSpace, "openat", path);
    // Not every file system (and not every sandbox) has unnamed files.
    static std::atomic<uint32_t> serial{0};
    pending->temporary = ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(++serial);
    pending->file = Descriptor(openat(directory.fd(), pending->temporary.c_str(),
                                      O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0600));
    if (!pending->file.valid()) {
      return Fail(failure, errno == ENOSPC ? Status::kNoSpace : Status::kSystem, "openat", path);
    }
  }
  const auto give_up = [&](Status status, const char* syscall) {
    Fail(failure, status, syscall, path);
    if (failure && status == Status::kNoSpace) {
      failure->need_bytes = bytes;
      failure->have_bytes = FreeBytes(directory);
    }
    if (!pending->temporary.empty()) unlinkat(directory.fd(), pending->temporary.c_str(), 0);
    return status;
  };
  if (fchmod(pending->file.get(), 0600) != 0) return give_up(Status::kSystem, "fchmod");
  int result;
  do {
    result = posix_fallocate(pending->file.get(), 0, static_cast<off_t>(bytes));
  } while (result == EINTR);
  if (result != 0) {
    errno = result;
    return give_up(result == ENOSPC || result == EFBIG ? Status::kNoSpace : Status::kSystem,
                   "fallocate");
  }
  out->Unmap();
  const Status status =
      Map(pending->file.get(), bytes, /*writable=*/true, path, &out->base_, failure);
  if (status != Status::kOk) {
    if (!pending->temporary.empty()) unlinkat(directory.fd(), pending->temporary.c_str(), 0);
    return status;
  }
  out->bytes_ = bytes;
  header.magic = kMagic;
  header.layout_major = kLayoutMajor;
  header.layout_minor = kLayoutMinor;
  header.compatible_features = 0;
  header.incompatible_features = 0;
  header.layout_hash = LayoutHash();
  header.byte_order = kByteOrderMark;
  header.page_bytes = static_cast<uint32_t>(sysconf(_SC_PAGESIZE));
  header.file_bytes = bytes;
  header.created_at_ms = static_cast<uint64_t>(RealTimeNs() / 1'000'000);
  ReadBootId(header.boot_id);
  header.checksum = HeaderChecksum(header);
  std::memcpy(out->base_, &header, offsetof(FileHeader, ready));
  return Status::kOk;
}

Status Region::Publish(const Directory& directory, const std::string& name, Pending* pending,
                       Region* out, Failure* failure) {
  const std::string path = directory.path() + "/" + name;
  auto* header = reinterpret_cast<FileHeader*>(out->base_);
  header->ready = kMagic;
  std::memcpy(out->copy_, header, sizeof *header);
  CFC_FAIL_POINT("region.ready");
  int linked;
  if (pending->temporary.empty()) {
    const std::string self = "/proc/self/fd/" + std::to_string(pending->file.get());
    linked = linkat(AT_FDCWD, self.c_str(), directory.fd(), name.c_str(), AT_SYMLINK_FOLLOW);
  } else {
    linked = linkat(directory.fd(), pending->temporary.c_str(), directory.fd(), name.c_str(), 0);
    const int reason = errno;
    unlinkat(directory.fd(), pending->temporary.c_str(), 0);
    errno = reason;
  }
  if (linked != 0) {
    const int reason = errno;
    out->Unmap();
    errno = reason;
    if (reason == EEXIST) return Fail(failure, Status::kExists, "linkat", path);
    if (reason == ENOENT) return Fail(failure, Status::kRemoved, "linkat", path);
    return Fail(failure, reason == ENOSPC ? Status::kNoSpace : Status::kSystem, "linkat", path);
  }
  CFC_FAIL_POINT("region.linked");
  out->guard_ = GuardRange(out->base_, out->bytes_);
  return Status::kOk;
}

Status Region::Attach(const Directory& directory, const std::string& name, FileKind kind,
                      const uint8_t* uuid, bool writable, Region* out, Failure* failure) {
  const std::string path = directory.path() + "/" + name;
  const Descriptor file(
      openat(directory.fd(), name.c_str(),
             (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return OpenFailure(failure, path);
  FileInfo info;
  if (!ReadFileInfo(file.get(), "", &info)) return Fail(failure, Status::kSystem, "statx", path);
  // Two links are the moment between link and unlink of a file published without unnamed files.
  if (info.links == 2 && S_ISREG(info.mode)) {
    for (int i = 0; i < 50 && info.links == 2; ++i) {
      usleep(1000);
      if (!ReadFileInfo(file.get(), "", &info)) break;
    }
  }
  Status status = CheckOwned(info, S_IFREG, path, failure);
  if (status != Status::kOk) return status;
  const auto bytes = info.bytes;
  FileHeader header;
  const ssize_t got = pread(file.get(), &header, sizeof header, 0);
  errno = 0;
  if (got != static_cast<ssize_t>(sizeof header) || bytes < kHeaderBytes) {
    return Fail(failure, Status::kCorrupt, "pread", path, "it is shorter than a header");
  }
  status = CheckHeader(header, kind, uuid, bytes, path, failure);
  if (status != Status::kOk) return status;
  out->Unmap();
  status = Map(file.get(), bytes, writable, path, &out->base_, failure);
  if (status != Status::kOk) return status;
  out->bytes_ = bytes;
  std::memcpy(out->copy_, &header, sizeof header);
  out->guard_ = GuardRange(out->base_, out->bytes_);
  return Status::kOk;
}

Status CreateLockFile(const Directory& directory, const std::string& name, Failure* failure) {
  const Descriptor file(
      openat(directory.fd(), name.c_str(), O_CREAT | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0600));
  if (!file.valid()) {
    return Fail(failure, errno == ENOSPC ? Status::kNoSpace : Status::kSystem, "openat",
                directory.path() + "/" + name);
  }
  fchmod(file.get(), 0600);
  return Status::kOk;
}

}  // namespace cfc
