// deny: runs a command in which some system calls fail, as in a sandbox or under an older kernel.
//
//   deny EPERM|ENOSYS COMMAND [ARGUMENT...]
//
// Refused: futex_waitv, pidfd_open, pidfd_send_signal, pidfd_getfd, and openat with O_TMPFILE; in
// every child too. It tries each of them before it runs the command, and exits with 120 where one
// was not refused, with 121 where the kernel has no filters.
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>

namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif
constexpr uint32_t kFutexWaitv = 449;
constexpr uint32_t kUnnamed = O_TMPFILE & ~O_DIRECTORY;

bool Refuse(uint32_t error) {
  const uint32_t refuse = SECCOMP_RET_ERRNO | error;
  const sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 0, 8),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kFutexWaitv, 7, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 6, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_send_signal, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_getfd, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kUnnamed, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, refuse),
  };
  sock_fprog program = {};
  program.len = std::size(filter);
  program.filter = const_cast<sock_filter*>(filter);
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

bool Refused(const char* what, int64_t answer, int error) {
  if (answer == -1 && errno == error) return true;
  std::fprintf(stderr, "deny: %s was not refused\n", what);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: deny EPERM|ENOSYS COMMAND [ARGUMENT...]\n");
    return 2;
  }
  const int error = std::strcmp(argv[1], "EPERM") == 0 ? EPERM : ENOSYS;
  if (!Refuse(static_cast<uint32_t>(error))) {
    std::perror("deny");
    return 121;
  }
  if (!Refused("futex_waitv", syscall(kFutexWaitv, nullptr, 0, 0, nullptr, 0), error) ||
      !Refused("pidfd_open", syscall(SYS_pidfd_open, getpid(), 0), error) ||
      !Refused("O_TMPFILE", openat(AT_FDCWD, "/dev/shm", O_TMPFILE | O_RDWR, 0600), error)) {
    return 120;
  }
  execvp(argv[2], argv + 2);
  std::perror(argv[2]);
  return 127;
}
