#include "core/lease.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::Shared;
using test::SleepMs;
using test::TempBase;

// A directory with the lease files in it.
class TestLeases {
 public:
  TestLeases() {
    REQUIRE(Directory::Open(base_.path(), false, &directory, nullptr) == Status::kOk);
    for (uint32_t i = 0; i < kLeaseFiles; ++i) {
      char name[16];
      LeaseFileName(i, name);
      REQUIRE(CreateLockFile(directory, name, nullptr) == Status::kOk);
    }
  }
  bool Held(uint32_t slot) { return LeaseTester(directory).Held(slot); }

 private:
  TempBase base_;

 public:
  Directory directory;
};

TEST_CASE("Lease: is held by one, seen by all, and gone when it is released") {
  TestLeases leases;
  Lease lease;
  CHECK_FALSE(leases.Held(7));
  REQUIRE(Lease::Acquire(leases.directory, 7, &lease) == Status::kOk);
  CHECK(lease.acquired());
  CHECK(leases.Held(7));
  Lease other;
  CHECK(Lease::Acquire(leases.directory, 7, &other) == Status::kLeaseHeld);
  CHECK_FALSE(other.acquired());
  lease.Release();
  CHECK_FALSE(lease.acquired());
  CHECK_FALSE(leases.Held(7));
  CHECK(Lease::Acquire(leases.directory, 7, &other) == Status::kOk);
}

TEST_CASE("Lease: a survey of many says what single tests say, in any order") {
  TestLeases leases;
  Lease lease;
  Lease neighbour;
  REQUIRE(Lease::Acquire(leases.directory, 7, &lease) == Status::kOk);
  REQUIRE(Lease::Acquire(leases.directory, 7 + 2 * kLeaseFiles, &neighbour) == Status::kOk);
  LeaseSurvey survey(leases.directory);
  for (const uint32_t slot : {7U, 8U, 7U + kLeaseFiles, 7U + 2 * kLeaseFiles, 7U, 200U, 8U}) {
    CHECK(survey.Held(slot) == leases.Held(slot));
  }
  lease.Release();
  CHECK_FALSE(survey.Held(7));
  CHECK(survey.Held(7 + 2 * kLeaseFiles));
}

TEST_CASE("Lease: slots that share a file are apart") {
  TestLeases leases;
  Lease lease;
  Lease neighbour;
  REQUIRE(Lease::Acquire(leases.directory, 3, &lease) == Status::kOk);
  REQUIRE(Lease::Acquire(leases.directory, 3 + kLeaseFiles, &neighbour) == Status::kOk);
  CHECK(leases.Held(3));
  CHECK(leases.Held(3 + kLeaseFiles));
  CHECK_FALSE(leases.Held(3 + 2 * kLeaseFiles));
  // Closing one description drops no lock of another.
  lease.Release();
  CHECK_FALSE(leases.Held(3));
  CHECK(leases.Held(3 + kLeaseFiles));
  CHECK(leases.Held(3 + kLeaseFiles));
}

TEST_CASE("Lease: the highest slot has a byte of its own") {
  TestLeases leases;
  Lease lease;
  REQUIRE(Lease::Acquire(leases.directory, kMaxSlots, &lease) == Status::kOk);
  CHECK(leases.Held(kMaxSlots));
  CHECK_FALSE(leases.Held(kMaxSlots - kLeaseFiles));
}

TEST_CASE("Lease: moves") {
  TestLeases leases;
  Lease lease;
  REQUIRE(Lease::Acquire(leases.directory, 1, &lease) == Status::kOk);
  Lease moved(static_cast<Lease&&>(lease));
  CHECK(moved.acquired());
  CHECK(leases.Held(1));
}

TEST_CASE("Lease: goes with its process, however that ends, and not when it is stopped") {
  TestLeases leases;
  for (const int end : {SIGKILL, SIGSEGV, SIGTERM}) {
    Child child([&] {
      static Lease lease;  // never released
      if (Lease::Acquire(leases.directory, 5, &lease) != Status::kOk) return 1;
      raise(SIGSTOP);
      for (;;) pause();
    });
    REQUIRE(WIFSTOPPED(child.WaitStopped()));
    CHECK(leases.Held(5));
    SleepMs(20);
    CHECK(leases.Held(5));
    Lease mine;
    CHECK(Lease::Acquire(leases.directory, 5, &mine) == Status::kLeaseHeld);
    child.Signal(SIGCONT);
    SleepMs(1);
    CHECK(leases.Held(5));
    child.Signal(end);
    child.Wait();
    CHECK_FALSE(leases.Held(5));
  }
}

TEST_CASE("Lease: a forked child does not keep it alive, and loses it itself") {
  TestLeases leases;
  Shared<std::atomic<int>> stage;
  Child parent([&] {
    static Lease lease;
    if (Lease::Acquire(leases.directory, 9, &lease) != Status::kOk) return 1;
    const uint32_t before = ForkGeneration();
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      prctl(PR_SET_PDEATHSIG, 0);
      if (ForkGeneration() == before) _exit(1);
      stage->store(grandchild == 0 ? 1 : 0);
      for (int i = 0; i < 2000; ++i) SleepMs(1);  // outlives its parent
      _exit(0);
    }
    while (stage->load() != 1) SleepMs(1);
    if (ForkGeneration() != before) return 2;
    stage->store(2);
    for (;;) pause();
  });
  while (stage->load() != 2) SleepMs(1);
  CHECK(leases.Held(9));
  parent.Kill();
  CHECK_FALSE(leases.Held(9));
}

TEST_CASE("Lease: does not pass through exec") {
  TestLeases leases;
  Shared<std::atomic<int>> stage;
  Child child([&] {
    static Lease lease;
    if (Lease::Acquire(leases.directory, 11, &lease) != Status::kOk) return 1;
    stage->store(1);
    execlp("sleep", "sleep", "30", nullptr);
    return 2;
  });
  while (stage->load() != 1) SleepMs(1);
  for (int i = 0; i < 5000 && leases.Held(11); ++i) SleepMs(1);
  CHECK_FALSE(leases.Held(11));
  child.Kill();
}

TEST_CASE("LeaseTester: without a descriptor to be had it calls nobody dead") {
  TestLeases leases;
  Child child([&] {
    rlimit none = {3, 3};
    setrlimit(RLIMIT_NOFILE, &none);
    return LeaseTester(leases.directory).Held(12) ? 0 : 1;
  });
  CHECK(child.ExitCode() == 0);
}

TEST_CASE("Lease.Acquire: says that the fabric is gone") {
  TempBase base;
  Directory directory;
  REQUIRE(Directory::Open(base.path(), false, &directory, nullptr) == Status::kOk);
  Lease lease;
  CHECK(Lease::Acquire(directory, 1, &lease) == Status::kRemoved);
}

}  // namespace
}  // namespace cfc
