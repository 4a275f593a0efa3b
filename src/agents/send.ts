import { inspect } from 'node:util';
import { option } from '../config/index.js';
import { formatMessageId, type Message } from '../core/message.js';
import type { SendFacts } from '../core/send-facts.js';
import { CfcError } from '../errors.js';

export type Route = 'all' | 'least-loaded' | 'only-if-idle';

export interface SendOptions {
  /** Up to 64 bytes, for the reader to tell messages apart. Default none. */
  type?: string;
  /** `control` overtakes `work`. Default `work`. */
  priority?: 'control' | 'work';
  /**
   * How long the message may wait to be taken. A reader that meets it later makes it a dead letter.
   * Default: for ever.
   */
  ttlMs?: number;
  /**
   * Says that a message is the same as another. One whose key was acked in this mailbox in the last
   * two minutes (of the last 1,024 keys) is dropped by its reader, and counted as dropped; to who
   * waits for its ack it is acked. For a retry of a send that was interrupted. Default none.
   */
  dedupKey?: string;
  /** The message that this one hands on: with its hops, and one more. Default none. */
  continues?: Message;
  /** How often it was handed on before, where `continues` is not at hand. Default 0. */
  hops?: number;
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
export type BatchOptions = Omit<
  SendOptions,
  'wait' | 'whenFull' | 'route' | 'dedupKey' | 'continues' | 'hops'
>;

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
  const ttlMs = checkedTtl(options.ttlMs ?? Infinity);
  if (options.dedupKey !== undefined) facts.dedupKey = checkedKey(options.dedupKey);
  if (options.continues !== undefined) facts.continues = options.continues;
  if (options.hops !== undefined) facts.hops = checkedHops(options.hops);
  if (ttlMs !== undefined) facts.ttlMs = ttlMs;
  if (options.whenFull === 'drop-oldest') facts.dropOldest = true;
  return facts;
}

const mostTtlMs = 365 * 24 * 3600 * 1000;

function checkedTtl(ttlMs: number): number | undefined {
  if (ttlMs === Infinity) return undefined;
  if (ttlMs >= 0 && ttlMs <= mostTtlMs) return Math.ceil(ttlMs);
  throw new CfcError('ERR_CFC_USAGE', { ttlMs, allowed: `0 to ${mostTtlMs}, or Infinity` });
}

const mostKeyLength = 1024;

function checkedKey(dedupKey: string): string {
  if (dedupKey !== '' && dedupKey.length <= mostKeyLength) return dedupKey;
  throw new CfcError('ERR_CFC_USAGE', { dedupKey, allowed: `1 to ${mostKeyLength} characters` });
}

function checkedHops(hops: number): number {
  if (Number.isInteger(hops) && hops >= 0) return hops;
  throw new CfcError('ERR_CFC_USAGE', { hops, allowed: 'a whole number from 0 on' });
}
