import type { Mailbox } from '../core/mailbox.js';
import { formatMessageId } from '../core/message.js';
import { Status } from '../core/native.js';
import type { SendFacts } from '../core/send-facts.js';
import { errorOf, isFull } from '../core/status.js';
import { CfcError } from '../errors.js';
import { Retry, startTimer } from './timer.js';

/** How often to try where nobody may ring: payload memory comes free in other lanes too. */
const slabRetryMs = 50;

interface PendingSend {
  timer: NodeJS.Timeout | undefined;
  /** How many go at once. */
  cells: number;
  beganMs: number;
  who: object | undefined;
  /** Positive once it is accepted; else what is full, as a negative status. */
  attempt(): number;
  resolve(number: number): void;
  reject(reason: unknown): void;
}

/** Who waits for room in one lane, in order. */
interface Queue {
  to: string;
  work: boolean;
  sends: PendingSend[];
  /** What wakes the loop: so many free cells; 0: each that comes free, for its payload. */
  announced: number | undefined;
  /** What the one in front met last: a status. */
  why: number;
}

interface PendingAck {
  to: string;
  timer: NodeJS.Timeout | undefined;
  resolve(): void;
  reject(reason: unknown): void;
}

/**
 * The sends of one agent that wait: for room, in order per recipient and lane, and for an ack.
 *
 * `onChange` is called when somebody begins or ends to wait.
 */
export class Outbox {
  readonly #mailbox: Mailbox;
  readonly #onChange: () => void;
  readonly #queues = new Map<string, Queue>();
  readonly #acks = new Map<number, PendingAck>();
  readonly #retry = new Retry(() => this.ready());

  constructor(mailbox: Mailbox, onChange: () => void) {
    this.#mailbox = mailbox;
    this.#onChange = onChange;
  }

  get waiting(): boolean {
    return this.#queues.size > 0 || this.#acks.size > 0;
  }

  /** @returns the message's number; not positive where there is no room now */
  trySend(to: string, body: unknown, facts: SendFacts): number {
    // Who waits already goes first.
    const queue = this.#queues.size > 0 ? this.#queues.get(keyOf(to, facts)) : undefined;
    if (queue !== undefined) {
      if (!facts.waits) this.#mailbox.noteRefused(1);
      return -queue.why;
    }
    return this.#attempt(to, body, facts);
  }

  /** @returns the messages' numbers; none where there is no room now */
  trySendBatch(to: string, bodies: readonly unknown[], facts: SendFacts): number[] {
    if (this.#queues.size > 0 && this.#queues.has(keyOf(to, facts))) return [];
    return this.#mailbox.trySendBatch(to, bodies, facts);
  }

  /**
   * Waits for room until `timeoutMs` are over; Infinity: for ever.
   *
   * @param who may be told to give up
   * @returns the message's number
   */
  wait(
    to: string,
    body: unknown,
    facts: SendFacts,
    timeoutMs: number,
    who?: object,
  ): Promise<number> {
    return this.#wait(to, facts, timeoutMs, 1, () => this.#attempt(to, body, facts), who);
  }

  /** Ends the waiting of `who`, as if the time were up; it is not tried again. */
  cancel(who: object): void {
    for (const [key, queue] of [...this.#queues]) {
      for (const pending of queue.sends.filter((one) => one.who === who)) {
        this.#remove(key, queue, pending);
        this.#note(pending, pending.cells);
        pending.reject(errorOf(Status.full, { to: queue.to }));
      }
      this.#flush(key); // who is in front now may want less room
    }
  }

  /** The same for a batch, which goes whole or not at all. @returns the messages' numbers */
  async waitBatch(
    to: string,
    bodies: readonly unknown[],
    facts: SendFacts,
    timeoutMs: number,
  ): Promise<number[]> {
    let numbers: number[] = [];
    await this.#wait(to, facts, timeoutMs, bodies.length, () => {
      numbers = this.#mailbox.trySendBatch(to, bodies, facts);
      return numbers.length > 0 ? 1 : -this.#mailbox.refusal;
    });
    return numbers;
  }

