import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Fabric } from '../../index.js';
import { exitCodes } from '../outcome.js';
import { FileIpc, fileIpcVariants } from './file-ipc.js';
import type { Received, Sent } from './peer-tools.js';

/** What one run gave: rates or times, and what became of what was sent. */
export interface Run {
  samples: number[];
  sent: number;
  lost: number;
  outOfOrder: number;
}

/** A way to bring messages from one process to another. */
export interface Transport {
  oneWay(count: number, bytes: number): Promise<Run>;
  /** Microseconds, one message under way at a time. */
  roundTrip(count: number, bytes: number): Promise<Run>;
}

const watchdogMs = 120_000;

const running = new Set<Peer>();

/** What the two ends of a run are started with. */
type Starter = (role: string, count: number, bytes: number) => Peer;

class Peer {
  readonly #name: string;
  readonly #messages: unknown[] = [];
  readonly #spoke: Promise<void>;
  readonly #exit: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(program: string, words: readonly string[]) {
    this.#name = program;
    const file = fileURLToPath(new URL(`./${program}.js`, import.meta.url));
    const stdio = ['ignore', 'ignore', 'inherit', 'ipc'] as const;
    this.#child = spawn(process.execPath, [file, ...words], { stdio: [...stdio] });
    running.add(this);
    this.#spoke = new Promise((resolve) => {
      this.#child.on('message', (message) => {
        this.#messages.push(message);
        resolve();
      });
    });
    const watchdog = setTimeout(() => this.kill(), watchdogMs);
    this.#exit = once(this.#child, 'exit').then(([code]) => {
      clearTimeout(watchdog);
      running.delete(this);
      return code as number | null;
    });
  }

  async ready(): Promise<void> {
    await Promise.race([this.#spoke, this.#exit]);
    if (this.#messages.shift() !== 'ready') throw new Error(`${this.#name} did not begin`);
  }

  async result<T>(): Promise<T> {
    const code = await this.#exit;
    if (code !== 0) throw new Error(`${this.#name} ended with ${code}`);
    return this.#messages.at(-1) as T;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Both ends' results; neither is left running. */
async function pairUp<A, B>(near: () => Peer, far: Peer): Promise<[A, B]> {
  let other: Peer | undefined;
  try {
    await far.ready();
    other = near();
    return await Promise.all([other.result<A>(), far.result<B>()]);
  } finally {
    other?.kill();
    far.kill();
  }
}

function transport(withStarter: <T>(use: (start: Starter) => Promise<T>) => Promise<T>): Transport {
  return {
    oneWay: (count, bytes) =>
      withStarter(async (start) => {
        const [{ sent, beganAtUs }, got] = await pairUp<Sent, Received>(
          () => start('send', count, bytes),
          start('receive', count, bytes),
        );
        const seconds = (got.endedAtUs - beganAtUs) / 1e6;
        const { received, outOfOrder } = got;
        return { samples: [received / seconds], sent, lost: sent - received, outOfOrder };
      }),
    roundTrip: (count, bytes) =>
      withStarter(async (start) => {
        const [samples] = await pairUp<number[], unknown>(
          () => start('ask', count, bytes),
          start('answer', count, bytes),
        );
        return { samples, sent: samples.length, lost: 0, outOfOrder: 0 };
      }),
  };
}

async function withDirectory<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync('/dev/shm/cfc-bench-');
  // The peers may still write while they end.
  const remove = () => rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
  const interrupt = () => {
    for (const peer of running) peer.kill();
    remove();
    process.exit(exitCodes.interrupted);
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, interrupt);
  try {
    return await use(dir);
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, interrupt);
    remove();
  }
}

/** Ours. A run that lost a message or changed the order throws. */
export function fabricTransport(): Transport {
  const { oneWay, roundTrip } = transport((use) =>
    withDirectory(async (dir) => {
      const fabric = await Fabric.open('bench', { create: true, dir });
      try {
        return await use(
          (role, ...rest) => new Peer('fabric-peer', [role, dir, ...rest.map(String)]),
        );
      } finally {
        await fabric.close();
      }
    }),
  );
  const checked = async (run: Promise<Run>) => {
    const { lost, outOfOrder, ...rest } = await run;
    if (lost > 0 || outOfOrder > 0) throw new Error(`lost ${lost}, out of order ${outOfOrder}`);
    return { ...rest, lost, outOfOrder };
  };
  return {
    oneWay: (...how) => checked(oneWay(...how)),
    roundTrip: (...how) => checked(roundTrip(...how)),
  };
}

export type FileIpcName = 'A' | keyof typeof fileIpcVariants;

export function fileIpcTransport(variant: FileIpcName): Transport {
  return transport((use) =>
    withDirectory((dir) => {
      const files = new FileIpc(dir, fileIpcVariants.D);
      for (const agent of ['sender', 'receiver']) files.init(agent);
      return use(
        (role, ...rest) => new Peer('file-ipc-peer', [variant, role, dir, ...rest.map(String)]),
      );
    }),
  );
}
