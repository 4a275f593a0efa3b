// torture: real processes under random SIGKILL and SIGSTOP, against an oracle outside of the
// fabric.
//
//   torture [--kills 300] [--stops 30] [--seconds 15] [--seed 1] [--producers 6] [--consumers 3]
//           [--hang-ms 1000] [--near-wrap] [--keep]
//
// Producers send bodies of random sizes to the mailboxes of consumers, one by one and in batches,
// and come and go; consumers ack, nack, hand over and hold back. At random moments one of them, or
// one of each, is killed and started again under its name, or stopped for a while. Afterwards:
// nothing accepted is lost, nothing is torn, nothing overtakes, nothing is delivered twice without
// a flag or after its ack, no living process stood still for longer than --hang-ms, the mailboxes'
// own counts agree to the message, and no cell, chunk, slot, box or name is left taken.
//
// With --near-wrap the lanes begin shortly before their positions pass 2^32 and their laps 2^32, as
// after months, and enough of them must pass it.
//
// A seed gives the same choices; what the kernel's scheduler makes of them is its own.
// Exit: 0, 1 (a violation), 2 (usage), 3 (too little load or too few hits to mean anything).
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
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

constexpr int64_t kMs = 1'000'000;     // ns
constexpr int64_t kLookNs = 20 * kMs;  // two looks that are further apart leave a gap
constexpr uint32_t kMostProcesses = 64;
constexpr uint32_t kMostBoxes = 16;
constexpr uint32_t kStreams = kMostBoxes * kLanes;  // of one sender: a mailbox and a lane
constexpr uint32_t kProducerCells = 16;
constexpr uint32_t kConsumerCells = 64;
constexpr uint32_t kMostLives = 1u << 16;
constexpr uint64_t kMostRecords = 64u << 20;

struct Options {
  uint32_t kills = 300;
  uint32_t stops = 30;
  uint32_t seconds = 15;
  uint64_t seed = 1;
  uint32_t producers = 6;
  uint32_t consumers = 3;
  uint32_t hang_ms = 1000;
  bool near_wrap = false;
  bool keep = false;  // the files, to look at
};

// ---- the oracle: memory that all share, and that no fabric knows of

enum class Event : uint8_t { kDelivered = 1, kAcked = 2 };

struct Record {
  uint32_t life;
  uint16_t stream;
  uint8_t attempt;
  Event event;
  std::atomic<uint64_t> number;  // stored last; 0: its writer died before
};

// Numbers of a stream begin at 1 and a refused one is used again: so what was accepted is 1 to
// `accepted`, and nothing after `tried` can ever arrive.
struct Life {
  std::atomic<uint64_t> tried[kStreams];
  std::atomic<uint64_t> accepted[kStreams];
};

enum class Phase : uint32_t { kIdle = 0, kJoining = 1, kSending = 2, kHolding = 3 };

struct Process {
  alignas(128) std::atomic<uint64_t> progress;
  std::atomic<uint32_t> phase;
};

struct Oracle {
  std::atomic<bool> producers_stop;
  std::atomic<bool> consumers_stop;
  std::atomic<uint32_t> violations;
  std::atomic<uint32_t> lives;
  std::atomic<uint64_t> records;
  Process processes[kMostProcesses];
  Life life[kMostLives];
  Record log[kMostRecords];
};

Oracle* oracle = nullptr;

[[gnu::format(printf, 1, 2)]] void Violation(const char* format, ...) {
  const uint32_t count = oracle->violations.fetch_add(1);
  if (count >= 30) return;
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "violation [%d]: %s\n", getpid(), text);
}

void Note(Event event, uint32_t life, uint32_t stream, uint64_t number, uint32_t attempt) {
  const uint64_t at = oracle->records.fetch_add(1);
  if (at >= kMostRecords) {
    Violation("the oracle's log is full");
    _exit(1);
  }
  Record& record = oracle->log[at];
  record.life = life;
  record.stream = static_cast<uint16_t>(stream);
  record.attempt = static_cast<uint8_t>(attempt);
  record.event = event;
  record.number.store(number);
}

// ---- bodies: who, which, and bytes that follow from both

struct BodyHead {
  uint32_t life;
  uint32_t stream;
  uint64_t number;
};

uint64_t Mix(uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58'476d'1ce4'e5b9;
  value = (value ^ value >> 27) * 0x94d0'49bb'1331'11eb;
  return value ^ value >> 31;
}

