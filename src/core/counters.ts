import { CfcError } from '../errors.js';
import { type NativeAgent, type NativeFabric, native } from './native.js';
import { errorOf } from './status.js';

// Each by itself: the addon's object of constants is a dictionary, which costs a lookup per use.
const {
  histogramBucketWord,
  histogramBuckets,
  histogramFirstCode,
  histogramMaxValue,
  histogramMaxWord,
  histogramMinValue,
  histogramMinWord,
  histogramSubBits,
  histogramSumWord,
} = native.constants;
const kindNumbers = { counter: 0, gauge: 1, histogram: 2 } as const;
export type MetricKind = keyof typeof kindNumbers;
export const metricKinds = Object.keys(kindNumbers) as readonly MetricKind[];

/** Counts up. A plain store into the agent's own block: watching it costs the agent nothing. */
export interface Counter {
  /** @param amount default 1; not negative */
  add(amount?: number): void;
}

/** Holds the last value that was set. */
export interface Gauge {
  set(value: number): void;
}

/** Keeps the distribution of values from 2^-10 to 2^40 with a relative error below 1 %. */
export interface Histogram {
  /** @param value finite and not negative; others are dropped */
  record(value: number): void;
}

class SharedCounter implements Counter {
  readonly #values: Float64Array;
  readonly #index: number;

  constructor(values: Float64Array, index: number) {
    this.#values = values;
    this.#index = index;
  }

  add(amount = 1): void {
    // After leave() the buffer is detached, and a store into it does nothing.
    (this.#values[this.#index] as number) += amount;
  }
}

class SharedGauge implements Gauge {
  readonly #values: Float64Array;
  readonly #index: number;

  constructor(values: Float64Array, index: number) {
    this.#values = values;
    this.#index = index;
  }

  set(value: number): void {
    this.#values[this.#index] = value;
  }
}

// A value's bits, to find its bucket: exponent and top of the fraction are the bucket's number.
const scratch = new Float64Array(1);
const halves = new Uint32Array(scratch.buffer);

class SharedHistogram implements Histogram {
  readonly #words: Float64Array;

  constructor(words: Float64Array) {
    this.#words = words;
  }

  record(value: number): void {
    if (!(value >= 0 && value < Infinity)) return;
    const words = this.#words;
    let bucket = 0;
    if (value >= histogramMaxValue) {
      bucket = histogramBuckets - 1;
    } else if (value >= histogramMinValue) {
      scratch[0] = value;
      bucket = ((halves[1] as number) >>> (20 - histogramSubBits)) - histogramFirstCode + 1;
    }
    if (value < (words[histogramMinWord] as number)) words[histogramMinWord] = value;
    if (value > (words[histogramMaxWord] as number)) words[histogramMaxWord] = value;
    (words[histogramSumWord] as number) += value;
    (words[histogramBucketWord + bucket] as number) += 1;
  }
}

/** The metrics of one agent. Handles are kept by name; making one again answers the same. */
export class Counters {
  readonly #fabric: NativeFabric;
  readonly #agent: NativeAgent;
  readonly #handles = new Map<string, { kind: MetricKind; handle: Counter | Gauge | Histogram }>();
  readonly #counts: boolean;
  #values: Float64Array | undefined;

  /** @internal */
  constructor(fabric: NativeFabric, agent: NativeAgent, counts = true) {
    this.#fabric = fabric;
    this.#agent = agent;
    this.#counts = counts;
    // Who counts nothing has handles all the same, over memory that nobody else sees.
    if (!counts) this.#values = new Float64Array(native.constants.blockValues);
  }

  /** @throws {CfcError} `ERR_CFC_USAGE`, `ERR_CFC_COUNTERS_FULL` */
  counter(name: string, unit = ''): Counter {
    return this.#handle(name, unit, 'counter') as Counter;
  }

  /** @throws {CfcError} `ERR_CFC_USAGE`, `ERR_CFC_COUNTERS_FULL` */
  gauge(name: string, unit = ''): Gauge {
    return this.#handle(name, unit, 'gauge') as Gauge;
  }

  /** @throws {CfcError} `ERR_CFC_USAGE`, `ERR_CFC_COUNTERS_FULL` */
  histogram(name: string, unit = ''): Histogram {
    return this.#handle(name, unit, 'histogram') as Histogram;
  }

  #handle(name: string, unit: string, kind: MetricKind): Counter | Gauge | Histogram {
    const known = this.#handles.get(name);
    if (known !== undefined) {
      if (known.kind !== kind) {
        throw new CfcError('ERR_CFC_USAGE', { metric: name, is: known.kind, wanted: kind });
      }
      return known.handle;
    }
    const index = this.#fabric.registerMetric(name, unit, kindNumbers[kind]);
    if (index < 0) throw errorOf(-index, { metric: name, kind });
    const handle = this.#make(kind, index, name);
    this.#handles.set(name, { kind, handle });
    return handle;
  }

  #make(kind: MetricKind, index: number, name: string): Counter | Gauge | Histogram {
    if (kind === 'histogram') {
      const words = this.#counts
        ? this.#agent.histogramWords(index)
        : new Float64Array(histogramBucketWord + histogramBuckets);
      if (typeof words === 'number') throw errorOf(-words, { metric: name });
      return new SharedHistogram(words);
    }
    this.#values ??= this.#agent.counterValues();
    if (this.#values === undefined) throw new CfcError('ERR_CFC_MAILBOX_CLOSED', { metric: name });
    return kind === 'counter'
      ? new SharedCounter(this.#values, index)
      : new SharedGauge(this.#values, index);
  }
}
