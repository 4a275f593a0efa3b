// Stopped writers: a process that is stopped at a fail point, fenced, robbed of everything that may
// be taken from the living, and then continued. It reads nothing torn, its late writes are refused
// or harm nobody, and the ledger holds to the message.
#include <doctest/doctest.h>

#include "core/failpoint.h"

#ifdef CFC_FAIL_POINTS

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "support.h"

namespace cfc {
namespace {

using test::Census;
using test::CensusOf;
using test::Child;
using test::Letter;
using test::Member;
using test::PatternBody;
using test::RouteTo;
using test::Shared;
using test::TakeLetter;
using test::TestFabric;

constexpr uint32_t kMessages = 10;
constexpr uint32_t kMost = 128;
constexpr int kTorn = 250;

// What the child says of itself, outside of the fabric.
struct Diary {
  struct Point {
    char name[40] = {};
    std::atomic<uint32_t> passages{0};
  };
  std::array<std::atomic<uint32_t>, kMost> acked = {};  // by serial of the message
  std::array<std::atomic<uint32_t>, kMost> sent = {};
  std::atomic<uint32_t> owner{0};
  std::array<Point, kMost> points;
};

Diary* observed = nullptr;

void Observe(const char* name) {
  for (Diary::Point& point : observed->points) {
    if (point.name[0] == 0) std::snprintf(point.name, sizeof point.name, "%s", name);
    if (std::strcmp(point.name, name) != 0) continue;
    point.passages.fetch_add(1);
    return;
  }
}

// A message is its serial, in its type, and a body that follows from it.
std::string BodyOf(uint32_t serial) {
  constexpr size_t kSizes[] = {20, 2000, 150, 5000};
  return PatternBody(serial, kSizes[serial % std::size(kSizes)]);
}
bool Sound(const Delivery& delivery, const std::string& body, uint32_t* serial) {
  *serial = static_cast<uint32_t>(std::atoi(std::string(delivery.Type()).c_str()));
  return *serial < kMost && body == BodyOf(*serial);
}
Status SendSerial(Agent& from, Route& route, uint32_t serial) {
  const std::string type = std::to_string(serial);
  const std::string body = BodyOf(serial);
  return from.TrySend(&route, {.body = body, .type = type}, nullptr);
}

class Scene {
 public:
  Scene() : peer_(fabric_.get(), "peer") {
    Member worker(fabric_.get(), "worker", 16);  // leaves its name, with mail
    view_ = worker.agent.mailbox();
    for (uint32_t serial = 0; serial < kMessages; ++serial) Give(serial);
  }

  // What the child does: reads and answers until nothing comes. 0, or kTorn.
  int Work() {
    static Member me;
    observed = &*diary_;
    if (me.participant.Register(fabric_.get(), nullptr) != Status::kOk) return 1;
    diary_->owner.store(me.participant.owner());
    if (me.agent.Join(&me.participant, {.name = "worker"}, nullptr) != Status::kOk) return 2;
    Route back = RouteTo("peer");
    uint32_t idle = 0;
    for (uint32_t turn = 0; turn < 40 && idle < 3; ++turn) {
      const Letter letter = TakeLetter(me.agent);
      if (letter.status != Status::kOk) {
        ++idle;
        continue;
      }
      uint32_t serial;
      if (!Sound(letter.delivery, letter.body, &serial)) return kTorn;
      LeaseToken token = letter.delivery.token;
      if (turn % 4 == 1 && me.agent.Nack(token, 0) == Status::kOk) continue;
      if (turn % 4 == 2) (void)me.agent.HandOver(&token);
      if (me.agent.Ack(token) == Status::kOk) diary_->acked[serial].fetch_add(1);
      if (SendSerial(me.agent, back, serial) == Status::kOk) diary_->sent[serial].fetch_add(1);
    }
    me.agent.Leave();
    me.participant.Unregister();
    return 0;
  }

  std::map<std::string, uint32_t> Trace() {
    Child child([this] {
      observed = &*diary_;
      TheFailPlan().observer = Observe;
      return Work();
    });
    REQUIRE(child.ExitCode() == 0);
    std::map<std::string, uint32_t> points;
    for (const Diary::Point& point : diary_->points) {
      if (point.name[0] != 0) points[point.name] = point.passages.load();
    }
    return points;
  }

  // True if the fence took something from the one who is stopped.
  bool StopAt(const std::string& point, uint32_t passage) {
    Child child([&] {
      TheFailPlan().Set((point + ":" + std::to_string(passage) + ":stop").c_str());
      return Work();
    });
    REQUIRE(WIFSTOPPED(child.WaitStopped()));
    const uint32_t robbed = Rob();
    child.Signal(SIGCONT);
    const int code = child.ExitCode();
    CHECK(code != kTorn);
    CHECK(code == 0);
    return robbed > 0;
  }

