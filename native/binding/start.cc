#include "start.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "convert.h"
#include "core/region.h"

namespace cfc::binding {
namespace {

constexpr int kReportFd = 3;  // of the child

// Children that nobody else in this process waits for: libuv asks for its own by number.
std::mutex children_lock;
std::set<pid_t> children;

class FileActions {
 public:
  FileActions() noexcept { posix_spawn_file_actions_init(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  void Move(int from, int to) noexcept { posix_spawn_file_actions_adddup2(&actions_, from, to); }
  const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// Node ignores SIGPIPE and may block signals: a child begins with neither.
class Attributes {
 public:
  Attributes() noexcept {
    posix_spawnattr_init(&attributes_);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  const posix_spawnattr_t* get() const noexcept { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

std::vector<std::string> ToTexts(const Napi::Value& value) {
  std::vector<std::string> texts;
  if (!value.IsArray()) return texts;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) texts.push_back(ToText(array.Get(i)));
  return texts;
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// start(program, [arguments], [environments]): {pids, readFd}
//
// pids: negative is an errno. The descriptor is the reading end of a pipe whose writing end every
// child has as its descriptor 3. Argument lists and environments are arrays of texts; an
// environment that is a number means that of an earlier child. Throws ThrowFailure's error where
// there is no pipe to be had.
Napi::Value Start(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string program = ToText(info[0]);
  const auto lists = info[1].As<Napi::Array>();
  const auto environments = info[2].As<Napi::Array>();
  Failure failure;
  int ends[2];
  const Descriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid() || pipe2(ends, O_CLOEXEC) != 0) {
    ThrowFailure(env, Fail(&failure, Status::kSystem, null.valid() ? "pipe2" : "open", program),
                 failure);
    return env.Undefined();
  }
  Descriptor reading(ends[0]);
  const Descriptor writing(ends[1]);
  // posix_spawn leaves a descriptor that is its own copy closed on exec: so never that one.
  const Descriptor report(fcntl(writing.get(), F_DUPFD_CLOEXEC, kReportFd + 1));
  const Descriptor quiet(fcntl(null.get(), F_DUPFD_CLOEXEC, kReportFd + 1));
  if (!report.valid() || !quiet.valid()) {
    ThrowFailure(env, Fail(&failure, Status::kSystem, "fcntl", program), failure);
    return env.Undefined();
  }
  FileActions actions;
  for (int fd = 0; fd < kReportFd; ++fd) actions.Move(quiet.get(), fd);
  actions.Move(report.get(), kReportFd);
  const Attributes attributes;

  Napi::Array pids = Napi::Array::New(env, lists.Length());
  std::vector<std::string> environment;
  std::vector<char*> environment_pointers;
  for (uint32_t i = 0; i < lists.Length(); ++i) {
    const std::vector<std::string> arguments = ToTexts(lists.Get(i));
    const Napi::Value its_environment = environments.Get(i);
    if (its_environment.IsArray()) {
      environment = ToTexts(its_environment);
      environment_pointers = Pointers(environment);
    }
    const std::vector<char*> pointers = Pointers(arguments);
    pid_t pid = 0;
    int error;
    {
      // Before it can be reaped, it is in the set.
      const std::lock_guard<std::mutex> lock(children_lock);
      error = posix_spawn(&pid, program.c_str(), actions.get(), attributes.get(), pointers.data(),
                          environment_pointers.data());
      if (error == 0) children.insert(pid);
    }
    pids.Set(i, error == 0 ? static_cast<double>(pid) : -static_cast<double>(error));
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("pids", pids);
  out.Set("readFd", reading.Release());
  return out;
}

// reap(): how many of the children still run
Napi::Value Reap(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(children_lock);
  for (auto child = children.begin(); child != children.end();) {
    const pid_t ended = waitpid(*child, nullptr, WNOHANG);
    child = ended == *child || (ended < 0 && errno == ECHILD) ? children.erase(child) : ++child;
  }
  return Napi::Number::New(info.Env(), static_cast<double>(children.size()));
}

}  // namespace

void DefineStartFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("startPrograms", Napi::Function::New<Start>(env));
  exports.Set("reapPrograms", Napi::Function::New<Reap>(env));
}

}  // namespace cfc::binding
