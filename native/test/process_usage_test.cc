#include "core/process_usage.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <memory>

namespace cfc {

TEST_CASE("ProcessUsage: of ourselves has memory, descriptors, time and a start") {
  ProcessUsage before;
  REQUIRE(ReadProcessUsage(static_cast<uint32_t>(getpid()), &before));
  CHECK(before.own_bytes > 0);
  CHECK(before.descriptors >= 3);
  CHECK(before.start_ticks > 0);

  constexpr size_t kBytes = 64 << 20;
  const auto memory = std::make_unique<char[]>(kBytes);
  std::memset(memory.get(), 7, kBytes);
  const int extra = open("/dev/null", O_RDONLY | O_CLOEXEC);
  while (std::clock() < CLOCKS_PER_SEC / 10) {
  }
  ProcessUsage after;
  REQUIRE(ReadProcessUsage(static_cast<uint32_t>(getpid()), &after));
  close(extra);
  CHECK(memory[kBytes / 2] == 7);
  CHECK(after.own_bytes >= before.own_bytes + kBytes / 2);
  CHECK(after.descriptors == before.descriptors + 1);
  CHECK(after.cpu_ticks >= 5);
  CHECK(after.start_ticks == before.start_ticks);
}

TEST_CASE("ProcessUsage: of a process that ended and was not reaped nothing is left but its time") {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  REQUIRE(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0);
  ProcessUsage usage;
  CHECK(ReadProcessUsage(static_cast<uint32_t>(child), &usage));
  CHECK(usage.own_bytes == 0);
  CHECK(usage.descriptors == 0);
  CHECK(usage.start_ticks > 0);
  REQUIRE(waitpid(child, nullptr, 0) == child);
}

TEST_CASE("ProcessUsage: below a process are its children and theirs, and not the process") {
  constexpr size_t kBytes = 32 << 20;
  int ready[2];
  REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
  const pid_t root = fork();
  if (root == 0) {
    setpgid(0, 0);
    const pid_t worked = fork();
    if (worked == 0) {
      while (std::clock() < CLOCKS_PER_SEC / 10) {
      }
      _exit(0);
    }
    waitpid(worked, nullptr, 0);
    if (fork() == 0) {
      fork();
      void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
      if (memory == MAP_FAILED || write(ready[1], "r", 1) != 1) _exit(1);
    }
    pause();
  }
  char byte = 0;
  for (int grown = 0; grown < 2; ++grown) REQUIRE(read(ready[0], &byte, 1) == 1);
  ProcessUsage mine, itself, below;
  CHECK(ReadProcessUsage(static_cast<uint32_t>(getpid()), &mine));
  CHECK(ReadProcessUsage(static_cast<uint32_t>(root), &itself));
  CHECK(ReadUsageBelow(static_cast<uint32_t>(root), &below));
  kill(-root, SIGKILL);
  REQUIRE(waitpid(root, nullptr, 0) == root);
  CHECK(below.own_bytes >= 2 * kBytes);
  CHECK(itself.own_bytes < mine.own_bytes + kBytes);  // it began as a copy of this process
  CHECK(below.descriptors >= 2 * itself.descriptors);
  CHECK(below.cpu_ticks >= 5);
  CHECK(below.start_ticks == itself.start_ticks);
  CHECK_FALSE(ReadUsageBelow(static_cast<uint32_t>(root), &below));
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("ProcessUsage: below a process that started none there is nothing") {
  ProcessUsage below;
  CHECK_FALSE(ReadUsageBelow(static_cast<uint32_t>(getpid()), &below));
}

TEST_CASE("ProcessUsage: of a process that is gone there is none") {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  REQUIRE(waitpid(child, nullptr, 0) == child);
  ProcessUsage usage;
  CHECK_FALSE(ReadProcessUsage(static_cast<uint32_t>(child), &usage));
}

}  // namespace cfc
