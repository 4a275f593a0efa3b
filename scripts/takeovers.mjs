// Kills supervisors, one after the other, while their agents exchange messages, and checks that each
// next one takes over who lives, starts again who does not, and starts nobody else; and afterwards,
// against logs outside the fabric, that nothing accepted was lost, harmed or out of order.
//
//   npm run takeovers -- [--kills 20] [--seed S] [--producers 2] [--consumers 3] [--idle 3] [--keep]
//
// A third of them is killed at any moment of its beginning, also in the middle of adopting. Now and
// then an agent is killed while nobody supervises. A seed gives the same choices; the kernel decides
// where they meet whom.
//
// Prints one JSON line: injected / hit / violations. A hit is a supervisor that held the fabric when
// it was killed. Exit code 1 where something was violated, 3 where too few were hit, or agents were
// too seldom seen at work meanwhile, to say anything.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fabric, isLiving, Supervisor, Topology } from 'cfc';
import { root } from './lib.mjs';
import { optionsOf } from './options.mjs';
import { checkLogs } from './torture-check.mjs';

const { values } = optionsOf(import.meta.url, {
  options: {
    kills: { type: 'string', default: '20' },
    seed: { type: 'string', default: `${Date.now() % 1e6}` },
    producers: { type: 'string', default: '2' },
    consumers: { type: 'string', default: '3' },
    idle: { type: 'string', default: '3' },
    keep: { type: 'boolean', default: false },
  },
});
const kills = Number(values.kills);
const fabricName = 'torture';
const mailboxCells = 64;
/** Of the kills, how many must meet one that holds the fabric, and agents at work meanwhile. */
const leastHits = 0.6;
/** Whoever takes longer to take over hangs. */
const patienceMs = 60_000;

class Takeovers {
  sums = {
    ...{ seed: Number(values.seed), injected: 0, hit: 0, violations: 0 },
    ...{ begun: 0, atWork: 0, adopted: 0, agentsKilled: 0, refused: 0, longestTakeoverMs: 0 },
    ...{ accepted: 0, delivered: 0, redelivered: 0 },
  };
  violations = [];
  #state = Number(values.seed) >>> 0;
  /** By agent: its shim and its command, while nobody has killed them. */
  #pids = new Map();
  #killedAt = performance.now();
  #bytesThen = 0;

  constructor() {
    this.dir = join('/dev/shm', `cfc-takeovers-${process.pid}-${randomUUID()}`);
    mkdirSync(this.dir, { mode: 0o700 });
    this.logs = mkdtempSync(join(tmpdir(), 'cfc-takeovers-'));
    const named = (letter, count) => Array.from({ length: Number(count) }, (_, i) => letter + i);
    this.consumers = named('c', values.consumers);
    this.producers = named('p', values.producers);
    const restart = { when: 'on-failure', maxRestarts: 1000, withinMs: 1000, backoffMs: 0 };
    const peer = (role) => (name) => {
      const seed = this.sums.seed + name.charCodeAt(0) * 100 + Number(name.slice(1));
      const where = { dir: this.dir, logs: this.logs, mailboxCells, targets: this.consumers };
      const options = JSON.stringify({ role, name, seed, pauseMs: 2, ...where });
      const command = [process.execPath, join(root, 'scripts', 'torture-peer.mjs'), options];
      return { name, role, command, restart, mailboxCells, ready: 'join' };
    };
    this.agents = [
      ...this.consumers.map(peer('consumer')),
      ...this.producers.map(peer('producer')),
      ...named('i', values.idle).map((name) => ({ name, command: ['sleep', '1000000'], restart })),
    ];
    this.file = join(this.logs, 'topology.json');
    this.topology = JSON.stringify({ agents: this.agents });
    writeFileSync(this.file, this.topology);
  }

