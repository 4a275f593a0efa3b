import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { onTestFinished } from 'vitest';
import type * as cfc from '../../src/index.js';
import type * as metrics from '../../src/metrics/index.js';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const program = join(root, 'test', 'support', 'run-here.mjs');

/** What a function gets that runs elsewhere. */
export interface Context<Args> {
  /** The package, as it was built. */
  cfc: typeof cfc;
  /** `cfc/metrics`. */
  metrics: typeof metrics;
  args: Args;
  dir: string;
  /** Tells the test something; `heard()` answers it there. */
  say(value: unknown): void;
  /** The fabric of the test. */
  open(options?: cfc.OpenOptions): Promise<cfc.Fabric>;
  sleep(ms: number): Promise<void>;
}

/**
 * A function of a test that runs elsewhere. Its text goes there, so it sees its context and nothing
 * of the test: no import, no variable around it. `process.getBuiltinModule` gives Node's modules.
 */
export type Elsewhere<Args> = (context: Context<Args>) => unknown;

export interface ChildOptions<Args> {
  dir: string;
  /** Given to the function, as JSON. */
  args?: Args;
  /** What to put before `node`: `['strace', …]`. */
  wrapper?: readonly string[];
  nodeOptions?: readonly string[];
  env?: Record<string, string>;
}

/** Lines of a peer, one after the other. */
class Ear {
  readonly #heard: unknown[] = [];
  readonly #waiting: ((value: unknown) => void)[] = [];

  put(value: unknown): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#heard.push(value);
    else waiting(value);
  }

  next(): Promise<unknown> {
    if (this.#heard.length > 0) return Promise.resolve(this.#heard.shift());
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }
}

/** A Node process that runs a function of a test; killed when the test is done. */
export class Child {
  readonly process: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  stderr = '';
  readonly #ear = new Ear();

  constructor(process: ChildProcess) {
    this.process = process;
    this.exited = once(process, 'exit').then(([code, signal]) => {
      return { code, signal };
    });
    process.stderr?.on('data', (chunk) => {
      this.stderr += chunk;
    });
    const lines = createInterface({ input: process.stdout as NodeJS.ReadableStream });
    lines.on('line', (line) => this.#ear.put(JSON.parse(line)));
    lines.on('close', () => this.#ear.put({ ended: true, stderr: this.stderr }));
  }

  get pid(): number {
    return this.process.pid as number;
  }

  /** The next thing that it says; `{ ended: true }` once it has ended. */
  async heard<T = unknown>(): Promise<T> {
    return (await this.#ear.next()) as T;
  }

  /** Kills it; resolves when it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.process.kill(signal);
    await this.exited;
  }
}

/** Starts a Node process that runs `body`. */
export function startChild<Args>(body: Elsewhere<Args>, options: ChildOptions<Args>): Child {
  const { dir, args, wrapper = [], nodeOptions = [], env = {} } = options;
  const [command, ...rest] = [...wrapper, process.execPath, ...nodeOptions, program];
  const child = spawn(command as string, rest, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      ...env,
      CFC_TEST_CHILD: JSON.stringify({ source: body.toString(), args, dir }),
    },
  });
  const started = new Child(child);
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) await started.kill();
  });
  return started;
}

/** A worker thread that runs a function of a test; terminated when the test is done. */
export class TestWorker {
  readonly worker: Worker;
  readonly exited: Promise<number>;
  readonly #ear = new Ear();

  constructor(worker: Worker) {
    this.worker = worker;
    this.exited = once(worker, 'exit').then(([code]) => code as number);
    worker.on('message', (value) => this.#ear.put(value));
    worker.on('error', (error) => this.#ear.put({ failed: String(error) }));
  }

  async heard<T = unknown>(): Promise<T> {
    return (await this.#ear.next()) as T;
  }
}

export function startWorker<Args>(
  body: Elsewhere<Args>,
  { dir, args }: { dir: string; args?: Args },
): TestWorker {
  const worker = new Worker(program, {
    workerData: { source: body.toString(), args, dir },
    execArgv: [],
  });
  const started = new TestWorker(worker);
  onTestFinished(async () => {
    await worker.terminate();
  });
  return started;
}
