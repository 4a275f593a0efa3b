// Topics. round-trip: from one publish until the last of `producers` sleeping subscribers is awake.
// one-way: one publisher, `producers` reliable subscribers in processes of their own, each of which
// reads everything.
#include <cfc/agent.h>
#include <cfc/fabric.h>
#include <cfc/participant.h>
#include <cfc/topic.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>

#include "wake_all.h"

namespace bench {
namespace {

constexpr const char* kTopic = "bench";
constexpr cfc::SubscribeOptions kPatient = {.patience_ms = 1'000'000};

void Check(cfc::Status status) {
  if (status != cfc::Status::kOk) Die(cfc::StatusText(status));
}

// A fabric in a directory of its own.
class Place {
 public:
  explicit Place(const Settings& settings) : dir_(settings.dir + "/cfc-bench-XXXXXX") {
    if (mkdtemp(dir_.data()) == nullptr) Die("mkdtemp failed");
    maker_ = getpid();
    cfc::FabricOptions options;
    options.mailbox_cells = cfc::kMinLaneCells;
    std::unique_ptr<cfc::Fabric> fabric;
    cfc::Failure failure;
    Check(cfc::Fabric::Create("bench", dir_, options, &fabric, &failure));
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    std::error_code ignored;
    if (getpid() == maker_) std::filesystem::remove_all(dir_, ignored);
  }
  std::unique_ptr<cfc::Fabric> Open() const {
    std::unique_ptr<cfc::Fabric> fabric;
    cfc::Failure failure;
    Check(cfc::Fabric::Open("bench", dir_, &fabric, &failure));
    return fabric;
  }

 private:
  std::string dir_;
  pid_t maker_ = 0;
};

// An agent on a participant of its own.
struct Member {
  Member(cfc::Fabric* fabric, const std::string& name) {
    cfc::Failure failure;
    Check(participant.Register(fabric, &failure));
    Check(agent.Join(&participant, {.name = name}, &failure));
  }
  cfc::Participant participant;
  cfc::Agent agent;
};

class TopicParty {
 public:
  static constexpr const char* kName = "cfc";

  explicit TopicParty(const Settings& settings) : settings_(settings), place_(settings) {}
  void OpenWaker() { waker_ = std::make_unique<Member>(OfThisProcess(), "waker"); }
  void Wake(uint32_t round) {
    body_.assign(settings_.bytes, 7);
    std::memcpy(body_.data(), &round, sizeof round);
    Check(waker_->agent.Publish(kTopic, {.body = {body_.data(), body_.size()}},
                                cfc::Deadline::After(0)));
  }
  struct Sleeper {
    Sleeper(TopicParty& party, uint32_t index)
        : member(party.OfThisProcess(), std::to_string(index)) {
      cfc::Failure failure;
      Check(subscription.Open(&member.agent, kTopic, kPatient, &failure));
    }
    void SleepUntil(uint32_t round) {
      Check(subscription.Receive(&event, &body, cfc::Deadline::After(-1)));
      if (event.gap || std::memcmp(body.data(), &round, sizeof round) != 0) Die("another message");
    }
    Member member;
    cfc::Subscription subscription;
    cfc::TopicEvent event;
    std::string body;
  };
  std::string Detail() const {
    return std::to_string(settings_.producers) + " participants in " +
           std::to_string(kWakeProcesses) + " processes; read and copied";
  }

 private:
  cfc::Fabric* OfThisProcess() {
    std::call_once(opened_, [this] { fabric_ = place_.Open(); });
    return fabric_.get();
  }

  Settings settings_;
  Place place_;
  std::once_flag opened_;
  std::unique_ptr<cfc::Fabric> fabric_;
  std::unique_ptr<Member> waker_;
  std::vector<char> body_;
};

int OneToMany(const Settings& settings) {
  struct Shared {
    std::atomic<uint32_t> ready;
    std::atomic<int64_t> last_ns;
  };
  const Place place(settings);
  Shared& shared = *Share<Shared>();
  Processes processes;
  for (uint32_t side = 1; side <= settings.producers; ++side) {
    processes.Start([&, side] {
      Pin(settings.placement, side);
      const auto fabric = place.Open();
      Member me(fabric.get(), std::to_string(side));
      cfc::Subscription subscription;
      cfc::Failure failure;
      Check(subscription.Open(&me.agent, kTopic, kPatient, &failure));
      shared.ready.fetch_add(1);
      cfc::TopicEvent event;
      std::string body;
      for (uint32_t i = 0; i < settings.count; ++i) {
        Check(subscription.Receive(&event, &body, cfc::Deadline::After(-1)));
        if (event.gap || std::memcmp(body.data(), &i, sizeof i) != 0) Die("another message");
      }
      const int64_t now_ns = NowNs();
      int64_t last_ns = shared.last_ns.load();
      while (last_ns < now_ns && !shared.last_ns.compare_exchange_weak(last_ns, now_ns)) {
      }
    });
  }
  Pin(settings.placement, 0);
  const auto fabric = place.Open();
  Member me(fabric.get(), "publisher");
  while (shared.ready.load() != settings.producers) usleep(1000);
  std::vector<char> body(settings.bytes, 7);
  cfc::TopicRoute* route = nullptr;
  Check(me.agent.OpenTopic(kTopic, &route, nullptr));
  const int64_t began_ns = NowNs();
  for (uint32_t i = 0; i < settings.count; ++i) {
    std::memcpy(body.data(), &i, sizeof i);
    Check(me.agent.Publish(route, {.body = {body.data(), body.size()}}, cfc::Deadline::After(-1),
                           nullptr));
  }
  processes.Join();
  PrintOneWay("cfc",
              "published a second; each of " + std::to_string(settings.producers) +
                  " reliable subscribers read all",
              settings, shared.last_ns.load() - began_ns, 1, Tally(1));
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  const bench::Settings settings = bench::Parse(argc, argv);
  return settings.round_trip ? bench::WakeAll<bench::TopicParty>(settings)
                             : bench::OneToMany(settings);
}
