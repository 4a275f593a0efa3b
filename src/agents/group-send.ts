import { EncodedBody } from '../core/bodies.js';
import type { Mailbox } from '../core/mailbox.js';
import { Status } from '../core/native.js';
import type { SendFacts } from '../core/send-facts.js';
import { errorOf } from '../core/status.js';
import { CfcError, type CfcErrorCode } from '../errors.js';
import { isGroup, parseGroup } from './group-address.js';
import type { Outbox } from './outbox.js';
import {
  type BatchOptions,
  defaultTimeoutMs,
  factsOf,
  type Route,
  type SendOptions,
  SendReceipt,
} from './send.js';

/** Somebody whose message was not accepted, and why. */
export interface Refusal {
  to: string;
  code: CfcErrorCode;
  /** Of a batch, or where no ack came in time: how many messages were accepted all the same. */
  accepted?: number;
  /** Of the message that was accepted and not acked. */
  id?: string;
}

/** What a send to a group resolves to: every member's message was accepted. */
export interface GroupReceipt {
  /** The address. */
  to: string;
  state: 'accepted' | 'acked';
  /** One receipt a member; of a batch, one a message and member. */
  accepted: readonly SendReceipt[];
  /** Nobody: where there is somebody, the send rejects with `ERR_CFC_PARTLY_DELIVERED`. */
  refused: readonly Refusal[];
}

/** How an agent sends to one name. */
interface Sender {
  send(to: string, body: unknown, options: SendOptions): Promise<SendReceipt>;
  trySend(to: string, body: unknown, options: SendOptions): boolean;
  sendBatch(to: string, bodies: readonly unknown[], options: BatchOptions): Promise<SendReceipt[]>;
}

type Attempt = PromiseSettledResult<SendReceipt | SendReceipt[]>;

type RouteToOne = Exclude<Route, 'all'>;

/** How often another member is looked for where somebody quicker took the chosen one. */
const mostChoices = 16;

// What is wrong with the sender or its message is no answer of a member.
const ownFailures = new Set<CfcErrorCode>([
  'ERR_CFC_USAGE',
  'ERR_CFC_RECORD_TOO_LARGE',
  'ERR_CFC_FORKED',
  'ERR_CFC_LEASE_LOST',
  'ERR_CFC_REGION_CORRUPT',
  'ERR_CFC_FABRIC_REMOVED',
]);

/**
 * Sends to groups: to each member, or to the one with the least to do.
 *
 * A message to a group is one message a member. Members are those that have joined at that moment
 * and not left, the sender not among them.
 */
export class GroupSender {
  readonly #mailbox: Mailbox;
  readonly #outbox: Outbox;
  readonly #sender: Sender;

  constructor(mailbox: Mailbox, outbox: Outbox, sender: Sender) {
    this.#mailbox = mailbox;
    this.#outbox = outbox;
    this.#sender = sender;
  }

  /** @throws {CfcError} `ERR_CFC_NO_AGENT` where there are none, `ERR_CFC_USAGE` */
  members(to: string): string[] {
    const { kind, name } = parseGroup(to);
    const members = this.#mailbox.members(kind, name);
    if (members.length === 0) throw noMembers(to);
    return members;
  }

  /** To every member, or by its route to one. */
  async send(to: string, body: unknown, options: SendOptions): Promise<GroupReceipt | SendReceipt> {
    const { route = 'all', ...plain } = options;
    return route === 'all'
      ? await this.#sendToAll(to, body, plain)
      : await this.#sendToOne(to, body, route, plain);
  }

  async #sendToAll(to: string, body: unknown, options: SendOptions): Promise<GroupReceipt> {
    const members = this.members(to);
    const once = EncodedBody.of(body);
    const attempts = await Promise.allSettled(
      members.map((member) => this.#sender.send(member, once, options)),
    );
    return receiptOf(to, members, attempts, options.wait ?? 'accepted');
  }

  /** @returns false where nothing was enqueued for want of room */
  trySend(to: string, body: unknown, options: SendOptions): boolean {
    const { route = 'all', ...plain } = options;
    return route === 'all'
      ? this.#trySendToAll(to, body, plain)
      : this.#trySendToOne(to, body, route, plain);
  }

  #trySendToAll(to: string, body: unknown, options: SendOptions): boolean {
    const once = EncodedBody.of(body);
    const accepted: { to: string }[] = [];
    const refused: Refusal[] = [];
    for (const member of this.members(to)) {
      try {
        if (this.#sender.trySend(member, once, options)) accepted.push({ to: member });
        else refused.push({ to: member, code: 'ERR_CFC_MAILBOX_FULL' });
      } catch (error) {
        refused.push({ to: member, code: codeOf(error, accepted.length > 0) });
      }
    }
    if (refused.length === 0) return true;
    if (accepted.length === 0 && refused.every(({ code }) => code === 'ERR_CFC_MAILBOX_FULL')) {
      return false;
    }
    throw new CfcError('ERR_CFC_PARTLY_DELIVERED', { to, accepted, refused });
  }

