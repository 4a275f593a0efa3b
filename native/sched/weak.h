// Weak: what a load may return where memory is not sequentially consistent.
//
// The C++20 model, operationally and without promises (sb and rf together have no cycle). Each word
// keeps the history of its stores in modification order. A thread knows, of each word, the newest
// store that it has seen or that happened before; it may load that one or any newer one. A release
// store hands on what its thread knows, an acquire load takes that over; a read-modify-write reads
// the newest store, and goes on with the release sequence. A store that is not seq_cst may be put
// anywhere after what its thread knows of that word.
//
// seq_cst accesses have a partial order S of their own: happens-before, modification order,
// reads-before. A load that would close a cycle in it is not offered. So two seq_cst accesses give
// no more than the standard does: in particular a relaxed load before a seq_cst one may still
// return something newer than what the latter saw, as on ARM. (S holds all of happens-before, as
// in C++17 and on all processors but POWER.)
//
// Left out: load buffering (promises), spurious failures of weak swaps, stand-alone fences.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace cfc::sched {

constexpr uint32_t kMostLocations = 64;
constexpr uint32_t kMostOrdered = 256;  // seq_cst accesses of one run

[[noreturn]] inline void OutOf(const char* what) {
  std::fprintf(stderr, "sched: the scenario needs more %s\n", what);
  std::abort();
}

constexpr bool Acquires(std::memory_order order) {
  return order != std::memory_order_relaxed && order != std::memory_order_release;
}
constexpr bool Releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

// A set of seq_cst accesses.
struct Ordered {
  std::array<uint64_t, kMostOrdered / 64> bits = {};

  bool Has(uint32_t event) const { return bits[event / 64] >> (event % 64) & 1; }
  void Add(uint32_t event) { bits[event / 64] |= uint64_t{1} << (event % 64); }
  void Join(const Ordered& other) {
    for (size_t i = 0; i < bits.size(); ++i) bits[i] |= other.bits[i];
  }
  template <class Each>
  void ForEach(Each&& each) const {
    for (size_t i = 0; i < bits.size(); ++i) {
      for (uint64_t left = bits[i]; left != 0; left &= left - 1) {
        each(static_cast<uint32_t>(i * 64 + static_cast<uint32_t>(__builtin_ctzll(left))));
      }
    }
  }
};

// What a thread knows, or a store hands on.
struct Knowledge {
  std::array<uint32_t, kMostLocations> seen = {};  // time of the newest store, by location
  Ordered ordered;                                 // seq_cst accesses that happened before

  void Join(const Knowledge& other) {
    for (size_t i = 0; i < seen.size(); ++i) {
      if (other.seen[i] > seen[i]) seen[i] = other.seen[i];
    }
    ordered.Join(other.ordered);
  }
};

constexpr uint32_t kUnordered = ~0u;

struct Store {
  uint64_t value = 0;
  uint32_t time = 0;              // place in modification order; neighbours of a swap have no gap
  uint32_t id = 0;                // who made it, and as its how-many-th access; 0: before all
  uint32_t ordered = kUnordered;  // as a seq_cst access
  Knowledge handed_on;
};

class WeakMemory {
 public:
  void Reset() {
    for (uint32_t i = 0; i < locations_used_; ++i) locations_[i].Reset();
    locations_used_ = 0;
    ordered_used_ = 0;
  }

  uint32_t NewLocation(uint64_t value) {
    if (locations_used_ == kMostLocations) OutOf("locations");
    Location& location = locations_[locations_used_];
    location.stores.resize(1);
    location.stores[0] = Store();
    location.stores[0].value = value;
    return locations_used_++;
  }
  uint64_t Newest(uint32_t at) const { return locations_[at].stores.back().value; }
  uint32_t NewestId(uint32_t at) const { return locations_[at].stores.back().id; }
  const Store& At(uint32_t at, size_t index) const { return locations_[at].stores[index]; }

  // Fills `choices` with the indexes of stores that a load may return, the newest first.
  // without: no store of that value but the newest (a swap that fails).
  void Loadable(uint32_t at, const Knowledge& knows, std::memory_order order,
                std::vector<uint32_t>* choices, const uint64_t* without) const {
    const auto& stores = locations_[at].stores;
    choices->clear();
    for (size_t i = stores.size(); i-- > 0 && stores[i].time >= knows.seen[at];) {
      const bool newest = i + 1 == stores.size();
      if (!newest && without && stores[i].value == *without) continue;
      if (!newest && order == std::memory_order_seq_cst && ClosesCycle(at, i, knows)) continue;
      choices->push_back(static_cast<uint32_t>(i));
    }
  }

