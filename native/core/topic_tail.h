// TopicTail: reads a topic without subscribing, from any position that is still there.
//
// For who looks on: it stores nothing, holds nobody up and needs no row. What was overwritten
// before it came by is counted, exactly, as for a subscriber: positions less those that carried no
// message. So a position and a count, kept somewhere, are all that is needed to go on after a
// death.
//
// Threads: any number, each with its own.
#pragma once

#include <cstdint>
#include <string>

#include "agent.h"
#include "fabric_files.h"
#include "topic_store.h"

namespace cfc {

struct TopicTail {
  TopicView topic;
  uint64_t position = 0;  // of what is read next
  uint32_t aborted = 0;   // positions before it that carried no message, modulo 2^32
  uint64_t lost = 0;      // messages that were overwritten, since this object began

  // At the oldest message that is left. False where there is no such topic, or its head moved all
  // the time.
  bool Begin(Fabric& fabric, std::string_view name) noexcept;
  // Where an earlier one ended. False as above, or where it was another topic's.
  bool Resume(Fabric& fabric, std::string_view name, uint64_t position, uint32_t aborted) noexcept;

  // kOk; kEmpty: nothing (more) to be read now; kBusy: what stands next changes all the time.
  Status Next(Fabric& fabric, Delivery* message, std::string* body) noexcept;

 private:
  bool Find(Fabric& fabric, std::string_view name) noexcept;
  bool Skip() noexcept;
};

}  // namespace cfc
