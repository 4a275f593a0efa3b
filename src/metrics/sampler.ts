import { availableParallelism } from 'node:os';
import { BoxColumn, type NativeMetric, native, SampleColumn } from '../core/native.js';
import type { Region } from '../core/region.js';
import {
  AgentColumn,
  type Baseline,
  emptyBaseline,
  MailboxColumn,
  mailboxColumns,
  Rows,
} from './baseline.js';
import { addTasks, Counted, Look, means, type Tags } from './look.js';
import { Names } from './names.js';
import { Processes } from './processes.js';
import { type MetricRecord, timesTag } from './record.js';
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
    this.#names = new Names(region, name);
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
    const look = new Look(this.#baseline, new Date(nowMs).toISOString(), this.#names.none);
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
    const counted = metrics.map((metric) => new Counted(metric));
    const counters = counted.filter(({ kind }) => kind === 'counter');
    const gauges = counted.filter(({ kind }) => kind === 'gauge');
    const pairs = meansAmong(metrics);
    const width = AgentColumn.totals + most;
    const next = new Float64Array(rows * width);
    const tagsOfRows: Tags[] = [];
    const { values: earlier, width: earlierWidth, tags: earlierTags } = look.before.agents;
    const known = earlierWidth - AgentColumn.totals;
    const rowsBefore = new Rows(earlier, earlierWidth);
    this.#processes.begin();
    for (let row = 0; row < rows; row += 1) {
      const at = row * (columns + 2 * most);
      const values = at + columns;
      const to = row * width;
      const entry = table[at + SampleColumn.entry] as number;
      const liveness = table[at + SampleColumn.liveness] as number;
      const life = table[at + SampleColumn.life] as number;
      const naming = table[at + SampleColumn.naming] as number;
      const tags = this.#names.tags(entry, liveness === gone ? gone : naming);
      const before = rowsBefore.find(entry);
      const told = (index: number) =>
        before >= 0 && index < known ? (earlier[before + AgentColumn.totals + index] as number) : 0;
      const sameLife = before >= 0 && earlier[before + AgentColumn.life] === life;
      for (const counter of counters) {
        const { index } = counter;
        const total = table[values + 2 * index] as number;
        next[to + AgentColumn.totals + index] = total;
        if (total === 0 || counter.hidden) continue;
        const own = table[values + 2 * index + 1] as number;
        // Where it is all its own, what was counted before it is not kept: it began at 0.
        const grew = total - (sameLife || own !== total ? told(index) : 0);
        if (!(grew > 0)) continue;
        // What it counted itself, and what those before it did of whom nobody told yet.
        const mine = sameLife ? grew : Math.min(own, grew);
        look.count(counter, mine, tags);
        if (grew > mine) {
          const former = before >= 0 ? earlierTags[before / earlierWidth] : undefined;
          look.count(counter, grew - mine, former ?? this.#names.none);
        }
      }
      for (const { index, metric, unit } of gauges) {
        const own = table[values + 2 * index + 1] as number;
        next[to + AgentColumn.totals + index] = own;
        if (liveness !== alive || (own === 0 && told(index) === 0)) continue;
        look.gauge(metric, own, unit, tags);
      }
      for (const { sum, count, metric } of pairs) {
        const times = (table[values + 2 * count] as number) - told(count);
        if (!(times > 0)) continue;
        const mean = ((table[values + 2 * sum] as number) - told(sum)) / times / nsPerMs;
        look.gauge(metric, mean, 'milliseconds', tags);
      }
      next[to + AgentColumn.entry] = entry;
      next[to + AgentColumn.life] = life;
      next[to + AgentColumn.naming] = naming;
      next[to + AgentColumn.restarts] = table[at + SampleColumn.restarts] as number;
      next[to + AgentColumn.incarnation] = table[at + SampleColumn.incarnation] as number;
      tagsOfRows.push(tags);
      if (liveness === gone) continue;
      look.tagsOf.set(entry, tags);
      this.#life(look, at, before, tags, liveness === alive, nowMs);
    }
    look.next.agents = { width, values: next, tags: tagsOfRows };
    for (const { tags, memoryMb, descriptors, load } of this.#processes.ask(nowMs)) {
      look.gauge('system.memory_mb', memoryMb, 'megabytes', tags);
      if (descriptors > 0) look.gauge('system.open_fds', descriptors, 'descriptors', tags);
      if (load !== undefined) look.gauge('system.load_per_cpu', load, 'load', tags);
    }
  }

  // Restarts, and how long it took to come.
  #life(look: Look, at: number, before: number, tags: Tags, isAlive: boolean, nowMs: number): void {
    const of = (column: number) => this.#table[at + column] as number;
    const earlier = (column: number) =>
      before >= 0 ? look.before.agents.values[before + column] : undefined;
    const sameName = earlier(AgentColumn.naming) === of(SampleColumn.naming);
    const restarts =
      of(SampleColumn.restarts) - (sameName ? (earlier(AgentColumn.restarts) ?? 0) : 0);
    if (restarts > 0) look.record('agent.restarts', restarts, 'restarts', tags);
    if (!isAlive) return;
    look.alive += 1;
    const startTicks = of(SampleColumn.startTicks);
    const command = {
      pid: of(SampleColumn.commandPid),
      startTicks: of(SampleColumn.commandStartTicks),
    };
    this.#processes.note(
      { pid: of(SampleColumn.pid), startTicks, ...(command.pid !== 0 && { command }) },
      tags,
    );
    if (sameName && earlier(AgentColumn.incarnation) === of(SampleColumn.incarnation)) return;
    const joinedAtMs = of(SampleColumn.joinedAtMs);
    const tookMs = this.#processes.sinceStart(joinedAtMs, startTicks, nowMs);
    if (tookMs !== undefined) look.gauge('agent.spawn_time', tookMs, 'milliseconds', tags);
  }

  #mailboxes(look: Look): void {
    const { rows, table } = this.#region.sampleBoxes(this.#boxes);
    this.#boxes = table;
    const next = new Float64Array(rows * mailboxColumns);
    const earlier = look.before.boxes;
    const rowsBefore = new Rows(earlier, mailboxColumns);
    for (let row = 0; row < rows; row += 1) {
      const at = row * native.constants.boxColumns;
      const to = row * mailboxColumns;
      const box = table[at + BoxColumn.box] as number;
      const before = rowsBefore.find(box);
      const was = (column: number) => (before >= 0 ? (earlier[before + column] as number) : 0);
      // By how much it grew; from then on it stands there, or where it stood.
      const grow = (column: number, now: number) => {
        const grew = grewBy(was(column), now);
        next[to + column] = grew > 0 ? now : was(column);
        return grew;
      };
      const depth = table[at + BoxColumn.depth] as number;
      const acked = table[at + BoxColumn.acked] as number;
      const dropped = table[at + BoxColumn.dropped] as number;
      const deadLettered = table[at + BoxColumn.deadLettered] as number;
      const overflow = grow(MailboxColumn.dropped, dropped);
      look.acked += grow(MailboxColumn.acked, acked);
      look.dropped += overflow;
      look.deadLettered += grow(MailboxColumn.deadLettered, deadLettered);
      look.accepted += grow(MailboxColumn.accepted, acked + dropped + deadLettered + depth);
      look.depth += depth;
      next[to + MailboxColumn.box] = box;
      next[to + MailboxColumn.depth] = depth;
      if (overflow === 0 && depth === 0 && was(MailboxColumn.depth) === 0) continue;
      const tags = look.tagsOf.get(table[at + BoxColumn.entry] as number);
      if (tags === undefined) continue;
      if (overflow > 0) look.record('backpressure.inbox_overflow', overflow, 'messages', tags);
      if (depth === 0 && was(MailboxColumn.depth) === 0) continue;
      look.gauge('inbox.size', depth, 'messages', tags);
      const share = (100 * depth) / (table[at + BoxColumn.capacity] as number);
      look.gauge('inbox.utilization', share, 'percent', tags);
    }
    look.next.boxes = next;
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
    return (uid === 0 ? undefined : look.tagsOf.get(entry)) ?? this.#names.none;
  }
}

/** The pairs of which this schema has both, by index. */
function meansAmong(metrics: readonly NativeMetric[]) {
  const indexOf = (wanted: string) => metrics.find(({ name }) => name === wanted)?.index ?? -1;
  return means
    .map(({ sum, count, metric }) => ({ sum: indexOf(sum), count: indexOf(count), metric }))
    .filter(({ sum, count }) => sum >= 0 && count >= 0);
}

// Counts of mailboxes wrap at 2^32, each lane by itself, and while agents work they are no exact
// cut: what seems to have shrunk is told next time.
function grewBy(before: number, now: number): number {
  const grew = now - before;
  if (grew >= 0) return grew;
  return grew < -(2 ** 31) ? grew + 2 ** 32 : 0;
}