  void CheckLedger() {
    (void)Sweep(*fabric_, peer_.participant.owner());
    (void)ReadAsStranger(/*most=*/kMost);
    DrainPeer();
    for (uint32_t serial = 0; serial < given_; ++serial) {
      CAPTURE(serial);
      CHECK(diary_->acked[serial].load() + taken_[serial] == 1);
      CHECK(answers_[serial] == diary_->sent[serial].load());
    }
    const Census census = CensusOf(*fabric_);
    CHECK(census.cells_claimed + census.cells_quarantined == 0);
    CHECK(census.cells_ready + census.cells_leased + census.cells_held == 0);
    CHECK(census.chunks_loaned + census.chunks_placed == 0);
    CHECK(census.slots_live == 1);
    CHECK(census.boxes_claimed + census.entries_claimed == 0);
  }

 private:
  void Give(uint32_t serial) {
    Route route = RouteTo("worker");
    REQUIRE(SendSerial(peer_.agent, route, serial) == Status::kOk);
    ++given_;
  }

  // All that may be done to one who lives but does not move.
  uint32_t Rob() {
    const Owner owner = diary_->owner.load();
    uint32_t robbed = 0;
    const auto take_back = [&] {
      for (Lane& lane : view_.lanes) {
        robbed += lane.Fence(owner);
        robbed += lane.FenceIncarnations(0xff'ff00);  // of nobody: all that is held comes back
      }
    };
    take_back();
    fabric_->mail().ForEach([&](const MailboxView& view) {
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        MailboxView box = view;
        (void)box.lanes[lane].QuarantineHead(1000);
        robbed += box.lanes[lane].QuarantineHead(1000 + kQuarantineMs);
        fabric_->Reclaim(view, lane);
      }
    });
    (void)Sweep(*fabric_, peer_.participant.owner());  // finds nobody dead
    // Its cells and chunks go to other messages, twice around.
    robbed += ReadAsStranger(kMessages);
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < 8 && given_ < kMost; ++i) {
        Route route = RouteTo("worker");
        if (SendSerial(peer_.agent, route, given_) != Status::kOk) break;
        ++given_;
      }
      (void)ReadAsStranger(/*most=*/6);
      take_back();
    }
    DrainPeer();
    return robbed;
  }

  // Reads the worker's mailbox without being the worker.
  uint32_t ReadAsStranger(uint32_t most) {
    uint32_t count = 0;
    Delivery seen;
    CellKind kind;
    for (uint32_t nth = 0; count < most;) {
      if (Agent::Peek(view_, kWorkLane, nth, &seen, &kind) != Status::kOk) break;
      if (kind != CellKind::kReady) {
        ++nth;
        continue;
      }
      std::string body(seen.body_bytes, '\0');
      uint64_t cursor = 0;
      const Taken taken = view_.lanes[kWorkLane].Take(
          peer_.participant.owner(), TakeFilter::kAll, [] { return 0u; }, &cursor, nullptr);
      if (taken.status != Status::kOk || taken.position != seen.token.position) break;
      seen.token.word = taken.word;
      REQUIRE(Agent::CopyPeeked(*fabric_, view_, seen, body.data()) == Status::kOk);
      uint32_t serial = 0;
      CHECK(Sound(seen, body, &serial));
      REQUIRE(view_.lanes[kWorkLane].Settle(taken.position, taken.word, kAcked) == Status::kOk);
      fabric_->Reclaim(view_, kWorkLane);
      ++taken_[serial];
      ++count;
    }
    return count;
  }

  void DrainPeer() {
    for (Letter letter = TakeLetter(peer_.agent); letter.status == Status::kOk;
         letter = TakeLetter(peer_.agent)) {
      uint32_t serial = 0;
      CHECK(Sound(letter.delivery, letter.body, &serial));
      ++answers_[serial];
      REQUIRE(peer_.agent.Ack(letter.delivery.token) == Status::kOk);
    }
  }

  TestFabric fabric_;
  Member peer_;
  MailboxView view_;
  Shared<Diary> diary_;
  uint32_t given_ = 0;
  std::array<uint32_t, kMost> taken_ = {};
  std::array<uint32_t, kMost> answers_ = {};
};

TEST_CASE("Fence: who is stopped at a fail point, robbed and continued harms nobody") {
  const std::map<std::string, uint32_t> points = Scene().Trace();
  uint32_t injected = 0;
  uint32_t hit = 0;
  for (const auto& traced : points) {
    const std::string& point = traced.first;
    CAPTURE(point);
    std::set<uint32_t> passages = {1};
    if (!test::kThreadSanitized) passages.insert((traced.second + 1) / 2);
    if (!test::kSanitized) passages.insert({std::min(traced.second, 2u), traced.second});
    for (const uint32_t passage : passages) {
      CAPTURE(passage);
      Scene scene;
      ++injected;
      hit += scene.StopAt(point, passage);
      scene.CheckLedger();
    }
  }
  CHECK(points.size() >= 20);
  CHECK(hit * 2 >= injected);
  MESSAGE("injected " << injected << " / hit " << hit << " / violations 0");
}

}  // namespace
}  // namespace cfc

#endif  // CFC_FAIL_POINTS
