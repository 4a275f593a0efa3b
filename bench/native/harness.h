// What every native bench shares: arguments, placement, processes, clocks, counting, JSON.
//
// A bench is a Link, which moves bytes between processes, put through OneWay or RoundTrip. Side 0
// receives; sides 1 to `producers` send. In a round trip side 0 sends back what it gets.
//
//   class Link {
//    public:
//     explicit Link(const Settings&);   // in the parent, before it forks
//     void Open(uint32_t side);         // in each process, before anything else
//     void Send(const char* body);      // settings.bytes; blocks while there is no room
//     void Flush();                     // nothing of what was sent waits in this process
//     // False once timeout_ns have passed; negative: waits for ever.
//     bool Receive(char* body, int64_t timeout_ns);
//     static constexpr const char* kName;
//     std::string Detail() const;       // what the reader of a figure ought to know
//   };
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace bench {

enum class Placement { kOneCore, kTwoCores, kFree };

struct Settings {
  bool round_trip = false;
  Placement placement = Placement::kFree;
  uint64_t count = 100'000;
  uint32_t bytes = 64;
  uint32_t producers = 1;        // of a topic: subscribers
  bool batch = false;            // a link that can, sends and acks many at a time
  std::string dir = "/dev/shm";  // where files go
};

constexpr uint32_t kMostProducers = 128;  // that send
constexpr uint32_t kMostSides = 2000;     // subscribers and sleepers
constexpr uint32_t kDepth = 1024;         // messages that a queue holds, where that is ours to say
constexpr uint64_t kWarmUpTrips = 500;

// one-way|round-trip --placement 1core|2cores|free --count N --bytes N --producers N --batch
// --dir PATH
Settings Parse(int argc, char** argv);
[[noreturn]] void Die(const char* what);
int64_t NowNs();
// Both sides on CPU 0, each on its own, or wherever the scheduler likes.
void Pin(Placement placement, uint32_t side);
// Zeroed memory that forked processes share; never unmapped.
void* ShareBytes(size_t bytes);
template <class T>
T* Share() {
  return new (ShareBytes(sizeof(T))) T();
}

// What the first bytes of each body say.
struct Stamp {
  uint32_t producer;
  uint32_t number;
};
static_assert(sizeof(Stamp) == 8);

// Processes of this bench. They die with it, and a hang ends by an alarm.
class Processes {
 public:
  template <class Body>
  void Start(Body&& body) {
    if (Fork()) {
      body();
      Leave();
    }
  }
  // Dies where one of them failed.
  void Join();

 private:
  bool Fork();
  [[noreturn]] static void Leave();
  std::vector<pid_t> pids_;
};

// Seen by all processes of a one-way bench.
struct Board {
  std::atomic<uint32_t> ready;
  std::atomic<uint32_t> stop;
  std::atomic<uint32_t> finished;
  std::atomic<uint64_t> accepted[kMostProducers];  // by producer, written once it is finished
};

// What arrived, by producer: each number once, in order.
class Tally {
 public:
  explicit Tally(uint32_t producers) : next_(producers, 0), measured_(producers, 0) {}

  void Take(const Stamp& stamp) {
    if (stamp.producer >= next_.size()) Die("a message of nobody");
    uint32_t& next = next_[stamp.producer];
    if (stamp.number < next) {
      ++out_of_order_;
    } else {
      lost_ += stamp.number - next;
      next = stamp.number + 1;
    }
    ++measured_[stamp.producer];
  }
  void Restart() { measured_.assign(measured_.size(), 0); }
  // Once nothing is under way any more.
  void Settle(const Board& board);
  // Messages of the slowest producer since Restart, over an equal share.
  double SlowestShare() const;
  uint64_t lost() const { return lost_; }
  uint64_t out_of_order() const { return out_of_order_; }

 private:
  std::vector<uint32_t> next_;
  std::vector<uint64_t> measured_;
  uint64_t lost_ = 0;
  uint64_t out_of_order_ = 0;
};

void PrintOneWay(const char* name, const std::string& detail, const Settings& settings,
                 int64_t elapsed_ns, double slowest_share, const Tally& tally);
void PrintRoundTrip(const char* name, const std::string& detail, const Settings& settings,
                    const std::vector<int64_t>& samples);

template <class Link>
void Produce(Link& link, const Settings& settings, Board& board, uint32_t side) {
  Pin(settings.placement, side);
  link.Open(side);
  std::vector<char> body(settings.bytes, 7);
  board.ready.fetch_add(1);
  while (board.ready.load() != settings.producers + 1) sched_yield();
  Stamp stamp{side - 1, 0};
  for (; board.stop.load(std::memory_order_relaxed) == 0; ++stamp.number) {
    std::memcpy(body.data(), &stamp, sizeof stamp);
    link.Send(body.data());
  }
  link.Flush();
  board.accepted[side - 1].store(stamp.number);
  board.finished.fetch_add(1);
}

// Producers send as fast as they can until the consumer has had `count`; what is under way then is
// drained and counted, but not timed.
template <class Link>
int OneWay(const Settings& settings) {
  if (settings.producers > kMostProducers) Die("too many producers");
  Link link(settings);
  Board& board = *Share<Board>();
  Processes processes;
  for (uint32_t side = 1; side <= settings.producers; ++side) {
    processes.Start([&] { Produce(link, settings, board, side); });
  }
  Pin(settings.placement, 0);
  link.Open(0);
  std::vector<char> body(settings.bytes);
  Tally tally(settings.producers);
  Stamp stamp;
  const auto take = [&](int64_t timeout_ns) {
    if (!link.Receive(body.data(), timeout_ns)) return false;
    std::memcpy(&stamp, body.data(), sizeof stamp);
    tally.Take(stamp);
    return true;
  };
  board.ready.fetch_add(1);
  for (uint64_t i = 0; i < settings.count / 10; ++i) take(-1);
  tally.Restart();
  const int64_t began_ns = NowNs();
  for (uint64_t i = 0; i < settings.count; ++i) take(-1);
  const int64_t elapsed_ns = NowNs() - began_ns;
  const double share = tally.SlowestShare();

  board.stop.store(1);
  while (board.finished.load() != settings.producers) take(1'000'000);
  while (take(1'000'000)) {
  }
  tally.Settle(board);
  processes.Join();
  PrintOneWay(Link::kName, link.Detail(), settings, elapsed_ns, share, tally);
  return 0;
}

// One message under way at a time.
template <class Link>
int RoundTrip(const Settings& settings) {
  Link link(settings);
  Processes processes;
  const uint64_t trips = kWarmUpTrips + settings.count;
  processes.Start([&] {
    Pin(settings.placement, 0);
    link.Open(0);
    std::vector<char> body(settings.bytes);
    for (uint64_t i = 0; i < trips; ++i) {
      link.Receive(body.data(), -1);
      link.Send(body.data());
      link.Flush();
    }
  });
  Pin(settings.placement, 1);
  link.Open(1);
  std::vector<char> body(settings.bytes, 7);
  std::vector<int64_t> samples;
  samples.reserve(settings.count);
  for (uint64_t i = 0; i < trips; ++i) {
    const Stamp asked{0, static_cast<uint32_t>(i)};
    std::memcpy(body.data(), &asked, sizeof asked);
    const int64_t began_ns = NowNs();
    link.Send(body.data());
    link.Flush();
    link.Receive(body.data(), -1);
    const int64_t elapsed_ns = NowNs() - began_ns;
    if (std::memcmp(body.data(), &asked, sizeof asked) != 0) Die("another answer than its own");
    if (i >= kWarmUpTrips) samples.push_back(elapsed_ns);
  }
  processes.Join();
  PrintRoundTrip(Link::kName, link.Detail(), settings, samples);
  return 0;
}

template <class Link>
int Run(int argc, char** argv) {
  const Settings settings = Parse(argc, argv);
  return settings.round_trip ? RoundTrip<Link>(settings) : OneWay<Link>(settings);
}

}  // namespace bench
