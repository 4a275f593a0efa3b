import { encode } from './bodies.js';
import { type BodyKind, formatMessageId } from './message.js';
import {
  Column,
  EventColumn,
  type NativeAgent,
  native,
  Status,
  type TakeHolder,
} from './native.js';
import { callNative, errorOf, isFull } from './status.js';

/** `reliable`: every message, or an explicit gap; publishers wait for it a while. `lossy`: nobody waits. */
export type TopicPolicy = 'reliable' | 'lossy';

export interface SubscribeFacts {
  /** Default `reliable`. */
  policy?: TopicPolicy;
  /**
   * How long a reliable subscriber may keep publishers of a full topic waiting before it is set
   * aside, and told what it lost. Counted anew whenever it has read what was published by then.
   * Default 1000.
   */
  patienceMs?: number;
}

const defaultPatienceMs = 1000;
const kinds: readonly BodyKind[] = ['bytes', 'text', 'json'];
const decoder = new TextDecoder();
const noEvents: readonly TopicEvent[] = [];

/**
 * One message of a topic. `body` shares a buffer with others of its batch; the buffer is never
 * written again, so a body stays valid and unchanged for as long as it is held.
 */
export class TopicMessage {
  /** Tells a message from a {@link TopicGap}. */
  readonly gap: undefined;
  /** The name that the publisher joined under. */
  readonly from: string;
  readonly topic: string;
  /** Up to 64 bytes, chosen by the publisher; empty where it chose none. */
  readonly type: string;
  /** Milliseconds since 1970, by the publisher's clock. */
  readonly sentAt: number;
  /** Where it stands in the topic's log. All subscribers see the same order. */
  readonly position: number;
  readonly kind: BodyKind;
  readonly body: Uint8Array;
  readonly #uid: number;
  readonly #number: number;
  readonly #sequence: number;

  /** @internal from a row of the addon's table */
  constructor(
    topic: string,
    table: Float64Array,
    row: number,
    texts: readonly string[],
    buffer: ArrayBuffer,
  ) {
    this.from = texts[table[row + Column.from] as number] as string;
    this.topic = topic;
    this.type = texts[table[row + Column.type] as number] as string;
    this.sentAt = table[row + Column.sentAtMs] as number;
    this.position = table[row + EventColumn.position] as number;
    this.kind = kinds[table[row + Column.kind] as number] ?? 'bytes';
    this.body = new Uint8Array(
      buffer,
      table[row + Column.bodyOffset] as number,
      table[row + Column.bodyBytes] as number,
    );
    this.#uid = table[row + Column.uid] as number;
    this.#number = table[row + Column.number] as number;
    this.#sequence = table[row + Column.sequence] as number;
  }

  /** Unique in the fabric. */
  get id(): string {
    return formatMessageId(this.#uid, this.#number);
  }

  /** Per publisher and topic: from 1, without gaps. */
  get sequence(): bigint {
    return BigInt(this.#sequence);
  }

  text(): string {
    return decoder.decode(this.body);
  }

  /** @throws {SyntaxError} where the body is no JSON */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }
}

/** Messages that this subscriber was too slow for, at the place where they are missing. */
export interface TopicGap {
  /**
   * `count` messages are lost, all those at positions from `from` to before `to`. Positions can
   * outnumber them: a publisher that died or gave up leaves one without a message.
   */
  readonly gap: { readonly from: number; readonly to: number; readonly count: number };
  readonly topic: string;
}

export type TopicEvent = TopicMessage | TopicGap;

/**
 * A place in a topic, from the tail on. Nothing here waits, but for `waitSync`; `Subscription` of
 * the package's main entry adds the waiting.
 */
export class TopicReader {
  readonly topic: string;
  readonly policy: TopicPolicy;
  readonly #native: NativeAgent;
  readonly #holder: TakeHolder;
  readonly #handle: number;
  #closed = false;

