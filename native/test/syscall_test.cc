// System calls that fail: each one that the core makes, each time that it makes it, refused once by
// the kernel. What comes of it is a status, never a crash, a half made thing or a lost message.
#include "syscall_fault.h"

#if defined(CFC_TEST_SYSCALL_FAULTS)

#include <fcntl.h>

#include <memory>
#include <string>

#include "core/guard.h"

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
using test::SmallOptions;
using test::SyscallFault;
using test::SyscallKind;
using test::TakeLetter;
using test::TempBase;
using test::TestFabric;

const SyscallKind kKinds[] = {
    {"open", SYS_open},
    {"openat", SYS_openat},
    {"mkdir", SYS_mkdir},
    {"mkdirat", SYS_mkdirat},
    {"statx", SYS_statx},
    {"fallocate", SYS_fallocate},
    {"ftruncate", SYS_ftruncate},
    {"linkat", SYS_linkat},
    {"unlinkat", SYS_unlinkat},
    {"mmap of a file", SYS_mmap, 3, MAP_SHARED, MAP_SHARED},
    {"flock", SYS_flock},
    {"fcntl: take a lock", SYS_fcntl, 1, 0xff, F_OFD_SETLK},
    {"fcntl: test a lock", SYS_fcntl, 1, 0xff, F_OFD_GETLK},
    {"renameat2", SYS_renameat2},
    {"getrandom", SYS_getrandom},
    {"pread64", SYS_pread64},
    {"fstatfs", SYS_fstatfs},
    {"sched_getaffinity", SYS_sched_getaffinity},
    {"getdents64", SYS_getdents64},
    {"mknodat", SYS_mknodat},
    {"renameat", SYS_renameat},
    {"fchmod", SYS_fchmod},
    {"read", SYS_read},
};
constexpr int kErrors[] = {EIO, ENOSPC, EMFILE, EACCES, EPERM, ENOENT, EOPNOTSUPP, EEXIST, EINTR};

struct Facts {
  std::atomic<uint32_t> calls{0};
  std::atomic<uint32_t> accepted{0};
  std::atomic<uint32_t> acked{0};
};

// ---- what is done; true if all of it went well

bool Make(const std::string& base, Facts&) {
  std::unique_ptr<Fabric> fabric;
  Failure failure;
  const Status made = Fabric::Create("made", base, SmallOptions(), &fabric, &failure);
  // A refusal comes with its reason, and no fabric.
  if (made != Status::kOk && (failure.path[0] == 0 || fabric)) _exit(2);
  const Status gone = Fabric::Destroy("made", base, &failure);
  return made == Status::kOk && gone == Status::kOk;
}

