import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import type { MetricKind } from '../core/counters.js';
import { CfcError } from '../errors.js';
import { catalog } from './catalog.js';
import { kindTag, type MetricRecord, timesOf, timesTag, toRecord } from './record.js';
import { Sketch } from './sketch.js';

export interface AnalyzeOptions {
  /** Only the last so many ms before `untilMs`. Default: everything. */
  windowMs?: number;
  /** Default: the time of the newest record. */
  untilMs?: number;
  /** A tag by which each metric is split. */
  by?: string;
  /** Only these metrics. */
  metrics?: readonly string[];
}

export interface MetricStatistics {
  metric: string;
  unit: string;
  kind: MetricKind;
  /** The value of the tag that was asked for by `by`. */
  tag?: string;
  /** Values; a record of a histogram may stand for several. */
  count: number;
  avg: number;
  min: number;
  max: number;
  p50: number;
  p95: number;
  p99: number;
  /** A second of the window: of a counter what it grew, of all others how many values there were. */
  rate: number;
}

export interface Analysis {
  window: { from: string; to: string; ms: number };
  /** By name, then by tag. */
  metrics: MetricStatistics[];
  /** Lines that are no record. */
  skipped: number;
}

/** Buckets of time that a window is looked at in, so that it may end where the newest record is. */
const windowSlices = 60;
const mostLineBytes = 1 << 20;

interface Series {
  metric: string;
  unit: string;
  tag: string | undefined;
  kind: MetricKind;
  /** By number of the slice of time; one where there is no window. */
  slices: Map<number, { sketch: Sketch; firstMs: number; lastMs: number }>;
}

/**
 * Takes records one after the other, in any number, and says what they come to. What it keeps does
 * not grow with them: a sketch for each metric, tag and slice of the window.
 *
 * Where `untilMs` is left out a window ends at the newest record, and begins within a sixtieth of
 * its length of where it should.
 */
export class Analyzer {
  readonly #options: AnalyzeOptions;
  readonly #series = new Map<string, Series>();
  readonly #sliceMs: number;
  #newestMs = -Infinity;
  #skipped = 0;

  constructor(options: AnalyzeOptions = {}) {
    const { windowMs } = options;
    if (windowMs !== undefined && !(windowMs > 0)) {
      throw new CfcError('ERR_CFC_USAGE', { windowMs, allowed: 'a time above 0' });
    }
    this.#options = options;
    this.#sliceMs = (windowMs ?? Infinity) / windowSlices;
    if (options.untilMs !== undefined) this.#newestMs = options.untilMs;
  }

