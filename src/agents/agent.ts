import { isMainThread } from 'node:worker_threads';
import { option } from '../config/index.js';
import type { Counter, Gauge, Histogram } from '../core/counters.js';
import type { Mailbox } from '../core/mailbox.js';
import {
  formatMessageId,
  type Message,
  type PeekedMessage,
  parseMessageId,
} from '../core/message.js';
import { Status } from '../core/native.js';
import { bodyToForward, forwardFacts, type SendFacts } from '../core/send-facts.js';
import { errorOf } from '../core/status.js';
import type { SubscribeFacts } from '../core/topics.js';
import { CfcError } from '../errors.js';
import {
  type CheckpointOptions,
  type CheckpointReceipt,
  Checkpoints,
  type Restored,
  type RestoreOptions,
} from './checkpoint.js';
import { Gathering, type GatherOptions, type GatherResult, neededOf } from './gather.js';
import { type GroupAddress, isGroup } from './group-address.js';
import { type GroupReceipt, GroupSender } from './group-send.js';
import { Inbox } from './inbox.js';
import { MessageBatch, MessageStream } from './message-stream.js';
import { Outbox } from './outbox.js';
import { Publisher, type PublishOptions, PublishReceipt, publishRefused } from './publisher.js';
import {
  type BatchOptions,
  defaultTimeoutMs,
  factsOf,
  type SendOptions,
  SendReceipt,
} from './send.js';
import { Subscription } from './subscription.js';
import { Turn } from './turn.js';

/** An agent's own word on what it does. */
export const agentStates = [
  'spawned',
  'working',
  'waiting',
  'paused',
  'complete',
  'failed',
] as const;
export type AgentState = (typeof agentStates)[number];

export interface ReceiveOptions {
  /** Default Infinity: for ever. */
  timeoutMs?: number;
}

export interface ReceiveBatchOptions extends ReceiveOptions {
  /** 1 to 256. Default 256. */
  max?: number;
}

export type SubscribeOptions = SubscribeFacts;

/** Whether `send` pauses for a recipient that is behind. */
export type Pace = 'none' | 'adaptive';

const mostTaken = 256;
const mostPatienceMs = 24 * 3600 * 1000;
/** A worker that is terminated must notice in mid-wait, so it waits in pieces. */
const workerSliceMs = 100;

/**
 * A name in a fabric: what it sends, receives, asks and counts.
 *
 * Ownership: `leave()` (or `await using`) gives back what was not acked. If the process dies
 * instead, the same happens on proof of its death.
 */
export class Agent implements AsyncDisposable {
  readonly #mailbox: Mailbox;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #groups: GroupSender;
  readonly #publisher: Publisher;
  readonly #subscriptions = new Set<Subscription>();
  readonly #turn = new Turn();
  readonly #spares: boolean;
  #kept: Checkpoints | undefined;

