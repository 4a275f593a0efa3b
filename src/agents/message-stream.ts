import type { Mailbox } from '../core/mailbox.js';
import type { Message } from '../core/message.js';
import type { Inbox } from './inbox.js';
import type { Turn } from './turn.js';

/** Messages that an iterator leases at a time: few enough that other readers get some. */
const iteratorBatch = 64;

/** Leases that came together. An array, with `ack()` for all. */
export class MessageBatch extends Array<Message> {
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }
  readonly #mailbox: Mailbox;

  /** @internal */
  constructor(mailbox: Mailbox, messages: readonly Message[]) {
    super();
    this.#mailbox = mailbox;
    for (let i = 0; i < messages.length; i += 1) this[i] = messages[i] as Message;
  }

  /**
   * Acks all that aren't yet, with one crossing.
   *
   * @throws {CfcError} `ERR_CFC_LEASE_LOST` with `details.lost`, after the others were acked
   */
  ack(): void {
    this.#mailbox.ackAll(this);
  }
}

/** Leases a batch, yields one by one. */
export class MessageStream implements AsyncIterableIterator<Message> {
  readonly #agent: { readonly left: boolean };
  readonly #mailbox: Pick<Mailbox, 'release'>;
  readonly #inbox: Inbox;
  readonly #turn: Turn;
  #batch: readonly Message[] = [];
  #next = 0;
  #done = false;
  #refill: Promise<IteratorResult<Message>> | undefined;

  constructor(
    agent: { readonly left: boolean },
    mailbox: Pick<Mailbox, 'release'>,
    inbox: Inbox,
    turn: Turn,
  ) {
    this.#agent = agent;
    this.#mailbox = mailbox;
    this.#inbox = inbox;
    this.#turn = turn;
  }

  next(): Promise<IteratorResult<Message>> {
    if (this.#refill !== undefined) {
      // Somebody asked twice without waiting: the second is served after the first.
      return this.#refill.then(() => this.next());
    }
    if (this.#next < this.#batch.length) return Promise.resolve(this.#yield());
    const result = this.#fill();
    this.#refill = result.finally(() => {
      this.#refill = undefined;
    });
    return this.#refill;
  }

  async #fill(): Promise<IteratorResult<Message>> {
    const spent = this.#turn.use(this.#batch.length);
    this.#batch = [];
    this.#next = 0;
    if (spent) await this.#turn.next();
    while (!this.#done && !this.#agent.left) {
      let batch = this.#inbox.tryTake(iteratorBatch);
      try {
        if (batch.length === 0) batch = await this.#inbox.take(iteratorBatch, Infinity, this);
      } catch (error) {
        if (this.#agent.left) break;
        throw error;
      }
      if (this.#done) {
        this.#mailbox.release(batch);
        break;
      }
      if (batch.length === 0) continue;
      this.#batch = batch;
      return this.#yield();
    }
    return { value: undefined, done: true };
  }

  #yield(): IteratorResult<Message> {
    const value = this.#batch[this.#next] as Message;
    this.#next += 1;
    return { value, done: false };
  }

  return(): Promise<IteratorResult<Message>> {
    this.#done = true;
    this.#inbox.cancel(this); // who waits in next() is told at once
    this.#mailbox.release(this.#batch.slice(this.#next));
    this.#batch = [];
    this.#next = 0;
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
