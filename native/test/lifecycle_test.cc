// What an agent is doing: the state machine, wishes, exits, guests, last lines.
#include "core/lifecycle.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <string>

#include "core/line_ring.h"
#include "support.h"

namespace cfc {
namespace {

using test::Child;
using test::Member;
using test::RouteTo;
using test::TakeLetter;
using test::TestFabric;

constexpr AgentState kStates[] = {AgentState::kSpawned, AgentState::kWorking,  AgentState::kWaiting,
                                  AgentState::kPaused,  AgentState::kComplete, AgentState::kFailed};

// A shim over nothing, and whoever joins as its agent.
struct Company {
  TestFabric fabric;
  Member shim;
  std::string token;

  Company() {
    REQUIRE(shim.participant.Register(fabric.get(), nullptr) == Status::kOk);
    Begin();
  }
  void Begin() {
    REQUIRE(shim.agent.Join(&shim.participant, {.name = "bob", .shim = true}, nullptr) ==
            Status::kOk);
    token = LifeToken(*fabric, shim.agent.entry(), shim.agent.incarnation());
  }
  Entry& entry() { return fabric->entries()[shim.agent.entry()]; }
  Status Visit(Member* guest, std::string_view name = "bob") {
    if (!guest->participant.registered()) {
      REQUIRE(guest->participant.Register(fabric.get(), nullptr) == Status::kOk);
    }
    return guest->agent.Join(&guest->participant, {.name = name, .life = token}, nullptr);
  }
};

TEST_CASE("ChangeState: takes the steps of the machine, and refuses all others") {
  for (const AgentState from : kStates) {
    for (const AgentState to : kStates) {
      CAPTURE(static_cast<int>(from));
      CAPTURE(static_cast<int>(to));
      Company company;
      REQUIRE(ChangeState(company.entry(), from) == Status::kOk);
      const bool ends = from == AgentState::kComplete || from == AgentState::kFailed;
      const bool allowed = from == to || (!ends && to != AgentState::kSpawned) ||
                           (from == AgentState::kComplete && to == AgentState::kFailed);
      CHECK(ChangeState(company.entry(), to) == (allowed ? Status::kOk : Status::kInvalid));
      CHECK(StateOf(company.entry().state.load()) == (allowed ? to : from));
    }
  }
}

TEST_CASE("ReadChanges: tells the last eight changes in order, with times that do not fall") {
  Company company;
  StateChange changes[kStateChanges];
  CHECK(ReadChanges(company.entry(), changes) == 1);  // its beginning
  for (int i = 0; i < 10; ++i) {
    REQUIRE(ChangeState(company.entry(),
                        i % 2 == 0 ? AgentState::kWorking : AgentState::kWaiting) == Status::kOk);
  }
  REQUIRE(ReadChanges(company.entry(), changes) == kStateChanges);
  for (uint32_t i = 0; i < kStateChanges; ++i) {
    CHECK(changes[i].to == (i % 2 == 0 ? AgentState::kWorking : AgentState::kWaiting));
    CHECK(changes[i].at_ms >= changes[i > 0 ? i - 1 : 0].at_ms);
    if (i > 0) CHECK(changes[i].from == changes[i - 1].to);
  }
  // To itself is no change.
  REQUIRE(ChangeState(company.entry(), changes[kStateChanges - 1].to) == Status::kOk);
  StateChange again[kStateChanges];
  CHECK(ReadChanges(company.entry(), again) == kStateChanges);
  CHECK(again[0].at_ms == changes[0].at_ms);
}

TEST_CASE("ReadChanges: garbage is passed over, or a change like any other") {
  Company company;
  for (auto& change : company.entry().changes) change.store(~uint64_t{0});
  company.entry().state.store(~uint64_t{0});
  StateChange changes[kStateChanges];
  const uint32_t count = ReadChanges(company.entry(), changes);
  CHECK(count <= kStateChanges);
  for (uint32_t i = 0; i < count; ++i) {
    CHECK(static_cast<uint32_t>(changes[i].from) < 6);
    CHECK(static_cast<uint32_t>(changes[i].to) < 6);
  }
}

TEST_CASE("Want: is for a living shim, and a stop is never taken back") {
  Company company;
  Member plain(company.fabric.get(), "plain");
  const auto verb = [&] { return WantedVerb(company.entry().wanted.load()); };
  CHECK(Want(*company.fabric, "nobody", Wanted::kStop, 0) == Status::kNoAgent);
  CHECK(Want(*company.fabric, "plain", Wanted::kStop, 0) == Status::kInvalid);
  CHECK(Want(*company.fabric, "bob", Wanted::kPause, 0) == Status::kOk);
  CHECK(Want(*company.fabric, "bob", Wanted::kRun, 0) == Status::kOk);
  CHECK(verb() == Wanted::kRun);
  CHECK(Want(*company.fabric, "bob", Wanted::kStop, ~uint32_t{0}) == Status::kOk);
  CHECK(WantedGraceMs(company.entry().wanted.load()) == kMostGraceMs);
  CHECK(Want(*company.fabric, "bob", Wanted::kRun, 0) == Status::kClosed);
  CHECK(Want(*company.fabric, "bob", Wanted::kStop, 100) == Status::kOk);
  CHECK(WantedGraceMs(company.entry().wanted.load()) == 100);
  CHECK(Want(*company.fabric, "bob", Wanted::kKill, 0) == Status::kOk);
  CHECK(Want(*company.fabric, "bob", Wanted::kStop, 0) == Status::kOk);
  CHECK(verb() == Wanted::kKill);
  WriteExit(company.entry(), company.shim.agent.incarnation(), 0);
  company.shim.agent.Leave();
  CHECK(Want(*company.fabric, "bob", Wanted::kStop, 0) == Status::kNoReader);
}

TEST_CASE("WriteExit: the name stays with its exit code until a new life begins") {
  Company company;
  AgentRecord record;
  WriteExit(company.entry(), company.shim.agent.incarnation(), 137);
  company.shim.agent.Leave();
  REQUIRE(AgentDirectory(company.fabric.get()).Find("bob", &record) == Status::kOk);
  CHECK(record.holder == 0);
  CHECK(ExitCodeOf(record.exit, record.incarnation) == 137);
  CHECK(ExitCodeOf(record.exit, record.incarnation + 1) == -1);
  company.Begin();
  REQUIRE(AgentDirectory(company.fabric.get()).Find("bob", &record) == Status::kOk);
  CHECK(ExitCodeOf(record.exit, record.incarnation) == -1);
  company.shim.agent.Leave();  // without an exit, and with nothing queued
  CHECK(AgentDirectory(company.fabric.get()).Find("bob", &record) == Status::kNoAgent);
}

TEST_CASE("WriteStatusText: is cut between characters, and never read half") {
  Company company;
  char text[kStatusTextBytes];
  const auto read = [&] { return std::string(text, ReadStatusText(company.entry(), text)); };
  CHECK(read().empty());
  WriteStatusText(company.entry(), "half of it");
  CHECK(read() == "half of it");
  std::string umlauts;
  for (int i = 0; i < 40; ++i) umlauts += "\u00e4";
  WriteStatusText(company.entry(), "x" + umlauts);
  CHECK(read() == "x" + umlauts.substr(0, 46));
  company.entry().text_word.store(uint64_t{7} << 32);  // somebody died while it wrote
  CHECK(read().empty());
  company.entry().text_word.store(~uint64_t{0} - (uint64_t{1} << 32));
  CHECK(read().size() <= kStatusTextBytes);
}

TEST_CASE("ParseLifeToken: takes its own, and nothing else") {
  Company company;
  TestFabric other;
  Life life;
  REQUIRE(ParseLifeToken(*company.fabric, company.token, &life));
  CHECK(life.entry == company.shim.agent.entry());
  CHECK(life.incarnation == company.shim.agent.incarnation());
  CHECK_FALSE(ParseLifeToken(*other, company.token, &life));
  const std::string& token = company.token;
  for (const std::string& wrong :
       {std::string(), token.substr(0, 16), token.substr(0, 17), token.substr(0, token.rfind('-')),
        token.substr(0, token.rfind('-') + 1), token + "x", token + "-1"}) {
    CAPTURE(wrong);
    CHECK_FALSE(ParseLifeToken(*company.fabric, wrong, &life));
  }
}

TEST_CASE("WriteStatusText: of nothing but the middles of characters nothing is left") {
  TestFabric fabric;
  Member ann(fabric.get(), "ann");
  Entry& entry = fabric->entries()[ann.agent.entry()];
  WriteStatusText(entry, std::string(2 * kStatusTextBytes, '\x80'));
  char text[kStatusTextBytes];
  CHECK(ReadStatusText(entry, text) == 0);
}

TEST_CASE("ParseLifeToken: what only begins like one of ours is none") {
  TestFabric fabric;
  Life life;
  const std::string token = LifeToken(*fabric, 3, 4);
  const std::string own = token.substr(0, token.size() - 4);
  REQUIRE(ParseLifeToken(*fabric, token, &life));
  for (const char* rest : {"", "x", "x3-4", "-", "-x", "-3", "-3-", "-3x4", "-3-x", "-3-4x"}) {
    CAPTURE(rest);
    CHECK_FALSE(ParseLifeToken(*fabric, own + rest, &life));
  }
}

TEST_CASE("Agent.Join: guests send and read beside the shim, which reads nothing") {
  Company company;
  Member first, second;
  REQUIRE(company.Visit(&first) == Status::kOk);
  REQUIRE(company.Visit(&second) == Status::kOk);
  CHECK(first.agent.guest());
  Route self = RouteTo("bob");
  REQUIRE(first.agent.TrySend(&self, {.body = "a"}, nullptr) == Status::kOk);
  REQUIRE(first.agent.TrySend(&self, {.body = "b"}, nullptr) == Status::kOk);
  Delivery delivery;
  REQUIRE(second.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  CHECK(delivery.InlineBody() == "a");
  CHECK(delivery.From() == "bob");
  CHECK(second.agent.Ack(delivery.token) == Status::kOk);
  first.agent.Leave();  // it read nothing, and takes nothing with it
  REQUIRE(second.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  CHECK(delivery.InlineBody() == "b");
  second.agent.Leave();
  CHECK(company.shim.agent.Depth() == 1);  // given back
  AgentRecord record;
  REQUIRE(AgentDirectory(company.fabric.get()).Find("bob", &record) == Status::kOk);
  CHECK(record.holder == company.shim.participant.holder());
}

TEST_CASE("Agent.AwaitAnswers: an answer is left to the guest that asked, while it waits for it") {
  Company company;
  Member asker, reader, peer(company.fabric.get(), "peer");
  REQUIRE(company.Visit(&asker) == Status::kOk);
  REQUIRE(company.Visit(&reader) == Status::kOk);
  Delivery delivery;
  CHECK(reader.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kEmpty);
  const auto answer = [&](uint64_t number) {
    Route bob = RouteTo("bob");
    const Outgoing reply = {
        .body = "answer", .flags = kFlagReply, .correlation = {asker.participant.uid(), number}};
    return peer.agent.TrySend(&bob, reply, nullptr);
  };
  REQUIRE(asker.agent.AwaitAnswers(true) == Status::kOk);
  REQUIRE(answer(1) == Status::kOk);
  for (const TakeFilter filter : {TakeFilter::kAll, TakeFilter::kRepliesOnly}) {
    CHECK_FALSE(reader.agent.HasMail(filter, nullptr));
    CHECK(reader.agent.TryTake(filter, &delivery) == Status::kEmpty);
  }
  Route bob = RouteTo("bob");
  REQUIRE(peer.agent.TrySend(&bob, {.body = "work"}, nullptr) == Status::kOk);
  REQUIRE(reader.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);  // from behind it
  CHECK(delivery.InlineBody() == "work");
  CHECK(reader.agent.Ack(delivery.token) == Status::kOk);
  REQUIRE(asker.agent.TryTake(TakeFilter::kRepliesOnly, &delivery) == Status::kOk);
  CHECK(delivery.InlineBody() == "answer");
  CHECK(asker.agent.Ack(delivery.token) == Status::kOk);

  // Too late, it is anybody's; also where the asker left.
  REQUIRE(answer(2) == Status::kOk);
  REQUIRE(asker.agent.AwaitAnswers(false) == Status::kOk);
  REQUIRE(reader.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  CHECK(reader.agent.Ack(delivery.token) == Status::kOk);
  REQUIRE(asker.agent.AwaitAnswers(true) == Status::kOk);
  REQUIRE(answer(3) == Status::kOk);
  asker.agent.Leave();
  REQUIRE(reader.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  CHECK(reader.agent.Ack(delivery.token) == Status::kOk);
  CHECK(company.shim.agent.Depth() == 0);
}

TEST_CASE("Agent.AwaitAnswers: is refused where the mailbox has as many readers as it can") {
  Company company;
  Member guests[kMaxReaders + 1];
  for (Member& guest : guests) REQUIRE(company.Visit(&guest) == Status::kOk);
  for (uint32_t i = 0; i < kMaxReaders; ++i) {
    CHECK(guests[i].agent.AwaitAnswers(true) == Status::kOk);
  }
  CHECK(guests[kMaxReaders].agent.AwaitAnswers(true) == Status::kReadersFull);
}

TEST_CASE("Agent.Join: more guests than a mailbox has readers may send") {
  Company company;
  Member guests[kMaxReaders + 1];
  Delivery delivery;
  for (Member& guest : guests) {
    REQUIRE(company.Visit(&guest) == Status::kOk);
    Route self = RouteTo("bob");
    CHECK(guest.agent.TrySend(&self, {.body = "x"}, nullptr) == Status::kOk);
  }
  for (uint32_t i = 0; i < kMaxReaders; ++i) {
    CHECK(guests[i].agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  }
  CHECK(guests[kMaxReaders].agent.TryTake(TakeFilter::kAll, &delivery) == Status::kReadersFull);
}

TEST_CASE("Agent.Join: a new life takes back what guests leased, and refuses them") {
  Company company;
  Member guest;
  REQUIRE(company.Visit(&guest) == Status::kOk);
  Route self = RouteTo("bob");
  REQUIRE(guest.agent.TrySend(&self, {.body = "a"}, nullptr) == Status::kOk);
  Delivery leased, again;
  REQUIRE(guest.agent.TryTake(TakeFilter::kAll, &leased) == Status::kOk);
  company.shim.agent.Leave();
  company.Begin();
  CHECK(guest.agent.Ack(leased.token) == Status::kLeaseLost);
  CHECK(guest.agent.TryTake(TakeFilter::kAll, &again) == Status::kLeaseLost);
  CHECK(guest.agent.TrySend(&self, {.body = "late"}, nullptr) == Status::kLeaseLost);
  CHECK(guest.agent.SetState(AgentState::kFailed) == Status::kLeaseLost);
  CHECK(guest.agent.HasMail(TakeFilter::kAll, nullptr));  // so that a sleeper looks, and is told
  Member next;
  REQUIRE(company.Visit(&next) == Status::kOk);
  REQUIRE(next.agent.TryTake(TakeFilter::kAll, &again) == Status::kOk);
  CHECK(again.attempt == 1);
  guest.agent.Leave();
  CHECK(company.shim.agent.Depth() == 1);
}

TEST_CASE("Agent.Join: a token of a life that is over, or of another name, is refused") {
  Company company;
  const std::string old = company.token;
  Member guest;
  CHECK(company.Visit(&guest, "alice") == Status::kLeaseLost);
  company.shim.agent.Leave();
  CHECK(company.Visit(&guest) == Status::kLeaseLost);  // nobody holds the name
  company.Begin();
  company.token = old;
  CHECK(company.Visit(&guest) == Status::kLeaseLost);
  company.token = "of-another-fabric";
  CHECK(company.Visit(&guest) == Status::kLeaseHeld);
}

TEST_CASE("Agent.Join: the guest that a shim waits for makes it ready") {
  Company company;
  company.entry().facts.fetch_or(kFactAwaitsGuest);
  Member guest;
  REQUIRE(company.Visit(&guest) == Status::kOk);
  CHECK((company.entry().facts.load() & kFactReady) != 0);
  CHECK(StateOf(company.entry().state.load()) == AgentState::kWorking);
}

TEST_CASE("CounterBlock: guests of one agent count together") {
  Company company;
  Member first, second;
  REQUIRE(company.Visit(&first) == Status::kOk);
  REQUIRE(company.Visit(&second) == Status::kOk);
  Route self = RouteTo("bob");
  REQUIRE(first.agent.TrySend(&self, {.body = "a"}, nullptr) == Status::kOk);
  REQUIRE(second.agent.TrySend(&self, {.body = "b"}, nullptr) == Status::kOk);
  double values[kBlockValues];
  uint64_t uid = 0;
  REQUIRE(company.fabric->metrics().ReadBlock(company.shim.agent.entry(), values, &uid));
  CHECK(values[static_cast<uint32_t>(Metric::kMessagesSent)] == 2);
}

TEST_CASE("LineRing: what is not ours, or not whole, is no ring, and costs nothing but the lines") {
  const TestFabric fabric;
  const Directory& directory = fabric->directory();
  const auto ring_is = [&](int entry, const char* text) {
    LineRing ring(directory, static_cast<uint32_t>(entry));
    ring.Append("");
    ring.Append("new\n");
    ring.Append("newer\n");
    CHECK(LineRing::Read(directory, static_cast<uint32_t>(entry)) == text);
  };
  const auto made = [&](const char* name, mode_t mode) {
    const Descriptor file(openat(directory.fd(), name, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    REQUIRE(file.valid());
    REQUIRE(fchmod(file.get(), mode) == 0);
  };
  made("lines.00001", 0644);  // open to others
  ring_is(1, "");
  made("lines.00002", 0600);  // of two names
  REQUIRE(linkat(directory.fd(), "lines.00002", directory.fd(), "second", 0) == 0);
  ring_is(2, "");
  REQUIRE(mkfifoat(directory.fd(), "lines.00003", 0600) == 0);
  ring_is(3, "");
  REQUIRE(symlinkat("second", directory.fd(), "lines.00004") == 0);
  ring_is(4, "");
  ring_is(5, "new\nnewer\n");

  // Of a single line that is longer than the ring its end is kept.
  LineRing(directory, 6).Append(std::string(2 * kLineRingBytes, 'x'));
  CHECK(LineRing::Read(directory, 6) == std::string(kLineRingBytes, 'x'));
  // Truncated, a word in.
  LineRing(directory, 7).Append("gone\n");
  const Descriptor file(openat(directory.fd(), "lines.00007", O_RDWR | O_CLOEXEC));
  REQUIRE(ftruncate(file.get(), 8) == 0);
  CHECK(LineRing::Read(directory, 7).empty());
  REQUIRE(ftruncate(file.get(), 4) == 0);
  CHECK(LineRing::Read(directory, 7).empty());
}

TEST_CASE("Agent: a guest goes on while its agent is put below another parent") {
  Company company;
  Member guest;
  REQUIRE(company.Visit(&guest) == Status::kOk);
  Member alice(company.fabric.get(), "alice");
  Route to_bob = RouteTo("bob");
  REQUIRE(alice.agent.TrySend(&to_bob, {.body = "hello"}, nullptr) == Status::kOk);
  company.entry().incarnation.fetch_or(1);  // as one has it who is stopped in the middle of that
  test::Letter letter = TakeLetter(guest.agent);
  REQUIRE(letter.status == Status::kOk);
  CHECK(guest.agent.Ack(letter.delivery.token) == Status::kOk);
  Route to_alice = RouteTo("alice");
  CHECK(guest.agent.TrySend(&to_alice, {.body = "hi"}, nullptr) == Status::kOk);
  CHECK(guest.agent.SetState(AgentState::kWaiting) == Status::kOk);
}

TEST_CASE("Agent.Join: a successor finds a place, however many guests read for the life before") {
  Company company;
  Member guests[kMaxReaders];
  for (Member& guest : guests) {
    REQUIRE(company.Visit(&guest) == Status::kOk);
    CHECK(TakeLetter(guest.agent).status == Status::kEmpty);
  }
  company.shim.participant.Unregister();  // its lease is free, as if it had died
  Member heir(company.fabric.get(), "bob");
  CHECK(TakeLetter(heir.agent).status == Status::kEmpty);
  for (Member& guest : guests) CHECK(TakeLetter(guest.agent).status == Status::kLeaseLost);
}

TEST_CASE("Agent.Join: who cannot begin its life holds no name") {
  Company company;
  company.shim.participant.Unregister();
  company.entry().mailbox.store(PackMailboxRef(MakeBoxId(900, 0), 1));
  for (int i = 0; i < 2; ++i) {
    Member heir;
    REQUIRE(heir.participant.Register(company.fabric.get(), nullptr) == Status::kOk);
    CHECK(heir.agent.Join(&heir.participant, {.name = "bob"}, nullptr) == Status::kCorrupt);
    CHECK(company.entry().holder.load() == 0);
  }
}

TEST_CASE("LineRing: a writer that died over the oldest lines has none of them read wrong") {
  TestFabric fabric;
  const Directory& directory = fabric->directory();
  Child child([&] {
    LineRing ring(directory, 9);
    for (int i = 0; i < 1000; ++i) ring.Append("old line\n");
    TheFailPlan().Set("lines.written:1");
    std::string news;
    for (int i = 0; i < 100; ++i) news += "new line\n";
    ring.Append(news);
    return 0;
  });
  REQUIRE(child.ExitCode() == 256);
  const std::string text = LineRing::Read(directory, 9);
  CHECK(text.size() > kLineRingBytes / 2);
  CHECK(text.find("new") == std::string::npos);
  LineRing(directory, 9).Append("after\n");  // the next life goes on
  const std::string next = LineRing::Read(directory, 9);
  CHECK(next.find("new") == std::string::npos);
  REQUIRE(next.size() > 15);
  CHECK(next.substr(next.size() - 15) == "old line\nafter\n");
}

TEST_CASE("LineRing: keeps the last whole lines, across lives") {
  TestFabric fabric;
  const Directory& directory = fabric->directory();
  CHECK(LineRing::Read(directory, 3).empty());
  std::string all;
  for (int life = 0; life < 2; ++life) {
    LineRing ring(directory, 3);
    for (int i = 0; i < 1000; ++i) {
      const std::string line = "life " + std::to_string(life) + " line " + std::to_string(i) + "\n";
      ring.Append(line);
      all += line;
      if (life == 0 && i == 10) CHECK(LineRing::Read(directory, 3) == all);
    }
  }
  const std::string kept = LineRing::Read(directory, 3);
  CHECK(kept.size() > kLineRingBytes - 32);
  CHECK(kept == all.substr(all.size() - kept.size()));
  CHECK(all[all.size() - kept.size() - 1] == '\n');
  LineRing(directory, 3).Append(all);  // more than there is room for, at once
  CHECK(LineRing::Read(directory, 3) == kept);
  LineRing::Remove(directory, 3);
  CHECK(LineRing::Read(directory, 3).empty());
}

TEST_CASE("LineRing: garbage, a short file and a link are answered with nothing or with text") {
  TestFabric fabric;
  const std::string path = fabric.path() + "/lines.00003";
  { LineRing(fabric->directory(), 3).Append("a line\n"); }
  const uint64_t wild = ~uint64_t{0};
  const Descriptor file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(pwrite(file.get(), &wild, sizeof wild, 0) == sizeof wild);
  CHECK(LineRing::Read(fabric->directory(), 3).size() <= kLineRingBytes);
  { LineRing(fabric->directory(), 3).Append("another\n"); }
  CHECK(LineRing::Read(fabric->directory(), 3).size() <= kLineRingBytes);
  REQUIRE(ftruncate(file.get(), 4) == 0);
  CHECK(LineRing::Read(fabric->directory(), 3).empty());
  REQUIRE(unlink(path.c_str()) == 0);
  REQUIRE(symlink("/etc/passwd", path.c_str()) == 0);
  CHECK(LineRing::Read(fabric->directory(), 3).empty());
}

TEST_CASE("ProcessStartTime: tells processes apart, and what state they are in") {
  char state = '?';
  CHECK(ProcessStartTime(0) != 0);
  CHECK(ProcessStartTime(static_cast<uint32_t>(getpid()), &state) == ProcessStartTime(0));
  CHECK(state == 'R');
  CHECK(ProcessStartTime(0xff'ffff) == 0);
}

}  // namespace
}  // namespace cfc
