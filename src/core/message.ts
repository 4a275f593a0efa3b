import { Column, type deathCauses, MessageFlag, native, type traceStates } from './native.js';

/** How a body was given to send: as bytes, as text, or as a JSON value. */
export type BodyKind = 'bytes' | 'text' | 'json';

const kinds: readonly BodyKind[] = ['bytes', 'text', 'json'];
export const kindOf = (number: number): BodyKind => kinds[number] ?? 'bytes';
const decoder = new TextDecoder();

/** A message's id as people see it: `<sender>-<number>`, both in base 36. */
export function formatMessageId(uid: number, number: number): string {
  return `${uid.toString(36)}-${number.toString(36)}`;
}

/** @returns undefined where `text` is no id */
export function parseMessageId(text: string): { uid: number; number: number } | undefined {
  const match = /^([0-9a-z]{1,10})-([0-9a-z]{1,11})$/.exec(text);
  if (match === null) return undefined;
  const uid = Number.parseInt(match[1] as string, 36);
  const number = Number.parseInt(match[2] as string, 36);
  return Number.isSafeInteger(uid) && Number.isSafeInteger(number) ? { uid, number } : undefined;
}

/** What happens to a message once its reader is done with it. The mailbox that leased it does it. */
export interface MessageOwner {
  ackMessage(message: Message): void;
  nackMessage(message: Message, delayMs: number, reason: string): void;
  replyTo(message: Message, body: unknown): Promise<unknown>;
  forwardMessage(message: Message, to: string): Promise<unknown>;
}

/** What is known of a message, apart from its body; plain values. */
export interface MessageFacts {
  from: string;
  to: string;
  type: string;
  uid: number;
  number: number;
  sequence: number;
  sentAt: number;
  attempt: number;
  correlationUid: number;
  correlationNumber: number;
  kind: number;
  flags: number;
  /** 0 control, 1 work. */
  lane: number;
  /** By the monotonic clock; 0: never. */
  expiresAtMs: number;
}

/** From a row of the addon's table. @internal */
export function readFacts(
  table: Float64Array,
  row: number,
  from: string,
  to: string,
  type: string,
): MessageFacts {
  return {
    from,
    to,
    type,
    uid: table[row + Column.uid] as number,
    number: table[row + Column.number] as number,
    sequence: table[row + Column.sequence] as number,
    sentAt: table[row + Column.sentAtMs] as number,
    attempt: table[row + Column.attempt] as number,
    correlationUid: table[row + Column.correlationUid] as number,
    correlationNumber: table[row + Column.correlationNumber] as number,
    kind: table[row + Column.kind] as number,
    flags: table[row + Column.flags] as number,
    lane: table[row + Column.lane] as number,
    expiresAtMs: table[row + Column.expiresAtMs] as number,
  };
}

/** Where a message is. */
export interface MessageTrace {
  id: string;
  /**
   * `writing`: its sender is at it, it is not accepted yet. `queued`. `leased`: a process has it.
   * `held`: its agent has it, whatever process that is. `acked`, `dropped`, `dead-lettered`.
   * `settled`: one of the last three; messages of its lane were lost, so which one is not known.
   */
  state: (typeof traceStates)[number];
  from: string;
  /** Whose mailbox it is or was in. */
  to: string;
  type: string;
  lane: 'control' | 'work';
  sequence: bigint;
  /** Milliseconds since 1970, by the sender's clock. */
  sentAt: number;
  /** How often it was given back; 0 again once its place is free. */
  attempt: number;
  /** Of the process that has it. */
  pid: number | undefined;
  /** Why it is a dead letter, while that is kept. */
  reason: string | undefined;
}

/** What was not processed in as many attempts as it may have, or not in its time. */
export interface DeadLetter {
  /** With its own id, sender, type and body, and whose it was in `to`. Not leased. */
  message: Message;
  /** `attempts`: delivered as often as may be, never acked. `expired`: met after its `ttlMs`. */
  cause: Exclude<(typeof deathCauses)[number], ''>;
  /** What the last `nack` gave as its reason; else the cause. */
  reason: string;
  /** Deliveries. */
  attempts: number;
  diedAt: Date;
}

/** A message that is or was in a mailbox or a topic, as far as its place still shows it. */
export interface TracedMessage extends MessageTrace {
  kind: BodyKind;
  /** Undefined where the body did not fit into its place, and is gone. */
  body: Uint8Array | undefined;
}

