#include "core/directory.h"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::Member;
using test::TestFabric;
using test::Watchdog;

TEST_CASE("AgentDirectory.Find: gives what the agent said of itself") {
  TestFabric fabric;
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  Agent agent;
  const AgentSpec spec = {.name = "worker-1", .role = "worker", .team = "red", .parent = "boss"};
  REQUIRE(agent.Join(&participant, spec, nullptr) == Status::kOk);
  agent.SetState(AgentState::kWorking);
  AgentRecord record;
  AgentDirectory directory(fabric.get());
  REQUIRE(directory.Find("worker-1", &record) == Status::kOk);
  CHECK(record.Name() == "worker-1");
  CHECK(record.Role() == "worker");
  CHECK(record.Team() == "red");
  CHECK(record.Parent() == "boss");
  CHECK(record.state == AgentState::kWorking);
  CHECK(record.pid == static_cast<uint32_t>(getpid()));
  CHECK(record.holder == participant.holder());
  CHECK(record.entry == agent.entry());
  CHECK(directory.Find("worker-2", &record) == Status::kNoAgent);
  CHECK(directory.Find("worker", &record) == Status::kNoAgent);
}

TEST_CASE("AgentDirectory: names of every length are told apart") {
  TestFabric fabric;
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  AgentDirectory directory(fabric.get());
  std::vector<std::string> names;
  for (size_t length = 1; length <= kMaxNameBytes; length += 7) names.emplace_back(length, 'n');
  for (const std::string& name : names) {
    uint32_t entry;
    REQUIRE(directory.Claim(participant.owner(), name, &entry) == Status::kOk);
    REQUIRE(directory.Publish(participant.owner(), entry));
    CHECK(directory.Claim(participant.owner(), name, &entry) == Status::kExists);
  }
  for (const std::string& name : names) {
    AgentRecord record;
    REQUIRE(directory.Find(name, &record) == Status::kOk);
    CHECK(record.Name() == name);
  }
}

TEST_CASE("AgentDirectory.Remove: forgets that life of a name and no later one") {
  TestFabric fabric;
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  AgentDirectory directory(fabric.get());
  const auto insert = [&] {
    uint32_t entry;
    REQUIRE(directory.Claim(participant.owner(), "ann", &entry) == Status::kOk);
    REQUIRE(directory.Publish(participant.owner(), entry));
    AgentRecord record;
    REQUIRE(directory.Find("ann", &record) == Status::kOk);
    return record;
  };
  const AgentRecord first = insert();
  CHECK(directory.Remove(first));
  CHECK_FALSE(directory.Remove(first));
  AgentRecord record;
  CHECK(directory.Find("ann", &record) == Status::kNoAgent);
  const AgentRecord second = insert();
  CHECK_FALSE(directory.Remove(first));
  CHECK(directory.Find("ann", &record) == Status::kOk);
  CHECK(directory.Remove(second));
}

TEST_CASE("AgentDirectory.Claim: a full window is kAgentsFull, and room after a removal") {
  TestFabric fabric;  // 64 entries: one window
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  AgentDirectory directory(fabric.get());
  REQUIRE(fabric->entry_count() == 64);
  uint32_t entry;
  for (int i = 0; i < 64; ++i) {
    REQUIRE(directory.Claim(participant.owner(), "a" + std::to_string(i), &entry) == Status::kOk);
    REQUIRE(directory.Publish(participant.owner(), entry));
  }
  CHECK(directory.Claim(participant.owner(), "late", &entry) == Status::kAgentsFull);
  AgentRecord record;
  REQUIRE(directory.Find("a17", &record) == Status::kOk);
  REQUIRE(directory.Remove(record));
  CHECK(directory.Claim(participant.owner(), "late", &entry) == Status::kOk);
}

TEST_CASE("Agent.Join: into a full directory is kAgentsFull, and leaves no mailbox behind") {
  TestFabric fabric;
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  AgentDirectory directory(fabric.get());
  uint32_t entry;
  for (int i = 0; i < 64; ++i) {
    REQUIRE(directory.Claim(participant.owner(), "a" + std::to_string(i), &entry) == Status::kOk);
    REQUIRE(directory.Publish(participant.owner(), entry));
  }
  Agent agent;
  Failure failure;
  CHECK(agent.Join(&participant, {.name = "late"}, &failure) == Status::kAgentsFull);
  CHECK_FALSE(agent.joined());
  CHECK(test::CensusOf(*fabric).boxes_claimed == 0);
  CHECK(test::CensusOf(*fabric).boxes_owned == 0);
}

