// TopicStore: the topics of a fabric, a file (topic.NNN) each, found by name.
//
// A file has its topic's name in it before it gets its own, and numbers are given in order. So who
// looks through all files from the first on and finds the name in none makes the next one; of two
// that do so at once one finds its number taken, and looks there. No name can have two files, and a
// death leaves a whole topic or none.
//
// Threads: any number share one TopicStore.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "layout.h"
#include "region.h"
#include "sleepers.h"
#include "status.h"
#include "topic_log.h"
#include "topic_rows.h"

namespace cfc {

// One topic as mapped here: pointers into its file, and its private geometry.
struct TopicView {
  TopicWords* words = nullptr;
  TopicLog log;
  TopicRows rows;
  BoxId box = 0;

  bool valid() const noexcept { return words != nullptr; }
  SleepersOf<NativeMemory> sleepers() const noexcept { return SleepersOf<NativeMemory>(words); }
};

// [A-Za-z0-9][A-Za-z0-9_.-]{0,63}
bool IsValidTopicName(std::string_view name) noexcept;

class TopicStore {
 public:
  TopicStore() noexcept = default;
  TopicStore(const TopicStore&) = delete;
  TopicStore& operator=(const TopicStore&) = delete;
  ~TopicStore();

  // directory and uuid outlive the store. cells, subscribers: of a new topic; most: how many
  // topics.
  void Open(const Directory* directory, const uint8_t* uuid, uint32_t cells, uint32_t subscribers,
            uint32_t most) noexcept;

  // The topic of that name; made where it is missing. kInvalid, kTopicsFull, kNoSpace, kSystem.
  Status FindOrMake(std::string_view name, TopicView* view, Failure* failure) noexcept;
  // False where there is no such topic (a damaged reference, or a file that is gone).
  bool View(BoxId box, TopicView* view) noexcept;
  // The name of a topic; at most kMaxNameBytes into `out`. Returns its length.
  static size_t NameOf(const TopicView& view, char out[kMaxNameBytes]) noexcept;

  // Calls visit(const TopicView&) for every topic.
  template <class Visit>
  void ForEach(Visit&& visit) noexcept {
    AttachAll();
    const uint32_t count = known_.load();
    for (uint32_t i = 0; i < count; ++i) {
      TopicView view;
      if (View(TopicBox(i), &view)) visit(view);
    }
  }
  uint32_t count() const noexcept { return known_.load(); }
  bool Lost() const noexcept;

  static uint32_t RoundCells(uint32_t cells) noexcept;
  static uint32_t RoundRows(uint32_t subscribers) noexcept;
  static uint64_t FileBytes(uint32_t cells, uint32_t rows) noexcept;

 private:
  struct File {
    Region region;
    uint32_t cells = 0;
    uint32_t rows = 0;
    char name[kMaxNameBytes] = {};
    uint32_t name_bytes = 0;
  };

  Status AttachFile(uint32_t index, Failure* failure) noexcept;
  void AttachAll() noexcept;
  void AttachAllLocked() noexcept;
  bool Search(std::string_view name, uint32_t from, uint32_t* index) const noexcept;
  Status Make(uint32_t index, std::string_view name, Failure* failure) noexcept;

  const Directory* directory_ = nullptr;
  const uint8_t* uuid_ = nullptr;
  uint32_t cells_ = 0;
  uint32_t rows_ = 0;
  uint32_t most_ = 0;
  std::atomic<uint32_t> known_{0};
  std::atomic<File*> files_[kMaxTopics] = {};
  std::mutex growing_;
};

}  // namespace cfc
