// Fail points: named places at which a test build can die or stop. Nothing in a shipped build.
//
// CFC_FAIL_POINTS defines them. CFC_FAIL_AT="name:count[:stop]" in the environment kills the
// process with SIGKILL (or stops it with SIGSTOP) at the count-th passage of `name`.
#pragma once

#ifdef CFC_FAIL_POINTS

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

namespace cfc {

// Tests in one process replace the environment by this.
struct FailPlan {
  char name[64] = {};
  int remaining = 0;
  int signal = SIGKILL;
  int passages = 0;
  void (*observer)(const char* name) = nullptr;  // told of every passage of every point

  FailPlan() noexcept {
    if (const char* text = std::getenv("CFC_FAIL_AT")) Set(text);
  }
  void Set(const char* text) noexcept {
    const char* colon = std::strchr(text, ':');
    const size_t length = colon ? static_cast<size_t>(colon - text) : std::strlen(text);
    if (length >= sizeof name) return;
    std::memcpy(name, text, length);
    name[length] = 0;
    remaining = colon ? std::atoi(colon + 1) : 1;
    signal = std::strstr(text, ":stop") ? SIGSTOP : SIGKILL;
    passages = 0;
  }
};

inline FailPlan& TheFailPlan() noexcept {
  static FailPlan plan;
  return plan;
}

inline void FailPoint(const char* name) noexcept {
  FailPlan& plan = TheFailPlan();
  if (plan.observer) plan.observer(name);
  if (plan.remaining <= 0 || std::strcmp(plan.name, name) != 0) return;
  ++plan.passages;
  if (--plan.remaining == 0) ::kill(::getpid(), plan.signal);
}

}  // namespace cfc

#define CFC_FAIL_POINT(name) ::cfc::FailPoint(name)
#else
#define CFC_FAIL_POINT(name) static_cast<void>(0)
#endif
