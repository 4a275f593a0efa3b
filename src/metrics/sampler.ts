import { availableParallelism } from 'node:os';
import { type MetricKind, metricKinds } from '../core/counters.js';
import { BoxColumn, type NativeMetric, native, SampleColumn } from '../core/native.js';
import type { Region } from '../core/region.js';
import { type Baseline, emptyBaseline } from './baseline.js';
import { catalog, metricOfCounter } from './catalog.js';
import { Names } from './names.js';
import { Processes } from './processes.js';
import { kindTag, type MetricRecord, timesTag } from './record.js';
import { valueOfBucket } from './sketch.js';
import { TopicRecords } from './topic-records.js';

export interface SamplerOptions {
  /** How many processes are asked at a time what they take; the others have their turn later. Default 2000. */
  processesAtATime?: number;
  /**
   * Where an earlier sampler ended, as its `commit` returned it. Without one the first sample says
   * what was counted since the fabric began.
   */
  baseline?: Baseline;
}

/** What a look at the fabric found. */
export interface Sample {
  records: MetricRecord[];
  /** Of them, those that can only be told now: gauges. */
  fleeting: number;
  /** What will have been told with them. */
  next: Baseline;
  /** From now on they are told. Without it the next sample says all of it again, and more. */
  commit(): void;
}

type Tags = Record<string, string>;

/** Pairs of counters of which the mean is told: the sum, how many, the metric, and its scale. */
const means = [
  { sum: 'latency.time', count: 'latency.samples', metric: 'coordination.latency' },
  { sum: 'wake.time', count: 'wake.samples', metric: 'agent.wake_latency' },
  { sum: 'loop.busy_time', count: 'loop.turns', metric: 'agent.loop_lag' },
] as const;
const nsPerMs = 1e6;
const alive = 2;
const gone = -1;

const columns = native.constants.sampleColumns;
const { histogramBuckets } = native.constants;

/**
 * Looks at a whole fabric and says what happened since the last look: counters by how much they
 * grew, gauges by what they are. It reads the mapping and `/proc` only: what it watches does not
 * execute one instruction for it.
 *
 * Counters of agents that came and went between two looks are in it.
 */
export class Sampler {
  readonly #region: Region;
  readonly #fabric: string;
  readonly #names: Names;
  readonly #processes: Processes;
  readonly #topics: TopicRecords;
  #baseline: Baseline;
  #table: Float64Array = new Float64Array(0);
  #boxes: Float64Array = new Float64Array(0);
  readonly #buckets = new Float64Array(histogramBuckets);
  #metrics: NativeMetric[] = [];
  // Told as they came; what part of them failed is of the interval.
  #tasks = { all: 0, failed: 0 };

  /** @internal `fabric.sampler()` makes them */
  constructor(region: Region, { processesAtATime = 2000, baseline }: SamplerOptions = {}) {
    this.#region = region;
    const { name, id } = region.info();
    this.#fabric = name;
    this.#names = new Names(region);
    this.#processes = new Processes(processesAtATime, availableParallelism());
    const usable = baseline !== undefined && baseline.fabric === id;
    this.#baseline = usable ? baseline : emptyBaseline(id);
    this.#topics = new TopicRecords(region, name);
  }

  /** What happened since the last call. */
  sample(nowMs = Date.now()): MetricRecord[] {
    const { records, commit } = this.draw(nowMs);
    commit();
    return records;
  }

