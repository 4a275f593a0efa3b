import { mkdtempSync, rmSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Fabric } from '../../index.js';
import { emptyCounts, Peer, type PeerCounts, type PeerOptions, type PeerSample } from './crew.js';
import { factsOf } from './process-facts.js';
import { append, type Counts, type Ledger, type SoakOptions } from './record.js';

const fabricName = 'soak';
/** Few places, so that all have been used when the warm-up ends: who rings keeps a descriptor for each. */
const capacity = { mailboxCells: 1024, maxAgents: 64, maxParticipants: 16 };
/** 1.5 % an hour is 12 % in eight: just above what the gate lets through. */
const leakShare = 0.12;
const churnPauseMs = 500;
/** The fabric counts each lane in 32 bits, which a long run exceeds. */
const wrap = 2 ** 32;

/** One run of a soak: starts everybody, samples, restarts, stops, and counts. */
export class SoakRun {
  readonly #options: SoakOptions;
  readonly #file: string;
  readonly #dir: string;
  readonly #peers: Peer[] = [];
  readonly #collect = collector();
  #fabric: Fabric | undefined;
  #restarts = 0;
  #samples = 0;
  #began = 0;

  constructor(options: SoakOptions, file: string) {
    this.#options = options;
    this.#file = file;
    this.#dir = mkdtempSync('/dev/shm/cfc-soak-');
    append(file, { kind: 'run', at: new Date().toISOString(), dir: this.#dir });
  }

  /** @param stopped says whether somebody wants it to end early */
  async run(forMs: number, stopped: () => boolean, told: (text: string) => void): Promise<void> {
    try {
      await this.#start();
      this.#began = performance.now();
      let sampleAt = this.#options.everyMs;
      let restartAt = this.#options.restartEveryMs;
      while (this.#elapsed() < forMs && !stopped()) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        if (this.#elapsed() < sampleAt) continue;
        await this.#sample();
        told(`${Math.round(this.#elapsed() / 1000)} s, ${this.#counts().accepted} messages`);
        // Right after a sample: a process that is sampled sometimes young and sometimes old would
        // look as if it grew.
        if (this.#elapsed() >= restartAt) {
          await this.#peers.find(({ name }) => name === 'restarted-1')?.restart();
          this.#restarts += 1;
          restartAt = this.#elapsed() + this.#options.restartEveryMs;
        }
        sampleAt = this.#elapsed() + this.#options.everyMs;
      }
      await this.#end();
    } finally {
      for (const peer of this.#peers) peer.kill();
      await this.#fabric?.close();
      rmSync(this.#dir, { recursive: true, force: true, maxRetries: 10 });
    }
  }

  #elapsed(): number {
    return performance.now() - this.#began;
  }

  async #start(): Promise<void> {
    const { senders, receivers, perSecond, horizonMs } = this.#options;
    this.#fabric = await Fabric.open(fabricName, { create: true, dir: this.#dir, capacity });
    const numbered = (name: string, count: number) =>
      Array.from({ length: count }, (_, i) => `${name}-${i + 1}`);
    const names = [...numbered('receiver', receivers), 'restarted-1', 'canary-1'];
    const options: PeerOptions = {
      recipients: names,
      perSecond: perSecond / senders,
      leakPerHour: (leakShare * 3_600_000) / horizonMs,
      pauseMs: churnPauseMs,
    };
    const start = async (role: string, name: string) => {
      const where = { dir: this.#dir, fabric: fabricName };
      this.#peers.push(await Peer.start(role, name, where, options));
    };
    for (const name of numbered('receiver', receivers)) await start('receiver', name);
    await start('receiver', 'restarted-1');
    await start('canary', 'canary-1');
    await start('churn', 'churn-1');
    for (const name of numbered('sender', senders)) await start('sender', name);
  }

  #counts(): Counts {
    const sum = emptyCounts();
    for (const { counts } of this.#peers) {
      for (const key of Object.keys(sum) as (keyof PeerCounts)[]) sum[key] += counts[key];
    }
    return { ...sum, restarts: this.#restarts, samples: this.#samples };
  }

  async #sample(): Promise<void> {
    const fabric = this.#fabric as Fabric;
    const peers: Record<string, PeerSample> = {};
    const taken = await Promise.all(this.#peers.map((peer) => peer.sample()));
    this.#peers.forEach(({ name }, i) => {
      peers[name] = taken[i] as PeerSample;
    });
    this.#collect();
    const { heapUsed } = process.memoryUsage();
    peers['master-1'] = { heapBytes: heapUsed, p99Us: null, ...factsOf(process.pid) };
    fabric.sweep();
    const census = fabric.census();
    this.#samples += 1;
    append(this.#file, {
      kind: 'sample',
      atMs: this.#elapsed(),
      peers,
      fabric: {
        regionBytes: fabric.info().sharedBytes,
        slots: census.slotsLive,
        names: census.namesLive,
        mailboxes: census.mailboxesOwned,
        chunks: census.chunksLoaned + census.chunksPlaced + census.chunksFree,
      },
      counts: this.#counts(),
    });
  }

  // Senders first: what receivers have not had then is still queued, and counted.
  async #end(): Promise<void> {
    const fabric = this.#fabric as Fabric;
    for (const role of ['sender', 'churn', 'receiver', 'canary']) {
      await Promise.all(
        this.#peers.filter((peer) => peer.role === role).map((peer) => peer.stop()),
      );
    }
    const counts = this.#counts();
    fabric.sweep();
    const census = fabric.census();
    const { acked, queued, dropped, deadLettered } = census;
    const difference = (counts.accepted - acked - queued - dropped - deadLettered) % wrap;
    const ledger: Ledger = {
      accepted: counts.accepted,
      acked,
      queued,
      dropped,
      deadLettered,
      difference,
    };
    append(this.#file, {
      kind: 'end',
      atMs: this.#elapsed(),
      ledger,
      census: { ...census },
      counts,
    });
  }
}

// Node hands out its collector only to who asks for it at the start, or so.
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
