import type { Message } from './message.js';
import { MessageFlag, native, SendBit, sendHopsShift } from './native.js';

/** What is sent along with a body. */
export interface SendFacts {
  /** Up to 64 bytes; default none. */
  type?: string;
  /** `control` overtakes `work`. Default `work`. */
  priority?: 'control' | 'work';
  /** Not processed within that time, it becomes a dead letter. Default: none. */
  ttlMs?: number;
  /** A repeat of a key that was acked in the last two minutes is dropped, and counted. */
  dedupKey?: string;
  /** The message that this one hands on: one hop more. */
  continues?: Message;
  /** How often it was handed on before, where `continues` does not say it. */
  hops?: number;
  /** In a full mailbox the oldest message that nobody reads gives way, and is counted. */
  dropOldest?: boolean;
  /** Only where nothing else is in the lane, waiting or leased; else it is full. */
  onlyIfIdle?: boolean;
  /** @internal */
  asks?: boolean;
  /** @internal */
  receipt?: boolean;
  /** @internal where there is no room it will wait: that is no refusal yet */
  waits?: boolean;
  /** @internal told the message's number in the very turn in which it is accepted */
  sent?: (number: number) => void;
  /** @internal the message that this one answers */
  answers?: Message;
}

/** True for an answer to `ask`. @internal */
export function isReply(message: Message): boolean {
  return (message.facts.flags & MessageFlag.reply) !== 0;
}

function hopsOf({ continues, hops = 0 }: SendFacts): number {
  return Math.min(continues === undefined ? hops : continues.hops + 1, native.constants.hopLimit);
}

/** What a send says that hands `message` on. @internal */
export function forwardFacts(message: Message): SendFacts {
  const { expiresAtMs, lane } = message.facts;
  const facts: SendFacts = { continues: message, priority: lane === 0 ? 'control' : 'work' };
  if (message.type !== '') facts.type = message.type;
  if (expiresAtMs !== 0) {
    const nowMs = Number(process.hrtime.bigint() / 1_000_000n);
    facts.ttlMs = Math.max(0, expiresAtMs - nowMs);
  }
  return facts;
}

/** As it was given to send. @internal */
export function bodyToForward(message: Message): unknown {
  if (message.kind === 'bytes') return message.body;
  return message.kind === 'text' ? message.text() : message.json();
}

/** As the core takes them, in one number. @internal */
export function sendBits(facts: SendFacts): number {
  return (
    (facts.priority === 'control' ? 0 : SendBit.workLane) |
    (facts.asks ? SendBit.asks : 0) |
    (facts.answers || facts.continues ? SendBit.correlates : 0) |
    // Only who asked waits for a reply; to others it is a message like any other.
    (facts.answers?.expectsReply ? SendBit.reply : 0) |
    (facts.dropOldest ? SendBit.dropOldest : 0) |
    (facts.onlyIfIdle ? SendBit.onlyIfIdle : 0) |
    (facts.receipt ? SendBit.receipt : 0) |
    (facts.waits ? SendBit.waits : 0) |
    (facts.ttlMs === undefined ? 0 : SendBit.expires) |
    (facts.dedupKey === undefined ? 0 : SendBit.keyed) |
    (hopsOf(facts) << sendHopsShift)
  );
}
