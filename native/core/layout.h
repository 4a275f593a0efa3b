// Layout: every size, offset and constant of the shared files, written once.
//
// docs/memory.md draws these bytes; a change here changes it in the same commit and bumps
// kLayoutMajor (incompatible) or kLayoutMinor (readers of the old one still work).
//
// The structures are templates over the memory they live in, so that the code that ships can
// also run on the memory of a checking scheduler.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cfc {

static_assert(sizeof(void*) == 8, "cfc needs a 64-bit platform");
static_assert(std::atomic<uint64_t>::is_always_lock_free, "cfc needs lock-free 64-bit atomics");
static_assert(std::atomic<uint32_t>::is_always_lock_free, "cfc needs lock-free 32-bit atomics");

struct NativeMemory {
  using Word = std::atomic<uint64_t>;
  using Half = std::atomic<uint32_t>;
};

constexpr uint64_t kMagic = 0x3130'6261'6663'6663;  // "cfcfab01", little-endian
constexpr uint16_t kLayoutMajor = 2;
constexpr uint16_t kLayoutMinor = 0;
constexpr uint32_t kByteOrderMark = 0x0102'0304;

// Words that different processes write lie this far apart: adjacent-line prefetch pulls pairs.
constexpr size_t kLineBytes = 128;
constexpr size_t kHeaderBytes = 4096;

enum class FileKind : uint32_t {
  kControl = 1,
  kMail = 2,
  kSlab = 3,
  kMetrics = 4,
  kLease = 5,
  kTopic = 6
};

// The head of every mapped file. Filled in before the file is published; `ready` is stored last.
struct FileHeader {
  uint64_t magic;
  uint32_t kind;  // FileKind
  uint16_t layout_major;
  uint16_t layout_minor;
  uint32_t compatible_features;
  uint32_t incompatible_features;
  uint64_t layout_hash;  // LayoutHash() of the writer
  uint32_t byte_order;
  uint32_t page_bytes;
  uint64_t file_bytes;
  uint8_t fabric_uuid[16];
  uint8_t boot_id[16];
  uint64_t created_at_ms;
  uint64_t geometry[8];  // meaning by kind, see the Geometry structures
  uint64_t checksum;     // HeaderChecksum() over everything above
  uint64_t ready;
};
static_assert(sizeof(FileHeader) == 168, "docs/memory.md draws these bytes");

// ---- names

constexpr size_t kMaxNameBytes = 64;

// ---- participants (control file)

constexpr uint32_t kLeaseFiles = 64;
constexpr uint32_t kMaxSlots = 65'534;  // slot 0 means nobody, 65,535 stays free
constexpr uint32_t kIntents = 8;
constexpr uint32_t kRoomClasses = 48;
constexpr uint64_t kSweepAll = ~uint64_t{0};                // an intent: more lanes than words
constexpr uint64_t kWantSeveral = (uint64_t{1} << 56) - 1;  // a want: several lanes at once

enum class SlotState : uint32_t { kFree = 0, kLive = 1, kReaping = 2 };

template <class Memory>
struct SlotOf {
  alignas(kLineBytes) typename Memory::Word word;  // SlotWord
  typename Memory::Word uid;                       // never used twice in a fabric
  typename Memory::Word pid;                       // for people; decides nothing
  typename Memory::Word start_time;                // clock ticks since boot, likewise
  typename Memory::Word agent_hint;                // 1 + index of the agent that it holds, 0: none
  alignas(kLineBytes) typename Memory::Half doorbell;
  alignas(kLineBytes) typename Memory::Word intents[kIntents];
  typename Memory::Word
      beat;  // monotonic ms of its event loop's last turn; 0: no loop, or it polls
  typename Memory::Word awaits;  // agents of it that wait for answers beside other readers
};
using Slot = SlotOf<NativeMemory>;
static_assert(sizeof(Slot) == 3 * kLineBytes, "docs/memory.md draws these bytes");

// ---- agents (control file)

constexpr uint32_t kStateChanges = 8;      // of an agent, the last ones
constexpr uint32_t kStatusTextBytes = 48;  // of what a program says of itself

enum class EntryKind : uint32_t { kFree = 0, kClaimed = 1, kLive = 2, kQuarantined = 3 };

