// TeamTask: one task for every worker of a team, answered once, when all of them have answered.
//
// Answers stay leased until the parent has accepted the whole: whatever a coordinator holds when it
// is killed comes to its successor, which asks again and takes the answers that are there.
//
// Threads: one, the only one of the process.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "core/agent.h"
#include "wire.h"

namespace cfc {

class TeamTask {
 public:
  // body: as the parent sent it, the index first. token: of the parent's message.
  TeamTask(LeaseToken token, uint32_t index, std::string body, size_t members)
      : token_(token), index_(index), body_(static_cast<std::string&&>(body)), members_(members) {}

  uint32_t index() const noexcept { return index_; }
  bool Complete() const noexcept { return answered_ == members_.size(); }
  bool Asked(size_t member) const noexcept { return members_[member].asked; }
  void MarkAsked(size_t member) noexcept { members_[member].asked = true; }

  // What one member gets: the parent's bytes, and which member it is.
  std::string BodyFor(size_t member) const {
    const auto number = static_cast<uint32_t>(member);
    std::string body = body_;
    body.append(reinterpret_cast<const char*>(&number), sizeof number);
    return body;
  }

  // Keeps an answer with its lease. False: this member has answered already.
  bool Take(size_t member, LeaseToken token, std::string_view body) {
    if (members_[member].answered) return false;
    members_[member].asked = members_[member].answered = true;
    ++answered_;
    tokens_.push_back(token);
    const auto bytes = static_cast<uint32_t>(body.size());
    answers_.append(reinterpret_cast<const char*>(&bytes), sizeof bytes).append(body);
    return true;
  }

  // The answer to the parent: a result whose stdout is every member's result, a length before each.
  std::string Answer(std::string_view name) const {
    ResultHeader header;
    header.task = index_;
    header.attempts = 1;
    return EncodeResult(header, name, answers_, "");
  }

  // Settles the answers and the task itself: the parent has the whole.
  void Ack(Agent* agent) {
    for (const LeaseToken& token : tokens_) agent->AckWithoutReclaim(token);
    agent->AckWithoutReclaim(token_);
    agent->Reclaim(kWorkLane);
  }

 private:
  struct Member {
    bool asked = false;
    bool answered = false;
  };

  LeaseToken token_;
  uint32_t index_;
  std::string body_;
  std::vector<Member> members_;
  size_t answered_ = 0;
  std::vector<LeaseToken> tokens_;
  std::string answers_;
};

}  // namespace cfc
