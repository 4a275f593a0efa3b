import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { LineReader } from './lines.js';
import type { ProcessFacts } from './process-facts.js';

/** What a process of a soak counts. */
export const countNames = [
  ...(['accepted', 'acked', 'large', 'asks', 'beats'] as const),
  ...(['joins', 'attaches', 'subscribes', 'published'] as const),
  ...(['restarts', 'adoptions', 'lines', 'rotations', 'evaluations', 'fired', 'resolved'] as const),
] as const;

/** What a process has done so far. */
export type PeerCounts = Record<(typeof countNames)[number], number>;

export interface PeerOptions {
  recipients: readonly string[];
  perSecond: number;
  /** Of its heap, what a canary keeps an hour. */
  leakPerHour: number;
  /** Between two cycles of a churner, and between two questions of a coordinator. */
  pauseMs: number;
  /** Of who supervises: what, as YAML. */
  topology: string;
  /** For files that are not of a fabric. */
  stateDir: string;
  exportEveryMs: number;
  exportMaxBytes: number;
  evaluateEveryMs: number;
  /** How long the condition of the alert holds, and then does not. */
  pulseMs: number;
}

/** `resume`: to who rests after its sample. */
export type Request = 'sample' | 'resume' | 'stop';

/** What one sample says of a process. A native one has no heap of JavaScript. */
export interface PeerSample extends ProcessFacts {
  heapBytes: number | null;
  p99Us: number | null;
  /** Which process it was. */
  life: number;
}

/** What a process says, a line of JSON each. */
export type PeerWord =
  | { kind: 'ready'; name: string; pid: number }
  | { kind: 'sample'; sample: PeerSample; counts: PeerCounts }
  | { kind: 'stopped'; counts: PeerCounts };

/** A peer that says nothing for so long hangs. */
const patienceMs = 120_000;

export function emptyCounts(): PeerCounts {
  return Object.fromEntries(countNames.map((name) => [name, 0])) as PeerCounts;
}

/** The socket to which the processes of a soak come, whoever started them. */
export class Crew {
  readonly #server: Server;
  readonly #peers = new Map<string, Peer>();
  readonly #sockets = new Set<Socket>();

  private constructor(path: string) {
    this.#server = createServer((socket) => this.#take(socket));
    this.#server.listen(path);
  }

  static async open(path: string): Promise<Crew> {
    const crew = new Crew(path);
    await once(crew.#server, 'listening');
    return crew;
  }

  /** One that is about to come. */
  expect(name: string): Peer {
    const peer = new Peer(name);
    this.#peers.set(name, peer);
    return peer;
  }

  /** Those that are still there end by themselves, as they hear nothing any more. */
  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #take(socket: Socket): void {
    let peer: Peer | undefined;
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#sockets.delete(socket);
      peer?.lost(socket);
    });
    const lines = new LineReader((line) => {
      const word = JSON.parse(line) as PeerWord;
      if (word.kind === 'ready') peer = this.#peers.get(word.name);
      peer?.hear(word, socket);
    });
    socket.on('data', (bytes) => lines.take(bytes));
  }
}

/** A part in a soak, which one process after the other may play. */
export class Peer {
  readonly name: string;
  pid = 0;
  #socket: Socket | undefined;
  /** Of processes before the one that plays it now. */
  #before = emptyCounts();
  #counts = emptyCounts();
  #mayGo = false;
  #failed: Error | undefined;
  #waiting: { kind: PeerWord['kind']; resolve: (word: PeerWord) => void } | undefined;
  #reject: (error: Error) => void = () => {};

  constructor(name: string) {
    this.name = name;
  }

  get counts(): PeerCounts {
    const sum = emptyCounts();
    for (const name of countNames) sum[name] = this.#before[name] + this.#counts[name];
    return sum;
  }

  /** Resolves once a process plays it, another one than before. */
  async arrival(): Promise<void> {
    await this.#heard('ready');
  }

  /** The one that plays it may go: another one comes, or none. */
  release(): void {
    this.#mayGo = true;
  }

  /** What it says of itself, after a collection of garbage. */
  async sample(): Promise<PeerSample> {
    const reply = await this.#ask('sample', 'sample');
    const { sample, counts } = reply as Extract<PeerWord, { kind: 'sample' }>;
    this.#counts = counts;
    return sample;
  }

  resume(): void {
    this.#send('resume');
  }

  /** Ends it in good order. */
  async stop(): Promise<void> {
    this.#mayGo = true;
    const reply = await this.#ask('stop', 'stopped');
    this.#counts = (reply as Extract<PeerWord, { kind: 'stopped' }>).counts;
  }

  /** @internal */
  hear(word: PeerWord, socket: Socket): void {
    if (word.kind === 'ready') {
      this.#before = this.counts;
      this.#counts = emptyCounts();
      this.#socket = socket;
      this.#mayGo = false;
      this.pid = word.pid;
    }
    const waiting = this.#waiting;
    if (waiting?.kind !== word.kind) return;
    this.#waiting = undefined;
    waiting.resolve(word);
  }

  /** @internal */
  lost(socket: Socket): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    if (this.#mayGo) return;
    this.#failed = new Error(`${this.name} ended by itself`);
    this.#reject(this.#failed);
  }

  #send(request: Request): void {
    this.#socket?.write(`${JSON.stringify(request)}\n`);
  }

  #ask(request: Request, kind: PeerWord['kind']): Promise<PeerWord> {
    if (this.#socket === undefined) {
      return Promise.reject(this.#failed ?? new Error(`${this.name} is not there`));
    }
    const heard = this.#heard(kind);
    this.#send(request);
    return heard;
  }

  #heard(kind: PeerWord['kind']): Promise<PeerWord> {
    return new Promise((resolve, reject) => {
      const watchdog = setTimeout(() => {
        reject(new Error(`${this.name} does not answer`));
      }, patienceMs);
      this.#reject = (error) => {
        clearTimeout(watchdog);
        reject(error);
      };
      this.#waiting = {
        kind,
        resolve: (word) => {
          clearTimeout(watchdog);
          resolve(word);
        },
      };
    });
  }
}