template <class Memory>
struct EntryOf {
  alignas(kLineBytes) typename Memory::Word word;  // generation 16 | hash 20 | owner 24 | kind 4
  typename Memory::Word
      holder;  // uid 48 | slot 16 of the participant that it belongs to; 0: nobody
  typename Memory::Word mailbox;      // MailboxRef with generation
  typename Memory::Word incarnation;  // grows with each fence
  typename Memory::Word state;        // changes so far 56 | AgentState 8
  typename Memory::Word pid;
  typename Memory::Word joined_at_ms;
  typename Memory::Word progress_at_ms;  // last delivery, ack or beat, monotonic clock
  typename Memory::Word restarts;
  typename Memory::Word exit;     // life 32 | 1 + exit code 32; 0: none
  typename Memory::Word command;  // start time 40 | pid 24 of what the holder started; 0: none
  typename Memory::Word wanted;   // life 32 | grace, ms 28 | Wanted 4
  typename Memory::Word facts;    // AgentFact bits
  typename Memory::Word spare[3];
  typename Memory::Word name[kMaxNameBytes / 8];
  typename Memory::Word role[kMaxNameBytes / 8];
  typename Memory::Word team[kMaxNameBytes / 8];
  typename Memory::Word parent[kMaxNameBytes / 8];
  typename Memory::Word lengths;  // parent 8 | team 8 | role 8 | name 8, in the low half
  typename Memory::Word changes[kStateChanges];  // at, Unix ms 48 | count 8 | from 4 | to 4
  typename Memory::Word text_word;               // sequence 32 | bytes 32; odd: being written
  typename Memory::Word text[kStatusTextBytes / 8];
};
using Entry = EntryOf<NativeMemory>;
static_assert(sizeof(Entry) == 4 * kLineBytes, "docs/memory.md draws these bytes");

enum class AgentState : uint32_t {
  kSpawned = 0,
  kWorking = 1,
  kWaiting = 2,
  kPaused = 3,
  kComplete = 4,
  kFailed = 5
};

// What whoever may wants of an agent that a shim stands over.
enum class Wanted : uint32_t { kRun = 0, kPause = 1, kStop = 2, kKill = 3 };

enum AgentFact : uint64_t {
  kFactShim = 1,          // its holder started a command, and obeys `wanted`
  kFactReady = 2,         // it can take work
  kFactStopped = 4,       // the kernel told the shim that the command is stopped
  kFactOverdue = 8,       // its watchdog expired
  kFactGuests = 16,       // somebody joined by the token
  kFactAwaitsGuest = 32,  // that makes it ready
};

// ---- control file: header page, then these words, slots, wants, entries

template <class Memory>
struct ControlWordsOf {
  alignas(kLineBytes) typename Memory::Word next_uid;
  alignas(kLineBytes) typename Memory::Word slot_hint;
  alignas(kLineBytes) typename Memory::Word reaped_slots;  // since creation, for people
  typename Memory::Word swept_at_ms;   // monotonic; who moves it on does the sweep
  typename Memory::Word dead_letters;  // MailboxRef of the mailbox that keeps them, 0: none yet
  typename Memory::Half growth_turns;  // ended so far: who waits for a segment sleeps on it
};
using ControlWords = ControlWordsOf<NativeMemory>;

// ---- cells

constexpr size_t kCellBytes = 256;
constexpr size_t kCellWords = kCellBytes / 8;

// Index of each word in a cell. Words 1 to 11 are the header, the rest is inline payload: the
// sender's name, the type, then the body where it fits (else `kSlab` refers to it).
enum CellWord : uint32_t {
  kState = 0,
  kSenderUid = 1,
  kNumber = 2,    // with the uid: the message's id
  kSequence = 3,  // per sender, mailbox and lane, from 1, without gaps
  kSentAtNs = 4,  // real-time clock
  kCorrelationUid = 5,
  kCorrelationNumber = 6,
  kSlab = 7,       // ChunkRef of the first chunk, 0: inline
  kLengths = 8,    // body 32 | from 8 | type 8 | body kind 8 | flags 8
  kNotBefore = 9,  // lap 32 | monotonic ms 32, set by a nack with a delay; of another lap: none
  kExpiry = 10,    // monotonic ms; only with kFlagExpires
  kReceipt = 11,   // lap 32 | sender who waits for the ack 24 | 1 + VoidReason once settled 8
  kPayload = 12,
};
constexpr size_t kInlineBytes = (kCellWords - kPayload) * 8;
static_assert(kInlineBytes == 160);

