#include "core/fabric.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::Shared;
using test::SmallOptions;
using test::TempBase;
using test::TestFabric;
using test::Watchdog;

TEST_CASE("Fabric.Create: makes it once; Open finds it with the capacities it was made with") {
  TempBase base;
  std::unique_ptr<Fabric> fabric;
  Failure failure;
  CHECK(Fabric::Open("ours", base.path(), &fabric, &failure) == Status::kNoFabric);
  REQUIRE(Fabric::Create("ours", base.path(), SmallOptions(), &fabric, &failure) == Status::kOk);
  std::unique_ptr<Fabric> other;
  CHECK(Fabric::Create("ours", base.path(), SmallOptions(), &other, &failure) == Status::kExists);
  REQUIRE(Fabric::Open("ours", base.path(), &other, &failure) == Status::kOk);
  CHECK(other->options().max_agents == SmallOptions().max_agents);
  CHECK(other->options().mailbox_cells == SmallOptions().mailbox_cells);
  CHECK(other->options().slab_max_bytes == SmallOptions().slab_max_bytes);
  CHECK(std::memcmp(fabric->uuid(), other->uuid(), 16) == 0);
  CHECK(fabric->SharedBytes() > 0);
  CHECK(fabric->Check() == Status::kOk);
}

TEST_CASE("Fabric: names that could leave the directory are no names") {
  TempBase base;
  std::unique_ptr<Fabric> fabric;
  Failure failure;
  for (const std::string name :
       {"", ".", "..", "../up", "a/b", "-rf", "_x", "a b", "a\n", "caf\xc3\xa9", ".hidden"}) {
    CAPTURE(name);
    CHECK(Fabric::Create(name, base.path(), SmallOptions(), &fabric, &failure) == Status::kInvalid);
    CHECK(Fabric::Open(name, base.path(), &fabric, &failure) == Status::kInvalid);
    CHECK(Fabric::Destroy(name, base.path(), &failure) == Status::kInvalid);
  }
  CHECK(IsValidName(std::string(64, 'a')));
  CHECK_FALSE(IsValidName(std::string(65, 'a')));
}

TEST_CASE("Fabric.Create: capacities that make no sense are refused") {
  TempBase base;
  std::unique_ptr<Fabric> fabric;
  Failure failure;
  const auto refused = [&](auto&& change) {
    FabricOptions options = SmallOptions();
    change(options);
    return Fabric::Create("odd", base.path(), options, &fabric, &failure) == Status::kInvalid;
  };
  CHECK(refused([](FabricOptions& o) { o.max_agents = 0; }));
  CHECK(refused([](FabricOptions& o) { o.max_participants = 0; }));
  CHECK(refused([](FabricOptions& o) { o.max_participants = kMaxSlots + 1; }));
  CHECK(refused([](FabricOptions& o) { o.mailbox_cells = kMaxLaneCells + 1; }));
  CHECK(refused([](FabricOptions& o) { o.mailbox_cells = 0; }));
  CHECK(refused([](FabricOptions& o) { o.max_topics = kMaxTopics + 1; }));
  CHECK(refused([](FabricOptions& o) { o.topic_cells = 0; }));
  CHECK(refused([](FabricOptions& o) { o.topic_cells = kMaxLaneCells + 1; }));
  CHECK(refused([](FabricOptions& o) { o.topic_subscribers = 0; }));
  CHECK(refused([](FabricOptions& o) { o.topic_subscribers = kMaxSubscribers + 1; }));
  CHECK(refused([](FabricOptions& o) { o.slab_segment_bytes = 0; }));
  CHECK(refused([](FabricOptions& o) { o.mail_segment_bytes = uint64_t{1} << 40; }));
  CHECK(TempBase::EntriesIn(base.path()) == 0);
}

TEST_CASE("Fabric.Destroy: removes every file; who has them mapped is told") {
  TempBase base;
  const std::string place = base.path() + "/place";
  std::unique_ptr<Fabric> fabric;
  REQUIRE(Fabric::Create("ours", place, SmallOptions(), &fabric, nullptr) == Status::kOk);
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  REQUIRE(participant.BellDescriptor() >= 0);
  CHECK(Fabric::Destroy("ours", place, nullptr) == Status::kOk);
  CHECK(TempBase::EntriesIn(base.path()) == 0);  // the last one took the place along
  CHECK(fabric->Check() == Status::kRemoved);
  CHECK(participant.CheckLease() != Status::kOk);
  CHECK(Fabric::Destroy("ours", base.path(), nullptr) == Status::kNoFabric);
}

