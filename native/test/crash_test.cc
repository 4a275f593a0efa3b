// Processes that die, or stop, at every fail point of the core, and what must hold afterwards: what
// was accepted is delivered once, or again and flagged, in order and whole; nothing stays taken.
#include <doctest/doctest.h>

#include "core/failpoint.h"

#ifdef CFC_FAIL_POINTS

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "core/dead_letters.h"
#include "core/lifecycle.h"
#include "core/line_ring.h"
#include "support.h"

namespace cfc {
namespace {

using test::Census;
using test::CensusOf;
using test::Child;
using test::kMs;
using test::Letter;
using test::Member;
using test::PatternBody;
using test::RouteTo;
using test::Shared;
using test::SmallOptions;
using test::TakeLetter;
using test::TestFabric;

constexpr uint32_t kMostPoints = 128;
constexpr uint32_t kMostReads = 64;

// What a child says before and after each step, outside of the fabric.
struct Oracle {
  struct Point {
    char name[40] = {};
    std::atomic<uint32_t> passages{0};
  };
  struct Read {
    uint32_t lane = 0;
    uint64_t sequence = 0;
    uint32_t attempt = 0;
    std::atomic<uint32_t> stage{0};  // 1: delivered, 2: acking, 3: acked, 4: given back
  };
  // Sequence numbers of the child's messages to the peer: tried, and accepted.
  std::array<std::atomic<uint64_t>, kLanes> tried = {};
  std::array<std::atomic<uint64_t>, kLanes> accepted = {};
  std::atomic<uint64_t> uid{0};
  std::atomic<uint32_t> reads_begun{0};
  std::array<Read, kMostReads> reads;
  std::array<Point, kMostPoints> points;
};

Oracle* observed = nullptr;

void Observe(const char* name) {
  for (Oracle::Point& point : observed->points) {
    if (point.name[0] == 0) std::snprintf(point.name, sizeof point.name, "%s", name);
    if (std::strcmp(point.name, name) != 0) continue;
    point.passages.fetch_add(1);
    return;
  }
}

size_t SizeOf(uint64_t sequence) {
  constexpr size_t kSizes[] = {20, 2000, 150, 270'000, 0, 5000};
  return kSizes[sequence % std::size(kSizes)];
}
std::string BodyOf(uint32_t lane, uint64_t sequence) {
  return PatternBody(lane * 1000 + sequence, SizeOf(sequence));
}

// A fabric with a peer in this process; children do the dying.
struct World {
  TestFabric fabric;
  Shared<Oracle> oracle;
  Member peer;
  uint64_t own_work = 0;  // messages that the peer sent to itself, to fill its lane
  std::map<uint32_t, uint64_t> to_worker;  // by lane
  uint32_t dropped_before = 0;
  // What the peer reads of the topic that children publish to.
  Subscription reliable;
  Subscription lossy;
  uint64_t published_before = 0;  // by the peer, not read yet by the lossy one

  explicit World(const FabricOptions& options = SmallOptions())
      : fabric(options), peer(fabric.get(), "peer") {}

  uint32_t settled_before = 0;  // messages, in all mailboxes but that of the dead letters

  uint32_t Settled() const {
    uint32_t settled = 0;
    fabric->mail().ForEach([&](const MailboxView& view) {
      if (view.box == MailboxRefBox(fabric->words().dead_letters.load())) return;
      for (const Lane& lane : view.lanes) {
        const LaneCensus census = lane.Census();
        settled += census.acked + census.dropped + census.dead_lettered;
      }
    });
    return settled;
  }
  // Once more, in the same fabric, which the checks found clean.
  void Begin() {
    new (&*oracle) Oracle();
    own_work = 0;
    to_worker.clear();
    dropped_before = peer.agent.mailbox().lanes[kWorkLane].Census().dropped;
  }
  void FillPeer() {
    Route self = RouteTo("peer");
    while (peer.agent.TrySend(&self, {.body = BodyOf(kWorkLane, own_work + 1)}, nullptr) ==
           Status::kOk) {
      ++own_work;
    }
  }
  // The topic is full of what was read before, but for the lossy reader, who is behind.
  void FillTopic() {
    constexpr SubscribeOptions kNeverLags = {.patience_ms = ~uint32_t{0} >> 1};
    REQUIRE(reliable.Open(&peer.agent, "news", kNeverLags, nullptr) == Status::kOk);
    REQUIRE(lossy.Open(&peer.agent, "news", {.policy = TopicPolicy::kLossy}, nullptr) ==
            Status::kOk);
    TopicEvent event;
    std::string body;
    for (published_before = 0; published_before < 25; ++published_before) {
      const std::string text = BodyOf(kWorkLane, published_before % 2 ? 2 : 7);
      REQUIRE(peer.agent.Publish("news", {.body = text}, Deadline::After(0)) == Status::kOk);
      REQUIRE(reliable.TryReceive(&event, &body) == Status::kOk);
    }
    reliable.topic().sleepers().Announce(reliable.row());
    reliable.topic().sleepers().Announce(lossy.row());
  }
  // Leaves a name with mail behind, whose holder is gone.
  void MakeWorker(std::string_view name, uint64_t key = 0) {
    Member worker(fabric.get(), name, 16);
    Route route = RouteTo(name);
    for (int i = 0; i < 13; ++i) {
      const LaneIndex lane = i % 5 == 4 ? kControlLane : kWorkLane;
      const std::string body = BodyOf(lane, ++to_worker[lane]);
      const uint64_t own_key = key != 0 ? key + lane * 1000 + to_worker[lane] : 0;
      REQUIRE(peer.agent.TrySend(&route, {.body = body, .lane = lane, .key = own_key}, nullptr) ==
              Status::kOk);
    }
  }
};

// ---- what children do; they return 0, or the number of the step that went wrong

#define STEP(condition) \
  if (!(condition)) return __LINE__ % 200 + 1

int SendOne(World& world, Agent& agent, Route& route, LaneIndex lane,
            FullPolicy policy = FullPolicy::kReject) {
  const uint64_t sequence = world.oracle->tried[lane].load() + 1;
  const std::string body = BodyOf(lane, sequence);
  world.oracle->tried[lane].store(sequence);
  STEP(agent.TrySend(&route, {.body = body, .lane = lane, .when_full = policy}, nullptr) ==
       Status::kOk);
  world.oracle->accepted[lane].store(sequence);
  return 0;
}

int RunSend(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  world.oracle->uid.store(me.participant.uid());
  const AgentSpec spec = {.name = "child", .limits = {.per_second = kMostPerSecond}};
  STEP(me.agent.Join(&me.participant, spec, nullptr) == Status::kOk);
  Route route = RouteTo("peer");
  for (int i = 0; i < 4; ++i) STEP(SendOne(world, me.agent, route, kWorkLane) == 0);
  for (int i = 0; i < 2; ++i) STEP(SendOne(world, me.agent, route, kControlLane) == 0);
  const uint64_t first = world.oracle->tried[kWorkLane].load() + 1;
  std::vector<std::string> bodies;
  std::vector<Outgoing> batch;
  for (uint64_t i = 0; i < 4; ++i) bodies.push_back(BodyOf(kWorkLane, first + i));
  for (const std::string& body : bodies) batch.push_back({.body = body});
  world.oracle->tried[kWorkLane].store(first + 3);
  uint32_t accepted = 0;
  STEP(me.agent.TrySendBatch(&route, batch.data(), 4, nullptr, &accepted) == Status::kOk);
  world.oracle->accepted[kWorkLane].store(first + accepted - 1);
  return 0;
}

// Sends into a full lane that drops its oldest.
int RunDrop(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  world.oracle->uid.store(me.participant.uid());
  STEP(me.agent.Join(&me.participant, {.name = "child"}, nullptr) == Status::kOk);
  Route route = RouteTo("peer");
  for (int i = 0; i < 4; ++i) {
    STEP(SendOne(world, me.agent, route, kWorkLane, FullPolicy::kDropOldest) == 0);
  }
  return 0;
}

int RunRoom(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  world.oracle->uid.store(me.participant.uid());
  STEP(me.agent.Join(&me.participant, {.name = "child"}, nullptr) == Status::kOk);
  Route route = RouteTo("peer");
  // At once: how often it looks while it waits would depend on the machine, and with it the deaths.
  STEP(me.agent.Send(&route, {.body = BodyOf(kWorkLane, 1)}, Deadline::After(0), nullptr) ==
       Status::kTimedOut);
  return 0;
}

Oracle::Read* NoteRead(World& world, const Delivery& delivery) {
  Oracle::Read& read = world.oracle->reads[world.oracle->reads_begun.load()];
  read.lane = delivery.token.lane;
  read.sequence = delivery.sequence;
  read.attempt = delivery.attempt;
  read.stage.store(1);
  world.oracle->reads_begun.fetch_add(1);
  return &read;
}

int RunReceive(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  STEP(me.agent.Join(&me.participant, {.name = "worker"}, nullptr) == Status::kOk);
  const auto take = [&](Letter* letter) -> Oracle::Read* {
    *letter = TakeLetter(me.agent);
    return letter->status == Status::kOk ? NoteRead(world, letter->delivery) : nullptr;
  };
  const auto ack = [&](Oracle::Read* read, const LeaseToken& token) {
    read->stage.store(2);
    const Status status = me.agent.Ack(token);
    if (status == Status::kOk) read->stage.store(3);
    return status;
  };
  Letter letter;
  Oracle::Read* read = take(&letter);
  STEP(read && ack(read, letter.delivery.token) == Status::kOk);
  read = take(&letter);
  STEP(read && me.agent.Nack(letter.delivery.token, 0) == Status::kOk);
  read->stage.store(4);
  read = take(&letter);
  STEP(read);
  LeaseToken token = letter.delivery.token;
  STEP(me.agent.HandOver(&token) == Status::kOk);
  STEP(ack(read, token) == Status::kOk);
  std::array<Oracle::Read*, 3> several = {};
  std::array<LeaseToken, 3> tokens;
  for (size_t i = 0; i < 3; ++i) {
    several[i] = take(&letter);
    STEP(several[i]);
    tokens[i] = letter.delivery.token;
  }
  for (const size_t i : {2, 0, 1}) {
    several[i]->stage.store(2);
    STEP(me.agent.AckWithoutReclaim(tokens[i]) == Status::kOk);
    several[i]->stage.store(3);
  }
  me.agent.Reclaim(kWorkLane);
  for (read = take(&letter); read; read = take(&letter)) {
    STEP(ack(read, letter.delivery.token) == Status::kOk);
  }
  me.agent.Leave();
  me.participant.Unregister();
  return 0;
}

// Comes and goes, into new and used mailboxes, with mail left behind in the end.
int RunRejoin(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  // Often enough to come back into a mailbox that was closed before.
  for (const uint32_t cells : {32, 16, 16, 16, 16, 16, 16, 16}) {
    const AgentSpec spec = {.name = "nomad", .role = "r", .mailbox_cells = cells};
    STEP(me.agent.Join(&me.participant, spec, nullptr) == Status::kOk);
    me.agent.Leave();
  }
  STEP(me.agent.Join(&me.participant, {.name = "nomad"}, nullptr) == Status::kOk);
  Route self = RouteTo("nomad");
  STEP(me.agent.TrySend(&self, {.body = "left behind"}, nullptr) == Status::kOk);
  Delivery delivery;
  STEP(me.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
  me.agent.Leave();
  me.participant.Unregister();
  return 0;
}

// A shim, its guest and whoever wants something of them; then the next life of the name.
int RunLifecycle(World& world) {
  Fabric& fabric = *world.fabric;
  Member shim;
  Member guest;
  STEP(shim.participant.Register(&fabric, nullptr) == Status::kOk);
  STEP(guest.participant.Register(&fabric, nullptr) == Status::kOk);
  for (int life = 0; life < 2; ++life) {
    STEP(shim.agent.Join(&shim.participant, {.name = "nomad", .shim = true}, nullptr) ==
         Status::kOk);
    const uint32_t index = shim.agent.entry();
    const std::string token = LifeToken(fabric, index, shim.agent.incarnation());
    STEP(guest.agent.Join(&guest.participant, {.name = "nomad", .life = token}, nullptr) ==
         Status::kOk);
    Route self = RouteTo("nomad");
    STEP(guest.agent.TrySend(&self, {.body = "to myself"}, nullptr) == Status::kOk);
    Delivery delivery;
    STEP(guest.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
    STEP(Want(fabric, "nomad", Wanted::kPause, 0) == Status::kOk);
    STEP(shim.agent.SetState(AgentState::kWorking) == Status::kOk);
    WriteStatusText(fabric.entries()[index], "half way");
    LineRing(fabric.directory(), index).Append("a line\n");
    shim.agent.Leave();
    if (life == 0) {  // the guest lives on, and is fenced by the next life
      STEP(shim.agent.Join(&shim.participant, {.name = "nomad", .shim = true}, nullptr) ==
           Status::kOk);
      STEP(guest.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kLeaseLost);
      WriteExit(fabric.entries()[index], shim.agent.incarnation(), 1);
      STEP(shim.agent.SetState(AgentState::kFailed) == Status::kOk);
      shim.agent.Leave();
    }
    guest.agent.Leave();
  }
  guest.participant.Unregister();
  shim.participant.Unregister();
  return 0;
}

// Gives up what it was sent: by nacks, and by going away with it. Then sends the oldest dead letter
// again and drops the youngest, whose number it notes before.
int RunGiveUp(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  for (int lives = 0; lives < 2; ++lives) {
    STEP(me.agent.Join(&me.participant, {.name = "worker"}, nullptr) == Status::kOk);
    for (int i = 0; i < 2; ++i) STEP(TakeLetter(me.agent).status == Status::kOk);
    me.agent.Leave();
  }
  STEP(me.agent.Join(&me.participant, {.name = "worker"}, nullptr) == Status::kOk);
  for (Letter letter = TakeLetter(me.agent); letter.status == Status::kOk;
       letter = TakeLetter(me.agent)) {
    STEP(me.agent.Nack(letter.delivery.token, 0, "no use") == Status::kOk);
  }
  DeadLetters letters(world.fabric.get());
  DeadLetter letter;
  uint64_t count = 0;
  while (letters.Peek(count, &letter) == Status::kOk) ++count;
  STEP(count >= 2);
  world.oracle->reads[0].lane = letter.lane;
  world.oracle->reads[0].sequence = letter.message.sequence;
  world.oracle->reads[0].stage.store(1);
  STEP(letters.Take(&me.participant, letter.message.id, &letter) == Status::kOk);
  STEP(letters.Settle(&me.participant, letter, kDropped) == Status::kOk);
  STEP(letters.Peek(0, &letter) == Status::kOk);
  MessageId sent;
  STEP(me.agent.Redrive(letter.message.id, &sent) == Status::kOk);
  return 0;
}

// Acks what has keys; the window for them is made on the way.
int RunKeys(World& world) {
  static Member me;  // does not leave: its successor is to have the same mailbox
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  STEP(me.agent.Join(&me.participant, {.name = "worker"}, nullptr) == Status::kOk);
  for (Letter letter = TakeLetter(me.agent); letter.status == Status::kOk;
       letter = TakeLetter(me.agent)) {
    STEP(me.agent.Ack(letter.delivery.token) == Status::kOk);
  }
  return 0;
}

int RunMetrics(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  STEP(me.agent.Join(&me.participant, {.name = "child"}, nullptr) == Status::kOk);
  uint32_t index = 0;
  const auto is_dead = [&](Owner owner) { return world.fabric->ProvenDead(owner); };
  STEP(world.fabric->metrics().Register(me.participant.owner(), "tasks.ms", "ms",
                                        MetricKind::kHistogram, is_dead, &index) == Status::kOk);
  HistogramWriter writer;
  STEP(world.fabric->metrics().ClaimHistogram(
           me.agent.counters(), index, [](uint32_t, uint64_t) { return false; }, &writer) ==
       Status::kOk);
  writer.Record(1);
  return 0;
}

int RunCreate(World& world) {
  std::unique_ptr<Fabric> other;
  Failure failure;
  STEP(Fabric::Create("other", world.fabric.base(), SmallOptions(), &other, &failure) ==
       Status::kOk);
  return 0;
}

// Publishes to the peer, who does not read meanwhile.
int RunPublish(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  world.oracle->uid.store(me.participant.uid());
  STEP(me.agent.Join(&me.participant, {.name = "child"}, nullptr) == Status::kOk);
  for (uint64_t sequence = 1; sequence <= 12; ++sequence) {
    world.oracle->tried[kWorkLane].store(sequence);
    STEP(me.agent.Publish("news", {.body = BodyOf(kWorkLane, sequence)}, Deadline::After(0)) ==
         Status::kOk);
    world.oracle->accepted[kWorkLane].store(sequence);
  }
  return 0;
}

// Makes a topic, reads what it publishes there, falls behind itself, goes to sleep, and leaves.
int RunSubscribe(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  STEP(me.agent.Join(&me.participant, {.name = "child"}, nullptr) == Status::kOk);
  Subscription reliable;
  Subscription lossy;
  STEP(reliable.Open(&me.agent, "own", {.patience_ms = 0}, nullptr) == Status::kOk);
  STEP(lossy.Open(&me.agent, "own", {.policy = TopicPolicy::kLossy}, nullptr) == Status::kOk);
  TopicRoute* route = nullptr;
  STEP(me.agent.OpenTopic("own", &route, nullptr) == Status::kOk);
  uint64_t published = 0;
  uint64_t read = 0;
  uint64_t told = 0;
  TopicEvent event;
  std::string body;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i, ++published) {
      const std::string text = BodyOf(kWorkLane, 1 + published % 3);
      STEP(me.agent.Publish(route, {.body = text}, Deadline::After(5000 * kMs), nullptr) ==
           Status::kOk);
      uint64_t position = 0;  // one that comes to nothing
      if (i == 7 && route->view.log.TryClaim(me.participant.owner(), AlwaysValid(), &position) ==
                        Status::kOk) {
        route->view.log.Abort(me.participant.owner(), position);
      }
    }
    while (reliable.TryReceive(&event, &body) == Status::kOk) read += event.gap ? event.count : 1;
    while (lossy.TryReceive(&event, &body) == Status::kOk) told += event.gap ? event.count : 1;
    STEP(read == published);
    STEP(told == published);
  }
  STEP(reliable.lagged() >= 1);
  STEP(reliable.WaitEvent(Deadline::After(kMs)) == Status::kTimedOut);
  lossy.Close();
  reliable.Close();
  me.agent.Leave();
  me.participant.Unregister();
  return 0;
}

// Stands in for the worker, hands on what waits there, and puts the peer below somebody else.
int RunForward(World& world) {
  Member me;
  STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
  STEP(AgentDirectory(world.fabric.get()).Reparent("peer", "worker") == Status::kOk);
  STEP(me.agent.Join(&me.participant, {.name = "worker"}, nullptr) == Status::kOk);
  Route route = RouteTo("peer");
  Delivery delivery;
  while (me.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk) {
    Receipt receipt;
    bool asked = false;
    STEP(me.agent.Forward(delivery.token, &route, &receipt, &asked) == Status::kOk);
    STEP(me.agent.Ack(delivery.token) == Status::kOk);
  }
  return 0;
}

// Dies with a hand on everything that repair has to mend.
int RunVictim(World& world) {
  static Member me;
  Fabric& fabric = *world.fabric;
  STEP(me.participant.Register(&fabric, nullptr) == Status::kOk);
  STEP(me.agent.Join(&me.participant, {.name = "worker"}, nullptr) == Status::kOk);
  const Owner owner = me.participant.owner();
  for (int i = 0; i < 3; ++i) {
    const Letter letter = TakeLetter(me.agent);
    STEP(letter.status == Status::kOk);
    NoteRead(world, letter.delivery);
    if (i < 2) continue;
    LeaseToken token = letter.delivery.token;
    STEP(me.agent.HandOver(&token) == Status::kOk);
  }
  MailboxView peer;
  AgentRecord record;
  STEP(AgentDirectory(&fabric).Find("peer", &record) == Status::kOk);
  STEP(fabric.mail().View(MailboxRefBox(record.mailbox), &peer));
  me.participant.IntendToSend(PackLaneId(peer.box, kWorkLane));
  uint64_t position = 0;
  STEP(peer.lanes[kWorkLane].TryClaim(
           owner, [] { return true; }, &position) == Status::kOk);
  static Subscription events;
  STEP(events.Open(&me.agent, "news", {}, nullptr) == Status::kOk);
  TopicRoute* route = nullptr;
  STEP(me.agent.OpenTopic("news", &route, nullptr) == Status::kOk);
  me.participant.IntendToSend(TopicLaneId(route->view.box));
  uint64_t in_topic = 0;
  Status claimed = route->view.log.TryClaim(owner, AlwaysValid(), &in_topic);
  if (claimed == Status::kFull) {  // of the holes that earlier victims left: as a publish would
    MakeTopicRoom(fabric, route->view, owner, 1, 0);
    claimed = route->view.log.TryClaim(owner, AlwaysValid(), &in_topic);
  }
  STEP(claimed == Status::kOk);
  ChunkRef of_topic = 0;
  STEP(fabric.slab().Borrow(owner, 100, &of_topic) == Status::kOk);
  fabric.slab().Place(owner, of_topic, PackPlace(route->view.box, 0, in_topic));
  ChunkRef loaned = 0;
  ChunkRef placed = 0;
  STEP(fabric.slab().Borrow(owner, 600'000, &loaned) == Status::kOk);
  STEP(fabric.slab().Borrow(owner, 100, &placed) == Status::kOk);
  fabric.slab().Place(owner, placed, PackPlace(peer.box, kWorkLane, position));
  fabric.wants().Announce(peer.lanes[kControlLane].words()->room, owner,
                          PackLaneId(peer.box, kControlLane));
  uint32_t entry = 0;
  STEP(AgentDirectory(&fabric).Claim(owner, "half", &entry) == Status::kOk);
  uint64_t ref = 0;
  MailboxView box;
  STEP(fabric.mail().Allocate(owner, 16, &ref, &box, nullptr) == Status::kOk);
  TheFailPlan().Set("metrics.claimed:1");
  uint32_t index = 0;
  (void)fabric.metrics().Register(
      owner, "never", "", MetricKind::kCounter, [](Owner) { return false; }, &index);
  return 199;
}

int RunSweep(World& world) {
  Participant me;
  STEP(me.Register(world.fabric.get(), nullptr) == Status::kOk);
  Sweep(*world.fabric, me.owner());
  return 0;
}

// Finds no slot free but those of the dead.
int RunRegister(World& world) {
  Participant me;
  STEP(me.Register(world.fabric.get(), nullptr) == Status::kOk);
  return 0;
}

struct Workload {
  const char* name;
  void (*prepare)(World&);
  int (*run)(World&);
  bool exact;  // it sends to, or reads from, the fabric as the oracle says
};

void PrepareNothing(World& world) {
  // Asleep as far as others can tell, so that they ring it.
  Doorbell(&world.fabric->SlotAt(world.peer.participant.slot_index())->doorbell).Park(false);
}
void PrepareTopic(World& world) {
  world.FillTopic();
  PrepareNothing(world);
}
void PrepareFull(World& world) { world.FillPeer(); }
void PrepareWorker(World& world) { world.MakeWorker("worker"); }
void PrepareKeys(World& world) {
  world.settled_before = world.Settled();
  world.MakeWorker("worker", 7);
}
void PrepareGiveUp(World& world) {
  world.settled_before = world.Settled();
  world.MakeWorker("worker");
}
void PrepareVictim(World& world) {
  world.MakeWorker("worker");
  Child victim([&] { return RunVictim(world); });
  REQUIRE(victim.ExitCode() == 256);
}
void PrepareNoSlot(World& world) {
  PrepareVictim(world);
  while (true) {  // until only the victim's is left
    bool free = false;
    for (uint32_t i = 1; i <= world.fabric->slots(); ++i) {
      free = free || SlotStateOf(world.fabric->SlotAt(i)->word.load()) == SlotState::kFree;
    }
    if (!free) return;
    Child other([&]() -> int {
      static Participant participant;
      if (participant.Register(world.fabric.get(), nullptr) != Status::kOk) return 1;
      raise(SIGKILL);
      return 2;
    });
    REQUIRE(other.ExitCode() == 256);
  }
}

constexpr Workload kWorkloads[] = {
    {"send", PrepareNothing, RunSend, true},
    {"drop the oldest", PrepareFull, RunDrop, true},
    {"wait for room", PrepareFull, RunRoom, true},
    {"receive", PrepareWorker, RunReceive, true},
    {"hand on", PrepareWorker, RunForward, false},
    {"keys", PrepareKeys, RunKeys, false},
    {"give up", PrepareGiveUp, RunGiveUp, false},
    {"come and go", PrepareNothing, RunRejoin, false},
    {"live as a command", PrepareNothing, RunLifecycle, false},
    {"publish", PrepareTopic, RunPublish, false},
    {"subscribe", PrepareNothing, RunSubscribe, false},
    {"metrics", PrepareNothing, RunMetrics, false},
    {"create", PrepareNothing, RunCreate, false},
    {"sweep", PrepareVictim, RunSweep, true},
    {"register", PrepareNoSlot, RunRegister, true},
};

const Workload& Named(std::string_view name) {
  for (const Workload& workload : kWorkloads) {
    if (name == workload.name) return workload;
  }
  std::abort();
}

FabricOptions OptionsOf(const Workload& workload) {
  FabricOptions options = SmallOptions();
  if (workload.run == RunRegister) options.max_participants = 4;
  if (workload.run == RunSend) options.mailbox_cells = 32;
  if (workload.run == RunGiveUp) options.attempt_limit = 2;
  return options;
}

// ---- what must hold afterwards

// What of the child's messages came to the peer: all that were accepted, in order, whole, and of
// the others at most a beginning of what it had in hand.
void CheckSent(World& world) {
  std::array<uint64_t, kLanes> last = {};
  uint64_t own_delivered = 0;
  for (Letter letter = TakeLetter(world.peer.agent); letter.status == Status::kOk;
       letter = TakeLetter(world.peer.agent)) {
    const Delivery& delivery = letter.delivery;
    CHECK((letter.body == BodyOf(delivery.token.lane, delivery.sequence)));
    CHECK(delivery.attempt == 0);
    if (delivery.id.uid == world.oracle->uid.load()) {
      CHECK(delivery.sequence == ++last[delivery.token.lane]);
    } else {
      ++own_delivered;
    }
    REQUIRE(world.peer.agent.Ack(delivery.token) == Status::kOk);
  }
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    CHECK(last[lane] >= world.oracle->accepted[lane].load());
    CHECK(last[lane] <= world.oracle->tried[lane].load());
  }
  const LaneCensus work = world.peer.agent.mailbox().lanes[kWorkLane].Census();
  CHECK(own_delivered + work.dropped - world.dropped_before == world.own_work);
}

// What was sent to the worker: acked by the child, or delivered to its successor, never lost.
void CheckRead(World& world) {
  AgentRecord record;
  std::array<std::set<uint64_t>, kLanes> again;
  std::array<uint64_t, kLanes> last = {};
  // With a fence: what the dead one's incarnation held comes again too.
  if (AgentDirectory(world.fabric.get()).Find("worker", &record) == Status::kOk) {
    Member next;
    REQUIRE(next.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
    REQUIRE(next.agent.Join(&next.participant, {.name = "worker"}, nullptr) == Status::kOk);
    for (Letter letter = TakeLetter(next.agent); letter.status == Status::kOk;
         letter = TakeLetter(next.agent)) {
      const Delivery& delivery = letter.delivery;
      const uint32_t lane = delivery.token.lane;
      CHECK((letter.body == BodyOf(lane, delivery.sequence)));
      CHECK(delivery.sequence > last[lane]);
      last[lane] = delivery.sequence;
      again[lane].insert(delivery.sequence);
      bool delivered = false;
      for (const Oracle::Read& read : world.oracle->reads) {
        if (read.stage.load() == 0 || read.lane != lane || read.sequence != delivery.sequence) {
          continue;
        }
        delivered = true;
        CHECK(read.stage.load() != 3);  // acked: never again
        CHECK(delivery.attempt > read.attempt);
      }
      if (!delivered) CHECK(delivery.attempt <= 1);
      REQUIRE(next.agent.Ack(delivery.token) == Status::kOk);
    }
  }
  for (const auto& entry : world.to_worker) {
    const uint32_t lane = entry.first;
    const uint64_t sent = entry.second;
    for (uint64_t sequence = 1; sequence <= sent; ++sequence) {
      bool settled = false;
      for (const Oracle::Read& read : world.oracle->reads) {
        if (read.lane == lane && read.sequence == sequence && read.stage.load() >= 2 &&
            read.stage.load() <= 3) {
          settled = true;
        }
      }
      CAPTURE(lane);
      CAPTURE(sequence);
      CHECK((settled || again[lane].count(sequence) == 1));
    }
  }
}

// What of the child's publications came to the peer: to its reliable subscription as many as were
// accepted, in order, whole, and at most one more; to its lossy one the same, less what was told.
void CheckPublished(World& world) {
  TopicEvent event;
  std::string body;
  uint64_t last = 0;
  while (world.reliable.TryReceive(&event, &body) == Status::kOk) {
    CHECK_FALSE(event.gap);
    CHECK(event.message.id.uid == world.oracle->uid.load());
    CHECK(event.message.sequence == ++last);
    CHECK((body == BodyOf(kWorkLane, last)));
  }
  CHECK(last >= world.oracle->accepted[kWorkLane].load());
  CHECK(last <= world.oracle->tried[kWorkLane].load());
  uint64_t told = 0;
  while (world.lossy.TryReceive(&event, &body) == Status::kOk) told += event.gap ? event.count : 1;
  CHECK(told == world.published_before + last);
  world.reliable.Close();
  world.lossy.Close();
}

// What was sent to the worker: handed on to the peer as it was sent, or still the worker's; twice
// only where the death came between the two.
void CheckForwarded(World& world) {
  std::map<uint32_t, std::map<uint64_t, int>> seen;
  const auto read = [&](Agent& agent) {
    for (Letter letter = TakeLetter(agent); letter.status == Status::kOk;
         letter = TakeLetter(agent)) {
      const uint32_t lane = letter.delivery.token.lane;
      CHECK(letter.delivery.From() == "peer");
      CHECK((letter.body == BodyOf(lane, letter.delivery.sequence)));
      ++seen[lane][letter.delivery.sequence];
      REQUIRE(agent.Ack(letter.delivery.token) == Status::kOk);
    }
  };
  read(world.peer.agent);
  AgentRecord record;
  if (AgentDirectory(world.fabric.get()).Find("worker", &record) == Status::kOk) {
    Member next(world.fabric.get(), "worker");
    read(next.agent);
  }
  int twice = 0;
  for (const auto& entry : world.to_worker) {
    CHECK(seen[entry.first].size() == entry.second);
    for (const auto& counted : seen[entry.first]) twice += counted.second - 1;
  }
  CHECK(twice <= 1);
  REQUIRE(AgentDirectory(world.fabric.get()).Reparent("peer", "boss") == Status::kOk);
  REQUIRE(AgentDirectory(world.fabric.get()).Find("peer", &record) == Status::kOk);
  CHECK(record.Parent() == "boss");
}

// What was sent to the worker is delivered to its successor, or a dead letter, once, or was dropped
// as one; and the ledger has each message once.
void CheckGivenUp(World& world) {
  std::array<std::set<uint64_t>, kLanes> found;
  uint32_t redriven = 0;
  AgentRecord record;
  if (AgentDirectory(world.fabric.get()).Find("worker", &record) == Status::kOk) {
    Member next(world.fabric.get(), "worker");
    for (Letter letter = TakeLetter(next.agent); letter.status == Status::kOk;
         letter = TakeLetter(next.agent)) {
      const Delivery& delivery = letter.delivery;
      CHECK(delivery.From() == "peer");
      const bool again = delivery.id.uid != world.peer.participant.uid();
      if (!again) found[delivery.token.lane].insert(delivery.sequence);
      if (!again) CHECK((letter.body == BodyOf(delivery.token.lane, delivery.sequence)));
      redriven += again;
      REQUIRE(next.agent.Ack(delivery.token) == Status::kOk);
    }
  }
  DeadLetters letters(world.fabric.get());
  DeadLetter letter;
  std::array<std::set<uint64_t>, kLanes> kept;
  for (uint64_t i = 0; letters.Peek(i, &letter) == Status::kOk; ++i) {
    CHECK(kept[letter.lane].insert(letter.message.sequence).second);  // no repeats
    CHECK(letter.To() == "worker");
    CHECK(letter.message.From() == "peer");
    std::unique_ptr<char[]> body;
    REQUIRE(letters.CopyBody(letter, &body) == Status::kOk);
    CHECK((std::string(body.get(), letter.body_bytes) ==
           BodyOf(letter.lane, letter.message.sequence)));
    CHECK(found[letter.lane].count(letter.message.sequence) == 0);
  }
  const Oracle::Read& dropped = world.oracle->reads[0];
  uint32_t sent = 0;
  uint32_t missing = 0;
  for (const auto& [lane, count] : world.to_worker) {
    sent += static_cast<uint32_t>(count);
    for (uint64_t sequence = 1; sequence <= count; ++sequence) {
      if (found[lane].count(sequence) + kept[lane].count(sequence) != 0) continue;
      const bool named =
          dropped.stage.load() != 0 && dropped.lane == lane && dropped.sequence == sequence;
      if (!named) ++missing;
    }
  }
  CHECK(missing <= redriven);
  CHECK(redriven <= 1);
  CHECK(world.Settled() - world.settled_before == sent + redriven);
}

// What was acked is dropped as a repeat or, where the reader died before it noted the key, comes
// again once; what was not acked comes. Nothing is dropped that was never acked.
void CheckKeys(World& world) {
  uint32_t sent = 0;
  for (const auto& [lane, count] : world.to_worker) sent += static_cast<uint32_t>(count);
  const uint32_t acked_by_child = world.Settled() - world.settled_before;
  CHECK(acked_by_child <= sent);
  Member next(world.fabric.get(), "worker");
  Route route = RouteTo("worker");
  const auto take_all = [&] {
    uint32_t taken = 0;
    for (Letter letter = TakeLetter(next.agent); letter.status == Status::kOk;
         letter = TakeLetter(next.agent)) {
      REQUIRE(next.agent.Ack(letter.delivery.token) == Status::kOk);
      ++taken;
    }
    return taken;
  };
  CHECK(take_all() == sent - acked_by_child);
  uint32_t again = 0;
  for (const auto& [lane, count] : world.to_worker) {
    for (uint64_t sequence = 1; sequence <= count; ++sequence) {
      Outgoing repeat;
      repeat.body = "repeat";
      repeat.lane = static_cast<LaneIndex>(lane);
      repeat.key = 7 + lane * 1000 + sequence;
      REQUIRE(world.peer.agent.TrySend(&route, repeat, nullptr) == Status::kOk);
      again += take_all();
    }
  }
  CHECK(again <= 1);
}

// Chunks that mailboxes keep for good.
uint64_t Windows(Fabric& fabric) {
  uint64_t windows = 0;
  fabric.mail().ForEach([&](const MailboxView& view) {
    const ChunkRef ref = view.words->keys.load();
    windows += ref != 0 && fabric.slab().Kept(ref, 1) != nullptr;
  });
  return windows;
}

void CheckNothingTaken(World& world) {
  Fabric& fabric = *world.fabric;
  // Nobody reads there any more: what topics keep can go.
  fabric.topics().ForEach([&](const TopicView& topic) {
    MakeTopicRoom(fabric, topic, world.peer.participant.owner(), topic.log.capacity(), 0);
  });
  // Names that are left have mail, or a holder who died: a successor clears them.
  for (uint32_t i = 0; i < fabric.entry_count(); ++i) {
    AgentRecord record;
    if (!AgentDirectory(&fabric).Read(i, &record) || record.Name() == "peer") continue;
    Member next;
    REQUIRE(next.participant.Register(&fabric, nullptr) == Status::kOk);
    REQUIRE(next.agent.Join(&next.participant, {.name = record.Name()}, nullptr) == Status::kOk);
    for (Letter letter = TakeLetter(next.agent); letter.status == Status::kOk;
         letter = TakeLetter(next.agent)) {
      REQUIRE(next.agent.Ack(letter.delivery.token) == Status::kOk);
    }
  }
  DeadLetters letters(&fabric);
  DeadLetter dead;
  while (letters.Peek(0, &dead) == Status::kOk) {
    REQUIRE(letters.Take(&world.peer.participant, dead.message.id, &dead) == Status::kOk);
    REQUIRE(letters.Settle(&world.peer.participant, dead, kDropped) == Status::kOk);
  }
  const uint32_t boxes_of_letters = fabric.words().dead_letters.load() != 0 ? 1 : 0;
  const Census census = CensusOf(fabric);
  CHECK(census.cells_claimed == 0);
  CHECK(census.cells_quarantined == 0);
  CHECK(census.cells_ready == 0);
  CHECK(census.cells_leased == 0);
  CHECK(census.cells_held == 0);
  CHECK(census.chunks_loaned == 0);
  CHECK(census.chunks_placed == Windows(fabric));
  CHECK(census.slots_live == 1);
  CHECK(census.slots_reaping == 0);
  CHECK(census.boxes_claimed == 0);
  CHECK(census.boxes_owned == 1 + boxes_of_letters);
  CHECK(census.entries_claimed == 0);
  CHECK(census.entries_live == 1);
  CHECK(census.wants == 0);
  CHECK(census.records_claimed == 0);
  CHECK(census.topic_cells_claimed == 0);
  CHECK(census.topic_cells_ready == 0);
  CHECK(census.topic_rows == 0);
  // And all of it works: a stranger comes, talks and goes.
  Member fresh(&fabric, "fresh");
  Route there = RouteTo("peer");
  Route back = RouteTo("fresh");
  const std::string body = PatternBody(4, 5000);
  REQUIRE(fresh.agent.TrySend(&there, {.body = body}, nullptr) == Status::kOk);
  const Letter letter = TakeLetter(world.peer.agent);
  CHECK((letter.body == body));
  CHECK(world.peer.agent.Ack(letter.delivery.token) == Status::kOk);
  CHECK(world.peer.agent.TrySend(&back, {.body = "y"}, nullptr) == Status::kOk);
  CHECK(TakeLetter(fresh.agent).body == "y");
  fabric.topics().ForEach([&](const TopicView& topic) {
    char name[kMaxNameBytes];
    const std::string_view topic_name(name, TopicStore::NameOf(topic, name));
    Subscription events;
    REQUIRE(events.Open(&fresh.agent, topic_name, {}, nullptr) == Status::kOk);
    TopicEvent event;
    std::string text;
    for (uint32_t i = 0; i < 2 * topic.log.capacity(); ++i) {
      REQUIRE(world.peer.agent.Publish(topic_name, {.body = "z"}, Deadline::After(0)) ==
              Status::kOk);
      REQUIRE(events.TryReceive(&event, &text) == Status::kOk);
      CHECK_FALSE(event.gap);
      CHECK(text == "z");
    }
  });
}

void CheckAll(World& world, const Workload& workload) {
  Doorbell(&world.fabric->SlotAt(world.peer.participant.slot_index())->doorbell).Unpark();
  Sweep(*world.fabric, world.peer.participant.owner());
  if (workload.exact) {
    CheckSent(world);
    CheckRead(world);
  }
  if (workload.run == RunPublish) CheckPublished(world);
  if (workload.run == RunForward) CheckForwarded(world);
  if (workload.run == RunGiveUp) CheckGivenUp(world);
  if (workload.run == RunKeys) CheckKeys(world);
  CheckNothingTaken(world);
  if (workload.run == RunCreate) {
    std::unique_ptr<Fabric> other;
    const Status status =
        Fabric::OpenOrCreate("other", world.fabric.base(), SmallOptions(), &other, nullptr);
    CHECK(status == Status::kOk);
    std::unique_ptr<Fabric> third;  // whose creation sweeps what the dead left half made
    CHECK(Fabric::Create("third", world.fabric.base(), SmallOptions(), &third, nullptr) ==
          Status::kOk);
    CHECK(test::TempBase::EntriesIn(world.fabric.base()) == 3);
  }
}

// Runs the workload to its end, and tells how often it passes each point.
std::map<std::string, uint32_t> Trace(const Workload& workload) {
  World world(OptionsOf(workload));
  workload.prepare(world);
  Child child([&] {
    observed = &*world.oracle;
    TheFailPlan().observer = Observe;
    return workload.run(world);
  });
  REQUIRE(child.ExitCode() == 0);
  CheckAll(world, workload);
  std::map<std::string, uint32_t> points;
  for (const Oracle::Point& point : world.oracle->points) {
    if (point.name[0] != 0) points[point.name] = point.passages.load();
  }
  return points;
}

// Which passages to die at: the first, the second, the last.
std::set<uint32_t> PassagesOf(uint32_t passages) {
  std::set<uint32_t> chosen = {1};
  if (!test::kThreadSanitized) chosen.insert(passages);
  if (passages >= 2 && !test::kSanitized) chosen.insert(2);
  return chosen;
}

// Of the pairs of points (at which the worker, then its repairer dies) every so many-th is tried.
constexpr size_t kPairStride = test::kThreadSanitized ? 19 : test::kSanitized ? 11 : 1;

const char* const kRepairPoints[] = {
    "reap.marked",   "repair.cell",   "repair.lane",     "repair.cells", "repair.wants",
    "repair.chunks", "repair.topics", "repair.row",      "repair.names", "repair.box",
    "reap.repaired", "slab.freed",    "reclaim.counted", "box.free",     "box.freed"};

int RunAndDie(World& world, int (*run)(World&), const std::string& point, uint32_t passage) {
  Child child([&] {
    TheFailPlan().Set((point + ":" + std::to_string(passage)).c_str());
    return run(world);
  });
  return child.ExitCode();
}

// ---- the tests

TEST_CASE("Crash: every fail point in the sources is passed by a workload that dies there") {
  std::set<std::string> in_sources;
  const std::regex pattern("CFC_FAIL_POINT\\(\"([^\"]+)\"\\)");
  for (const auto& file : std::filesystem::directory_iterator(CFC_CORE_SOURCES)) {
    std::stringstream text;
    text << std::ifstream(file.path()).rdbuf();
    const std::string source = text.str();
    for (std::sregex_iterator match(source.begin(), source.end(), pattern), end; match != end;
         ++match) {
      in_sources.insert((*match)[1]);
    }
  }
  std::set<std::string> exercised;
  for (const Workload& workload : kWorkloads) {
    CAPTURE(workload.name);
    for (const auto& traced : Trace(workload)) exercised.insert(traced.first);
  }
  std::string unexercised;
  for (const std::string& point : in_sources) {
    if (exercised.count(point) == 0) unexercised += " " + point;
  }
  CHECK(unexercised == "");
  CHECK(in_sources.size() == exercised.size());
}

TEST_CASE("Crash: a death at any point loses, doubles and keeps nothing") {
  uint32_t deaths = 0;
  for (const Workload& workload : kWorkloads) {
    CAPTURE(workload.name);
    for (const auto& traced : Trace(workload)) {
      const std::string& point = traced.first;
      const uint32_t passages = traced.second;
      for (const uint32_t passage : PassagesOf(passages)) {
        CAPTURE(point);
        CAPTURE(passage);
        World world(OptionsOf(workload));
        workload.prepare(world);
        CHECK(RunAndDie(world, workload.run, point, passage) == 256);
        ++deaths;
        CheckAll(world, workload);
      }
    }
  }
  MESSAGE("injected " << deaths << ", hit " << deaths);
}

TEST_CASE("Crash: the repairer dies as well, at each of its points, and the next one finishes") {
  uint32_t injected = 0;
  uint32_t hit = 0;
  for (const Workload& workload : kWorkloads) {
    if (workload.run == RunCreate || workload.run == RunSweep || workload.run == RunRegister) {
      continue;
    }
    CAPTURE(workload.name);
    size_t turn = 0;
    for (const auto& traced : Trace(workload)) {
      const std::string& point = traced.first;
      const uint32_t passages = traced.second;
      CAPTURE(point);
      World world(OptionsOf(workload));
      for (const char* repair : kRepairPoints) {
        if (turn++ % kPairStride != 0) continue;
        CAPTURE(repair);
        world.Begin();
        workload.prepare(world);
        int code = RunAndDie(world, workload.run, point, (passages + 1) / 2);
        CHECK((code == 256 || code == 0));  // what grew in the first round need not grow again
        ++injected;
        code = RunAndDie(world, RunSweep, repair, 1);
        CHECK((code == 256 || code == 0));  // not every repair passes every point
        hit += code == 256;
        CheckAll(world, workload);
      }
    }
  }
  CHECK(hit * 4 >= injected);
  MESSAGE("injected " << injected << ", hit " << hit);
}

TEST_CASE("Crash: repair of one who had a hand on everything, by three who die one after another") {
  const Workload& workload = Named("sweep");
  World world;
  size_t turn = 0;
  for (const char* first : kRepairPoints) {
    for (const char* second : kRepairPoints) {
      if (turn++ % kPairStride != 0) continue;
      CAPTURE(first);
      CAPTURE(second);
      world.Begin();
      workload.prepare(world);
      RunAndDie(world, RunSweep, first, 1);
      RunAndDie(world, RunSweep, second, 1);
      CheckAll(world, workload);
    }
  }
}

// ---- who sleeps, and whose waker dies

// Waits until the agent of that name sleeps, as far as its doorbell says.
void WaitParked(World& world, std::string_view name) {
  const int64_t limit = MonotonicNs() + 20'000 * kMs;
  while (MonotonicNs() < limit) {
    AgentRecord record;
    if (AgentDirectory(world.fabric.get()).Find(name, &record) == Status::kOk &&
        (world.fabric->SlotAt(HolderSlot(record.holder))->doorbell.load() & kParked) != 0) {
      return;
    }
    test::SleepMs(1);
  }
  FAIL("nobody sleeps there");
}

TEST_CASE("Crash: a sender that dies around its ring leaves no reader asleep") {
  for (const char* point : {"commit.after", "ring.epoch", "ring.wake"}) {
    CAPTURE(point);
    World world;
    Child reader([&]() -> int {
      Member me;
      STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
      STEP(me.agent.Join(&me.participant, {.name = "sleeper"}, nullptr) == Status::kOk);
      Delivery delivery;
      STEP(me.agent.Receive(&delivery, Deadline::After(30'000 * kMs)) == Status::kOk);
      STEP(me.agent.Ack(delivery.token) == Status::kOk);
      return 0;
    });
    WaitParked(world, "sleeper");
    const int64_t parked = MonotonicNs();
    Child sender([&]() -> int {
      Member me;
      STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
      STEP(me.agent.Join(&me.participant, {.name = "sender"}, nullptr) == Status::kOk);
      TheFailPlan().Set((std::string(point) + ":1").c_str());
      Route route = RouteTo("sleeper");
      STEP(me.agent.TrySend(&route, {.body = "wake up"}, nullptr) == Status::kOk);
      return 0;
    });
    CHECK(sender.ExitCode() == 256);
    Sweep(*world.fabric, world.peer.participant.owner());
    CHECK(reader.ExitCode() == 0);
    CHECK(MonotonicNs() - parked < kBackstopNs - 500 * kMs);  // rung, not found at a backstop
  }
}

TEST_CASE("Crash: a reader that dies while it makes room leaves no sender asleep") {
  for (const char* point : {"ack.after", "reclaim.counted", "reclaim.slab", "reclaim.free",
                            "reclaim.head", "ring.epoch", "ring.wake"}) {
    CAPTURE(point);
    World world;
    Shared<std::atomic<int>> stage;
    Child reader([&]() -> int {
      Member me;
      STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
      STEP(me.agent.Join(&me.participant, {.name = "worker"}, nullptr) == Status::kOk);
      Route self = RouteTo("worker");
      while (me.agent.TrySend(&self, {.body = PatternBody(1, 200)}, nullptr) == Status::kOk) {
      }
      stage->store(1);
      while (stage->load() != 2) test::SleepMs(1);
      Delivery delivery;
      STEP(me.agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk);
      TheFailPlan().Set((std::string(point) + ":1").c_str());
      STEP(me.agent.Ack(delivery.token) == Status::kOk);
      return 0;
    });
    while (stage->load() != 1) test::SleepMs(1);
    Child sender([&]() -> int {
      Member me;
      STEP(me.participant.Register(world.fabric.get(), nullptr) == Status::kOk);
      STEP(me.agent.Join(&me.participant, {.name = "sender"}, nullptr) == Status::kOk);
      Route route = RouteTo("worker");
      STEP(me.agent.Send(&route, {.body = "x"}, Deadline::After(30'000 * kMs), nullptr) ==
           Status::kOk);
      return 0;
    });
    WaitParked(world, "sender");
    const int64_t parked = MonotonicNs();
    test::SleepMs(5);  // it looks once more, and sleeps
    stage->store(2);
    CHECK(reader.ExitCode() == 256);
    Sweep(*world.fabric, world.peer.participant.owner());
    CHECK(sender.ExitCode() == 0);
    CHECK(MonotonicNs() - parked < kBackstopNs - 500 * kMs);
  }
}

// ---- stopped writers

struct Stopped {
  World world;
  std::unique_ptr<Child> child;
  std::string point;

  Stopped(const Workload& workload, const std::string& at) : world(OptionsOf(workload)), point(at) {
    workload.prepare(world);
    child = std::make_unique<Child>([&, this] {
      TheFailPlan().Set((point + ":1:stop").c_str());
      return workload.run(world);
    });
    REQUIRE(WIFSTOPPED(child->WaitStopped()));
  }
};

TEST_CASE(
    "Crash: a sender stopped at any point delays only itself, and its late write is harmless") {
  const Workload& workload = Named("send");
  std::vector<std::unique_ptr<Stopped>> all;
  for (const auto& traced : Trace(workload)) {
    const std::string& point = traced.first;
    all.push_back(std::make_unique<Stopped>(workload, point));
  }
  // Others go on meanwhile: a second sender's messages arrive, in order, whatever is in the way.
  struct Other {
    Member sender;
    Route route = RouteTo("peer");
    uint64_t sent = 0;
    uint64_t received = 0;
  };
  std::vector<std::unique_ptr<Other>> others;
  for (const auto& stopped : all) {
    Doorbell(&stopped->world.fabric->SlotAt(stopped->world.peer.participant.slot_index())->doorbell)
        .Unpark();
    others.push_back(std::make_unique<Other>());
    REQUIRE(others.back()->sender.participant.Register(stopped->world.fabric.get(), nullptr) ==
            Status::kOk);
    REQUIRE(others.back()->sender.agent.Join(&others.back()->sender.participant, {.name = "other"},
                                             nullptr) == Status::kOk);
  }
  std::vector<std::array<uint64_t, kLanes>> last(all.size());
  const auto drain = [&](size_t i, int64_t wait_ms) {
    World& world = all[i]->world;
    Delivery delivery;
    while (world.peer.agent.Receive(&delivery, Deadline::After(wait_ms * kMs)) == Status::kOk) {
      std::string body(delivery.body_bytes, '\0');
      REQUIRE(world.peer.agent.CopyBody(delivery, body.data()) == Status::kOk);
      CHECK((body == BodyOf(delivery.token.lane, delivery.sequence)));
      if (delivery.id.uid == world.oracle->uid.load()) {
        CHECK(delivery.sequence == ++last[i][delivery.token.lane]);
      } else {
        CHECK(delivery.sequence == ++others[i]->received);
      }
      REQUIRE(world.peer.agent.Ack(delivery.token) == Status::kOk);
      wait_ms = 0;
    }
  };
  const int64_t began = MonotonicNs();
  for (int round = 0; round < 100 || MonotonicNs() - began < 400 * kMs; ++round) {
    for (size_t i = 0; i < all.size(); ++i) {
      Other& other = *others[i];
      if (other.sender.agent.TrySend(&other.route, {.body = BodyOf(kWorkLane, other.sent + 1)},
                                     nullptr) == Status::kOk) {
        ++other.sent;
      }
      drain(i, 0);
      (void)other.sender.participant.OnBackstop(false);
      (void)all[i]->world.peer.agent.ClearTheWay();
    }
  }
  for (size_t i = 0; i < all.size(); ++i) {
    CAPTURE(all[i]->point);
    const int64_t limit = MonotonicNs() + 10'000 * kMs;
    while (others[i]->received < others[i]->sent && MonotonicNs() < limit) drain(i, 100);
    CHECK(others[i]->sent >= 50);
    CHECK(others[i]->received == others[i]->sent);
    all[i]->child->Signal(SIGCONT);
    CHECK(all[i]->child->ExitCode() == 0);
    drain(i, 0);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      CHECK(last[i][lane] == all[i]->world.oracle->accepted[lane].load());
    }
    others[i]->sender.agent.Leave();
    others[i]->sender.participant.Unregister();
    CheckNothingTaken(all[i]->world);
  }
}

TEST_CASE("Crash: a reader or a repairer stopped at any point, and continued, doubles nothing") {
  for (const char* name : {"receive", "sweep"}) {
    const Workload& workload = Named(name);
    CAPTURE(workload.name);
    for (const auto& traced : Trace(workload)) {
      const std::string& point = traced.first;
      CAPTURE(point);
      Stopped stopped(workload, point);
      World& world = stopped.world;
      // Meanwhile others repair, send into the same mailbox, and free what is done there.
      Sweep(*world.fabric, world.peer.participant.owner());
      Route route = RouteTo("worker");
      (void)world.peer.agent.TrySend(&route, {.body = PatternBody(1, 2000)}, nullptr);
      world.fabric->mail().ForEach([&](const MailboxView& view) {
        for (uint32_t lane = 0; lane < kLanes; ++lane) world.fabric->Reclaim(view, lane);
      });
      stopped.child->Signal(SIGCONT);
      CHECK(stopped.child->ExitCode() == 0);
      Sweep(*world.fabric, world.peer.participant.owner());
      CheckNothingTaken(world);
    }
  }
}

}  // namespace
}  // namespace cfc

#endif  // CFC_FAIL_POINTS