  /** @internal `Topics.subscribe` makes them */
  constructor(agent: NativeAgent, holder: TakeHolder, topic: string, facts: SubscribeFacts) {
    this.topic = topic;
    this.policy = facts.policy ?? 'reliable';
    this.#native = agent;
    this.#holder = holder;
    this.#handle = callNative(
      () => agent.subscribe(topic, this.policy === 'lossy', facts.patienceMs ?? defaultPatienceMs),
      { topic },
    );
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Up to `max` messages and gaps (256 at most) that are there now, in order, and no more once their
   * bodies have 1 MiB. What is returned is read: publishers need not keep it any more.
   *
   * @throws {CfcError} `ERR_CFC_MAILBOX_CLOSED`, `ERR_CFC_LEASE_LOST`, `ERR_CFC_FORKED`
   */
  take(max: number): readonly TopicEvent[] {
    if (this.#closed) return noEvents;
    const count = this.#native.nextEvents(this.#handle, max);
    if (count <= 0) {
      if (-count === Status.empty || -count === Status.ok) return noEvents;
      throw errorOf(-count, { topic: this.topic });
    }
    const { table, texts, buffer } = this.#holder;
    const events = new Array<TopicEvent>(count);
    for (let i = 0; i < count; i += 1) {
      const row = i * native.constants.columns;
      events[i] =
        table[row + EventColumn.isGap] === 1
          ? gapAt(this.topic, table, row)
          : new TopicMessage(this.topic, table, row, texts, buffer);
    }
    return events;
  }

  /**
   * Blocks this thread on the futex until there is something or the time is up.
   *
   * @returns false when the time is up
   */
  waitSync(timeoutMs: number): boolean {
    const status = -this.#native.waitEvents(this.#handle, timeoutMs);
    if (status === Status.ok) return true;
    if (status === Status.timedOut) return false;
    throw errorOf(status, { topic: this.topic });
  }

  /** Messages read, and told as lost, so far; how often it was set aside as too slow. */
  get counts(): { delivered: number; lost: number; lagged: number } {
    const info = this.#closed ? undefined : this.#native.subscriptionInfo(this.#handle);
    return { delivered: info?.delivered ?? 0, lost: info?.lost ?? 0, lagged: info?.lagged ?? 0 };
  }

  /** @internal Whether events wake the loop. */
  expect(expected: boolean): void {
    if (!this.#closed) this.#native.expectEvents(this.#handle, expected);
  }

  /** Ends the subscription; publishers wait for it no longer. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.unsubscribe(this.#handle);
  }
}

function gapAt(topic: string, table: Float64Array, row: number): TopicGap {
  return {
    gap: {
      from: table[row + EventColumn.gapFrom] as number,
      to: table[row + EventColumn.gapTo] as number,
      count: table[row + EventColumn.gapCount] as number,
    },
    topic,
  };
}

/** The topics of one mailbox: publishing and subscribing, without waiting. */
export class Topics {
  readonly #native: NativeAgent;
  readonly #holder: TakeHolder;
  readonly #typeOf: (type: string) => number;
  readonly #numbers = new Map<string, number>();

  /** @internal `Mailbox` makes it */
  constructor(agent: NativeAgent, holder: TakeHolder, typeOf: (type: string) => number) {
    this.#native = agent;
    this.#holder = holder;
    this.#typeOf = typeOf;
  }

  /**
   * Copies `body` into the topic's log, where every subscriber reads it. Never waits.
   *
   * @returns the message's number; negative where there is no room: a status, one of `full`,
   *   `slabFull`, `quota`, `rateLimited`
   * @throws {CfcError} `ERR_CFC_QUOTA`, `ERR_CFC_RECORD_TOO_LARGE`, `ERR_CFC_TOPICS_FULL`, `ERR_CFC_NO_SPACE`,
   *   `ERR_CFC_USAGE`, `ERR_CFC_MAILBOX_CLOSED`, `ERR_CFC_FORKED`
   */
  tryPublish(topic: string, body: unknown, type = ''): number {
    const { data, bits } = encode(body);
    const number = this.#native.tryPublish(this.numberOf(topic), data, bits, this.#typeOf(type));
    if (number > 0) return number;
    if (isFull(-number)) return number;
    throw errorOf(-number, { topic });
  }

  /** After `rateLimited`: when to try again. @internal */
  get rateWaitMs(): number {
    return this.#native.rateWait();
  }

  /**
   * Reads what is published from now on.
   *
   * @throws {CfcError} `ERR_CFC_SUBSCRIBERS_FULL`, `ERR_CFC_TOPICS_FULL`, `ERR_CFC_NO_SPACE`,
   *   `ERR_CFC_USAGE`, `ERR_CFC_MAILBOX_CLOSED`
   */
  subscribe(topic: string, facts: SubscribeFacts = {}): TopicReader {
    return new TopicReader(this.#native, this.#holder, topic, facts);
  }

  /** @internal To be followed by another try. */
  waitRoom(topic: string, room: boolean): void {
    this.#native.waitTopic(this.numberOf(topic), room);
  }

  /** @internal */
  stopWaitRoom(topic: string): void {
    const number = this.#numbers.get(topic);
    if (number !== undefined) this.#native.stopWaitTopic(number);
  }

  /** @internal @throws {CfcError} `ERR_CFC_USAGE`, `ERR_CFC_TOPICS_FULL`, `ERR_CFC_NO_SPACE` */
  numberOf(topic: string): number {
    const known = this.#numbers.get(topic);
    if (known !== undefined) return known;
    const number = this.#native.topic(topic);
    if (number < 0) throw errorOf(-number, { topic });
    this.#numbers.set(topic, number);
    return number;
  }
}
