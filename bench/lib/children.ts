import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** On which CPUs a pair runs: both on one, each on its own, or as the scheduler likes. */
export type Placement = '1core' | '2cores' | 'free';

const watchdogMs = 120_000;

/**
 * Starts `bench/peers/<peer>.ts` as a process of its own. What it sends by IPC before it exits is
 * its result; IPC carries nothing else.
 */
export function startPeer(
  peer: string,
  args: readonly string[],
  placement: Placement,
  side: 0 | 1,
): Peer {
  const file = fileURLToPath(new URL(`../peers/${peer}.ts`, import.meta.url));
  const node = [process.execPath, '--import', 'tsx', file, ...args];
  const pinned = placement === 'free' ? node : ['taskset', '-c', cpuOf(placement, side), ...node];
  const [command, ...rest] = pinned as [string, ...string[]];
  return new Peer(spawn(command, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }), peer);
}

function cpuOf(placement: Placement, side: 0 | 1): string {
  return placement === '2cores' ? String(side) : '0';
}

export class Peer {
  readonly #name: string;
  readonly #messages: unknown[] = [];
  readonly #spoke: Promise<void>;
  readonly #exit: Promise<number | null>;

  constructor(child: ChildProcess, name: string) {
    this.#name = name;
    this.#spoke = new Promise((resolve) => {
      child.on('message', (message) => {
        this.#messages.push(message);
        resolve();
      });
    });
    const watchdog = setTimeout(() => child.kill('SIGKILL'), watchdogMs);
    this.#exit = once(child, 'exit').then(([code]) => {
      clearTimeout(watchdog);
      return code as number | null;
    });
  }

  /** Waits until the peer said that it is ready. */
  async ready(): Promise<void> {
    await Promise.race([this.#spoke, this.#exit]);
    if (this.#messages.shift() !== 'ready') throw new Error(`${this.#name} is not ready`);
  }

  /** What the peer sent last, once it is gone. */
  async result<T>(): Promise<T> {
    const code = await this.#exit;
    if (code !== 0) throw new Error(`${this.#name} ended with ${code}`);
    return this.#messages.at(-1) as T;
  }

  /** For a peer without a result. */
  async done(): Promise<void> {
    const code = await this.#exit;
    if (code !== 0) throw new Error(`${this.#name} ended with ${code}`);
  }
}
