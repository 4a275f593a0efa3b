// Damage: a small fabric whose files are damaged in every way, used, and put right again.
// The fuzzers in native/fuzz do that with inputs of their own, damage_test.cc with numbered ones.
//
// The fabric is made once: two names with mail of every shape, one process that died with its hand
// on everything. Its files are then mapped here, apart from the core, and kept as they were. An
// input is a list of changes of eight bytes each.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/agent.h"
#include "core/clock.h"
#include "core/dead_letters.h"
#include "core/fabric.h"
#include "core/group.h"
#include "core/lifecycle.h"
#include "core/participant.h"
#include "core/reaper.h"
#include "core/seen_keys.h"
#include "core/topic.h"
#include "core/topic_peers.h"
#include "core/topic_tail.h"
#include "core/trace.h"

namespace cfc::damage {

inline void Must(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "damage: %s\n", what);
  std::abort();
}

// One change, as eight bytes of an input say it.
struct Change {
  uint8_t file;
  uint8_t how;
  uint16_t at;
  uint32_t value;
};
static_assert(sizeof(Change) == 8);

constexpr uint64_t kStrangeValues[] = {0,
                                       1,
                                       ~uint64_t{0},
                                       uint64_t{1} << 63,
                                       0x7fff'ffff,
                                       0xffff'ffff,
                                       0x8000'0000'0000'0001,
                                       0x0001'0000'0001,
                                       0xffff'ffff'0000'0000,
                                       0x0000'ffff'ffff'ff06,
                                       0x5555'5555'5555'5555};

const uint64_t kInAnHourMs = static_cast<uint64_t>(MonotonicNs() / 1'000'000) + 3'600'000;

class World {
 public:
  // base: a directory for fabrics, which outlives this.
  explicit World(const std::string& base) : base_(base) {
    Make();
    MapFiles();
  }

  const std::string& base() const { return base_; }

  // Everything as it was made.
  void Restore() {
    for (File& file : files_) {
      if (file.truncated) {
        Must(ftruncate(file.fd, static_cast<off_t>(file.bytes)) == 0, "ftruncate");
        file.truncated = false;
      }
      std::memcpy(file.mapped, file.whole.data(), file.whole.size());
    }
    for (const char* kind : {"mail", "slab", "topic"}) {  // what the last input made it grow by
      for (uint32_t i = kind[0] == 'm' ? mails_ : kind[0] == 's' ? slabs_ : topics_;; ++i) {
        char name[32];
        std::snprintf(name, sizeof name, "%s.%03u", kind, i);
        if (unlinkat(directory_, name, 0) != 0) break;
      }
    }
  }

  // Damages the files. atomically: while others look on.
  void Apply(const Change& change) {
    File& file = files_[change.file % files_.size()];
    if (file.truncated) return;
    const size_t words = file.whole.size() / 8;
    // Two thirds of the places are words that say something; the rest may be anywhere.
    const size_t index = change.how & 0x80 || file.telling.empty()
                             ? change.at % words
                             : file.telling[change.at % file.telling.size()];
    auto* const word = reinterpret_cast<std::atomic<uint64_t>*>(file.mapped) + index;
    const uint64_t old = word->load(std::memory_order_relaxed);
    uint64_t now = old;
    switch (change.how & 7) {
      case 0:
        now = kStrangeValues[change.value % std::size(kStrangeValues)];
        break;
      case 1:
        now = old ^ uint64_t { 1 } << (change.value & 63);
        break;
      case 2:
        now = old + static_cast<uint64_t>(static_cast<int64_t>(static_cast<int8_t>(change.value)));
        break;
      case 3:
        now = (old & ~uint64_t{0xffff'ffff}) | change.value;
        break;
      case 4:
        now = (old & 0xffff'ffff) | uint64_t{change.value} << 32;
        break;
      case 5: {  // what stands elsewhere in that file
        const size_t from = file.telling.empty() ? 0 : change.value % file.telling.size();
        now = reinterpret_cast<std::atomic<uint64_t>*>(file.mapped)[file.telling[from]].load(
            std::memory_order_relaxed);
        break;
      }
      case 6:
        now = (old & ~uint64_t{15}) | (change.value & 15);  // another kind
        break;
      default:
        if ((change.how & 0x78) == 0x78) {
          Must(ftruncate(file.fd, static_cast<off_t>(change.value % file.bytes)) == 0, "ftruncate");
          file.truncated = true;
          return;
        }
        now = uint64_t{change.value} << 32 | change.value;
    }
    word->store(now, std::memory_order_relaxed);
  }

  // Word `index` of the file of that name.
  void SetWord(const std::string& name, size_t index, uint64_t value) {
    for (File& file : files_) {
      if (file.name == name) reinterpret_cast<std::atomic<uint64_t>*>(file.mapped)[index] = value;
    }
  }

  // So that damage to a header is not always found by its sum.
  void SignHeaders() {
    for (File& file : files_) {
      if (file.truncated) continue;
      auto* const header = reinterpret_cast<FileHeader*>(file.mapped);
      const auto* const bytes = reinterpret_cast<const uint8_t*>(header);
      uint64_t hash = 0xcbf2'9ce4'8422'2325;
      for (size_t i = 0; i < offsetof(FileHeader, checksum); ++i) {
        hash ^= bytes[i];
        hash *= 0x100'0000'01b3;
      }
      header->checksum = hash;
    }
  }

  // How a file is named in a Change: by the order of their names.
  size_t files() const { return files_.size(); }

  void Remove() {
    for (File& file : files_) {
      munmap(file.mapped, file.whole.size());
      close(file.fd);
    }
    close(directory_);
    (void)Fabric::Destroy("fuzz", base_, nullptr);
  }

 private:
  struct File {
    std::string name;
    int fd = -1;
    uint64_t bytes = 0;
    uint8_t* mapped = nullptr;
    std::vector<uint8_t> whole;     // as it was made; of a slab the front
    std::vector<uint32_t> telling;  // words that are not zero
    bool truncated = false;
  };

  static Route To(const char* name) {
    Route route;
    route.name = name;
    return route;
  }

  static void SendSome(Agent& agent, const char* to, int count) {
    Route route = To(to);
    const std::string small(100, 's');
    const std::string large(3000, 'l');
    for (int i = 0; i < count; ++i) {
      Outgoing message;
      message.body = i % 3 == 2 ? large : small;
      message.type = "job";
      message.lane = i % 4 == 3 ? kControlLane : kWorkLane;
      message.wants_receipt = i % 2 == 1;
      message.key = i % 3 == 1 ? HashKey(std::to_string(i)) : 0;
      message.expires_at_ms = i % 4 == 0 ? kInAnHourMs : 0;
      Must(agent.TrySend(&route, message, nullptr) == Status::kOk, "a send");
    }
  }

  // As many of the messages that wait as there are tries, each a dead letter at once.
  static void Bury(Agent& agent, int tries) {
    for (int i = 0; i < tries; ++i) {
      Delivery delivery;
      Must(agent.TryTake(TakeFilter::kAll, &delivery) == Status::kOk, "a take");
      Must(agent.Nack(delivery.token, 0, i % 2 ? "no use" : "") == Status::kOk, "a nack");
    }
  }

  void Make() {
    FabricOptions options;
    options.attempt_limit = 1;
    options.max_agents = 16;
    options.max_participants = 8;
    options.mailbox_cells = 16;
    options.mail_segment_bytes = 1u << 16;
    options.slab_segment_bytes = 1u << 19;
    options.slab_max_bytes = 2u << 20;
    options.histograms = 1;
    options.topic_cells = 32;
    options.topic_subscribers = 8;
    std::unique_ptr<Fabric> fabric;
    Must(Fabric::Create("fuzz", base_, options, &fabric, nullptr) == Status::kOk, "no fabric");
    {
      Participant first;
      Participant second;
      Agent alice;
      Agent bob;
      Must(first.Register(fabric.get(), nullptr) == Status::kOk, "no slot");
      Must(second.Register(fabric.get(), nullptr) == Status::kOk, "no slot");
      Must(alice.Join(&first, {.name = "alice", .role = "r", .team = "t"}, nullptr) == Status::kOk,
           "no agent");
      Must(bob.Join(&second, {.name = "bob"}, nullptr) == Status::kOk, "no agent");
      SendSome(alice, "bob", 7);
      SendSome(bob, "alice", 9);
      Bury(bob, 4);
      alice.Leave();
      bob.Leave();
    }
    const pid_t victim = fork();
    Must(victim >= 0, "no fork");
    if (victim == 0) Die();
    waitpid(victim, nullptr, 0);
  }

  // Without its parent's fabric, which it may not use.
  [[noreturn]] void Die() {
    static std::unique_ptr<Fabric> fabric;
    static Participant me;
    static Agent agent;
    uint64_t position = 0;
    ChunkRef chunk = 0;
    if (Fabric::Open("fuzz", base_, &fabric, nullptr) != Status::kOk ||
        me.Register(fabric.get(), nullptr) != Status::kOk ||
        agent.Join(&me, {.name = "victim"}, nullptr) != Status::kOk) {
      _exit(1);
    }
    SendSome(agent, "alice", 1);
    static Subscription reliable;
    static Subscription lossy;
    (void)reliable.Open(&agent, "news", {}, nullptr);
    (void)lossy.Open(&agent, "news", {.policy = TopicPolicy::kLossy}, nullptr);
    TopicRoute* route = nullptr;
    (void)agent.OpenTopic("news", &route, nullptr);
    const std::string large(3000, 'n');
    for (int i = 0; route && i < 5; ++i) {
      (void)agent.TryPublish(route, {.body = i % 2 ? "news" : std::string_view(large)}, nullptr);
    }
    uint64_t in_topic = 0;
    if (route) (void)route->view.log.TryClaim(me.owner(), AlwaysValid(), &in_topic);
    const MailboxView& box = agent.mailbox();
    MailboxView view = box;
    me.IntendToSend(PackLaneId(view.box, kWorkLane));
    (void)view.lanes[kWorkLane].TryClaim(me.owner(), AlwaysValid(), &position);
    (void)fabric->slab().Borrow(me.owner(), 3000, &chunk);
    fabric->slab().Place(me.owner(), chunk, PackPlace(view.box, kWorkLane, position));
    fabric->wants().Announce(view.lanes[kControlLane].words()->room, me.owner(),
                             PackLaneId(view.box, kControlLane));
    uint32_t entry = 0;
    (void)AgentDirectory(fabric.get()).Claim(me.owner(), "half", &entry);
    raise(SIGKILL);
    _exit(1);
  }

  void MapFiles() {
    const std::string path = base_ + "/fuzz";
    directory_ = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    Must(directory_ >= 0, "no fabric");
    std::vector<std::string> names;
    DIR* const dir = opendir(path.c_str());
    while (const dirent* const entry = readdir(dir)) {
      const std::string name = entry->d_name;
      if (name == "control" || name == "metrics" || name.rfind("mail.", 0) == 0 ||
          name.rfind("slab.", 0) == 0 || name.rfind("topic.", 0) == 0) {
        names.push_back(name);
      }
    }
    closedir(dir);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      if (name[0] == 's') ++slabs_;
      if (name[0] == 't') ++topics_;
      if (name.rfind("mail.", 0) == 0) ++mails_;
      File file;
      file.name = name;
      file.fd = openat(directory_, name.c_str(), O_RDWR | O_CLOEXEC);
      struct stat info;
      Must(file.fd >= 0 && fstat(file.fd, &info) == 0, "no file");
      file.bytes = static_cast<uint64_t>(info.st_size);
      const size_t front = std::min<uint64_t>(file.bytes, 1u << 17);
      void* const mapped = mmap(nullptr, front, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
      Must(mapped != MAP_FAILED, "mmap");
      file.mapped = static_cast<uint8_t*>(mapped);
      file.whole.assign(file.mapped, file.mapped + front);
      for (size_t i = 0; i < front / 8; ++i) {
        uint64_t word;
        std::memcpy(&word, &file.whole[i * 8], 8);
        if (word != 0) file.telling.push_back(static_cast<uint32_t>(i));
      }
      files_.push_back(std::move(file));
    }
  }

  std::string base_;
  int directory_ = -1;
  uint32_t mails_ = 0;
  uint32_t slabs_ = 0;
  uint32_t topics_ = 0;
  std::vector<File> files_;
};

// The changes in an input, behind its first `skip` bytes.
inline std::vector<Change> ChangesOf(const uint8_t* data, size_t size, size_t skip) {
  std::vector<Change> changes;
  for (size_t at = skip; at + sizeof(Change) <= size && changes.size() < 64; at += sizeof(Change)) {
    Change change;
    std::memcpy(&change, data + at, sizeof change);
    changes.push_back(change);
  }
  return changes;
}

// Publishes to a topic, and reads what is there, as one who may fall behind and one who may not.
inline uint32_t UseTopic(Agent& agent, uint32_t steps) {
  uint32_t wrong = 0;
  const auto note = [&wrong](Status status) {
    if (status != Status::kOk && status != Status::kEmpty) ++wrong;
    return status == Status::kOk;
  };
  Subscription reliable;
  Subscription lossy;
  note(reliable.Open(&agent, "news", {.patience_ms = 1}, nullptr));
  note(lossy.Open(&agent, "news", {.policy = TopicPolicy::kLossy}, nullptr));
  TopicRoute* route = nullptr;
  if (!note(agent.OpenTopic("news", &route, nullptr))) return wrong;
  const std::string large(2000, 'x');
  TopicEvent event;
  std::string body;
  for (uint32_t i = 0; i < steps; ++i) {
    note(agent.TryPublish(route, {.body = i % 3 ? "x" : std::string_view(large)}, nullptr));
    if (i % 2 == 0) note(lossy.TryReceive(&event, &body));
    if (i % 4 == 3) note(reliable.TryReceive(&event, &body));
  }
  int64_t longest = kBackstopNs;
  (void)reliable.HasEvent(&longest);
  (void)lossy.HasEvent(nullptr);
  for (uint32_t i = 0; i < 40 && reliable.TryReceive(&event, &body) == Status::kOk; ++i) {
  }
  (void)CensusOfTopic(route->view);
  TopicTail tail;
  if (!tail.Begin(agent.participant().fabric(), "news")) return wrong + 1;
  Delivery message;
  for (uint32_t i = 0; i < 40; ++i) {
    if (!note(tail.Next(agent.participant().fabric(), &message, &body))) break;
  }
  return wrong + (tail.lost != 0 ? 1 : 0);
}

// Looks at the dead letters, and takes, drops and redrives some.
inline uint32_t UseDeadLetters(Agent& agent) {
  uint32_t wrong = 0;
  const auto note = [&wrong](Status status) {
    if (status != Status::kOk && status != Status::kEmpty) ++wrong;
    return status == Status::kOk;
  };
  Participant& me = agent.participant();
  DeadLetters letters(&me.fabric());
  for (uint64_t i = 0; i < 4; ++i) {
    DeadLetter letter;
    if (!note(letters.Peek(i, &letter))) continue;
    std::unique_ptr<char[]> body;
    note(letters.CopyBody(letter, &body));
    DeadLetter mine;
    MessageId sent;
    if (i == 0) {
      note(agent.Redrive(letter.message.id, &sent));
    } else if (note(letters.Take(&me, letter.message.id, &mine))) {
      note(letters.CopyBody(mine, &body));
      if (i == 1) {
        letters.GiveBack(&me, mine);
      } else {
        note(letters.Settle(&me, mine, kDropped));
      }
    }
  }
  return wrong;
}

// Everything that a program does with a fabric, once. Returns how often the core said that
// something was wrong.
inline uint32_t UseAgent(Fabric& fabric, const char* name, const char* other, uint32_t steps) {
  uint32_t wrong = 0;
  const auto note = [&wrong](Status status) {
    if (status != Status::kOk && status != Status::kEmpty) ++wrong;
    return status == Status::kOk;
  };
  Participant me;
  if (!note(me.Register(&fabric, nullptr))) return wrong;
  Agent agent;
  if (!note(agent.Join(&me, {.name = name}, nullptr))) return wrong;
  Route route;
  route.name = other;
  std::vector<char> body;
  Delivery delivery;
  LeaseToken last;
  for (uint32_t i = 0; i < steps; ++i) {
    if (note(agent.TryTake(i % 5 == 4 ? TakeFilter::kRepliesOnly : TakeFilter::kAll, &delivery))) {
      body.resize(delivery.body_bytes);
      note(agent.CopyBody(delivery, body.data()));
      if (i % 4 == 1) {
        note(agent.Nack(delivery.token, i % 8 == 1 ? 5 : 0));
      } else {
        last = delivery.token;
        Receipt handed;
        bool asked = false;
        if (i % 6 == 5) note(agent.Forward(last, &route, &handed, &asked));
        if (i % 4 == 2) note(agent.HandOver(&last));
        note(agent.Ack(last));
      }
    }
    Receipt receipt;
    VoidReason reason;
    const std::string text(i % 3 == 0 ? 2000 : 30, 'x');
    Outgoing message;
    message.body = text;
    message.type = "again";
    message.lane = i % 2 ? kControlLane : kWorkLane;
    message.when_full = i % 3 == 1 ? FullPolicy::kDropOldest : FullPolicy::kReject;
    message.wants_receipt = true;
    message.key = i % 4 == 0 ? HashKey("again") : 0;
    message.expires_at_ms = i % 5 == 0 ? 1 : i % 5 == 1 ? kInAnHourMs : 0;
    if (note(agent.TrySend(&route, message, &receipt))) (void)agent.Verdict(receipt, &reason);
    if (i == 3) {
      const Outgoing batch[3] = {message, message, message};
      uint32_t accepted = 0;
      note(agent.TrySendBatch(&route, batch, 3, nullptr, &accepted));
      agent.AnnounceRoom(&route, kWorkLane, false);
      (void)agent.HasRoom(&route, kWorkLane, 1);
      agent.WithdrawRoom(&route, kWorkLane);
    }
  }
  int64_t longest = kBackstopNs;
  (void)agent.HasMail(TakeFilter::kAll, &longest);
  (void)agent.ClearTheWay();
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    for (uint64_t nth = 0; nth < 3; ++nth) {
      CellKind kind;
      if (!note(agent.Peek(static_cast<LaneIndex>(lane), nth, &delivery, &kind))) break;
      body.resize(delivery.body_bytes);
      note(Agent::CopyPeeked(fabric, agent.mailbox(), delivery, body.data()));
    }
  }
  if (steps % 2 == 1) wrong += UseTopic(agent, 4 * steps);
  if (steps % 2 == 0) wrong += UseDeadLetters(agent);
  note(me.CheckLease());
  return wrong;
}

inline uint32_t UseTables(Fabric& fabric, Owner me) {
  uint32_t wrong = 0;
  AgentDirectory directory(&fabric);
  for (uint32_t i = 0; i < fabric.entry_count(); ++i) {
    AgentRecord record;
    if (directory.Read(i, &record) && directory.Find(record.Name(), &record) != Status::kOk) {
      ++wrong;
    }
    StateChange changes[kStateChanges];
    (void)ReadChanges(fabric.entries()[i], changes);
    char text[kStatusTextBytes];
    (void)ReadStatusText(fabric.entries()[i], text);
  }
  TraceReport sends[4];
  for (const char* sender : {"alice", "bob", ""}) (void)TraceSends(fabric, sender, sends, 4);
  for (uint64_t uid = 1; uid <= 3; ++uid) {
    for (uint64_t number = 1; number <= 8; ++number) {
      TraceReport report;
      if (TraceMessage(fabric, {uid, number}, &report) != Status::kOk) ++wrong;
    }
  }
  for (uint32_t kind = 0; kind < kGroupKinds; ++kind) {
    const Group group(&fabric, static_cast<GroupKind>(kind), kind == 1 ? "t" : "r", kind);
    AgentRecord record;
    group.ForEach([](const AgentRecord&) {});
    (void)group.LeastLoaded(kWorkLane, kind % 2 == 0, kind, &record);
  }
  Metrics& metrics = fabric.metrics();
  double values[kBlockValues];
  uint64_t uid;
  MetricInfo info;
  Histogram histogram;
  for (uint32_t i = 0; i < metrics.blocks(); ++i) {
    if (metrics.ReadBlock(i, values, &uid)) (void)metrics.ReadHistogram(i, 3, &histogram);
  }
  for (uint32_t i = 0; i < metrics.Count(); ++i) wrong += metrics.Describe(i, &info) ? 0 : 1;
  uint32_t index = 0;
  if (metrics.Register(
          me, "fuzz.more", "ms", MetricKind::kHistogram, [](Owner) { return true; }, &index) !=
      Status::kOk) {
    ++wrong;
  }
  (void)metrics.Census();
  fabric.mail().ForEach([&](const MailboxView& view) {
    for (const Lane& lane : view.lanes) (void)lane.Census();
    for (uint32_t lane = 0; lane < kLanes; ++lane) fabric.Reclaim(view, lane);
  });
  (void)fabric.slab().Census();
  return wrong;
}

}  // namespace cfc::damage