TEST_CASE("Fabric.Create: what dead creators and destroyers left half done goes") {
  TempBase base;
  for (const char* name : {"/.new-1-0", "/.old-2-0"}) {
    const std::string path = base.path() + name;
    REQUIRE(mkdir(path.c_str(), 0700) == 0);
    std::ofstream(path + "/control") << "half";
  }
  const std::string busy = base.path() + "/.new-3-0";  // of one that lives
  REQUIRE(mkdir(busy.c_str(), 0700) == 0);
  const int lock = open(busy.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  REQUIRE(flock(lock, LOCK_EX) == 0);
  std::unique_ptr<Fabric> fabric;
  REQUIRE(Fabric::Create("ours", base.path(), SmallOptions(), &fabric, nullptr) == Status::kOk);
  CHECK(TempBase::EntriesIn(base.path()) == 2);
  close(lock);
}

TEST_CASE("Fabric.OpenOrCreate: many processes at once end up in one fabric") {
  const Watchdog watchdog;
  TempBase base;
  const std::string place = base.path() + "/place";
  for (int round = 0; round < 5; ++round) {
    struct Seen {
      std::atomic<bool> go{false};
      std::atomic<uint32_t> ready{0};
      uint8_t uuid[8][16] = {};
    };
    Shared<Seen> seen;
    std::vector<std::unique_ptr<Child>> children;
    for (int i = 0; i < 8; ++i) {
      children.push_back(std::make_unique<Child>([&, i]() -> int {
        seen->ready.fetch_add(1);
        while (!seen->go.load()) sched_yield();
        std::unique_ptr<Fabric> fabric;
        Failure failure;
        const Status status =
            Fabric::OpenOrCreate("ours", place, SmallOptions(), &fabric, &failure);
        if (status != Status::kOk) {
          std::fprintf(stderr, "OpenOrCreate: %s, %s %s: %s\n", StatusText(status), failure.syscall,
                       failure.path, std::strerror(failure.error_number));
          return 1 + static_cast<int>(status);
        }
        std::memcpy(seen->uuid[i], fabric->uuid(), 16);
        return 0;
      }));
    }
    while (seen->ready.load() < 8) sched_yield();
    seen->go.store(true);
    for (auto& child : children) CHECK(child->ExitCode() == 0);
    for (int i = 1; i < 8; ++i) CHECK(std::memcmp(seen->uuid[0], seen->uuid[i], 16) == 0);
    CHECK(TempBase::EntriesIn(place) == 1);
    REQUIRE(Fabric::Destroy("ours", place, nullptr) == Status::kOk);
  }
}

TEST_CASE("Fabric.OpenOrCreate: beside one who destroys it again and again it still succeeds") {
  const Watchdog watchdog;
  TempBase base;
  const std::string place = base.path() + "/place";
  Shared<std::atomic<bool>> done;
  Child destroyer([&]() -> int {
    while (!done->load()) {
      (void)Fabric::Destroy("ours", place, nullptr);
      usleep(200);
    }
    return 0;
  });
  int failures = 0;
  for (int i = 0; i < 60; ++i) {
    std::unique_ptr<Fabric> fabric;
    Failure failure;
    const Status status = Fabric::OpenOrCreate("ours", place, SmallOptions(), &fabric, &failure);
    INFO(StatusText(status) << " " << failure.syscall << " " << failure.path << " "
                            << std::strerror(failure.error_number));
    CHECK(status == Status::kOk);
    failures += status != Status::kOk;
    if (failures > 3) break;
  }
  done->store(true);
  CHECK(destroyer.ExitCode() == 0);
}

TEST_CASE("Fabric.Open: what is in the way is refused with its own status") {
  TempBase base;
  std::unique_ptr<Fabric> fabric;
  Failure failure;
  const std::string path = base.path() + "/ours";
  std::ofstream(path) << "a file";
  CHECK(Fabric::Open("ours", base.path(), &fabric, &failure) == Status::kNotRegular);
  CHECK(Fabric::Create("ours", base.path(), SmallOptions(), &fabric, &failure) ==
        Status::kNotRegular);
  REQUIRE(unlink(path.c_str()) == 0);
  REQUIRE(symlink(base.path().c_str(), path.c_str()) == 0);
  CHECK(Fabric::Open("ours", base.path(), &fabric, &failure) == Status::kNotRegular);
  CHECK(Fabric::Create("ours", base.path(), SmallOptions(), &fabric, &failure) ==
        Status::kNotRegular);
  REQUIRE(unlink(path.c_str()) == 0);
  REQUIRE(mkdir(path.c_str(), 0755) == 0);
  CHECK(Fabric::Open("ours", base.path(), &fabric, &failure) == Status::kForeign);
  REQUIRE(chmod(path.c_str(), 0700) == 0);
  // One that has its name without its files is damaged: it was whole when it was named.
  CHECK(Fabric::Open("ours", base.path(), &fabric, &failure) == Status::kCorrupt);
  CHECK(Fabric::Create("ours", base.path(), SmallOptions(), &fabric, &failure) == Status::kExists);
}

TEST_CASE("Fabric.Open: damaged files, each of them, are refused and left as evidence") {
  for (const std::string file : {"control", "metrics"}) {
    CAPTURE(file);
    TestFabric ours;
    const std::string path = ours.path() + "/" + file;
    REQUIRE(truncate(path.c_str(), 5000) == 0);
    std::unique_ptr<Fabric> fabric;
    Failure failure;
    CHECK(Fabric::Open("test", ours.base(), &fabric, &failure) == Status::kCorrupt);
    CHECK(std::string(failure.path) == path);
    CHECK(std::filesystem::exists(path));
  }
}

TEST_CASE("Fabric.Check: a file truncated under us is kCorrupt, whichever it is") {
  if (test::kThreadSanitized) return;  // its own lock may be interrupted: see damage_test.cc
  for (const std::string file : {"control", "mail.000", "slab.000", "metrics", "topic.000"}) {
    CAPTURE(file);
    TestFabric ours;
    test::Member ann(ours.get(), "ann");
    Route route = test::RouteTo("ann");
    TopicRoute* topic = nullptr;
    REQUIRE(ann.agent.TrySend(&route, {.body = test::PatternBody(1, 900)}, nullptr) == Status::kOk);
    REQUIRE(ann.agent.OpenTopic("news", &topic, nullptr) == Status::kOk);
    CHECK(ours->Check() == Status::kOk);
    REQUIRE(truncate((ours.path() + "/" + file).c_str(), 4096) == 0);
    // Whoever goes on meets it; nothing crashes.
    for (int i = 0; i < 3; ++i) {
      (void)ann.agent.TrySend(&route, {.body = test::PatternBody(1, 900)}, nullptr);
      (void)test::TakeLetter(ann.agent);
      (void)ann.agent.TryPublish(topic, {.body = "news"}, nullptr);
    }
    CHECK(ann.participant.CheckLease() == Status::kCorrupt);
    CHECK(ours->Check() == Status::kCorrupt);
    CHECK(ann.agent.TrySend(&route, {.body = "small"}, nullptr) == Status::kCorrupt);
  }
}

TEST_CASE("Fabric.ProvenDead: the living, the dead, those who left, and nobody") {
  TestFabric ours;
  Participant living;
  REQUIRE(living.Register(ours.get(), nullptr) == Status::kOk);
  CHECK_FALSE(ours->ProvenDead(living.owner()));
  CHECK_FALSE(ours->HolderDead(living.holder()));
  CHECK(ours->HolderDead(0));
  CHECK_FALSE(ours->ProvenDead(0));
  CHECK(ours->ProvenDead(MakeOwner(9999, 1)));  // no such slot
  CHECK(ours->ProvenDead(MakeOwner(living.slot_index(), OwnerGeneration(living.owner()) + 1)));

  Shared<std::atomic<uint32_t>> owner;
  Child child([&] {
    static Participant participant;
    if (participant.Register(ours.get(), nullptr) != Status::kOk) return 1;
    owner->store(participant.owner());
    for (;;) pause();
  });
  while (owner->load() == 0) test::SleepMs(1);
  CHECK_FALSE(ours->ProvenDead(owner->load()));
  child.Signal(SIGSTOP);
  child.WaitStopped();
  CHECK_FALSE(ours->ProvenDead(owner->load()));
  child.Kill();
  CHECK(ours->ProvenDead(owner->load()));

  const Owner left = living.owner();
  const uint64_t holder = living.holder();
  living.Unregister();
  CHECK(ours->ProvenDead(left));
  CHECK(ours->HolderDead(holder));
}

TEST_CASE("Fabric.Ring: a loop that sleeps in poll finds a byte in its FIFO") {
  TestFabric ours;
  Participant loop;
  REQUIRE(loop.Register(ours.get(), nullptr) == Status::kOk);
  const int fd = loop.BellDescriptor();
  REQUIRE(fd >= 0);
  CHECK_FALSE(ours->Ring(loop.slot_index()));  // not parked
  loop.ParkInLoop();
  CHECK(ours->Ring(loop.slot_index()));
  CHECK_FALSE(ours->Ring(loop.slot_index()));  // rung already
  char byte = 0;
  CHECK(read(fd, &byte, 1) == 1);
  CHECK(read(fd, &byte, 1) < 0);
  loop.Unpark();
  for (int i = 0; i < 70'000; ++i) {  // more than a FIFO holds: still readable, nobody blocks
    loop.ParkInLoop();
    REQUIRE(ours->Ring(loop.slot_index()));
    loop.Unpark();
    if (test::kSanitized && i > 5000) break;
  }
  CHECK(read(fd, &byte, 1) == 1);
  loop.DrainBell();
  CHECK(read(fd, &byte, 1) < 0);
  CHECK_FALSE(ours->Ring(0));
  CHECK_FALSE(ours->Ring(60'000));
}

TEST_CASE("Fabric.OpenBell: something else than our FIFO in the way is refused") {
  TestFabric ours;
  std::ofstream(ours.path() + "/bell.00003") << "a file";
  CHECK(ours->OpenBell(3) == -1);
  REQUIRE(symlink("/dev/null", (ours.path() + "/bell.00004").c_str()) == 0);
  CHECK(ours->OpenBell(4) == -1);
}

}  // namespace
}  // namespace cfc
