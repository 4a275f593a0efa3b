// One round of scripts/torture.mjs: a fabric, Node and native processes at work in it, and somebody
// who kills and stops them at random. It ends drained, so that each round has a whole ledger.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fabric } from 'cfc';
import { root } from './lib.mjs';
import { checkLogs } from './torture-check.mjs';

const mailboxCells = 64;
const hangMs = 1000;
const tickMs = 20;
/**
 * Of the kills and stops, how many may at most meet one that has not begun to work. On a busy machine
 * a start takes long, and chance alone would mostly meet such.
 */
const earlyShare = 0.2;

/**
 * Where a repairer is killed from within: fail points of native/core that each repair passes. A
 * repairer with a rarer one would live on; native/test/crash_test.cc dies at all of them.
 */
const repairPoints = [
  ...['reap.marked', 'repair.lane', 'repair.cells', 'repair.wants'],
  ...['repair.chunks', 'repair.names', 'reap.repaired'],
];

/** Milliseconds for which a process has waited for a CPU, ever. */
function starvedMs(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}

class Round {
  violations = [];
  longestStillMs = 0;
  watchedMs = 0;
  blindMs = 0;
  lives = 0;
  counts = { producers: [0, 0], consumers: [0, 0], repairers: [0, 0], stops: [0, 0], node: 0 };
  #peers = new Map();
  #state;
  #ended = false;
  #before = performance.now();
  #stopping = new Set();

  constructor(options) {
    this.options = options;
    this.#state = options.seed >>> 0;
    this.dir = join('/dev/shm', `cfc-torture-${process.pid}-${randomUUID()}`);
    this.logs = mkdtempSync(join(tmpdir(), 'cfc-torture-'));
    const named = (role, letter, count, native) =>
      Array.from({ length: count }, (_, i) => ({ role, name: `${letter}${i}`, native }));
    this.cast = [
      ...named('consumer', 'c', options.consumers, false),
      ...named('producer', 'p', options.producers, false),
      ...named('consumer', 'd', options.nativeConsumers, true),
      ...named('producer', 'q', options.nativeProducers, true),
      ...named('repairer', 'r', options.repairers, true),
    ];
    this.targets = this.cast.filter(({ role }) => role === 'consumer').map(({ name }) => name);
  }

