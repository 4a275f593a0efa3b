import { option } from '../config/index.js';
import { CfcError } from '../errors.js';
import { encode, encodeInto, PackedBodies } from './bodies.js';
import { Counters } from './counters.js';
import { limitsOf, type RateLimit, type SendQuota } from './limits.js';
import {
  formatMessageId,
  Message,
  type MessageOwner,
  type PeekedMessage,
  readFacts,
} from './message.js';
import {
  Column,
  Expect,
  type NativeAgent,
  type NativeFabric,
  native,
  Status,
  type TakeHolder,
} from './native.js';
import type { Region } from './region.js';
import { bodyToForward, forwardFacts, type SendFacts, sendBits } from './send-facts.js';
import { errorOf, isFull } from './status.js';
import { Topics } from './topics.js';

// By itself: the addon's object of constants is a dictionary, which costs a lookup per use.
const { columns } = native.constants;

export interface MailboxOptions {
  role?: string;
  team?: string;
  parent?: string;
  /** Cells of the work lane, rounded up to a power of two; default: the fabric's. */
  mailboxCells?: number;
  /** How fast it may send and publish: messages a second, and after a pause `burst` at once. */
  rate?: RateLimit;
  /** How much it may send and publish in all. */
  quota?: SendQuota;
  /** A new life of that name: what an earlier one still holds is redelivered. Default true. */
  fence?: boolean;
  /** Count what it does. Default true, or what `CFC_METRICS=off` says. */
  metrics?: boolean;
  /** Token of the life to be a guest of: `CFC_LEASE`, as a shim hands it down. */
  life?: string;
}

const noMessages: readonly Message[] = [];

/**
 * A name in a fabric with the mailbox behind it, without policy: nothing here waits, but for
 * `waitSync`. `Agent` adds the waiting, the asking and the order among waiting senders.
 *
 * Threads: one. Answers of the `try…` kind are outcomes; what is thrown is a failure.
 */
export class Mailbox implements MessageOwner {
  readonly name: string;
  readonly counters: Counters;
  /** Publishing and subscribing. */
  readonly topics: Topics;
  /** Called in the event loop when what `expect` or a wait named may be there. @internal */
  onReady: (() => void) | undefined;
  /** Asked before the first send to a name; throws where it may not be sent to. @internal */
  guard: ((to: string) => void) | undefined;
  /** Called there when who waits does so in vain. @internal */
  onFailure: ((reason: CfcError) => void) | undefined;

  readonly #region: Region;
  readonly #native: NativeAgent;
  readonly #holder: TakeHolder;
  readonly #routes = new Map<string, number>();
  readonly #replyRoutes = new Map<string, number>();
  readonly #types = new Map<string, number>([['', 0]]);
  readonly #leases = new Uint32Array(native.constants.mostTaken);
  #packed: PackedBodies | undefined;
  #replier: ((message: Message, body: unknown) => Promise<unknown>) | undefined;
  #forwarder: ((message: Message, to: string) => Promise<unknown>) | undefined;
  #refusal: number = Status.ok;
  #left = false;
  #waiting = false;
  #expected: number = Expect.nothing;
  readonly uid: number;
  readonly entry: number;
  readonly workCells: number;
  /** Beside the shim that holds the name. */
  readonly guest: boolean;

