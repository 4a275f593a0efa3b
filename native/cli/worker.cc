// Worker: takes one task after the other, runs the command with it, answers with the result.
//
// A task is acknowledged only after its result was accepted, so a worker that is killed leaves it
// to the next one of its name. It goes with its keeper, not with its coordinator: of a coordinator
// that dies, the keeper adopts the workers and a new coordinator finds them.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "command.h"
#include "core/agent.h"
#include "core/fabric.h"
#include "core/participant.h"
#include "job.h"
#include "processes.h"
#include "signals.h"
#include "wire.h"

namespace cfc {
namespace {

pid_t parent_pid = 0;
pid_t keeper_pid = 0;

// True once nobody is left who wants our results.
bool Orphaned() {
  Signals::TakeParentDied();
  const pid_t now = getppid();
  if (now == parent_pid) return false;
  parent_pid = now;
  return now != keeper_pid;
}

class Worker {
 public:
  explicit Worker(const Job& job)
      : job_(job), command_(job.program, job.command, job.output_bytes) {
    command_.abandon = &Orphaned;
  }

  int Run() {
    Failure failure;
    Status status = Fabric::Open(job_.fabric, "", &fabric_, &failure);
    if (status == Status::kOk) status = me_.Register(fabric_.get(), &failure);
    if (status == Status::kOk) {
      AgentSpec spec;
      spec.name = job_.name;
      spec.role = "worker";
      spec.team = job_.team;
      spec.parent = job_.parent;
      spec.mailbox_cells = job_.cells;
      status = agent_.Join(&me_, spec, &failure);
    }
    if (status == Status::kLeaseHeld) return kExitTryAgain;
    if (status != Status::kOk) {
      std::fprintf(stderr, "cfc: %s can't join %s: %s (%s)\n", job_.name.c_str(),
                   job_.fabric.c_str(), StatusText(status), failure.path);
      return 1;
    }
    parent_.name = job_.parent;
    std::string ready = EncodeReady(1, 1);
    return Loop(Deliver(kTypeReady, &ready));
  }

 private:
  int Loop(Status status) {
    while (status == Status::kOk && !Signals::StopAsked()) {
      agent_.SetState(AgentState::kWaiting);
      Delivery delivery;
      status = Next(&delivery);
      if (status == Status::kOk) {
        agent_.SetState(AgentState::kWorking);
        status = Handle(delivery);
      } else if (status == Status::kTimedOut) {  // a signal, not a message
        status = Orphaned() ? Status::kNoReader : Status::kOk;
      }
    }
    if (status != Status::kOk) {
      EndAllChildren(5'000'000'000);
      return status == Status::kNoReader ? kExitOrphaned : 1;
    }
    agent_.SetState(AgentState::kComplete);
    agent_.Leave();
    me_.Unregister();
    return 0;
  }

  // Sleeps until a message or a signal is there. kTimedOut: a signal.
  Status Next(Delivery* delivery) {
    Status status = agent_.TryTake(TakeFilter::kAll, delivery);
    if (status != Status::kEmpty) return status;
    const Signals::Window window(fabric_.get(), me_.slot_index());
    const Status waited = me_.WaitUntil(
        [&](int64_t* longest) {
          if (Signals::Pending()) return true;
          status = agent_.TryTake(TakeFilter::kAll, delivery);
          if (status != Status::kEmpty) return true;
          if (longest == nullptr) return false;  // only spinning
          *longest = agent_.ClearTheWay();
          status = agent_.TryTake(TakeFilter::kAll, delivery);
          return status != Status::kEmpty;
        },
        Deadline::After(-1));
    if (waited != Status::kOk) return waited;
    if (status != Status::kEmpty) return status;
    Signals::TakeChildEnded();
    return Status::kTimedOut;
  }

  Status Handle(const Delivery& delivery) {
    std::string body(delivery.body_bytes, '\0');
    Status status = agent_.CopyBody(delivery, body.data());
    if (status == Status::kLeaseLost) return Status::kOk;
    uint32_t index;
    if (status != Status::kOk || delivery.Type() != kTypeTask || !DecodeIndex(body, &index)) {
      agent_.Ack(delivery.token);  // nothing that we know how to do
      return Status::kOk;
    }
    status = Perform(index, std::string_view(body).substr(sizeof index), delivery.attempt);
    if (status != Status::kOk) return status;
    agent_.Ack(delivery.token);
    return Status::kOk;
  }

  Status Perform(uint32_t index, std::string_view task, uint32_t attempt) {
    ResultHeader header;
    header.task = index;
    header.attempts = attempt + 1;
    CommandResult result;
    if (attempt > job_.retries) {
      header.attempts = attempt;
      header.flags |= kLost;
    } else if (job_.echo) {
      result.out = std::string(task.substr(0, job_.output_bytes));
      result.out_cut = result.out.size() < task.size();
    } else {
      result = job_.ndjson ? command_.RunWithInput(std::string(task) + "\n")
                           : command_.RunWithArgument(task);
      if (result.abandoned) return Status::kNoReader;
      if (!result.started) header.flags |= kNotStarted;
    }
    header.exit_code = result.exit_code;
    header.duration_us = result.duration_us;
    if (result.out_cut) header.flags |= kStdoutCut;
    if (result.err_cut) header.flags |= kStderrCut;
    std::string body = EncodeResult(header, job_.name, result.out, result.err);
    return Deliver(kTypeResult, &body);
  }

  // Waits for room at the parent for as long as somebody may want it. kNoReader: nobody does.
  Status Deliver(std::string_view type, std::string* body) {
    Deadline no_space = Deadline::After(kNoSpacePatienceNs);
    for (;;) {
      Outgoing message;
      message.body = *body;
      message.type = type;
      const Status status = agent_.Send(&parent_, message, Deadline::After(1'000'000'000), nullptr);
      switch (status) {
        case Status::kOk:
        case Status::kRemoved:
        case Status::kParticipantLost:
        case Status::kCorrupt:
        case Status::kTooLarge:
        case Status::kInvalid:
          return status;
        case Status::kTimedOut:
          break;
        case Status::kNoSpace:
          if (no_space.Passed() && type == kTypeResult) DropOutput(body);
          [[fallthrough]];
        default:
          // No memory for the body, or the parent is between two lives.
          Signals::Poll(nullptr, 0, 20'000'000);
          if (me_.CheckLease() != Status::kOk) return Status::kParticipantLost;
      }
      if (Orphaned()) return Status::kNoReader;
    }
  }

  const Job& job_;
  std::unique_ptr<Fabric> fabric_;
  Participant me_;
  Agent agent_;
  Route parent_;
  Command command_;
};

}  // namespace

int RunWorker(const Job& job) {
  Signals::Install();
  parent_pid = job.parent_pid;
  keeper_pid = job.keeper_pid;
  BecomeSubreaper();
  WatchParent(parent_pid);
  if (Orphaned()) return kExitOrphaned;
  return std::make_unique<Worker>(job)->Run();
}

}  // namespace cfc