  add(record: MetricRecord): void {
    const { metrics, windowMs, untilMs, by } = this.#options;
    const { metric, value, unit, tags } = record;
    if (metrics !== undefined && !metrics.includes(metric)) return;
    const atMs = Date.parse(record.timestamp);
    if (Number.isNaN(atMs)) {
      this.#skipped += 1;
      return;
    }
    if (untilMs !== undefined && atMs > untilMs) return;
    if (atMs > this.#newestMs) this.#newestMs = atMs;
    if (windowMs !== undefined && atMs < this.#newestMs - windowMs) return;
    const tag = by === undefined ? undefined : (tags[by] ?? '');
    const key = tag === undefined ? metric : `${metric}\n${tag}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      series = { metric, unit, tag, kind: kindOf(record), slices: new Map() };
      this.#series.set(key, series);
    }
    if (timesTag in tags) series.kind = 'histogram';
    const number = windowMs === undefined ? 0 : Math.floor(atMs / this.#sliceMs);
    let slice = series.slices.get(number);
    if (slice === undefined) {
      slice = { sketch: new Sketch(), firstMs: atMs, lastMs: atMs };
      series.slices.set(number, slice);
      if (series.slices.size > 2 * windowSlices) this.#forget(series);
    }
    slice.sketch.add(value, timesOf(record));
    if (atMs < slice.firstMs) slice.firstMs = atMs;
    if (atMs > slice.lastMs) slice.lastMs = atMs;
  }

  /** A line of a file; what is no record is counted and left out. */
  addLine(line: string): void {
    if (line.trim() === '') return;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      this.#skipped += 1;
      return;
    }
    const record = toRecord(value);
    if (record === undefined) this.#skipped += 1;
    else this.add(record);
  }

  result(): Analysis {
    const { windowMs } = this.#options;
    const beginMs = windowMs === undefined ? -Infinity : this.#newestMs - windowMs;
    let firstMs = Infinity;
    let lastMs = -Infinity;
    const found: { series: Series; sketch: Sketch }[] = [];
    for (const series of this.#series.values()) {
      const sketch = new Sketch();
      for (const slice of series.slices.values()) {
        if (slice.lastMs < beginMs) continue;
        sketch.merge(slice.sketch);
        firstMs = Math.min(firstMs, slice.firstMs);
        lastMs = Math.max(lastMs, slice.lastMs);
      }
      if (sketch.count > 0) found.push({ series, sketch });
    }
    if (found.length === 0) firstMs = lastMs = Number.isFinite(this.#newestMs) ? this.#newestMs : 0;
    if (windowMs !== undefined) {
      lastMs = Math.max(lastMs, this.#newestMs);
      firstMs = lastMs - windowMs;
    }
    const ms = lastMs - firstMs;
    return {
      window: { from: isoOf(firstMs), to: isoOf(lastMs), ms },
      metrics: found
        .map(({ series, sketch }) => statisticsOf(series, sketch, ms))
        .sort((a, b) => compare(a.metric, b.metric) || compare(a.tag ?? '', b.tag ?? '')),
      skipped: this.#skipped,
    };
  }

  #forget(series: Series): void {
    const oldest = Math.floor((this.#newestMs - (this.#options.windowMs ?? 0)) / this.#sliceMs);
    for (const number of series.slices.keys()) if (number < oldest) series.slices.delete(number);
  }
}

/**
 * What records come to: of an array, of any stream of them, or of files, which are read once, piece
 * by piece, `.gz` among them. Files of the file-based predecessor have the same lines.
 *
 * ```ts
 * const { metrics } = await analyze(['metrics.jsonl'], { windowMs: 300_000, by: 'agent' });
 * ```
 *
 * @throws {CfcError} `ERR_CFC_EXPORT_IO` where a file cannot be read, `ERR_CFC_USAGE`
 */
export async function analyze(
  from: Iterable<MetricRecord | string> | AsyncIterable<MetricRecord>,
  options: AnalyzeOptions = {},
): Promise<Analysis> {
  const analyzer = new Analyzer(options);
  for await (const one of from) {
    if (typeof one === 'string') await readLines(one, (line) => analyzer.addLine(line));
    else analyzer.add(one);
  }
  return analyzer.result();
}

/** Lines of a file, or of stdin (`-`); one that is longer than a MiB is no line of ours. */
async function readLines(path: string, onLine: (line: string) => void): Promise<void> {
  try {
    const file = path === '-' ? process.stdin : createReadStream(path);
    const bytes = path.endsWith('.gz') ? unpacked(file) : file;
    const decoder = new TextDecoder();
    let rest = '';
    for await (const piece of bytes) {
      rest += decoder.decode(piece as Uint8Array, { stream: true });
      let from = 0;
      for (let at = rest.indexOf('\n'); at >= 0; at = rest.indexOf('\n', from)) {
        onLine(rest.slice(from, at));
        from = at + 1;
      }
      rest = rest.slice(from);
      if (rest.length > mostLineBytes) rest = rest.slice(0, mostLineBytes);
    }
    onLine(rest);
  } catch (cause) {
    throw new CfcError('ERR_CFC_EXPORT_IO', { path, reason: (cause as Error).message }, { cause });
  }
}

function unpacked(file: NodeJS.ReadableStream): NodeJS.ReadableStream {
  const unpack = createGunzip();
  // pipe() passes on everything but failures.
  file.on('error', (error: Error) => unpack.destroy(error));
  return file.pipe(unpack);
}

function statisticsOf(series: Series, sketch: Sketch, ms: number): MetricStatistics {
  const { metric, unit, tag, kind } = series;
  const [p50, p95, p99] = sketch.percentiles([50, 95, 99]) as [number, number, number];
  const grew = kind === 'counter' ? sketch.sum : sketch.count;
  return {
    metric,
    unit,
    kind,
    ...(tag === undefined ? {} : { tag }),
    count: sketch.count,
    avg: sketch.average,
    min: sketch.min,
    max: sketch.max,
    p50,
    p95,
    p99,
    rate: ms > 0 ? (grew * 1000) / ms : 0,
  };
}

// What cfc does not know itself says by its tags what it is, and else is taken for what was
// measured.
function kindOf({ metric, tags }: MetricRecord): MetricKind {
  return catalog.get(metric)?.kind ?? (tags[kindTag] === 'counter' ? 'counter' : 'gauge');
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
const isoOf = (ms: number) => new Date(ms).toISOString();