  #random() {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state / 2 ** 32;
  }

  #logBytes() {
    const logs = readdirSync(this.logs).filter((file) => file.endsWith('.log'));
    return logs.reduce((sum, file) => sum + statSync(join(this.logs, file)).size, 0);
  }

  #start() {
    const words = [join(root, 'scripts', 'takeovers-supervisor.mjs'), this.dir, fabricName];
    const child = spawn(process.execPath, [...words, this.file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const one = { child, events: [], up: undefined, down: undefined, killed: false };
    one.exited = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        if (!one.killed && one.down === undefined)
          this.violations.push(`a supervisor ended by itself: ${code ?? signal}`);
        resolve();
      });
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      const word = JSON.parse(line);
      if (word.event === 'up') one.up = word;
      else if (word.event === 'down') one.down = word.report;
      else one.events.push(word);
    });
    return one;
  }

  async #untilUp(one) {
    const began = performance.now();
    while (one.up === undefined && one.child.exitCode === null) {
      await sleep(5);
      if (performance.now() - began < patienceMs) continue;
      this.violations.push('a supervisor did not take over');
      break;
    }
    const ms = performance.now() - this.#killedAt;
    this.sums.longestTakeoverMs = Math.max(this.sums.longestTakeoverMs, Math.round(ms));
  }

  /** Who lives is the same as before, and everybody lives. */
  #check(one) {
    const { events, up } = one;
    if (up === undefined) return;
    if (up.notReady.length > 0) this.violations.push(`not ready: ${up.notReady}`);
    this.sums.adopted += events.filter(({ event }) => event === 'adopted').length;
    if (this.#bytesThen > 0) {
      this.sums.begun += 1;
      if (this.#logBytes() > this.#bytesThen) this.sums.atWork += 1;
    }
    const seen = new Map(this.fabric.snapshot().map((agent) => [agent.name, agent]));
    for (const { name } of this.agents) {
      const agent = seen.get(name);
      if (agent === undefined || !isLiving(agent.liveness)) {
        this.violations.push(`${name} is ${agent?.liveness ?? 'gone'} after a takeover`);
        continue;
      }
      const now = `${agent.pid} ${agent.commandPid}`;
      const before = this.#pids.get(name) ?? now;
      if (before !== now) this.violations.push(`${name} was started again: ${before}, now ${now}`);
      this.#pids.set(name, now);
    }
  }

  async #trySecond() {
    try {
      const second = await Supervisor.start(this.fabric, Topology.parse(this.topology));
      await second.close();
      this.violations.push('two supervisors at once');
    } catch (error) {
      if (error.code === 'ERR_CFC_SUPERVISOR_RUNNING') this.sums.refused += 1;
      else this.violations.push(`a second supervisor: ${error.code ?? error.stack}`);
    }
  }

  async #kill(one) {
    const holder = this.fabric.snapshot().find(({ name }) => name === 'supervisor');
    this.#bytesThen = this.#logBytes();
    this.#killedAt = performance.now();
    one.killed = true;
    one.child.kill('SIGKILL');
    this.sums.injected += 1;
    if (holder?.pid === one.child.pid && isLiving(holder.liveness)) this.sums.hit += 1;
    await one.exited;
  }

  /** Nobody notices for now: the next supervisor does. */
  #killAgent() {
    const names = [...this.#pids.keys()];
    const name = names[Math.floor(this.#random() * names.length)];
    const [shim, command] = this.#pids.get(name).split(' ').map(Number);
    this.#pids.delete(name);
    this.sums.agentsKilled += 1;
    process.kill(this.#random() < 0.5 ? shim : command, 'SIGKILL');
  }

  async #storm() {
    for (let i = 0; i < kills; i += 1) {
      const one = this.#start();
      if (i > 0 && this.#random() < 0.33) await sleep(this.#random() * 500);
      else {
        await this.#untilUp(one);
        this.#check(one);
        if (i % 5 === 1) await this.#trySecond();
        await sleep(this.#random() * 200);
      }
      await this.#kill(one);
      if (this.#pids.size === this.agents.length && this.#random() < 0.3) this.#killAgent();
    }
  }

  async #end() {
    const last = this.#start();
    await this.#untilUp(last);
    this.#check(last);
    // Senders first, so that readers have everything before they are stopped.
    for (const name of this.producers) this.fabric.control(name, 'stop');
    const lives = () =>
      this.fabric
        .snapshot()
        .some(({ name, liveness }) => this.producers.includes(name) && isLiving(liveness));
    while (lives()) await sleep(10);
    last.child.kill('SIGTERM');
    const watchdog = setTimeout(() => last.child.kill('SIGKILL'), patienceMs);
    await last.exited;
    clearTimeout(watchdog);
    if (last.down === undefined) this.violations.push('the last supervisor did not end');
    else if (!last.down.drained) this.violations.push(`left: ${JSON.stringify(last.down)}`);
    this.fabric.sweep();
    const census = this.fabric.census();
    const none = ['queued', 'leased', 'held', 'claimed', 'quarantined', 'done', 'dropped'];
    none.push('deadLettered', 'slotsReaping', 'namesClaimed', 'chunksLoaned', 'chunksPlaced');
    for (const what of none) {
      if (census[what] !== 0) this.violations.push(`left: ${what} ${census[what]}`);
    }
    if (census.slotsLive > 1) this.violations.push(`left: slotsLive ${census.slotsLive}`);
    const { accepted, delivered, redelivered, violations } = checkLogs(this.logs);
    this.violations.push(...violations);
    if (census.acked !== delivered)
      this.violations.push(`ledger: ${census.acked} acked, ${delivered} delivered`);
    Object.assign(this.sums, { accepted, delivered, redelivered });
  }

  async run() {
    const segments = { mailSegmentBytes: 1 << 18, slabSegmentBytes: 1 << 20 };
    const slab = { slabMaxBytes: 32 << 20, senderSlabBytes: 8 << 20 };
    const sizes = { maxAgents: 64, maxParticipants: 128, mailboxCells, histograms: 8 };
    const attemptLimit = 0; // killed as often as chance has it, all of it must arrive
    const capacity = { ...sizes, ...segments, ...slab, attemptLimit };
    this.fabric = await Fabric.open(fabricName, { dir: this.dir, create: true, capacity });
    await this.#storm();
    await this.#end();
    await this.fabric.close();
    this.sums.violations = this.violations.length;
    for (const violation of this.violations.slice(0, 50)) console.error(violation);
    if (values.keep || this.violations.length > 0) console.error(`kept: ${this.logs} ${this.dir}`);
    else for (const folder of [this.logs, this.dir]) rmSync(folder, { recursive: true });
    return this.sums;
  }
}

const sums = await new Takeovers().run();
if (process.env.CFC_EVIDENCE) {
  const { injected, hit, violations } = sums;
  const line = { fault: 'F5', test: 'npm run takeovers', injected, hit, violations };
  appendFileSync(process.env.CFC_EVIDENCE, `${JSON.stringify(line)}\n`);
}
console.log(JSON.stringify(sums));
const tooFew =
  sums.hit < leastHits * sums.injected ||
  sums.atWork < leastHits * sums.begun ||
  sums.delivered < 10 * sums.injected;
if (sums.violations > 0) process.exitCode = 1;
else if (tooFew) process.exitCode = 3;
