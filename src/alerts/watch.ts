import type { MetricRecord } from '../metrics/record.js';
import { recordOfGroup } from './alert-record.js';
import { AlertEngine, type AlertEngineOptions, type AlertEngineState } from './engine.js';
import { makePrivateDirectory, readVersioned, replaceFile } from './files.js';
import { Heartbeat, takeWatchLock } from './heartbeat.js';
import { AlertHistory } from './history.js';
import type { ActiveAlert } from './instance.js';
import type { Silence } from './muting.js';
import type { Redactor } from './redact.js';
import { SilenceFiles } from './silences.js';
import type { AlertSink, SinkStatus } from './sinks/sink.js';
import type { AlertFiles } from './state-directory.js';

/** Where records come from. */
export interface MetricSource {
  /**
   * What there is since the last call.
   *
   * @throws where there is nothing to read from: the alert `fabric_down` says why
   */
  read(nowMs: number): Iterable<MetricRecord> | Promise<Iterable<MetricRecord>>;
  close(): void;
}

export interface AlertWatchOptions extends AlertEngineOptions {
  source: MetricSource;
  files: AlertFiles;
  /** Those that others own; the history is written beside them. */
  sinks: readonly AlertSink[];
  redactor: Redactor;
  /** Of the rules' file. */
  silences?: readonly Silence[];
  intervalMs: number;
  /** Hears what a person should know. */
  tell: (line: string) => void;
  now?: () => number;
}

const closeGraceMs = 5000;

/**
 * The daemon: reads, evaluates, tells, and notes that it lives; what it knows outlives it.
 *
 * Ownership: it takes over the source and the sinks, and closes them. One watch at a time runs over
 * a state directory. Nothing that goes wrong in an evaluation ends it.
 */
export class AlertWatch {
  readonly engine: AlertEngine;
  readonly #options: Required<Omit<AlertWatchOptions, keyof AlertEngineOptions>>;
  readonly #history: AlertHistory;
  readonly #heartbeat: Heartbeat;
  readonly #silenceFiles: SilenceFiles;
  readonly #unlock: () => void;
  #historyFailed = false;

  /** @throws {CfcError} `ERR_CFC_ALERTS_RUNNING` */
  constructor(options: AlertWatchOptions) {
    const { source, files, sinks, redactor, silences = [], intervalMs, tell } = options;
    const { now = Date.now } = options;
    this.#options = { source, files, sinks, redactor, silences, intervalMs, tell, now };
    makePrivateDirectory(files.directory);
    this.#unlock = takeWatchLock(files.lock, files.heartbeat);
    this.engine = new AlertEngine(options);
    const saved = readVersioned<AlertEngineState>(files.state, tell);
    if (saved !== undefined) this.engine.restore(saved, now());
    this.#history = new AlertHistory(files.history);
    this.#heartbeat = new Heartbeat(files.heartbeat, intervalMs);
    this.#silenceFiles = new SilenceFiles(files.silences, tell);
  }

  /** One evaluation. Never throws. @returns what changed */
  async tick(): Promise<ActiveAlert[]> {
    let failed = false;
    let changed: ActiveAlert[] = [];
    try {
      changed = await this.#evaluate();
    } catch (error) {
      failed = true;
      this.#options.tell(`an evaluation failed: ${String((error as Error).stack ?? error)}`);
    }
    try {
      this.#heartbeat.beat(this.#options.now(), failed);
    } catch (error) {
      this.#options.tell(`no sign of life can be given: ${String(error)}`);
    }
    return changed;
  }

  /** Evaluates at every interval until the signal, then closes. */
  async run(signal: AbortSignal, onTick?: (changed: ActiveAlert[]) => void): Promise<void> {
    const { intervalMs } = this.#options;
    try {
      let next = performance.now();
      while (!signal.aborted) {
        const changed = await this.tick();
        onTick?.(changed);
        // After a stop of the process it goes on from now, and doesn't make up for what it missed.
        next = Math.max(next + intervalMs, performance.now());
        await sleepUntil(next, signal);
      }
    } finally {
      await this.close();
    }
  }

  sinkStatus(): SinkStatus[] {
    return this.#options.sinks.map((sink) => sink.status());
  }

  async close(): Promise<void> {
    const { source, sinks, now, tell } = this.#options;
    source.close();
    await Promise.all(sinks.map((sink) => sink.close(closeGraceMs)));
    try {
      this.#heartbeat.stop(now());
    } catch (error) {
      tell(`the end cannot be noted: ${String(error)}`);
    }
    this.#history.close();
    this.#unlock();
  }

  async #evaluate(): Promise<ActiveAlert[]> {
    const { source, sinks, silences, now, files } = this.#options;
    try {
      this.engine.observe(await source.read(now()), now());
      this.engine.setSource(undefined);
    } catch (error) {
      this.engine.setSource((error as Error).message);
    }
    const nowMs = now();
    this.engine.silences = [...silences, ...this.#silenceFiles.read(nowMs)];
    const { changed, notification } = this.engine.evaluate(nowMs);
    if (notification !== undefined) {
      for (const group of notification.groups) {
        this.#log(recordOfGroup(group, notification, this.#options.redactor), nowMs);
      }
      for (const sink of sinks) sink.notify(notification);
    }
    const active = this.engine.active();
    for (const sink of sinks) sink.sync?.(active, nowMs);
    // After the sinks have what they must not lose: a crash in between tells it twice.
    replaceFile(files.state, JSON.stringify(this.engine.save(nowMs)));
    return changed;
  }

  #log(record: Parameters<AlertHistory['append']>[0], nowMs: number): void {
    try {
      this.#history.append(record, nowMs);
      this.#historyFailed = false;
    } catch (error) {
      if (!this.#historyFailed) this.#options.tell(`alerts are not logged: ${String(error)}`);
      this.#historyFailed = true;
    }
  }
}

function sleepUntil(atMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, atMs - performance.now()));
    signal.addEventListener('abort', done, { once: true });
  });
}
