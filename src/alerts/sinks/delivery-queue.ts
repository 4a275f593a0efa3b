import { readVersioned, replaceFile } from '../files.js';
import { mergeNotifications, type Notification } from '../notifier.js';
import type { SinkStatus } from './sink.js';

/** What became of a try: done; to be made again, not before a time; or never to succeed. */
export type Attempt =
  | { kind: 'done' }
  | { kind: 'later'; why: string; afterMs?: number }
  | { kind: 'never'; why: string };

export interface DeliveryQueueOptions {
  name: string;
  /** Where what waits survives a restart. */
  path: string;
  /** One try. Must end by itself, and must not throw. */
  deliver: (notification: Notification, signal: AbortSignal) => Promise<Attempt>;
  /** Hears what a person should know. */
  tell: (line: string) => void;
  /** Before the second try; doubled by each one after. Default 1 s. */
  backoffMs?: number;
  /** Default 5 minutes. */
  maxBackoffMs?: number;
  /** How many notifications may wait; more are merged. Default 20. */
  maxWaiting?: number;
  /** How old one may become. Default 24 h. */
  maxAgeMs?: number;
  now?: () => number;
  random?: () => number;
}

interface Saved {
  v: 1;
  waiting: Notification[];
}

/**
 * Delivers notifications one after the other, each at least once: they lie in a file until the other
 * side has said that it has them. After a failure the next try comes later and later, at a random
 * moment of the time that it has, so that many who failed together don't come back together.
 *
 * A queue that grows, or that a restart finds, is merged into few notifications with every group in
 * them: who was down for an hour gets one message, not a hundred.
 */
export class DeliveryQueue {
  readonly #options: Required<Omit<DeliveryQueueOptions, 'name'>>;
  readonly #closing = new AbortController();
  #waiting: Notification[] = [];
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #status: SinkStatus;

  constructor({ name, ...options }: DeliveryQueueOptions) {
    this.#options = {
      backoffMs: 1000,
      maxBackoffMs: 300_000,
      maxWaiting: 20,
      maxAgeMs: 86_400_000,
      now: Date.now,
      random: Math.random,
      ...options,
    };
    this.#status = { name, delivered: 0, failed: 0, dropped: 0, waiting: 0, lastError: undefined };
    const saved = readVersioned<Saved>(options.path, options.tell);
    const [first, ...rest] = saved?.waiting ?? [];
    if (first !== undefined) this.#waiting = [rest.reduce(mergeNotifications, first)];
    this.#start();
  }

  push(notification: Notification): void {
    this.#waiting.push(notification);
    // The first may be on its way just now: it stays as it is.
    while (this.#waiting.length > this.#options.maxWaiting) {
      const [first, older, newer, ...rest] = this.#waiting as [
        Notification,
        Notification,
        Notification,
      ];
      this.#waiting = [first, mergeNotifications(older, newer), ...rest];
    }
    this.#save();
    this.#start();
  }

  status(): SinkStatus {
    return { ...this.#status, waiting: this.#waiting.length };
  }

  async close(graceMs: number): Promise<void> {
    const watchdog = setTimeout(() => this.#closing.abort(), graceMs);
    // What waits for its next try has it now, once.
    if (this.#timer !== undefined) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#start();
    }
    this.#options.maxBackoffMs = 0;
    await this.#running;
    clearTimeout(watchdog);
    clearTimeout(this.#timer);
    this.#closing.abort();
  }

  #start(): void {
    if (this.#running !== undefined || this.#timer !== undefined) return;
    if (this.#waiting.length === 0 || this.#closing.signal.aborted) return;
    this.#running = this.#drain().finally(() => {
      this.#running = undefined;
    });
  }

  async #drain(): Promise<void> {
    const { deliver, maxAgeMs, now } = this.#options;
    for (;;) {
      const first = this.#waiting[0];
      if (first === undefined || this.#closing.signal.aborted) return;
      if (now() - first.atMs > maxAgeMs) {
        this.#giveUp(`nobody took it in ${maxAgeMs / 3_600_000} h`);
        continue;
      }
      const attempt = await deliver(first, this.#closing.signal);
      if (attempt.kind === 'done') {
        this.#status.delivered += 1;
        this.#status.lastError = undefined;
        this.#failures = 0;
        this.#shift();
      } else if (attempt.kind === 'never') {
        this.#giveUp(attempt.why);
      } else {
        this.#retryLater(attempt);
        return;
      }
    }
  }

  #retryLater({ why, afterMs = 0 }: { why: string; afterMs?: number }): void {
    const { name } = this.#status;
    const { backoffMs, maxBackoffMs, random, tell } = this.#options;
    this.#status.failed += 1;
    if (this.#failures === 0) tell(`${name} is not reached, and will be tried again: ${why}`);
    this.#status.lastError = why;
    const most = Math.min(maxBackoffMs, backoffMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    if (this.#closing.signal.aborted || maxBackoffMs === 0) return;
    const waitMs = Math.max(Math.min(afterMs, maxBackoffMs), most / 2 + (random() * most) / 2);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#start();
    }, waitMs);
  }

  #giveUp(why: string): void {
    this.#status.dropped += 1;
    this.#status.lastError = why;
    this.#options.tell(`${this.#status.name}: a notification is given up: ${why}`);
    this.#shift();
  }

  #shift(): void {
    this.#waiting.shift();
    this.#save();
  }

  #save(): void {
    const saved: Saved = { v: 1, waiting: this.#waiting };
    try {
      replaceFile(this.#options.path, JSON.stringify(saved));
    } catch (error) {
      this.#options.tell(`what waits for ${this.#status.name} is in memory only: ${String(error)}`);
    }
  }
}
