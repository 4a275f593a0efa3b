import { type MetricKind, metricKinds } from '../core/counters.js';
import type { NativeMetric } from '../core/native.js';
import { type Baseline, emptyBaseline } from './baseline.js';
import { catalog, metricOfCounter } from './catalog.js';
import { kindTag, type MetricRecord } from './record.js';

export type Tags = Record<string, string>;

/** Pairs of counters of which the mean is told: the sum, how many, the metric, and its scale. */
export const means = [
  { sum: 'latency.time', count: 'latency.samples', metric: 'coordination.latency' },
  { sum: 'wake.time', count: 'wake.samples', metric: 'agent.wake_latency' },
  { sum: 'loop.busy_time', count: 'loop.turns', metric: 'agent.loop_lag' },
] as const;

/** A counter or a gauge of the schema, as it is told. */
export class Counted {
  readonly index: number;
  readonly kind: MetricKind;
  readonly metric: string;
  readonly unit: string;
  readonly scale: number;
  /** Only told together with another. */
  readonly hidden: boolean;
  readonly foreign: boolean;

  constructor({ index, name, unit, kind }: NativeMetric) {
    const spec = metricOfCounter(name);
    this.index = index;
    this.kind = metricKinds[kind] ?? 'counter';
    this.metric = spec?.metric ?? name;
    this.unit = spec?.unit ?? unit;
    this.scale = spec?.scale ?? 1;
    this.hidden = means.some(({ sum, count }) => name === sum || name === count);
    this.foreign = !catalog.has(this.metric);
  }
}

/** One look: what stood before, what stands now, and what there is to tell of it. */
export class Look {
  readonly records: MetricRecord[] = [];
  readonly before: Baseline;
  readonly next: Baseline;
  readonly tagsOf = new Map<number, Tags>();
  gauges = 0;
  alive = 0;
  acked = 0;
  dropped = 0;
  deadLettered = 0;
  accepted = 0;
  depth = 0;
  #refused = 0;
  tasks = { all: 0, failed: 0 };
  readonly #timestamp: string;
  readonly #ofAll: Tags;

  constructor(before: Baseline, timestamp: string, ofAll: Tags) {
    this.before = before;
    this.next = { ...emptyBaseline(before.fabric), topics: { ...before.topics } };
    this.#timestamp = timestamp;
    this.#ofAll = ofAll;
  }

  count({ metric, unit, scale, foreign }: Counted, grew: number, tags: Tags): void {
    if (metric === 'coordination.send_failure') this.#refused += grew;
    const shown = foreign ? { ...tags, [kindTag]: 'counter' } : tags;
    if (grew > 0) this.record(metric, grew * scale, unit, shown);
  }

  gauge(metric: string, value: number, unit: string, tags: Tags): void {
    if (!Number.isFinite(value)) return;
    this.gauges += 1;
    this.record(metric, value, unit, tags);
  }

  record(metric: string, value: number, unit: string, tags: Tags): void {
    if (!Number.isFinite(value)) return; // garbage in the region
    addTasks(this.tasks, { metric, value });
    const timestamp = this.#timestamp;
    this.records.push({ timestamp, metric, value, unit, tags });
  }

  tell(records: readonly MetricRecord[]): void {
    for (const record of records) {
      addTasks(this.tasks, record);
      this.records.push(record);
    }
  }

  /** What is told of the whole. */
  summary(): void {
    const counts = { messages: this.accepted, acked: this.acked, dropped: this.dropped };
    for (const [name, grew] of Object.entries({ ...counts, dead_lettered: this.deadLettered })) {
      if (grew > 0) this.record(`coordination.${name}`, grew, 'messages', this.#ofAll);
    }
    const ended = this.acked + this.dropped + this.deadLettered + this.#refused;
    if (ended > 0) {
      this.gauge('coordination.delivery_rate', (100 * this.acked) / ended, 'percent', this.#ofAll);
    }
    if (this.tasks.all > 0) {
      const rate = (100 * this.tasks.failed) / this.tasks.all;
      this.gauge('coordination.error_rate', rate, 'percent', this.#ofAll);
    }
    this.gauge('coordination.queue_depth', this.depth, 'messages', this.#ofAll);
    this.gauge('coordination.agents', this.alive, 'agents', this.#ofAll);
  }
}

/** Adds what a record tells of tasks. */
export function addTasks(
  tasks: { all: number; failed: number },
  { metric, value }: Pick<MetricRecord, 'metric' | 'value'>,
): void {
  if (metric === 'coordination.tasks') tasks.all += value;
  if (metric === 'coordination.tasks_failed') tasks.failed += value;
}
