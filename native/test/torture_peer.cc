// torture_peer: a producer, a consumer or a repairer of scripts/torture.mjs, without Node.
//
//   torture_peer ROLE NAME LIFE DIR LOG SEED CELLS TARGET...
//
// Logs as scripts/torture-peer.mjs does, and sends the same bodies. A repairer sweeps all the time;
// CFC_FAIL_AT in its environment kills it in the middle of a repair.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
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

constexpr int64_t kMs = 1'000'000;  // ns
constexpr size_t kDigestBytes = 8;

volatile std::sig_atomic_t stopping = 0;

struct Options {
  std::string role, name, life, dir, log;
  uint64_t seed = 0;
  uint32_t cells = 64;
  std::vector<std::string> targets;
};

class Log {
 public:
  explicit Log(const std::string& path)
      : fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {}
  void Write(const std::string& text) const {
    if (write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) _exit(9);
  }

 private:
  int fd_;
};

// Two FNV-1a hashes with different beginnings: what JavaScript computes quickly, too.
void DigestOf(std::string_view bytes, uint8_t out[kDigestBytes]) {
  uint32_t hashes[2] = {0x811c'9dc5, 0x9747'b28c};
  for (const char c : bytes) {
    for (uint32_t& hash : hashes) hash = (hash ^ static_cast<uint8_t>(c)) * 16'777'619u;
  }
  std::memcpy(out, hashes, kDigestBytes);
}

class Peer {
 public:
  Peer(const Options& options, Fabric* fabric)
      : options_(options), log_(options.log), fabric_(fabric), random_(options.seed) {}

  int Run() {
    Failure failure;
    Status status = participant_.Register(fabric_, &failure);
    if (status != Status::kOk) return Fail("register", status);
    if (options_.role == "repairer") {
      Ready();
      return Repair();
    }
    AgentSpec spec;
    spec.name = options_.name;
    spec.mailbox_cells = options_.cells;
    status = agent_.Join(&participant_, spec, &failure);
    if (status != Status::kOk) return Fail("join", status);
    Ready();
    const int code = options_.role == "producer" ? Produce() : Consume();
    agent_.Leave();
    participant_.Unregister();
    return code;
  }

 private:
  int Fail(const char* what, Status status) const {
    log_.Write(std::string("X ") + what + ": " + StatusText(status) + "\n");
    return 1;
  }
  static void Ready() {
    if (write(STDOUT_FILENO, "ready\n", 6) != 6) _exit(9);
  }
  double Dice() { return static_cast<double>(random_() >> 11) / 9007199254740992.0; }
  uint64_t Below(uint64_t limit) { return random_() % limit; }

  std::string MakeBody(const std::string& target, uint64_t number) {
    const double dice = Dice();
    const uint64_t most = dice < 0.05 ? 60'000 : dice < 0.3 ? 3000 : 100;
    std::string body(kDigestBytes, '\0');
    body +=
        options_.name + " " + options_.life + " " + target + " " + std::to_string(number) + "\n";
    body.append(Below(most), static_cast<char>(number));
    uint8_t digest[kDigestBytes];
    DigestOf(std::string_view(body).substr(kDigestBytes), digest);
    std::memcpy(body.data(), digest, kDigestBytes);
    return body;
  }

  int Produce() {
    std::map<std::string, uint64_t> next;
    std::map<std::string, Route> routes;
    for (const std::string& target : options_.targets) routes[target].name = target;
    while (!stopping) {
      const std::string& target = options_.targets[Below(options_.targets.size())];
      Route& route = routes[target];
      const uint64_t from = next[target];
      uint64_t to = from;
      Status status;
      if (Dice() < 0.6) {
        const std::string body = MakeBody(target, to);
        status = agent_.Send(&route, {.body = body}, Deadline::After(50 * kMs), nullptr);
        if (status == Status::kOk) ++to;
      } else {
        const uint32_t limit = agent_.BatchLimit(&route, kWorkLane);
        const auto count = static_cast<uint32_t>(1 + Below(limit > 1 ? limit : 1));
        std::vector<std::string> bodies;
        std::vector<Outgoing> batch;
        for (uint32_t i = 0; i < count; ++i) bodies.push_back(MakeBody(target, from + i));
        for (const std::string& body : bodies) batch.push_back({.body = body});
        uint32_t accepted = 0;
        status = agent_.TrySendBatch(&route, batch.data(), count, nullptr, &accepted);
        to += accepted;
      }
      switch (status) {
        case Status::kOk:
          break;
        case Status::kFull:
        case Status::kTimedOut:
        case Status::kSlabFull:
        case Status::kQuota:
        case Status::kNoAgent:
        case Status::kBusy:
          usleep(500);
          break;
        default:
          log_.Write(std::string("X send: ") + StatusText(status) + "\n");
      }
      next[target] = to;
      if (to > from) {
        log_.Write("A " + target + " " + std::to_string(from) + " " + std::to_string(to) + "\n");
      }
    }
    return 0;
  }

