// Region: the files of a fabric, safely opened, mapped and published.
//
// A directory is used only if it is ours and closed to others; a file only if it is a plain file
// with one link, ours, closed to others, of the size that its header says and of our layout. What
// fails any of these is refused with a Failure that says whose it is and why.
//
// A file is filled in unnamed and published whole, and a fabric's directory is made under a
// temporary name and renamed: nobody ever sees one half made. Memory is reserved (fallocate)
// before it is touched, so a full file system is kNoSpace here and never a SIGBUS later.
//
// Ownership: a Region unmaps itself; Directory closes its descriptor. Neither removes anything.
// Threads: const members from any; the rest from one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "layout.h"
#include "status.h"

namespace cfc {

// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { Reset(); }

  int get() const noexcept { return fd_; }
  bool valid() const noexcept { return fd_ >= 0; }
  int Release() noexcept {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void Reset() noexcept;

 private:
  int fd_ = -1;
};

// What we ask of a file. By statx: glibc's fstat is a symbol too young for older systems.
struct FileInfo {
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t links = 0;
  uint64_t bytes = 0;
  uint64_t blocks_512 = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
};
// name empty: of `fd` itself; else of that entry of the directory, not following a link. Sets
// errno.
bool ReadFileInfo(int fd, const char* name, FileInfo* out) noexcept;

// [A-Za-z0-9][A-Za-z0-9_-]{0,63}
bool IsValidName(std::string_view name) noexcept;

// Where fabrics live: $CFC_DIR, else /dev/shm/cfc-<uid>.
std::string DefaultBasePath();

class Directory {
 public:
  // Opens `path`, which must be ours with mode 0700. create: makes it if it is missing.
  // kNoFabric (missing), kForeign, kNotRegular, kSystem.
  static Status Open(const std::string& path, bool create, Directory* out, Failure* failure);
  // Opens a directory inside this one, with the same demands.
  Status OpenChild(std::string_view name, Directory* out, Failure* failure) const;

  int fd() const noexcept { return fd_.get(); }
  const std::string& path() const noexcept { return path_; }
  // True once somebody removed it: what is mapped still works, but nobody else can find it.
  bool Removed() const noexcept;

 private:
  Descriptor fd_;
  std::string path_;
};

class Region {
 public:
  Region() noexcept = default;
  Region(Region&& other) noexcept { *this = static_cast<Region&&>(other); }
  Region& operator=(Region&& other) noexcept;
  ~Region() { Unmap(); }

  // Makes `name` in `directory`, zeroed, with `header` at its front (magic, versions, sizes and
  // checksum are filled in here), calls fill(base) before anybody can see it, and publishes it.
  // kExists where the name is taken: attach to that one instead. kNoSpace, kSystem.
  template <class Fill>
  static Status Create(const Directory& directory, const std::string& name, FileHeader header,
                       uint64_t bytes, Fill&& fill, Region* out, Failure* failure) {
    Pending pending;
    const Status status = Begin(directory, name, header, bytes, &pending, out, failure);
    if (status != Status::kOk) return status;
    fill(out->base());
    return Publish(directory, name, &pending, out, failure);
  }

  // uuid: the fabric's, or null for the file that defines it. writable: false maps it read-only.
  // kNoFabric (missing), kForeign, kNotRegular, kCorrupt, kLayout, kSystem.
  static Status Attach(const Directory& directory, const std::string& name, FileKind kind,
                       const uint8_t* uuid, bool writable, Region* out, Failure* failure);

  bool mapped() const noexcept { return base_ != nullptr; }
  uint8_t* base() const noexcept { return base_; }
  uint64_t bytes() const noexcept { return bytes_; }
  // The header as it was checked when the file was mapped, not as it is now.
  const FileHeader& header() const noexcept { return *reinterpret_cast<const FileHeader*>(copy_); }
  // True once the file under the mapping was truncated: contents are gone, the process lives.
  bool Lost() const noexcept;
  void Unmap() noexcept;

 private:
  struct Pending {
    Descriptor file;
    std::string temporary;  // a name to link from where the file system has no unnamed files
  };
  static Status Begin(const Directory& directory, const std::string& name, FileHeader header,
                      uint64_t bytes, Pending* pending, Region* out, Failure* failure);
  static Status Publish(const Directory& directory, const std::string& name, Pending* pending,
                        Region* out, Failure* failure);

  uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
  int guard_ = -1;
  alignas(8) uint8_t copy_[sizeof(FileHeader)] = {};
};

// Makes an empty file of mode 0600 (the lease files, which are only ever locked). kExists is fine.
Status CreateLockFile(const Directory& directory, const std::string& name, Failure* failure);

// Fills in a Failure from errno and returns `status`.
Status Fail(Failure* failure, Status status, const char* syscall, const std::string& path,
            const char* detail = "") noexcept;

// Free bytes of the file system that holds `directory`.
uint64_t FreeBytes(const Directory& directory) noexcept;

}  // namespace cfc
