import type { Mailbox } from '../core/mailbox.js';
import { formatMessageId, type Message } from '../core/message.js';
import { Expect, native } from '../core/native.js';
import { isReply } from '../core/send-facts.js';
import { CfcError } from '../errors.js';
import { startTimer } from './timer.js';

interface Receiver {
  max: number;
  who: object | undefined;
  timer: NodeJS.Timeout | undefined;
  /** Called with none when the time is up. */
  deliver(messages: readonly Message[]): void;
  fail(reason: unknown): void;
}

interface PendingAsk {
  to: string;
  timer: NodeJS.Timeout | undefined;
  resolve(answer: Message): void;
  reject(reason: unknown): void;
}

/**
 * The receivers and askers of one agent. Replies go to who asked, whatever else waits in the
 * mailbox; everything else goes to receivers, in order. A reply that nobody waits for any more is
 * acked and counted as late.
 *
 * `onChange` is called when somebody begins or ends to wait.
 */
export class Inbox {
  readonly #mailbox: Mailbox;
  readonly #onChange: () => void;
  readonly #receivers: Receiver[] = [];
  readonly #asks = new Map<number, PendingAsk>();

  #asking = 0;
  #awaits = false;

  constructor(mailbox: Mailbox, onChange: () => void) {
    this.#mailbox = mailbox;
    this.#onChange = onChange;
  }

  /** What the loop is to be woken for. */
  get expects(): number {
    if (this.#receivers.length > 0) return Expect.mail;
    return this.#asks.size > 0 ? Expect.replies : Expect.nothing;
  }

  /** Up to `max` messages that are there now. */
  tryTake(max: number): readonly Message[] {
    if (this.#receivers.length > 0) return []; // who waits already goes first
    return this.#take(max);
  }

  /**
   * @param who may be told to give up
   * @returns up to `max` messages; none when the time is up
   */
  take(max: number, timeoutMs: number, who?: object): Promise<readonly Message[]> {
    return new Promise((deliver, fail) => {
      const receiver: Receiver = { max, who, timer: undefined, deliver, fail };
      receiver.timer = startTimer(timeoutMs, () => this.#giveUp(receiver));
      this.#receivers.push(receiver);
      this.#changed();
    });
  }

  /** Ends the waiting of `who`, as if the time were up. */
  cancel(who: object): void {
    for (const receiver of [...this.#receivers]) if (receiver.who === who) this.#giveUp(receiver);
  }

  /**
   * Runs what sends questions: from before it until the last of them is settled, other processes that
   * read as this agent leave the answers to us.
   *
   * @throws {CfcError} `ERR_CFC_READERS_FULL`, and what `ask` throws
   */
  asking<T>(ask: () => Promise<T>): Promise<T> {
    return this.#mailbox.guest ? this.#askBesideOthers(ask) : ask();
  }

  /** Waits for the reply to our message `number`. */
  answerTo(number: number, to: string, timeoutMs: number): Promise<Message> {
    return new Promise((resolve, reject) => {
      const ask: PendingAsk = { to, timer: undefined, resolve, reject };
      ask.timer = startTimer(timeoutMs, () => this.#askTimedOut(number, ask));
      this.#asks.set(number, ask);
      this.#changed();
    });
  }

  /** Nobody waits for that reply any more: it is late when it comes. */
  forget(number: number): void {
    const ask = this.#asks.get(number);
    if (ask === undefined) return;
    clearTimeout(ask.timer);
    this.#asks.delete(number);
    this.#changed();
  }

  /** In the event loop: there may be mail. */
  ready(): void {
    try {
      while (this.#receivers.length > 0) {
        const receiver = this.#receivers[0] as Receiver;
        const messages = this.#take(receiver.max);
        if (messages.length === 0) break;
        this.#drop(receiver);
        receiver.deliver(messages);
      }
      if (this.#asks.size > 0 && this.#receivers.length === 0) this.#takeReplies();
    } catch (error) {
      this.close(error);
    }
  }

  close(reason: unknown): void {
    for (const receiver of this.#receivers.splice(0)) {
      clearTimeout(receiver.timer);
      receiver.fail(reason);
    }
    for (const ask of this.#asks.values()) {
      clearTimeout(ask.timer);
      ask.reject(reason);
    }
    this.#asks.clear();
    this.#changed();
  }

  async #askBesideOthers<T>(ask: () => Promise<T>): Promise<T> {
    this.#asking += 1;
    try {
      this.#tellAwaits();
      return await ask();
    } finally {
      this.#asking -= 1;
      this.#tellAwaits();
    }
  }

  #changed(): void {
    if (this.#mailbox.guest) this.#tellAwaits();
    this.#onChange();
  }

  #tellAwaits(): void {
    const awaits = this.#asking + this.#asks.size > 0;
    if (awaits === this.#awaits) return;
    this.#mailbox.awaitAnswers(awaits);
    this.#awaits = awaits;
  }

  // Replies among what was taken don't count: try until there is something else, or nothing.
  #take(max: number): readonly Message[] {
    for (;;) {
      const taken = this.#mailbox.take(max);
      if (taken.length === 0) return taken;
      if (!anyReply(taken)) return taken;
      const others = taken.filter((message) => !this.#routeReply(message));
      if (others.length > 0) return others;
    }
  }

  #takeReplies(): void {
    for (;;) {
      const replies = this.#mailbox.take(native.constants.mostTaken, true);
      for (const reply of replies) this.#routeReply(reply);
      if (replies.length < native.constants.mostTaken) return;
    }
  }

  #routeReply(message: Message): boolean {
    if (!isReply(message)) return false;
    const { correlationUid, correlationNumber } = message.facts;
    const ask =
      correlationUid === this.#mailbox.uid ? this.#asks.get(correlationNumber) : undefined;
    message.ack();
    if (ask === undefined) {
      this.#mailbox.counters.counter('replies.late', 'messages').add();
      return true;
    }
    clearTimeout(ask.timer);
    this.#asks.delete(correlationNumber);
    this.#changed();
    ask.resolve(message);
    return true;
  }

  #askTimedOut(number: number, ask: PendingAsk): void {
    this.#asks.delete(number);
    this.#changed();
    const code = this.#mailbox.readerLives(ask.to) ? 'ERR_CFC_TIMED_OUT' : 'ERR_CFC_NO_READER';
    ask.reject(new CfcError(code, { to: ask.to, id: formatMessageId(this.#mailbox.uid, number) }));
  }

  #giveUp(receiver: Receiver): void {
    this.#drop(receiver);
    receiver.deliver([]);
  }

  #drop(receiver: Receiver): void {
    clearTimeout(receiver.timer);
    const index = this.#receivers.indexOf(receiver);
    if (index >= 0) this.#receivers.splice(index, 1);
    this.#changed();
  }
}

// Asked for every message that comes, so no call per message.
function anyReply(messages: readonly Message[]): boolean {
  for (let i = 0; i < messages.length; i += 1) if (isReply(messages[i] as Message)) return true;
  return false;
}