template <class Memory>
struct CellOf {
  typename Memory::Word words[kCellWords];
};
using Cell = CellOf<NativeMemory>;
static_assert(sizeof(Cell) == kCellBytes, "docs/memory.md draws these bytes");

enum class BodyKind : uint8_t { kBytes = 0, kText = 1, kJson = 2 };
constexpr uint8_t kFlagReply = 1;  // answers the message that the correlation names
constexpr uint8_t kFlagAsks = 2;   // its sender waits for a reply
constexpr uint8_t kFlagExpires = 4;
constexpr uint8_t kFlagKeyed = 8;  // the payload begins with the hash of its key
constexpr uint32_t kHopShift = 4;  // the upper half of the flags: how often it was handed on
constexpr uint32_t kHopLimit = 16;

// ---- lanes and mailboxes (mail.NNN)

enum LaneIndex : uint32_t { kControlLane = 0, kWorkLane = 1, kLanes = 2 };
enum VoidReason : uint32_t { kAcked = 0, kAborted = 1, kDropped = 2, kDeadLettered = 3 };
constexpr uint32_t kVoidReasons = 3;  // kAborted to kDeadLettered

template <class Memory>
struct LaneWordsOf {
  alignas(kLineBytes) typename Memory::Word tail;  // top bit: closing
  alignas(kLineBytes) typename Memory::Word head;
  typename Memory::Word voids[kVoidReasons];       // position 32 | count 32, per reason
  typename Memory::Word stall;                     // 1 + position 32 | first seen, ms 32
  alignas(kLineBytes) typename Memory::Word room;  // epoch 16 | classes 48
};
using LaneWords = LaneWordsOf<NativeMemory>;
static_assert(sizeof(LaneWords) == 3 * kLineBytes, "docs/memory.md draws these bytes");

constexpr uint32_t kMaxReaders = 8;
enum class BoxKind : uint32_t { kFree = 0, kClaimed = 1, kOwned = 2 };

template <class Memory>
struct MailboxWordsOf {
  alignas(kLineBytes) typename Memory::Word word;  // generation 32 | owner 24 | kind 4
  typename Memory::Word agent;  // index of the directory entry that it was claimed for
  // Of the first box only, for its segment; both merely shorten a search.
  typename Memory::Word handed;  // boxes from the first on that were claimed at least once
  typename Memory::Word freed;   // 1 + index of the one freed last 32 | how many since claimed 32
  typename Memory::Word gate;    // not 0: only whose own mailbox has a gate too may send here
  typename Memory::Word keys;    // ChunkRef of the keys that were acked lately, 0: none yet
  typename Memory::Word keys_next;  // counts those that were noted
  // What the agent may send (allowance.h).
  typename Memory::Word rate;            // messages a second 32 | burst 32; 0: no limit
  typename Memory::Word bucket;          // monotonic ms 32 | thousandths of messages 32, signed
  typename Memory::Word quota_messages;  // 0: no limit
  typename Memory::Word quota_bytes;     // likewise
  typename Memory::Word sent_messages;   // of those
  typename Memory::Word sent_bytes;
  typename Memory::Word spare[3];
  alignas(kLineBytes) typename Memory::Word readers[kMaxReaders];  // owner 24 bits, 0: nobody
  LaneWordsOf<Memory> lanes[kLanes];
};
using MailboxWords = MailboxWordsOf<NativeMemory>;
static_assert(sizeof(MailboxWords) == 8 * kLineBytes, "docs/memory.md draws these bytes");

constexpr uint32_t kMaxSegments = 1000;  // mail.000 to mail.999
constexpr uint32_t kMaxLaneCells = 65'536;
constexpr uint32_t kMinLaneCells = 8;

// ---- topics (topic.NNN)

constexpr uint32_t kMaxTopics = 256;       // topic.000 to topic.255
constexpr uint32_t kTopicSegment = 0xfff;  // of the BoxId of a topic; mail segments end before it
constexpr uint32_t kRowGroups = 48;        // the sleepers' words: 16 bits of epoch, 48 of these
constexpr uint32_t kRowsPerGroup = 48;
constexpr uint32_t kMaxSubscribers = kRowGroups * kRowsPerGroup;  // of one topic
constexpr uint32_t kMinTopicCells = 8;

enum class RowKind : uint32_t {
  kFree = 0,
  kClaimed = 1,
  kJoining = 2,
  kReliable = 3,
  kLossy = 4,
  kLagged = 5
};

