const steps = 64;
const powers = 40;

/** A distribution of microseconds: 64 steps for each power of two, in memory that does not grow. */
export class Latencies {
  readonly #buckets = new Float64Array(steps * powers);
  #count = 0;

  add(us: number): void {
    const bucket = Math.floor(Math.log2(Math.max(1, us)) * steps);
    const index = Math.min(this.#buckets.length - 1, bucket);
    this.#buckets[index] = (this.#buckets[index] as number) + 1;
    this.#count += 1;
  }

  /** @returns null where nothing was added */
  p99(): number | null {
    if (this.#count === 0) return null;
    let left = Math.ceil(this.#count * 0.99);
    for (let i = 0; i < this.#buckets.length; i += 1) {
      left -= this.#buckets[i] as number;
      if (left <= 0) return 2 ** ((i + 0.5) / steps);
    }
    return null;
  }

  clear(): void {
    this.#buckets.fill(0);
    this.#count = 0;
  }
}
