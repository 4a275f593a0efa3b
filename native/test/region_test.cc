#include "core/region.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "core/guard.h"
#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::TempBase;

constexpr uint64_t kBytes = 3 * kHeaderBytes;
constexpr uid_t kStranger = 54'321;

FileHeader HeaderOf(FileKind kind) {
  FileHeader header = {};
  header.kind = static_cast<uint32_t>(kind);
  for (uint8_t i = 0; i < 16; ++i) header.fabric_uuid[i] = i + 1;
  header.geometry[0] = 7;
  return header;
}

// A directory with one region, `file`, in it.
class TestRegion {
 public:
  TestRegion() {
    REQUIRE(Directory::Open(base_.path(), false, &directory, nullptr) == Status::kOk);
    REQUIRE(Create("file") == Status::kOk);
  }
  Status Create(const std::string& name, uint64_t bytes = kBytes) {
    return Region::Create(
        directory, name, HeaderOf(FileKind::kSlab), bytes,
        [](uint8_t* base) { std::memcpy(base + kHeaderBytes, "content", 8); }, &made, &failure);
  }
  Status Attach(const std::string& name = "file", FileKind kind = FileKind::kSlab,
                const uint8_t* uuid = HeaderOf(FileKind::kSlab).fabric_uuid) {
    failure = Failure();
    (void)uuid;
    return Region::Attach(directory, name, kind, HeaderOf(FileKind::kSlab).fabric_uuid, true,
                          &attached, &failure);
  }
  std::string path(const std::string& name = "file") const { return base_.path() + "/" + name; }
  const std::string& base() const { return base_.path(); }

 private:
  TempBase base_;

 public:
  Directory directory;
  Region made;
  Region attached;
  Failure failure;
};

TEST_CASE("Region: what one creates another attaches, mode 0600 whatever the umask") {
  for (const mode_t mask : {0, 022, 0777}) {
    const mode_t before = umask(mask);
    TestRegion test;
    umask(before);
    REQUIRE(test.Attach() == Status::kOk);
    CHECK(std::string(reinterpret_cast<char*>(test.attached.base() + kHeaderBytes)) == "content");
    CHECK(test.attached.bytes() == kBytes);
    CHECK(test.attached.header().geometry[0] == 7);
    FileInfo info;
    REQUIRE(ReadFileInfo(test.directory.fd(), "file", &info));
    CHECK((info.mode & 07777) == 0600);
    CHECK(info.links == 1);
    CHECK(info.blocks_512 * 512 >= kBytes);  // reserved, not sparse
    test.made.base()[kHeaderBytes] = 'C';
    CHECK(test.attached.base()[kHeaderBytes] == 'C');
  }
}

TEST_CASE("Region.Create: a name that is taken stays as it is") {
  TestRegion test;
  CHECK(test.Create("file") == Status::kExists);
  CHECK(test.Attach() == Status::kOk);
  CHECK(TempBase::EntriesIn(test.base()) == 1);
}

TEST_CASE("Region.Create: in a directory that is gone says so") {
  TestRegion test;
  std::filesystem::remove_all(test.base());
  CHECK(test.directory.Removed());
  const Status status = test.Create("other");
  CHECK((status == Status::kRemoved || status == Status::kSystem));
}

TEST_CASE("Region.Attach: a missing file is kNoFabric, one of another kind or fabric is refused") {
  TestRegion test;
  CHECK(test.Attach("missing") == Status::kNoFabric);
  CHECK(test.failure.error_number == ENOENT);
  CHECK(test.Attach("file", FileKind::kMail) == Status::kCorrupt);
  const uint8_t other[16] = {99};
  CHECK(Region::Attach(test.directory, "file", FileKind::kSlab, other, true, &test.attached,
                       &test.failure) == Status::kCorrupt);
}

TEST_CASE("Region.Attach: read-only maps no writable page") {
  TestRegion test;
  REQUIRE(Region::Attach(test.directory, "file", FileKind::kSlab, nullptr, false, &test.attached,
                         &test.failure) == Status::kOk);
  Child child([&] {
    test.attached.base()[kHeaderBytes] = 1;
    return 0;
  });
  CHECK(child.ExitCode() != 0);
}

