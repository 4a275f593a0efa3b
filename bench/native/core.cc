// The core, as another C++ program uses it: send, take, copy the body out, ack; every default on.
#include <cfc/agent.h>
#include <cfc/fabric.h>
#include <cfc/participant.h>

#include <filesystem>
#include <memory>

#include "harness.h"

namespace bench {
namespace {

constexpr uint32_t kBatch = 50;

void Check(cfc::Status status) {
  if (status != cfc::Status::kOk) Die(cfc::StatusText(status));
}

std::string NameOf(uint32_t side) { return std::to_string(side); }

class CoreLink {
 public:
  static constexpr const char* kName = "cfc";

  explicit CoreLink(const Settings& settings) : settings_(settings) {
    dir_ = settings.dir + "/cfc-bench-XXXXXX";
    if (mkdtemp(dir_.data()) == nullptr) Die("mkdtemp failed");
    maker_ = getpid();
    cfc::Failure failure;
    std::unique_ptr<cfc::Fabric> fabric;
    Check(cfc::Fabric::Create("bench", dir_, {.mailbox_cells = kDepth}, &fabric, &failure));
    if (settings.batch) bodies_.resize(size_t{kBatch} * settings.bytes);
  }
  CoreLink(const CoreLink&) = delete;
  CoreLink& operator=(const CoreLink&) = delete;
  ~CoreLink() {
    me_.Leave();
    participant_.Unregister();
    fabric_.reset();
    std::error_code ignored;
    if (getpid() == maker_) std::filesystem::remove_all(dir_, ignored);
  }

  void Open(uint32_t side) {
    cfc::Failure failure;
    Check(cfc::Fabric::Open("bench", dir_, &fabric_, &failure));
    Check(participant_.Register(fabric_.get(), &failure));
    Check(me_.Join(&participant_, {.name = NameOf(side)}, &failure));
    route_.name = NameOf(side == 0 ? 1 : 0);
    // The other side may still be joining.
    if (side != 0 || settings_.round_trip) {
      while (me_.Resolve(&route_) == cfc::Status::kNoAgent) sched_yield();
    }
  }

  void Send(const char* body) {
    if (!settings_.batch) {
      SendOne({.body = {body, settings_.bytes}});
      return;
    }
    char* const place = bodies_.data() + size_t{pending_} * settings_.bytes;
    std::memcpy(place, body, settings_.bytes);
    messages_[pending_].body = {place, settings_.bytes};
    if (++pending_ == kBatch) Flush();
  }

  // Where there is no room for all, the first waits for some.
  void Flush() {
    for (uint32_t done = 0; done < pending_;) {
      uint32_t accepted = 0;
      const cfc::Status status = me_.TrySendBatch(&route_, messages_ + done, pending_ - done,
                                                  /*ids=*/nullptr, &accepted);
      done += accepted;
      if (status == cfc::Status::kOk) continue;
      if (status != cfc::Status::kFull && status != cfc::Status::kSlabFull) Check(status);
      SendOne(messages_[done]);
      ++done;
    }
    pending_ = 0;
  }

  bool Receive(char* body, int64_t timeout_ns) {
    cfc::Status status = me_.TryTake(cfc::TakeFilter::kAll, &delivery_);
    if (status == cfc::Status::kEmpty) {
      Reclaim();
      status = me_.Receive(&delivery_, cfc::Deadline::After(timeout_ns));
      if (status == cfc::Status::kTimedOut) return false;
    }
    Check(status);
    if (delivery_.body_bytes != settings_.bytes) Die("a body of another size");
    Check(me_.CopyBody(delivery_, body));
    if (!settings_.batch) {
      Check(me_.Ack(delivery_.token));
      return true;
    }
    Check(me_.AckWithoutReclaim(delivery_.token));
    if (++settled_ == kBatch) Reclaim();
    return true;
  }

  std::string Detail() const {
    const std::string how = settings_.batch ? "batches of " + std::to_string(kBatch) : "one by one";
    return "leases, acks, counters; " + how;
  }

 private:
  void SendOne(const cfc::Outgoing& message) {
    Check(me_.Send(&route_, message, cfc::Deadline::After(-1), /*receipt=*/nullptr));
  }
  void Reclaim() {
    if (settled_ == 0) return;
    me_.Reclaim(cfc::kWorkLane);
    settled_ = 0;
  }

  Settings settings_;
  std::string dir_;
  pid_t maker_ = 0;
  std::unique_ptr<cfc::Fabric> fabric_;
  cfc::Participant participant_;
  cfc::Agent me_;
  cfc::Route route_;
  cfc::Delivery delivery_;
  cfc::Outgoing messages_[kBatch];
  std::vector<char> bodies_;
  uint32_t pending_ = 0;
  uint32_t settled_ = 0;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::Run<bench::CoreLink>(argc, argv); }