// A subscriber's.
template <class Memory>
struct RowOf {
  alignas(kLineBytes) typename Memory::Word word;  // generation 32 | owner 24 | kind 4
  typename Memory::Word cursor;       // generation 16 | position 48 of what it reads next
  typename Memory::Word start;        // position of the first that it is to get
  typename Memory::Word base;         // generation 31 | known 1 | positions aborted before start 32
  typename Memory::Word held;         // tail 32 | ms 32: since when it holds publishers up
  typename Memory::Word patience_ms;  // how long it may
  typename Memory::Word delivered;    // messages, for people
  typename Memory::Word lost;         // messages, likewise
  typename Memory::Word agent;        // 1 + index of its entry, likewise
};
using Row = RowOf<NativeMemory>;
static_assert(sizeof(Row) == 1 * kLineBytes, "docs/memory.md draws these bytes");

template <class Memory>
struct TopicWordsOf {
  LaneWordsOf<Memory> lane;                              // of the log
  alignas(kLineBytes) typename Memory::Word gate;        // nobody reliable reads before it
  typename Memory::Word rows_used;                       // rows beyond it were never taken
  alignas(kLineBytes) typename Memory::Word sleepers;    // epoch 16 | groups 48
  typename Memory::Word groups[kRowGroups];              // epoch 16 | rows 48
  alignas(kLineBytes) typename Memory::Word name_bytes;  // written before the file has a name
  typename Memory::Word name[kMaxNameBytes / 8];
};
using TopicWords = TopicWordsOf<NativeMemory>;
static_assert(sizeof(TopicWords) == 9 * kLineBytes, "docs/memory.md draws these bytes");

// ---- slab (slab.NNN)

constexpr uint32_t kChunkClasses = 5;
constexpr uint32_t kChunkBytes[kChunkClasses] = {1024, 4096, 16'384, 65'536, 262'144};
constexpr uint64_t kMaxBodyBytes = 16u << 20;
enum class ChunkKind : uint32_t { kFree = 0, kLoaned = 1, kPlaced = 2 };

template <class Memory>
struct ChunkOf {
  typename Memory::Word state;  // generation 32 | owner 24 | kind 4 (4 bits spare)
  typename Memory::Word place;  // mailbox 32 | lane 1 | position 31
  typename Memory::Word next;   // ChunkRef, 0: last
  typename Memory::Word spare;
};
using Chunk = ChunkOf<NativeMemory>;
static_assert(sizeof(Chunk) == 32, "docs/memory.md draws these bytes");

// ---- times

constexpr int64_t kBackstopNs = 5'000'000'000;  // the longest sleep without a look
constexpr int64_t kSuspectNs = 50'000'000;  // the longest while something unfinished is in the way
constexpr uint32_t kQuarantineMs = 250;     // how long a living owner may hold up the head
constexpr uint32_t kMaxAttempt = 14;        // four bits; the last value stays free

// FNV-1a over every size above: two builds that disagree refuse each other.
constexpr uint64_t LayoutHash() noexcept {
  const uint64_t sizes[] = {sizeof(FileHeader),
                            sizeof(Slot),
                            sizeof(Entry),
                            sizeof(ControlWords),
                            sizeof(Cell),
                            sizeof(LaneWords),
                            sizeof(MailboxWords),
                            sizeof(Chunk),
                            sizeof(Row),
                            sizeof(TopicWords),
                            kHeaderBytes,
                            kLineBytes,
                            kMaxNameBytes,
                            kLeaseFiles,
                            kIntents,
                            kRoomClasses,
                            kInlineBytes,
                            kMaxReaders,
                            kChunkClasses,
                            kChunkBytes[0],
                            kChunkBytes[4],
                            kPayload,
                            offsetof(MailboxWords, readers),
                            offsetof(MailboxWords, lanes),
                            offsetof(Slot, doorbell),
                            offsetof(Slot, intents),
                            offsetof(Entry, name),
                            offsetof(TopicWords, groups),
                            offsetof(TopicWords, name),
                            kRowsPerGroup};
  uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (const uint64_t size : sizes) {
    for (int byte = 0; byte < 8; ++byte) {
      hash ^= (size >> (8 * byte)) & 0xff;
      hash *= 0x100'0000'01b3;
    }
  }
  return hash;
}

}  // namespace cfc
