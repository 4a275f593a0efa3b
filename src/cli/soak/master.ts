import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Fabric } from '../../index.js';
import {
  agents,
  bereft,
  capacities,
  ends,
  type FabricName,
  fabricNames,
  own,
  restarted,
  settledCode,
  shims,
  takeover,
  wordsOf,
} from './cast.js';
import { Crew, countNames, emptyCounts, type Peer, type PeerSample } from './crew.js';
import { factsOf } from './process-facts.js';
import {
  append,
  type Counts,
  type FabricSample,
  type Ledger,
  type Sample,
  type SoakOptions,
} from './record.js';

const program = fileURLToPath(new URL('./peer.js', import.meta.url));
/** 1.5 % an hour is 12 % in eight: just above what the gate lets through. */
const leakShare = 0.12;
/** The fabric counts each lane in 32 bits, which a long run exceeds. */
const wrap = 2 ** 32;
/**
 * So many samples are taken before the first that counts, of those that are to come: what only runs
 * at a sample is to be as warm by then as what runs all the time.
 */
const practiceShare = 0.2;
const mostPractice = 200;
const lookMs = 10;

/** One run of a soak: starts everybody, samples, kills, stops, and counts. */
export class SoakRun {
  readonly #options: SoakOptions;
  readonly #file: string;
  readonly #dir: string;
  readonly #peers = new Map<string, Peer>();
  readonly #fabrics = new Map<FabricName, Fabric>();
  readonly #collect = collector();
  #crew: Crew | undefined;
  #samples = 0;
  #kills = 0;
  #began = 0;