/** A message that waits, looked at without taking it. */
export interface PeekedMessage {
  /** Not leased: ack, nack and reply do nothing. */
  message: Message;
  /** Somebody has it. */
  leased: boolean;
}

/**
 * One delivery. `body` shares a buffer with others of its batch; the buffer is never written again,
 * so a body stays valid and unchanged for as long as it is held.
 */
export class Message {
  /** The name that the sender joined under. A field of the payload can't change it. */
  readonly from: string;
  readonly to: string;
  /** Up to 64 bytes, chosen by the sender; empty where it chose none. */
  readonly type: string;
  /** Milliseconds since 1970, by the sender's clock. */
  readonly sentAt: number;
  /** 0 at the first delivery; one more for each time that a holder died or nacked. */
  readonly attempt: number;
  readonly body: Uint8Array;

  readonly #facts: MessageFacts;
  readonly #owner: MessageOwner | undefined;
  /** The lease, as the mailbox numbers it; -1 once settled. @internal */
  lease: number;

  /** @internal */
  constructor(facts: MessageFacts, body: Uint8Array, lease: number, owner?: MessageOwner) {
    this.from = facts.from;
    this.to = facts.to;
    this.type = facts.type;
    this.sentAt = facts.sentAt;
    this.attempt = facts.attempt;
    this.body = body;
    this.lease = lease;
    this.#facts = facts;
    this.#owner = owner;
  }

  /** Unique in the fabric. */
  get id(): string {
    return formatMessageId(this.#facts.uid, this.#facts.number);
  }

  /** Per sender, recipient and lane: from 1, without gaps. A repeat carries the same. */
  get sequence(): bigint {
    return BigInt(this.#facts.sequence);
  }

  /** True where an earlier delivery was not acknowledged: the work may have been done before. */
  get redelivered(): boolean {
    return this.attempt > 0;
  }

  /** The id of the message that this one answers or continues. */
  get correlationId(): string | undefined {
    const { correlationUid, correlationNumber } = this.#facts;
    return correlationUid === 0 ? undefined : formatMessageId(correlationUid, correlationNumber);
  }

  /** How often it was handed on (`forward`, or a send that `continues` it). */
  get hops(): number {
    return this.#facts.flags >> native.constants.hopShift;
  }

  get kind(): BodyKind {
    return kindOf(this.#facts.kind);
  }

  /** True where the sender waits for a reply (`ask`). */
  get expectsReply(): boolean {
    return (this.#facts.flags & MessageFlag.asks) !== 0;
  }

  /** @internal */
  get facts(): Readonly<MessageFacts> {
    return this.#facts;
  }

  /** True until ack or nack. */
  get leased(): boolean {
    return this.lease >= 0;
  }

  text(): string {
    return decoder.decode(this.body);
  }

  /** @throws {SyntaxError} where the body is no JSON */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }

  /**
   * Says that the message was processed; it is never delivered again. A second call does nothing.
   *
   * @throws {CfcError} `ERR_CFC_LEASE_LOST` where somebody else has it by now
   */
  ack(): void {
    if (this.lease >= 0) this.#owner?.ackMessage(this);
  }

  /**
   * Gives the message back: it is delivered again, flagged, after `delayMs` (default 0). Where it
   * was delivered as often as the fabric's `attemptLimit` says, it becomes a dead letter with that
   * reason instead.
   *
   * @throws {CfcError} `ERR_CFC_LEASE_LOST` where somebody else has it by now
   */
  nack({ delayMs = 0, reason = '' }: { delayMs?: number; reason?: string } = {}): void {
    if (this.lease >= 0) this.#owner?.nackMessage(this, delayMs, reason);
  }

  /**
   * Answers the sender, with this message's id as `correlationId`. Does not ack. One that asked gets
   * it from `ask`; for others it is a message like any other.
   *
   * @param body bytes, a string, or a JSON value
   */
  async reply(body: unknown): Promise<void> {
    await this.#owner?.replyTo(this, body);
  }

  /**
   * Hands the message on: the same body, type and lane, what is left of its `ttlMs`, one hop more.
   * Does not ack.
   *
   * @throws {CfcError} `ERR_CFC_LOOP` at the sixteenth hop, and what send throws
   */
  async forward(to: string): Promise<void> {
    await this.#owner?.forwardMessage(this, to);
  }
}