// Most fit into a cell, some take a chunk, a few take several.
size_t SizeOf(const BodyHead& head) {
  const uint64_t dice = Mix(head.number * 64 + head.stream + (uint64_t{head.life} << 40));
  const uint64_t percent = dice % 100;
  const uint64_t most = percent == 0   ? 300 * 1024
                        : percent < 9  ? 65'536
                        : percent < 36 ? 4096
                                       : 130;
  return sizeof(BodyHead) + (dice >> 8) % most;
}

std::string MakeBody(const BodyHead& head) {
  std::string body(SizeOf(head), '\0');
  std::memcpy(body.data(), &head, sizeof head);
  uint64_t state = Mix(head.number ^ uint64_t{head.life} << 40 ^ uint64_t{head.stream} << 32);
  for (size_t i = sizeof head; i < body.size(); i += 8) {
    state = state * 6'364'136'223'846'793'005 + 1'442'695'040'888'963'407;
    std::memcpy(&body[i], &state, std::min<size_t>(8, body.size() - i));
  }
  return body;
}

uint32_t StreamOf(uint32_t box, LaneIndex lane) { return box * kLanes + lane; }

std::string NameOf(char kind, uint32_t index) { return kind + std::to_string(index); }

// ---- producers

class Producer {
 public:
  Producer(const Options& options, Fabric* fabric, uint32_t index, uint64_t seed)
      : options_(options), fabric_(fabric), index_(index), random_(seed) {}

  int Run() {
    if (!BeginLife()) return 1;
    uint32_t sent = 0;
    while (!oracle->producers_stop.load()) {
      if (random_() % 4000 == 0) {  // leaves and comes back, now and then as somebody new
        phase(Phase::kJoining);
        agent_.Leave();
        if (random_() % 2) participant_.Unregister();
        if (!BeginLife()) return 1;
      }
      const auto box = static_cast<uint32_t>(random_() % options_.consumers);
      const LaneIndex lane = random_() % 10 ? kWorkLane : kControlLane;
      phase(Phase::kSending);
      if (random_() % 8 == 0) {
        SendBatch(box, lane, 2 + static_cast<uint32_t>(random_() % 3));
      } else {
        SendOne(box, lane);
      }
      phase(Phase::kIdle);
      if (++sent % 16 == 0) usleep(100);  // leaves the machine to others for a while
    }
    agent_.Leave();
    participant_.Unregister();
    return 0;
  }

 private:
  void phase(Phase phase) { oracle->processes[index_].phase.store(static_cast<uint32_t>(phase)); }
  void Progress() { oracle->processes[index_].progress.fetch_add(1); }

  bool BeginLife() {
    phase(Phase::kJoining);
    Failure failure;
    if (!participant_.registered()) {
      const Status status = participant_.Register(fabric_, &failure);
      if (status != Status::kOk) {
        Violation("producer %u: register: %s", index_, StatusText(status));
        return false;
      }
      life_ = oracle->lives.fetch_add(1);
      if (life_ >= kMostLives) return false;
      routes_.clear();
      for (uint32_t box = 0; box < options_.consumers; ++box) {
        routes_.emplace_back();
        routes_.back().name = NameOf('c', box);
      }
    }
    const std::string name = NameOf('p', index_);
    const Status status =
        agent_.Join(&participant_, {.name = name, .mailbox_cells = kProducerCells}, &failure);
    if (status != Status::kOk) {
      Violation("producer %u: join: %s", index_, StatusText(status));
      return false;
    }
    phase(Phase::kIdle);
    Progress();
    return true;
  }