TEST_CASE("Region.Attach: every flipped bit of a header is found") {
  TestRegion test;
  const int fd = open(test.path().c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);
  uint8_t header[sizeof(FileHeader)];
  REQUIRE(pread(fd, header, sizeof header, 0) == sizeof header);
  uint32_t corrupt = 0;
  uint32_t layout = 0;
  for (size_t bit = 0; bit < 8 * sizeof header; ++bit) {
    CAPTURE(bit);
    const auto flipped = static_cast<uint8_t>(header[bit / 8] ^ 1u << bit % 8);
    REQUIRE(pwrite(fd, &flipped, 1, static_cast<off_t>(bit / 8)) == 1);
    const Status status = test.Attach();
    corrupt += status == Status::kCorrupt;
    layout += status == Status::kLayout;
    CHECK((status == Status::kCorrupt || status == Status::kLayout));
    CHECK(test.failure.detail[0] != 0);
    REQUIRE(pwrite(fd, &header[bit / 8], 1, static_cast<off_t>(bit / 8)) == 1);
  }
  CHECK(corrupt + layout == 8 * sizeof header);
  CHECK(layout >= 16);
  CHECK(test.Attach() == Status::kOk);
  close(fd);
}

TEST_CASE("Region.Attach: a file of another layout version says which") {
  TestRegion test;
  const int fd = open(test.path().c_str(), O_RDWR | O_CLOEXEC);
  const uint16_t major = kLayoutMajor + 1;
  REQUIRE(pwrite(fd, &major, 2, offsetof(FileHeader, layout_major)) == 2);
  close(fd);
  CHECK(test.Attach() == Status::kLayout);
  const std::string told = "layout " + std::to_string(major) + ".0";
  CHECK(std::string(test.failure.detail).find(told) != std::string::npos);
  CHECK(std::string(test.failure.path) == test.path());
}

TEST_CASE("Region.Attach: truncated files, of every length that matters") {
  TestRegion test;
  for (const off_t bytes : {0, 1, 100, static_cast<int>(sizeof(FileHeader)), 4095, 4096, 8192}) {
    CAPTURE(bytes);
    REQUIRE(truncate(test.path().c_str(), bytes) == 0);
    CHECK(test.Attach() == Status::kCorrupt);
  }
  REQUIRE(truncate(test.path().c_str(), kBytes + 1) == 0);
  CHECK(test.Attach() == Status::kCorrupt);
}

TEST_CASE("Region.Attach: what is in the way is refused for what it is") {
  TestRegion test;
  REQUIRE(symlink(test.path().c_str(), test.path("link").c_str()) == 0);
  CHECK(test.Attach("link") == Status::kNotRegular);
  REQUIRE(mkfifo(test.path("fifo").c_str(), 0600) == 0);
  CHECK(test.Attach("fifo") == Status::kNotRegular);  // and it doesn't wait for a writer
  REQUIRE(mkdir(test.path("dir").c_str(), 0700) == 0);
  const Status status = test.Attach("dir");
  CHECK((status == Status::kNotRegular || status == Status::kSystem));
  REQUIRE(link(test.path().c_str(), test.path("hard").c_str()) == 0);
  CHECK(test.Attach() == Status::kForeign);
  CHECK(std::string(test.failure.detail).find("link") != std::string::npos);
  REQUIRE(unlink(test.path("hard").c_str()) == 0);
  CHECK(test.Attach() == Status::kOk);
}

TEST_CASE("Region.Attach: modes that let others in are refused") {
  TestRegion test;
  for (const mode_t mode : {0604, 0602, 0640, 0660, 0666, 0601}) {
    REQUIRE(chmod(test.path().c_str(), mode) == 0);
    CHECK(test.Attach() == Status::kForeign);
  }
  REQUIRE(chmod(test.path().c_str(), 0600) == 0);
  CHECK(test.Attach() == Status::kOk);
}

