// Boost.Interprocess message_queue: a heap of messages under a lock in shared memory.
#include <unistd.h>

#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>
#include <memory>

#include "harness.h"

namespace bench {
namespace {

using boost::interprocess::message_queue;

class BoostLink {
 public:
  static constexpr const char* kName = "boost mq";

  explicit BoostLink(const Settings& settings) : bytes_(settings.bytes) {
    toward_[0] = Make(0);
    if (settings.round_trip) toward_[1] = Make(1);
  }
  void Open(uint32_t side) { side_ = side > 0 ? 1 : 0; }
  void Send(const char* body) { toward_[1 - side_]->send(body, bytes_, 0); }
  void Flush() {}
  bool Receive(char* body, int64_t timeout_ns) {
    message_queue::size_type got = 0;
    unsigned priority = 0;
    if (timeout_ns < 0) {
      toward_[side_]->receive(body, bytes_, got, priority);
      return true;
    }
    const auto until = boost::posix_time::microsec_clock::universal_time() +
                       boost::posix_time::microseconds(timeout_ns / 1000);
    return toward_[side_]->timed_receive(body, bytes_, got, priority, until);
  }
  std::string Detail() const {
    return "depth " + std::to_string(kDepth) + ", Boost " BOOST_LIB_VERSION;
  }

 private:
  // The mapping is inherited, so that the name can go at once.
  std::unique_ptr<message_queue> Make(int toward) const {
    const std::string name = "cfc-bench-" + std::to_string(getpid()) + "-" + std::to_string(toward);
    auto queue = std::make_unique<message_queue>(boost::interprocess::create_only, name.c_str(),
                                                 kDepth, bytes_);
    message_queue::remove(name.c_str());
    return queue;
  }

  uint32_t bytes_;
  std::unique_ptr<message_queue> toward_[2];  // by the side that receives
  uint32_t side_ = 0;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::Run<bench::BoostLink>(argc, argv);
  } catch (const std::exception& error) {
    bench::Die(error.what());
  }
}