  void SendOne(uint32_t box, LaneIndex lane) {
    const uint32_t stream = StreamOf(box, lane);
    Life& life = oracle->life[life_];
    const uint64_t number = life.accepted[stream].load() + 1;
    const std::string body = MakeBody({life_, stream, number});
    if (life.tried[stream].load() < number) life.tried[stream].store(number);
    const Status status = agent_.Send(&routes_[box], {.body = body, .lane = lane},
                                      Deadline::After(20'000 * kMs), nullptr);
    if (status == Status::kOk) {
      life.accepted[stream].store(number);
      Progress();
    } else if (status == Status::kNoAgent || status == Status::kClosed || status == Status::kBusy) {
      usleep(1000);  // the consumer is just coming
    } else {
      Violation("producer %u: send: %s", index_, StatusText(status));
    }
  }

  void SendBatch(uint32_t box, LaneIndex lane, uint32_t count) {
    const uint32_t stream = StreamOf(box, lane);
    Life& life = oracle->life[life_];
    count = std::min(count, agent_.BatchLimit(&routes_[box], lane));
    const uint64_t first = life.accepted[stream].load() + 1;
    std::vector<std::string> bodies;
    std::vector<Outgoing> batch;
    for (uint32_t i = 0; i < count; ++i) bodies.push_back(MakeBody({life_, stream, first + i}));
    for (const std::string& body : bodies) batch.push_back({.body = body, .lane = lane});
    const uint64_t last = first + count - 1;
    if (life.tried[stream].load() < last) life.tried[stream].store(last);
    uint32_t accepted = 0;
    const Status status =
        agent_.TrySendBatch(&routes_[box], batch.data(), count, nullptr, &accepted);
    life.accepted[stream].store(first + accepted - 1);
    if (accepted > 0) Progress();
    if (accepted == count) return;
    if (status == Status::kOk || (status == Status::kFull && accepted != 0)) {
      Violation("producer %u: batch of %u: %u accepted, %s", index_, count, accepted,
                StatusText(status));
    }
    if (status == Status::kFull || status == Status::kSlabFull) SendOne(box, lane);  // waits
  }

  const Options& options_;
  Fabric* fabric_;
  uint32_t index_;
  std::mt19937_64 random_;
  Participant participant_;
  Agent agent_;
  uint32_t life_ = 0;
  std::vector<Route> routes_;
};

// ---- consumers

class Consumer {
 public:
  Consumer(const Options& options, Fabric* fabric, uint32_t box, uint64_t seed)
      : fabric_(fabric), index_(options.producers + box), box_(box), random_(seed) {}

  int Run() {
    phase(Phase::kJoining);
    Failure failure;
    Status status = participant_.Register(fabric_, &failure);
    if (status != Status::kOk) {
      Violation("consumer %u: register: %s", box_, StatusText(status));
      return 1;
    }
    const std::string name = NameOf('c', box_);
    status = agent_.Join(&participant_, {.name = name, .mailbox_cells = kConsumerCells}, &failure);
    if (status != Status::kOk) {
      Violation("consumer %u: join: %s", box_, StatusText(status));
      return 1;
    }
    while (!oracle->consumers_stop.load()) {
      phase(held_.empty() ? Phase::kIdle : Phase::kHolding);
      Delivery delivery;
      status = agent_.Receive(&delivery, Deadline::After((held_.empty() ? 100 : 1) * kMs));
      if (status == Status::kTimedOut || status == Status::kFull) {
        AckAll();
        Progress();
        continue;
      }
      if (status != Status::kOk) {
        Violation("consumer %u: receive: %s", box_, StatusText(status));
        return 1;
      }
      phase(Phase::kHolding);
      Take(delivery);
      Progress();
    }
    AckAll();
    agent_.Leave();
    participant_.Unregister();
    return 0;
  }

 private:
  struct Held {
    LeaseToken token;
    BodyHead head;
  };

  void phase(Phase phase) { oracle->processes[index_].phase.store(static_cast<uint32_t>(phase)); }
  void Progress() { oracle->processes[index_].progress.fetch_add(1); }

  void Take(const Delivery& delivery) {
    std::string body(delivery.body_bytes, '\0');
    const Status status = agent_.CopyBody(delivery, body.data());
    BodyHead head = {};
    if (body.size() >= sizeof head) std::memcpy(&head, body.data(), sizeof head);
    if (status != Status::kOk) {
      Violation("consumer %u: body of %u bytes: %s", box_, delivery.body_bytes, StatusText(status));
    } else if (head.life >= kMostLives || head.stream != StreamOf(box_, delivery.token.lane) ||
               body.size() != SizeOf(head) || body != MakeBody(head)) {
      Violation("consumer %u: a torn body: life %u, stream %u, number %llu, %zu bytes", box_,
                head.life, head.stream, static_cast<unsigned long long>(head.number), body.size());
      return;
    }
    Note(Event::kDelivered, head.life, head.stream, head.number, delivery.attempt);
    LeaseToken token = delivery.token;
    switch (random_() % 16) {
      case 0:
        if (agent_.Nack(token, 0) != Status::kOk) Violation("consumer %u: nack", box_);
        return;
      case 1:
        if (agent_.Nack(token, 1 + random_() % 4) != Status::kOk) {
          Violation("consumer %u: nack with a delay", box_);
        }
        return;
      case 2:
        if (agent_.HandOver(&token) != Status::kOk) Violation("consumer %u: hand over", box_);
        Ack({token, head});
        return;
      case 3:
      case 4:
      case 5:  // holds it back for a while
        held_.push_back({token, head});
        if (held_.size() >= 3) AckAll();
        return;
      default:
        Ack({token, head});
    }
  }

  void Ack(const Held& held) {
    const Status status = agent_.Ack(held.token);
    if (status == Status::kOk) {
      Note(Event::kAcked, held.head.life, held.head.stream, held.head.number, 0);
    } else {
      Violation("consumer %u: ack: %s", box_, StatusText(status));
    }
  }

  void AckAll() {
    std::shuffle(held_.begin(), held_.end(), random_);
    for (const Held& held : held_) Ack(held);
    held_.clear();
  }

  Fabric* fabric_;
  uint32_t index_;
  uint32_t box_;
  std::mt19937_64 random_;
  Participant participant_;
  Agent agent_;
  std::vector<Held> held_;
};

// ---- the one who kills

struct Figures {
  uint32_t killed_producers = 0, killed_consumers = 0, stopped = 0;
  // In the middle of something:
  uint32_t hit_producers = 0, hit_consumers = 0, hit_stopped = 0;
  int64_t longest_ns = 0;
  int64_t watched_ns = 0, blind_ns = 0, longest_blind_ns = 0;  // of the one who watches
};

class Torturer {
 public:
  Torturer(const Options& options, Fabric* fabric)
      : options_(options), fabric_(fabric), random_(options.seed) {
    children_.resize(options.producers + options.consumers);
  }
  ~Torturer() {
    for (const Child& child : children_) {
      if (child.pid > 0) {
        kill(child.pid, SIGKILL);
        waitpid(child.pid, nullptr, 0);
      }
    }
  }

  void Run() {
    for (uint32_t i = 0; i < children_.size(); ++i) Spawn(i);
    WatchFor(200 * kMs);
    const uint32_t events = options_.kills + options_.stops;
    const int64_t each_ns = int64_t{options_.seconds} * 1000 * kMs / std::max(events, 1u);
    uint32_t kills_left = options_.kills;
    for (uint32_t left = events; left > 0; --left) {
      WatchFor(each_ns / 2 + static_cast<int64_t>(random_() % static_cast<uint64_t>(each_ns)));
      if (random_() % left < kills_left) {
        --kills_left;
        Kill();
      } else {
        Stop();
      }
    }
    WatchFor(500 * kMs);
    for (uint32_t i = 0; i < children_.size(); ++i) Continue(i);
    Finish();
  }

  Figures figures() const {
    Figures figures = figures_;
    figures.watched_ns = watched_ns_;
    return figures;
  }

 private:
  struct Child {
    pid_t pid = -1;
    uint64_t progress = 0;
    int64_t changed_ns = 0;        // of our clock
    int64_t stopped_until_ns = 0;  // of our clock; 0: it runs
  };

  bool IsConsumer(uint32_t i) const { return i >= options_.producers; }
  const char* KindOf(uint32_t i) const { return IsConsumer(i) ? "consumer" : "producer"; }

  void Spawn(uint32_t i) {
    oracle->processes[i].phase.store(static_cast<uint32_t>(Phase::kJoining));
    const uint64_t seed = random_();
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      int code;
      if (IsConsumer(i)) {
        code = Consumer(options_, fabric_, i - options_.producers, seed).Run();
      } else {
        code = Producer(options_, fabric_, i, seed).Run();
      }
      _exit(code);
    }
    if (pid < 0) {
      std::perror("fork");
      std::exit(1);
    }
    children_[i] = {pid, oracle->processes[i].progress.load(), Now(), 0};
  }

  // Sleeps, and sees to it that everybody who can gets on.
  void WatchFor(int64_t ns) {
    const int64_t until = MonotonicNs() + ns;
    do {
      usleep(2000);
      Watch();
    } while (MonotonicNs() < until);
  }

  // Its clock stands still while we do: where the machine has no time for us, it has none for them.
  // So what happens between two looks that are far apart is not judged, but counted: too much of
  // it, and the run says nothing.
  int64_t Now() {
    const int64_t now = MonotonicNs();
    const int64_t seen = std::min(now - looked_ns_, kLookNs);
    const int64_t blind = now - looked_ns_ - seen;
    watched_ns_ += seen;
    figures_.blind_ns += blind;
    figures_.longest_blind_ns = std::max(figures_.longest_blind_ns, blind);
    looked_ns_ = now;
    return watched_ns_;
  }

  void Watch() {
    const int64_t now = Now();
    for (uint32_t i = 0; i < children_.size(); ++i) {
      Child& child = children_[i];
      if (child.pid < 0) continue;
      if (child.stopped_until_ns != 0) {
        if (now >= child.stopped_until_ns) Continue(i);
        continue;
      }
      const uint64_t progress = oracle->processes[i].progress.load();
      const int64_t stood_ns = now - child.changed_ns;
      figures_.longest_ns = std::max(figures_.longest_ns, stood_ns);
      if (progress != child.progress) {
        child.progress = progress;
        child.changed_ns = now;
      } else if (stood_ns > int64_t{options_.hang_ms} * kMs) {
        Violation("%s %u stood still for %lld ms, in phase %u", KindOf(i), i,
                  static_cast<long long>(stood_ns / kMs), oracle->processes[i].phase.load());
        child.changed_ns = now;
      }
      int status = 0;
      if (!ending_ && waitpid(child.pid, &status, WNOHANG) == child.pid) {
        Violation("%s %u ended by itself: %s %d", KindOf(i), i,
                  WIFSIGNALED(status) ? "signal" : "code",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        Spawn(i);
      }
    }
  }

  uint32_t Pick(bool consumer) {
    const uint32_t count = consumer ? options_.consumers : options_.producers;
    const auto i = static_cast<uint32_t>(random_() % count);
    return consumer ? options_.producers + i : i;
  }

  void Kill() {
    const uint64_t dice = random_() % 10;
    std::vector<uint32_t> victims;
    if (dice < 5 || dice == 9) victims.push_back(Pick(false));
    if (dice >= 5) victims.push_back(Pick(true));
    for (const uint32_t i : victims) kill(children_[i].pid, SIGKILL);
    for (const uint32_t i : victims) {
      waitpid(children_[i].pid, nullptr, 0);
      children_[i].pid = -1;
      ++(IsConsumer(i) ? figures_.killed_consumers : figures_.killed_producers);
      if (oracle->processes[i].phase.load() == 0) continue;
      ++(IsConsumer(i) ? figures_.hit_consumers : figures_.hit_producers);
    }
    if (random_() % 4 == 0) WatchFor(static_cast<int64_t>(random_() % 20) * kMs);
    for (const uint32_t i : victims) Spawn(i);
  }

  void Stop() {
    const uint32_t i = Pick(random_() % 3 == 0);
    if (children_[i].stopped_until_ns != 0) return;
    kill(children_[i].pid, SIGSTOP);
    children_[i].stopped_until_ns = Now() + (50 + static_cast<int64_t>(random_() % 350)) * kMs;
    ++figures_.stopped;
    figures_.hit_stopped += oracle->processes[i].phase.load() != 0;
  }

  void Continue(uint32_t i) {
    Child& child = children_[i];
    if (child.pid < 0 || child.stopped_until_ns == 0) return;
    kill(child.pid, SIGCONT);
    const int64_t now = Now();
    child.stopped_until_ns = 0;
    // Who waited for it has a right to start counting anew, too.
    for (Child& other : children_) other.changed_ns = std::max(other.changed_ns, now - 1);
  }

  // Producers end, consumers drain, consumers end.
  void Finish() {
    oracle->producers_stop.store(true);
    WaitAll(false);
    const int64_t limit = MonotonicNs() + 30'000 * kMs;
    for (uint64_t depth = 1; depth != 0 && MonotonicNs() < limit;) {
      WatchFor(10 * kMs);
      depth = 0;
      fabric_->mail().ForEach([&](const MailboxView& view) {
        for (const Lane& lane : view.lanes) depth += lane.Depth();
      });
    }
    oracle->consumers_stop.store(true);
    WaitAll(true);
  }

  void WaitAll(bool consumers) {
    ending_ = true;
    const int64_t limit = MonotonicNs() + 30'000 * kMs;
    for (uint32_t i = 0; i < children_.size(); ++i) {
      if (IsConsumer(i) != consumers) continue;
      int status = 0;
      while (waitpid(children_[i].pid, &status, WNOHANG) == 0) {
        if (MonotonicNs() > limit) {
          Violation("%s %u does not end", KindOf(i), i);
          kill(children_[i].pid, SIGKILL);
        }
        usleep(2000);
      }
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        Violation("%s %u ended with status %x", KindOf(i), i, static_cast<unsigned>(status));
      }
      children_[i].pid = -1;
    }
    ending_ = false;
  }

  const Options& options_;
  Fabric* fabric_;
  std::mt19937_64 random_;
  std::vector<Child> children_;
  Figures figures_;
  int64_t watched_ns_ = 0;
  int64_t looked_ns_ = MonotonicNs();
  bool ending_ = false;
};

// ---- what must hold

struct Ledger {
  uint64_t accepted = 0, delivered = 0, redelivered = 0, acked = 0, unconfirmed = 0;
};

Ledger CheckLedger() {
  struct Stream {
    std::vector<uint8_t> seen;  // by number: 1 delivered, 2 acked, 4 first delivery was seen
    uint64_t last_first = 0;    // the latest that came for the first time
  };
  Ledger ledger;
  const uint32_t lives = std::min(oracle->lives.load(), kMostLives);
  std::vector<std::array<Stream, kStreams>> streams(lives);
  const uint64_t records = std::min(oracle->records.load(), kMostRecords);
  for (uint64_t at = 0; at < records; ++at) {
    const Record& record = oracle->log[at];
    const uint64_t number = record.number.load();
    if (number == 0) continue;
    const auto where = [&] {
      return "life " + std::to_string(record.life) + ", stream " + std::to_string(record.stream) +
             ", number " + std::to_string(number);
    };
    if (record.life >= lives || record.stream >= kStreams ||
        number > oracle->life[record.life].tried[record.stream].load()) {
      Violation("delivered, but never sent: %s", where().c_str());
      continue;
    }
    Stream& stream = streams[record.life][record.stream];
    if (stream.seen.size() <= number) stream.seen.resize(number + 1);
    uint8_t& seen = stream.seen[number];
    if (record.event == Event::kAcked) {
      if (seen & 2) Violation("acked twice: %s", where().c_str());
      seen |= 2;
      continue;
    }
    if (seen & 2) Violation("delivered after its ack: %s", where().c_str());
    if (record.attempt == 0) {
      if (seen & 1) Violation("delivered again without a flag: %s", where().c_str());
      if (number <= stream.last_first) Violation("overtaken: %s", where().c_str());
      stream.last_first = number;
    } else {
      ++ledger.redelivered;
    }
    seen |= 1;
  }
  for (uint32_t life = 0; life < lives; ++life) {
    for (uint32_t s = 0; s < kStreams; ++s) {
      const uint64_t accepted = oracle->life[life].accepted[s].load();
      const std::vector<uint8_t>& seen = streams[life][s].seen;
      ledger.accepted += accepted;
      for (uint64_t number = 1; number <= accepted || number < seen.size(); ++number) {
        const bool delivered = number < seen.size() && (seen[number] & 1);
        ledger.delivered += delivered;
        ledger.unconfirmed += delivered && number > accepted;
        if (!delivered) {
          Violation("%s: life %u, stream %u, number %llu", number <= accepted ? "lost" : "a gap",
                    life, s, static_cast<unsigned long long>(number));
        }
      }
    }
  }
  return ledger;
}

// ---- lanes that begin near a wrap

// Where a lane was made to begin, and the position that it is to pass.
struct Beginning {
  BoxId box;
  uint32_t lane;
  uint64_t start;
  uint64_t wrap;
};
using Beginnings = std::vector<Beginning>;

// So far before it that every lane at work passes it in the first seconds.
constexpr uint64_t kMostBefore = 500;

// Makes the first segments of mailboxes, by members who leave again, and sets what they have.
bool BeginNearWrap(uint64_t seed, Fabric* fabric, Beginnings* beginnings) {
  for (const uint32_t cells : {kConsumerCells, kProducerCells}) {
    Failure failure;
    Participant participant;
    if (participant.Register(fabric, &failure) != Status::kOk) return false;
    Agent agent;
    if (agent.Join(&participant, {.name = "first", .mailbox_cells = cells}, &failure) !=
        Status::kOk) {
      return false;
    }
    agent.Leave();
  }
  std::mt19937_64 random(seed);
  fabric->mail().ForEach([&](const MailboxView& view) {
    for (uint32_t i = 0; i < kLanes; ++i) {
      Lane lane = view.lanes[i];
      // Of positions, whose lower half counts acks; of laps; and of laps as signed numbers.
      const uint64_t wraps[] = {uint64_t{1} << 32, (uint64_t{1} << 32) * lane.capacity(),
                                (uint64_t{1} << 31) * lane.capacity()};
      const uint64_t wrap = wraps[random() % 3];
      const uint64_t start = wrap - 1 - random() % kMostBefore;
      lane.Initialize(start);
      beginnings->push_back({view.box, i, start, wrap});
    }
  });
  return !beginnings->empty();
}

const Beginning* Find(const Beginnings& beginnings, BoxId box, uint32_t lane) {
  for (const Beginning& one : beginnings) {
    if (one.box == box && one.lane == lane) return &one;
  }
  return nullptr;
}

// Returns how many lanes passed the wrap before which they began
uint32_t CheckFabric(Fabric& fabric, const Beginnings& beginnings, Ledger* ledger) {
  uint32_t passed = 0;
  {
    Participant participant;
    if (participant.Register(&fabric, nullptr) != Status::kOk) {
      Violation("no slot is left for the one who sweeps");
      return 0;
    }
    Sweep(fabric, participant.owner());
    const SweepReport second = Sweep(fabric, participant.owner());
    if (second.settled != 0 || second.chunks != 0 || second.reaped != 0) {
      Violation("a second sweep found something left");
    }
  }
  fabric.mail().ForEach([&](const MailboxView& view) {
    if (BoxKindOf(view.words->word.load()) != BoxKind::kFree) {
      Violation("mailbox %u is still taken", view.box);
    }
    for (uint32_t i = 0; i < kLanes; ++i) {
      const Lane& lane = view.lanes[i];
      const LaneCensus cells = lane.Census();
      const Beginning* const begun = Find(beginnings, view.box, i);
      const uint64_t start = begun == nullptr ? 0 : begun->start;
      ledger->acked += static_cast<uint32_t>(lane.AckedCount() - static_cast<uint32_t>(start));
      if (begun != nullptr && cells.head > begun->wrap) ++passed;
      if (cells.claimed + cells.quarantined + cells.ready + cells.leased + cells.held != 0 ||
          lane.Depth() != 0) {
        Violation("mailbox %u: %u claimed, %u quarantined, %u ready, %u leased, %u held", view.box,
                  cells.claimed, cells.quarantined, cells.ready, cells.leased, cells.held);
      }
      if (cells.dropped + cells.dead_lettered != 0) {
        Violation("mailbox %u: something was dropped", view.box);
      }
    }
  });
  const SlabCensus slab = fabric.slab().Census();
  if (slab.loaned + slab.placed != 0) {
    Violation("%llu chunks loaned, %llu placed", static_cast<unsigned long long>(slab.loaned),
              static_cast<unsigned long long>(slab.placed));
  }
  for (uint32_t i = 1; i <= fabric.slots(); ++i) {
    const uint64_t word = fabric.SlotAt(i)->word.load();
    if (SlotStateOf(word) != SlotState::kFree) Violation("slot %u is still taken", i);
    if (fabric.wants().Of(i).load() != 0) Violation("slot %u still wants room", i);
  }
  for (uint32_t i = 0; i < fabric.entry_count(); ++i) {
    if (EntryKindOf(fabric.entries()[i].word.load()) != EntryKind::kFree) {
      Violation("entry %u is still taken", i);
    }
  }
  // A producer killed for good leaves a name that is nobody's; the next of that name clears it.
  if (ledger->acked != ledger->delivered) {
    Violation("the mailboxes count %llu acks, the oracle %llu messages",
              static_cast<unsigned long long>(ledger->acked),
              static_cast<unsigned long long>(ledger->delivered));
  }
  return passed;
}

bool Parse(int argc, char** argv, Options* options) {
  const auto number = [&](int* i, auto* out) {
    if (*i + 1 >= argc) return false;
    char* end = nullptr;
    errno = 0;
    const unsigned long long value = std::strtoull(argv[++*i], &end, 10);
    *out = static_cast<std::remove_pointer_t<decltype(out)>>(value);
    return *end == 0 && errno == 0 && *out == value;
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    bool good = false;
    if (name == "--kills") good = number(&i, &options->kills);
    if (name == "--stops") good = number(&i, &options->stops);
    if (name == "--seconds") good = number(&i, &options->seconds);
    if (name == "--seed") good = number(&i, &options->seed);
    if (name == "--producers") good = number(&i, &options->producers);
    if (name == "--consumers") good = number(&i, &options->consumers);
    if (name == "--hang-ms") good = number(&i, &options->hang_ms);
    if (name == "--near-wrap") good = options->near_wrap = true;
    if (name == "--keep") good = options->keep = true;
    if (!good) return false;
  }
  return options->producers >= 1 && options->consumers >= 1 && options->consumers <= kMostBoxes &&
         options->producers + options->consumers <= kMostProcesses && options->seconds >= 1;
}

int Torture(const Options& options) {
  void* const memory = mmap(nullptr, sizeof(Oracle), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    return 1;
  }
  oracle = static_cast<Oracle*>(memory);  // zeroes are its initial state

  const std::string base = "/dev/shm/cfc-torture-" + std::to_string(getpid());
  FabricOptions sizes;
  sizes.max_agents = 64;
  sizes.max_participants = 48;  // few, so that the dead ones' are needed again
  sizes.mailbox_cells = kConsumerCells;
  sizes.attempt_limit = 0;  // nacked and robbed as often as chance has it, all of it must arrive
  std::unique_ptr<Fabric> fabric;
  Failure failure;
  const Status status = Fabric::Create("torture", base, sizes, &fabric, &failure);
  if (status != Status::kOk) {
    std::fprintf(stderr, "torture: %s: %s %s\n", failure.path, StatusText(status), failure.detail);
    return 1;
  }
  Beginnings beginnings;
  if (options.near_wrap && !BeginNearWrap(options.seed, fabric.get(), &beginnings)) {
    std::fprintf(stderr, "torture: no mailboxes to begin with\n");
    return 1;
  }
  Figures figures;
  {
    Torturer torturer(options, fabric.get());
    torturer.Run();
    figures = torturer.figures();
  }
  Ledger ledger = CheckLedger();
  const uint32_t passed = CheckFabric(*fabric, beginnings, &ledger);
  if (!options.keep) {
    fabric.reset();
    std::error_code ignored;
    std::filesystem::remove_all(base, ignored);
  }

  const uint32_t killed = figures.killed_producers + figures.killed_consumers;
  const uint32_t hits = figures.hit_producers + figures.hit_consumers;
  const uint32_t violations = oracle->violations.load();
  std::printf("torture: seed %llu, %u producers, %u consumers\n",
              static_cast<unsigned long long>(options.seed), options.producers, options.consumers);
  std::printf(
      "  killed %u producers (%u at work), %u consumers (%u at work); stopped %u (%u at work)\n",
      figures.killed_producers, figures.hit_producers, figures.killed_consumers,
      figures.hit_consumers, figures.stopped, figures.hit_stopped);
  std::printf("  longest standstill %lld ms; not watched for %lld ms, at most %lld at a time\n",
              static_cast<long long>(figures.longest_ns / kMs),
              static_cast<long long>(figures.blind_ns / kMs),
              static_cast<long long>(figures.longest_blind_ns / kMs));
  std::printf(
      "  accepted %llu, delivered %llu (%llu whose sender died before it knew), "
      "redelivered %llu, acked %llu\n",
      static_cast<unsigned long long>(ledger.accepted),
      static_cast<unsigned long long>(ledger.delivered),
      static_cast<unsigned long long>(ledger.unconfirmed),
      static_cast<unsigned long long>(ledger.redelivered),
      static_cast<unsigned long long>(ledger.acked));
  if (options.near_wrap) std::printf("  %u lanes passed their wrap\n", passed);
  std::printf("injected %u, hit %u, violations %u\n", killed, hits, violations);
  if (violations != 0) return 1;
  if (options.near_wrap && passed < options.consumers) {
    std::printf("too few lanes passed their wrap\n");
    return 3;
  }
  if (figures.blind_ns > figures.watched_ns / 4) {
    std::printf("too little was seen to say that nobody hung\n");
    return 3;
  }
  if (killed < options.kills || hits < killed / 4 || ledger.accepted < uint64_t{100} * killed) {
    std::printf("too little load, or too few hits, to mean anything\n");
    return 3;
  }
  return 0;
}

}  // namespace
}  // namespace cfc

int main(int argc, char** argv) {
  cfc::Options options;
  if (!cfc::Parse(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: torture [--kills N] [--stops N] [--seconds N] [--seed N] [--producers N]\n"
                 "               [--consumers N] [--hang-ms N] [--near-wrap] [--keep]\n");
    return 2;
  }
  return cfc::Torture(options);
}
