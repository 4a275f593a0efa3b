// Histogram: how often each size of a value came, in buckets that grow with the value.
//
// Log-linear: 64 equal buckets per power of two, from 2^-10 to 2^40, so a percentile is at most
// 1 / 128 = 0.8 % off; one more bucket for what is smaller (zero included) and one for what is
// larger, which answer with the least and the greatest value seen. Values are doubles, not negative
// and finite; others are dropped.
//
// A bucket is found by the value's own bits: exponent and top six bits of the fraction are its
// number. Counts are doubles too (exact up to 2^53), so that JavaScript records by plain stores
// into one Float64Array over the words below:
//
//   scratch[0] = value;                            // Float64Array(1), halves: Uint32Array over it
//   bucket = value < kMinValue ? 0
//          : value < kMaxValue ? (halves[1] >>> (20 - kSubBits)) - kFirstCode + 1
//          : kBuckets - 1;
//   if (value < words[kMinWord]) words[kMinWord] = value;
//   if (value > words[kMaxWord]) words[kMaxWord] = value;
//   words[kSumWord] += value;
//   words[kBucketWord + bucket] += 1;
//
// Threads: one writer, any number of readers in any process. What a reader sees while the writer
// goes on is no exact cut: each word is whole, but the last records may be in some words only.
// Hostile memory: a count that none could be counts as zero; every loop is over fixed bounds.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace cfc {

struct HistogramShape {
  static constexpr int kMinExponent = -10;
  static constexpr int kMaxExponent = 40;
  static constexpr uint32_t kSubBits = 6;

  static constexpr uint32_t kFractionBits = std::numeric_limits<double>::digits - 1;
  static constexpr uint32_t kShift = kFractionBits - kSubBits;
  static constexpr uint32_t kBias = std::numeric_limits<double>::max_exponent - 1;
  // What the bits of kMinValue are, shifted: the code of the first bucket that is not for zero.
  static constexpr uint32_t kFirstCode = (kBias + kMinExponent) << kSubBits;
  static constexpr uint32_t kBuckets = ((kMaxExponent - kMinExponent) << kSubBits) + 2;

  // The words of a histogram, in its storage.
  static constexpr uint32_t kSumWord = 0;
  static constexpr uint32_t kMinWord = 1;  // infinite while empty
  static constexpr uint32_t kMaxWord = 2;
  static constexpr uint32_t kBucketWord = 3;
  static constexpr uint32_t kWords = kBucketWord + kBuckets;

  static constexpr double kMinValue = std::bit_cast<double>(uint64_t{kFirstCode} << kShift);
  static constexpr double kMaxValue =
      std::bit_cast<double>(uint64_t{kFirstCode + kBuckets - 2} << kShift);

  // The lowest value of a bucket, neither the first nor beyond the last.
  static constexpr double BucketLow(uint32_t bucket) noexcept {
    return std::bit_cast<double>(uint64_t{kFirstCode + bucket - 1} << kShift);
  }
  // value: not negative.
  static constexpr uint32_t BucketOf(double value) noexcept {
    if (value < kMinValue) return 0;
    if (!(value < kMaxValue)) return kBuckets - 1;
    return static_cast<uint32_t>(std::bit_cast<uint64_t>(value) >> kShift) - kFirstCode + 1;
  }
};
static_assert(std::numeric_limits<double>::is_iec559 && HistogramShape::kFractionBits == 52);
static_assert(HistogramShape::kMinValue == 1.0 / 1024);
static_assert(HistogramShape::kMaxValue == 1024.0 * 1024 * 1024 * 1024);
static_assert(HistogramShape::BucketOf(HistogramShape::kMinValue) == 1);
static_assert(HistogramShape::BucketLow(HistogramShape::BucketOf(3.25)) == 3.25);
static_assert(HistogramShape::kBuckets == 3202, "docs/memory.md draws these words");

// Words that other processes read, or write: whoever has them may change them under us.
class SharedWords {
 public:
  SharedWords() noexcept = default;
  explicit SharedWords(std::atomic<uint64_t>* words) noexcept : words_(words) {}

  double Load(uint32_t index) const noexcept {
    return std::bit_cast<double>(words_[index].load(std::memory_order_acquire));
  }
  void Store(uint32_t index, double value) noexcept {
    words_[index].store(std::bit_cast<uint64_t>(value), std::memory_order_release);
  }

