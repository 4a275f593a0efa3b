/** Wakes whoever waits for it; a nudge that nobody waits for is forgotten. */
export class Nudge {
  #waiting: (() => void)[] = [];

  /** Look at what you wait for, then call this, with no `await` between. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  all(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