  async sendBatch(
    to: string,
    bodies: readonly unknown[],
    options: BatchOptions,
  ): Promise<GroupReceipt> {
    const members = this.members(to);
    const once = bodies.map((body) => EncodedBody.of(body));
    const attempts = await Promise.allSettled(
      members.map((member) => this.#sender.sendBatch(member, once, options)),
    );
    return receiptOf(to, members, attempts, 'accepted');
  }

  /**
   * A question to one of a group: to the parent, or to whom the route finds.
   *
   * @param onChosen called with each member before it is tried
   */
  async question(
    to: string,
    body: unknown,
    facts: SendFacts,
    { route = 'all', timeoutMs }: { route?: Route; timeoutMs: number },
    onChosen: (member: string) => void,
  ): Promise<void> {
    if (route !== 'all') {
      await this.#waitToOne(to, body, facts, route, timeoutMs, onChosen);
      return;
    }
    if (to !== 'parent') {
      throw new CfcError('ERR_CFC_USAGE', {
        to,
        allowed: 'a name, or a group with a route to one of it; gather asks all',
      });
    }
    const parent = this.members(to)[0] as string;
    onChosen(parent);
    await this.#waitFor(parent, body, facts, timeoutMs);
  }

  async #sendToOne(
    to: string,
    body: unknown,
    route: RouteToOne,
    options: SendOptions,
  ): Promise<SendReceipt> {
    const { timeoutMs = defaultTimeoutMs(), wait = 'accepted' } = options;
    const until = performance.now() + timeoutMs;
    const waits = timeoutMs > 0 && route !== 'only-if-idle';
    const facts = { ...factsOf(options, waits), receipt: wait === 'acked' };
    const { member, number } = await this.#waitToOne(to, body, facts, route, timeoutMs);
    if (wait === 'acked') await this.#outbox.acked(number, member, until - performance.now());
    return new SendReceipt(this.#mailbox.uid, number, member, wait);
  }

  #trySendToOne(to: string, body: unknown, route: RouteToOne, options: SendOptions): boolean {
    try {
      const { number } = this.#tryOne(to, EncodedBody.of(body), factsOf(options), route);
      return number > 0;
    } catch (error) {
      if (error instanceof CfcError && error.code === 'ERR_CFC_NONE_IDLE') return false;
      throw error;
    }
  }

  // Where all are full, it waits at the one with the fewest messages.
  async #waitToOne(
    to: string,
    body: unknown,
    facts: SendFacts,
    route: RouteToOne,
    timeoutMs: number,
    onChosen?: (member: string) => void,
  ): Promise<{ member: string; number: number }> {
    const once = EncodedBody.of(body);
    const { member, number } = this.#tryOne(to, once, facts, route, onChosen);
    if (number > 0) return { member, number };
    if (route === 'only-if-idle') throw errorOf(-number, { to: member });
    return { member, number: await this.#waitFor(member, once, facts, timeoutMs) };
  }

  #waitFor(to: string, body: unknown, facts: SendFacts, timeoutMs: number): Promise<number> {
    const number = this.#outbox.trySend(to, body, facts);
    if (number > 0) return Promise.resolve(number);
    if (timeoutMs <= 0) return Promise.reject(errorOf(-number, { to }));
    return this.#outbox.wait(to, body, facts, timeoutMs);
  }

  // Between the look and the send another sender may have been there.
  #tryOne(
    to: string,
    body: EncodedBody,
    facts: SendFacts,
    route: RouteToOne,
    onChosen?: (member: string) => void,
  ): { member: string; number: number } {
    const onlyIfIdle = route === 'only-if-idle';
    let member = '';
    let number = 0;
    for (let choices = 0; choices < mostChoices; choices += 1) {
      member = this.#choose(to, facts, route);
      onChosen?.(member);
      try {
        number = this.#outbox.trySend(member, body, onlyIfIdle ? { ...facts, onlyIfIdle } : facts);
      } catch (error) {
        if (error instanceof CfcError && error.code === 'ERR_CFC_NO_AGENT') continue; // it left
        throw error;
      }
      if (number > 0 || -number !== Status.full) return { member, number };
    }
    if (onlyIfIdle) throw new CfcError('ERR_CFC_NONE_IDLE', { to });
    return { member, number };
  }

  #choose(to: string, facts: SendFacts, route: RouteToOne): string {
    if (!isGroup(to)) throw new CfcError('ERR_CFC_USAGE', { to, route, allowed: 'a group' });
    const { kind, name } = parseGroup(to);
    const work = facts.priority !== 'control';
    const found = this.#mailbox.leastLoaded(kind, name, work, route === 'only-if-idle');
    if (typeof found === 'string') return found;
    if (-found === Status.noAgent) throw noMembers(to);
    if (-found === Status.full) throw new CfcError('ERR_CFC_NONE_IDLE', { to });
    throw errorOf(-found, { to, route });
  }
}

function receiptOf(
  to: string,
  members: readonly string[],
  attempts: readonly Attempt[],
  state: 'accepted' | 'acked',
): GroupReceipt {
  const accepted = attempts.flatMap((attempt) =>
    attempt.status === 'fulfilled' ? attempt.value : [],
  );
  const refused = attempts.flatMap((attempt, i): Refusal[] => {
    if (attempt.status === 'fulfilled') return [];
    const { reason } = attempt;
    const code = codeOf(reason, accepted.length > 0);
    const { accepted: some, id } = (reason as CfcError).details;
    const refusal: Refusal = { to: members[i] as string, code };
    if (typeof some === 'number' && some > 0) refusal.accepted = some;
    if (some === true) refusal.accepted = 1;
    if (typeof id === 'string') refusal.id = id;
    return [refusal];
  });
  if (refused.length === 0) return { to, state, accepted, refused };
  throw new CfcError('ERR_CFC_PARTLY_DELIVERED', { to, accepted, refused });
}

// Throws on what is no member's fault, as long as nobody has the message.
function codeOf(error: unknown, some: boolean): CfcErrorCode {
  if (!(error instanceof CfcError)) throw error;
  if (!some && ownFailures.has(error.code)) throw error;
  return error.code;
}

function noMembers(to: string): CfcError {
  return new CfcError('ERR_CFC_NO_AGENT', { to, members: 0 });
}
