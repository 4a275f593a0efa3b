// Coordinator: hands its team's tasks to its workers and their results to the master.
//
// A message is acknowledged only once the next mailbox has accepted it, so whatever a coordinator
// holds when it is killed comes to its successor, which finds the workers still running and learns
// from their mailboxes who is busy. A task may reach two workers that way; the master takes the
// first result.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "children.h"
#include "core/agent.h"
#include "core/clock.h"
#include "core/fabric.h"
#include "core/mail.h"
#include "core/participant.h"
#include "job.h"
#include "processes.h"
#include "signals.h"
#include "team_task.h"
#include "wire.h"

namespace cfc {
namespace {

constexpr int64_t kRetryNs = 20'000'000;  // while a body finds no memory

// What was taken from our mailbox and not yet accepted by the next.
struct Held {
  LeaseToken token;
  std::string type;
  std::string body;
};

struct Member {
  Route route;
  bool ready = false;
  std::vector<uint32_t> tasks;  // handed over, no result yet; one as a rule
  uint64_t unknown = 0;         // likewise, by an earlier coordinator
};

class Coordinator {
 public:
  explicit Coordinator(const Job& job) : job_(job) {}

  int Run() {
    Failure failure;
    Status status = Fabric::Open(job_.fabric, "", &fabric_, &failure);
    if (status == Status::kOk) status = me_.Register(fabric_.get(), &failure);
    if (status == Status::kOk) {
      AgentSpec spec;
      spec.name = job_.name;
      spec.role = "coordinator";
      spec.team = job_.team;
      spec.parent = job_.parent;
      // A quarter may be leased at once, and the results lie behind the tasks.
      spec.mailbox_cells = std::min(8 * job_.workers + 64, kMaxLaneCells);
      status = agent_.Join(&me_, spec, &failure);
    }
    if (status == Status::kLeaseHeld) return kExitTryAgain;
    if (status != Status::kOk || me_.BellDescriptor() < 0) {
      std::fprintf(stderr, "cfc: %s can't join %s: %s (%s)\n", job_.name.c_str(),
                   job_.fabric.c_str(), StatusText(status), failure.path);
      return 1;
    }
    parent_.name = job_.parent;
    // Of all teams together, so that a coordinator among many starts few at a time.
    const uint32_t teams = std::max(job_.coordinators, 1u);
    children_ = std::make_unique<Children>(fabric_.get(), std::max(kStartsUnderWay / teams, 2u));
    for (uint32_t i = 1; i <= job_.workers; ++i) {
      Job worker = job_;
      worker.name = "worker-" + job_.team + "-" + std::to_string(i);
      worker.parent = job_.name;
      worker.parent_pid = getpid();
      worker.workers = 0;
      children_->Add(worker.name, worker.ToArguments("worker"));
      Member member;
      member.route.name = worker.name;
      members_.push_back(static_cast<Member&&>(member));
    }
    for (size_t i = 0; i < members_.size(); ++i) by_name_.emplace(members_[i].route.name, i);
    // Before the first result of an earlier life's task is read.
    for (Member& member : members_) {
      if (agent_.Resolve(&member.route) != Status::kOk) continue;
      member.unknown = member.route.view.lanes[kWorkLane].Depth();
      AgentRecord record;
      member.ready =
          AgentDirectory(fabric_.get()).Find(member.route.name, &record) == Status::kOk &&
          !fabric_->HolderDead(record.holder);
    }
    Report();
    return Loop();
  }

 private:
  int Loop() {
    agent_.SetState(AgentState::kWaiting);
    for (;;) {
      Signals::TakeParentDied();
      if (getppid() != job_.parent_pid) return Abandon(kExitOrphaned);
      if (Signals::StopAsked() && !stopping_) {
        stopping_ = true;
        children_->Stop();
      }
      for (const size_t index : children_->Tend()) members_[index].ready = false;
      std::string why;
      if (children_->GaveUp(&why)) {
        std::fprintf(stderr, "cfc: %s\n", why.c_str());
        return Abandon(kExitGaveUp);
      }
      Work();
      if (stopping_ && children_->AllGone() && results_.empty() &&
          !agent_.HasMail(TakeFilter::kAll, nullptr)) {
        break;
      }
      const Status status = Sleep();
      if (status != Status::kOk) return Abandon(1);
    }
    EndAllChildren(kBackstopNs);
    agent_.SetState(AgentState::kComplete);
    agent_.Leave();
    me_.Unregister();
    return 0;
  }

