// What a fabric does for a topic, whoever asks: makes room, wakes, repairs.
//
// Threads: any. Death: at any step; whoever comes next goes on.
#pragma once

#include <cstdint>

#include "fabric_files.h"
#include "topic_store.h"

namespace cfc {

// What stands in the way of room.
struct TopicRoom {
  uint32_t freed = 0;       // cells
  uint64_t slab_bytes = 0;  // in chunks that came free with them
  uint32_t wait_ms = 0;     // where nothing came free: when to look again at the latest
};

// Frees cells at the head until `cells` of them and `slab_bytes` are free, as far as nobody
// reliable reads there. Dead subscribers and publishers in the way go at once, living ones when
// their time is up. me: who asks.
TopicRoom MakeTopicRoom(Fabric& fabric, const TopicView& topic, Owner me, uint32_t cells,
                        uint64_t slab_bytes) noexcept;
// Frees what every subscriber has read, lossy ones too, so that large bodies do not wait in the
// slab for the log to go around.
void ReleaseRead(Fabric& fabric, const TopicView& topic) noexcept;
// Whether a publish would find a cell.
bool TopicHasRoom(Fabric& fabric, const TopicView& topic) noexcept;

// After a publish: wakes every subscriber that sleeps.
void RingSubscribers(Fabric& fabric, const TopicView& topic) noexcept;
// After a reliable subscriber went on, or away: wakes publishers that wait for room.
void PassTopicRoom(Fabric& fabric, const TopicView& topic, uint64_t cells) noexcept;

// ---- repair

// The dead one's claims, whoever sleeps behind what it published, whoever waits for room.
uint32_t RepairTopicLog(Fabric& fabric, const TopicView& topic, Owner owner) noexcept;
// Its rows, in all topics.
uint32_t RepairTopicRows(Fabric& fabric, Owner owner) noexcept;

// What lies in a topic, counted; exact while nobody works on it.
struct TopicCensus {
  LaneCensus log;
  uint32_t rows_claimed = 0, rows_reliable = 0, rows_lossy = 0, rows_lagged = 0;
};
TopicCensus CensusOfTopic(const TopicView& topic) noexcept;

}  // namespace cfc