 private:
  std::atomic<uint64_t>* words_ = nullptr;
};

class PrivateWords {
 public:
  double Load(uint32_t index) const noexcept { return words_[index]; }
  void Store(uint32_t index, double value) noexcept { words_[index] = value; }

 private:
  std::array<double, HistogramShape::kWords> words_ = {};
};

// Storage: Load(index) and Store(index, double) of kWords words.
template <class Storage>
class HistogramOver : public HistogramShape {
 public:
  // Takes the words as they are: Reset() makes a histogram of them.
  explicit HistogramOver(Storage storage) noexcept : words_(storage) {}

  void Reset() noexcept {
    for (uint32_t word = 0; word < kWords; ++word) words_.Store(word, 0);
    words_.Store(kMinWord, std::numeric_limits<double>::infinity());
  }

  void Record(double value) noexcept {
    if (!(value >= 0 && value <= std::numeric_limits<double>::max())) return;
    if (value < words_.Load(kMinWord)) words_.Store(kMinWord, value);
    if (value > words_.Load(kMaxWord)) words_.Store(kMaxWord, value);
    words_.Store(kSumWord, words_.Load(kSumWord) + value);
    const uint32_t word = kBucketWord + BucketOf(value);
    words_.Store(word, words_.Load(word) + 1);
  }

  template <class Other>
  void Merge(const HistogramOver<Other>& other) noexcept {
    for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
      const double count = other.BucketCount(bucket);
      if (count > 0) words_.Store(kBucketWord + bucket, BucketCount(bucket) + count);
    }
    words_.Store(kSumWord, Sum() + other.Sum());
    const double least = other.words_.Load(kMinWord);
    const double greatest = other.words_.Load(kMaxWord);
    if (least >= 0 && least < words_.Load(kMinWord)) words_.Store(kMinWord, least);
    if (greatest > words_.Load(kMaxWord)) words_.Store(kMaxWord, greatest);
  }

  double BucketCount(uint32_t bucket) const noexcept {
    return bucket < kBuckets ? Sane(words_.Load(kBucketWord + bucket)) : 0;
  }

  // Of an empty histogram all of these are 0.
  double Count() const noexcept {
    double count = 0;
    for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) count += BucketCount(bucket);
    return count;
  }
  double Sum() const noexcept {
    const double sum = words_.Load(kSumWord);
    return Finite(sum) ? sum : 0;
  }
  double Min() const noexcept {
    const double least = words_.Load(kMinWord);
    return Finite(least) ? least : 0;
  }
  double Max() const noexcept {
    const double greatest = words_.Load(kMaxWord);
    return Finite(greatest) ? greatest : 0;
  }

  // The value that `percent` of all records don't exceed (nearest rank). percent: 0 to 100.
  double Percentile(double percent) const noexcept {
    const double count = Count();
    if (!(count > 0)) return 0;
    const double rank = percent > 0 ? std::ceil(count * (percent < 100 ? percent : 100) / 100) : 1;
    double seen = 0;
    for (uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
      seen += BucketCount(bucket);
      if (seen >= rank) return Representative(bucket);
    }
    return Max();  // the words changed meanwhile
  }

 private:
  template <class Other>
  friend class HistogramOver;

  static constexpr double kMaxCount = 9'007'199'254'740'992;  // 2^53

  static bool Finite(double value) noexcept {
    return value >= 0 && value <= std::numeric_limits<double>::max();
  }
  static double Sane(double count) noexcept { return count >= 0 && count <= kMaxCount ? count : 0; }

  // The middle of a bucket, but never outside of what was seen.
  double Representative(uint32_t bucket) const noexcept {
    const double least = Min();
    const double greatest = Max();
    double value;
    if (bucket == 0) {
      value = least;
    } else if (bucket == kBuckets - 1) {
      value = greatest;
    } else {
      value = (BucketLow(bucket) + BucketLow(bucket + 1)) / 2;
    }
    if (value > greatest) value = greatest;
    return value < least ? least : value;
  }

  Storage words_;
};

// A histogram of this process only: to read into, to merge into.
class Histogram : public HistogramOver<PrivateWords> {
 public:
  Histogram() noexcept : HistogramOver(PrivateWords()) { Reset(); }
};

}  // namespace cfc