TEST_CASE("AgentDirectory: a claim of a dead process gives way at once") {
  TestFabric fabric;
  Child child([&] {
    static Participant participant;
    if (participant.Register(fabric.get(), nullptr) != Status::kOk) return 1;
    uint32_t entry;
    if (AgentDirectory(fabric.get()).Claim(participant.owner(), "ann", &entry) != Status::kOk) {
      return 2;
    }
    raise(SIGKILL);
    return 3;
  });
  CHECK(child.ExitCode() == 256);
  CHECK(test::CensusOf(*fabric).entries_claimed == 1);
  Member ann(fabric.get(), "ann");
  CHECK(test::CensusOf(*fabric).entries_claimed == 0);
}

TEST_CASE("AgentDirectory: a claim that stalls is set aside, and its owner finds that out") {
  TestFabric fabric;
  Participant slow;
  REQUIRE(slow.Register(fabric.get(), nullptr) == Status::kOk);
  AgentDirectory directory(fabric.get());
  uint32_t entry;
  REQUIRE(directory.Claim(slow.owner(), "ann", &entry) == Status::kOk);
  const int64_t began = MonotonicNs();
  Member ann(fabric.get(), "ann");
  CHECK(MonotonicNs() - began >= 240 * test::kMs);  // it had its time
  CHECK_FALSE(directory.Publish(slow.owner(), entry));
  AgentRecord record;
  REQUIRE(directory.Find("ann", &record) == Status::kOk);
  CHECK(record.holder == ann.participant.holder());
  CHECK(test::CensusOf(*fabric).entries_claimed == 0);
}

TEST_CASE("AgentDirectory: a claim of nobody, as damage leaves it, is set aside as well") {
  const Watchdog watchdog;
  TestFabric fabric;
  Participant me;
  REQUIRE(me.Register(fabric.get(), nullptr) == Status::kOk);
  AgentDirectory directory(fabric.get());
  uint32_t entry;
  REQUIRE(directory.Claim(me.owner(), "ann", &entry) == Status::kOk);
  auto& word = fabric->entries()[entry].word;
  constexpr Owner kNobody = 0;  // so there is no proof of its death
  word.store(PackEntry(EntryGeneration(word.load()), EntryHash(word.load()), kNobody,
                       EntryKind::kClaimed));
  const int64_t began = MonotonicNs();
  CHECK(directory.Claim(me.owner(), "ann", &entry) == Status::kOk);  // at the first call
  CHECK(MonotonicNs() - began >= 240 * test::kMs);
  CHECK(directory.Publish(me.owner(), entry));
}

