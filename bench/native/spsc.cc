// A bare ring of slots from one producer to one consumer: what a queue in shared memory costs that
// has no leases, no acks, no repair, no counters, one writer and one reader.
#include "harness.h"
#include "wait_word.h"

namespace bench {
namespace {

constexpr int kSpins = 200;

struct Ring {
  alignas(128) std::atomic<uint64_t> tail;
  alignas(128) std::atomic<uint64_t> head;
  alignas(128) WaitWord consumer;
  alignas(128) WaitWord producer;
};

class RingLink {
 public:
  static constexpr const char* kName = "spsc ring";

  explicit RingLink(const Settings& settings)
      : bytes_(settings.bytes), stride_((settings.bytes + 63) / 64 * 64), ring_(Share<Ring>()) {
    if (settings.round_trip || settings.producers != 1) Die("one-way from one producer only");
    slots_ = static_cast<char*>(ShareBytes(size_t{stride_} * kDepth));
  }
  void Open(uint32_t) {}
  void Send(const char* body) {
    if (tail_ - head_ == kDepth) WaitForRoom();
    std::memcpy(slots_ + (tail_ % kDepth) * stride_, body, bytes_);
    ring_->tail.store(++tail_, std::memory_order_release);
    ring_->consumer.Wake();
  }
  void Flush() {}
  bool Receive(char* body, int64_t timeout_ns) {
    if (head_ == tail_ && !WaitForMail(timeout_ns)) return false;
    std::memcpy(body, slots_ + (head_ % kDepth) * stride_, bytes_);
    ring_->head.store(++head_, std::memory_order_release);
    ring_->producer.Wake();
    return true;
  }
  std::string Detail() const { return "no leases, acks, repair or counters"; }

 private:
  void WaitForRoom() {
    ring_->producer.WaitUntil(
        [this] {
          head_ = ring_->head.load(std::memory_order_acquire);
          return tail_ - head_ < kDepth;
        },
        -1, kSpins);
  }
  bool WaitForMail(int64_t timeout_ns) {
    return ring_->consumer.WaitUntil(
        [this] {
          tail_ = ring_->tail.load(std::memory_order_acquire);
          return tail_ != head_;
        },
        timeout_ns, kSpins);
  }

  uint32_t bytes_;
  uint32_t stride_;
  Ring* ring_;
  char* slots_;
  uint64_t tail_ = 0;  // ours where we produce, else as last seen
  uint64_t head_ = 0;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::Run<bench::RingLink>(argc, argv); }
