// One agent that floods, beside ninety-nine that wait their turn: a hundred processes that send to
// the same consumers, each a process too. Counts, not times: of what the consumers took while all
// hundred were at it, how much was whose. And the ledger of each sender, to the message.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::kMs;
using test::RouteTo;
using test::Shared;
using test::TestFabric;

constexpr uint32_t kSenders = 100;  // the first one floods
constexpr uint32_t kConsumers = 4;
constexpr useconds_t kWorkUs = 50;
constexpr uint64_t kWarmUp = 2'000;
constexpr uint64_t kMeasured = test::kSanitized ? 5'000 : 40'000;

struct Parcel {
  uint32_t sender;
  uint32_t number;
};

struct Sender {
  std::atomic<uint64_t> accepted{0};
  std::atomic<uint64_t> rate_limited{0};
  std::atomic<uint64_t> over_quota{0};
  std::atomic<uint64_t> taken{0};     // of it, by all consumers
  std::atomic<uint64_t> measured{0};  // of those, while all were at it
};

struct Board {
  std::atomic<uint32_t> ready{0};
  std::atomic<bool> go{false};
  std::atomic<bool> stop{false};
  std::atomic<bool> sent{false};  // the senders are done
  std::atomic<uint64_t> taken{0};
  std::atomic<uint32_t> out_of_order{0};
  std::array<Sender, kSenders> senders;
};

std::string ConsumerName(uint32_t index) { return "consumer-" + std::to_string(index); }

bool Come(Fabric* fabric, Participant* participant, Agent* agent, const AgentSpec& spec) {
  return participant->Register(fabric, nullptr) == Status::kOk &&
         agent->Join(participant, spec, nullptr) == Status::kOk;
}

int Send(Fabric* fabric, Board& board, uint32_t index, const SendLimits& limits) {
  Participant participant;
  Agent agent;
  const std::string name = "sender-" + std::to_string(index);
  const AgentSpec spec = {.name = name, .mailbox_cells = 8, .limits = limits};
  if (!Come(fabric, &participant, &agent, spec)) return 1;
  std::vector<Route> routes;
  for (uint32_t i = 0; i < kConsumers; ++i) routes.push_back(RouteTo(ConsumerName(i)));
  std::array<uint32_t, kConsumers> numbers = {};
  Sender& me = board.senders[index];
  board.ready.fetch_add(1);
  while (!board.go.load()) test::SleepMs(1);
  for (uint32_t at = index % kConsumers; !board.stop.load(); at = (at + 1) % kConsumers) {
    const Parcel parcel = {index, numbers[at] + 1};
    const Outgoing message = {.body = {reinterpret_cast<const char*>(&parcel), sizeof parcel}};
    // The flooder never waits.
    const Status status =
        index == 0 ? agent.TrySend(&routes[at], message, nullptr)
                   : agent.Send(&routes[at], message, Deadline::After(100 * kMs), nullptr);
    if (status == Status::kOk) {
      ++numbers[at];
      me.accepted.fetch_add(1);
    } else if (status == Status::kRateLimited) {
      me.rate_limited.fetch_add(1);
    } else if (status == Status::kQuotaSpent) {
      me.over_quota.fetch_add(1);
    } else if (status != Status::kFull && status != Status::kTimedOut) {
      return 2;
    }
  }
  return 0;
}

int Consume(Fabric* fabric, Board& board, uint32_t index) {
  Participant participant;
  Agent agent;
  const std::string name = ConsumerName(index);
  if (!Come(fabric, &participant, &agent, {.name = name, .mailbox_cells = 256})) return 1;
  std::vector<uint32_t> last(kSenders, 0);
  board.ready.fetch_add(1);
  while (!board.sent.load() || agent.Depth() > 0) {
    Delivery delivery;
    if (agent.Receive(&delivery, Deadline::After(20 * kMs)) != Status::kOk) continue;
    Parcel parcel = {};
    if (delivery.body_bytes != sizeof parcel) return 2;
    if (agent.CopyBody(delivery, &parcel) != Status::kOk) return 3;
    if (agent.Ack(delivery.token) != Status::kOk) return 4;
    // Its work. Consumers are what there is too little of, not the machine's CPUs: among processes
    // that have enough to send to, whose turn it is would be for the scheduler to say.
    usleep(kWorkUs);
    if (parcel.sender >= kSenders) return 5;
    if (parcel.number != ++last[parcel.sender]) board.out_of_order.fetch_add(1);
    const uint64_t before = board.taken.fetch_add(1);
    Sender& sender = board.senders[parcel.sender];
    sender.taken.fetch_add(1);
    if (before >= kWarmUp && before < kWarmUp + kMeasured) sender.measured.fetch_add(1);
  }
  return 0;
}

