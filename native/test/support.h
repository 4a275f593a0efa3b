// Support for the tests of the core: a place for files, children that die, watchdogs, an oracle.
//
// Tests fork from a process with one thread. A child never runs doctest: it says what it found by
// its exit code and through memory shared with its parent.
#pragma once

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/agent.h"
#include "core/clock.h"
#include "core/fabric.h"
#include "core/participant.h"
#include "core/reaper.h"
#include "core/topic.h"
#include "core/topic_peers.h"

#if defined(__SANITIZE_THREAD__)
#define CFC_TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CFC_TEST_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CFC_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CFC_TEST_ASAN 1
#endif
#endif

namespace cfc::test {

#if defined(CFC_TEST_TSAN)
constexpr bool kThreadSanitized = true;  // a fork costs fifty times as much, and shows it nothing
#else
constexpr bool kThreadSanitized = false;
#endif
#if defined(CFC_TEST_TSAN) || defined(CFC_TEST_ASAN)
constexpr bool kSanitized = true;  // several times slower: fewer repetitions
#else
constexpr bool kSanitized = false;
#endif

constexpr int kWatchdogSeconds = 300;  // a hang, and not a machine that does other things
constexpr int64_t kMs = 1'000'000;     // ns

inline void SleepMs(int ms) { usleep(static_cast<useconds_t>(ms) * 1000); }

// Ends a test that hangs: aborts, and doctest names the test. One at a time.
class Watchdog {
 public:
  explicit Watchdog(int seconds = kWatchdogSeconds) {
    struct sigaction action = {};
    action.sa_handler = [](int) {
      constexpr char kText[] = "watchdog: the test hangs\n";
      (void)!write(STDERR_FILENO, kText, sizeof kText - 1);
      std::abort();
    };
    sigaction(SIGALRM, &action, nullptr);
    alarm(static_cast<unsigned>(seconds));
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog() { alarm(0); }
};

// A directory of mode 0700 for fabrics, removed with everything in it.
class TempBase {
 public:
  TempBase() {
    static std::atomic<int> serial{0};
    path_ =
        "/dev/shm/cfc-test-" + std::to_string(getpid()) + "-" + std::to_string(serial.fetch_add(1));
    REQUIRE(mkdir(path_.c_str(), 0700) == 0);
  }
  TempBase(const TempBase&) = delete;
  TempBase& operator=(const TempBase&) = delete;
  ~TempBase() {
    std::error_code ignored;
    if (getpid() == owner_) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

  // Names in a directory, hidden ones too.
  static uint32_t EntriesIn(const std::string& path) {
    uint32_t count = 0;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
      (void)entry;
      ++count;
    }
    return count;
  }

 private:
  std::string path_;
  pid_t owner_ = getpid();
};

// The smallest sensible fabric: making one costs a millisecond.
inline FabricOptions SmallOptions() {
  FabricOptions options;
  options.max_agents = 16;
  options.max_participants = 24;
  options.mailbox_cells = 16;
  options.mail_segment_bytes = 1u << 16;
  options.slab_segment_bytes = 1u << 20;
  options.slab_max_bytes = 64u << 20;
  options.sender_slab_bytes = 64u << 20;
  options.histograms = 2;
  options.max_topics = 8;
  options.topic_cells = 16;
  options.topic_subscribers = 48;
  options.attempt_limit = 0;  // of the tests, those of dead letters set one
  return options;
}

// A fabric in a base of its own.
class TestFabric {
 public:
  explicit TestFabric(const FabricOptions& options = SmallOptions()) {
    Failure failure;
    const Status status = Fabric::Create("test", base_.path(), options, &fabric_, &failure);
    INFO(failure.syscall << " " << failure.path << " " << failure.detail);
    REQUIRE(status == Status::kOk);
  }
  Fabric* operator->() const { return fabric_.get(); }
  Fabric& operator*() const { return *fabric_; }
  Fabric* get() const { return fabric_.get(); }
  const std::string& base() const { return base_.path(); }
  std::string path() const { return base_.path() + "/test"; }

 private:
  TempBase base_;
  std::unique_ptr<Fabric> fabric_;
};

// A participant with an agent.
struct Member {
  Participant participant;
  Agent agent;

  Member() = default;
  Member(Fabric* fabric, std::string_view name, uint32_t cells = 0) {
    REQUIRE(participant.Register(fabric, nullptr) == Status::kOk);
    REQUIRE(agent.Join(&participant, {.name = name, .mailbox_cells = cells}, nullptr) ==
            Status::kOk);
  }
};

inline Route RouteTo(std::string_view name) {
  Route route;
  route.name = std::string(name);
  return route;
}

// A leased message with its body; status says what came of it.
struct Letter {
  Status status = Status::kEmpty;
  Delivery delivery;
  std::string body;
};

inline Letter TakeLetter(Agent& agent, TakeFilter filter = TakeFilter::kAll) {
  Letter letter;
  letter.status = agent.TryTake(filter, &letter.delivery);
  if (letter.status != Status::kOk) return letter;
  letter.body.resize(letter.delivery.body_bytes);
  letter.status = agent.CopyBody(letter.delivery, letter.body.data());
  return letter;
}

// A body that shows where a byte of it is missing or strange.
inline std::string PatternBody(uint64_t seed, size_t bytes) {
  std::string body(bytes, '\0');
  uint64_t state = seed * 0x9e37'79b9'7f4a'7c15 + 1;
  for (size_t i = 0; i < bytes; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(&body[i], &state, bytes - i < 8 ? bytes - i : 8);
  }
  return body;
}

// Memory that children share with their parent, outside of any fabric.
template <class T>
class Shared {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  Shared() {
    void* const memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    value_ = new (memory) T();
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(value_, sizeof(T)); }
  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