  constructor(options: SoakOptions, file: string) {
    this.#options = options;
    this.#file = file;
    this.#dir = mkdtempSync('/dev/shm/cfc-soak-');
    append(file, { kind: 'run', at: new Date().toISOString(), dir: this.#dir });
  }

  /** @param stopped says whether somebody wants it to end early */
  async run(forMs: number, stopped: () => boolean, told: (text: string) => void): Promise<void> {
    const { everyMs, restartEach } = this.#options;
    try {
      await this.#start();
      const practice = Math.min(mostPractice, (practiceShare * forMs) / everyMs);
      for (let i = 0; i < practice && !stopped(); i += 1) await this.#look();
      this.#began = performance.now();
      let sampleAt = everyMs;
      while (this.#elapsed() < forMs && !stopped()) {
        await sleep(Math.min(100, everyMs));
        if (this.#elapsed() < sampleAt) continue;
        append(this.#file, await this.#look());
        this.#samples += 1;
        told(`${Math.round(this.#elapsed() / 1000)} s, ${this.#counts().accepted} messages`);
        // Right after a sample: a process that is sampled sometimes young and sometimes old would
        // look as if it grew.
        if (this.#samples % restartEach === 0) await this.#kill();
        sampleAt = this.#elapsed() + everyMs;
      }
      await this.#end();
    } finally {
      this.#crew?.close();
      for (const fabric of this.#fabrics.values()) await fabric.close();
      rmSync(this.#dir, { recursive: true, force: true, maxRetries: 10 });
    }
  }

  #elapsed(): number {
    return performance.now() - this.#began;
  }

  async #start(): Promise<void> {
    const stateDir = join(this.#dir, 'state');
    mkdirSync(stateDir);
    for (const name of fabricNames) {
      const options = { create: true, dir: this.#dir, capacity: capacities[name] };
      this.#fabrics.set(name, await Fabric.open(name, options));
    }
    const crew = await Crew.open(join(this.#dir, 'crew'));
    this.#crew = crew;
    for (const name of [...Object.keys(agents), ...Object.keys(own)]) {
      this.#peers.set(name, crew.expect(name));
    }
    const arrivals = Object.keys(agents).map((name) => this.#peer(name).arrival());
    for (const name of Object.keys(own)) await this.#spawn(name);
    await Promise.all(arrivals);
  }

  #peer(name: string): Peer {
    return this.#peers.get(name) as Peer;
  }

  /** Starts one of our own, and waits until it plays. */
  async #spawn(name: string): Promise<() => Promise<void>> {
    const { perSecond, horizonMs, pauseMs, exportEveryMs, exportMaxBytes } = this.#options;
    const { evaluateEveryMs, pulseMs } = this.#options;
    const leakPerHour = (leakShare * 3_600_000) / horizonMs;
    const stateDir = join(this.#dir, 'state');
    const where = { program, socket: join(this.#dir, 'crew'), dir: this.#dir };
    const words = wordsOf(
      name,
      where,
      {
        ...{ leakPerHour, pauseMs, stateDir, exportEveryMs, exportMaxBytes },
        ...{ evaluateEveryMs, pulseMs },
      },
      perSecond,
    );
    const peer = this.#peer(name);
    const arrival = peer.arrival();
    const child = spawn(process.execPath, words, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, CFC_DIR: this.#dir },
    });
    const exited = once(child, 'exit');
    const failed = exited.then(([code, signal]) => {
      throw new Error(`${name} ended before it was ready (${code ?? signal})`);
    });
    failed.catch(() => {});
    await Promise.race([arrival, failed]);
    return async () => {
      await exited;
    };
  }

  #counts(): Counts {
    const sum = emptyCounts();
    for (const { counts } of this.#peers.values()) {
      for (const name of countNames) sum[name] += counts[name];
    }
    return { ...sum, samples: this.#samples };
  }

  async #look(): Promise<Sample> {
    const peers: Record<string, PeerSample> = {};
    const names = [...this.#peers.keys()];
    const taken = await Promise.all(names.map((name) => this.#peer(name).sample()));
    names.forEach((name, i) => {
      peers[name] = taken[i] as PeerSample;
    });
    for (const [agent, shim] of Object.entries(shims)) {
      const life = this.#shimPid(agent);
      peers[shim] = { heapBytes: null, p99Us: null, ...factsOf(life), life };
    }
    const fabrics: Record<string, FabricSample> = {};
    for (const [name, fabric] of this.#fabrics) {
      fabric.sweep();
      const census = fabric.census();
      fabrics[name] = {
        regionBytes: fabric.info().sharedBytes,
        slots: census.slotsLive,
        names: census.namesLive,
        mailboxes: census.mailboxesOwned,
        chunks: census.chunksLoaned + census.chunksPlaced + census.chunksFree,
      };
    }
    this.#peer('churn-1').resume();
    this.#collect();
    const { heapUsed } = process.memoryUsage();
    const life = process.pid;
    peers['master-1'] = { heapBytes: heapUsed, p99Us: null, ...factsOf(life), life };
    return { kind: 'sample', atMs: this.#elapsed(), peers, fabrics, counts: this.#counts() };
  }

  #shimPid(agent: string): number {
    const fabric = this.#fabrics.get(agents[agent]?.fabric as FabricName) as Fabric;
    const found = fabric.snapshot({ probe: false }).find(({ name }) => name === agent);
    if (found === undefined) throw new Error(`${agent} is not in the fabric`);
    return found.pid;
  }

  /** By turns: a command, the shim over it, a supervisor. Ends when their successors are at work. */
  async #kill(): Promise<void> {
    this.#kills += 1;
    if (this.#kills % 3 === 0) {
      await this.#killSupervisor();
      return;
    }
    const ofCommand = this.#kills % 3 === 1;
    const peer = this.#peer(ofCommand ? restarted : bereft);
    const pid = ofCommand ? peer.pid : this.#shimPid(bereft);
    const successor = peer.arrival();
    peer.release();
    process.kill(pid, 'SIGKILL');
    await successor;
  }

  /** Its agents go on, and the next one takes them over: no process of theirs is another one. */
  async #killSupervisor(): Promise<void> {
    const adopted = Object.keys(agents).filter((name) => agents[name]?.fabric === 'adopted');
    const before = adopted.map((name) => this.#peer(name).pid);
    const peer = this.#peer(takeover);
    const { pid } = peer;
    peer.release();
    process.kill(pid, 'SIGKILL');
    while (isThere(pid)) await sleep(lookMs);
    await this.#spawn(takeover);
    const after = adopted.map((name) => this.#peer(name).pid);
    if (before.join() !== after.join()) throw new Error('a takeover started agents again');
  }

  async #end(): Promise<void> {
    for (const names of ends) await Promise.all(names.map((name) => this.#peer(name).stop()));
    const counts = this.#counts();
    const census: Record<string, number> = {};
    for (const fabric of this.#fabrics.values()) {
      fabric.sweep();
      for (const [name, value] of Object.entries(fabric.census())) {
        census[name] = (census[name] ?? 0) + Number(value);
      }
    }
    const { acked = 0, queued = 0, dropped = 0, deadLettered = 0 } = census;
    const { accepted } = counts;
    const difference = (accepted - acked - queued - dropped - deadLettered) % wrap;
    const ledger: Ledger = { accepted, acked, queued, dropped, deadLettered, difference };
    append(this.#file, { kind: 'end', atMs: this.#elapsed(), ledger, census, counts });
  }
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

// Node hands out its collector only to who asks for it at the start, or so.
function collector(): () => void {
  for (const flag of ['--expose-gc', ...settledCode]) setFlagsFromString(flag);
  return runInNewContext('gc') as () => void;
}