  #wait(
    to: string,
    facts: SendFacts,
    timeoutMs: number,
    cells: number,
    attempt: () => number,
    who?: object,
  ): Promise<number> {
    return new Promise((resolve, reject) => {
      const beganMs = performance.now();
      const timer = undefined;
      const pending: PendingSend = { timer, cells, beganMs, who, attempt, resolve, reject };
      const key = keyOf(to, facts);
      let queue = this.#queues.get(key);
      if (queue === undefined) {
        const work = facts.priority !== 'control';
        queue = { to, work, sends: [], announced: undefined, why: Status.full };
        this.#queues.set(key, queue);
      }
      queue.sends.push(pending);
      pending.timer = startTimer(timeoutMs, () => this.#timeOut(key, pending));
      this.#onChange();
      this.#flush(key);
    });
  }

  /** Resolves once the message was acknowledged. It was sent with `receipt`. */
  acked(number: number, to: string, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const pending: PendingAck = { to, timer: undefined, resolve, reject };
      this.#acks.set(number, pending);
      pending.timer = startTimer(timeoutMs, () => {
        const details = { to, id: formatMessageId(this.#mailbox.uid, number), accepted: true };
        this.#mailbox.forgetVerdict(number);
        this.#acks.delete(number);
        this.#onChange();
        reject(
          new CfcError(
            this.#mailbox.readerLives(to) ? 'ERR_CFC_TIMED_OUT' : 'ERR_CFC_NO_READER',
            details,
          ),
        );
      });
      this.#onChange();
      this.#settle(number, pending);
    });
  }

  /** In the event loop: something that we wait for may be there. */
  ready(): void {
    // Acks first: what is sent now may go into the very cells that carry the verdicts.
    if (this.#acks.size > 0) {
      for (const [number, pending] of [...this.#acks]) this.#settle(number, pending);
    }
    if (this.#queues.size > 0) for (const key of [...this.#queues.keys()]) this.#flush(key);
  }

  close(reason: CfcError): void {
    this.#retry.cancel();
    for (const queue of this.#queues.values()) {
      for (const pending of queue.sends) {
        clearTimeout(pending.timer);
        pending.reject(reason);
      }
    }
    for (const pending of this.#acks.values()) {
      clearTimeout(pending.timer);
      pending.reject(reason);
    }
    this.#queues.clear();
    this.#acks.clear();
  }

  // Tries from the front until something does not fit. Returns why, 0 where all went.
  #flush(key: string): number {
    const queue = this.#queues.get(key);
    while (queue !== undefined && queue.sends.length > 0) {
      const pending = queue.sends[0] as PendingSend;
      try {
        const number = pending.attempt();
        if (isFull(-number)) {
          queue.why = -number;
          const wanted = -number === Status.full ? pending.cells : 0;
          if (-number === Status.rateLimited) this.#retry.within(this.#mailbox.rateWaitMs);
          else if (wanted === 0) this.#retry.within(slabRetryMs);
          if (queue.announced === wanted) return -number;
          this.#announce(queue, wanted);
          continue; // once more: it may have come before we said that we want it
        }
        this.#remove(key, queue, pending);
        this.#note(pending, 0);
        pending.resolve(number);
      } catch (error) {
        this.#remove(key, queue, pending);
        pending.reject(error);
      }
    }
    return 0;
  }

  #attempt(to: string, body: unknown, facts: SendFacts): number {
    const number = this.#mailbox.trySend(to, body, facts);
    if (number > 0) facts.sent?.(number);
    return number;
  }

  #timeOut(key: string, pending: PendingSend): void {
    // One last try; what it says is the reason: no room, no slab, over the quota, too fast.
    const full = this.#flush(key) || Status.full;
    const queue = this.#queues.get(key);
    if (queue === undefined || !queue.sends.includes(pending)) return;
    this.#remove(key, queue, pending);
    this.#note(pending, pending.cells);
    pending.reject(errorOf(full, { to: queue.to }));
    this.#flush(key); // who is in front now may want less room
  }

  #note(pending: PendingSend, refused: number): void {
    this.#mailbox.noteSendWait(performance.now() - pending.beganMs, refused);
  }

  #remove(key: string, queue: Queue, pending: PendingSend): void {
    clearTimeout(pending.timer);
    queue.sends.splice(queue.sends.indexOf(pending), 1);
    if (queue.sends.length > 0) return;
    this.#queues.delete(key);
    this.#announce(queue, undefined);
    this.#onChange();
  }

  #announce(queue: Queue, wanted: Queue['announced']): void {
    if (queue.announced === wanted) return;
    queue.announced = wanted;
    if (wanted === undefined) this.#mailbox.stopWaitRoom(queue.to, queue.work);
    else this.#mailbox.waitRoom(queue.to, queue.work, wanted);
  }

  #settle(number: number, pending: PendingAck): void {
    const verdict = this.#mailbox.verdict(number);
    if (-verdict === Status.busy) return;
    clearTimeout(pending.timer);
    this.#acks.delete(number);
    this.#onChange();
    if (verdict === 0) {
      pending.resolve();
      return;
    }
    const id = formatMessageId(this.#mailbox.uid, number);
    const why = verdict === 2 ? 'dropped' : verdict === 3 ? 'dead-lettered' : 'unknown';
    pending.reject(
      new CfcError('ERR_CFC_PARTLY_DELIVERED', {
        accepted: [],
        refused: [{ to: pending.to, id, code: why }],
      }),
    );
  }
}

function keyOf(to: string, facts: SendFacts): string {
  return facts.priority === 'control' ? `c ${to}` : `w ${to}`;
}
