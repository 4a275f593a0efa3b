// skew: a library to preload, under which the clock of the wall jumps about.
//
//   LD_PRELOAD=skew.so CFC_SKEW=SEED COMMAND
//
// Real time is ahead or behind by up to a day, by another amount every 50 ms, as if somebody set
// the clock all the time. Other clocks are left alone.
#include <dlfcn.h>
#include <sys/time.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

using GetTime = int (*)(clockid_t, timespec*);

GetTime RealGetTime() {
  static const auto real = reinterpret_cast<GetTime>(dlsym(RTLD_NEXT, "clock_gettime"));
  return real;
}

int64_t OffsetSeconds() {
  static const char* const text = std::getenv("CFC_SKEW");
  static const uint64_t seed = text ? std::strtoull(text, nullptr, 10) : 1;
  timespec now;
  RealGetTime()(CLOCK_MONOTONIC, &now);
  uint64_t value = (uint64_t(now.tv_sec) * 20 + uint64_t(now.tv_nsec) / 50'000'000) * 64 + seed;
  value = (value ^ value >> 30) * 0xbf58'476d'1ce4'e5b9;
  value = (value ^ value >> 27) * 0x94d0'49bb'1331'11eb;
  return int64_t((value >> 16) % 172'800) - 86'400;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* out) noexcept {
  const int result = RealGetTime()(clock, out);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    out->tv_sec += OffsetSeconds();
  }
  return result;
}

int gettimeofday(timeval* out, void*) noexcept {
  timespec now;
  const int result = clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return result;
}

time_t time(time_t* out) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

}  // extern "C"
