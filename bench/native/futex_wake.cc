// A word for each sleeper, raised and woken one after the other: the least that waking many costs.
#include <cfc/futex.h>

#include "wait_word.h"
#include "wake_all.h"

namespace bench {
namespace {

class FutexParty {
 public:
  static constexpr const char* kName = "futex";

  explicit FutexParty(const Settings& settings)
      : sleepers_(settings.producers),
        words_(static_cast<Word*>(ShareBytes(sizeof(Word) * settings.producers))) {}
  void OpenWaker() {}
  void Wake(uint32_t round) {
    for (uint32_t i = 0; i < sleepers_; ++i) {
      words_[i].round.store(round);
      cfc::FutexWake(&words_[i].round);
    }
  }
  struct Sleeper {
    Sleeper(FutexParty& party, uint32_t index) : word(party.words_[index].round) {}
    void SleepUntil(uint32_t round) {
      while (word.load() != round) cfc::FutexWait(&word, round - 1, kLongWaitNs);
    }
    std::atomic<uint32_t>& word;
  };
  std::string Detail() const { return "a futex each, no payload"; }

 private:
  struct alignas(128) Word {
    std::atomic<uint32_t> round;
  };
  uint32_t sleepers_;
  Word* words_;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  const bench::Settings settings = bench::Parse(argc, argv);
  if (!settings.round_trip) bench::Die("a futex carries no messages: round-trip only");
  return bench::WakeAll<bench::FutexParty>(settings);
}
