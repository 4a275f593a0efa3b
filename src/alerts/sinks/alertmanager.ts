import { isoTime } from '../alert-record.js';
import { readVersioned, replaceFile } from '../files.js';
import type { ActiveAlert } from '../instance.js';
import { type Redactor, shownUrl } from '../redact.js';
import { post } from './http.js';
import type { AlertSink, SinkStatus } from './sink.js';

export interface AlertmanagerOptions {
  /** Of the server, such as `http://127.0.0.1:9093`; `/api/v2/alerts` is added. */
  url: string;
  /** Where what it was told survives a restart. */
  path: string;
  redactor: Redactor;
  tell: (line: string) => void;
  token?: string;
  /** How often evaluations come. An alert that is told no more resolves there after four of them. */
  intervalMs: number;
  /** Of one try. Default 10 s. */
  timeoutMs?: number;
  now?: () => number;
}

interface Posted {
  labels: Record<string, string>;
  annotations: Record<string, string>;
  startsAt: string;
  endsAt: string;
}

/** A name that says: the watch lives. Who routes it notices when it stops. */
export const watchdogAlert = 'cfc_alerts_watchdog';
const perRequest = 1000;
const leastHoldMs = 10_000;

/**
 * Keeps a Prometheus Alertmanager (API v2) told of what fires, by state and not by event: at every
 * evaluation everything that fires is sent with an end in the near future, and what resolved with
 * its end. So a post that is lost is made good by the next one, a restart repeats nothing that
 * Alertmanager would tell twice, and alerts of a watch that died run out by themselves.
 *
 * Cooldown, groups and caps are Alertmanager's own matter here. Silenced and inhibited alerts are
 * not sent. One alert, `cfc_alerts_watchdog`, always fires: route it to a dead-man's switch.
 */
export class AlertmanagerSink implements AlertSink {
  readonly #options: Required<Omit<AlertmanagerOptions, 'token'>> & { token: string | undefined };
  readonly #status: SinkStatus;
  readonly #closing = new AbortController();
  /** What it believes to fire, by fingerprint. */
  #told = new Map<string, Posted>();
  #wanted: readonly ActiveAlert[] | undefined;
  #running: Promise<void> | undefined;
  readonly #sinceMs: number;
  #labels: Readonly<Record<string, string>> = {};

  constructor({ token, ...options }: AlertmanagerOptions) {
    this.#options = { timeoutMs: 10_000, now: Date.now, token, ...options };
    this.#sinceMs = this.#options.now();
    this.#status = {
      name: `alertmanager ${shownUrl(options.url)}`,
      delivered: 0,
      failed: 0,
      dropped: 0,
      waiting: 0,
      lastError: undefined,
    };
    const saved = readVersioned<{ told: [string, Posted][] }>(options.path, options.tell);
    this.#told = new Map(saved?.told ?? []);
  }

  /** @param labels of every alert, for the watchdog */
  withLabels(labels: Readonly<Record<string, string>>): this {
    this.#labels = labels;
    return this;
  }

  notify(): void {
    // Told by sync: by state, not by event.
  }

  sync(alerts: readonly ActiveAlert[]): void {
    this.#wanted = alerts;
    if (this.#running !== undefined || this.#closing.signal.aborted) return;
    this.#running = this.#drain().finally(() => {
      this.#running = undefined;
    });
  }

  status(): SinkStatus {
    return { ...this.#status, waiting: this.#wanted === undefined ? 0 : 1 };
  }

  async close(graceMs: number): Promise<void> {
    const watchdog = setTimeout(() => this.#closing.abort(), graceMs);
    await this.#running;
    clearTimeout(watchdog);
    this.#closing.abort();
  }

  // Only the newest state waits: what came between is of no interest any more.
  async #drain(): Promise<void> {
    while (this.#wanted !== undefined && !this.#closing.signal.aborted) {
      const alerts = this.#wanted;
      this.#wanted = undefined;
      await this.#send(alerts);
    }
  }

  async #send(alerts: readonly ActiveAlert[]): Promise<void> {
    const nowMs = this.#options.now();
    const holdMs = Math.max(leastHoldMs, 4 * this.#options.intervalMs);
    const firing = alerts.filter(({ state, mutedBy }) => state === 'firing' && !mutedBy);
    const next = new Map(
      firing.map((one) => [one.fingerprint, this.#posted(one, nowMs, nowMs + holdMs)]),
    );
    const byPrint = new Map(alerts.map((one) => [one.fingerprint, one]));
    const ended: Posted[] = [];
    for (const [print, posted] of this.#told) {
      if (next.has(print)) continue;
      ended.push({ ...posted, endsAt: isoTime(byPrint.get(print)?.endsAtMs ?? nowMs) });
    }
    const all = [this.#watchdog(nowMs, holdMs), ...next.values(), ...ended];
    for (let i = 0; i < all.length; i += perRequest) {
      const failure = await this.#post(all.slice(i, i + perRequest));
      if (failure === undefined) continue;
      this.#status.failed += 1;
      if (this.#status.lastError === undefined) {
        this.#options.tell(`${this.#status.name} is not reached: ${failure}`);
      }
      this.#status.lastError = failure;
      // It may have taken some of them: all of them are told as ended when they are.
      this.#told = new Map([...this.#told, ...next]);
      this.#save();
      return;
    }
    this.#status.delivered += 1;
    this.#status.lastError = undefined;
    const before = [...this.#told.keys()].join();
    this.#told = next;
    if (before !== [...next.keys()].join()) this.#save();
  }

  async #post(alerts: readonly Posted[]): Promise<string | undefined> {
    const { url, token, timeoutMs } = this.#options;
    const attempt = await post({
      url: `${url.replace(/\/+$/, '')}/api/v2/alerts`,
      body: JSON.stringify(alerts),
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      timeoutMs,
      signal: this.#closing.signal,
    });
    return attempt.kind === 'done' ? undefined : attempt.why;
  }

  #posted(alert: ActiveAlert, nowMs: number, untilMs: number): Posted {
    const { redactor } = this.#options;
    const labels: Record<string, string> = {};
    for (const [name, value] of Object.entries(redactor.labels(alert.labels))) {
      // An empty value is no label there, and other names are refused.
      if (value !== '') labels[name.replace(/[^A-Za-z0-9_]/g, '_').replace(/^\d/, '_')] = value;
    }
    return {
      labels: { ...labels, alertname: alert.alert, severity: alert.severity },
      annotations: {
        summary: redactor.text(alert.message),
        value: String(alert.value),
        threshold: String(alert.threshold),
      },
      startsAt: isoTime(alert.startsAtMs ?? nowMs),
      endsAt: isoTime(untilMs),
    };
  }

  #watchdog(nowMs: number, holdMs: number): Posted {
    return {
      labels: { ...this.#labels, alertname: watchdogAlert, severity: 'info' },
      annotations: { summary: 'the watch of alerts lives; it is dead when this one resolves' },
      startsAt: isoTime(this.#sinceMs),
      endsAt: isoTime(nowMs + holdMs),
    };
  }

  #save(): void {
    try {
      const saved = { v: 1, told: [...this.#told] };
      replaceFile(this.#options.path, JSON.stringify(saved));
    } catch (error) {
      this.#options.tell(`${this.#status.name}: its state is in memory only: ${String(error)}`);
    }
  }
}
