// Fabric, its files: creating, opening, checking and removing them.
#include "fabric_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "clock.h"
#include "failpoint.h"

namespace cfc {
namespace {

constexpr const char* kControlName = "control";
constexpr int kMostTries = 100;  // where others create and destroy at the same time

uint64_t RoundUp(uint64_t bytes, uint64_t step) noexcept {
  return (bytes + step - 1) / step * step;
}

// Where the parts of the control file lie.
struct ControlCut {
  uint64_t words, slots, wants, entries, bytes;
  uint32_t entry_count;
};

ControlCut CutControl(uint32_t max_agents, uint32_t max_participants) noexcept {
  ControlCut cut;
  cut.entry_count = 64;
  while (cut.entry_count < 2 * max_agents) cut.entry_count *= 2;
  cut.words = kHeaderBytes;
  cut.slots = RoundUp(cut.words + sizeof(ControlWords), kHeaderBytes);
  cut.wants = cut.slots + uint64_t{max_participants + 1} * sizeof(Slot);
  cut.entries = RoundUp(
      cut.wants + uint64_t{Wants::PerClass(max_participants + 1)} * kRoomClasses * sizeof(uint64_t),
      kHeaderBytes);
  cut.bytes = RoundUp(cut.entries + uint64_t{cut.entry_count} * sizeof(Entry), kHeaderBytes);
  return cut;
}

bool Sensible(const FabricOptions& options) noexcept {
  return options.max_agents >= 1 && options.max_agents <= 100'000 &&
         options.max_participants >= 1 && options.max_participants <= kMaxSlots &&
         options.mailbox_cells >= 1 && options.mailbox_cells <= kMaxLaneCells &&
         options.mail_segment_bytes >= 1u << 16 && options.mail_segment_bytes <= 1u << 30 &&
         options.slab_segment_bytes >= 1u << 19 && options.slab_segment_bytes <= 1u << 30 &&
         options.slab_max_bytes <= uint64_t{1} << 40 && options.histograms <= 65'536 &&
         options.max_topics <= kMaxTopics && options.topic_cells >= 1 &&
         options.topic_cells <= kMaxLaneCells && options.topic_subscribers >= 1 &&
         options.topic_subscribers <= kMaxSubscribers && options.attempt_limit <= kMaxAttempt;
}

// Removes a directory of ours with plain files in it.
void RemoveTree(int parent, const char* name) noexcept {
  const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  if (DIR* const dir = fdopendir(fd)) {
    while (const dirent* const entry = readdir(dir)) {
      if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
      unlinkat(fd, entry->d_name, 0);
    }
    closedir(dir);
  } else {
    close(fd);
  }
  unlinkat(parent, name, AT_REMOVEDIR);
}

bool StandsAt(const Directory& parent, const std::string& name, const Directory& child) noexcept {
  FileInfo there;
  FileInfo ours;
  return ReadFileInfo(parent.fd(), name.c_str(), &there) && ReadFileInfo(child.fd(), "", &ours) &&
         there.device == ours.device && there.inode == ours.inode;
}

// What creators and destroyers that died left behind: half made directories carry a lock that the
// kernel dropped with them.
void SweepLeftovers(const Directory& base) noexcept {
  const int fd = openat(base.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  DIR* const dir = fdopendir(fd);
  if (!dir) {
    close(fd);
    return;
  }
  while (const dirent* const entry = readdir(dir)) {
    if (std::strncmp(entry->d_name, ".new-", 5) != 0 &&
        std::strncmp(entry->d_name, ".old-", 5) != 0) {
      continue;
    }
    const Descriptor half(
        openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (half.valid() && flock(half.get(), LOCK_EX | LOCK_NB) == 0) RemoveTree(fd, entry->d_name);
  }
  closedir(dir);
}

std::string TemporaryName(const char* prefix) {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) {
    number = static_cast<uint64_t>(MonotonicNs());
  }
  char text[48];
  std::snprintf(text, sizeof text, ".%s-%d-%016llx", prefix, getpid(),
                static_cast<unsigned long long>(number));
  return text;
}

Status InvalidName(std::string_view name, Failure* failure) {
  errno = 0;
  return Fail(failure, Status::kInvalid, "", std::string(name),
              "a name begins with a letter or digit and has up to 64 of A-Z a-z 0-9 _ -");
}

Status OpenBase(const std::string& base, bool create, Directory* out, Failure* failure) {
  return Directory::Open(base.empty() ? DefaultBasePath() : base, create, out, failure);
}

// Fills the new directory: metrics, lease files and, last, the control file.
Status FillDirectory(const Directory& directory, const FabricOptions& options, Failure* failure) {
  const ControlCut cut = CutControl(options.max_agents, options.max_participants);
  FileHeader header = {};
  header.kind = static_cast<uint32_t>(FileKind::kControl);
  if (getrandom(header.fabric_uuid, sizeof header.fabric_uuid, 0) != sizeof header.fabric_uuid) {
    return Fail(failure, Status::kSystem, "getrandom", directory.path());
  }
  header.geometry[0] = uint64_t{options.max_agents} << 32 | options.max_participants;
  header.geometry[1] = options.mailbox_cells;
  header.geometry[2] = options.mail_segment_bytes;
  header.geometry[3] = options.slab_segment_bytes;
  header.geometry[4] = options.slab_max_bytes;
  header.geometry[5] = options.sender_slab_bytes;
  header.geometry[6] = uint64_t{options.attempt_limit} << 32 | options.histograms;
  header.geometry[7] = uint64_t{options.max_topics} << 48 |
                       uint64_t{options.topic_subscribers} << 32 | options.topic_cells;

  Status status =
      Metrics::Create(directory, header.fabric_uuid, cut.entry_count, options.histograms, failure);
  if (status != Status::kOk) return status;
  for (uint32_t i = 0; i < kLeaseFiles; ++i) {
    char name[16];
    LeaseFileName(i, name);
    status = CreateLockFile(directory, name, failure);
    if (status != Status::kOk) return status;
  }
  Region control;
  return Region::Create(
      directory, kControlName, header, cut.bytes,
      [&](uint8_t* base) {
        auto* words = reinterpret_cast<ControlWords*>(base + cut.words);
        words->next_uid.store(1);
      },
      &control, failure);
}

// A new directory, with a lock on it as the sign of our life. kBusy: begin again; a sweep took it
// for a leftover before we had the lock, or the parent went away with its last fabric.
Status MakeFresh(const Directory& parent, std::string* temporary, Directory* fresh,
                 Failure* failure) {
  *temporary = TemporaryName("new");
  const std::string path = parent.path() + "/" + *temporary;
  if (mkdirat(parent.fd(), temporary->c_str(), 0700) != 0) {
    if (errno == ENOENT) return Fail(failure, Status::kBusy, "mkdirat", path);
    return Fail(failure, errno == ENOSPC ? Status::kNoSpace : Status::kSystem, "mkdirat", path);
  }
  fchmodat(parent.fd(), temporary->c_str(), 0700, 0);  // whatever the umask
  const Status status = parent.OpenChild(*temporary, fresh, failure);
  if (status == Status::kNoFabric) return Status::kBusy;
  if (status != Status::kOk) {
    unlinkat(parent.fd(), temporary->c_str(), AT_REMOVEDIR);
    return status;
  }
  if (flock(fresh->fd(), LOCK_EX | LOCK_NB) != 0 || fresh->Removed()) {
    return Fail(failure, Status::kBusy, "flock", path);
  }
  return Status::kOk;
}

// Fills the new directory and gives it its name.
Status FillAndName(const Directory& parent, const std::string& temporary, const Directory& fresh,
                   const std::string& name, const FabricOptions& options, Failure* failure) {
  FileInfo info;
  if (ReadFileInfo(parent.fd(), name.c_str(), &info)) {
    Directory existing;  // says what is in the way, if it is no fabric of ours
    const Status status = parent.OpenChild(name, &existing, failure);
    if (status != Status::kOk) return status;
    errno = 0;
    return Fail(failure, Status::kExists, "", existing.path());
  }
  const Status status = FillDirectory(fresh, options, failure);
  CFC_FAIL_POINT("fabric.filled");
  if (status != Status::kOk) return status;
  if (syscall(SYS_renameat2, parent.fd(), temporary.c_str(), parent.fd(), name.c_str(),
              1 /* RENAME_NOREPLACE */) != 0) {
    const bool taken = errno == EEXIST || errno == ENOTEMPTY;
    return Fail(failure, taken ? Status::kExists : Status::kSystem, "renameat2",
                parent.path() + "/" + name);
  }
  return Status::kOk;
}

}  // namespace

Status Fabric::Create(std::string_view name, const std::string& base, const FabricOptions& options,
                      std::unique_ptr<Fabric>* out, Failure* failure) {
  if (!IsValidName(name)) return InvalidName(name, failure);
  if (!Sensible(options)) {
    errno = 0;
    return Fail(failure, Status::kInvalid, "", std::string(name), "a capacity is out of range");
  }
  Directory parent;
  Directory fresh;
  std::string temporary;
  Status status = Status::kBusy;
  for (int tries = 0; tries < kMostTries && status == Status::kBusy; ++tries) {
    status = OpenBase(base, /*create=*/true, &parent, failure);
    if (status == Status::kNoFabric) {  // it went between our two looks
      status = Status::kBusy;
      continue;
    }
    if (status != Status::kOk) return status;
    SweepLeftovers(parent);
    status = MakeFresh(parent, &temporary, &fresh, failure);
  }
  if (status != Status::kOk) return status;
  status = FillAndName(parent, temporary, fresh, std::string(name), options, failure);
  if (status != Status::kOk) {
    RemoveTree(parent.fd(), temporary.c_str());
    return status;
  }
  return Open(name, base, out, failure);
}

Status Fabric::Open(std::string_view name, const std::string& base, std::unique_ptr<Fabric>* out,
                    Failure* failure) {
  if (!IsValidName(name)) return InvalidName(name, failure);
  Directory parent;
  Status status = OpenBase(base, /*create=*/false, &parent, failure);
  if (status != Status::kOk) return status;
  std::unique_ptr<Fabric> fabric(new Fabric());
  fabric->name_ = std::string(name);
  status = parent.OpenChild(name, &fabric->directory_, failure);
  if (status != Status::kOk) return status;
  status = fabric->AttachFiles(failure);
  if (status == Status::kNoFabric && StandsAt(parent, fabric->name_, fabric->directory_)) {
    // Not just being destroyed, and it got its name when it had all its files.
    if (failure) std::snprintf(failure->detail, sizeof failure->detail, "it is missing");
    return Status::kCorrupt;
  }
  if (status != Status::kOk) return status;
  *out = static_cast<std::unique_ptr<Fabric>&&>(fabric);
  return Status::kOk;
}

Status Fabric::OpenOrCreate(std::string_view name, const std::string& base,
                            const FabricOptions& options, std::unique_ptr<Fabric>* out,
                            Failure* failure) {
  // Another process may create or destroy it between our two looks.
  Status status = Status::kBusy;
  for (int tries = 0; tries < kMostTries; ++tries) {
    status = Open(name, base, out, failure);
    if (status != Status::kNoFabric) return status;
    status = Create(name, base, options, out, failure);
    if (status != Status::kExists && status != Status::kNoFabric) return status;
  }
  return status;
}

Status Fabric::Destroy(std::string_view name, const std::string& base, Failure* failure) {
  if (!IsValidName(name)) return InvalidName(name, failure);
  Directory parent;
  Status status = OpenBase(base, /*create=*/false, &parent, failure);
  if (status != Status::kOk) return status;
  Directory doomed;
  status = parent.OpenChild(name, &doomed, failure);
  if (status != Status::kOk) return status;
  const std::string target(name);
  const std::string temporary = TemporaryName("old");
  flock(doomed.fd(), LOCK_EX | LOCK_NB);
  if (renameat(parent.fd(), target.c_str(), parent.fd(), temporary.c_str()) != 0) {
    return Fail(failure, errno == ENOENT ? Status::kNoFabric : Status::kSystem, "renameat",
                doomed.path());
  }
  RemoveTree(parent.fd(), temporary.c_str());
  rmdir(parent.path().c_str());  // goes only when it was the last one
  return Status::kOk;
}

Status Fabric::AttachFiles(Failure* failure) {
  Status status = Region::Attach(directory_, kControlName, FileKind::kControl, nullptr,
                                 /*writable=*/true, &control_, failure);
  if (status != Status::kOk) return status;
  const uint64_t* geometry = control_.header().geometry;
  options_.max_agents = static_cast<uint32_t>(geometry[0] >> 32);
  options_.max_participants = static_cast<uint32_t>(geometry[0]);
  options_.mailbox_cells = static_cast<uint32_t>(geometry[1]);
  options_.mail_segment_bytes = geometry[2];
  options_.slab_segment_bytes = geometry[3];
  options_.slab_max_bytes = geometry[4];
  options_.sender_slab_bytes = geometry[5];
  options_.histograms = static_cast<uint32_t>(geometry[6]);
  options_.attempt_limit = static_cast<uint32_t>(geometry[6] >> 32);
  options_.topic_cells = static_cast<uint32_t>(geometry[7]);
  options_.topic_subscribers = static_cast<uint32_t>(geometry[7] >> 32) & 0xffff;
  options_.max_topics = static_cast<uint32_t>(geometry[7] >> 48);
  const std::string path = directory_.path() + "/" + kControlName;
  errno = 0;
  if (!Sensible(options_)) {
    return Fail(failure, Status::kCorrupt, "", path, "a capacity is out of range");
  }
  const ControlCut cut = CutControl(options_.max_agents, options_.max_participants);
  if (cut.bytes != control_.bytes()) {
    return Fail(failure, Status::kCorrupt, "", path, "its size does not fit its capacities");
  }
  uint8_t* const base = control_.base();
  words_ = reinterpret_cast<ControlWords*>(base + cut.words);
  slots_ = reinterpret_cast<Slot*>(base + cut.slots);
  wants_ = Wants(reinterpret_cast<NativeMemory::Word*>(base + cut.wants), slots() + 1);
  entries_ = reinterpret_cast<Entry*>(base + cut.entries);
  entry_count_ = cut.entry_count;
  status = metrics_.Attach(directory_, uuid(), /*writable=*/true, failure);
  if (status != Status::kOk) return status;
  mail_.Open(&directory_, uuid(), options_.mail_segment_bytes, &words_->growth_turns);
  slab_.Open(&directory_, uuid(), options_.slab_segment_bytes, options_.slab_max_bytes,
             &words_->growth_turns);
  topics_.Open(&directory_, uuid(), options_.topic_cells, options_.topic_subscribers,
               options_.max_topics);
  return Status::kOk;
}

bool Fabric::Lost() const noexcept {
  return control_.Lost() || mail_.Lost() || slab_.Lost() || topics_.Lost() ||
         metrics_.region().Lost();
}

Status Fabric::Check() const noexcept {
  if (Lost()) return Status::kCorrupt;
  return directory_.Removed() ? Status::kRemoved : Status::kOk;
}

uint64_t Fabric::BytesOfNew(const FabricOptions& options) noexcept {
  const ControlCut cut = CutControl(options.max_agents, options.max_participants);
  return cut.bytes + RoundUp(Metrics::FileBytes(cut.entry_count, options.histograms), kHeaderBytes);
}

uint64_t Fabric::SharedBytes() const noexcept {
  uint64_t total = 0;
  const int fd = openat(directory_.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const dir = fd >= 0 ? fdopendir(fd) : nullptr;
  if (!dir) {
    if (fd >= 0) close(fd);
    return 0;
  }
  while (const dirent* const entry = readdir(dir)) {
    FileInfo info;
    if (ReadFileInfo(fd, entry->d_name, &info) && S_ISREG(info.mode)) {
      total += info.blocks_512 * 512;
    }
  }
  closedir(dir);
  return total;
}

}  // namespace cfc
