import type { Statistic } from './rule.js';

/**
 * The samples of one series that lie in a window of time.
 *
 * Samples that lie closer together than a 1,000th of the window share an entry, so a series that is
 * written a thousand times a second costs no more than one written at every slot. Everything but the
 * edge of the window stays exact. Times are those of the records, in milliseconds; one that lies
 * after `now` counts as of now.
 */
export class SampleWindow {
  readonly #windowMs: number;
  readonly #slotMs: number;
  readonly #keepValues: boolean;
  #entries: Entry[] = [];
  #head = 0;
  /** Values that percentiles did without, because a slot had too many. */
  dropped = 0;

  constructor(windowMs: number, statistic: Statistic) {
    this.#windowMs = windowMs;
    this.#slotMs = windowMs / slots;
    this.#keepValues = statistic.startsWith('p');
  }

  get empty(): boolean {
    return this.#head >= this.#entries.length;
  }

  /** @param times how many samples of that value it stands for */
  add(atMs: number, value: number, times = 1): void {
    const last = this.#entries.at(-1);
    if (last !== undefined && !this.empty && atMs - last.startMs < this.#slotMs) {
      this.#merge(last, atMs, value, times);
      return;
    }
    this.#entries.push({
      startMs: atMs,
      atMs,
      count: times,
      sum: value * times,
      min: value,
      max: value,
      first: value,
      last: value,
      values: this.#keepValues ? [{ value, times }] : [],
    });
  }

  clear(): void {
    this.#entries = [];
    this.#head = 0;
  }

  /** Forgets what is older than the window; a clock that was set back makes nothing younger than now. */
  advance(nowMs: number): void {
    const entries = this.#entries;
    const newest = entries.at(-1);
    if (newest !== undefined && newest.atMs > nowMs) {
      for (const entry of entries) {
        entry.atMs = Math.min(entry.atMs, nowMs);
        entry.startMs = Math.min(entry.startMs, nowMs);
      }
    }
    while (this.#head < entries.length) {
      if ((entries[this.#head] as Entry).atMs >= nowMs - this.#windowMs) break;
      this.#head += 1;
    }
    if (this.#head > 64 && this.#head * 2 > entries.length) {
      this.#entries = entries.slice(this.#head);
      this.#head = 0;
    }
  }

  /** @returns undefined where the window holds too little to tell */
  read(statistic: Statistic): number | undefined {
    const entries = this.#entries.slice(this.#head);
    const first = entries[0];
    const last = entries.at(-1);
    if (first === undefined || last === undefined) return undefined;
    const sum = () => entries.reduce((total, entry) => total + entry.sum, 0);
    const count = () => entries.reduce((total, entry) => total + entry.count, 0);
    switch (statistic) {
      case 'last':
        return last.last;
      case 'min':
        return entries.reduce((least, { min }) => Math.min(least, min), Infinity);
      case 'max':
        return entries.reduce((most, { max }) => Math.max(most, max), -Infinity);
      case 'sum':
        return sum();
      case 'count':
        return count();
      case 'avg':
        return sum() / count();
      case 'rate':
        return sum() / (this.#windowMs / 1000);
      case 'increase':
        return count() < 2 ? undefined : last.last - first.first;
      case 'growth':
        if (count() < 2 || first.first <= 0) return undefined;
        return (100 * (last.last - first.first)) / first.first;
      default:
        return percentile(entries, Number(statistic.slice(1)));
    }
  }

  #merge(entry: Entry, atMs: number, value: number, times: number): void {
    entry.count += times;
    entry.sum += value * times;
    entry.min = Math.min(entry.min, value);
    entry.max = Math.max(entry.max, value);
    if (atMs >= entry.atMs) {
      entry.atMs = atMs;
      entry.last = value;
    }
    if (!this.#keepValues) return;
    if (entry.values.length < maxValuesOfSlot) entry.values.push({ value, times });
    else this.dropped += times;
  }
}

const slots = 1000;
const maxValuesOfSlot = 1024;

interface Weighted {
  value: number;
  times: number;
}

interface Entry {
  startMs: number;
  atMs: number;
  count: number;
  sum: number;
  min: number;
  max: number;
  first: number;
  last: number;
  values: Weighted[];
}

// The nearest rank: a value that was really measured.
function percentile(entries: readonly Entry[], percent: number): number | undefined {
  const values = entries.flatMap((entry) => entry.values).sort((a, b) => a.value - b.value);
  const total = values.reduce((sum, { times }) => sum + times, 0);
  let left = Math.max(1, Math.ceil((percent / 100) * total));
  for (const { value, times } of values) {
    left -= times;
    if (left <= 0) return value;
  }
  return undefined;
}
