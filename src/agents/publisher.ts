import { inspect } from 'node:util';
import { formatMessageId } from '../core/message.js';
import { Status } from '../core/native.js';
import { errorOf } from '../core/status.js';
import type { Topics } from '../core/topics.js';
import { CfcError } from '../errors.js';
import { Retry, startTimer } from './timer.js';

/** How often to try where nobody may ring: payload memory comes free elsewhere too. */
const slabRetryMs = 50;

export interface PublishOptions {
  /** Up to 64 bytes, for subscribers to tell messages apart. Default none. */
  type?: string;
  /** How long to wait for reliable subscribers that are behind. Default 30000; Infinity: for ever. */
  timeoutMs?: number;
}

/** What publish resolves to. */
export class PublishReceipt {
  readonly topic: string;
  readonly #uid: number;
  readonly #number: number;

  /** @internal */
  constructor(uid: number, number: number, topic: string) {
    this.#uid = uid;
    this.#number = number;
    this.topic = topic;
  }

  /** Unique in the fabric. */
  get id(): string {
    return formatMessageId(this.#uid, this.#number);
  }

  toJSON(): { id: string; topic: string } {
    return { id: this.id, topic: this.topic };
  }

  [inspect.custom](): unknown {
    return this.toJSON();
  }
}

interface Pending {
  body: unknown;
  type: string | undefined;
  timer: NodeJS.Timeout | undefined;
  resolve(number: number): void;
  reject(reason: unknown): void;
}

interface Queue {
  pending: Pending[];
  /** What wakes the loop: room in the log, or each cell that comes free there, for its payload. */
  announced: 'nothing' | 'room' | 'payload';
}

/**
 * The publications of one agent that wait for room, in order per topic.
 *
 * `onChange` is called when somebody begins or ends to wait.
 */
export class Publisher {
  readonly #topics: Topics;
  readonly #onChange: () => void;
  readonly #queues = new Map<string, Queue>();
  readonly #retry = new Retry(() => this.ready());

  constructor(topics: Topics, onChange: () => void) {
    this.#topics = topics;
    this.#onChange = onChange;
  }

  get waiting(): boolean {
    return this.#queues.size > 0;
  }

  /** @returns the message's number; not positive where there is no room now */
  tryPublish(topic: string, body: unknown, type: string | undefined): number {
    // Who waits already goes first.
    if (this.#queues.size > 0 && this.#queues.has(topic)) return -Status.full;
    return this.#topics.tryPublish(topic, body, type);
  }

  /** Waits for room until `timeoutMs` are over. @returns the message's number */
  wait(topic: string, body: unknown, type: string | undefined, timeoutMs: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const pending: Pending = { body, type, timer: undefined, resolve, reject };
      let queue = this.#queues.get(topic);
      if (queue === undefined) {
        queue = { pending: [], announced: 'nothing' };
        this.#queues.set(topic, queue);
      }
      queue.pending.push(pending);
      pending.timer = startTimer(timeoutMs, () => this.#timeOut(topic, pending));
      this.#onChange();
      this.#flush(topic);
    });
  }

  /** In the event loop: there may be room. */
  ready(): void {
    if (this.#queues.size > 0) for (const topic of [...this.#queues.keys()]) this.#flush(topic);
  }

  close(reason: CfcError): void {
    this.#retry.cancel();
    for (const queue of this.#queues.values()) {
      for (const pending of queue.pending) {
        clearTimeout(pending.timer);
        pending.reject(reason);
      }
    }
    this.#queues.clear();
  }

  // Tries from the front until one does not fit. Returns why, 0 where all went.
  #flush(topic: string): number {
    const queue = this.#queues.get(topic);
    while (queue !== undefined && queue.pending.length > 0) {
      const pending = queue.pending[0] as Pending;
      try {
        const number = this.#topics.tryPublish(topic, pending.body, pending.type);
        if (number <= 0) {
          const wanted = -number === Status.full ? 'room' : 'payload';
          if (-number === Status.rateLimited) this.#retry.within(this.#topics.rateWaitMs);
          else if (wanted === 'payload') this.#retry.within(slabRetryMs);
          if (queue.announced === wanted) return -number;
          this.#announce(topic, queue, wanted);
          continue; // once more: it may have come before we said that we want it
        }
        this.#remove(topic, queue, pending);
        pending.resolve(number);
      } catch (error) {
        this.#remove(topic, queue, pending);
        pending.reject(error);
      }
    }
    return 0;
  }

  #timeOut(topic: string, pending: Pending): void {
    const full = this.#flush(topic) || Status.full; // one last try
    const queue = this.#queues.get(topic);
    if (queue === undefined || !queue.pending.includes(pending)) return;
    this.#remove(topic, queue, pending);
    pending.reject(publishRefused(full, topic));
  }

  #remove(topic: string, queue: Queue, pending: Pending): void {
    clearTimeout(pending.timer);
    queue.pending.splice(queue.pending.indexOf(pending), 1);
    if (queue.pending.length > 0) return;
    this.#queues.delete(topic);
    this.#announce(topic, queue, 'nothing');
    this.#onChange();
  }

  #announce(topic: string, queue: Queue, wanted: Queue['announced']): void {
    if (queue.announced === wanted) return;
    queue.announced = wanted;
    if (wanted === 'nothing') this.#topics.stopWaitRoom(topic);
    else this.#topics.waitRoom(topic, wanted === 'room');
  }
}

/** @param status why there was no room */
export function publishRefused(status: number, topic: string): CfcError {
  return status === Status.full
    ? new CfcError('ERR_CFC_TOPIC_FULL', { topic })
    : errorOf(status, { topic });
}