  /** @internal `Fabric.join` makes them */
  constructor(mailbox: Mailbox, pace: Pace = option('send.pace') as Pace) {
    this.#mailbox = mailbox;
    this.#spares = pace === 'adaptive';
    const onChange = () => this.#updateWaiting();
    this.#inbox = new Inbox(mailbox, onChange);
    this.#outbox = new Outbox(mailbox, onChange);
    this.#groups = new GroupSender(mailbox, this.#outbox, this);
    this.#publisher = new Publisher(mailbox.topics, onChange);
    mailbox.onReady = () => {
      this.#turn.begin();
      this.#outbox.ready();
      this.#inbox.ready();
      this.#publisher.ready();
      for (const subscription of [...this.#subscriptions]) subscription.ready();
    };
    mailbox.onFailure = (reason) => {
      this.#outbox.close(reason);
      this.#inbox.close(reason);
      this.#publisher.close(reason);
      for (const subscription of this.#subscriptions) subscription.fail(reason);
    };
    mailbox.replier = async (message, body) => {
      await this.#sendNumber(
        message.from,
        body,
        { answers: message, waits: true },
        defaultTimeoutMs(),
      );
    };
    mailbox.forwarder = async (message, to) => {
      await this.#sendNumber(to, bodyToForward(message), forwardFacts(message), defaultTimeoutMs());
    };
    // Of a guest the shim says it; who comes for a short visit after the end changes nothing.
    if (!mailbox.guest) mailbox.setState(agentStates.indexOf('working'));
  }

  get name(): string {
    return this.#mailbox.name;
  }

  /**
   * Sends one message; waits for room up to `timeoutMs`.
   *
   * Resolved means accepted: it survives the death of any process. Rejected means that nothing was
   * enqueued (but for `wait: 'acked'`, where `details.accepted` says so).
   *
   * To a group it is one message a member, and rejects with `ERR_CFC_PARTLY_DELIVERED` where some
   * refuse: `details.accepted` and `details.refused` tell who. With a `route` one member gets it.
   *
   * @param to a name, `team:NAME`, `role:NAME`, `*`, `parent`, `children` or `peers`
   * @param body bytes, a string, or a JSON value
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_MAILBOX_FULL`, `ERR_CFC_SLAB_FULL`,
   *   `ERR_CFC_QUOTA`, `ERR_CFC_RATE_LIMITED`, `ERR_CFC_NO_SPACE`, `ERR_CFC_RECORD_TOO_LARGE`, `ERR_CFC_MAILBOX_CLOSED`;
   *   with `continues` also `ERR_CFC_LOOP`; with `wait: 'acked'` also `ERR_CFC_TIMED_OUT`, `ERR_CFC_NO_READER`,
   *   `ERR_CFC_PARTLY_DELIVERED` (dropped by a policy); with `route` also `ERR_CFC_NONE_IDLE`
   */
  send(
    to: GroupAddress,
    body: unknown,
    options?: SendOptions & { route?: 'all' },
  ): Promise<GroupReceipt>;
  send(to: string, body: unknown, options?: SendOptions): Promise<SendReceipt>;
  async send(
    to: string,
    body: unknown,
    options: SendOptions = {},
  ): Promise<SendReceipt | GroupReceipt> {
    if (this.#isGroup(to, options)) return await this.#groups.send(to, body, options);
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs();
    const facts = factsOf(options, timeoutMs > 0);
    if (options.wait !== 'acked') {
      const number = this.#outbox.trySend(to, body, facts);
      const accepted =
        number > 0 ? number : await this.#waitRoom(to, body, facts, timeoutMs, number);
      if (this.#turn.use(1)) await this.#turn.next();
      if (this.#spares) await this.#spare(to, facts);
      return new SendReceipt(this.#mailbox.uid, accepted, to, 'accepted');
    }
    const until = performance.now() + timeoutMs;
    facts.receipt = true;
    const number = await this.#sendNumber(to, body, facts, timeoutMs);
    await this.#outbox.acked(number, to, until - performance.now());
    return new SendReceipt(this.#mailbox.uid, number, to, 'acked');
  }

  /**
   * @returns false where there is no room now (of a group: with no member); never waits
   * @throws {CfcError} as send
   */
  trySend(
    to: string,
    body: unknown,
    options: Omit<SendOptions, 'timeoutMs' | 'wait'> = {},
  ): boolean {
    if (this.#isGroup(to, options)) return this.#groups.trySend(to, body, options);
    return this.#outbox.trySend(to, body, factsOf(options)) > 0;
  }

  /**
   * Sends many in order. Up to a quarter of the recipient's lane is accepted whole or not at all;
   * more goes in pieces of that size. To a group each member gets all of them.
   *
   * @throws {CfcError} as send; `details.accepted` tells how many were
   */
  sendBatch(
    to: GroupAddress,
    bodies: readonly unknown[],
    options?: BatchOptions,
  ): Promise<GroupReceipt>;
  sendBatch(to: string, bodies: readonly unknown[], options?: BatchOptions): Promise<SendReceipt[]>;
  async sendBatch(
    to: string,
    bodies: readonly unknown[],
    options: BatchOptions = {},
  ): Promise<SendReceipt[] | GroupReceipt> {
    if (this.#isGroup(to, options)) return await this.#groups.sendBatch(to, bodies, options);
    const until = performance.now() + (options.timeoutMs ?? defaultTimeoutMs());
    const facts = factsOf(options, true);
    const limit = this.#mailbox.batchLimit(to, options.priority);
    let numbers: number[] = [];
    while (numbers.length < bodies.length) {
      const whole = bodies.length <= limit;
      const piece = whole ? bodies : bodies.slice(numbers.length, numbers.length + limit);
      try {
        let sent = this.#outbox.trySendBatch(to, piece, facts);
        if (sent.length === 0) {
          const left = until - performance.now();
          if (left <= 0) {
            this.#mailbox.noteRefused(piece.length);
            throw errorOf(this.#mailbox.refusal || Status.full, { to });
          }
          sent = await this.#outbox.waitBatch(to, piece, facts, left);
        }
        numbers = whole ? sent : numbers.concat(sent);
        if (this.#turn.use(sent.length)) await this.#turn.next();
        if (this.#spares) await this.#spare(to, facts);
      } catch (error) {
        if (!(error instanceof CfcError)) throw error;
        const within = typeof error.details.accepted === 'number' ? error.details.accepted : 0;
        const accepted = numbers.length + within;
        throw new CfcError(error.code, { ...error.details, accepted }, { cause: error.cause });
      }
    }
    return numbers.map((number) => new SendReceipt(this.#mailbox.uid, number, to, 'accepted'));
  }

  /**
   * Sends a question and waits for the reply, which needs no ack. With a `route` one member of a
   * group is asked; {@link gather} asks all.
   *
   * @param options.timeoutMs room included; default the option `ask.timeoutMs`, 5000
   * @throws {CfcError} `ERR_CFC_TIMED_OUT`; `ERR_CFC_NO_READER` where nobody lives behind the name;
   *   and what send throws
   */
  async ask(to: string, body: unknown, options: Omit<SendOptions, 'wait'> = {}): Promise<Message> {
    const timeoutMs = options.timeoutMs ?? option('ask.timeoutMs');
    const until = performance.now() + timeoutMs;
    const facts = factsOf(options, timeoutMs > 0);
    facts.asks = true;
    let answer: Promise<Message> | undefined;
    let asked = to;
    // At once: the answer may be in our mailbox before anything else of ours runs.
    facts.sent = (number) => {
      answer = this.#inbox.answerTo(number, asked, until - performance.now());
    };
    await this.#inbox.asking(async () => {
      if (this.#isGroup(to, options)) {
        await this.#groups.question(to, body, facts, { ...options, timeoutMs }, (member) => {
          asked = member;
        });
      } else {
        await this.#sendNumber(to, body, facts, timeoutMs);
      }
    });
    return answer as unknown as Promise<Message>;
  }

  /**
   * Asks every member of a group, and waits until a quorum has answered. Replies that come later
   * are acked and counted as late.
   *
   * @throws {QuorumError} `ERR_CFC_TIMED_OUT` where the quorum was not reached in time; `result`
   *   has what came. Earlier, where it can no longer be reached: the code that all the missing gave
   *   (`ERR_CFC_MAILBOX_FULL`, `ERR_CFC_NO_READER`, …), or `ERR_CFC_PARTLY_DELIVERED`
   * @throws {CfcError} `ERR_CFC_NO_AGENT` where there are fewer members than that, `ERR_CFC_USAGE`
   */
  async gather(
    to: string,
    body: unknown,
    { quorum, timeoutMs = option('ask.timeoutMs'), ...options }: GatherOptions = {},
  ): Promise<GatherResult> {
    const members = this.#groups.members(to);
    const needed = neededOf(quorum, members.length, to);
    const parts = { mailbox: this.#mailbox, outbox: this.#outbox, inbox: this.#inbox };
    const gathering = new Gathering(parts, to, members, needed);
    return await this.#inbox.asking(() => gathering.run(body, factsOf(options, true), timeoutMs));
  }

  /**
   * Publishes to a topic, which is made where it is missing: to everybody who subscribes to it now.
   * Waits up to `timeoutMs` for reliable subscribers that are a whole log behind, but for each no
   * longer than its patience.
   *
   * Resolved means published: it survives the death of this process.
   *
   * @param topic up to 64 of `A-Z a-z 0-9 _ . -`
   * @param body bytes, a string, or a JSON value
   * @throws {CfcError} `ERR_CFC_TOPIC_FULL`, `ERR_CFC_TOPICS_FULL`, `ERR_CFC_SLAB_FULL`,
   *   `ERR_CFC_QUOTA`, `ERR_CFC_RATE_LIMITED`, `ERR_CFC_NO_SPACE`, `ERR_CFC_RECORD_TOO_LARGE`, `ERR_CFC_USAGE`
   */
  async publish(
    topic: string,
    body: unknown,
    { type, timeoutMs = defaultTimeoutMs() }: PublishOptions = {},
  ): Promise<PublishReceipt> {
    let number = this.#publisher.tryPublish(topic, body, type);
    if (number <= 0) {
      if (timeoutMs <= 0) throw publishRefused(-number, topic);
      number = await this.#publisher.wait(topic, body, type, timeoutMs);
    }
    if (this.#turn.use(1)) await this.#turn.next();
    return new PublishReceipt(this.#mailbox.uid, number, topic);
  }

  /**
   * @returns false where a reliable subscriber leaves no room now; never waits
   * @throws {CfcError} as publish
   */
  tryPublish(
    topic: string,
    body: unknown,
    { type }: Omit<PublishOptions, 'timeoutMs'> = {},
  ): boolean {
    return this.#publisher.tryPublish(topic, body, type) > 0;
  }

  /**
   * Reads what is published to a topic from now on, in one order that is the same for all
   * subscribers.
   *
   * @throws {CfcError} `ERR_CFC_SUBSCRIBERS_FULL`, `ERR_CFC_TOPICS_FULL`, `ERR_CFC_NO_SPACE`,
   *   `ERR_CFC_USAGE`, `ERR_CFC_MAILBOX_CLOSED`
   */
  subscribe(topic: string, options: SubscribeOptions = {}): Subscription {
    const { policy = 'reliable', patienceMs } = options;
    if (policy !== 'reliable' && policy !== 'lossy') {
      throw new CfcError('ERR_CFC_USAGE', { policy, allowed: ['reliable', 'lossy'] });
    }
    if (patienceMs !== undefined && !(patienceMs >= 0 && patienceMs <= mostPatienceMs)) {
      throw new CfcError('ERR_CFC_USAGE', { patienceMs, allowed: `0 to ${mostPatienceMs}` });
    }
    const subscription = new Subscription(
      this.#mailbox.topics.subscribe(topic, options),
      this.#turn,
      () => this.#updateWaiting(),
      (closed) => this.#subscriptions.delete(closed),
    );
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** @returns the next message, or undefined when the time is up */
  async receive({ timeoutMs = Infinity }: ReceiveOptions = {}): Promise<Message | undefined> {
    const now = this.#inbox.tryTake(1);
    if (now.length > 0) {
      if (this.#turn.use(1)) await this.#turn.next();
      return now[0];
    }
    return timeoutMs <= 0 ? undefined : (await this.#inbox.take(1, timeoutMs))[0];
  }

  /** @returns the next message if it is there now */
  tryReceive(): Message | undefined {
    return this.#inbox.tryTake(1)[0];
  }

  /**
   * Blocks this thread until a message is there or the time is up. For scripts and workers: the
   * event loop stands still meanwhile.
   *
   * @throws {CfcError} `ERR_CFC_LEASES_FULL` where as much is leased as may be
   */
  receiveSync({ timeoutMs = Infinity }: ReceiveOptions = {}): Message | undefined {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const message = this.tryReceive();
      if (message !== undefined) return message;
      const left = until - performance.now();
      if (left <= 0) return undefined;
      const slice = isMainThread ? left : Math.min(left, workerSliceMs);
      this.#mailbox.waitSync(slice === Infinity ? -1 : slice);
    }
  }

  /**
   * @returns none to `max` messages; none when the time is up. No more are taken once their bodies
   *   have 1 MiB.
   */
  async receiveBatch({
    max = mostTaken,
    timeoutMs = Infinity,
  }: ReceiveBatchOptions = {}): Promise<MessageBatch> {
    if (!Number.isInteger(max) || max < 1 || max > mostTaken) {
      throw new CfcError('ERR_CFC_USAGE', { max, allowed: `1 to ${mostTaken}` });
    }
    let messages = this.#inbox.tryTake(max);
    if (messages.length === 0 && timeoutMs > 0) messages = await this.#inbox.take(max, timeoutMs);
    else if (this.#turn.use(messages.length)) await this.#turn.next();
    return new MessageBatch(this.#mailbox, messages);
  }

  /**
   * Every message from now on, in order, leased. Leaving the loop gives back what it had not
   * yielded; it ends when the agent leaves.
   */
  messages(): AsyncIterableIterator<Message> {
    return new MessageStream(this, this.#mailbox, this.#inbox, this.#turn);
  }

  /** What waits, oldest first; nothing is leased. */
  peek(max?: number): PeekedMessage[] {
    return this.#mailbox.peek(max);
  }

  /** Messages in the mailbox that are not acked yet. */
  count(): number {
    return this.#mailbox.depth;
  }

  /** Drops every message that nobody has leased; they count as dropped. @returns how many */
  clear(): number {
    return this.#mailbox.clear();
  }

  /**
   * Leaves a message leased to the agent rather than to this process: `ack(id)` of a later process
   * under this name settles it.
   */
  hold(message: Message): void {
    this.#mailbox.handOver(message);
  }

  /**
   * Acks a message that an earlier process of this agent held.
   *
   * @returns false where this agent holds no such message
   */
  ackHeld(id: string): boolean {
    return this.#mailbox.settleHeld(idOf(id), true);
  }

  /** Gives it back instead, as `message.nack` does. */
  nackHeld(
    id: string,
    { delayMs = 0, reason = '' }: { delayMs?: number; reason?: string } = {},
  ): boolean {
    return this.#mailbox.settleHeld(idOf(id), false, delayMs, reason);
  }

  /**
   * Sends a dead letter again: to whom it was sent, as from who sent it, as a new message with
   * attempts of its own. Never waits.
   *
   * @returns the new message's id; undefined where the letter is gone, or somebody is at it
   * @throws {CfcError} `ERR_CFC_MAILBOX_FULL`, `ERR_CFC_NO_AGENT`, and what send throws: it stays a
   *   dead letter
   */
  redrive(id: string): string | undefined {
    const number = this.#mailbox.redrive(idOf(id));
    if (number > 0) return formatMessageId(this.#mailbox.uid, number);
    if (-number === Status.empty) return undefined;
    throw errorOf(-number, { id });
  }

  /** Replies to a message that is only known by what peek showed of it. Does not ack. */
  async replyTo(message: Message, body: unknown, options: SendOptions = {}): Promise<void> {
    const facts = { ...factsOf(options, true), answers: message };
    await this.#sendNumber(message.from, body, facts, options.timeoutMs ?? defaultTimeoutMs());
  }

  /** @internal Hands on as its sender sent it; `Mailbox.forward` says what comes of it. */
  forward(message: Message, to: string): number {
    return this.#mailbox.forward(message, to);
  }

  /** @internal Whether a copy that was handed on is settled, and ours with it. */
  forwarded(message: Message): boolean {
    return this.#mailbox.forwarded(message);
  }

  counter(name: string, unit?: string): Counter {
    return this.#mailbox.counters.counter(name, unit);
  }

  gauge(name: string, unit?: string): Gauge {
    return this.#mailbox.counters.gauge(name, unit);
  }

  histogram(name: string, unit?: string): Histogram {
    return this.#mailbox.counters.histogram(name, unit);
  }

  /**
   * Says what this agent does. From spawned, working, waiting and paused any other state follows but
   * spawned; complete and failed are ends (though what was complete may still turn out failed).
   *
   * @throws {CfcError} `ERR_CFC_USAGE` where the state machine has no such step,
   *   `ERR_CFC_LEASE_LOST`
   */
  setState(state: AgentState): void {
    const status = this.#mailbox.setState(agentStates.indexOf(state));
    if (status !== Status.ok) throw errorOf(status, { agent: this.name, state });
  }

  /** Says that this agent makes progress, besides what it receives and acks. */
  beat(): void {
    this.#mailbox.beat();
  }

  /**
   * Keeps a state on disk for the next life of this agent: five of them, the newest goes first.
   * Resolved means that it is safe from the death of any process, and of the host.
   *
   * @param state a JSON value
   * @throws {CfcError} `ERR_CFC_CHECKPOINT_INVALID` where it is none, or not what `schema` says;
   *   `ERR_CFC_CHECKPOINT_IO`
   */
  checkpoint<State>(
    state: State,
    options: CheckpointOptions<State> = {},
  ): Promise<CheckpointReceipt> {
    try {
      return this.#checkpoints().write(state, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * The newest state that an agent of this name kept; never older than the last one whose
   * `checkpoint` resolved. One that is damaged is skipped with a warning (`CFC_CHECKPOINT_SKIPPED`).
   *
   * @returns undefined where there never was one
   * @throws {CfcError} `ERR_CFC_CHECKPOINT_INVALID` where there are some and none can be used:
   *   `details.skipped` tells why; `ERR_CFC_CHECKPOINT_IO`
   */
  restore<State = unknown>(
    options: RestoreOptions<State> = {},
  ): Promise<Restored<State> | undefined> {
    return this.#checkpoints().read(options);
  }

  /**
   * Gives back what was not acked, and the name if nothing is queued behind it. Whoever waits here
   * is told `ERR_CFC_MAILBOX_CLOSED`; iterators end.
   */
  async leave(): Promise<void> {
    if (this.#mailbox.left) return;
    for (const subscription of [...this.#subscriptions]) void subscription.close();
    this.#mailbox.leave();
    const reason = new CfcError('ERR_CFC_MAILBOX_CLOSED', { agent: this.name });
    this.#outbox.close(reason);
    this.#inbox.close(reason);
    this.#publisher.close(reason);
    await Promise.resolve();
  }

  get left(): boolean {
    return this.#mailbox.left;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.leave();
  }

  #checkpoints(): Checkpoints {
    const { name: agent, incarnation, fabricPath: path } = this.#mailbox;
    this.#kept ??= new Checkpoints({ agent, incarnation, path });
    return this.#kept;
  }

  // What was sent to before is a name: most sends end their look here.
  #isGroup(to: string, { route = 'all' }: SendOptions): boolean {
    return route !== 'all' || (!this.#mailbox.hasSentTo(to) && isGroup(to));
  }

  #sendNumber(to: string, body: unknown, facts: SendFacts, timeoutMs: number): Promise<number> {
    const number = this.#outbox.trySend(to, body, facts);
    if (number > 0) return Promise.resolve(number);
    return this.#waitRoom(to, body, facts, timeoutMs, number);
  }

  #waitRoom(
    to: string,
    body: unknown,
    facts: SendFacts,
    timeoutMs: number,
    refused: number,
  ): Promise<number> {
    if (timeoutMs <= 0) return Promise.reject(errorOf(-refused, { to }));
    return this.#outbox.wait(to, body, facts, timeoutMs);
  }

  // The longer, the fuller the recipient's mailbox is.
  async #spare(to: string, { priority }: SendFacts): Promise<void> {
    const pauseMs = this.#mailbox.paceMs(to, priority);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }

  #updateWaiting(): void {
    if (this.#mailbox.left) return;
    const expects = this.#inbox.expects;
    this.#mailbox.expect(expects);
    let waiting = expects !== 0 || this.#outbox.waiting || this.#publisher.waiting;
    for (const subscription of this.#subscriptions) waiting ||= subscription.waiting;
    this.#mailbox.setWaiting(waiting);
  }
}

function idOf(text: string): { uid: number; number: number } {
  const id = parseMessageId(text);
  if (id === undefined) throw new CfcError('ERR_CFC_USAGE', { id: text, allowed: 'a message id' });
  return id;
}
