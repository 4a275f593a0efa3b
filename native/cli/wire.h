// Wire: the bodies of the messages of a map job. src/cli/map-wire.ts reads and writes the same
// bytes.
//
//   task     u32 index | the task's bytes                       master -> (coordinator ->) worker
//   result   u32 index | i32 exit code | u64 duration, microseconds | u32 attempts | u32 flags
//            | u32 worker bytes | u32 stdout bytes | u32 stderr bytes | u32 zero
//            | the worker's name | stdout | stderr              worker -> (coordinator ->) master
//   team     as a task                                          master -> coordinator: for each of
//                                                               its workers
//   ready    u32 workers behind the sender | u32 of them up     worker, coordinator -> parent: at
//   each
//                                                               start, and when all are up
//
// Numbers are little-endian. The name of the message's type tells which one it is.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace cfc {

// How long a result waits for a file system that is full before its output is dropped.
constexpr int64_t kNoSpacePatienceNs = 10'000'000'000;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

constexpr std::string_view kTypeTask = "task";
constexpr std::string_view kTypeResult = "result";
constexpr std::string_view kTypeTeam = "team";
constexpr std::string_view kTypeReady = "ready";

enum ResultFlag : uint32_t {
  kStdoutCut = 1,  // there was more
  kStderrCut = 2,
  kLost = 4,        // its worker died too often: not run again
  kNotStarted = 8,  // the command could not be executed; stderr says why
};

struct ResultHeader {
  uint32_t task = 0;
  int32_t exit_code = 0;  // 128 + signal where one ended it
  uint64_t duration_us = 0;
  uint32_t attempts = 0;
  uint32_t flags = 0;
  uint32_t worker_bytes = 0;
  uint32_t stdout_bytes = 0;
  uint32_t stderr_bytes = 0;
  uint32_t zero = 0;
};
static_assert(sizeof(ResultHeader) == 40);

inline std::string EncodeResult(ResultHeader header, std::string_view worker, std::string_view out,
                                std::string_view err) {
  header.worker_bytes = static_cast<uint32_t>(worker.size());
  header.stdout_bytes = static_cast<uint32_t>(out.size());
  header.stderr_bytes = static_cast<uint32_t>(err.size());
  std::string body(sizeof header, '\0');
  std::memcpy(body.data(), &header, sizeof header);
  body.reserve(sizeof header + worker.size() + out.size() + err.size());
  return body.append(worker).append(out).append(err);
}

// Where there is no memory for a result: what the command said is dropped, and that it was is told.
inline void DropOutput(std::string* body) {
  ResultHeader header;
  std::memcpy(&header, body->data(), sizeof header);
  if (header.stdout_bytes != 0) header.flags |= kStdoutCut;
  if (header.stderr_bytes != 0) header.flags |= kStderrCut;
  header.stdout_bytes = header.stderr_bytes = 0;
  std::memcpy(body->data(), &header, sizeof header);
  body->resize(sizeof header + header.worker_bytes);
}

// The index that tasks and results begin with. False where the body is too short to have one.
inline bool DecodeIndex(std::string_view body, uint32_t* index) noexcept {
  if (body.size() < sizeof *index) return false;
  std::memcpy(index, body.data(), sizeof *index);
  return true;
}

inline std::string EncodeReady(uint32_t workers, uint32_t up) {
  const uint32_t words[] = {workers, up};
  std::string body(sizeof words, '\0');
  std::memcpy(body.data(), words, sizeof words);
  return body;
}

}  // namespace cfc
