/** Messages that a loop of awaits may handle before the event loop gets its turn. */
const messagesPerTurn = 256;

/**
 * Keeps `await` loops from starving the event loop: what is there at once resolves at once, and a
 * busy agent would never let a timer, a socket or a finalizer run. After `messagesPerTurn` messages
 * the next promise takes the way round through the loop.
 */
export class Turn {
  #used = 0;

  /** Counts messages. @returns whether the turn is over */
  use(messages: number): boolean {
    this.#used += messages;
    return this.#used >= messagesPerTurn;
  }

  /** The loop turned by itself. */
  begin(): void {
    this.#used = 0;
  }

  /** Resolves in the next turn. */
  next(): Promise<void> {
    this.#used = 0;
    return new Promise((resolve) => setImmediate(resolve));
  }
}
