import { exitCodes, Outcome } from './outcome.js';

/** Ctrl-C: leave in good order, then say so. */
export class Interruption {
  asked = false;
  #leave: (() => Promise<void>) | undefined;

  constructor() {
    process.once('SIGINT', () => {
      this.asked = true;
      void this.#leave?.();
    });
  }

  whenAsked(leave: () => Promise<void>): void {
    this.#leave = leave;
    if (this.asked) void leave();
  }

  /** @throws {Outcome} interrupted, where it was asked for */
  check(): void {
    if (this.asked) throw new Outcome(exitCodes.interrupted);
  }
}
