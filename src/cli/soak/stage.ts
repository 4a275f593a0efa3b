import { connect, type Socket } from 'node:net';
import type { Fabric } from '../../index.js';
import {
  emptyCounts,
  type PeerCounts,
  type PeerOptions,
  type PeerSample,
  type PeerWord,
  type Request,
} from './crew.js';
import { Latencies } from './latencies.js';
import { LineReader } from './lines.js';
import { factsOf } from './process-facts.js';

/**
 * What a role of a soak plays on: its fabric, its counts, and the line to its master. When that
 * breaks, whatever the reason, the process ends.
 */
export class Stage {
  readonly name: string;
  readonly fabric: Fabric;
  readonly options: PeerOptions;
  readonly counts: PeerCounts = emptyCounts();
  /** Since the last sample. */
  readonly latencies = new Latencies();
  stopping = false;
  /** Before a sample: so that nothing is half done in it. */
  settle: (() => Promise<void>) | undefined;
  /** Only at a {@link rest}. */
  restsForSamples = false;
  readonly whenStopped: Promise<void>;
  readonly #socket: Socket;
  #stop = () => {};
  #resume = () => {};
  #asked = false;

  constructor(socketPath: string, name: string, fabric: Fabric, options: PeerOptions) {
    this.name = name;
    this.fabric = fabric;
    this.options = options;
    this.whenStopped = new Promise((resolve) => {
      this.#stop = resolve;
    });
    this.#socket = connect(socketPath);
    this.#socket.on('error', () => process.exit(1));
    this.#socket.on('close', () => process.exit(1));
    const lines = new LineReader((line) => void this.#hear(JSON.parse(line) as Request));
    this.#socket.on('data', (bytes) => lines.take(bytes));
  }

  ready(): void {
    this.#say({ kind: 'ready', name: this.name, pid: process.pid });
  }

  /** A moment of nothing: where a sample is asked for, it is taken here, and we wait. */
  async rest(): Promise<void> {
    if (!this.#asked) return;
    this.#asked = false;
    const resumed = new Promise<void>((resolve) => {
      this.#resume = resolve;
    });
    this.#sample();
    await resumed;
  }

  /** The last word. */
  leave(): void {
    this.#socket.removeAllListeners('close');
    this.#socket.end(`${JSON.stringify({ kind: 'stopped', counts: this.counts })}\n`);
  }

  async #hear(request: Request): Promise<void> {
    if (request === 'stop') {
      this.stopping = true;
      this.#stop();
    } else if (request === 'resume') this.#resume();
    else if (this.restsForSamples) this.#asked = true;
    else {
      await this.settle?.();
      this.#sample();
    }
  }

  #sample(): void {
    globalThis.gc?.();
    const heapBytes = process.memoryUsage().heapUsed;
    const life = process.pid;
    const sample: PeerSample = {
      ...{ heapBytes, p99Us: this.latencies.p99(), life },
      ...factsOf(life),
    };
    this.#say({ kind: 'sample', sample, counts: this.counts });
    this.latencies.clear();
  }

  #say(word: PeerWord): void {
    this.#socket.write(`${JSON.stringify(word)}\n`);
  }
}