TEST_CASE("Directory.Open: wants a directory, ours, closed to others") {
  TempBase base;
  Directory directory;
  Failure failure;
  const std::string path = base.path() + "/place";
  CHECK(Directory::Open(path, false, &directory, &failure) == Status::kNoFabric);
  CHECK(Directory::Open(path, true, &directory, &failure) == Status::kOk);
  for (const mode_t mode : {0750, 0705, 0777}) {
    REQUIRE(chmod(path.c_str(), mode) == 0);
    CHECK(Directory::Open(path, true, &directory, &failure) == Status::kForeign);
  }
  REQUIRE(rmdir(path.c_str()) == 0);
  REQUIRE(symlink(base.path().c_str(), path.c_str()) == 0);
  CHECK(Directory::Open(path, true, &directory, &failure) == Status::kNotRegular);
  REQUIRE(unlink(path.c_str()) == 0);
  std::ofstream(path) << "a file";
  CHECK(Directory::Open(path, true, &directory, &failure) == Status::kNotRegular);
}

TEST_CASE("Directory.Open, Region.Attach: refuse without anybody who wants to know why, too") {
  TestRegion region;
  REQUIRE(link(region.path().c_str(), region.path("another").c_str()) == 0);
  CHECK(Region::Attach(region.directory, "file", FileKind::kSlab, nullptr, true, &region.attached,
                       nullptr) == Status::kForeign);
  const char* const base = region.base().c_str();
  Directory refused;
  REQUIRE(chmod(base, 0755) == 0);
  CHECK(Directory::Open(base, false, &refused, nullptr) == Status::kForeign);
  REQUIRE(chmod(base, 0700) == 0);
  if (geteuid() == 0) {
    REQUIRE(chown(base, kStranger, kStranger) == 0);
    CHECK(Directory::Open(base, false, &refused, nullptr) == Status::kForeign);
    REQUIRE(chown(base, 0, 0) == 0);
  }
  CHECK(FreeBytes(region.directory) > 0);
  CHECK(FreeBytes(Directory()) == 0);
}

TEST_CASE("DefaultBasePath: is what the environment says, else one for each user") {
  const char* const before = std::getenv("CFC_DIR");
  const std::string kept = before ? before : "";
  setenv("CFC_DIR", "/somewhere", 1);
  CHECK(DefaultBasePath() == "/somewhere");
  setenv("CFC_DIR", "", 1);
  CHECK(DefaultBasePath() == "/dev/shm/cfc-" + std::to_string(geteuid()));
  unsetenv("CFC_DIR");
  CHECK(DefaultBasePath() == "/dev/shm/cfc-" + std::to_string(geteuid()));
  if (before) setenv("CFC_DIR", kept.c_str(), 1);
}

TEST_CASE("Directory.Open: is 0700 whatever the umask") {
  TempBase base;
  for (const mode_t mask : {0, 077, 0777}) {
    const std::string path = base.path() + "/place";
    Directory directory;
    const mode_t before = umask(mask);
    const Status status = Directory::Open(path, true, &directory, nullptr);
    umask(before);
    REQUIRE(status == Status::kOk);
    FileInfo info;
    REQUIRE(ReadFileInfo(directory.fd(), "", &info));
    CHECK((info.mode & 07777) == 0700);
    REQUIRE(rmdir(path.c_str()) == 0);
  }
}

TEST_CASE("Region, Directory: what belongs to another user is refused, and says whose it is") {
  if (geteuid() != 0) {
    MESSAGE("not checked: only root can make a file of somebody else's");
    return;
  }
  TestRegion test;
  REQUIRE(chown(test.path().c_str(), kStranger, kStranger) == 0);
  CHECK(test.Attach() == Status::kForeign);
  CHECK(test.failure.owner_uid == kStranger);

  const std::string path = test.path("theirs");
  REQUIRE(mkdir(path.c_str(), 0700) == 0);
  REQUIRE(chown(path.c_str(), kStranger, kStranger) == 0);
  Directory directory;
  Failure failure;
  CHECK(Directory::Open(path, true, &directory, &failure) == Status::kForeign);
  CHECK(failure.owner_uid == kStranger);
}

