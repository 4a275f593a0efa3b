import { inspect } from 'node:util';
import { option } from '../config/index.js';
import type { SendFacts } from '../core/mailbox.js';
import { formatMessageId } from '../core/message.js';

export type Route = 'all' | 'least-loaded' | 'only-if-idle';

export interface SendOptions {
  /** Up to 64 bytes, for the reader to tell messages apart. Default none. */
  type?: string;
  /** `control` overtakes `work`. Default `work`. */
  priority?: 'control' | 'work';
  /**
   * How long to wait for room, and with `wait: 'acked'` for the ack. Default the option
   * `send.timeoutMs`, 30000; Infinity: for ever.
   */
  timeoutMs?: number;
  /** `accepted`: it survives the death of any process. `acked`: the reader processed it. Default `accepted`. */
  wait?: 'accepted' | 'acked';
  /**
   * Of a group: `all` members get the message; or one does, `least-loaded` the one with the fewest
   * unacked messages, `only-if-idle` one that has none. Default `all`.
   */
  route?: Route;
  /** `block` waits for room; `drop-oldest` lets the oldest unread message go, counted. Default `block`. */
  whenFull?: 'block' | 'drop-oldest';
}

/** Of sendBatch, to which nothing else applies. */
export type BatchOptions = Omit<SendOptions, 'wait' | 'whenFull' | 'route'>;

let timeoutMs: number | undefined;

/** For room, and with `wait: 'acked'` for the ack. Read once: most sends look. */
export function defaultTimeoutMs(): number {
  timeoutMs ??= option('send.timeoutMs');
  return timeoutMs;
}

/** What send resolves to. */
export class SendReceipt {
  readonly to: string;
  readonly state: 'accepted' | 'acked';
  readonly #uid: number;
  readonly #number: number;

  /** @internal */
  constructor(uid: number, number: number, to: string, state: 'accepted' | 'acked') {
    this.#uid = uid;
    this.#number = number;
    this.to = to;
    this.state = state;
  }

  /** Unique in the fabric. Made when it is asked for, as most senders never look. */
  get id(): string {
    return formatMessageId(this.#uid, this.#number);
  }

  toJSON(): { id: string; to: string; state: string } {
    return { id: this.id, to: this.to, state: this.state };
  }

  [inspect.custom](): unknown {
    return this.toJSON();
  }
}

/** @internal @param waits for room, where there is none */
export function factsOf(options: SendOptions, waits = false): SendFacts {
  const facts: SendFacts = {};
  if (waits) facts.waits = true;
  if (options.type !== undefined) facts.type = options.type;
  if (options.priority !== undefined) facts.priority = options.priority;
  if (options.whenFull === 'drop-oldest') facts.dropOldest = true;
  return facts;
}
