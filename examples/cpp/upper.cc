// An agent in C++: receives text, sends it back in capitals, acks. Ends at a message of type
// `stop`.
//
//   upper FABRIC DIRECTORY
//
// It joins as `upper`. Whoever sends to it may be a Node program, a shell verb or another one of
// these: all of them speak through the same shared memory.
#include <cfc/fabric.h>

#include <cctype>
#include <cstdio>
#include <memory>
#include <string>

namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

int Fail(const char* what, cfc::Status status, const cfc::Failure& failure = {}) {
  std::fprintf(stderr, "upper: %s: %s %s %s\n", what, cfc::StatusText(status), failure.path,
               failure.detail);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: upper FABRIC DIRECTORY\n");
    return 2;
  }
  cfc::Failure failure;
  std::unique_ptr<cfc::Fabric> fabric;
  cfc::Status status = cfc::Fabric::Open(argv[1], argv[2], &fabric, &failure);
  if (status != cfc::Status::kOk) return Fail("open", status, failure);

  cfc::Participant me;
  status = me.Register(fabric.get(), &failure);
  if (status != cfc::Status::kOk) return Fail("register", status, failure);
  cfc::Agent agent;
  status = agent.Join(&me, {.name = "upper", .role = "worker"}, &failure);
  if (status != cfc::Status::kOk) return Fail("join", status, failure);

  for (bool running = true; running;) {
    cfc::Delivery delivery;
    status = agent.Receive(&delivery, cfc::Deadline::After(30 * kSecondNs));
    if (status != cfc::Status::kOk) return Fail("receive", status);

    std::string text(delivery.body_bytes, '\0');
    status = agent.CopyBody(delivery, text.data());
    if (status == cfc::Status::kLeaseLost) continue;  // somebody else has it by now
    if (status != cfc::Status::kOk) return Fail("copy", status);
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));

    // Sent before the ack: if we die in between, the message comes again, and nothing is lost.
    status = agent.Send(delivery.From(), {.body = text, .kind = cfc::BodyKind::kText},
                        cfc::Deadline::After(5 * kSecondNs));
    if (status != cfc::Status::kOk) return Fail("send", status);
    running = delivery.Type() != "stop";
    status = agent.Ack(delivery.token);
    if (status != cfc::Status::kOk) return Fail("ack", status);
  }
  agent.Leave();
  return 0;
}
