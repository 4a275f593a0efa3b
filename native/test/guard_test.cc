#include "core/guard.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "support.h"

namespace cfc {
namespace {

using test::Child;

constexpr int kPlain = 42;
constexpr int kWithInfo = 43;

// A page that is mapped, and of a file that has none: touching it is SIGBUS.
char* PageOfNothing() {
  const int fd = memfd_create("nothing", MFD_CLOEXEC);
  void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return page == MAP_FAILED ? nullptr : static_cast<char*>(page);
}

// Run by the test below in a process of its own, in which the guard is not installed yet.
TEST_CASE("Guard: helper, does nothing unless it is told to") {
  const char* const mode = std::getenv("CFC_TEST_GUARD");
  if (!mode) return;
  struct sigaction action = {};
  if (std::string(mode) == "plain") {
    action.sa_handler = [](int) { _exit(kPlain); };
  } else if (std::string(mode) == "info") {
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void*) { _exit(kWithInfo); };
  } else {
    action.sa_handler = std::string(mode) == "ignore" ? SIG_IGN : SIG_DFL;
  }
  sigaction(SIGBUS, &action, nullptr);
  char* const ours = PageOfNothing();
  char* const theirs = PageOfNothing();
  if (!ours || !theirs) _exit(1);
  const int handle = GuardRange(ours, 4096);
  ours[0] = 1;  // rescued
  if (!GuardedRangeLost(handle) || GuardLosses() != 1) _exit(2);
  theirs[0] = 1;
  _exit(3);
}

TEST_CASE("Guard: a fault in other ranges goes to the handler that was there before") {
  struct Mode {
    const char* name;
    int code;  // -1: killed by the signal
  };
  for (const Mode& mode :
       {Mode{"plain", kPlain}, Mode{"info", kWithInfo}, Mode{"default", -1}, Mode{"ignore", -1}}) {
    const std::string name = mode.name;
    CAPTURE(name);
    Child child([&]() -> int {
      setenv("CFC_TEST_GUARD", mode.name, 1);
      // Counters of coverage lie in a mapped file, which a second process would begin anew.
      if (const char* const profile = std::getenv("LLVM_PROFILE_FILE")) {
        const std::string file = profile;
        setenv("LLVM_PROFILE_FILE",
               (file.substr(0, file.rfind('/')) + "/guard-" + name + "%c.profraw").c_str(), 1);
      }
      const int quiet = open("/dev/null", O_WRONLY);
      dup2(quiet, STDOUT_FILENO);
      dup2(quiet, STDERR_FILENO);
      execl("/proc/self/exe", "core_tests", "--test-case=Guard: helper*", nullptr);
      return 4;
    });
    const int status = child.Wait();
    if (mode.code >= 0) {
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == mode.code);
    } else {
      CHECK(WIFSIGNALED(status));
      CHECK(WTERMSIG(status) == SIGBUS);
    }
  }
}

}  // namespace
}  // namespace cfc