  /** The same for who may fail to pass it on: nothing counts as told before `commit`. */
  draw(nowMs = Date.now()): Sample {
    const look = new Look(this.#baseline, new Date(nowMs).toISOString(), this.#fabric);
    look.tasks = { ...this.#tasks };
    // The schema first: who registers a metric has not counted it yet.
    this.#metrics = this.#region.metrics();
    this.#agents(look, nowMs);
    this.#mailboxes(look);
    this.#histograms(look);
    look.tell(this.#topics.read(look.next.topics));
    look.summary();
    return {
      records: look.records,
      fleeting: look.gauges,
      next: look.next,
      commit: () => {
        this.#baseline = look.next;
        this.#tasks = { all: 0, failed: 0 };
      },
    };
  }

  /** Events, and what was emitted, since the last call; of all else nothing. */
  drawEvents(): Sample {
    const next: Baseline = { ...this.#baseline, topics: { ...this.#baseline.topics } };
    const records = this.#topics.read(next.topics);
    return {
      records,
      fleeting: 0,
      next,
      commit: () => {
        this.#baseline = next;
        for (const record of records) addTasks(this.#tasks, record);
      },
    };
  }

  #agents(look: Look, nowMs: number): void {
    const metrics = this.#metrics;
    const most = metrics.reduce((least, { index }) => Math.max(least, index + 1), 0);
    const { rows, table } = this.#region.sample(most, this.#table);
    this.#table = table;
    const width = columns + 2 * most;
    const specs = metrics.map((metric) => new Counted(metric));
    const pairs = means.map((pair) => ({
      ...pair,
      sumIndex: metrics.find(({ name }) => name === pair.sum)?.index ?? -1,
      countIndex: metrics.find(({ name }) => name === pair.count)?.index ?? -1,
    }));
    this.#processes.begin();
    for (let row = 0; row < rows; row += 1) {
      const at = row * width;
      const of = (column: number) => table[at + column] as number;
      const entry = of(SampleColumn.entry);
      const liveness = of(SampleColumn.liveness);
      const tags = this.#names.tags(entry, liveness === gone ? gone : of(SampleColumn.naming));
      const before = look.before.agents[entry];
      const known = before?.totals ?? [];
      const totals: number[] = new Array(most);
      const sameLife = before !== undefined && before.life === of(SampleColumn.life);
      for (const spec of specs) {
        const total = of(columns + 2 * spec.index);
        const own = of(columns + 2 * spec.index + 1);
        if (spec.kind === 'counter') {
          totals[spec.index] = total;
          const grew = total - (known[spec.index] ?? 0);
          if (!(grew > 0)) continue;
          if (spec.hidden) continue;
          // What those before it counted that nobody told of yet, and what it counted itself.
          const mine = sameLife ? grew : Math.min(own, grew);
          look.count(spec, mine, tags);
          if (grew > mine) look.count(spec, grew - mine, before?.tags ?? {});
        } else if (spec.kind === 'gauge') {
          totals[spec.index] = own;
          if (liveness !== alive || (own === 0 && (known[spec.index] ?? 0) === 0)) continue;
          look.gauge(spec.metric, own, spec.unit, tags);
        }
      }
      for (const { sumIndex, countIndex, metric } of pairs) {
        const grew = (index: number) => (totals[index] ?? 0) - (known[index] ?? 0);
        if (sumIndex < 0 || !(grew(countIndex) > 0)) continue;
        look.gauge(metric, grew(sumIndex) / grew(countIndex) / nsPerMs, 'milliseconds', tags);
      }
      const restarts = of(SampleColumn.restarts);
      const naming = of(SampleColumn.naming);
      if (liveness !== gone) {
        const sameName = before !== undefined && before.naming === naming;
        const more = restarts - (sameName ? before.restarts : 0);
        if (more > 0) look.record('agent.restarts', more, 'restarts', tags);
      }
      if (liveness === alive) {
        look.alive += 1;
        this.#processes.note(of(SampleColumn.pid), of(SampleColumn.startTicks), tags);
        const incarnation = of(SampleColumn.incarnation);
        if (before?.incarnation !== incarnation || before.naming !== naming) {
          const tookMs = this.#processes.sinceStart(
            of(SampleColumn.joinedAtMs),
            of(SampleColumn.startTicks),
            nowMs,
          );
          if (tookMs !== undefined) look.gauge('agent.spawn_time', tookMs, 'milliseconds', tags);
        }
      }
      look.tagsOf.set(entry, tags);
      look.next.agents[entry] = {
        life: of(SampleColumn.life),
        naming,
        restarts,
        incarnation: of(SampleColumn.incarnation),
        totals,
        tags,
      };
    }
    for (const { tags, memoryMb, descriptors, load } of this.#processes.ask(nowMs)) {
      look.gauge('system.memory_mb', memoryMb, 'megabytes', tags);
      if (descriptors > 0) look.gauge('system.open_fds', descriptors, 'descriptors', tags);
      if (load !== undefined) look.gauge('system.load_per_cpu', load, 'load', tags);
    }
  }

  #mailboxes(look: Look): void {
    const { rows, table } = this.#region.sampleBoxes(this.#boxes);
    this.#boxes = table;
    for (let row = 0; row < rows; row += 1) {
      const at = row * native.constants.boxColumns;
      const of = (column: number) => table[at + column] as number;
      const box = of(BoxColumn.box);
      const before = look.before.boxes[box] ?? [0, 0, 0, 0, 0];
      const depth = of(BoxColumn.depth);
      const ended = [of(BoxColumn.acked), of(BoxColumn.dropped), of(BoxColumn.deadLettered)];
      const grew = ended.map((now, i) => grewBy(before[i] as number, now));
      const all = (ended[0] as number) + (ended[1] as number) + (ended[2] as number) + depth;
      const accepted = grewBy(before[3] as number, all);
      const keep = (i: number, now: number) =>
        grewBy(before[i] as number, now) > 0 ? now : (before[i] as number);
      look.next.boxes[box] = [
        keep(0, ended[0] as number),
        keep(1, ended[1] as number),
        keep(2, ended[2] as number),
        accepted > 0 ? all : (before[3] as number),
        depth,
      ];
      look.acked += grew[0] as number;
      look.dropped += grew[1] as number;
      look.deadLettered += grew[2] as number;
      look.accepted += accepted;
      look.depth += depth;
      const tags = look.tagsOf.get(of(BoxColumn.entry));
      if (tags === undefined) continue;
      const lost = grew[1] as number;
      if (lost > 0) look.record('backpressure.inbox_overflow', lost, 'messages', tags);
      if (depth === 0 && before[4] === 0) continue;
      look.gauge('inbox.size', depth, 'messages', tags);
      const share = (100 * depth) / of(BoxColumn.capacity);
      look.gauge('inbox.utilization', share, 'percent', tags);
    }
  }

  // Of the dead too, for as long as nobody needs their place.
  #histograms(look: Look): void {
    const buckets = this.#buckets;
    for (let place = 0; ; place += 1) {
      const found = this.#region.sampleHistogram(place, buckets);
      if (found === undefined) return;
      if (found === null) continue;
      const metric = this.#metrics.find(({ index }) => index === found.metric);
      if (metric === undefined) continue;
      const earlier = look.before.histograms[place];
      const before = earlier?.key === found.key ? earlier : undefined;
      const next: Record<string, number> = {};
      const tags = this.#tagsOfPlace(look, found.entry, found.uid, before?.tags);
      for (let bucket = 0; bucket < histogramBuckets; bucket += 1) {
        const count = buckets[bucket] as number;
        if (count === 0) continue;
        next[bucket] = count;
        const times = count - (before?.buckets[bucket] ?? 0);
        if (!(times > 0)) continue;
        const value = valueOfBucket(bucket, found.min, found.max);
        const weighed = times > 1 ? { ...tags, [timesTag]: String(times) } : tags;
        look.record(metric.name, value, metric.unit, weighed);
      }
      look.next.histograms[place] = { key: found.key, buckets: next, tags };
    }
  }

  #tagsOfPlace(look: Look, entry: number, uid: number, before: Tags | undefined): Tags {
    if (before !== undefined) return before;
    return uid === 0 ? {} : (look.tagsOf.get(entry) ?? {});
  }
}

