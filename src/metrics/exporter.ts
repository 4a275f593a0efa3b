import { option } from '../config/index.js';
import { CfcError } from '../errors.js';
import { Journal } from './journal.js';
import { LogFile } from './log-file.js';
import type { MetricRecord } from './record.js';
import type { Sample, Sampler, SamplerOptions } from './sampler.js';

export interface ExporterOptions {
  /** Where to write. Its folder also gets `FILE.state`, and what is put away: `FILE.1`, … */
  file: string;
  /** How often counters and gauges are told. Default 5000. */
  intervalMs?: number;
  /** How often events are looked for. Default 200. */
  eventsMs?: number;
  /** A file that would grow beyond it is put away first. Default: option `metrics.rotateBytes`. */
  maxBytes?: number;
  /** Files put away that are kept. Default: option `metrics.keepFiles`. */
  keep?: number;
  /** Compress all of those but the newest. Default false. */
  gzip?: boolean;
  /** Files put away that were last written longer ago are removed. Default: option `metrics.keepSeconds`. */
  retentionMs?: number;
  /** Told when looking or writing begins to fail, and when it works again (undefined). */
  onProblem?: (problem: CfcError | undefined) => void;
}

/** What an exporter reads; a `Fabric` is one. */
export interface Exported {
  sampler(options?: SamplerOptions): Sampler;
  info(): { name: string };
}

const defaults = {
  eventsMs: 200,
  gzip: false,
};

/**
 * Writes what a fabric measures to a file, a record a line: what counters grew by, what gauges are,
 * every `intervalMs`, and events as they happen.
 *
 * Exact: the sum over all lines of a counter is what was counted, whoever is killed, this process
 * included. Where the disk is full or fails, nobody waits: counters, histograms and events are told
 * later, and the gauges that nobody got to see are counted, in a record `metrics.lost`.
 *
 * ```ts
 * const exporter = new Exporter(fabric, { file: 'metrics.jsonl', intervalMs: 5000 });
 * await exporter.start();
 * …
 * await exporter.stop();
 * ```
 *
 * Ownership: a file belongs to one exporter at a time.
 */
export class Exporter {
  readonly #fabric: Exported;
  readonly #options: Required<Omit<ExporterOptions, 'onProblem'>>;
  readonly #onProblem: ((problem: CfcError | undefined) => void) | undefined;
  readonly #log: LogFile;
  readonly #journal: Journal;
  #sampler: Sampler | undefined;
  #timer: NodeJS.Timeout | undefined;
  #busy: Promise<void> = Promise.resolve();
  #stopped = false;
  #dueAtMs = 0;
  #prunedAtMs = 0;
  #problem: CfcError | undefined;
  #untold = 0;
  #lines = 0;
  #lost = 0;

  constructor(fabric: Exported, { onProblem, ...options }: ExporterOptions) {
    this.#fabric = fabric;
    this.#onProblem = onProblem;
    this.#options = {
      ...defaults,
      intervalMs: option('metrics.intervalMs'),
      maxBytes: option('metrics.rotateBytes'),
      keep: option('metrics.keepFiles'),
      retentionMs: option('metrics.keepSeconds') * 1000,
      ...options,
    };
    for (const [name, value] of Object.entries(this.#options)) {
      const least = name === 'keep' ? 0 : 1;
      if (typeof value === 'number' && !(value >= least)) {
        throw new CfcError('ERR_CFC_USAGE', { [name]: value, allowed: `at least ${least}` });
      }
    }
    this.#log = new LogFile(this.#options.file, this.#options);
    this.#journal = new Journal(`${this.#options.file}.state`);
  }

  /** Lines written by this object. */
  get lines(): number {
    return this.#lines;
  }

  /** How often this object put its file away. */
  get rotations(): number {
    return this.#log.rotations;
  }

  /** Records that it could not write and that are not told later. */
  get lost(): number {
    return this.#lost;
  }

  /** Why the last try to look or write failed; undefined where it did not. */
  get problem(): CfcError | undefined {
    return this.#problem;
  }

  /**
   * Opens the file, ends what an earlier exporter had begun, writes a first time, and goes on.
   *
   * @throws {CfcError} `ERR_CFC_EXPORT_IO` where the file cannot be opened
   */
  async start(): Promise<void> {
    try {
      const entry = await this.#journal.read();
      if (entry !== undefined) await this.#log.complete(entry.place, entry.batch);
      await this.#log.open();
      this.#sampler = this.#fabric.sampler(entry === undefined ? {} : { baseline: entry.baseline });
    } catch (cause) {
      throw this.#failure(cause);
    }
    await this.flush();
    this.#dueAtMs = performance.now() + this.#options.intervalMs;
    this.#schedule();
  }

  /** Writes everything that there is to tell now. Never rejects: `problem` says why it could not. */
  flush(): Promise<void> {
    this.#busy = this.#busy.then(() => this.#write((sampler) => sampler.draw()));
    return this.#busy;
  }

