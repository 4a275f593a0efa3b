import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { factsOf, type ProcessFacts } from './process-facts.js';

/** What a process of a soak has done so far. */
export interface PeerCounts {
  accepted: number;
  acked: number;
  large: number;
  joins: number;
  attaches: number;
  subscribes: number;
  published: number;
}

export interface PeerOptions {
  recipients: readonly string[];
  perSecond: number;
  /** Of its heap, what a canary keeps an hour. */
  leakPerHour: number;
  /** Between two cycles of a churner. */
  pauseMs: number;
}

export type Request = 'sample' | 'stop';

/** What one sample says of a process. */
export interface PeerSample extends ProcessFacts {
  heapBytes: number;
  p99Us: number | null;
}

interface PeerReply {
  sample?: { heapBytes: number; p99Us: number | null; counts: PeerCounts };
  stopped?: PeerCounts;
}

const program = fileURLToPath(new URL('./peer.js', import.meta.url));
/** A peer that says nothing for so long hangs. */
const patienceMs = 120_000;

/** A process of a soak; killed when its master ends, however that happens. */
export class Peer {
  readonly role: string;
  readonly name: string;
  counts: PeerCounts;
  readonly #start: () => ChildProcess;
  #child: ChildProcess;
  #failed: Error | undefined;
  #leaving = false;

  private constructor(role: string, name: string, start: () => ChildProcess) {
    this.role = role;
    this.name = name;
    this.counts = emptyCounts();
    this.#start = start;
    this.#child = this.#fork();
  }

  static async start(
    role: string,
    name: string,
    where: { dir: string; fabric: string },
    options: PeerOptions,
  ): Promise<Peer> {
    const words = [role, name, where.dir, where.fabric, JSON.stringify(options)];
    const peer = new Peer(role, name, () =>
      fork(program, words, {
        execArgv: ['--expose-gc'],
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      }),
    );
    await peer.#heard((message) => message === 'ready');
    return peer;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What it and the kernel say of it, after a collection of garbage. */
  async sample(): Promise<PeerSample> {
    this.#child.send('sample' satisfies Request);
    const reply = await this.#heard((message) => (message as PeerReply).sample !== undefined);
    const { heapBytes, p99Us, counts } = (reply as Required<PeerReply>).sample;
    this.counts = counts;
    return { heapBytes, p99Us, ...factsOf(this.pid) };
  }

  /** Kills it in mid-work, and starts another one under its name. */
  async restart(): Promise<void> {
    this.#leaving = true;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
    this.#leaving = false;
    this.#child = this.#fork();
    await this.#heard((message) => message === 'ready');
  }

  /** Ends it in good order. */
  async stop(): Promise<void> {
    this.#leaving = true;
    this.#child.send('stop' satisfies Request);
    const reply = await this.#heard((message) => (message as PeerReply).stopped !== undefined);
    this.counts = (reply as Required<PeerReply>).stopped;
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
  }

  kill(): void {
    this.#leaving = true;
    this.#child.kill('SIGKILL');
  }

  #fork(): ChildProcess {
    const child = this.#start();
    child.on('exit', (code, signal) => {
      if (this.#leaving || child !== this.#child) return;
      this.#failed ??= new Error(`${this.role} ${this.name} ended by itself (${code ?? signal})`);
    });
    // It could not even be started: no exit comes by itself.
    child.on('error', (error) => {
      this.#failed = error;
      child.emit('exit', null, null);
    });
    return child;
  }

  #heard(wanted: (message: unknown) => boolean): Promise<unknown> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(watchdog);
        child.off('message', take);
        child.off('exit', gone);
      };
      const take = (message: unknown) => {
        if (!wanted(message)) return;
        end();
        resolve(message);
      };
      const gone = () => {
        end();
        reject(this.#failed ?? new Error(`${this.role} ${this.name} has ended`));
      };
      const watchdog = setTimeout(() => {
        end();
        reject(new Error(`${this.role} ${this.name} does not answer`));
      }, patienceMs);
      if (child.exitCode !== null || child.signalCode !== null) {
        gone();
        return;
      }
      child.on('message', take);
      child.on('exit', gone);
    });
  }
}

export function emptyCounts(): PeerCounts {
  return { accepted: 0, acked: 0, large: 0, joins: 0, attaches: 0, subscribes: 0, published: 0 };
}
