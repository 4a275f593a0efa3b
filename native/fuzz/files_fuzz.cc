// Damages the files of a fabric, then uses it: every answer is a status; nothing crashes, hangs or
// reads out of bounds.
//
// Input: a byte of flags, a byte for how much is done, then changes of eight bytes.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tally.h"

namespace cfc::fuzz {
namespace {

using damage::World;

World& TheWorld() {
  static World* const world = [] {
    Tally::Begin("files");
    auto* const made = new World(MakeBase("files"));
    std::atexit([] {
      const std::string base = TheWorld().base();
      TheWorld().Remove();
      rmdir(base.c_str());
    });
    return made;
  }();
  return *world;
}

}  // namespace
}  // namespace cfc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfc;
  using namespace cfc::fuzz;
  using namespace cfc::damage;
  World& world = TheWorld();
  Tally::It().injected.fetch_add(1);
  if (size < 2) return 0;
  world.Restore();
  for (const Change& change : ChangesOf(data, size, 2)) world.Apply(change);
  if ((data[0] & 3) != 0) world.SignHeaders();
  uint32_t wrong = 0;
  {
    std::unique_ptr<Fabric> fabric;
    Failure failure;
    if (Fabric::Open("fuzz", world.base(), &fabric, &failure) != Status::kOk) {
      Tally::It().hit.fetch_add(1);
      return 0;
    }
    if (data[0] & 4) {
      const SweepReport report = Sweep(*fabric, MakeOwner(1, 1));
      wrong += report.reaped == 1 ? 0 : 1;
    }
    wrong += UseAgent(*fabric, "alice", "bob", data[1] & 15);
    if (data[0] & 8) wrong += UseAgent(*fabric, "bob", "alice", data[1] >> 4);
    if (data[0] & 16) wrong += UseTables(*fabric, MakeOwner(2, 1));
    if (fabric->Check() != Status::kOk) ++wrong;
  }
  if (wrong > 0) Tally::It().hit.fetch_add(1);
  return 0;
}
