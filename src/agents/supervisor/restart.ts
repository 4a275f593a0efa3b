import type { RestartPolicy } from '../../topology/plan.js';

/** How the process of an agent ended. */
export interface Ending {
  /** Exit code, or 128 + signal; null where nobody could say, as after `kill -9` of its parent. */
  exitCode: number | null;
}

/** What is to be done about an ending. */
export type Verdict =
  | { kind: 'stays'; failed: boolean }
  | { kind: 'restart'; delayMs: number }
  | { kind: 'crash-loop'; delayMs: number; entered: boolean };

/** Of a crash loop: the first wait, and the longest. */
export const crashBackoff = { firstMs: 1_000, mostMs: 300_000 } as const;
/** A wait is a random part of its nominal length, so that many that crash together come apart. */
const leastShare = 0.5;

/** Whether an ending calls for a restart at all. */
export function isToRestart(when: RestartPolicy['when'], { exitCode }: Ending): boolean {
  return when === 'always' || (when === 'on-failure' && exitCode !== 0);
}

/**
 * The restarts of one agent: how many there were lately, and how long to wait before the next.
 *
 * Pure: the clock and the dice are given. Time is monotonic, in milliseconds.
 *
 * Up to `maxRestarts` within `withinMs` come after `backoffMs`, doubled for each one after it, up to
 * five minutes. One more is a crash loop: from there on the waits grow from one second to five minutes, jittered, and
 * start over once the agent has lived for longer than `withinMs` and its last wait.
 */
export class RestartHistory {
  readonly policy: RestartPolicy;
  readonly #random: () => number;
  /** When it was restarted, within the window. */
  #restarts: number[] = [];
  /** Restarts since the crash loop began; -1 outside of one. */
  #crashes = -1;
  #lastWaitMs = 0;

  constructor(policy: RestartPolicy, random: () => number = Math.random) {
    this.policy = policy;
    this.#random = random;
  }

  get looping(): boolean {
    return this.#crashes >= 0;
  }

  /** It ended at `nowMs`, having been started at `startedMs`. */
  ended(ending: Ending, startedMs: number, nowMs: number): Verdict {
    const failed = ending.exitCode !== 0;
    if (!isToRestart(this.policy.when, ending)) return { kind: 'stays', failed };
    this.recovered(startedMs, nowMs);
    if (!this.looping) {
      const since = nowMs - this.policy.withinMs;
      this.#restarts = this.#restarts.filter((at) => at > since);
      if (this.#restarts.length < this.policy.maxRestarts) {
        const nominalMs = this.policy.backoffMs * 2 ** this.#restarts.length;
        const mostMs = Math.max(this.policy.backoffMs, crashBackoff.mostMs);
        const delayMs = Math.min(mostMs, nominalMs);
        this.#restarts.push(nowMs);
        return { kind: 'restart', delayMs };
      }
    }
    const entered = !this.looping;
    this.#crashes += 1;
    const { firstMs, mostMs } = crashBackoff;
    const nominalMs = Math.min(mostMs, firstMs * 2 ** this.#crashes);
    const share = leastShare + (1 - leastShare) * this.#random();
    this.#lastWaitMs = Math.max(firstMs, nominalMs * share);
    return { kind: 'crash-loop', delayMs: this.#lastWaitMs, entered };
  }

  /**
   * Ends a crash loop where the agent has lived long enough since `startedMs`.
   *
   * @returns true where it did so now
   */
  recovered(startedMs: number, nowMs: number): boolean {
    const enoughMs = Math.max(this.policy.withinMs, this.#lastWaitMs);
    if (!this.looping || nowMs - startedMs <= enoughMs) return false;
    this.forget();
    return true;
  }

  /** As if it had never been restarted. */
  forget(): void {
    this.#restarts = [];
    this.#crashes = -1;
    this.#lastWaitMs = 0;
  }
}
