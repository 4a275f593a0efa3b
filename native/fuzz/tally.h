// Tally: what a run did, printed at its end; scripts/fuzz.sh reads it.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "test/damage.h"

namespace cfc::fuzz {

struct Tally {
  const char* target = "";
  std::atomic<uint64_t> injected{0};  // inputs
  std::atomic<uint64_t> hit{0};  // of them: the core met the damage and said so, or acted on it

  static Tally& It() {
    static Tally tally;
    return tally;
  }
  static void Begin(const char* target) {
    It().target = target;
    std::atexit([] {
      std::fprintf(stderr, "fuzz %s: injected %llu / hit %llu / violations 0\n", It().target,
                   static_cast<unsigned long long>(It().injected.load()),
                   static_cast<unsigned long long>(It().hit.load()));
    });
  }
};

// A directory of its own for a target, in $CFC_FUZZ_DIR.
inline std::string MakeBase(const char* target) {
  const char* const where = std::getenv("CFC_FUZZ_DIR");
  const std::string base = std::string(where ? where : "/dev/shm") + "/cfc-fuzz-" + target + "-" +
                           std::to_string(getpid());
  damage::Must(mkdir(base.c_str(), 0700) == 0, "no directory");
  return base;
}

}  // namespace cfc::fuzz
