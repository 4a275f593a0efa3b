import type { Message } from '../../core/message.js';
import { CfcError, type CfcErrorCode } from '../../errors.js';
import type { Agent } from '../agent.js';

/** How often to try where the heir's mailbox is full, and to ask what became of a copy. */
const retryMs = 20;
/**
 * Where the heir is just between two lives, or stopped in the middle of something, or the file
 * system is full.
 */
const passing: readonly CfcErrorCode[] = [
  'ERR_CFC_NO_AGENT',
  'ERR_CFC_MAILBOX_CLOSED',
  'ERR_CFC_BUSY',
  'ERR_CFC_NO_SPACE',
];

/**
 * Holds the name of an agent that does not come back, and hands on what waits there, and whatever
 * comes, to whoever has its work now: as each sender sent it, so that answers find who asked. A
 * message is acked here once it was accepted there; where its sender waits for the ack, once it was
 * acked there. Whoever dies in between has it come again.
 *
 * Ownership: of the agent, which leaves with `close`; also where it cannot go on, which `onFailure`
 * is told. What it had not handed on by then stays in the mailbox.
 */
export class StandIn {
  readonly #agent: Agent;
  readonly #heir: () => string;
  readonly #onFailure: (error: unknown) => void;
  #awaited: Message[] = [];
  #closed = false;
  #moved = 0;
  readonly #done: Promise<void>;

  /** @param heir asked for each message: that one may be replaced too */
  constructor(agent: Agent, heir: () => string, onFailure: (error: unknown) => void) {
    this.#agent = agent;
    this.#heir = heir;
    this.#onFailure = onFailure;
    this.#done = this.#run();
  }

  get name(): string {
    return this.#agent.name;
  }

  /** Messages handed on so far. */
  get moved(): number {
    return this.#moved;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#agent.leave();
    await this.#done;
  }

  async #run(): Promise<void> {
    try {
      while (!this.#closed) {
        const timeoutMs = this.#awaited.length > 0 ? retryMs : Number.POSITIVE_INFINITY;
        const message = await this.#agent.receive({ timeoutMs });
        this.#awaited = this.#awaited.filter((one) => !this.#agent.forwarded(one));
        if (message !== undefined) await this.#handOn(message);
      }
    } catch (error) {
      // Closed in the middle of something: what was leased goes back into the mailbox.
      if (this.#closed) return;
      this.#closed = true;
      await this.#agent.leave();
      this.#onFailure(error);
    }
  }

  async #handOn(message: Message): Promise<void> {
    while (!this.#closed) {
      const result = this.#try(message);
      if (result >= 0) {
        this.#moved += 1;
        if (result === 0) this.#awaited.push(message);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }

  #try(message: Message): number {
    try {
      return this.#agent.forward(message, this.#heir());
    } catch (error) {
      if (error instanceof CfcError && passing.includes(error.code)) return -1;
      throw error;
    }
  }
}