  /** A last flush; then the file is closed. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.flush();
    await this.#log.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #schedule(): void {
    const left = Math.max(0, this.#dueAtMs - performance.now());
    const waitMs = Math.min(left, this.#options.eventsMs);
    this.#timer = setTimeout(() => {
      const due = performance.now() >= this.#dueAtMs;
      // A slow disk makes intervals longer: what is due is told once, late.
      if (due) this.#dueAtMs = performance.now() + this.#options.intervalMs;
      const next = due ? this.flush() : this.#events();
      void next.then(() => {
        if (!this.#stopped) this.#schedule();
      });
    }, waitMs);
  }

  #events(): Promise<void> {
    this.#busy = this.#busy.then(() => this.#write((sampler) => sampler.drawEvents()));
    return this.#busy;
  }

  async #write(look: (sampler: Sampler) => Sample): Promise<void> {
    if (this.#sampler === undefined) return;
    const sample = this.#look(this.#sampler, look);
    if (sample === undefined || sample.records.length === 0) return;
    const { records, fleeting, next, commit } = sample;
    const untold = this.#untold;
    if (untold > 0) records.push(this.#lossRecord(untold));
    try {
      const batch = toBatch(records);
      const place = await this.#log.prepare(batch.length);
      if (this.#log.regular) await this.#journal.write({ place, batch, baseline: next });
      await this.#log.append(batch, place);
      commit();
      this.#untold -= untold;
      this.#lines += records.length;
      this.#works();
      await this.#prune();
    } catch (cause) {
      // Counters, histograms and events are told with the next batch.
      this.#untold += fleeting;
      this.#lost += fleeting;
      this.#fails(cause);
      await this.#log.release();
    }
  }

  // Of a fabric that was closed, or is damaged, there is nothing to tell.
  #look(sampler: Sampler, look: (sampler: Sampler) => Sample): Sample | undefined {
    try {
      return look(sampler);
    } catch (cause) {
      this.#fails(cause);
      return undefined;
    }
  }

  #lossRecord(value: number): MetricRecord {
    const tags = { fabric: this.#fabric.info().name, reason: 'not written' };
    const timestamp = new Date().toISOString();
    return { timestamp, metric: 'metrics.lost', value, unit: 'records', tags };
  }

  async #prune(): Promise<void> {
    const nowMs = Date.now();
    if (nowMs - this.#prunedAtMs < 60_000 || !this.#log.regular) return;
    this.#prunedAtMs = nowMs;
    await this.#log.prune(nowMs);
  }

  #failure(cause: unknown): CfcError {
    const { file } = this.#options;
    const reason = (cause as Error).message;
    return new CfcError('ERR_CFC_EXPORT_IO', { file, reason }, { cause });
  }

  #works(): void {
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    this.#onProblem?.(undefined);
  }

  #fails(cause: unknown): void {
    const first = this.#problem === undefined;
    this.#problem = cause instanceof CfcError ? cause : this.#failure(cause);
    if (first) this.#onProblem?.(this.#problem);
  }
}

/**
 * All lines of records, one behind the other, in one buffer: what they share (the time, the metric,
 * the tags of an agent) is put into JSON once.
 */
function toBatch(records: readonly MetricRecord[]): Buffer {
  const tagsJson = new Map<MetricRecord['tags'], string>();
  const heads = new Map<string, Head>();
  let batch = Buffer.allocUnsafe(leastBatchBytes);
  let bytes = 0;
  // Piece by piece: one string of all would be copied over and over.
  for (let from = 0; from < records.length; from += recordsPerPiece) {
    const to = Math.min(records.length, from + recordsPerPiece);
    let text = '';
    for (let i = from; i < to; i += 1) {
      const { timestamp, metric, value, unit, tags } = records[i] as MetricRecord;
      let head = heads.get(metric);
      if (head?.timestamp !== timestamp || head.unit !== unit) {
        head = new Head(timestamp, metric, unit);
        heads.set(metric, head);
      }
      let json = tagsJson.get(tags);
      if (json === undefined) {
        json = JSON.stringify(tags);
        tagsJson.set(tags, json);
      }
      text += `${head.beforeValue}${value}${head.afterValue}${json}}\n`;
    }
    const most = bytes + mostBytesPerUnit * text.length;
    if (most > batch.length) {
      const larger = Buffer.allocUnsafe(2 * most);
      batch.copy(larger, 0, 0, bytes);
      batch = larger;
    }
    bytes += batch.write(text, bytes);
  }
  return batch.subarray(0, bytes);
}

const recordsPerPiece = 256;
const leastBatchBytes = 64 * 1024;
const mostBytesPerUnit = 3; // of a UTF-16 unit in UTF-8

/** What lines of a metric have in common. */
class Head {
  readonly timestamp: string;
  readonly unit: string;
  readonly beforeValue: string;
  readonly afterValue: string;

  constructor(timestamp: string, metric: string, unit: string) {
    this.timestamp = timestamp;
    this.unit = unit;
    this.beforeValue = `{"timestamp":"${timestamp}","metric":${JSON.stringify(metric)},"value":`;
    this.afterValue = `,"unit":${JSON.stringify(unit)},"tags":`;
  }
}