struct Outcome {
  uint64_t flood = 0;  // of what was measured
  double others = 0;   // what they keep of their fair share, on the average
  double least = 0;    // and the one who kept least
};

// The flooder has these limits. What it did is on the board then.
Outcome Flood(Board& board, const SendLimits& limits) {
  FabricOptions options = test::SmallOptions();
  options.max_agents = 128;
  options.max_participants = 128;
  options.mail_segment_bytes = 1u << 19;
  TestFabric fabric(options);
  std::vector<std::unique_ptr<Child>> consumers, senders;
  for (uint32_t i = 0; i < kConsumers; ++i) {
    consumers.push_back(
        std::make_unique<Child>([&, i] { return Consume(fabric.get(), board, i); }));
  }
  while (board.ready.load() < kConsumers) test::SleepMs(1);
  for (uint32_t i = 0; i < kSenders; ++i) {
    const SendLimits own = i == 0 ? limits : SendLimits{};
    senders.push_back(
        std::make_unique<Child>([&, i, own] { return Send(fabric.get(), board, i, own); }));
  }
  while (board.ready.load() < kConsumers + kSenders) test::SleepMs(1);
  board.go.store(true);
  while (board.taken.load() < kWarmUp + kMeasured) test::SleepMs(5);
  board.stop.store(true);
  for (auto& sender : senders) CHECK(sender->ExitCode() == 0);
  board.sent.store(true);
  for (auto& consumer : consumers) CHECK(consumer->ExitCode() == 0);

  Outcome outcome;
  uint64_t accepted = 0, least = kMeasured;
  for (uint32_t i = 0; i < kSenders; ++i) {
    const Sender& sender = board.senders[i];
    CAPTURE(i);
    CHECK(sender.taken.load() == sender.accepted.load());  // the ledger
    accepted += sender.accepted.load();
    if (i > 0) least = std::min(least, sender.measured.load());
  }
  CHECK(board.taken.load() == accepted);
  CHECK(board.out_of_order.load() == 0);
  const double fair = static_cast<double>(kMeasured) / kSenders;
  outcome.flood = board.senders[0].measured.load();
  outcome.others = static_cast<double>(kMeasured - outcome.flood) / (kSenders - 1) / fair;
  outcome.least = static_cast<double>(least) / fair;
  MESSAGE("of " << kMeasured << " messages the flooder had " << outcome.flood << ", "
                << board.senders[0].rate_limited.load() << " put off, "
                << board.senders[0].over_quota.load() << " refused; the others keep "
                << outcome.others << " of their share, the least " << outcome.least);
  return outcome;
}

TEST_CASE("Flood: without any limit a flooder leaves three quarters to ninety-nine others") {
  const test::Watchdog watchdog(240);
  const Shared<Board> board;
  const Outcome outcome = Flood(*board, {});
  // It may have a quarter of a lane, and an eighth where more than three others wait for room. How
  // many of them come to wait is for the scheduler to say; the quarter is certain.
  CHECK(outcome.others >= 0.7);
}

TEST_CASE("Flood: a flooder with a rate is held to it, and the others keep their share") {
  const test::Watchdog watchdog(240);
  const Shared<Board> board;
  const Outcome outcome = Flood(*board, {.per_second = 20, .burst = 10});
  CHECK(outcome.others >= 0.8);
  CHECK(board->senders[0].rate_limited.load() > 0);
}

TEST_CASE("Flood: a flooder with a quota ends at it, to the message") {
  const test::Watchdog watchdog(240);
  const Shared<Board> board;
  const Outcome outcome = Flood(*board, {.messages = 50});
  CHECK(outcome.others >= 0.8);
  CHECK(board->senders[0].accepted.load() == 50);
  CHECK(board->senders[0].over_quota.load() > 0);
}

}  // namespace
}  // namespace cfc
