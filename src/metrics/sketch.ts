import { native } from '../core/native.js';

// The bits of a double, to find its bucket: exponent and top of the fraction are its number.
const scratch = new Float64Array(1);
const halves = new Uint32Array(scratch.buffer);

/** Buckets to a power of two: a value is at most 1 / 256 off, 0.4 %. */
const subBits = 7;
const shift = 20 - subBits;

/**
 * How often each size of a value came, for percentiles of more values than fit into memory.
 *
 * Count, sum, least and greatest are exact; a percentile is within 0.4 % of the value that a sort
 * would find. Two sketches add up to the sketch of all their values. Any finite number goes in.
 */
export class Sketch {
  count = 0;
  sum = 0;
  min = Infinity;
  max = -Infinity;
  readonly #buckets = new Map<number, number>();

  /** @param times how many values of that size; a positive whole number */
  add(value: number, times = 1): void {
    if (!Number.isFinite(value)) return;
    this.count += times;
    this.sum += value * times;
    if (value < this.min) this.min = value;
    if (value > this.max) this.max = value;
    const bucket = bucketOf(value);
    this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + times);
  }

  merge(other: Sketch): void {
    this.count += other.count;
    this.sum += other.sum;
    this.min = Math.min(this.min, other.min);
    this.max = Math.max(this.max, other.max);
    for (const [bucket, times] of other.#buckets) {
      this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + times);
    }
  }

  get average(): number {
    return this.count === 0 ? 0 : this.sum / this.count;
  }

  /** The values that so many percent of all do not exceed (nearest rank), one for each wanted. */
  percentiles(wanted: readonly number[]): number[] {
    if (this.count === 0) return wanted.map(() => 0);
    const buckets = [...this.#buckets].sort(([a], [b]) => a - b);
    return wanted.map((percent) => {
      const rank = Math.max(1, Math.ceil((this.count * Math.min(percent, 100)) / 100));
      let seen = 0;
      for (const [bucket, times] of buckets) {
        seen += times;
        if (seen >= rank) return Math.min(this.max, Math.max(this.min, middleOf(bucket)));
      }
      return this.max;
    });
  }
}

// Of negative values mirrored, so that buckets sort as their values do; 0 is its own.
function bucketOf(value: number): number {
  scratch[0] = Math.abs(value);
  const code = ((halves[1] as number) >>> shift) + 1;
  if (value > 0) return code;
  return value < 0 ? -code : 0;
}

function middleOf(bucket: number): number {
  if (bucket === 0) return 0;
  const code = Math.abs(bucket) - 1;
  const middle = (lowOf(code, shift) + lowOf(code + 1, shift)) / 2;
  return bucket < 0 ? -middle : middle;
}

function lowOf(code: number, by: number): number {
  halves[0] = 0;
  halves[1] = code << by;
  return scratch[0] as number;
}

const { histogramBuckets, histogramFirstCode, histogramSubBits } = native.constants;

/** The value that a bucket of a shared histogram stands for; both ends of all that it saw given. */
export function valueOfBucket(bucket: number, min: number, max: number): number {
  if (bucket === 0) return min;
  if (bucket >= histogramBuckets - 1) return max;
  const code = histogramFirstCode + bucket - 1;
  const by = 20 - histogramSubBits;
  const middle = (lowOf(code, by) + lowOf(code + 1, by)) / 2;
  return Math.min(max, Math.max(min, middle));
}