  /** @internal `Region.join` makes them */
  constructor(region: Region, fabric: NativeFabric, name: string, options: MailboxOptions) {
    this.name = name;
    this.#region = region;
    this.#holder = {} as TakeHolder;
    const counts = options.metrics ?? option('metrics.count') !== 'off';
    this.#native = new native.NativeAgent(
      fabric,
      {
        name,
        role: options.role ?? '',
        team: options.team ?? '',
        parent: options.parent ?? '',
        mailboxCells: options.mailboxCells ?? 0,
        ...limitsOf(options),
        fence: options.fence ?? true,
        counts,
        life: options.life ?? '',
      },
      this.#holder,
    );
    const info = this.#native.info();
    this.uid = info.uid;
    this.entry = info.entry;
    this.workCells = info.workCells;
    this.guest = info.guest;
    this.counters = new Counters(fabric, this.#native, counts);
    this.topics = new Topics(this.#native, this.#holder, (type) => this.#typeOf(type));
  }

  /** The directory of its fabric. */
  get fabricPath(): string {
    return this.#region.info().path;
  }

  /** Which life of the name this is. */
  get incarnation(): number {
    return this.#native.info().incarnation;
  }

  get left(): boolean {
    return this.#left;
  }

  /**
   * Copies `body` into the recipient's mailbox and wakes its reader. Never waits.
   *
   * @param body reusable as soon as this returns
   * @returns the message's number (with `uid` its id); negative where it may go later: a status,
   *   one of `full`, `slabFull`, `quota`, `rateLimited`
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_QUOTA`, `ERR_CFC_RECORD_TOO_LARGE`, `ERR_CFC_MAILBOX_CLOSED`,
   *   `ERR_CFC_NO_SPACE`, `ERR_CFC_USAGE`, `ERR_CFC_FORKED`
   */
  trySend(to: string, body: unknown, facts: SendFacts = {}): number {
    const route = this.#routes.get(to) ?? this.routeTo(to, facts.answers !== undefined);
    const { data, bits } = encode(body);
    const answers = (facts.answers ?? facts.continues)?.facts;
    const options = bits | sendBits(facts);
    const type = this.#typeOf(facts.type);
    const number =
      answers === undefined && facts.ttlMs === undefined && facts.dedupKey === undefined
        ? this.#native.trySend(route, data, options, type)
        : this.#native.trySend(
            route,
            data,
            options,
            type,
            answers?.uid ?? 0,
            answers?.number ?? 0,
            facts.ttlMs ?? 0,
            facts.dedupKey ?? '',
          );
    if (number > 0 || isFull(-number)) return number;
    throw errorOf(-number, { to });
  }

