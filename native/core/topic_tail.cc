#include "topic_tail.h"

namespace cfc {

bool TopicTail::Find(Fabric& fabric, std::string_view name) noexcept {
  bool found = false;
  fabric.topics().ForEach([&](const TopicView& view) {
    char text[kMaxNameBytes];
    if (found || name != std::string_view(text, TopicStore::NameOf(view, text))) return;
    topic = view;
    found = true;
  });
  return found;
}

bool TopicTail::Begin(Fabric& fabric, std::string_view name) noexcept {
  return Find(fabric, name) && topic.log.Passed(&position, &aborted);
}

bool TopicTail::Resume(Fabric& fabric, std::string_view name, uint64_t from,
                       uint32_t holes) noexcept {
  if (!Find(fabric, name) || from > Position(topic.log.words()->tail.load())) return false;
  position = from;
  aborted = holes;
  return true;
}

// Past what was overwritten. False where the head does not say how much that is yet.
bool TopicTail::Skip() noexcept {
  uint64_t head = 0;
  uint32_t holes = 0;
  if (!topic.log.Passed(&head, &holes) || head <= position) return false;
  lost += static_cast<uint32_t>(head - position) - (holes - aborted);
  position = head;
  aborted = holes;
  return true;
}

Status TopicTail::Next(Fabric& fabric, Delivery* message, std::string* body) noexcept {
  for (uint32_t tries = 0; tries < 4 * topic.log.capacity() + 64; ++tries) {
    uint64_t word = 0;
    switch (topic.log.Look(position, &word)) {
      case TopicLog::Found::kNothing:
      case TopicLog::Found::kClaimed:
        return Status::kEmpty;
      case TopicLog::Found::kOvertaken:
        if (!Skip()) return Status::kEmpty;
        continue;
      case TopicLog::Found::kHole:
        ++position;
        ++aborted;
        continue;
      case TopicLog::Found::kRetired:
        ++position;
        ++lost;
        continue;
      case TopicLog::Found::kMessage:
        break;
    }
    const bool sound = Agent::ReadCell(topic.log.At(position), message);
    if (!topic.log.Stands(position, word)) continue;
    bool whole = sound;
    if (sound) {
      body->resize(message->body_bytes);
      if (message->BodyIsInline()) {
        body->assign(message->InlineBody());
      } else {
        whole = fabric.slab().Read(message->chunk, body->data(), message->body_bytes);
        if (!topic.log.Stands(position, word)) continue;
      }
    }
    ++position;
    if (whole) return Status::kOk;
    ++lost;  // garbage in the region: nobody can have it
  }
  return Status::kBusy;
}

}  // namespace cfc