TEST_CASE("Region, Directory: another user gets nothing of ours") {
  if (geteuid() != 0) {
    MESSAGE("not checked: only root can act as somebody else");
    return;
  }
  TestRegion test;
  Child child([&] {
    if (setgid(kStranger) != 0 || setuid(kStranger) != 0) return 9;
    Failure failure;
    Directory directory;
    if (Directory::Open(test.base(), false, &directory, &failure) != Status::kForeign) return 1;
    if (failure.owner_uid != 0) return 2;
    // Even through a descriptor that it should not have.
    if (test.Attach() != Status::kForeign) return 3;
    return 0;
  });
  CHECK(child.ExitCode() == 0);
}

// ---- truncated while mapped

TEST_CASE("Region.Lost: a file truncated under the mapping is an error, and the process lives") {
  TestRegion test;
  REQUIRE(test.Attach() == Status::kOk);
  CHECK_FALSE(test.attached.Lost());
  REQUIRE(truncate(test.path().c_str(), kHeaderBytes) == 0);
  volatile uint8_t* const gone = test.attached.base() + 2 * kHeaderBytes;
  CHECK(*gone == 0);
  CHECK(test.attached.Lost());
  *gone = 5;  // private now
  CHECK(*gone == 5);
  CHECK_FALSE(test.made.Lost());  // its own mapping was not touched yet
  CHECK(test.made.base()[2 * kHeaderBytes + 1] == 0);
  CHECK(test.made.Lost());
}

TEST_CASE("Guard: a fault elsewhere goes where it went before") {
  TempBase base;
  const std::string path = base.path() + "/plain";
  Child child([&] {
    const int guarded = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (guarded < 0 || ftruncate(guarded, 8192) != 0) return 1;
    struct sigaction action = {};
    action.sa_handler = [](int) { _exit(77); };
    sigaction(SIGBUS, &action, nullptr);
    void* const first = mmap(nullptr, 8192, PROT_READ, MAP_SHARED, guarded, 0);
    void* const second = mmap(nullptr, 8192, PROT_READ, MAP_SHARED, guarded, 0);
    const int handle = GuardRange(first, 8192);
    if (handle < 0 || ftruncate(guarded, 0) != 0) return 2;
    if (*static_cast<volatile char*>(first) != 0 || !GuardedRangeLost(handle)) return 3;
    return static_cast<int>(*static_cast<volatile char*>(second)) + 4;
  });
  // The guard may have been installed by an earlier test: then what was there before it was the
  // default, which ends the process.
  const int status = child.Wait();
  const bool chained = WIFEXITED(status) && WEXITSTATUS(status) == 77;
  const bool died = WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
  CHECK((chained || died));
}

// ---- a full file system

// Runs body in a child that sees an empty tmpfs of `bytes` at `place`. 99: not permitted here.
template <class Body>
int OnSmallTmpfs(const std::string& place, uint64_t bytes, Body&& body) {
  Child child([&]() -> int {
    if (unshare(CLONE_NEWNS) != 0) return 99;
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 99;
    const std::string options = "size=" + std::to_string(bytes) + ",mode=0700";
    if (mount("tmpfs", place.c_str(), "tmpfs", 0, options.c_str()) != 0) return 99;
    return body();
  });
  return child.ExitCode();
}

TEST_CASE("Region.Create: a full file system is kNoSpace with the figures, and leaves nothing") {
  TempBase base;
  const int code = OnSmallTmpfs(base.path(), 1u << 20, [&] {
    Directory directory;
    Failure failure;
    if (Directory::Open(base.path(), false, &directory, &failure) != Status::kOk) return 1;
    Region region;
    const Status status = Region::Create(
        directory, "big", HeaderOf(FileKind::kSlab), 2u << 20, [](uint8_t*) {}, &region, &failure);
    if (status != Status::kNoSpace) return 2;
    if (failure.need_bytes != 2u << 20) return 3;
    if (failure.have_bytes == 0 || failure.have_bytes > 1u << 20) return 4;
    if (TempBase::EntriesIn(base.path()) != 0) return 5;
    // What was reserved for it is free again.
    return Region::Create(
               directory, "fits", HeaderOf(FileKind::kSlab), 900u << 10, [](uint8_t*) {}, &region,
               &failure) == Status::kOk
               ? 0
               : 6;
  });
  if (code == 99) {
    MESSAGE("not checked: no mount namespaces here");
    return;
  }
  CHECK(code == 0);
}

