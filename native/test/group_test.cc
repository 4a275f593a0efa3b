#include "core/group.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::TestFabric;
using test::Watchdog;

// A fabric with agents of one participant, in a fabric of its own.
struct Company {
  Company() { REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk); }

  Agent& Join(const AgentSpec& spec) {
    agents.push_back(std::make_unique<Agent>());
    REQUIRE(agents.back()->Join(&participant, spec, nullptr) == Status::kOk);
    return *agents.back();
  }
  std::set<std::string> Members(GroupKind kind, std::string_view name, const Agent& self) {
    std::set<std::string> names;
    Group(fabric.get(), kind, name, self.entry()).ForEach([&](const AgentRecord& record) {
      CHECK(names.insert(std::string(record.Name())).second);
    });
    return names;
  }
  static Status Send(Agent& from, std::string_view to, FullPolicy policy = FullPolicy::kReject) {
    Route route = test::RouteTo(to);
    Outgoing message;
    message.body = "x";
    message.when_full = policy;
    return from.TrySend(&route, message, nullptr);
  }

  TestFabric fabric;
  Participant participant;
  std::vector<std::unique_ptr<Agent>> agents;
};

using Names = std::set<std::string>;

// 256: it joined, and was killed.
int JoinAndDie(Company& company, std::string_view name) {
  Child child([&] {
    static Participant participant;
    static Agent agent;
    if (participant.Register(company.fabric.get(), nullptr) != Status::kOk) return 1;
    if (agent.Join(&participant, {.name = name}, nullptr) != Status::kOk) return 2;
    raise(SIGKILL);
    return 3;
  });
  return child.ExitCode();
}

TEST_CASE("Group: holds who joined with that team, role or parent, and never the one who asks") {
  Company company;
  Agent& master = company.Join({.name = "master", .role = "master"});
  Agent& lead =
      company.Join({.name = "lead", .role = "coordinator", .team = "A", .parent = "master"});
  company.Join({.name = "other", .role = "coordinator", .team = "B", .parent = "master"});
  Agent& first = company.Join({.name = "w1", .role = "worker", .team = "A", .parent = "lead"});
  company.Join({.name = "w2", .role = "worker", .team = "A", .parent = "lead"});
  company.Join({.name = "w3", .role = "worker", .team = "B", .parent = "other"});

  CHECK(company.Members(GroupKind::kEverybody, "", master) ==
        Names{"lead", "other", "w1", "w2", "w3"});
  CHECK(company.Members(GroupKind::kTeam, "A", master) == Names{"lead", "w1", "w2"});
  CHECK(company.Members(GroupKind::kTeam, "A", lead) == Names{"w1", "w2"});
  CHECK(company.Members(GroupKind::kTeam, "a", lead) == Names{});
  CHECK(company.Members(GroupKind::kRole, "worker", first) == Names{"w2", "w3"});
  CHECK(company.Members(GroupKind::kParent, "", first) == Names{"lead"});
  CHECK(company.Members(GroupKind::kParent, "", master) == Names{});
  CHECK(company.Members(GroupKind::kChildren, "", lead) == Names{"w1", "w2"});
  CHECK(company.Members(GroupKind::kPeers, "", first) == Names{"w2"});
  CHECK(company.Members(GroupKind::kPeers, "", lead) == Names{"other"});
}

TEST_CASE("Group: who left is no member, though messages wait under the name; who died is one") {
  const Watchdog watchdog;
  Company company;
  Agent& asks = company.Join({.name = "asks"});
  Agent& leaver = company.Join({.name = "leaver"});
  REQUIRE(Company::Send(asks, "leaver") == Status::kOk);
  CHECK(JoinAndDie(company, "dead") == 256);
  CHECK(company.Members(GroupKind::kEverybody, "", asks) == Names{"leaver", "dead"});
  leaver.Leave();
  AgentRecord record;
  REQUIRE(AgentDirectory(company.fabric.get()).Find("leaver", &record) == Status::kOk);
  CHECK(company.Members(GroupKind::kEverybody, "", asks) == Names{"dead"});
}

TEST_CASE("Agent.Join: refuses the names that are addresses") {
  TestFabric fabric;
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  for (const std::string_view name : {"parent", "children", "peers"}) {
    Agent agent;
    CHECK(agent.Join(&participant, {.name = name}, nullptr) == Status::kInvalid);
    CHECK_FALSE(agent.joined());
  }
}