  uint64_t Load(uint32_t at, size_t index, std::memory_order order, Knowledge* knows) {
    Location& location = locations_[at];
    const Store& store = location.stores[index];
    if (store.time > knows->seen[at]) knows->seen[at] = store.time;
    if (Acquires(order)) knows->Join(store.handed_on);
    if (order == std::memory_order_seq_cst) {
      const uint32_t event = NewOrdered(Before(at, index, *knows));
      const uint32_t next = NextOrdered(at, index);
      if (next != kUnordered) AddEdge(event, next);
      location.loads.Add(event);
      knows->ordered.Add(event);
    }
    return store.value;
  }

  // Fills `choices` with the indexes at which a store may be put in modification order.
  void Storable(uint32_t at, const Knowledge& knows, std::memory_order order,
                std::vector<uint32_t>* choices) const {
    const auto& stores = locations_[at].stores;
    choices->assign(1, static_cast<uint32_t>(stores.size()));
    if (order == std::memory_order_seq_cst) return;
    for (size_t i = stores.size(); i-- > 1 && stores[i].time > knows.seen[at];) {
      if (stores[i].time - stores[i - 1].time >= 2) choices->push_back(static_cast<uint32_t>(i));
    }
  }

  void Put(uint32_t at, size_t index, uint64_t value, uint32_t id, std::memory_order order,
           Knowledge* knows) {
    Location& location = locations_[at];
    const uint32_t before = location.stores[index - 1].time;
    const uint32_t time = index == location.stores.size()
                              ? before + kGap
                              : before + (location.stores[index].time - before) / 2;
    Insert(at, index, value, time, id, order, knows, nullptr);
  }

  // A read-modify-write of the newest store.
  void Swap(uint32_t at, uint64_t value, uint32_t id, std::memory_order order, Knowledge* knows) {
    const size_t index = locations_[at].stores.size();
    const Knowledge read = locations_[at].stores[index - 1].handed_on;
    if (Acquires(order)) knows->Join(read);
    Insert(at, index, value, locations_[at].stores[index - 1].time + 1, id, order, knows, &read);
  }

 private:
  static constexpr uint32_t kGap = 1 << 12;

  struct Location {
    std::vector<Store> stores;
    Ordered loads;  // seq_cst

    void Reset() {
      stores.clear();
      loads = Ordered();
    }
  };

  void Insert(uint32_t at, size_t index, uint64_t value, uint32_t time, uint32_t id,
              std::memory_order order, Knowledge* knows, const Knowledge* continued) {
    Location& location = locations_[at];
    Store store;
    store.value = value;
    store.time = time;
    store.id = id;
    knows->seen[at] = time;
    if (order == std::memory_order_seq_cst) {
      Ordered before = Before(at, index - 1, *knows);
      before.Join(location.loads);
      location.loads.ForEach([&](uint32_t load) { before.Join(before_[load]); });
      store.ordered = NewOrdered(before);
      knows->ordered.Add(store.ordered);
    }
    if (Releases(order)) store.handed_on = *knows;
    if (continued) store.handed_on.Join(*continued);
    store.handed_on.seen[at] = time;
    location.stores.insert(location.stores.begin() + static_cast<std::ptrdiff_t>(index), store);
  }

  // All that S puts before an access that comes after store `index`, by one who knows this much.
  Ordered Before(uint32_t at, size_t index, const Knowledge& knows) const {
    Ordered before = knows.ordered;
    const auto& stores = locations_[at].stores;
    for (size_t i = index + 1; i-- > 0;) {
      if (stores[i].ordered == kUnordered) continue;
      before.Add(stores[i].ordered);
      break;
    }
    const Ordered direct = before;
    direct.ForEach([&](uint32_t event) { before.Join(before_[event]); });
    return before;
  }
  uint32_t NextOrdered(uint32_t at, size_t index) const {
    const auto& stores = locations_[at].stores;
    for (size_t i = index + 1; i < stores.size(); ++i) {
      if (stores[i].ordered != kUnordered) return stores[i].ordered;
    }
    return kUnordered;
  }
  bool ClosesCycle(uint32_t at, size_t index, const Knowledge& knows) const {
    const uint32_t next = NextOrdered(at, index);
    if (next == kUnordered) return false;
    Knowledge then = knows;
    then.ordered.Join(locations_[at].stores[index].handed_on.ordered);
    return Before(at, index, then).Has(next);
  }
  uint32_t NewOrdered(const Ordered& before) {
    if (ordered_used_ == kMostOrdered) OutOf("seq_cst accesses");
    before_[ordered_used_] = before;
    return ordered_used_++;
  }
  // S puts `from` before `to`, and so before all that comes after `to`.
  void AddEdge(uint32_t from, uint32_t to) {
    Ordered add = before_[from];
    add.Add(from);
    for (uint32_t event = 0; event < ordered_used_; ++event) {
      if (event == to || before_[event].Has(to)) before_[event].Join(add);
    }
  }

  std::array<Location, kMostLocations> locations_;
  uint32_t locations_used_ = 0;
  std::array<Ordered, kMostOrdered> before_;  // transitively closed
  uint32_t ordered_used_ = 0;
};

}  // namespace cfc::sched
