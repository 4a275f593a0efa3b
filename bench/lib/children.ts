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
  limitMs = watchdogMs,
): Peer {
  return start(peer, peerCommand(peer, args, placement, side), limitMs);
}

/** The same for a peer in plain JavaScript, `bench/peers/<peer>.mjs`. */
export function startPlainPeer(peer: string, args: readonly string[]): Peer {
  const file = fileURLToPath(new URL(`../peers/${peer}.mjs`, import.meta.url));
  return start(peer, [process.execPath, file, ...args]);
}

/** The same for a program of the package: what `cfc bench` runs as well. */
export function startPackaged(
  program: string,
  args: readonly string[],
  placement: Placement,
  side: 0 | 1,
): Peer {
  const file = fileURLToPath(new URL(`cli/bench/${program}.js`, import.meta.resolve('cfc')));
  return start(program, pinned([process.execPath, file, ...args], placement, side));
}

/** The command line of a peer, for one that starts its other side itself. */
export function peerCommand(
  peer: string,
  args: readonly string[],
  placement: Placement,
  side: 0 | 1,
): string[] {
  const file = fileURLToPath(new URL(`../peers/${peer}.ts`, import.meta.url));
  return pinned([process.execPath, '--import', 'tsx', file, ...args], placement, side);
}

function pinned(command: string[], placement: Placement, side: 0 | 1): string[] {
  if (placement === 'free') return command;
  return ['taskset', '-c', placement === '2cores' ? String(side) : '0', ...command];
}

function start(name: string, command: readonly string[], limitMs = watchdogMs): Peer {
  const [program, ...args] = command as [string, ...string[]];
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  return new Peer(child, name, limitMs);
}

export class Peer {
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #messages: unknown[] = [];
  readonly #spoke: Promise<void>;
  readonly #exit: Promise<number | null>;

  constructor(child: ChildProcess, name: string, limitMs = watchdogMs) {
    this.#name = name;
    this.#child = child;
    this.#spoke = new Promise((resolve) => {
      child.on('message', (message) => {
        this.#messages.push(message);
        resolve();
      });
    });
    const watchdog = setTimeout(() => child.kill('SIGKILL'), limitMs);
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

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Ends it, if it still runs. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** The same, and waits until it is gone. */
  async end(): Promise<void> {
    this.kill();
    await this.#exit;
  }
}

/** What both sides found, the near one first. Neither is left running. */
export async function pairUp<Near, Far>(near: () => Peer, far: Peer): Promise<[Near, Far]> {
  let other: Peer | undefined;
  try {
    await far.ready();
    other = near();
    return await Promise.all([other.result<Near>(), far.result<Far>()]);
  } finally {
    other?.kill();
    far.kill();
  }
}

/** `run` beside `count` processes that each use as much CPU as they get. */
export function besideBusy<T>(count: number, run: () => Promise<T>): () => Promise<T> {
  if (count === 0) return run;
  return async () => {
    const busy = Array.from({ length: count }, () =>
      spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' }),
    );
    try {
      return await run();
    } finally {
      for (const child of busy) child.kill('SIGKILL');
    }
  };
}
