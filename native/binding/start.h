// Start: many programs at once, each detached from us but for its end, which we reap.
#pragma once

#include <napi.h>

namespace cfc::binding {

void DefineStartFunctions(Napi::Env env, Napi::Object exports);

}  // namespace cfc::binding