  /**
   * All of them in order, or none; at most `batchLimit(to)` of them.
   *
   * @returns the numbers of the accepted ones; none where there is no room
   * @throws {CfcError} as trySend; `details.accepted` tells how many were
   */
  trySendBatch(to: string, bodies: readonly unknown[], facts: SendFacts = {}): number[] {
    const route = this.routeTo(to);
    this.#packed ??= new PackedBodies();
    const packed = this.#packed;
    packed.reserve(bodies.length);
    const { bytes, lengths, kinds, numbers } = packed;
    const options = sendBits(facts);
    const type = this.#typeOf(facts.type);
    const status = -(packed.pack(bodies)
      ? this.#native.trySendPacked(
          route,
          bytes,
          lengths,
          kinds,
          bodies.length,
          options,
          type,
          numbers,
          facts.ttlMs ?? 0,
        )
      : this.#native.trySendBatch(
          route,
          bodies.map((body, i) => encodeInto(kinds, i, body)),
          kinds,
          options,
          type,
          numbers,
          facts.ttlMs ?? 0,
        ));
    const accepted = new Array<number>(numbers[0] as number);
    for (let i = 0; i < accepted.length; i += 1) accepted[i] = numbers[i + 1] as number;
    this.#refusal = status;
    if (status === Status.ok || (isFull(status) && accepted.length === 0)) return accepted;
    throw errorOf(status, { to, accepted: accepted.length });
  }

  /** Why the last batch was refused: a status that `isFull` is true of. @internal */
  get refusal(): number {
    return this.#refusal;
  }

  /** How many messages a batch to `to` may have: a quarter of the recipient's lane. */
  batchLimit(to: string, priority: 'control' | 'work' = 'work'): number {
    return this.#native.batchLimit(this.routeTo(to), priority === 'work');
  }

  /**
   * Where other processes read as this agent too: whether answers to our questions are left to us.
   * To be said before the first question is sent. @internal
   *
   * @throws {CfcError} `ERR_CFC_READERS_FULL`, `ERR_CFC_LEASE_LOST`
   */
  awaitAnswers(awaits: boolean): void {
    if (this.#left) return;
    const status = -this.#native.awaitAnswers(awaits);
    if (awaits && status !== Status.ok) throw errorOf(status, { agent: this.name });
  }

  /** After `rateLimited`: when to try again. @internal */
  get rateWaitMs(): number {
    return this.#native.rateWait();
  }

  /** How long to pause after a message to `to`, to spare it: 0, 5 or 10. @internal */
  paceMs(to: string, priority: 'control' | 'work' = 'work'): number {
    return this.#native.pace(this.routeTo(to), priority === 'work');
  }

  /**
   * Leases up to `max` messages (256 at most), and no more once their bodies have 1 MiB. Never waits.
   *
   * @param repliesOnly leaves everything else where it is
   * @throws {CfcError} `ERR_CFC_MAILBOX_CLOSED`, `ERR_CFC_FORKED`
   */
  take(max: number, repliesOnly = false): readonly Message[] {
    const count = this.#native.take(max, repliesOnly);
    if (count <= 0) {
      if (-count === Status.empty || -count === Status.full) return noMessages;
      throw errorOf(-count, { agent: this.name });
    }
    const messages = new Array<Message>(count);
    for (let i = 0; i < count; i += 1) messages[i] = this.#messageAt(i * columns);
    return messages;
  }

  /** True where no more can be leased until something is settled. */
  get leasesFull(): boolean {
    return -this.#native.wait(0) === Status.full;
  }

  /**
   * Blocks this thread on the futex until there is mail or the time is up. For scripts and workers.
   *
   * @returns false when the time is up
   * @throws {CfcError} `ERR_CFC_LEASES_FULL`, `ERR_CFC_MAILBOX_CLOSED`, `ERR_CFC_LEASE_LOST`
   */
  waitSync(timeoutMs: number): boolean {
    const status = -this.#native.wait(timeoutMs);
    if (status === Status.ok) return true;
    if (status === Status.timedOut) return false;
    if (status === Status.full) throw new CfcError('ERR_CFC_LEASES_FULL', { agent: this.name });
    throw errorOf(status, { agent: this.name });
  }

  ackMessage(message: Message): void {
    const status = -this.#native.ack(message.lease);
    message.lease = -1;
    if (status !== Status.ok && status !== Status.alreadyAcked) {
      throw errorOf(this.#left ? Status.leaseLost : status, { id: message.id });
    }
  }

  /**
   * Acks many with one crossing.
   *
   * @throws {CfcError} `ERR_CFC_LEASE_LOST` with `details.lost`, after the others were acked
   */
  ackAll(messages: readonly Message[]): void {
    let lost = 0;
    let count = 0;
    const flush = () => {
      if (count > 0) lost += this.#native.ackMany(this.#leases, count);
      count = 0;
    };
    for (const message of messages) {
      if (message.lease < 0) continue;
      this.#leases[count] = message.lease;
      message.lease = -1;
      count += 1;
      if (count === this.#leases.length) flush();
    }
    flush();
    if (lost > 0) throw new CfcError('ERR_CFC_LEASE_LOST', { lost });
  }

  nackMessage(message: Message, delayMs: number, reason = ''): void {
    const status = -this.#native.nack(message.lease, delayMs, reason);
    message.lease = -1;
    if (status !== Status.ok) throw errorOf(status, { id: message.id });
  }

  /** Gives back messages that nobody looked at: no attempt is counted. */
  release(messages: readonly Message[]): void {
    for (const message of messages) {
      if (message.lease < 0) continue;
      this.#native.release(message.lease); // who lost it meanwhile has nothing to give back
      message.lease = -1;
    }
  }

  /**
   * Sends a dead letter again, to whom it was sent, as from who sent it. Never waits.
   *
   * @returns the new message's number; negative where there is no room, or (`empty`) no such letter
   * @throws {CfcError} as trySend; it stays a dead letter
   */
  redrive(id: { uid: number; number: number }): number {
    const number = this.#native.redrive(id.uid, id.number);
    if (number > 0 || isFull(-number) || -number === Status.empty) return number;
    throw errorOf(-number, { id: formatMessageId(id.uid, id.number) });
  }

  /**
   * Leaves the message leased to the agent rather than to this process, for a later `settleHeld`.
   *
   * @throws {CfcError} `ERR_CFC_LEASE_LOST`
   */
  handOver(message: Message): void {
    const status = -this.#native.handOver(message.lease);
    message.lease = -1;
    if (status !== Status.ok) throw errorOf(status, { id: message.id });
  }

  /**
   * Puts a copy of a leased message into another mailbox, as its sender sent it: from, id, sequence
   * and correlation stay, so that an answer finds who asked. Then acks ours; where its sender waits
   * for the ack, only once `forwarded` says so.
   *
   * @returns 1 it is there, 0 it is there and `forwarded` is to be asked; negative where there is no
   *   room: a status, one of `full`, `slabFull`, `quota`
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_LEASE_LOST`, `ERR_CFC_MAILBOX_CLOSED`
   */
  forward(message: Message, to: string): number {
    const result = this.#native.forward(message.lease, this.routeTo(to));
    if (result < 0 && !isFull(-result)) throw errorOf(-result, { id: message.id, to });
    if (result === 1) message.lease = -1;
    return result;
  }

  /**
   * What became of a copy that `forward` answered 0 for.
   *
   * @returns true once ours is settled too: acked as the copy was, or given back where the copy was
   *   lost
   */
  forwarded(message: Message): boolean {
    const result = this.#native.forwarded(message.lease);
    if (result === 0) return false;
    message.lease = -1;
    return true;
  }

  /**
   * Acks or nacks a message that an earlier process of this agent handed over.
   *
   * @returns false where this mailbox holds no such message
   */
  settleHeld(id: { uid: number; number: number }, ack: boolean, delayMs = 0, reason = ''): boolean {
    const status = -this.#native.settleHeld(id.uid, id.number, ack, delayMs, reason);
    if (status === Status.empty) return false;
    if (status !== Status.ok) throw errorOf(status, { id: formatMessageId(id.uid, id.number) });
    return true;
  }

  /** What waits here, oldest first, control lane first; nothing is leased. */
  peek(max = 100): PeekedMessage[] {
    if (this.#left) throw new CfcError('ERR_CFC_MAILBOX_CLOSED', { agent: this.name });
    return this.#region.peek(this.name, max);
  }

  /** Messages that are not acked yet. */
  get depth(): number {
    return this.#native.depth();
  }

  /** Drops every message that nobody has leased; they count as dropped. @returns how many */
  clear(): number {
    return this.#native.clear();
  }

  /**
   * @param state as native/core/layout.h numbers AgentState
   * @returns a status: `invalid` where the state machine has no such step
   */
  setState(state: number): number {
    return this.#native.setState(state);
  }

  /** Says that this agent makes progress, besides what it receives and acks. */
  beat(): void {
    this.#native.progress();
  }

  /** False where nobody alive holds the name. */
  readerLives(name: string): boolean {
    return this.#native.readerLives(name);
  }

  /**
   * Names of a group: who joined and did not leave, without this one. One pass over the directory.
   *
   * @param kind as native/core/group.h numbers GroupKind
   */
  members(kind: number, name: string): string[] {
    return this.#native.members(kind, name);
  }

  /**
   * The living member with the fewest unacked messages, as its mailbox says itself.
   *
   * @returns its name; negative: a status, `noAgent`, `noReader` or (onlyIdle) `full`
   */
  leastLoaded(kind: number, name: string, work: boolean, onlyIdle: boolean): string | number {
    return this.#native.leastLoaded(kind, name, work, onlyIdle);
  }

  /** True where something was sent to `name` before: then it is a name, and no group. */
  hasSentTo(name: string): boolean {
    return this.#routes.has(name);
  }

  // ---- for Agent: what the event loop is to be woken for

  /** @internal */
  expect(what: number): void {
    if (this.#expected === what) return;
    this.#expected = what;
    this.#native.expect(what);
  }

  /** @internal The loop stays alive, and sleeps on the doorbell. */
  setWaiting(waiting: boolean): void {
    if (this.#waiting === waiting) return;
    this.#waiting = waiting;
    this.#region.setWaiting(this, waiting);
  }

  /**
   * @internal To be followed by another try.
   *
   * @param cells that must be free at once; 0: it is payload memory that is wanted
   */
  waitRoom(to: string, work: boolean, cells: number): void {
    const route = this.#routes.get(to) ?? this.#replyRoutes.get(to);
    this.#native.waitRoom(route ?? this.routeTo(to), work, cells);
  }

  /** @internal */
  stopWaitRoom(to: string, work: boolean): void {
    const route = this.#routes.get(to) ?? this.#replyRoutes.get(to);
    if (route !== undefined) this.#native.stopWaitRoom(route, work);
  }

  /** @internal A send that said `waits` has found its end: it took so long, and so many were refused. */
  noteSendWait(waitedMs: number, refused: number): void {
    this.#native.noteSendWait(waitedMs, refused);
  }

  /** @internal Refused before it came to a try: others wait already. */
  noteRefused(messages: number): void {
    this.#native.noteSendWait(-1, messages);
  }

  /** @internal `busy` until it is settled */
  verdict(number: number): number {
    return this.#native.verdict(number);
  }

  /** @internal */
  forgetVerdict(number: number): void {
    this.#native.waitVerdict(number);
  }

  /** @internal How `message.reply` sends: by the agent, which waits for room. */
  set replier(replier: (message: Message, body: unknown) => Promise<unknown>) {
    this.#replier = replier;
  }

  replyTo(message: Message, body: unknown): Promise<unknown> {
    if (this.#replier !== undefined) return this.#replier(message, body);
    const number = this.trySend(message.from, body, { answers: message });
    return number > 0 ? Promise.resolve() : Promise.reject(errorOf(-number, { to: message.from }));
  }

  /** @internal How `message.forward` sends: by the agent. */
  set forwarder(forwarder: (message: Message, to: string) => Promise<unknown>) {
    this.#forwarder = forwarder;
  }

  forwardMessage(message: Message, to: string): Promise<unknown> {
    if (this.#forwarder !== undefined) return this.#forwarder(message, to);
    const number = this.trySend(to, bodyToForward(message), forwardFacts(message));
    return number > 0 ? Promise.resolve() : Promise.reject(errorOf(-number, { to }));
  }

  /**
   * Gives back what was not acked. The name goes if nothing is queued behind it; else it stays,
   * with its messages, for a successor.
   */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    this.#region.forget(this);
    this.#native.leave();
  }

  /**
   * @internal
   * @param replies to somebody who asked: that needs nobody's leave
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_USAGE`, `ERR_CFC_FORBIDDEN`
   */
  routeTo(to: string, replies = false): number {
    const routes = replies && this.guard !== undefined ? this.#replyRoutes : this.#routes;
    const known = routes.get(to);
    if (known !== undefined) return known;
    const route = this.#native.route(to);
    if (route < 0) throw errorOf(-route, { to });
    if (!replies) this.guard?.(to);
    routes.set(to, route);
    return route;
  }

  #typeOf(type = ''): number {
    const known = this.#types.get(type);
    if (known !== undefined) return known;
    const id = this.#native.typeId(type);
    if (id < 0) throw errorOf(-id, { type });
    if (id === 1) {
      this.#types.clear();
      this.#types.set('', 0);
    }
    this.#types.set(type, id);
    return id;
  }

  #messageAt(row: number): Message {
    const { table, texts, buffer } = this.#holder;
    const facts = readFacts(
      table,
      row,
      texts[table[row + Column.from] as number] as string,
      this.name,
      texts[table[row + Column.type] as number] as string,
    );
    const body = new Uint8Array(
      buffer,
      table[row + Column.bodyOffset] as number,
      table[row + Column.bodyBytes] as number,
    );
    return new Message(facts, body, table[row + Column.lease] as number, this);
  }
}