bool Exchange(const std::string& base, Facts& facts) {
  std::unique_ptr<Fabric> fabric;
  if (Fabric::Open("test", base, &fabric, nullptr) != Status::kOk) return false;
  static Participant participant;
  static Agent agent;
  if (participant.Register(fabric.get(), nullptr) != Status::kOk) return false;
  bool well =
      agent.Join(&participant, {.name = "child", .mailbox_cells = 32}, nullptr) == Status::kOk;
  Route peer = RouteTo("peer");
  for (const size_t bytes : {20, 3000, 300'000}) {
    if (!agent.joined()) break;
    const std::string body = PatternBody(bytes, bytes);
    const Status sent = agent.TrySend(&peer, {.body = body}, nullptr);
    if (sent == Status::kOk) facts.accepted.fetch_add(1);
    well = well && sent == Status::kOk;
  }
  Route self = RouteTo("child");
  if (agent.joined()) {
    const Status sent = agent.TrySend(&self, {.body = "to myself"}, nullptr);
    Delivery delivery;
    if (sent == Status::kOk && agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk) {
      well = agent.Ack(delivery.token) == Status::kOk && well;
    }
    int64_t longest = kBackstopNs;
    (void)agent.HasMail(TakeFilter::kAll, &longest);
    (void)agent.WaitMail(Deadline::After(1'000));
    well = participant.BellDescriptor() >= 0 && well;
    // Out for good once it had no descriptor to look with, or no lease: then it says so.
    well = participant.OnBackstop(true) == Status::kOk && well;
  }
  agent.Leave();
  participant.Unregister();
  return well;
}

bool Repair(const std::string& base, Facts&) {
  std::unique_ptr<Fabric> fabric;
  if (Fabric::Open("test", base, &fabric, nullptr) != Status::kOk) return false;
  static Participant participant;
  if (participant.Register(fabric.get(), nullptr) != Status::kOk) return false;
  const SweepReport report = Sweep(*fabric, participant.owner());
  participant.Unregister();
  return report.reaped == 1;
}

struct Workload {
  const char* name;
  bool (*run)(const std::string& base, Facts& facts);
};
constexpr Workload kWorkloads[] = {{"make", Make}, {"exchange", Exchange}, {"repair", Repair}};

constexpr uint32_t kStride = test::kSanitized ? 7 : 1;

int RunChild(const Workload& workload, const std::string& base, Facts& facts,
             const SyscallKind& kind, uint32_t at, int error) {
  Child child([&] {
    SyscallFault::Install(kind, at, error, &facts.calls);
    return workload.run(base, facts) ? 0 : 1;
  });
  return child.ExitCode();
}

// A process that died with a message claimed and a name half made.
void LeaveSomeoneDead(TestFabric& fabric) {
  Child victim([&]() -> int {
    static Member me;
    uint64_t position = 0;
    if (me.participant.Register(fabric.get(), nullptr) != Status::kOk) return 1;
    if (me.agent.Join(&me.participant, {.name = "victim"}, nullptr) != Status::kOk) return 1;
    MailboxView view = me.agent.mailbox();
    me.participant.IntendToSend(PackLaneId(view.box, kWorkLane));
    (void)view.lanes[kWorkLane].TryClaim(me.participant.owner(), AlwaysValid(), &position);
    raise(SIGKILL);
    return 2;
  });
  REQUIRE(victim.ExitCode() == 256);
}

// Reads everything, and says how many there were.
uint32_t Drain(Member& peer) {
  uint32_t received = 0;
  for (Letter letter = TakeLetter(peer.agent); letter.status == Status::kOk;
       letter = TakeLetter(peer.agent)) {
    CHECK((letter.body == PatternBody(letter.body.size(), letter.body.size())));
    ++received;
    (void)peer.agent.Ack(letter.delivery.token);
  }
  return received;
}

TEST_CASE("Syscalls: each one fails once, each time that it is made, and nothing is lost or left") {
  uint32_t injected = 0;
  uint32_t hit = 0;
  uint32_t turn = 0;
  for (const Workload& workload : kWorkloads) {
    CAPTURE(std::string(workload.name));
    TestFabric fabric;
    Member peer(fabric.get(), "peer");
    const auto mend = [&] {
      (void)Sweep(*fabric, peer.participant.owner());
      (void)Fabric::Destroy("made", fabric.base(), nullptr);  // made, and then not destroyed
    };
    for (const SyscallKind& kind : kKinds) {
      CAPTURE(std::string(kind.name));
      Shared<Facts> whole;
      if (workload.run == Repair) LeaveSomeoneDead(fabric);
      // The first time mailboxes and chunks are made, which is counted too.
      REQUIRE(RunChild(workload, fabric.base(), *whole, kind, 0, 0) == 0);
      const uint32_t calls = whole->calls.load();
      CHECK(Drain(peer) == whole->accepted.load());
      for (uint32_t at = 1; at <= calls; ++at) {
        if (at > 6 && at + 6 <= calls && at % 16 != 0) continue;  // one lease file is as another
        for (const int error : kErrors) {
          if (turn++ % kStride != 0) continue;
          CAPTURE(at);
          CAPTURE(error);
          if (workload.run == Repair) LeaveSomeoneDead(fabric);
          Shared<Facts> facts;
          const int code = RunChild(workload, fabric.base(), *facts, kind, at, error);
          ++injected;
          hit += code == 1;
          CHECK((code == 0 || code == 1));
          mend();
          CHECK(Drain(peer) == facts->accepted.load());
          const Census census = CensusOf(*fabric);
          CHECK(census.cells_claimed + census.cells_leased + census.cells_ready == 0);
          CHECK(census.chunks_loaned + census.chunks_placed == 0);
          CHECK(census.slots_live == 1);
          CHECK(census.entries_claimed + census.boxes_claimed == 0);
        }
      }
    }
    // What failed half-way is swept by the next one that makes a fabric, and was never found whole.
    std::unique_ptr<Fabric> other;
    REQUIRE(Fabric::Create("other", fabric.base(), SmallOptions(), &other, nullptr) == Status::kOk);
    CHECK(TempBase::EntriesIn(fabric.base()) == 2);
  }
  CHECK(hit * 4 >= injected);
  MESSAGE("injected " << injected << " / hit " << hit << " / violations 0");
}

}  // namespace
}  // namespace cfc

#endif