  // "sender life number", empty where the body was harmed.
  std::string KeyOf(const Delivery& delivery, const std::string& body) const {
    if (body.size() < kDigestBytes) return "";
    uint8_t digest[kDigestBytes];
    DigestOf(std::string_view(body).substr(kDigestBytes), digest);
    if (std::memcmp(digest, body.data(), kDigestBytes) != 0) return "";
    char from[65], life[16], target[65], number[24];
    const std::string head =
        body.substr(kDigestBytes, body.find('\n', kDigestBytes) - kDigestBytes);
    if (std::sscanf(head.c_str(), "%64s %15s %64s %23s", from, life, target, number) != 4 ||
        delivery.From() != from || options_.name != target) {
      return "";
    }
    return std::string(from) + " " + life + " " + number;
  }

  int Consume() {
    int idle = 0;
    while (!stopping || idle < 5) {
      std::string delivered;
      std::string acked;
      std::vector<LeaseToken> tokens;
      const uint64_t most = 1 + Below(16);
      while (tokens.size() < most) {
        Delivery delivery;
        const Status status = tokens.empty() ? agent_.Receive(&delivery, Deadline::After(50 * kMs))
                                             : agent_.TryTake(TakeFilter::kAll, &delivery);
        if (status == Status::kTimedOut || status == Status::kEmpty || status == Status::kFull) {
          break;
        }
        if (status != Status::kOk) return Fail("receive", status);
        std::string body(delivery.body_bytes, '\0');
        const Status copied = agent_.CopyBody(delivery, body.data());
        const std::string key = copied == Status::kOk ? KeyOf(delivery, body) : "";
        if (key.empty()) {
          delivered += std::string("X corrupt, from ") + std::string(delivery.From()) + "\n";
          continue;
        }
        delivered += "D " + key + " " + std::to_string(delivery.attempt) + "\n";
        acked += "K " + key + "\n";
        tokens.push_back(delivery.token);
      }
      idle = tokens.empty() ? idle + 1 : 0;
      if (!delivered.empty()) log_.Write(delivered);
      if (tokens.empty()) continue;
      if (Dice() < 0.3) usleep(static_cast<useconds_t>(Below(20'000)));
      for (const LeaseToken& token : tokens) {
        const Status status = agent_.Ack(token);
        if (status != Status::kOk) log_.Write(std::string("X ack: ") + StatusText(status) + "\n");
      }
      log_.Write(acked);
    }
    return 0;
  }

  int Repair() {
    for (uint32_t sweeps = 0; !stopping; ++sweeps) {
      const SweepReport report = Sweep(*fabric_, participant_.owner());
      if (report.reaped > 0 || sweeps % 256 == 0) {
        log_.Write("R " + std::to_string(report.reaped) + "\n");
      }
      usleep(1000);
    }
    participant_.Unregister();
    return 0;
  }

  const Options& options_;
  Log log_;
  Fabric* fabric_;
  std::mt19937_64 random_;
  Participant participant_;
  Agent agent_;
};

}  // namespace
}  // namespace cfc

int main(int argc, char** argv) {
  if (argc < 8) {
    std::fprintf(stderr, "usage: torture_peer ROLE NAME LIFE DIR LOG SEED CELLS TARGET...\n");
    return 2;
  }
  cfc::Options options;
  options.role = argv[1];
  options.name = argv[2];
  options.life = argv[3];
  options.dir = argv[4];
  options.log = argv[5];
  options.seed = std::strtoull(argv[6], nullptr, 10);
  options.cells = static_cast<uint32_t>(std::strtoul(argv[7], nullptr, 10));
  for (int i = 8; i < argc; ++i) options.targets.emplace_back(argv[i]);
  struct sigaction action = {};
  action.sa_handler = [](int) { cfc::stopping = 1; };
  sigaction(SIGTERM, &action, nullptr);

  std::unique_ptr<cfc::Fabric> fabric;
  cfc::Failure failure;
  const cfc::Status status = cfc::Fabric::Open("torture", options.dir, &fabric, &failure);
  if (status != cfc::Status::kOk) {
    std::fprintf(stderr, "%s: %s %s\n", failure.path, cfc::StatusText(status), failure.detail);
    return 1;
  }
  return cfc::Peer(options, fabric.get()).Run();
}
