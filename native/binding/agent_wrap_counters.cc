// The counters of AgentWrap: memory that JavaScript writes in place.
#include "agent_wrap.h"
#include "convert.h"

namespace cfc::binding {

// An external buffer keeps the mapping alive; leaving detaches it, so that JavaScript cannot write
// into a block that has another owner by then, and lets go of the mapping, as nobody knows when the
// buffer itself is collected. Empty where the worker is being terminated.
Napi::ArrayBuffer AgentWrap::WritableBuffer(double* values, size_t count) {
  using Keep = std::shared_ptr<std::shared_ptr<Fabric>>;
  // Not make_shared: it needs a symbol of a newer libstdc++ than the floor allows.
  Keep keep(new std::shared_ptr<Fabric>(fabric_));
  auto* const of_buffer = new Keep(keep);
  const auto buffer = Napi::ArrayBuffer::New(
      Env(), values, count * sizeof(double), [](Napi::Env, void*, Keep* kept) { delete kept; },
      of_buffer);
  if (buffer.IsEmpty()) {
    delete of_buffer;
    return buffer;
  }
  counter_buffers_.push_back({Napi::Persistent(buffer), static_cast<Keep&&>(keep)});
  return buffer;
}

Napi::Value AgentWrap::CounterValues(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  double* const values = owner_ ? agent_.counters().data() : nullptr;
  if (!values) return env.Undefined();
  const Napi::ArrayBuffer buffer = WritableBuffer(values, kBlockValues);
  if (buffer.IsEmpty()) return env.Undefined();  // the worker is being terminated
  return Napi::Float64Array::New(env, kBlockValues, buffer, 0);
}

// histogramWords(metric): Float64Array over the words of our histogram, or a negative status
Napi::Value AgentWrap::HistogramWords(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!owner_) return Napi::Number::New(env, Negative(Status::kClosed));
  HistogramWriter writer;
  const Status status = fabric_->metrics().ClaimHistogram(
      agent_.counters(), ToUint32(info[0]),
      [this](uint32_t block, uint64_t uid) {
        // The histograms of whoever counted there may go when the entry has another holder by now.
        AgentRecord record;
        return !AgentDirectory(fabric_.get()).Read(block, &record) ||
               (HolderUid(record.holder) != uid && fabric_->HolderDead(record.holder));
      },
      &writer);
  if (status != Status::kOk) return Napi::Number::New(env, Negative(status));
  const Napi::ArrayBuffer buffer = WritableBuffer(writer.data(), HistogramShape::kWords);
  if (buffer.IsEmpty()) return Napi::Number::New(env, Negative(Status::kClosed));
  return Napi::Float64Array::New(env, HistogramShape::kWords, buffer, 0);
}

void AgentWrap::DetachCounters() noexcept {
  for (auto& [reference, keep] : counter_buffers_) {
    const Napi::HandleScope scope(Env());
    Napi::ArrayBuffer buffer = reference.Value();
    if (!buffer.IsEmpty() && !buffer.IsDetached()) buffer.Detach();
    if (buffer.IsEmpty() || buffer.IsDetached()) keep->reset();
  }
  counter_buffers_.clear();
}

}  // namespace cfc::binding
