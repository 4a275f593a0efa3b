// SyscallFault: makes the kernel refuse one system call, the n-th of its kind, in a forked child.
//
// A seccomp filter turns calls of that number into SIGSYS; the handler counts them, refuses one,
// and makes the others itself, from the one place that the filter lets through. So what is tested
// is the code as it is, down to its last system call. x86-64 only, and not under ThreadSanitizer,
// which delivers signals late.
#pragma once

#include "support.h"

#if defined(__x86_64__) && !defined(CFC_TEST_TSAN)
#define CFC_TEST_SYSCALL_FAULTS 1

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <csignal>
#include <cstddef>

asm(R"(
.text
.globl cfc_test_raw_syscall
.globl cfc_test_raw_syscall_return
.type cfc_test_raw_syscall, @function
cfc_test_raw_syscall:
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %r10
  mov %r9, %r8
  mov 8(%rsp), %r9
  syscall
cfc_test_raw_syscall_return:
  ret
)");
extern "C" {
long cfc_test_raw_syscall(long number, long a, long b, long c, long d, long e, long f);
extern const char cfc_test_raw_syscall_return[];
}

namespace cfc::test {

// Which calls: of that number and, where mask is not 0, with (argument & mask) == value.
struct SyscallKind {
  const char* name;
  int number;
  int argument = 0;
  uint64_t mask = 0;
  uint64_t value = 0;
};

class SyscallFault {
 public:
  // In a child, once. at: the how-many-th fails with `error`; 0: none, they are only counted.
  static void Install(const SyscallKind& kind, uint32_t at, int error,
                      std::atomic<uint32_t>* counted) {
    State() = {kind, at, error, counted};
    struct sigaction action = {};
    action.sa_sigaction = OnTrap;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSYS, &action, nullptr);
    const auto passes = reinterpret_cast<uint64_t>(cfc_test_raw_syscall_return);
    const auto low = static_cast<uint32_t>(passes);
    const auto high = static_cast<uint32_t>(passes >> 32);
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(kind.number), 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, instruction_pointer)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, low, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, instruction_pointer) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program = {static_cast<unsigned short>(std::size(filter)), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      _exit(100);
    }
  }

 private:
  struct Settings {
    SyscallKind kind;
    uint32_t at = 0;
    int error = 0;
    std::atomic<uint32_t>* counted = nullptr;
  };
  static Settings& State() {
    static Settings state;
    return state;
  }

  static void OnTrap(int, siginfo_t* info, void* context) {
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const long long arguments[6] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                                    registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
    const Settings& state = State();
    const SyscallKind& kind = state.kind;
    const bool meant = kind.mask == 0 ||
                       (static_cast<uint64_t>(arguments[kind.argument]) & kind.mask) == kind.value;
    if (meant && state.counted->fetch_add(1) + 1 == state.at) {
      registers[REG_RAX] = -state.error;
      return;
    }
    registers[REG_RAX] =
        cfc_test_raw_syscall(info->si_syscall, arguments[0], arguments[1], arguments[2],
                             arguments[3], arguments[4], arguments[5]);
  }
};

}  // namespace cfc::test

#endif
