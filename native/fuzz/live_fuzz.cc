// Damages a fabric while it is in use: one thread writes garbage into the mapped files, as a mad
// peer would, while one sends and another receives. Nothing crashes, hangs or reads out of bounds.
//
// Input: two bytes for how much is done, then changes of eight bytes, made again and again.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "tally.h"

namespace cfc::fuzz {
namespace {

using damage::Change;
using damage::UseAgent;
using damage::World;

// A thread that lives as long as the fuzzer: to make one for each input takes longer than the
// input.
class Helper {
 public:
  explicit Helper(void (*body)(const std::atomic<bool>& go_on)) : body_(body) {
    std::thread([this] { Run(); }).detach();
  }
  void Begin() {
    go_on_.store(true);
    turn_.fetch_add(1);
    turn_.notify_all();
  }
  void End() {
    go_on_.store(false);
    for (uint32_t done = done_.load(); done != turn_.load(); done = done_.load()) done_.wait(done);
  }

 private:
  void Run() {
    for (uint32_t turn = 0;;) {
      turn_.wait(turn);
      turn = turn_.load();
      body_(go_on_);
      done_.store(turn);
      done_.notify_all();
    }
  }
  void (*body_)(const std::atomic<bool>&);
  std::atomic<bool> go_on_{false};
  std::atomic<uint32_t> turn_{0};
  std::atomic<uint32_t> done_{0};
};

struct Input {
  std::vector<Change> changes;
  uint32_t steps = 0;
};

World* world;
Input input;
Fabric* shared;
std::atomic<uint32_t> wrong{0};

void Damage(const std::atomic<bool>& go_on) {
  do {
    for (const Change& change : input.changes) world->Apply(change);
  } while (go_on.load());
}

void Receive(const std::atomic<bool>&) {
  wrong.fetch_add(UseAgent(*shared, "bob", "alice", input.steps >> 4));
}

}  // namespace
}  // namespace cfc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfc;
  using namespace cfc::fuzz;
  using namespace cfc::damage;
  static Helper* damager = nullptr;
  static Helper* receiver = nullptr;
  if (!world) {
    Tally::Begin("live");
    world = new World(MakeBase("live"));
    std::atexit([] {
      const std::string base = world->base();
      world->Remove();
      rmdir(base.c_str());
    });
    damager = new Helper(&Damage);
    receiver = new Helper(&Receive);
  }
  Tally::It().injected.fetch_add(1);
  if (size < 2) return 0;
  world->Restore();
  input.changes = ChangesOf(data, size, 2);
  input.steps = data[1];
  wrong.store(0);
  std::unique_ptr<Fabric> fabric;
  Must(Fabric::Open("fuzz", world->base(), &fabric, nullptr) == Status::kOk, "no fabric");
  shared = fabric.get();
  damager->Begin();
  if (data[0] & 1) receiver->Begin();
  wrong.fetch_add(UseAgent(*fabric, "alice", "bob", data[1] & 15));
  if (data[0] & 2) (void)Sweep(*fabric, MakeOwner(1, 1));
  if (data[0] & 4) wrong.fetch_add(UseTables(*fabric, MakeOwner(2, 1)));
  if (data[0] & 1) receiver->End();
  damager->End();
  if (wrong.load() > 0) Tally::It().hit.fetch_add(1);
  return 0;
}
