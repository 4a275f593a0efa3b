// load: much of one thing, counted to the last.
//
//   load ledger   [--messages 10000000] [--producers 2] [--consumers 1]
//   load liveness [--checks 1000000] [--oversubscription 8]
//
// ledger: processes send numbered messages, some into mailboxes of which the oldest is dropped, and
// what was accepted must be acked, queued or dropped, to the message; each comes whole, in order,
// once. liveness: one busy process for each CPU and turn of --oversubscription holds a lease, and
// is asked after all the time: none of them is ever dead before it is killed, and each is
// afterwards.
//
// Prints one line of JSON: injected, hit, violations. Exit: 0, 1 (a violation), 2 (usage), 3 (too
// little was done to mean anything).
#include <sched.h>
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
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/agent.h"
#include "core/clock.h"
#include "core/fabric.h"
#include "core/participant.h"
#include "core/reaper.h"

namespace cfc {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr uint32_t kMost = 64;
constexpr uint32_t kBatch = 16;

struct Options {
  uint64_t messages = 10'000'000;
  uint32_t producers = 2;
  uint32_t consumers = 1;
  uint64_t checks = 1'000'000;
  uint32_t oversubscription = 8;
};

// What all share, and no fabric knows of.
struct Oracle {
  std::atomic<uint64_t> accepted, dropping, delivered, violations;
  std::atomic<uint32_t> ready, stop;
  std::atomic<uint32_t> owner[kMost];
};
Oracle* oracle = nullptr;

void Violation(const char* what, uint64_t a, uint64_t b) {
  if (oracle->violations.fetch_add(1) < 20) {
    std::fprintf(stderr, "violation: %s: %llu, %llu\n", what, static_cast<unsigned long long>(a),
                 static_cast<unsigned long long>(b));
  }
}

pid_t Start(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(body());
  }
  if (pid < 0) {
    std::perror("fork");
    std::exit(1);
  }
  return pid;
}

void WaitFor(const std::vector<pid_t>& pids) {
  for (const pid_t pid : pids) {
    int status = 0;
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      Violation("a process ended badly", static_cast<uint64_t>(status), 0);
    }
  }
}

// ---- ledger

