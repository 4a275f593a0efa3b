// Fabric: a named whole of shared files, as one process has them mapped.
//
// fabric.h has an example of the whole. No daemon stands behind it: every process that maps the
// files can send, receive and repair.
//
// Ownership: participants and agents refer to their Fabric, which outlives them. Destroying the
// object unmaps; Destroy() removes the files.
// Threads: any number may share one Fabric; each has a Participant of its own.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "clock.h"
#include "doorbell.h"
#include "layout.h"
#include "lease.h"
#include "mail.h"
#include "metrics.h"
#include "region.h"
#include "room.h"
#include "slab.h"
#include "status.h"
#include "topic_store.h"
#include "words.h"

namespace cfc {

struct FabricOptions {
  uint32_t max_agents = 2048;        // names at a time; the table has twice as many entries
  uint32_t max_participants = 4096;  // processes and threads at a time
  uint32_t mailbox_cells = 1024;     // work lane of an agent that asks for nothing else
  uint64_t mail_segment_bytes = 4u << 20;
  uint64_t slab_segment_bytes = 4u << 20;
  uint64_t slab_max_bytes = 256u << 20;    // of all bodies that exceed a cell
  uint64_t sender_slab_bytes = 64u << 20;  // of one sender's
  uint32_t histograms = 64;
  uint32_t max_topics = 64;
  uint32_t topic_cells = 1024;        // messages that a topic keeps
  uint32_t topic_subscribers = 2048;  // of one topic, at a time
  uint32_t attempt_limit = 5;         // deliveries before a message is a dead letter; 0: no limit
};

// What the reader of a lane remembers from one reclaim to the next.
struct ReclaimMemo {
  uint64_t known_tail = 0;  // the tail was seen there
  uint64_t last_ticks = 0;  // when somebody wanted room last
  uint32_t rung = 0;        // slot of the sender that was told of room last
  uint32_t unpassed = 0;    // cells that came free since, of which nobody was told
};

class Fabric {
 public:
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;
  ~Fabric();

  // base: directory that holds fabrics, DefaultBasePath() where empty.
  // kExists, kNoSpace (need_bytes, have_bytes), kForeign, kNotRegular, kInvalid, kSystem.
  static Status Create(std::string_view name, const std::string& base, const FabricOptions& options,
                       std::unique_ptr<Fabric>* out, Failure* failure);
  // kNoFabric, kForeign, kNotRegular, kCorrupt, kLayout, kInvalid, kSystem.
  static Status Open(std::string_view name, const std::string& base, std::unique_ptr<Fabric>* out,
                     Failure* failure);
  static Status OpenOrCreate(std::string_view name, const std::string& base,
                             const FabricOptions& options, std::unique_ptr<Fabric>* out,
                             Failure* failure);
  // Removes the files. Who has them mapped goes on, apart from everybody else. kNoFabric.
  static Status Destroy(std::string_view name, const std::string& base, Failure* failure);

  const std::string& name() const noexcept { return name_; }
  const Directory& directory() const noexcept { return directory_; }
  const FabricOptions& options() const noexcept { return options_; }
  const uint8_t* uuid() const noexcept { return control_.header().fabric_uuid; }
  uint64_t created_at_ms() const noexcept { return control_.header().created_at_ms; }
  // kCorrupt (a file was truncated under its mapping, and somebody here met that), kRemoved, kOk.
  Status Check() const noexcept;
  // The first half of Check, without a system call.
  bool Lost() const noexcept;
  uint64_t SharedBytes() const noexcept;
  // What a new fabric takes, before its first mailbox and its first large body.
  static uint64_t BytesOfNew(const FabricOptions& options) noexcept;

  // ---- parts, for the other classes of the core

  uint32_t slots() const noexcept { return options_.max_participants; }
  // slot: 1 to slots(). Range-checked: out of range answers null.
  Slot* SlotAt(uint32_t slot) const noexcept;
  ControlWords& words() const noexcept { return *words_; }
  Wants& wants() noexcept { return wants_; }
  Entry* entries() const noexcept { return entries_; }
  uint32_t entry_count() const noexcept { return entry_count_; }
  MailStore& mail() noexcept { return mail_; }
  Slab& slab() noexcept { return slab_; }
  TopicStore& topics() noexcept { return topics_; }
  Metrics& metrics() noexcept { return metrics_; }

  // True when `owner` is proven gone: its slot was reissued or reaped, or the kernel dropped its
  // lease. Doubt is no proof.
  bool ProvenDead(Owner owner) noexcept;
  // The same for the holder of an agent.
  bool HolderDead(uint64_t holder) noexcept;
  // The same, for whoever asks about many.
  bool HolderDead(uint64_t holder, LeaseSurvey* leases) noexcept;

  // Wakes the participant behind `slot` if it is parked. Returns whether this woke it.
  bool Ring(uint32_t slot) noexcept;
  // The slot of a reader with that uid, which waits for answers; 0: there is none.
  uint32_t AskerSlot(const MailboxView& view, uint64_t uid) const noexcept;
  // Wakes one parked reader of the mailbox other than `except`. Returns whether there was one.
  bool RingReaders(const MailboxView& view, Owner except) noexcept;
  // The same of those behind `me` in the list, who leaves what there is to others. Those before it
  // were asked by whoever rang us, and look before they park.
  void RingReadersBehind(const MailboxView& view, Owner me) noexcept;
  // After the head of a lane moved: wakes as many waiting senders as cells came free.
  void PassRoom(const MailboxView& view, uint32_t lane, uint32_t cells) noexcept;
  // Frees what is done at the head, with the chunks behind it, and wakes who waits for room.
  uint32_t Reclaim(const MailboxView& view, uint32_t lane) noexcept;
  // The same by its reader, who does it again and again.
  uint32_t Reclaim(const MailboxView& view, uint32_t lane, ReclaimMemo* memo) noexcept;

  // The FIFO of a slot whose event loop sleeps on it, made at its first park. -1: errno says why.
  int OpenBell(uint32_t slot) noexcept;

 private:
  Fabric() = default;
  Status AttachFiles(Failure* failure);
  // Whether the slot is that holder's still; its process may be dead.
  bool HolderTakesPart(uint64_t holder) const noexcept;
  // Whether the sender in `slot` wants this lane and is awake, or was woken: it looks at the lane
  // after what we freed, and passes on what it leaves.
  bool SomebodyComes(const MailboxView& view, uint32_t lane, uint32_t slot) const noexcept;
  void WriteBell(uint32_t slot) noexcept;
  // Of the FIFO of that slot, where it was kept open; -1.
  int KeptBell(uint32_t slot) const noexcept;
  // False where it may not be kept open, or is already.
  bool KeepBell(uint32_t slot, int fd) noexcept;

  std::string name_;
  Directory directory_;
  Region control_;
  FabricOptions options_;
  ControlWords* words_ = nullptr;
  Slot* slots_ = nullptr;
  Entry* entries_ = nullptr;
  uint32_t entry_count_ = 0;
  Wants wants_;
  MailStore mail_;
  Slab slab_;
  TopicStore topics_;
  Metrics metrics_;
  // FIFOs that this process rang and keeps open, by slot: slot 32 | descriptor 32; 0: none here.
  static constexpr uint32_t kBellRows = 256;
  std::atomic<uint64_t> bells_[kBellRows] = {};
  std::atomic<uint32_t> open_bells_{0};
};

}  // namespace cfc
