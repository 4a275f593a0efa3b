import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { type Agent, Fabric, type Message, Topology } from 'cfc';

/** How many native agents, and in which shape; the master comes on top. */
export interface Team {
  /** 0: flat, the workers are the master's own. */
  coordinators: number;
  /** Of all teams together. */
  workers: number;
  /** Messages that a worker's mailbox holds. Default 8, as in `cfc map`. */
  cells?: number;
}

/** A round: each worker is asked once and answers with the nonce that it was given. */
export interface Round {
  ms: number;
  /** Distinct nonces that came back. */
  delivered: number;
}

const program = fileURLToPath(new URL('../build/Release/cfc-native', import.meta.resolve('cfc')));
const nonceBytes = 16;
const watchdogMs = 60_000;
const lookMs = 1000;
/** Whole teams answer with bodies above 160 bytes: one segment of chunks holds them all. */
const answersSegmentBytes = 4 << 20;

function topologyOf({ coordinators, workers, cells = 8 }: Team): Topology {
  const worker = { mailboxCells: cells };
  if (coordinators === 0) return Topology.flat({ workers, worker });
  // As native/cli/coordinator.cc has it: room for what is asked and what is answered.
  const mailboxCells = 8 * Math.ceil(workers / coordinators) + 64;
  return Topology.hybrid({ coordinators, workers, worker, coordinator: { mailboxCells } });
}

function capacityOf({ coordinators, workers }: Team) {
  const { maxAgents, maxParticipants } = topologyOf({ coordinators, workers }).capacity();
  return { maxAgents, maxParticipants, mailSegmentBytes: workers > 1000 ? 8 << 20 : 1 << 20 };
}

/**
 * A fabric of `cfc-native` processes below a master, which is this process: the processes that
 * `cfc map` has, with workers that answer at once. What it counts came back through the mailboxes
 * of everybody in between.
 */
export class NativeAgents {
  readonly team: Team;
  readonly #name = `bench-${randomUUID().slice(0, 8)}`;
  readonly #ready = new Map<string, { workers: number; up: number }>();
  #fabric!: Fabric;
  #master!: Agent;
  #keeper: ChildProcess | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #startedAt = 0;

  private constructor(team: Team) {
    this.team = team;
  }

  /** Makes the fabric and takes the master's name; nobody runs yet. */
  static async init(team: Team): Promise<NativeAgents> {
    const agents = new NativeAgents(team);
    const topology = topologyOf(team);
    const capacity = capacityOf(team);
    agents.#fabric = await Fabric.open(agents.#name, { create: true, capacity });
    const mailboxCells = topology.agents[0]?.mailboxCells ?? 64;
    agents.#master = await agents.#fabric.join('master', { role: 'master', mailboxCells });
    return agents;
  }

  /** What its shared memory will be, from the topology and the sizes of the layout alone. */
  static memoryFor(team: Team): number {
    const { totalBytes } = Fabric.memoryFor(topologyOf(team), { capacity: capacityOf(team) });
    return totalBytes + (team.coordinators > 0 ? answersSegmentBytes : 0);
  }

  /** Of its fabric. */
  get name(): string {
    return this.#name;
  }

  get count(): number {
    return 1 + this.team.coordinators + this.team.workers;
  }

  /** Of the process that starts the others and leads their process group; once start() was called. */
  get keeperPid(): number {
    return this.#keeper?.pid as number;
  }

