// The POSIX message queue, with as many messages as the system allows by default.
#include <fcntl.h>
#include <mqueue.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

#include "harness.h"

namespace bench {
namespace {

long DepthAllowed() {
  long depth = 10;
  if (std::FILE* file = std::fopen("/proc/sys/fs/mqueue/msg_max", "r")) {
    if (std::fscanf(file, "%ld", &depth) != 1) depth = 10;
    std::fclose(file);
  }
  return depth < long{kDepth} ? depth : long{kDepth};
}

class MqLink {
 public:
  static constexpr const char* kName = "posix mq";

  explicit MqLink(const Settings& settings) : bytes_(settings.bytes), depth_(DepthAllowed()) {
    toward_[0] = Make(0);
    if (settings.round_trip) toward_[1] = Make(1);
  }
  void Open(uint32_t side) { side_ = side > 0 ? 1 : 0; }
  void Send(const char* body) {
    if (mq_send(toward_[1 - side_], body, bytes_, 0) != 0) Die("mq_send failed");
  }
  void Flush() {}
  bool Receive(char* body, int64_t timeout_ns) {
    if (timeout_ns < 0) {
      if (mq_receive(toward_[side_], body, bytes_, nullptr) < 0) Die("mq_receive failed");
      return true;
    }
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += timeout_ns;
    until.tv_sec += until.tv_nsec / 1'000'000'000;
    until.tv_nsec %= 1'000'000'000;
    return mq_timedreceive(toward_[side_], body, bytes_, nullptr, &until) >= 0;
  }
  std::string Detail() const { return "depth " + std::to_string(depth_); }

 private:
  mqd_t Make(int toward) const {
    const std::string name =
        "/cfc-bench-" + std::to_string(getpid()) + "-" + std::to_string(toward);
    mq_attr attributes = {};
    attributes.mq_maxmsg = depth_;
    attributes.mq_msgsize = bytes_;
    const mqd_t queue =
        mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
    if (queue < 0) Die("mq_open failed");
    mq_unlink(name.c_str());
    return queue;
  }

  uint32_t bytes_;
  long depth_;
  mqd_t toward_[2] = {-1, -1};  // by the side that receives
  uint32_t side_ = 0;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::Run<bench::MqLink>(argc, argv); }
