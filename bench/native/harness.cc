#include "harness.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string_view>

namespace bench {
namespace {

constexpr unsigned kWatchdogSeconds = 120;

uint64_t NumberAfter(int argc, char** argv, int* index, uint64_t most) {
  if (++*index >= argc) Die("a number is missing");
  char* end = nullptr;
  const uint64_t value = std::strtoull(argv[*index], &end, 10);
  if (*end != '\0' || value == 0 || value > most) Die("a number is out of range");
  return value;
}

Placement PlacementNamed(std::string_view name) {
  if (name == "1core") return Placement::kOneCore;
  if (name == "2cores") return Placement::kTwoCores;
  if (name == "free") return Placement::kFree;
  Die("a placement is 1core, 2cores or free");
}

}  // namespace

Settings Parse(int argc, char** argv) {
  Settings settings;
  const std::string_view kind = argc > 1 ? argv[1] : "";
  if (kind != "one-way" && kind != "round-trip") Die("the first argument: one-way or round-trip");
  settings.round_trip = kind == "round-trip";
  for (int i = 2; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--placement") {
      if (++i >= argc) Die("a placement is missing");
      settings.placement = PlacementNamed(argv[i]);
    } else if (name == "--count") {
      settings.count = NumberAfter(argc, argv, &i, UINT32_MAX);
    } else if (name == "--bytes") {
      settings.bytes = static_cast<uint32_t>(NumberAfter(argc, argv, &i, 1u << 20));
    } else if (name == "--producers") {
      settings.producers = static_cast<uint32_t>(NumberAfter(argc, argv, &i, kMostSides));
    } else if (name == "--batch") {
      settings.batch = true;
    } else if (name == "--dir") {
      if (++i >= argc) Die("a directory is missing");
      settings.dir = argv[i];
    } else {
      Die("an argument that nobody knows");
    }
  }
  if (settings.bytes < sizeof(Stamp)) Die("a body has at least 8 bytes");
  return settings;
}

void Die(const char* what) {
  std::fprintf(stderr, "bench: %s\n", what);
  std::_Exit(1);
}

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void Pin(Placement placement, uint32_t side) {
  if (placement == Placement::kFree) return;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(placement == Placement::kTwoCores && side > 0 ? 1 : 0, &cpus);
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) Die("this placement needs CPUs 0 and 1");
}

void* ShareBytes(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Die("no memory to share");
  return memory;
}

bool Processes::Fork() {
  alarm(kWatchdogSeconds);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) Die("fork failed");
  if (pid > 0) {
    pids_.push_back(pid);
    return false;
  }
  alarm(kWatchdogSeconds);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) std::_Exit(1);
  return true;
}

void Processes::Leave() { std::_Exit(0); }

void Processes::Join() {
  for (const pid_t pid : pids_) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0) Die("a process of the bench failed");
  }
  pids_.clear();
}

void Tally::Settle(const Board& board) {
  for (size_t i = 0; i < next_.size(); ++i) lost_ += board.accepted[i].load() - next_[i];
}

double Tally::SlowestShare() const {
  uint64_t all = 0;
  for (const uint64_t count : measured_) all += count;
  const uint64_t slowest = *std::min_element(measured_.begin(), measured_.end());
  return static_cast<double>(slowest) * static_cast<double>(measured_.size()) /
         static_cast<double>(all);
}

void PrintOneWay(const char* name, const std::string& detail, const Settings& settings,
                 int64_t elapsed_ns, double slowest_share, const Tally& tally) {
  std::printf("{\"name\":\"%s\",\"detail\":\"%s\",\"messages\":%" PRIu64 ",\"elapsedNs\":%" PRId64
              ",\"lost\":%" PRIu64 ",\"outOfOrder\":%" PRIu64 ",\"slowestShare\":%.4f}\n",
              name, detail.c_str(), settings.count, elapsed_ns, tally.lost(), tally.out_of_order(),
              slowest_share);
}

void PrintRoundTrip(const char* name, const std::string& detail, const Settings& settings,
                    const std::vector<int64_t>& samples) {
  std::printf("{\"name\":\"%s\",\"detail\":\"%s\",\"messages\":%" PRIu64 ",\"samplesNs\":[", name,
              detail.c_str(), settings.count);
  for (size_t i = 0; i < samples.size(); ++i) {
    std::printf(i == 0 ? "%" PRId64 : ",%" PRId64, samples[i]);
  }
  std::printf("]}\n");
}

}  // namespace bench