TEST_CASE("Fabric.Create: on a 4 MB tmpfs the default sizes are kNoSpace, and leave nothing") {
  TempBase base;
  const int code = OnSmallTmpfs(base.path(), 4u << 20, [&] {
    std::unique_ptr<Fabric> fabric;
    Failure failure;
    FabricOptions options;
    options.max_agents = 10'000;
    if (Fabric::Create("big", base.path(), options, &fabric, &failure) != Status::kNoSpace) {
      return 1;
    }
    if (failure.need_bytes == 0 || failure.have_bytes > 4u << 20) return 2;
    if (failure.need_bytes <= failure.have_bytes) return 3;
    if (TempBase::EntriesIn(base.path()) != 0) return 4;
    // One that fits is made where the other failed.
    return Fabric::Create("small", base.path(), test::SmallOptions(), &fabric, &failure) ==
                   Status::kOk
               ? 0
               : 5;
  });
  if (code == 99) {
    MESSAGE("not checked: no mount namespaces here");
    return;
  }
  CHECK(code == 0);
}

TEST_CASE("Fabric: on a tmpfs that fills up, large bodies are refused and small ones go on") {
  TempBase base;
  const int code = OnSmallTmpfs(base.path(), 4u << 20, [&] {
    std::unique_ptr<Fabric> fabric;
    Failure failure;
    if (Fabric::Create("tight", base.path(), test::SmallOptions(), &fabric, &failure) !=
        Status::kOk) {
      return 1;
    }
    Participant here;
    Participant there;
    Agent ann;
    Agent bob;
    if (here.Register(fabric.get(), nullptr) != Status::kOk) return 2;
    if (there.Register(fabric.get(), nullptr) != Status::kOk) return 3;
    if (ann.Join(&here, {.name = "ann"}, nullptr) != Status::kOk) return 4;
    if (bob.Join(&there, {.name = "bob"}, nullptr) != Status::kOk) return 5;
    // Somebody else takes the rest.
    const int hog = open((base.path() + "/hog").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    off_t size = 4 << 20;
    while (size > 0 && posix_fallocate(hog, 0, size) != 0) size -= 4096;
    if (size == 0) return 6;

    Route route = test::RouteTo("bob");
    const std::string large = test::PatternBody(1, 5000);
    for (int i = 0; i < 3; ++i) {
      if (ann.TrySend(&route, {.body = large}, nullptr) != Status::kNoSpace) return 7;
      if (ann.Send(&route, {.body = large}, Deadline::After(test::kMs), nullptr) !=
          Status::kNoSpace) {
        return 8;
      }
      if (ann.TrySend(&route, {.body = "small"}, nullptr) != Status::kOk) return 9;
    }
    // A name that needs a new segment of mailboxes is refused as well, the next one is not.
    Participant third;
    Agent eve;
    if (third.Register(fabric.get(), nullptr) != Status::kOk) return 10;
    if (eve.Join(&third, {.name = "eve", .mailbox_cells = 4096}, &failure) != Status::kNoSpace) {
      return 11;
    }
    if (failure.need_bytes == 0) return 12;
    if (eve.Join(&third, {.name = "eve"}, &failure) != Status::kOk) return 13;

    // Room again: large bodies go.
    close(hog);
    if (unlink((base.path() + "/hog").c_str()) != 0) return 14;
    if (ann.TrySend(&route, {.body = large}, nullptr) != Status::kOk) return 15;
    for (int i = 0; i < 4; ++i) {
      const test::Letter letter = test::TakeLetter(bob);
      if (letter.status != Status::kOk) return 16;
      if (letter.body != (i < 3 ? "small" : large)) return 17;
      if (bob.Ack(letter.delivery.token) != Status::kOk) return 18;
    }
    return 0;
  });
  if (code == 99) {
    MESSAGE("not checked: no mount namespaces here");
    return;
  }
  CHECK(code == 0);
}

}  // namespace
}  // namespace cfc
