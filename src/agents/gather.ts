import { EncodedBody } from '../core/bodies.js';
import type { Mailbox } from '../core/mailbox.js';
import type { Message } from '../core/message.js';
import type { SendFacts } from '../core/send-facts.js';
import { CfcError, type CfcErrorCode } from '../errors.js';
import { agreeing } from './consensus.js';
import type { Refusal } from './group-send.js';
import type { Inbox } from './inbox.js';
import type { Outbox } from './outbox.js';

export interface GatherOptions {
  /**
   * How many answers are enough: up to 1 a share of the members (0.9: nine of ten, rounded up; 1:
   * all), from 2 on a number of them; `{ count: 1 }` is the first that comes. Default 1: all.
   */
  quorum?: number | { count: number };
  /** From the question to the quorum, room included. Default 5000. */
  timeoutMs?: number;
  /** Up to 64 bytes, for the reader to tell messages apart. Default none. */
  type?: string;
  /** `control` overtakes `work`. Default `work`. */
  priority?: 'control' | 'work';
}

/** What came of asking a group, in the moment when the quorum was reached or the time was up. */
export interface GatherResult {
  /** In the order in which they came. They need no ack. */
  answers: readonly Message[];
  /** Who was asked and has not answered, and why as far as is known. */
  missing: readonly Refusal[];
  /** Members asked. */
  asked: number;
  /** Answers that the quorum takes. */
  needed: number;
  /** The answers that agree: the largest number of equal bodies (of JSON: equal values). */
  agreeing: readonly Message[];
  /** 100 × agreeing / asked, as the gauge `consensus.score` has it. */
  score: number;
  /** As the histogram `coordination.time` has it. */
  durationMs: number;
}

/** The quorum was not reached. `result` has what came. */
export class QuorumError extends CfcError {
  readonly result: GatherResult;

  /** @internal */
  constructor(code: CfcErrorCode, to: string, result: GatherResult) {
    const { asked, needed, missing, answers } = result;
    super(code, { to, asked, needed, answered: answers.length, missing });
    this.result = result;
  }
}

/** @throws {CfcError} `ERR_CFC_USAGE`, and `ERR_CFC_NO_AGENT` where there are too few members */
export function neededOf(quorum: GatherOptions['quorum'], members: number, to: string): number {
  const usage = () =>
    new CfcError('ERR_CFC_USAGE', {
      quorum,
      allowed: 'a share above 0 and up to 1, a whole number from 2, or { count }',
    });
  let needed: number;
  if (typeof quorum === 'object') needed = quorum.count;
  else if (quorum === undefined) needed = members;
  // The product may lie a hair above what was meant: 0.07 × 100 is no 8.
  else if (quorum > 0 && quorum <= 1) needed = Math.ceil(quorum * members - 1e-9);
  else needed = quorum;
  if (!Number.isInteger(needed) || needed < 1) throw usage();
  if (needed > members) throw new CfcError('ERR_CFC_NO_AGENT', { to, members, needed });
  return needed;
}

/** One question to many members, until enough of them have answered. */
export class Gathering {
  readonly #mailbox: Mailbox;
  readonly #outbox: Outbox;
  readonly #inbox: Inbox;
  readonly #to: string;
  readonly #members: readonly string[];
  readonly #needed: number;
  readonly #startedAt = performance.now();
  readonly #answers: Message[] = [];
  readonly #refused = new Map<string, CfcErrorCode>();
  readonly #asked = new Map<string, number>();
  readonly #answered = new Set<string>();
  #end: (failed: CfcErrorCode | undefined) => void = () => {};
  #ended = false;

  constructor(
    { mailbox, outbox, inbox }: { mailbox: Mailbox; outbox: Outbox; inbox: Inbox },
    to: string,
    members: readonly string[],
    needed: number,
  ) {
    this.#mailbox = mailbox;
    this.#outbox = outbox;
    this.#inbox = inbox;
    this.#to = to;
    this.#members = members;
    this.#needed = needed;
  }

  /** @throws {QuorumError} `ERR_CFC_TIMED_OUT`, `ERR_CFC_PARTLY_DELIVERED`, `ERR_CFC_NO_READER` */
  async run(body: unknown, facts: SendFacts, timeoutMs: number): Promise<GatherResult> {
    const once = EncodedBody.of(body);
    const until = this.#startedAt + timeoutMs;
    const failed = await new Promise<CfcErrorCode | undefined>((resolve, reject) => {
      this.#end = resolve;
      for (const member of this.#members) this.#ask(member, once, facts, until).catch(reject);
    }).finally(() => this.#giveUp());
    const result = this.#result();
    if (failed !== undefined) throw new QuorumError(failed, this.#to, result);
    return result;
  }

  async #ask(member: string, body: EncodedBody, facts: SendFacts, until: number): Promise<void> {
    try {
      let answer: Promise<Message> | undefined;
      const asking: SendFacts = {
        ...facts,
        asks: true,
        sent: (number) => {
          this.#asked.set(member, number);
          answer = this.#inbox.answerTo(number, member, until - performance.now());
        },
      };
      if (this.#outbox.trySend(member, body, asking) <= 0) {
        await this.#outbox.wait(member, body, asking, until - performance.now(), this);
      }
      const message = await (answer as unknown as Promise<Message>);
      if (this.#ended) return;
      this.#answers.push(message);
      this.#answered.add(member);
      if (this.#answers.length >= this.#needed) this.#finish(undefined);
    } catch (error) {
      if (!(error instanceof CfcError)) throw error;
      if (this.#ended) return;
      this.#refused.set(member, error.code);
      this.#judge();
    }
  }

  // Whether the quorum can still be reached by those of whom nothing is known yet.
  #judge(): void {
    const open = this.#members.length - this.#answers.length - this.#refused.size;
    if (this.#answers.length + open >= this.#needed) return;
    const codes = new Set(this.#refused.values());
    if (this.#mailbox.left) this.#finish('ERR_CFC_MAILBOX_CLOSED');
    else if (codes.has('ERR_CFC_TIMED_OUT')) this.#finish('ERR_CFC_TIMED_OUT');
    else if (codes.size === 1) this.#finish([...codes][0]);
    else this.#finish('ERR_CFC_PARTLY_DELIVERED');
  }

  #finish(failed: CfcErrorCode | undefined): void {
    this.#ended = true;
    this.#end(failed);
  }

  // Questions that wait for room are not sent any more; answers that come are late.
  #giveUp(): void {
    this.#outbox.cancel(this);
    for (const [member, number] of this.#asked) {
      if (!this.#answered.has(member)) this.#inbox.forget(number);
    }
  }

  #result(): GatherResult {
    const answers = this.#answers;
    const missing = this.#members
      .filter((member) => !this.#answered.has(member))
      .map((to): Refusal => ({ to, code: this.#refused.get(to) ?? 'ERR_CFC_TIMED_OUT' }));
    const same = agreeing(answers);
    const asked = this.#members.length;
    const result: GatherResult = {
      answers,
      missing,
      asked,
      needed: this.#needed,
      agreeing: same,
      score: (100 * same.length) / asked,
      durationMs: performance.now() - this.#startedAt,
    };
    this.#record(result);
    return result;
  }

  #record({ score, durationMs }: GatherResult): void {
    if (this.#mailbox.left) return;
    try {
      this.#mailbox.counters.gauge('consensus.score', 'percent').set(score);
      this.#mailbox.counters.histogram('coordination.time', 'milliseconds').record(durationMs);
    } catch (error) {
      // A fabric with no room for another metric answers all the same.
      if (!(error instanceof CfcError)) throw error;
    }
  }
}