  // Without leaving: what we hold is for whoever comes after us.
  static int Abandon(int code) {
    EndAllChildren(kBackstopNs);
    return code;
  }

  void Work() {
    blocked_ = full_ = false;
    do {
      Collect();
      TendTeamTasks();
      ForwardResults();
      HandOut();
    } while (!full_ && !blocked_ && agent_.HasMail(TakeFilter::kAll, nullptr));
  }

  void Collect() {
    Delivery delivery;
    Status status;
    while ((status = agent_.TryTake(TakeFilter::kAll, &delivery)) == Status::kOk) {
      Held held;
      held.token = delivery.token;
      held.type = std::string(delivery.Type());
      held.body.resize(delivery.body_bytes);
      status = agent_.CopyBody(delivery, held.body.data());
      if (status == Status::kLeaseLost) continue;
      uint32_t index = 0;
      const bool sound = status == Status::kOk && DecodeIndex(held.body, &index);
      if (sound && held.type == kTypeTask) {
        tasks_.push_back(static_cast<Held&&>(held));
        continue;
      }
      if (sound && held.type == kTypeTeam) {
        teams_.emplace_back(held.token, index, static_cast<std::string&&>(held.body),
                            members_.size());
        continue;
      }
      Member* const member = MemberNamed(delivery.From());
      if (sound && held.type == kTypeResult && member) {
        TeamTask* const team = TeamTaskOf(index);
        if (team) {
          if (team->Take(static_cast<size_t>(member - members_.data()), held.token, held.body)) {
            continue;
          }
          agent_.Ack(held.token);  // it was asked twice
          continue;
        }
        Settle(member, index);
        results_.push_back(static_cast<Held&&>(held));
        continue;
      }
      if (sound && held.type == kTypeReady && member) {
        member->ready = true;
        if (!complete_) Report();
      }
      agent_.Ack(delivery.token);
    }
    // As much is leased as may be: room comes with the acks.
    full_ = status == Status::kFull;
  }

  // Tells the master how many workers there are to be, and once more when all of them are up.
  void Report() {
    uint32_t up = 0;
    for (const Member& member : members_) up += member.ready ? 1 : 0;
    complete_ = up == members_.size();
    if (!reported_ || complete_) {
      results_.push_back({{}, std::string(kTypeReady), EncodeReady(job_.workers, up)});
    }
    reported_ = true;
  }

  Member* MemberNamed(std::string_view name) {
    const auto at = by_name_.find(name);
    return at == by_name_.end() ? nullptr : &members_[at->second];
  }

  TeamTask* TeamTaskOf(uint32_t index) {
    for (TeamTask& team : teams_) {
      if (team.index() == index) return &team;
    }
    return nullptr;
  }

  // One team task after the other; an answer is sent as soon as it is whole.
  void TendTeamTasks() {
    while (!teams_.empty() && !stopping_) {
      TeamTask& team = teams_.front();
      for (size_t i = 0; i < members_.size(); ++i) {
        Member& member = members_[i];
        if (!member.ready || team.Asked(i)) continue;
        const Status status = TrySend(&member.route, {{}, std::string(kTypeTask), team.BodyFor(i)});
        if (status == Status::kOk) {
          team.MarkAsked(i);
        } else if (blocked_) {
          return;
        } else {
          member.ready = false;  // gone: until it reports again
        }
      }
      if (!team.Complete()) return;
      const Held answer = {{}, std::string(kTypeResult), team.Answer(job_.name)};
      if (TrySend(&parent_, answer) != Status::kOk) return;
      team.Ack(&agent_);
      teams_.pop_front();
    }
  }

  static void Settle(Member* member, uint32_t task) {
    const auto at = std::find(member->tasks.begin(), member->tasks.end(), task);
    if (at != member->tasks.end()) {
      member->tasks.erase(at);
    } else if (member->unknown > 0) {
      --member->unknown;
    }
  }