/** A counter or a gauge of the schema, as it is told. */
class Counted {
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
class Look {
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
  readonly #fabric: string;

  constructor(before: Baseline, timestamp: string, fabric: string) {
    this.before = before;
    this.next = { ...emptyBaseline(before.fabric), topics: { ...before.topics } };
    // Who is not seen this time (a mailbox just being made) has not lost what it had.
    Object.assign(this.next.boxes, before.boxes);
    this.#timestamp = timestamp;
    this.#fabric = fabric;
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
    this.records.push({ timestamp, metric, value, unit, tags: { fabric: this.#fabric, ...tags } });
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
      if (grew > 0) this.record(`coordination.${name}`, grew, 'messages', {});
    }
    const ended = this.acked + this.dropped + this.deadLettered + this.#refused;
    if (ended > 0) {
      this.gauge('coordination.delivery_rate', (100 * this.acked) / ended, 'percent', {});
    }
    if (this.tasks.all > 0) {
      const rate = (100 * this.tasks.failed) / this.tasks.all;
      this.gauge('coordination.error_rate', rate, 'percent', {});
    }
    this.gauge('coordination.queue_depth', this.depth, 'messages', {});
    this.gauge('coordination.agents', this.alive, 'agents', {});
  }
}

function addTasks(
  tasks: { all: number; failed: number },
  { metric, value }: Pick<MetricRecord, 'metric' | 'value'>,
): void {
  if (metric === 'coordination.tasks') tasks.all += value;
  if (metric === 'coordination.tasks_failed') tasks.failed += value;
}

// Counts of mailboxes wrap at 2^32, each lane by itself, and while agents work they are no exact
// cut: what seems to have shrunk is told next time.
function grewBy(before: number, now: number): number {
  const grew = now - before;
  if (grew >= 0) return grew;
  return grew < -(2 ** 31) ? grew + 2 ** 32 : 0;
}
