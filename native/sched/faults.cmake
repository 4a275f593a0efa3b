# The faults that the programs must catch. What each teaches stands in README.md.

# ---- weak memory

fault(copy-in-relaxed copy.h
  [[to.store(value, std::memory_order_release);]]
  [[to.store(value, std::memory_order_relaxed);]]
  "fenced-weak chunks-weak")
fault(copy-out-relaxed copy.h
  [[from.load(std::memory_order_acquire);]]
  [[from.load(std::memory_order_relaxed);]]
  "fenced-weak chunks-weak")
fault(commit-relaxed ring.h
  [[PackCell(lap, me, 0, CellKind::kReady))) {
      CFC_FAIL_POINT("commit.after");]]
  [[PackCell(lap, me, 0, CellKind::kReady), std::memory_order_relaxed)) {
      CFC_FAIL_POINT("commit.after");]]
  "exchange-weak in-order-weak")
fault(holds-anything ring.h
  [[return At(position).words[kState].load() == word;]]
  [[return At(position).words[kState].load(std::memory_order_relaxed) != 0;]]
  "fenced-weak fenced")
fault(ring-loads-relaxed doorbell.h
  [[    uint32_t seen = word_->load();
    while ((seen & kParked)]]
  [[    uint32_t seen = word_->load(std::memory_order_relaxed);
    while ((seen & kParked)]]
  "rings-weak ringer-dies-weak")
fault(scan-loads-acquire ring.h
  [[      Cell& cell = At(position);
      uint64_t word = cell.words[kState].load();]]
  [[      Cell& cell = At(position);
      uint64_t word = cell.words[kState].load(std::memory_order_acquire);]]
  "rings-weak ringer-dies-weak")
fault(room-asked-acquire room.h
  [[{ return room.load() & kRoomClassMask; }]]
  [[{ return room.load(std::memory_order_acquire) & kRoomClassMask; }]]
  "waits-for-room-weak room-maker-dies-weak")

# ---- swaps that became stores

fault(commit-stores ring.h
  [[    if (At(position).words[kState].compare_exchange_strong(
            word, PackCell(lap, me, 0, CellKind::kReady))) {]]
  [[    At(position).words[kState].store(PackCell(lap, me, 0, CellKind::kReady));
    if (word != 0) {]]
  "stalled")
fault(take-stores ring.h
  [[if (!cell.words[kState].compare_exchange_strong(word, lease)) {]]
  [[cell.words[kState].store(lease);
        if (false) {]]
  "gives-back")
fault(settle-stores ring.h
  [[    if (At(position).words[kState].compare_exchange_strong(
            seen, PackCell(CellLap(word), reason, CellAttempt(word), CellKind::kDone))) {]]
  [[    At(position).words[kState].store(
            PackCell(CellLap(word), reason, CellAttempt(word), CellKind::kDone));
    if (seen != 0) {]]
  "fenced")
fault(tail-stored lane_base.h
  [[if (words_->tail.compare_exchange_strong(tail, next)) return;]]
  [[words_->tail.store(next);
      return;]]
  "exchange in-order stalled")
fault(head-stored lane_upkeep.h
  [[if (words_->head.compare_exchange_strong(expected, head + 1)) ++freed;]]
  [[words_->head.store(expected + 1);
        ++freed;]]
  "counts stalled gives-back")
fault(free-stored lane_upkeep.h
  [[        CFC_FAIL_POINT("reclaim.slab");
        cell.words[kState].compare_exchange_strong(word, PackCell(lap + 1, 0, 0, CellKind::kFree));]]
  [[        CFC_FAIL_POINT("reclaim.slab");
        cell.words[kState].store(PackCell(lap + 1, 0, 0, CellKind::kFree));]]
  "counts stalled")
fault(class-stored room.h
  [[room.compare_exchange_strong(seen, NextEpoch(seen) | rest);]]
  [[room.store(NextEpoch(seen) | rest);]]
  "shares-room")

# ---- looks and steps left out, or in another order

fault(tail-not-helped lane_upkeep.h
  [[          HelpTail(head);
          *known_tail = Position(words_->tail.load());]]
  [[          *known_tail = Position(words_->tail.load());]]
  "sender-dies one-of-two-dies")
fault(skip-without-second-look ring.h
  [[if (skipped != kNobody && At(skipped).words[kState].load() != skipped_word) {]]
  [[if (false) {]]
  "in-order")
fault(two-claims-skipped ring.h
  [[if (skipped != kNobody) break;  // room for one: a stalled producer delays only itself]]
  [[if (skipped != kNobody) {  // passes over two
          ++i;
          continue;
        }]]
  "exchange-in-four")
fault(hole-keeps-its-lap lane_upkeep.h
  [[word, PackCell(lap + 1, CellOwner(word), 0, CellKind::kQuarantined));]]
  [[word, PackCell(lap, CellOwner(word), 0, CellKind::kQuarantined));]]
  "stalled")
fault(repeat-unmarked lane_base.h
  [[attempt < kMaxAttempt ? attempt + 1 : kMaxAttempt,]]
  [[attempt,]]
  "gives-back fenced")
fault(lap-forgotten lane_base.h
  [[return static_cast<uint32_t>(position >> shift_);]]
  [[return static_cast<uint32_t>(position >> shift_ & 0);]]
  "exchange fenced")
fault(rung-before-wake doorbell.h
  [[const uint32_t rung = seen + kEpochStep;]]
  [[const uint32_t rung = (seen + kEpochStep) | kRung;]]
  "ringer-dies")
fault(park-keeps-epoch doorbell.h
  [[parked = (seen & ~(kEpochStep - 1)) + kEpochStep + kParked + (in_loop ? kLoop : 0);]]
  [[parked = (seen & ~(kEpochStep - 1)) + kParked + (in_loop ? kLoop : 0);]]
  "rings ringer-dies")
fault(class-before-want room.h
  [[    Of(slot).store(PackWant(OwnerGeneration(me), lane));
    CFC_FAIL_POINT("room.want");
    uint64_t seen = room.load();
    while (!room.compare_exchange_weak(
        seen, NextEpoch(seen) | (seen & kRoomClassMask) | uint64_t{1} << ClassOf(slot))) {
    }]]
  [[    uint64_t seen = room.load();
    while (!room.compare_exchange_weak(
        seen, NextEpoch(seen) | (seen & kRoomClassMask) | uint64_t{1} << ClassOf(slot))) {
    }
    Of(slot).store(PackWant(OwnerGeneration(me), lane));]]
  "shares-room")
fault(drained-without-seal lane_upkeep.h
  [[    return tail == (head | kClosing) && CellKindOf(word) == CellKind::kSealed &&
           CellLap(word) == LapOf(head);]]
  [[    return tail == (head | kClosing) && (word | 1);]]
  "closes closes-weak")
fault(seal-over-anything lane_upkeep.h
  [[      if (ahead == 0 && CellKindOf(word) == CellKind::kFree) {
        if (cell.words[kState].compare_exchange_strong(
                word, PackCell(CellLap(word), 0, 0, CellKind::kSealed))) {]]
  [[      if (ahead == 0) {
        if (cell.words[kState].compare_exchange_strong(
                word, PackCell(CellLap(word), 0, 0, CellKind::kSealed))) {]]
  "closes")