  void ForwardResults() {
    while (!results_.empty()) {
      Held& held = results_.front();
      const Status status = TrySend(&parent_, held);
      if (status == Status::kNoSpace && held.type == kTypeResult) {
        const int64_t now = MonotonicNs();
        if (no_space_since_ns_ == 0) no_space_since_ns_ = now;
        if (now - no_space_since_ns_ > kNoSpacePatienceNs) DropOutput(&held.body);
      }
      if (status != Status::kOk) return;
      no_space_since_ns_ = 0;
      if (held.token.word != 0) agent_.Ack(held.token);
      results_.pop_front();
    }
  }

  void HandOut() {
    if (stopping_) return;
    for (size_t tried = 0; !tasks_.empty() && tried < members_.size(); ++tried) {
      Member& member = members_[next_++ % members_.size()];
      if (!member.ready || !member.tasks.empty() || member.unknown > 0) continue;
      Held& held = tasks_.front();
      const Status status = TrySend(&member.route, held);
      if (status != Status::kOk) {
        if (blocked_) return;
        member.ready = false;  // gone, or full against all expectation: until it reports again
        continue;
      }
      uint32_t index = 0;
      if (DecodeIndex(held.body, &index)) member.tasks.push_back(index);
      agent_.Ack(held.token);
      tasks_.pop_front();
      tried = 0;
    }
  }

  Status TrySend(Route* route, const Held& held) {
    Outgoing message;
    message.body = held.body;
    message.type = held.type;
    route->in_turn = true;  // mailboxes hold all that a job has in flight: nobody is crowded out
    Status status = agent_.TrySend(route, message, nullptr);
    if (status == Status::kFull) {
      // Rung when there is room; chunks of the slab come free without a ring.
      agent_.AnnounceRoom(route, kWorkLane, /*several=*/true);
      announced_ = true;
      status = agent_.TrySend(route, message, nullptr);
    }
    // The master is always meant; a worker that is gone has a successor soon.
    if (status != Status::kOk && (route == &parent_ || status != Status::kNoAgent)) blocked_ = true;
    return status;
  }

  // Until a message, a signal or a child's end. Once more it looks after having parked.
  Status Sleep() {
    me_.DrainBell();
    me_.ParkInLoop();
    int64_t longest = kBackstopNs;
    if (agent_.HasMail(TakeFilter::kAll, &longest) && !full_ && !blocked_) {
      me_.Unpark();
      return Status::kOk;
    }
    longest = std::min(longest, children_->NextLookNs());
    if (blocked_) longest = std::min(longest, kRetryNs);
    pollfds_.assign(1, {me_.BellDescriptor(), POLLIN, 0});
    children_->FillPoll(&pollfds_);
    const int64_t began_ns = MonotonicNs();
    Signals::Poll(pollfds_.data(), pollfds_.size(), longest);
    me_.Unpark();
    if (announced_) {
      agent_.WithdrawRoom(&parent_, kWorkLane);
      announced_ = false;
    }
    const int64_t slept_ns = MonotonicNs() - began_ns;
    return slept_ns >= kSuspectNs ? me_.OnBackstop(slept_ns >= kBackstopNs) : Status::kOk;
  }

  const Job& job_;
  std::unique_ptr<Fabric> fabric_;
  Participant me_;
  Agent agent_;
  Route parent_;
  std::unique_ptr<Children> children_;
  std::vector<Member> members_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::deque<TeamTask> teams_;
  std::deque<Held> tasks_;
  std::deque<Held> results_;
  std::vector<pollfd> pollfds_;
  size_t next_ = 0;
  bool stopping_ = false;
  bool reported_ = false;
  bool complete_ = false;  // all workers were up once
  bool blocked_ = false;   // something is to be sent and found no room
  bool full_ = false;      // we hold as many leases as we may
  bool announced_ = false;
  int64_t no_space_since_ns_ = 0;
};

}  // namespace

int RunCoordinator(const Job& job) {
  Signals::Install();
  BecomeSubreaper();
  if (!WatchParent(job.parent_pid)) return kExitOrphaned;
  return std::make_unique<Coordinator>(job)->Run();
}

}  // namespace cfc
