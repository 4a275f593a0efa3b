import type { TopicEvent, TopicPolicy, TopicReader } from '../core/topics.js';
import { startTimer } from './timer.js';
import type { Turn } from './turn.js';

/** How many events are read at a time: what is read counts as delivered. */
const batch = 64;

interface Waiter {
  timer: NodeJS.Timeout | undefined;
  resolve(event: TopicEvent | undefined): void;
  reject(reason: unknown): void;
}

/**
 * What is published to a topic from now on: messages, and in their place gaps. An async iterable;
 * leaving the loop closes it.
 *
 * ```ts
 * for await (const event of me.subscribe('build.events')) {
 *   if (event.gap) console.warn('missed', event.gap.count);
 *   else console.log(event.from, event.json());
 * }
 * ```
 *
 * Up to 64 events are read at a time and count as delivered.
 */
export class Subscription implements AsyncIterableIterator<TopicEvent>, AsyncDisposable {
  readonly topic: string;
  readonly policy: TopicPolicy;
  readonly #reader: TopicReader;
  readonly #turn: Turn;
  readonly #onChange: () => void;
  readonly #onClose: (self: Subscription) => void;
  #events: readonly TopicEvent[] = [];
  #next = 0;
  #waiters: Waiter[] = [];

  /** @internal `Agent.subscribe` makes them */
  constructor(
    reader: TopicReader,
    turn: Turn,
    onChange: () => void,
    onClose: (self: Subscription) => void,
  ) {
    this.topic = reader.topic;
    this.policy = reader.policy;
    this.#reader = reader;
    this.#turn = turn;
    this.#onChange = onChange;
    this.#onClose = onClose;
  }

  get closed(): boolean {
    return this.#reader.closed;
  }

  /** Messages read, and told as lost, so far; how often it was set aside as too slow. */
  get counts(): { delivered: number; lost: number; lagged: number } {
    return this.#reader.counts;
  }

  /** @returns the next message or gap if it is there now */
  tryReceive(): TopicEvent | undefined {
    if (this.#waiters.length > 0) return undefined; // who waits already goes first
    return this.#take();
  }

  /**
   * @returns the next message or gap; undefined when the time is up, or it was closed
   * @throws {CfcError} `ERR_CFC_LEASE_LOST`, `ERR_CFC_FORKED`, `ERR_CFC_REGION_CORRUPT`
   */
  async receive({
    timeoutMs = Infinity,
  }: {
    timeoutMs?: number;
  } = {}): Promise<TopicEvent | undefined> {
    const event = this.tryReceive();
    if (event !== undefined) {
      if (this.#turn.use(1)) await this.#turn.next();
      return event;
    }
    if (timeoutMs <= 0 || this.closed) return undefined;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { timer: undefined, resolve, reject };
      waiter.timer = startTimer(timeoutMs, () => {
        this.#drop(waiter);
        resolve(undefined);
      });
      this.#waiters.push(waiter);
      if (this.#waiters.length === 1) this.#reader.expect(true);
      this.#onChange();
    });
  }

  async next(): Promise<IteratorResult<TopicEvent>> {
    const event = await this.receive();
    return event === undefined ? { value: undefined, done: true } : { value: event, done: false };
  }

  async return(): Promise<IteratorResult<TopicEvent>> {
    await this.close();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the subscription. Whoever waits here gets undefined; loops end. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.#reader.close();
    this.#events = [];
    this.#end((waiter) => waiter.resolve(undefined));
    this.#onClose(this);
    await Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  get waiting(): boolean {
    return this.#waiters.length > 0;
  }

  /** @internal In the event loop: there may be something. */
  ready(): void {
    try {
      while (this.#waiters.length > 0) {
        const event = this.#take();
        if (event === undefined) return;
        const waiter = this.#waiters[0] as Waiter;
        this.#drop(waiter);
        waiter.resolve(event);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** @internal Who waits here does so in vain. */
  fail(reason: unknown): void {
    this.#end((waiter) => waiter.reject(reason));
  }

  #take(): TopicEvent | undefined {
    if (this.#next === this.#events.length) {
      this.#next = 0;
      this.#events = this.#reader.take(batch);
    }
    const event = this.#events[this.#next];
    if (event !== undefined) this.#next += 1;
    return event;
  }

  #drop(waiter: Waiter): void {
    clearTimeout(waiter.timer);
    this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
    if (this.#waiters.length === 0) this.#reader.expect(false);
    this.#onChange();
  }

  #end(tell: (waiter: Waiter) => void): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    this.#reader.expect(false);
    for (const waiter of waiters) {
      clearTimeout(waiter.timer);
      tell(waiter);
    }
    this.#onChange();
  }
}