  #random() {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state / 2 ** 32;
  }
  #pick(list) {
    return list[Math.floor(this.#random() * list.length)];
  }
  #of(...roles) {
    return [...this.#peers.values()].filter(({ role }) => roles.includes(role));
  }

  #start(part) {
    this.lives += 1;
    const { role, name, native } = part;
    const life = this.lives;
    const log = join(this.logs, `${name}.${life}.log`);
    const seed = this.options.seed * 1000 + life;
    let point;
    let child;
    if (native) {
      const env = { ...process.env };
      delete env.CFC_FAIL_AT;
      if (role === 'repairer') {
        point = this.#pick(repairPoints);
        env.CFC_FAIL_AT = `${point}:1`;
      }
      const words = [role, name, life, this.dir, log, seed, mailboxCells, ...this.targets];
      child = spawn(this.options.nativePeer, words.map(String), {
        stdio: ['ignore', 'pipe', 'inherit'],
        env,
      });
    } else {
      const options = { role, name, life, dir: this.dir, log, seed, mailboxCells };
      child = spawn(
        process.execPath,
        [
          join(root, 'scripts', 'torture-peer.mjs'),
          JSON.stringify({ ...options, targets: this.targets }),
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
    }
    const peer = { ...part, child, log, point, ready: false, stopped: false, bytes: 0 };
    Object.assign(peer, { worked: false, stillMs: 0, starvedMs: 0, killed: false, gone: false });
    this.#peers.set(name, peer);
    child.stdout.once('data', () => {
      peer.ready = true;
    });
    peer.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        peer.ready = false;
        peer.gone = true;
        if (!this.#ended && !peer.killed) this.#endedByItself(peer, code, signal);
        resolve(code);
      });
    });
    return peer;
  }

  /** Which only a repairer may: in the middle of a repair, by its fail point. */
  #endedByItself(peer, code, signal) {
    if (peer.role === 'repairer' && signal === 'SIGKILL') {
      this.counts.repairers[0] += 1;
      this.counts.repairers[1] += 1;
      // Not at once: else each would only find what the one before it left, and die of that.
      const part = this.cast.find(({ name }) => name === peer.name);
      setTimeout(() => this.#ended || this.#start(part), 200);
      return;
    }
    this.violations.push(`${peer.name} ended by itself: ${code ?? signal}`);
  }

  // How long each stood still though it could have gone on: it was ready and not stopped, a consumer
  // had mail, a producer had room at a consumer that lives. The time for which a process wanted a CPU
  // and got none doesn't count: a crowded machine hangs nobody. Nor does what
  // we were late ourselves; that is counted, as time that nobody watched.
  #tick(fabric) {
    const now = performance.now();
    const passed = Math.min(now - this.#before, 2 * tickMs);
    this.watchedMs += passed;
    this.blindMs += now - this.#before - passed;
    this.#before = now;
    const mailboxes = new Map(fabric.snapshot().map((agent) => [agent.name, agent]));
    const runs = (name) => this.#peers.get(name).ready && !this.#peers.get(name).stopped;
    const someRoom = this.targets.some(
      (name) => runs(name) && (mailboxes.get(name)?.depth ?? mailboxCells) < mailboxCells / 2,
    );
    for (const peer of this.#peers.values()) {
      if (!runs(peer.name)) continue;
      const { size } = statSync(peer.log);
      const starved = starvedMs(peer.child.pid);
      const wanted = starved - peer.starvedMs;
      peer.starvedMs = starved;
      const box = mailboxes.get(peer.name);
      const could =
        peer.role === 'producer' ? someRoom : box !== undefined && box.depth > box.leased;
      if (size !== peer.bytes || !could || peer.role === 'repairer') {
        peer.worked ||= size > 0;
        peer.bytes = size;
        peer.stillMs = 0;
        continue;
      }
      peer.stillMs += Math.max(0, passed - wanted);
      this.longestStillMs = Math.max(this.longestStillMs, peer.stillMs);
      if (peer.stillMs > hangMs && !peer.reported) {
        peer.reported = true;
        this.violations.push(`${peer.name} stood still for more than ${hangMs} ms`);
      }
    }
  }

  /** One that has just been started is let go most of the time: it would never do anything. */
  #mayHit(peer, [injected, hit]) {
    const early = injected - hit < earlyShare * injected;
    return peer.worked || (early && this.#random() < 0.1);
  }

  async #stopFor(peer, ms) {
    peer.stopped = true;
    this.counts.stops[0] += 1;
    if (peer.worked) this.counts.stops[1] += 1;
    peer.child.kill('SIGSTOP');
    await sleep(ms);
    peer.child.kill('SIGCONT');
    peer.stillMs = 0;
    peer.stopped = false;
  }

  async #storm() {
    const { kills, stops } = this.options;
    for (let injected = 0; injected < kills; ) {
      // Mostly soon, so that one death meets the repair of another; now and then a while of peace.
      await sleep(this.#random() < 0.05 ? 1300 : 5 + this.#random() * 80);
      if (this.#random() < stops) {
        const peer = this.#pick([...this.#peers.values()]);
        if (!peer.stopped && !peer.gone && this.#mayHit(peer, this.counts.stops)) {
          const stop = this.#stopFor(peer, this.#random() * 400).finally(() =>
            this.#stopping.delete(stop),
          );
          this.#stopping.add(stop);
        }
      }
      const victims =
        this.#random() < 0.15
          ? [this.#pick(this.#of('consumer')), this.#pick(this.#of('producer'))]
          : [this.#pick(this.#of('consumer', 'producer'))];
      const chosen = victims.filter((peer) => this.#mayHit(peer, this.counts[`${peer.role}s`]));
      for (const peer of chosen) {
        const count = this.counts[`${peer.role}s`];
        injected += 1;
        count[0] += 1;
        if (peer.worked) count[1] += 1;
        if (!peer.native) this.counts.node += 1;
        peer.killed = true;
        peer.child.kill('SIGKILL');
      }
      await Promise.all(chosen.map((peer) => peer.exited));
      // A successor repairs whom it follows. Half of the time it comes late, and others do that.
      if (this.#random() < 0.5) await sleep(this.#random() * 40);
      for (const { name } of chosen) this.#start(this.cast.find((part) => part.name === name));
    }
  }

  /** Producers end first, then consumers, which read what is left. */
  async #finish() {
    await Promise.all(this.#stopping);
    const ready = () => [...this.#peers.values()].every((peer) => peer.ready || peer.gone);
    while (!ready()) await sleep(10);
    await sleep(300);
    this.#ended = true;
    for (const role of ['repairer', 'producer', 'consumer']) {
      const those = this.#of(role);
      for (const peer of those) peer.child.kill('SIGTERM');
      for (const peer of those) {
        const watchdog = setTimeout(() => {
          this.violations.push(`${peer.name} did not end`);
          peer.child.kill('SIGKILL');
        }, 30_000);
        const code = await peer.exited;
        clearTimeout(watchdog);
        // By its fail point, or before it had said what it does with a SIGTERM.
        const killed = role === 'repairer' && peer.child.signalCode !== null;
        if (code !== 0 && !killed) this.violations.push(`${peer.name} ended with ${code}`);
      }
    }
  }

  #check(fabric) {
    fabric.sweep();
    const last = fabric.census();
    const result = checkLogs(this.logs);
    this.violations.push(...result.violations);
    const none = ['queued', 'ready', 'leased', 'held', 'claimed', 'quarantined', 'done', 'dropped'];
    none.push('deadLettered', 'slotsReaping', 'namesClaimed', 'mailboxesClaimed');
    none.push('chunksLoaned', 'chunksPlaced', 'namesLive', 'mailboxesOwned');
    for (const what of none) {
      if (last[what] !== 0) this.violations.push(`left: ${what} ${last[what]}`);
    }
    if (last.slotsLive !== 1) this.violations.push(`left: slotsLive ${last.slotsLive} with ours`);
    if (last.acked !== result.delivered) {
      this.violations.push(`ledger: ${last.acked} acked, ${result.delivered} delivered`);
    }
    return result;
  }

  async run() {
    mkdirSync(this.dir, { mode: 0o700 });
    const fabric = await Fabric.open('torture', {
      dir: this.dir,
      create: true,
      capacity: {
        maxAgents: 64,
        maxParticipants: 64,
        mailboxCells,
        mailSegmentBytes: 1 << 18,
        slabSegmentBytes: 1 << 20,
        slabMaxBytes: 32 << 20,
        senderSlabBytes: 8 << 20,
        histograms: 8,
        attemptLimit: 0, // killed as often as chance has it, all of it must arrive
      },
    });
    const ticking = setInterval(() => this.#tick(fabric), tickMs);
    for (const part of this.cast) this.#start(part);
    await this.#storm();
    await this.#finish();
    clearInterval(ticking);
    const { accepted, delivered, redelivered } = this.#check(fabric);
    await fabric.close();
    const keep = this.options.keep || this.violations.length > 0;
    if (keep) console.error(`kept: ${this.logs} ${this.dir}`);
    else for (const folder of [this.logs, this.dir]) rmSync(folder, { recursive: true });
    const { counts, violations, lives } = this;
    const longestStillMs = Math.round(this.longestStillMs);
    const [watchedMs, blindMs] = [Math.round(this.watchedMs), Math.round(this.blindMs)];
    const ledger = { accepted, delivered, redelivered };
    return { counts, violations, lives, ...ledger, longestStillMs, watchedMs, blindMs };
  }
}

/** @returns counts of kills and stops as [injected, hit], the ledger, and violations in words */
export function tortureRound(options) {
  return new Round(options).run();
}
