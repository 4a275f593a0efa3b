import { CfcError } from '../errors.js';
import type { AgentStart, StartedAgent } from './start.js';

/** What a pool starts its agents with: all but the name. */
export type PoolTemplate = Omit<AgentStart, 'name'>;

export interface PoolOptions {
  /** Agents that wait to be taken. Default the option `pool.size`, 20. */
  size: number;
  /** Names begin with it: `pool-1`, `pool-2`, … Default `pool`. */
  prefix: string;
  start: (names: readonly string[]) => readonly StartedAgent[];
  /** Ends an agent; resolves once its place in the directory is free. */
  end: (name: string) => Promise<void>;
}

export interface PoolStatistics {
  /** Agents that wait to be taken. */
  idle: number;
  /** Started, and not ready yet. */
  starting: number;
  taken: number;
  /** Takes that found one waiting. */
  hits: number;
  /** Takes that had to wait for a start. */
  misses: number;
  /** In percent of all takes; 100 where there were none. */
  hitRate: number;
}

interface Waiting {
  resolve(name: string): void;
  reject(reason: unknown): void;
}

/** After a start that failed the next one comes no earlier. */
const pauseAfterFailureMs = 1000;

/**
 * Agents that were started before anybody needs them. Who takes one gets it at once, and another is
 * started in its place. Made by `fabric.pool`.
 *
 * Ownership: `close()` (or `await using`) ends those that wait; those that were taken are their
 * taker's.
 */
export class Pool implements AsyncDisposable {
  readonly #options: PoolOptions;
  readonly #idle: { name: string; pid: number }[] = [];
  readonly #ending = new Set<Promise<void>>();
  readonly #taken = new Map<string, number>();
  readonly #waiting: Waiting[] = [];
  readonly #starts = new Set<Promise<void>>();
  #number = 0;
  #hits = 0;
  #misses = 0;
  #closed = false;
  #resting: NodeJS.Timeout | undefined;

  /** @internal */
  constructor(options: PoolOptions) {
    const { size } = options;
    if (!Number.isInteger(size) || size < 1 || size > 10_000) {
      throw new CfcError('ERR_CFC_USAGE', { size, allowed: '1 to 10000' });
    }
    this.#options = options;
    this.#fill();
  }

  /**
   * Takes an agent that waits; where there is none, the next one that gets ready.
   *
   * @returns its name, to send to
   * @throws {CfcError} `ERR_CFC_AGENT_START` where it could not be started, `ERR_CFC_MAILBOX_CLOSED`
   *   after `close`
   */
  take(): Promise<string> {
    const name = this.tryTake();
    if (name !== undefined) return Promise.resolve(name);
    if (this.#closed) return Promise.reject(closed());
    this.#misses += 1;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#fill();
    });
  }

  /** @returns undefined where none waits; never waits itself */
  tryTake(): string | undefined {
    for (let one = this.#idle.shift(); one !== undefined; one = this.#idle.shift()) {
      // Not now: a start takes longer than the taker should.
      setImmediate(() => this.#fill());
      if (!isThere(one.pid)) {
        this.#end(one.name); // it died while it waited
        continue;
      }
      this.#hits += 1;
      this.#taken.set(one.name, one.pid);
      return one.name;
    }
    return undefined;
  }

  /** Gives one back that is as good as new; where the pool is full it is ended. */
  giveBack(name: string): void {
    this.#ready(name, this.#leave(name));
  }

  /** Lets go of one that is not to be used again, and ends it. */
  discard(name: string): void {
    this.#leave(name);
    this.#end(name);
  }

  statistics(): PoolStatistics {
    const takes = this.#hits + this.#misses;
    return {
      idle: this.#idle.length,
      starting: this.#starts.size,
      taken: this.#taken.size,
      hits: this.#hits,
      misses: this.#misses,
      hitRate: takes === 0 ? 100 : (100 * this.#hits) / takes,
    };
  }

  /** Ends all that wait, or are about to; resolves once they are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#resting);
    for (const { reject } of this.#waiting.splice(0)) reject(closed());
    for (const { name } of this.#idle.splice(0)) this.#end(name);
    await Promise.allSettled(this.#starts);
    await Promise.all(this.#ending);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #fill(): void {
    if (this.#closed || this.#resting !== undefined) return;
    const wanted = this.#options.size + this.#waiting.length;
    const missing = wanted - this.#idle.length - this.#starts.size;
    if (missing <= 0) return;
    const names = Array.from({ length: missing }, () => {
      this.#number += 1;
      return `${this.#options.prefix}-${this.#number}`;
    });
    try {
      for (const agent of this.#options.start(names)) this.#watch(agent);
    } catch (error) {
      this.#fail(error);
    }
  }

  #watch({ name, pid, started }: StartedAgent): void {
    const ready: Promise<void> = started.then(
      () => {
        this.#starts.delete(ready);
        this.#ready(name, pid);
      },
      (error: unknown) => {
        this.#starts.delete(ready);
        this.#fail(error);
      },
    );
    this.#starts.add(ready);
  }

  #ready(name: string, pid: number): void {
    const waiting = this.#closed ? undefined : this.#waiting.shift();
    if (waiting !== undefined) {
      this.#taken.set(name, pid);
      waiting.resolve(name);
      return;
    }
    if (this.#closed || this.#idle.length >= this.#options.size) this.#end(name);
    else this.#idle.push({ name, pid });
  }

  #leave(name: string): number {
    const pid = this.#taken.get(name);
    if (pid === undefined) throw new CfcError('ERR_CFC_NO_AGENT', { agent: name });
    this.#taken.delete(name);
    return pid;
  }

  #end(name: string): void {
    const ended: Promise<void> = this.#options.end(name).finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
  }

  // Who waits is told, and it is not tried again in a circle.
  #fail(error: unknown): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#resting ??= setTimeout(() => {
      this.#resting = undefined;
      this.#fill();
    }, pauseAfterFailureMs).unref();
  }
}

const closed = () => new CfcError('ERR_CFC_MAILBOX_CLOSED', { what: 'pool' });

// Of our own children, which are reaped as they end.
function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
