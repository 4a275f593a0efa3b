// A bare futex: a word a side, raised and slept on, no spinning and no message. Round trips only.
#include "harness.h"
#include "wait_word.h"

namespace bench {
namespace {

class FutexLink {
 public:
  static constexpr const char* kName = "futex";

  explicit FutexLink(const Settings& settings) : words_(Share<Words>()) {
    if (!settings.round_trip) Die("a futex carries no messages: round-trip only");
  }
  void Open(uint32_t side) { side_ = side; }
  void Send(const char*) {
    auto& word = words_->raised[1 - side_].count;
    word.fetch_add(1);
    cfc::FutexWake(&word);
  }
  void Flush() {}
  bool Receive(char*, int64_t) {
    auto& word = words_->raised[side_].count;
    while (word.load() == seen_) cfc::FutexWait(&word, seen_, kLongWaitNs);
    ++seen_;
    return true;
  }
  std::string Detail() const { return "sleeps at once, no payload"; }

 private:
  struct Words {
    struct alignas(128) Raised {
      std::atomic<uint32_t> count;
    };
    Raised raised[2];  // by the side that sleeps on it
  };
  Words* words_;
  uint32_t side_ = 0;
  uint32_t seen_ = 0;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::Run<bench::FutexLink>(argc, argv); }