TEST_CASE("Group.LeastLoaded: finds who has the fewest unacked messages, leased ones counted") {
  Company company;
  Agent& asks = company.Join({.name = "asks"});
  Agent& a = company.Join({.name = "a", .role = "worker"});
  Agent& b = company.Join({.name = "b", .role = "worker"});
  Agent& c = company.Join({.name = "c", .role = "worker"});
  const auto least = [&](uint32_t start = 0) {
    AgentRecord record;
    const Group workers(company.fabric.get(), GroupKind::kRole, "worker", asks.entry());
    REQUIRE(workers.LeastLoaded(kWorkLane, false, start, &record) == Status::kOk);
    return std::string(record.Name());
  };
  for (int i = 0; i < 2; ++i) REQUIRE(Company::Send(asks, "a") == Status::kOk);
  REQUIRE(Company::Send(asks, "b") == Status::kOk);
  CHECK(least() == "c");
  for (int i = 0; i < 3; ++i) REQUIRE(Company::Send(asks, "c") == Status::kOk);
  CHECK(least() == "b");

  const test::Letter taken = test::TakeLetter(b);
  REQUIRE(taken.status == Status::kOk);
  CHECK(least() == "b");  // it works on it: still one
  REQUIRE(Company::Send(asks, "b") == Status::kOk);
  REQUIRE(Company::Send(asks, "b") == Status::kOk);
  CHECK(least() == "a");
  REQUIRE(b.Ack(taken.delivery.token) == Status::kOk);

  a.SetState(AgentState::kPaused);
  CHECK(least() == "b");
  b.SetState(AgentState::kComplete);
  c.SetState(AgentState::kFailed);
  AgentRecord record;
  CHECK(Group(company.fabric.get(), GroupKind::kRole, "worker", asks.entry())
            .LeastLoaded(kWorkLane, false, 0, &record) == Status::kNoReader);
  CHECK(Group(company.fabric.get(), GroupKind::kRole, "cook", asks.entry())
            .LeastLoaded(kWorkLane, false, 0, &record) == Status::kNoAgent);
}

TEST_CASE("Group.LeastLoaded: of equals each comes first from some entry on") {
  Company company;
  Agent& asks = company.Join({.name = "asks"});
  for (const std::string_view name : {"a", "b", "c", "d"}) {
    company.Join({.name = name, .role = "worker"});
  }
  const Group workers(company.fabric.get(), GroupKind::kRole, "worker", asks.entry());
  Names found;
  for (uint32_t start = 0; start < company.fabric->entry_count(); ++start) {
    AgentRecord record;
    REQUIRE(workers.LeastLoaded(kWorkLane, true, start, &record) == Status::kOk);
    found.insert(std::string(record.Name()));
  }
  CHECK(found == Names{"a", "b", "c", "d"});
}

TEST_CASE("Group.LeastLoaded: a full lane comes last, however little is in the other one") {
  Company company;
  Agent& asks = company.Join({.name = "asks"});
  company.Join({.name = "small", .role = "worker", .mailbox_cells = 8});
  company.Join({.name = "large", .role = "worker", .mailbox_cells = 64});
  for (int i = 0; i < 8; ++i) REQUIRE(Company::Send(asks, "small") == Status::kOk);
  for (int i = 0; i < 20; ++i) REQUIRE(Company::Send(asks, "large") == Status::kOk);
  const Group workers(company.fabric.get(), GroupKind::kRole, "worker", asks.entry());
  AgentRecord record;
  REQUIRE(workers.LeastLoaded(kWorkLane, false, 0, &record) == Status::kOk);
  CHECK(record.Name() == "large");
  REQUIRE(workers.LeastLoaded(kControlLane, false, 0, &record) == Status::kOk);
  CHECK(record.Name() == "small");
  CHECK(workers.LeastLoaded(kWorkLane, true, 0, &record) == Status::kFull);
}

TEST_CASE("Group.LeastLoaded: the dead get nothing, though their mailboxes are the emptiest") {
  const Watchdog watchdog;
  Company company;
  Agent& asks = company.Join({.name = "asks"});
  for (const std::string_view name : {"dead1", "dead2", "dead3"}) {
    REQUIRE(JoinAndDie(company, name) == 256);
  }
  const Group all(company.fabric.get(), GroupKind::kEverybody, "", asks.entry());
  AgentRecord record;
  CHECK(all.LeastLoaded(kWorkLane, false, 0, &record) == Status::kNoReader);
  CHECK(all.LeastLoaded(kWorkLane, true, 0, &record) == Status::kNoReader);
  company.Join({.name = "alive"});
  REQUIRE(Company::Send(asks, "alive") == Status::kOk);
  REQUIRE(all.LeastLoaded(kWorkLane, false, 0, &record) == Status::kOk);
  CHECK(record.Name() == "alive");
  CHECK(all.LeastLoaded(kWorkLane, true, 0, &record) == Status::kFull);
}