TEST_CASE("AgentDirectory: eight threads that race for the same names make each of them once") {
  const Watchdog watchdog;
  TestFabric fabric;
  constexpr int kThreads = 8;
  constexpr int kNames = 5;
  const int rounds = test::kSanitized ? 40 : 300;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<uint32_t> made[kNames] = {};
    std::atomic<uint32_t> errors{0};
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Participant participant;
        if (participant.Register(fabric.get(), nullptr) != Status::kOk) {
          errors.fetch_add(1);
          ready.fetch_add(1);
          return;
        }
        AgentDirectory directory(fabric.get());
        ready.fetch_add(1);
        while (ready.load() < kThreads) std::this_thread::yield();
        for (int n = 0; n < kNames; ++n) {
          const int name = (n + t) % kNames;
          uint32_t entry;
          for (;;) {
            const Status status =
                directory.Claim(participant.owner(), "name" + std::to_string(name), &entry);
            if (status == Status::kExists) break;
            if (status != Status::kOk) {
              errors.fetch_add(1);
              break;
            }
            if (!directory.Publish(participant.owner(), entry)) continue;
            made[name].fetch_add(1);
            break;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(errors.load() == 0);
    for (const auto& count : made) REQUIRE(count.load() == 1);
    const test::Census census = test::CensusOf(*fabric);
    REQUIRE(census.entries_live == kNames);
    REQUIRE(census.entries_claimed == 0);
    for (int n = 0; n < kNames; ++n) {
      AgentRecord record;
      REQUIRE(AgentDirectory(fabric.get()).Find("name" + std::to_string(n), &record) ==
              Status::kOk);
      REQUIRE(AgentDirectory(fabric.get()).Remove(record));
    }
  }
}

TEST_CASE("Agent.Join: of threads that race for one name one holds it, and the others are told") {
  const Watchdog watchdog;
  TestFabric fabric;
  for (int round = 0; round < (test::kSanitized ? 20 : 100); ++round) {
    std::atomic<uint32_t> joined{0}, refused{0}, others{0};
    std::atomic<int> ready{0};
    std::atomic<bool> leave{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        Participant participant;
        Agent agent;
        const bool registered = participant.Register(fabric.get(), nullptr) == Status::kOk;
        ready.fetch_add(1);
        while (ready.load() < 8) std::this_thread::yield();
        const Status status =
            registered ? agent.Join(&participant, {.name = "one"}, nullptr) : Status::kSlotsFull;
        (status == Status::kOk          ? joined
         : status == Status::kLeaseHeld ? refused
                                        : others)
            .fetch_add(1);
        while (!leave.load()) {
          if (joined.load() + refused.load() + others.load() == 8) leave.store(true);
          std::this_thread::yield();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(joined.load() == 1);
    REQUIRE(refused.load() == 7);
    const test::Census census = test::CensusOf(*fabric);
    REQUIRE(census.boxes_owned == 0);
    REQUIRE(census.boxes_claimed == 0);
    REQUIRE(census.entries_live == 0);
    REQUIRE(census.slots_live == 0);
  }
}

TEST_CASE("AgentDirectory.Read: indexes out of range and garbage are no agents") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  AgentDirectory directory(fabric.get());
  AgentRecord record;
  CHECK_FALSE(directory.Read(fabric->entry_count(), &record));
  CHECK_FALSE(directory.Read(kNoEntry, &record));
  Entry& entry = fabric->entries()[ann.agent.entry()];
  const uint64_t lengths = entry.lengths.exchange(~uint64_t{0});
  REQUIRE(directory.Read(ann.agent.entry(), &record));
  CHECK(record.name_bytes == kMaxNameBytes);
  CHECK(record.parent_bytes == kMaxNameBytes);
  entry.lengths.store(lengths);
  entry.state.store(~uint64_t{0});
  REQUIRE(directory.Read(ann.agent.entry(), &record));
  CHECK(static_cast<uint32_t>(record.state) < 6);
}

TEST_CASE(
    "AgentDirectory.Reparent: another parent for one who lives on, with its life and leases") {
  TestFabric fabric;
  Participant participant;
  REQUIRE(participant.Register(fabric.get(), nullptr) == Status::kOk);
  Agent agent;
  const AgentSpec spec = {.name = "worker-1", .role = "worker", .team = "red", .parent = "boss"};
  REQUIRE(agent.Join(&participant, spec, nullptr) == Status::kOk);
  AgentDirectory directory(fabric.get());
  for (const std::string& parent :
       {std::string("another-boss"), std::string(64, 'b'), std::string(), std::string("boss")}) {
    REQUIRE(directory.Reparent("worker-1", parent) == Status::kOk);
    AgentRecord record;
    REQUIRE(directory.Find("worker-1", &record) == Status::kOk);
    CHECK(record.Parent() == parent);
    CHECK(record.Role() == "worker");
    CHECK(record.Team() == "red");
    CHECK(record.incarnation == agent.incarnation());
  }
  CHECK(directory.Reparent("worker-2", "boss") == Status::kNoAgent);
  CHECK(directory.Reparent("worker-1", std::string(65, 'b')) == Status::kInvalid);
}

TEST_CASE("AgentDirectory.Reparent: takes over from one who died while it rewrote the entry") {
  TestFabric fabric;
  Member worker(fabric.get(), "worker-1");
  Entry& entry = fabric->entries()[worker.agent.entry()];
  entry.incarnation.store(entry.incarnation.load() | 1);
  AgentDirectory directory(fabric.get());
  REQUIRE(directory.Reparent("worker-1", "boss") == Status::kOk);
  AgentRecord record;
  REQUIRE(directory.Find("worker-1", &record) == Status::kOk);
  CHECK(record.Parent() == "boss");
  CHECK((entry.incarnation.load() & 1) == 0);
  CHECK(record.incarnation == worker.agent.incarnation());
}

TEST_CASE(
    "AgentDirectory.Reparent: beside others who do so and a name that changes hands, no half") {
  const Watchdog watchdog;
  TestFabric fabric;
  const std::string parents[] = {std::string(64, 'a'), std::string(40, 'b'), std::string(8, 'c')};
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 500; ++n) {
        const Status status = AgentDirectory(fabric.get()).Reparent("nomad", parents[i]);
        if (status != Status::kOk && status != Status::kNoAgent) errors.fetch_add(1);
      }
    });
  }
  threads.emplace_back([&] {
    Member me;
    if (me.participant.Register(fabric.get(), nullptr) != Status::kOk) errors.fetch_add(1);
    for (int n = 0; n < 200; ++n) {
      const AgentSpec spec = {.name = "nomad", .parent = parents[2]};
      if (me.agent.Join(&me.participant, spec, nullptr) != Status::kOk) errors.fetch_add(1);
      Route self = test::RouteTo("nomad");
      (void)me.agent.TrySend(&self, {.body = "stays"}, nullptr);  // so that the name does
      me.agent.Leave();
    }
  });
  for (std::thread& thread : threads) thread.join();
  CHECK(errors.load() == 0);
  REQUIRE(AgentDirectory(fabric.get()).Reparent("nomad", parents[0]) == Status::kOk);
  AgentRecord record;
  REQUIRE(AgentDirectory(fabric.get()).Find("nomad", &record) == Status::kOk);
  CHECK(record.Parent() == parents[0]);
}

}  // namespace
}  // namespace cfc
