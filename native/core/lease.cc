#include "lease.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <mutex>

namespace cfc {
namespace {

constexpr int kMost = 4096;

std::atomic<int> held[kMost];  // 1 + descriptor, 0: free
std::atomic<uint32_t> forks{0};
// Held while a lock is taken and not yet in the table: no fork falls between the two.
std::mutex taking;

void BeforeFork() { taking.lock(); }
void AfterFork() { taking.unlock(); }

void CloseInChild() {
  for (auto& entry : held) {
    const int fd = entry.exchange(0) - 1;
    if (fd >= 0) close(fd);
  }
  forks.fetch_add(1);
  taking.unlock();
}

struct flock ByteOf(uint32_t slot, short type) noexcept {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = slot / kLeaseFiles;
  lock.l_len = 1;
  return lock;
}

Descriptor OpenLeaseFile(const Directory& directory, uint32_t slot) noexcept {
  char name[16];
  LeaseFileName(slot, name);
  return Descriptor(openat(directory.fd(), name, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
}

bool HeldBy(const Descriptor& file, uint32_t slot) noexcept {
  if (!file.valid()) return true;
  struct flock lock = ByteOf(slot, F_WRLCK);
  if (fcntl(file.get(), F_OFD_GETLK, &lock) != 0) return true;
  return lock.l_type != F_UNLCK;
}

}  // namespace

uint32_t ForkGeneration() noexcept { return forks.load(std::memory_order_relaxed); }

void LeaseFileName(uint32_t slot, char out[16]) noexcept {
  std::snprintf(out, 16, "lease.%02u", slot % kLeaseFiles);
}

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    Release();
    index_ = other.index_;
    other.index_ = -1;
  }
  return *this;
}

Status Lease::Acquire(const Directory& directory, uint32_t slot, Lease* out) noexcept {
  static const int registered = pthread_atfork(BeforeFork, AfterFork, CloseInChild);
  if (registered != 0) return Status::kSystem;
  const std::lock_guard<std::mutex> lock_out_forks(taking);
  char name[16];
  LeaseFileName(slot, name);
  Descriptor fd(openat(directory.fd(), name, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return errno == ENOENT ? Status::kRemoved : Status::kSystem;
  struct flock lock = ByteOf(slot, F_WRLCK);
  if (fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    return errno == EAGAIN || errno == EACCES ? Status::kLeaseHeld : Status::kSystem;
  }
  for (int i = 0; i < kMost; ++i) {
    int free = 0;
    if (!held[i].compare_exchange_strong(free, fd.get() + 1)) continue;
    fd.Release();
    out->Release();
    out->index_ = i;
    return Status::kOk;
  }
  return Status::kSlotsFull;
}

void Lease::Release() noexcept {
  if (index_ < 0) return;
  const int fd = held[index_].exchange(0) - 1;  // already gone in a forked child
  if (fd >= 0) close(fd);
  index_ = -1;
}

bool GrowthTurn::Try() noexcept {
  if (!fd_.valid()) {
    char name[16];
    LeaseFileName(0, name);
    fd_ = Descriptor(openat(directory_.fd(), name, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    if (!fd_.valid()) return true;  // in doubt it is nobody's
  }
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 1 + kMaxSlots / kLeaseFiles;  // behind the bytes of the slots
  lock.l_len = 1;
  held_ = fcntl(fd_.get(), F_OFD_SETLK, &lock) == 0;
  return held_ || (errno != EAGAIN && errno != EACCES);
}

GrowthTurn::~GrowthTurn() {
  if (!held_ && !made_) return;
  fd_.Reset();  // before they are woken
  turns_->fetch_add(1);
  FutexWake(turns_, made_ ? INT_MAX : 1);
}

bool LeaseTester::Held(uint32_t slot) noexcept {
  if (file_ != slot % kLeaseFiles || !fd_.valid()) {
    fd_ = OpenLeaseFile(*directory_, slot);
    file_ = slot % kLeaseFiles;
  }
  return HeldBy(fd_, slot);
}

bool LeaseSurvey::Held(uint32_t slot) noexcept {
  Descriptor& file = files_[slot % kLeaseFiles];
  if (!file.valid()) file = OpenLeaseFile(*directory_, slot);
  return HeldBy(file, slot);
}

}  // namespace cfc
