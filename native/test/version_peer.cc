// version_peer: an agent that answers, built against a core of another layout version.
//
//   version_peer create BASE             makes the fabric "versions"
//   version_peer serve BASE NAME COUNT   answers COUNT questions, then holds on to the next message
//
// Prints a line of JSON when it is ready, or when it is refused; exit code 3 then.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "core/agent.h"
#include "core/fabric.h"
#include "core/participant.h"

namespace cfc {
namespace {

constexpr int64_t kPatienceNs = 60'000'000'000;

int Refused(Status status, const Failure& failure) {
  std::printf("{\"refused\":\"%s\",\"detail\":\"%s\"}\n", StatusText(status), failure.detail);
  return 3;
}

int Serve(Fabric* fabric, const char* name, int count) {
  Participant me;
  Agent agent;
  Failure failure;
  AgentSpec spec;
  spec.name = name;
  Status status = me.Register(fabric, &failure);
  if (status == Status::kOk) status = agent.Join(&me, spec, &failure);
  if (status != Status::kOk) return Refused(status, failure);
  std::printf("{\"ready\":\"%u.%u\"}\n", kLayoutMajor, kLayoutMinor);
  std::fflush(stdout);
  Delivery question;
  for (int answered = 0;;) {
    status = agent.Receive(&question, Deadline::After(kPatienceNs));
    if (status != Status::kOk) return Refused(status, failure);
    if (answered == count) break;
    std::string body(question.body_bytes, '\0');
    status = agent.CopyBody(question, body.data());
    if (status != Status::kOk) return Refused(status, failure);
    Outgoing answer;
    body += "!";
    answer.body = body;
    answer.kind = question.kind;
    answer.flags = kFlagReply;
    answer.correlation = question.id;
    status = agent.Send(question.From(), answer, Deadline::After(kPatienceNs));
    if (status != Status::kOk) return Refused(status, failure);
    agent.Ack(question.token);
    ++answered;
  }
  std::printf("{\"holds\":true}\n");
  std::fflush(stdout);
  for (;;) pause();
}

int Main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (!(what == "create" && argc == 3) && !(what == "serve" && argc == 5)) {
    std::fprintf(stderr, "usage: version_peer create BASE | serve BASE NAME COUNT\n");
    return 2;
  }
  std::unique_ptr<Fabric> fabric;
  Failure failure;
  FabricOptions options;
  options.max_agents = 64;
  options.max_participants = 64;
  const Status status = what == "create"
                            ? Fabric::Create("versions", argv[2], options, &fabric, &failure)
                            : Fabric::Open("versions", argv[2], &fabric, &failure);
  if (status != Status::kOk) return Refused(status, failure);
  return what == "create" ? 0 : Serve(fabric.get(), argv[3], std::atoi(argv[4]));
}

}  // namespace
}  // namespace cfc

int main(int argc, char** argv) { return cfc::Main(argc, argv); }