struct Body {
  uint64_t producer, number, check;
  uint64_t Expected() const { return (producer << 56 ^ number) * 0x9e37'79b9'7f4a'7c15 + 1; }
};

class Member {
 public:
  Member(Fabric* fabric, const std::string& name, uint32_t cells) {
    AgentSpec spec;
    spec.name = name;
    spec.mailbox_cells = cells;
    Status status = participant.Register(fabric, nullptr);
    if (status == Status::kOk) status = agent.Join(&participant, spec, nullptr);
    if (status != Status::kOk) {
      Violation(StatusText(status), 0, 0);
      _exit(1);
    }
  }
  Participant participant;
  Agent agent;
};

std::string NameOf(const char* kind, uint32_t index) { return kind + std::to_string(index); }

int Produce(const Options& options, Fabric* fabric, uint32_t index) {
  Member me(fabric, NameOf("p", index), 16);
  std::vector<Route> routes(options.consumers);
  for (uint32_t i = 0; i < options.consumers; ++i) routes[i].name = NameOf("c", i);
  Route lossy;
  lossy.name = "lossy";
  std::vector<uint64_t> next(options.consumers, 1);
  uint64_t left = options.messages / options.producers;
  uint64_t accepted = 0;
  uint64_t dropping = 0;
  for (uint64_t turn = 0; left > 0; ++turn) {
    const auto to = static_cast<uint32_t>(turn % options.consumers);
    Body bodies[kBatch];
    Outgoing batch[kBatch];
    const auto count = static_cast<uint32_t>(left < kBatch ? left : kBatch);
    for (uint32_t i = 0; i < count; ++i) {
      bodies[i] = {index, next[to] + i, 0};
      bodies[i].check = bodies[i].Expected();
      batch[i].body = {reinterpret_cast<const char*>(&bodies[i]), sizeof(Body)};
    }
    uint32_t taken = 0;
    Status status = me.agent.TrySendBatch(&routes[to], batch, count, nullptr, &taken);
    if (taken == 0 && status == Status::kFull) {  // sleeps for its turn
      status = me.agent.Send(&routes[to], batch[0], Deadline::After(60 * kSecondNs), nullptr);
      taken = status == Status::kOk;
    }
    if (status != Status::kOk && status != Status::kFull) {
      Violation(StatusText(status), index, next[to]);
      return 1;
    }
    next[to] += taken;
    left -= taken;
    accepted += taken;
    if (turn % 64 == 0) {
      Outgoing message = batch[0];
      message.when_full = FullPolicy::kDropOldest;
      status = me.agent.TrySend(&lossy, message, nullptr);
      if (status == Status::kOk) {
        ++dropping;
      } else if (status != Status::kFull) {
        Violation(StatusText(status), index, 0);
      }
    }
  }
  oracle->accepted.fetch_add(accepted + dropping);
  oracle->dropping.fetch_add(dropping);
  me.agent.Leave();
  me.participant.Unregister();
  return 0;
}

int Consume(const Options& options, Fabric* fabric, uint32_t index) {
  Member me(fabric, NameOf("c", index), 1024);
  oracle->ready.fetch_add(1);
  std::vector<uint64_t> last(options.producers, 0);
  uint64_t delivered = 0;
  uint32_t unsettled = 0;
  for (;;) {
    Delivery delivery;
    Status status = me.agent.TryTake(TakeFilter::kAll, &delivery);
    if (status == Status::kEmpty || status == Status::kFull) {
      if (unsettled > 0) me.agent.Reclaim(kWorkLane);
      unsettled = 0;
      if (oracle->stop.load() && me.agent.Depth() == 0) break;
      status = me.agent.Receive(&delivery, Deadline::After(kSecondNs / 20));
      if (status == Status::kTimedOut) continue;
    }
    if (status != Status::kOk) {
      Violation(StatusText(status), index, delivered);
      return 1;
    }
    Body body = {};
    if (delivery.body_bytes != sizeof body || !delivery.BodyIsInline()) {
      Violation("a body of another size", delivery.body_bytes, index);
      return 1;
    }
    std::memcpy(&body, delivery.InlineBody().data(), sizeof body);
    if (body.check != body.Expected() || body.producer >= options.producers) {
      Violation("a harmed body", body.producer, body.number);
      return 1;
    }
    if (body.number != ++last[body.producer] || delivery.attempt != 0) {
      Violation("lost, doubled or out of order", last[body.producer], body.number);
      last[body.producer] = body.number;
    }
    ++delivered;
    if (me.agent.AckWithoutReclaim(delivery.token) != Status::kOk) Violation("ack", delivered, 0);
    if (++unsettled == kBatch) {
      me.agent.Reclaim(kWorkLane);
      unsettled = 0;
    }
  }
  oracle->delivered.fetch_add(delivered);
  me.agent.Leave();
  me.participant.Unregister();
  return 0;
}

int Ledger(const Options& options, Fabric* fabric) {
  Member lossy(fabric, "lossy", 64);
  std::vector<pid_t> consumers;
  std::vector<pid_t> producers;
  const int64_t began_ns = MonotonicNs();
  for (uint32_t i = 0; i < options.consumers; ++i) {
    consumers.push_back(Start([&, i] { return Consume(options, fabric, i); }));
  }
  while (oracle->ready.load() < options.consumers) usleep(1000);
  for (uint32_t i = 0; i < options.producers; ++i) {
    producers.push_back(Start([&, i] { return Produce(options, fabric, i); }));
  }
  WaitFor(producers);
  oracle->stop.store(1);
  WaitFor(consumers);
  const int64_t took_ns = MonotonicNs() - began_ns;

  uint64_t acked = 0;
  uint64_t queued = 0;
  uint64_t dropped = 0;
  uint64_t dead = 0;
  fabric->mail().ForEach([&](const MailboxView& view) {
    for (const Lane& lane : view.lanes) {
      const LaneCensus cells = lane.Census();
      acked += lane.AckedCount();
      queued += lane.Depth();
      dropped += cells.dropped;
      dead += cells.dead_lettered;
      if (cells.claimed + cells.quarantined + cells.leased + cells.held != 0) {
        Violation("cells are left", cells.claimed, cells.leased);
      }
    }
  });
  const uint64_t accepted = oracle->accepted.load();
  const uint64_t delivered = oracle->delivered.load();
  if (accepted != acked + queued + dropped + dead) {
    Violation("accepted, and acked + queued + dropped + dead-lettered", accepted,
              acked + queued + dropped + dead);
  }
  if (acked != delivered) Violation("acked, delivered", acked, delivered);
  if (delivered != accepted - oracle->dropping.load()) Violation("delivered", delivered, accepted);
  std::printf(
      "{\"injected\":%llu,\"hit\":%llu,\"violations\":%llu,\"accepted\":%llu,\"acked\":%llu,"
      "\"queued\":%llu,\"dropped\":%llu,\"difference\":%lld,\"seconds\":%.1f}\n",
      static_cast<unsigned long long>(options.messages), static_cast<unsigned long long>(delivered),
      static_cast<unsigned long long>(oracle->violations.load()),
      static_cast<unsigned long long>(accepted), static_cast<unsigned long long>(acked),
      static_cast<unsigned long long>(queued), static_cast<unsigned long long>(dropped),
      static_cast<long long>(accepted - acked - queued - dropped - dead),
      static_cast<double>(took_ns) / 1e9);
  if (oracle->violations.load() != 0) return 1;
  return delivered + kBatch < options.messages || dropped == 0 ? 3 : 0;
}

// ---- liveness

int Liveness(const Options& options, Fabric* fabric) {
  cpu_set_t set;
  const int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const auto busy = static_cast<uint32_t>(cpus) * options.oversubscription;
  if (busy > kMost) return 2;
  std::vector<pid_t> pids;
  for (uint32_t i = 0; i < busy; ++i) {
    pids.push_back(Start([&, i]() -> int {
      Participant me;
      if (me.Register(fabric, nullptr) != Status::kOk) return 1;
      oracle->owner[i].store(me.owner());
      oracle->ready.fetch_add(1);
      volatile uint64_t work = 0;
      for (;;) work = work + 1;
    }));
  }
  while (oracle->ready.load() < busy) usleep(1000);

  Participant me;
  if (me.Register(fabric, nullptr) != Status::kOk) return 1;
  // We take our turns among the busy ones, and stop one now and then: it must stay alive, too.
  const int64_t began_ns = MonotonicNs();
  uint64_t checks = 0;
  uint64_t stops = 0;
  for (uint64_t round = 0; checks < options.checks; ++round) {
    const uint32_t stopped = static_cast<uint32_t>(round % busy);
    if (round % 16 == 0) {
      kill(pids[stopped], SIGSTOP);
      ++stops;
    }
    for (uint32_t i = 0; i < busy; ++i, ++checks) {
      if (fabric->ProvenDead(oracle->owner[i].load())) Violation("a false death", i, checks);
    }
    if (round % 1024 == 0) {
      const SweepReport report = Sweep(*fabric, me.owner());
      checks += busy;
      if (report.reaped != 0) Violation("a sweep reaped the living", report.reaped, checks);
    }
    if (round % 16 == 0) kill(pids[stopped], SIGCONT);
  }
  const int64_t took_ns = MonotonicNs() - began_ns;
  // The same question has the other answer once they are dead.
  uint64_t noticed = 0;
  for (uint32_t i = 0; i < busy; ++i) {
    kill(pids[i], SIGKILL);
    waitpid(pids[i], nullptr, 0);
    noticed += fabric->ProvenDead(oracle->owner[i].load());
  }
  if (noticed != busy) Violation("deaths that were not noticed", busy, noticed);
  std::printf(
      "{\"injected\":%llu,\"hit\":%llu,\"violations\":%llu,\"falseDeaths\":%llu,\"busy\":%u,"
      "\"cpus\":%d,\"stops\":%llu,\"deathsNoticed\":%llu,\"seconds\":%.1f}\n",
      static_cast<unsigned long long>(options.checks), static_cast<unsigned long long>(checks),
      static_cast<unsigned long long>(oracle->violations.load()),
      static_cast<unsigned long long>(oracle->violations.load()), busy, cpus,
      static_cast<unsigned long long>(stops), static_cast<unsigned long long>(noticed),
      static_cast<double>(took_ns) / 1e9);
  return oracle->violations.load() == 0 ? 0 : 1;
}

bool Parse(int argc, char** argv, Options* options) {
  for (int i = 2; i < argc; i += 2) {
    if (i + 1 >= argc) return false;
    const std::string_view name = argv[i];
    char* end = nullptr;
    const double value = std::strtod(argv[i + 1], &end);  // 1e8 is a number, too
    if (*end != 0 || value < 1) return false;
    if (name == "--messages") {
      options->messages = static_cast<uint64_t>(value);
    } else if (name == "--producers") {
      options->producers = static_cast<uint32_t>(value);
    } else if (name == "--consumers") {
      options->consumers = static_cast<uint32_t>(value);
    } else if (name == "--checks") {
      options->checks = static_cast<uint64_t>(value);
    } else if (name == "--oversubscription") {
      options->oversubscription = static_cast<uint32_t>(value);
    } else {
      return false;
    }
  }
  return options->producers <= kMost && options->consumers <= kMost;
}

int Main(int argc, char** argv) {
  Options options;
  const std::string_view what = argc > 1 ? argv[1] : "";
  if ((what != "ledger" && what != "liveness") || !Parse(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: load ledger [--messages N] [--producers N] [--consumers N]\n"
                 "       load liveness [--checks N] [--oversubscription N]\n");
    return 2;
  }
  void* const memory =
      mmap(nullptr, sizeof(Oracle), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  oracle = static_cast<Oracle*>(memory);  // zeroes are its initial state
  const std::string base = "/dev/shm/cfc-load-" + std::to_string(getpid());
  FabricOptions sizes;
  sizes.max_agents = 128;
  sizes.max_participants = 128;
  std::unique_ptr<Fabric> fabric;
  Failure failure;
  const Status status = Fabric::Create("load", base, sizes, &fabric, &failure);
  if (status != Status::kOk) {
    std::fprintf(stderr, "load: %s: %s %s\n", failure.path, StatusText(status), failure.detail);
    return 1;
  }
  const int code =
      what == "ledger" ? Ledger(options, fabric.get()) : Liveness(options, fabric.get());
  fabric.reset();
  std::error_code ignored;
  std::filesystem::remove_all(base, ignored);
  return code;
}

}  // namespace
}  // namespace cfc

int main(int argc, char** argv) { return cfc::Main(argc, argv); }
