// The addon's exports. src/core/native.ts declares them and is the only one who loads this.
#include <napi.h>

#include "agent_wrap.h"
#include "core/layout.h"
#include "core/status.h"
#include "fabric_wrap.h"
#include "start.h"

namespace cfc::binding {
namespace {

// Layout has one author: what JavaScript needs to know of it comes from here.
Napi::Object Constants(Napi::Env env) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("version", CFC_VERSION);
  out.Set("layoutMajor", kLayoutMajor);
  out.Set("layoutMinor", kLayoutMinor);
  out.Set("columns", static_cast<uint32_t>(kColumns));
  out.Set("mostTaken", kMostTaken);
  out.Set("maxNameBytes", static_cast<uint32_t>(kMaxNameBytes));
  out.Set("maxBodyBytes", static_cast<double>(kMaxBodyBytes));
  out.Set("inlineBytes", static_cast<uint32_t>(kInlineBytes));
  out.Set("maxLaneCells", kMaxLaneCells);
  out.Set("hopShift", kHopShift);
  out.Set("hopLimit", kHopLimit);
  out.Set("blockValues", kBlockValues);
  out.Set("predefinedMetrics", kPredefined);
  out.Set("sampleColumns", static_cast<uint32_t>(kSampleColumns));
  out.Set("tableColumns", static_cast<uint32_t>(kTableColumns));
  out.Set("tableTexts", kTableTexts);
  out.Set("tableTextBytes", kTableTextBytes);
  out.Set("boxColumns", static_cast<uint32_t>(kBoxColumns));
  out.Set("histogramMinValue", HistogramShape::kMinValue);
  out.Set("histogramMaxValue", HistogramShape::kMaxValue);
  out.Set("histogramSubBits", HistogramShape::kSubBits);
  out.Set("histogramFirstCode", HistogramShape::kFirstCode);
  out.Set("histogramBuckets", HistogramShape::kBuckets);
  out.Set("histogramSumWord", HistogramShape::kSumWord);
  out.Set("histogramMinWord", HistogramShape::kMinWord);
  out.Set("histogramMaxWord", HistogramShape::kMaxWord);
  out.Set("histogramBucketWord", HistogramShape::kBucketWord);
  return out;
}

Napi::Object Statuses(Napi::Env env) {
  Napi::Object out = Napi::Object::New(env);
#define CFC_STATUS_EXPORT(name, text) out.Set(#name, static_cast<uint32_t>(Status::name));
  CFC_STATUS_LIST(CFC_STATUS_EXPORT)
#undef CFC_STATUS_EXPORT
  return out;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeFabric", FabricWrap::Define(env));
  exports.Set("NativeAgent", AgentWrap::Define(env));
  exports.Set("constants", Constants(env));
  exports.Set("statuses", Statuses(env));
  DefineFabricFunctions(env, exports);
  DefineStartFunctions(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(cfc, Init)

}  // namespace cfc::binding
