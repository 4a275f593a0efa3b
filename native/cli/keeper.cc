// Keeper: makes the fabric of a map job, keeps its processes running, and removes every trace.
//
// The master talks to it over its standard input, one word a line, and it answers on its standard
// output:
//
//   <- ready           the fabric is there
//   -> go              the master has joined: start
//   -> stop            end in good order
//   <- drained         all are gone
//   -> (end of input)  also when the master was killed: kill whoever is left, remove the fabric,
//   exit
//   <- failed WHY      nothing can be started
//
// It is no agent: no message keeps it from seeing that its master died. It lives exactly as long as
// its master, and so takes no notice of SIGTERM: a shutdown that signals everybody lets the master
// drain.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "children.h"
#include "core/clock.h"
#include "core/fabric.h"
#include "core/region.h"
#include "job.h"
#include "processes.h"
#include "signals.h"

namespace cfc {
namespace {

constexpr int64_t kEndPatienceNs = 10'000'000'000;

// A, B, … Z, AA, AB, …
std::string TeamName(uint32_t index) {
  std::string name;
  for (uint32_t n = index + 1; n > 0; n = (n - 1) / 26) {
    name.insert(name.begin(), static_cast<char>('A' + (n - 1) % 26));
  }
  return name;
}

// How much is kept of each stream of a command, and the memory that a result of both then takes.
struct OutputSize {
  uint32_t kept_bytes;
  uint64_t chunk_bytes;
};
constexpr OutputSize kOutputSizes[] = {{1u << 20, 9 * (uint64_t{256} << 10)},
                                       {(128u << 10) - 128, 256u << 10},
                                       {(32u << 10) - 128, 64u << 10},
                                       {(8u << 10) - 128, 16u << 10},
                                       {(2u << 10) - 128, 4u << 10}};
constexpr uint64_t kWaiting = 16;  // results and tasks under way besides one a worker

// As much as fits twice over, at a worker's coordinator and at the master, into half of what is
// free. So results never wait for memory that only they could give back.
OutputSize ChooseOutput(const Job& job, uint64_t free_bytes) noexcept {
  for (const OutputSize& size : kOutputSizes) {
    if (2 * (job.workers + kWaiting) * size.chunk_bytes <= free_bytes / 2) return size;
  }
  return kOutputSizes[std::size(kOutputSizes) - 1];
}

// Room for every message that can be under way. Of the slab only what is used takes memory.
FabricOptions SizeFor(const Job& job, const OutputSize& output, uint64_t free_bytes) noexcept {
  FabricOptions options;
  const uint32_t agents = job.workers + job.coordinators + 16;
  options.max_agents = agents;
  options.max_participants = 2 * agents + 64;  // the dead keep their slots until they are mended
  options.mailbox_cells = 64;
  options.attempt_limit = 0;  // --retries says how many deaths a task survives
  options.mail_segment_bytes = agents > 128 ? 4u << 20 : 1u << 20;
  options.slab_max_bytes =
      4 * (job.workers + kWaiting) * (output.chunk_bytes + (256u << 10)) + (256u << 20);
  options.slab_segment_bytes = 4u << 20;  // there are five sizes of chunks, each with its own
  while (options.slab_segment_bytes > 1u << 19 && options.slab_segment_bytes > free_bytes / 32) {
    options.slab_segment_bytes /= 2;
  }
  while (options.slab_max_bytes > uint64_t{900} * options.slab_segment_bytes) {
    options.slab_segment_bytes *= 2;
  }
  options.sender_slab_bytes = options.slab_max_bytes;
  options.histograms = 1;
  return options;
}

class Keeper {
 public:
  explicit Keeper(const Job& job) : job_(job) {}