  /** Starts the processes. @throws {Error} where the keeper can't */
  async start(): Promise<void> {
    this.#startedAt = performance.now();
    const { coordinators, workers, cells = 8 } = this.team;
    const words = ['--fabric', this.#name, '--parent', 'master', '--echo', '--attach'];
    const counts = ['--workers', workers, '--coordinators', coordinators, '--cells', cells];
    const keeper = spawn(program, ['keeper', ...words, ...counts.map(String)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true,
    });
    this.#keeper = keeper;
    // Its end of our pipe closes with it: whom it started goes too.
    const limitMs = Math.max(watchdogMs, workers * 20);
    this.#watchdog = setTimeout(() => process.kill(-(keeper.pid as number), 'SIGKILL'), limitMs);
    const [line] = (await once(createInterface({ input: keeper.stdout }), 'line')) as [string];
    if (line !== 'ready') throw new Error(`the keeper says: ${line}`);
    keeper.stdin.write('go\n');
  }

  /** Resolves once all have joined and said so. @returns ms since start() */
  async allReady(): Promise<number> {
    for (let up = 0; up < this.team.workers; ) {
      await this.#collect(new Map(), new Map());
      up = 0;
      for (const member of this.#ready.values()) up += member.up;
    }
    return performance.now() - this.#startedAt;
  }

  /** Asks everybody once all are there. */
  async round(): Promise<Round> {
    const nonces = new Map<string, Buffer>();
    for (const name of this.#ready.keys()) nonces.set(name, randomBytes(nonceBytes));
    const answers = new Map<string, Buffer>();
    const beganAt = performance.now();
    for (const [name, nonce] of nonces) await this.#send(name, nonce);
    while (answers.size < nonces.size) await this.#collect(nonces, answers);
    const ms = performance.now() - beganAt;
    return { ms, delivered: this.#count(nonces, answers) };
  }

  /** From start() to the last answer: each is asked as soon as it is there. */
  async coldRound(): Promise<Round> {
    await this.start();
    const nonces = new Map<string, Buffer>();
    const members = this.team.coordinators > 0 ? this.team.coordinators : this.team.workers;
    const answers = new Map<string, Buffer>();
    while (answers.size < members) {
      for (const from of await this.#collect(nonces, answers)) {
        const nonce = randomBytes(nonceBytes);
        nonces.set(from, nonce);
        await this.#send(from, nonce);
      }
    }
    const ms = performance.now() - this.#startedAt;
    return { ms, delivered: this.#count(nonces, answers) };
  }

  /** What the files of the fabric take of the file system. */
  memoryBytes(): number {
    const { path } = this.#fabric.info();
    const files = readdirSync(path, { withFileTypes: true });
    const blocks = files.map(({ name }) => statSync(join(path, name)).blocks);
    return blocks.reduce((total, count) => total + count * 512, 0);
  }

  /** Of one process, and the mean of some more: memory that is its own share, pages and tables. */
  processBytes(): number {
    const pids = this.#group();
    const chosen = pids.filter((_, i) => i % Math.ceil(pids.length / 50) === 0);
    let total = 0;
    for (const pid of chosen) {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      total += kilobytes(rollup, 'Pss') + kilobytes(status, 'VmPTE');
    }
    return (total * 1024) / chosen.length;
  }

  /** Sends everybody as many tasks as its mailbox takes. */
  fill(): { sent: number; answered(): Promise<number> } {
    const nonces = new Map<string, Set<number>>();
    let sent = 0;
    for (const name of this.#ready.keys()) {
      const mine = new Set<number>();
      for (;;) {
        const nonce = randomBytes(nonceBytes);
        if (!this.#master.trySend(name, taskBody(nonce), { type: 'task' })) break;
        mine.add(nonce.readUInt32LE(0));
        sent += 1;
      }
      nonces.set(name, mine);
    }
    const answered = async () => {
      let got = 0;
      while (got < sent) {
        const batch = await this.#master.receiveBatch({ timeoutMs: watchdogMs });
        for (const { type, from, body } of batch) {
          if (type !== 'result') continue;
          const index = new DataView(body.buffer, body.byteOffset, body.byteLength);
          if (nonces.get(from)?.delete(index.getUint32(0, true))) got += 1;
        }
        batch.ack();
      }
      return got;
    };
    return { sent, answered };
  }

  /** Asks all to end in good order; resolves once they are gone. */
  async stop(): Promise<void> {
    const { stdin, stdout } = this.#keeper as ChildProcess;
    const line = once(createInterface({ input: stdout as Readable }), 'line');
    stdin?.write('stop\n');
    const [word] = (await line) as [string];
    if (word !== 'drained') throw new Error(`the keeper says: ${word}`);
  }

  async close(): Promise<void> {
    clearTimeout(this.#watchdog);
    await this.#fabric.close();
    const keeper = this.#keeper;
    // Killed, it left the files.
    if (keeper === undefined || hasEnded(keeper)) return Fabric.destroy(this.#name);
    const gone = once(keeper, 'exit');
    keeper.stdin?.end();
    await gone;
  }

  // Everybody but the master: the keeper leads their process group.
  #group(): number[] {
    const group = this.#keeper?.pid;
    return readdirSync('/proc').flatMap((name) => {
      const pid = Number(name);
      if (!(pid > 0)) return [];
      const stat = readIfThere(`/proc/${pid}/stat`);
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return Number(fields[2]) === group ? [pid] : [];
    });
  }

  async #send(name: string, nonce: Buffer): Promise<void> {
    const type = this.team.coordinators > 0 ? 'team' : 'task';
    await this.#master.send(name, taskBody(nonce), { type });
  }

  // Acks what came, keeps the first answer of each to this round, and names those who are new: who
  // is killed and comes again may answer twice.
  async #collect(
    nonces: ReadonlyMap<string, Buffer>,
    answers: Map<string, Buffer>,
  ): Promise<string[]> {
    const fresh: string[] = [];
    const batch = await this.#master.receiveBatch({ timeoutMs: lookMs });
    if (this.#keeper !== undefined && hasEnded(this.#keeper)) throw new Error('the keeper ended');
    for (const message of batch) {
      const { type, from } = message;
      if (type !== 'result') {
        if (this.#note(message)) fresh.push(from);
        continue;
      }
      const body = Buffer.from(message.body);
      const asked = nonces.get(from)?.readUInt32LE(0);
      if (body.readUInt32LE(0) === asked && !answers.has(from)) answers.set(from, body);
    }
    batch.ack();
    return fresh;
  }

  #note({ type, from, body }: Message): boolean {
    if (type !== 'ready') return false;
    const words = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const known = this.#ready.has(from);
    this.#ready.set(from, { workers: words.getUint32(0, true), up: words.getUint32(4, true) });
    return !known;
  }

  // Every answer must be the bytes that its sender was given, and no two of them the same.
  #count(nonces: ReadonlyMap<string, Buffer>, answers: ReadonlyMap<string, Buffer>): number {
    const seen = new Set<string>();
    for (const answer of answers.values()) {
      const { worker, stdout } = decode(answer);
      const nonce = nonces.get(worker)?.toString('hex');
      const parts = this.team.coordinators === 0 ? [stdout] : teamAnswers(stdout);
      for (const part of parts) {
        const text = part.toString('hex');
        if (nonce !== undefined && text.startsWith(nonce)) seen.add(text);
      }
    }
    return seen.size;
  }
}

const hasEnded = ({ exitCode, signalCode }: ChildProcess) => (exitCode ?? signalCode) !== null;

function kilobytes(text: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}

// ---- the bodies of native/cli/wire.h

function taskBody(nonce: Buffer): Buffer {
  return Buffer.concat([nonce.subarray(0, 4), nonce]);
}

function decode(body: Buffer): { worker: string; stdout: Buffer } {
  const header = 40;
  const worker = body.readUInt32LE(24);
  const stdout = body.readUInt32LE(28);
  const at = header + worker;
  return { worker: body.toString('utf8', header, at), stdout: body.subarray(at, at + stdout) };
}

function teamAnswers(stdout: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < stdout.length; ) {
    const bytes = stdout.readUInt32LE(at);
    parts.push(decode(stdout.subarray(at + 4, at + 4 + bytes)).stdout);
    at += 4 + bytes;
  }
  return parts;
}