 private:
  T* value_;
};

// A forked child that runs body() and exits with what it returns. It dies with its parent, and is
// killed at the end of this object.
class Child {
 public:
  template <class Body>
  explicit Child(Body&& body) {
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      // doctest's handlers would speak for the parent.
      for (const int number : {SIGALRM, SIGABRT, SIGTERM, SIGINT, SIGILL, SIGFPE, SIGSEGV}) {
        signal(number, SIG_DFL);
      }
      _exit(body());
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  void Signal(int signal) const { kill(pid_, signal); }

  // Waits for it to end; kills it when that takes too long. The status as waitpid gives it.
  int Wait() { return WaitFor(0); }
  // Waits for it to stop (SIGSTOP) or end.
  int WaitStopped() { return WaitFor(WUNTRACED); }
  void Kill() {
    Signal(SIGKILL);
    Wait();
  }
  // 0 to 255: its exit code. 256: killed by SIGKILL. Others: -1.
  int ExitCode() {
    const int status = Wait();
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !hung_ ? 256 : -1;
  }
  bool hung() const { return hung_; }

 private:
  int WaitFor(int flags) {
    const int64_t limit_ns = MonotonicNs() + int64_t{kWatchdogSeconds} * 1000 * kMs;
    for (int nap_us = 50;; nap_us = nap_us < 2000 ? nap_us * 2 : nap_us) {
      int status = 0;
      const pid_t got = waitpid(pid_, &status, WNOHANG | flags);
      if (got == pid_) {
        if (!WIFSTOPPED(status)) pid_ = -1;
        return status;
      }
      if (got < 0) return -1;
      if (MonotonicNs() > limit_ns) {
        hung_ = true;
        kill(pid_, SIGKILL);
      }
      usleep(static_cast<useconds_t>(nap_us));
    }
  }

  pid_t pid_ = -1;
  bool hung_ = false;
};

// Everything that a death could leave behind, over all files of a fabric.
struct Census {
  uint32_t cells_claimed = 0, cells_quarantined = 0, cells_ready = 0, cells_leased = 0,
           cells_held = 0;
  uint64_t chunks_loaned = 0, chunks_placed = 0;
  uint32_t slots_live = 0, slots_reaping = 0;
  uint32_t boxes_claimed = 0, boxes_owned = 0;
  uint32_t entries_claimed = 0, entries_live = 0;
  uint32_t wants = 0;
  uint32_t records_claimed = 0;
  uint32_t topic_cells_claimed = 0, topic_cells_ready = 0, topic_rows = 0;
};

inline Census CensusOf(Fabric& fabric) {
  Census census;
  fabric.mail().ForEach([&](const MailboxView& view) {
    for (const Lane& lane : view.lanes) {
      const LaneCensus cells = lane.Census();
      census.cells_claimed += cells.claimed;
      census.cells_quarantined += cells.quarantined;
      census.cells_ready += cells.ready;
      census.cells_leased += cells.leased;
      census.cells_held += cells.held;
    }
    const BoxKind kind = BoxKindOf(view.words->word.load());
    if (kind == BoxKind::kClaimed) ++census.boxes_claimed;
    if (kind == BoxKind::kOwned) ++census.boxes_owned;
  });
  fabric.topics().ForEach([&](const TopicView& topic) {
    const TopicCensus part = CensusOfTopic(topic);
    census.topic_cells_claimed += part.log.claimed + part.log.quarantined;
    census.topic_cells_ready += part.log.ready;
    census.topic_rows +=
        part.rows_claimed + part.rows_reliable + part.rows_lossy + part.rows_lagged;
  });
  const SlabCensus slab = fabric.slab().Census();
  census.chunks_loaned = slab.loaned;
  census.chunks_placed = slab.placed;
  for (uint32_t i = 1; i <= fabric.slots(); ++i) {
    const SlotState state = SlotStateOf(fabric.SlotAt(i)->word.load());
    if (state == SlotState::kLive) ++census.slots_live;
    if (state == SlotState::kReaping) ++census.slots_reaping;
    if (fabric.wants().Of(i).load() != 0) ++census.wants;
  }
  for (uint32_t i = 0; i < fabric.entry_count(); ++i) {
    const EntryKind kind = EntryKindOf(fabric.entries()[i].word.load());
    if (kind == EntryKind::kLive) ++census.entries_live;
    if (kind == EntryKind::kClaimed || kind == EntryKind::kQuarantined) ++census.entries_claimed;
  }
  census.records_claimed = fabric.metrics().Census().records_claimed;
  return census;
}

}  // namespace cfc::test