  int Run() {
    Failure failure;
    Directory base;
    Status status = Directory::Open(DefaultBasePath(), /*create=*/true, &base, &failure);
    if (status == Status::kOk) {
      const uint64_t free_bytes = FreeBytes(base);
      const OutputSize output = ChooseOutput(job_, free_bytes);
      job_.output_bytes = output.kept_bytes;
      status = job_.attach ? Fabric::Open(job_.fabric, "", &fabric_, &failure)
                           : Fabric::Create(job_.fabric, "", SizeFor(job_, output, free_bytes),
                                            &fabric_, &failure);
    }
    if (status != Status::kOk) {
      Say("failed " + std::string(StatusText(status)) + ": " + failure.path + " " + failure.detail);
      return 1;
    }
    children_ = std::make_unique<Children>(fabric_.get(), kStartsUnderWay);
    if (job_.coordinators > 0) {
      AddCoordinators();
    } else {
      AddWorkers();
    }
    Say("ready");
    const int code = Loop();
    // Nobody may write into the fabric any more when its files go.
    EndAllChildren(kEndPatienceNs);
    Failure unused;
    Fabric::Destroy(job_.fabric, "", &unused);
    return code;
  }

 private:
  void AddWorkers() {
    for (uint32_t i = 1; i <= job_.workers; ++i) {
      Job worker = job_;
      worker.name = "worker-" + std::to_string(i);
      worker.parent_pid = worker.keeper_pid = getpid();
      worker.workers = 0;
      children_->Add(worker.name, worker.ToArguments("worker"));
    }
  }

  void AddCoordinators() {
    for (uint32_t i = 0; i < job_.coordinators; ++i) {
      Job coordinator = job_;
      coordinator.team = TeamName(i);
      coordinator.name = "coord-" + coordinator.team;
      coordinator.parent_pid = coordinator.keeper_pid = getpid();
      coordinator.workers =
          job_.workers / job_.coordinators + (i < job_.workers % job_.coordinators ? 1 : 0);
      children_->Add(coordinator.name, coordinator.ToArguments("coordinator"));
    }
  }

  int Loop() {
    bool going = false, stopping = false, drained = false;
    for (;;) {
      if (going) children_->Tend();
      std::string why;
      if (going && !stopping && children_->GaveUp(&why)) {
        Say("failed " + why);
        return kExitGaveUp;
      }
      if (stopping && !drained && children_->AllGone()) {
        drained = true;
        Say("drained");
      }
      pollfds_.assign(1, {STDIN_FILENO, POLLIN, 0});
      int64_t longest = kBackstopNs;
      if (going) {
        children_->FillPoll(&pollfds_);
        longest = children_->NextLookNs();
      }
      Signals::Poll(pollfds_.data(), pollfds_.size(), longest);
      if (pollfds_[0].revents == 0) continue;
      for (const std::string& word : ReadWords()) {
        if (word.empty()) return 0;  // the end
        if (word == "go") going = true;
        if (word == "stop") {
          stopping = going = true;
          children_->Stop();
        }
      }
    }
  }

  // Whole lines; an empty one stands for the end of input.
  std::vector<std::string> ReadWords() {
    std::vector<std::string> words;
    char buffer[256];
    const ssize_t bytes = read(STDIN_FILENO, buffer, sizeof buffer);
    if (bytes < 0 && (errno == EINTR || errno == EAGAIN)) return words;
    if (bytes <= 0) return {""};
    input_.append(buffer, static_cast<size_t>(bytes));
    size_t end;
    while ((end = input_.find('\n')) != std::string::npos) {
      if (end > 0) words.push_back(input_.substr(0, end));
      input_.erase(0, end + 1);
    }
    return words;
  }

  static void Say(const std::string& line) {
    const std::string text = line + "\n";
    // A master that doesn't listen any more is found dead at its end of our input.
    const ssize_t unused = write(STDOUT_FILENO, text.data(), text.size());
    (void)unused;
  }

  Job job_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Children> children_;
  std::vector<pollfd> pollfds_;
  std::string input_;
};

}  // namespace

int RunKeeper(const Job& job) {
  Signals::Install();
  setpgid(0, 0);
  BecomeSubreaper();
  return Keeper(job).Run();
}

}  // namespace cfc
