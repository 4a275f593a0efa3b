/** Node's timers fire at once where they are told to wait longer. */
const longestMs = 2 ** 31 - 1;

/** @param timeoutMs less than 0 is taken as 0, more than 24 days as 24 days; Infinity: no timer */
export function startTimer(timeoutMs: number, onTime: () => void): NodeJS.Timeout | undefined {
  if (timeoutMs === Infinity) return undefined;
  return setTimeout(onTime, Math.min(longestMs, Math.max(0, timeoutMs)));
}

/** One more look after a while, at the earliest of the times that were asked for. */
export class Retry {
  readonly #run: () => void;
  #timer: NodeJS.Timeout | undefined;
  #atMs = Infinity;

  constructor(run: () => void) {
    this.#run = run;
  }

  within(delayMs: number): void {
    const atMs = performance.now() + delayMs;
    if (atMs >= this.#atMs) return;
    this.cancel();
    this.#atMs = atMs;
    this.#timer = startTimer(delayMs, () => {
      this.#atMs = Infinity;
      this.#run();
    });
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#atMs = Infinity;
  }
}