TEST_CASE("Agent.TrySend only if idle: a second message is refused until the first is acked") {
  Company company;
  Agent& asks = company.Join({.name = "asks"});
  Agent& worker = company.Join({.name = "worker"});
  CHECK(Company::Send(asks, "worker", FullPolicy::kOnlyIfIdle) == Status::kOk);
  CHECK(Company::Send(asks, "worker", FullPolicy::kOnlyIfIdle) == Status::kFull);
  const test::Letter letter = test::TakeLetter(worker);
  REQUIRE(letter.status == Status::kOk);
  CHECK(Company::Send(asks, "worker", FullPolicy::kOnlyIfIdle) == Status::kFull);
  REQUIRE(worker.AckWithoutReclaim(letter.delivery.token) == Status::kOk);
  CHECK(Company::Send(asks, "worker", FullPolicy::kOnlyIfIdle) == Status::kOk);
  const LaneCensus census = worker.mailbox().lanes[kWorkLane].Census();
  CHECK(census.ready == 1);
  CHECK(census.acked == 1);
  CHECK(census.aborted == 2);
}

TEST_CASE("Agent.TrySend only if idle: of senders at the same time at most one is accepted") {
  const Watchdog watchdog;
  constexpr int kSenders = 4, kRounds = 200;
  Company company;
  Agent& worker = company.Join({.name = "worker"});
  struct Counts {
    std::atomic<int> round{0};
    std::atomic<int> ready{0};
    std::atomic<int> accepted{0};
  };
  test::Shared<Counts> counts;
  std::vector<std::unique_ptr<Child>> senders;
  for (int n = 0; n < kSenders; ++n) {
    senders.push_back(std::make_unique<Child>([&, n] {
      static test::Member member;
      const std::string name = "sender-" + std::to_string(n);
      if (member.participant.Register(company.fabric.get(), nullptr) != Status::kOk) return 1;
      if (member.agent.Join(&member.participant, {.name = name}, nullptr) != Status::kOk) return 2;
      for (int round = 1; round <= kRounds; ++round) {
        counts->ready.fetch_add(1);
        while (counts->round.load() < round) sched_yield();
        const Status status = Company::Send(member.agent, "worker", FullPolicy::kOnlyIfIdle);
        if (status == Status::kOk) counts->accepted.fetch_add(1);
        if (status != Status::kOk && status != Status::kFull) return 3;
      }
      counts->ready.fetch_add(1);
      return 0;
    }));
  }
  int most = 0;
  for (int round = 1; round <= kRounds; ++round) {
    while (counts->ready.load() < kSenders * round) sched_yield();
    counts->round.store(round);
    while (counts->ready.load() < kSenders * (round + 1)) sched_yield();
    most = std::max(most, counts->accepted.exchange(0));
    for (test::Letter letter = test::TakeLetter(worker); letter.status == Status::kOk;
         letter = test::TakeLetter(worker)) {
      REQUIRE(worker.Ack(letter.delivery.token) == Status::kOk);
    }
  }
  for (auto& sender : senders) CHECK(sender->ExitCode() == 0);
  CHECK(most == 1);
}

TEST_CASE("Group.ForEach: a damaged length matches no group, not even one of nobody") {
  // Once, 255 was taken for the length that says "no parent", and eight words too many compared.
  Company company;
  Agent& self = company.Join({.name = "self"});
  const Agent& other = company.Join({.name = "other"});
  company.fabric.get()->entries()[other.entry()].lengths.store(~uint64_t{0});
  for (const GroupKind kind : {GroupKind::kParent, GroupKind::kPeers, GroupKind::kChildren}) {
    CHECK(company.Members(kind, "", self).empty());
  }
}

TEST_CASE("Group.LeastLoaded: who waits or just began is at work; who paused or ended is not") {
  Company company;
  Agent& self = company.Join({.name = "self"});
  Agent& worker = company.Join({.name = "worker", .team = "t"});
  const Group team(company.fabric.get(), GroupKind::kTeam, "t", self.entry());
  AgentRecord record;
  for (const AgentState state :
       {AgentState::kSpawned, AgentState::kWorking, AgentState::kWaiting}) {
    worker.SetState(state);
    CHECK(team.LeastLoaded(kWorkLane, false, 0, &record) == Status::kOk);
  }
  for (const AgentState state : {AgentState::kPaused, AgentState::kComplete, AgentState::kFailed}) {
    worker.SetState(state);
    CHECK(team.LeastLoaded(kWorkLane, false, 0, &record) == Status::kNoReader);
  }
}

}  // namespace
}  // namespace cfc
