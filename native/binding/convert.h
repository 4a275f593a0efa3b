// Between JavaScript values and the core: statuses, failures, texts. The only place besides the
// wraps that knows Node.
#pragma once

#include <napi.h>

#include <string>

#include "core/status.h"

namespace cfc::binding {

// The status as JavaScript sees it where a function answers with a number: negative.
inline double Negative(Status status) noexcept { return -static_cast<double>(status); }

inline Napi::Value ToValue(Napi::Env env, Status status) {
  return Napi::Number::New(env, static_cast<double>(status));
}

inline std::string ToText(const Napi::Value& value) {
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

// Not value.ToNumber(): while a worker is being terminated, whatever could run JavaScript fails,
// and then node-addon-api ends the whole process over the empty value that it answered.
inline double ToDouble(const Napi::Value& value) noexcept {
  double number = 0;
  napi_get_value_double(value.Env(), value, &number);
  return number;
}

inline uint32_t ToUint32(const Napi::Value& value) noexcept {
  uint32_t number = 0;
  napi_get_value_uint32(value.Env(), value, &number);
  return number;
}

inline bool ToBool(const Napi::Value& value) noexcept {
  bool flag = false;
  napi_get_value_bool(value.Env(), value, &flag);
  return flag;
}

inline Napi::String ToValue(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

// Throws an Error that carries `status` (number), errno, syscall, path and detail; src/core turns
// it into a CfcError. Only slow paths throw.
inline void ThrowFailure(Napi::Env env, Status status, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, StatusText(status));
  Napi::Object fields = error.Value();
  fields.Set("status", static_cast<double>(status));
  fields.Set("path", failure.path);
  fields.Set("detail", failure.detail);
  if (failure.error_number != 0) {
    fields.Set("errno", failure.error_number);
    fields.Set("syscall", failure.syscall);
  }
  if (status == Status::kNoSpace) {
    fields.Set("needBytes", static_cast<double>(failure.need_bytes));
    fields.Set("haveBytes", static_cast<double>(failure.have_bytes));
  }
  if (status == Status::kForeign) fields.Set("ownerUid", failure.owner_uid);
  error.ThrowAsJavaScriptException();
}

}  // namespace cfc::binding
