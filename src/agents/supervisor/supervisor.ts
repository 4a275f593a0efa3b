import { dirname } from 'node:path';
import { option } from '../../config/index.js';
import { startTicksOf } from '../../core/process.js';
import { CfcError } from '../../errors.js';
import type { Topology } from '../../topology/topology.js';
import type { Agent } from '../agent.js';
import type { SupervisionEvent } from './events.js';
import { FabricHost, type SupervisedFabric } from './host.js';
import { startLevels } from './order.js';
import { type ShutdownReport, shutDown } from './shutdown.js';
import { type Phase, Supervision } from './supervision.js';

/** The name that says who supervises: there is one in a fabric, and it is a lease like any other. */
export const supervisorName = 'supervisor';

/** What the agents of a fabric may use; what is left out is not limited. */
export interface SupervisorLimits {
  /** Agents of the topology. */
  agents?: number;
  /** Resident memory of an agent's processes, in bytes; pages that they share count for each. */
  memoryBytes?: number;
  /** Descriptors that a process of an agent may have open. */
  openFiles?: number;
}

export interface SupervisorOptions {
  /** Told of everything that is also published to `cfc.events`. */
  onEvent?: (event: SupervisionEvent) => void;
  /** How long each level of agents may take until it is ready. Default 30000. */
  readyTimeoutMs?: number;
  /** From TERM to KILL. Default: option `stop.graceMs`. */
  graceMs?: number;
  /** Messages wait for so long, and nothing is done: `no-progress`. Default 30000. */
  noProgressMs?: number;
  /** Default `report`. */
  onNoProgress?: 'report' | 'restart';
  limits?: SupervisorLimits;
  /** What comes of an agent with more memory than it may have. Default `restart`. */
  onMemory?: 'report' | 'restart' | 'stop';
  /** Of which agents inherit what their `env` names. Default `process.env`. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Where agents are started. Default here. */
  cwd?: string;
}

export interface DownOptions {
  /** For all of it. Default: option `supervisor.drainMs`. */
  timeoutMs?: number;
  /** From TERM to KILL. Default: option `stop.graceMs`. */
  graceMs?: number;
  /** Told of `draining` and `stopped`. */
  onEvent?: (event: SupervisionEvent) => void;
}

/** How an agent of the topology stands with its supervisor. */
export interface SupervisedAgent {
  name: string;
  phase: Phase;
  /** Whom it is below now: after a failover another one than planned. */
  parent: string;
}

const defaults = {
  readyTimeoutMs: 30_000,
  noProgressMs: 30_000,
} as const;
const tickMs = 1_000;
/** Without pidfds deaths are found by looking at the leases this often. */
const tickWithoutPidfdsMs = 50;
/** How often it looks whether somebody wants to take over from it. */
const letGoLookMs = 100;
/** How long one that is asked to let go may take; then it is taken for stuck, and killed. */
const letGoMs = 3_000;
/** How long the kernel may take for that. */
const killMs = 3_000;
/** How long those that are being started may take, before they are let go of: less than letGoMs. */
const startsMs = 2_000;
const readyLookMs = 10;

/**
 * Keeps the agents of a topology running: starts them parents first, adopts those that live
 * already, starts again who ends as its policy says, and puts a team below a peer whose coordinator
 * does not come back.
 *
 * ```ts
 * const fabric = await Fabric.open('review', { create: true, capacity: topology.capacity() });
 * const supervisor = await Supervisor.start(fabric, topology);
 * const { notReady } = await supervisor.whenReady();
 * …
 * const { ledger } = await supervisor.down();
 * ```
 *
 * Ownership: agents are processes of their own and outlive it. `close()` lets go of them; `down()`
 * stops them. If its process dies, they go on, and the next supervisor adopts them.
 */
export class Supervisor implements AsyncDisposable {
  readonly topology: Topology;
  readonly #agent: Agent;
  readonly #host: FabricHost;
  readonly #supervision: Supervision;
  readonly #options: SupervisorOptions;
  readonly #timers: NodeJS.Timeout[] = [];
  /** Who has more memory than it may have, and under which pid that was told. */
  readonly #overLimit = new Map<string, number>();
  readonly #closed: Promise<void>;
  #resolveClosed = () => {};
  #ready: Promise<{ ready: string[]; notReady: string[] }>;
  #over = false;

  private constructor(
    fabric: SupervisedFabric,
    agent: Agent,
    topology: Topology,
    options: SupervisorOptions,
  ) {
    this.topology = topology;
    this.#agent = agent;
    this.#options = options;
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#host = new FabricHost(fabric, agent, options, {
      graceMs: options.graceMs ?? option('stop.graceMs'),
      ended: (name) => this.#supervision.ended(name),
      heirOf: (name) => this.#supervision.heirOf(name),
      planOf: (name) => topology.agent(name),
    });
    this.#supervision = new Supervision(topology, this.#host, {
      noProgressMs: options.noProgressMs ?? defaults.noProgressMs,
      onNoProgress: options.onNoProgress ?? 'report',
    });
    for (const { name } of topology.agents) fabric.region.gate(name, false);
    this.#supervision.adopt();
    this.#every(this.#host.watchesPids ? tickMs : tickWithoutPidfdsMs, () => this.#tick());
    this.#every(letGoLookMs, () => {
      if (fabric.region.agent(supervisorName)?.gated) void this.close();
    });
    this.#ready = this.#bringUp();
  }

  /**
   * Takes the fabric over: adopts who lives, and begins to start the others.
   *
   * @throws {CfcError} `ERR_CFC_SUPERVISOR_RUNNING` where somebody supervises it already,
   *   `ERR_CFC_USAGE`, `ERR_CFC_FORBIDDEN`, and what `join` throws
   */
  static async start(
    fabric: SupervisedFabric,
    topology: Topology,
    options: SupervisorOptions = {},
  ): Promise<Supervisor> {
    const most = options.limits?.agents;
    if (most !== undefined && topology.agents.length > most) {
      throw new CfcError('ERR_CFC_USAGE', { agents: topology.agents.length, allowed: most });
    }
    if (topology.agent(supervisorName) !== undefined) {
      throw new CfcError('ERR_CFC_USAGE', { agent: supervisorName, allowed: 'another name' });
    }
    const agent = await holdName(fabric);
    try {
      fabric.setRights(topology.rights); // before anybody is started
    } catch (error) {
      await agent.leave();
      throw error;
    }
    return new Supervisor(fabric, agent, topology, options);
  }

  /**
   * Takes a whole fabric down, whoever supervises it or none does: whoever supervises is asked to
   * let go, and killed where it does not in three seconds. Needs no topology.
   */
  static async down(fabric: SupervisedFabric, options: DownOptions = {}): Promise<ShutdownReport> {
    fabric.requireRight('stop');
    const agent = await takeOver(fabric);
    const host = new FabricHost(fabric, agent, options, {
      graceMs: options.graceMs ?? option('stop.graceMs'),
      ended: () => {},
      heirOf: (name) => name,
      planOf: () => undefined,
    });
    try {
      return await takeDown(fabric, host, [], options);
    } finally {
      await host.close();
      await agent.leave();
    }
  }

  /**
   * Resolves once all are ready, or have had `readyTimeoutMs` for it; who ended well counts as
   * ready, who is started by others as not wanted here.
   */
  whenReady(): Promise<{ ready: string[]; notReady: string[] }> {
    return this.#ready;
  }

  /** Resolves once it has let go: after `close`, `down`, or because somebody else took over. */
  get whenClosed(): Promise<void> {
    return this.#closed;
  }

  get closed(): boolean {
    return this.#over;
  }

  agents(): SupervisedAgent[] {
    return this.topology.agents.map(({ name }) => ({
      name,
      phase: this.#supervision.phaseOf(name) as Phase,
      parent: this.#supervision.parentOf(name),
    }));
  }

  /** Whoever has the mailbox of `name` by now; itself where nobody took over from it. */
  heirOf(name: string): string {
    return this.#supervision.heirOf(name);
  }

  /**
   * Stops everything in good order and lets go: nothing more is accepted from outside, mailboxes are
   * worked off, then TERM and KILL, those below first. What nobody read stays queued.
   */
  async down(options: Omit<DownOptions, 'onEvent'> = {}): Promise<ShutdownReport> {
    this.#end();
    const graceMs = options.graceMs ?? this.#options.graceMs ?? option('stop.graceMs');
    const names = this.topology.agents.map(({ name }) => name);
    try {
      return await takeDown(this.#host.fabric, this.#host, names, { ...options, graceMs });
    } finally {
      await this.#letGo();
    }
  }

  /** Lets go of everybody; they go on. */
  async close(): Promise<void> {
    if (this.#over) return this.#closed;
    this.#end();
    await this.#letGo();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(): void {
    this.#over = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#supervision.halt();
  }

  async #letGo(): Promise<void> {
    // Whoever comes after us adopts or stops those that it finds.
    await this.#host.whenStarted(startsMs);
    await this.#host.close();
    await this.#agent.leave();
    this.#resolveClosed();
  }

  async #bringUp(): Promise<{ ready: string[]; notReady: string[] }> {
    const notReady: string[] = [];
    for (const level of startLevels(this.topology)) {
      const names = level.map(({ name }) => name);
      if (this.#over) break;
      this.#supervision.start(names);
      notReady.push(...(await this.#awaitReady(names)));
    }
    const ready = this.#supervision.named('running', 'ended', 'replaced');
    return { ready, notReady: notReady.filter((name) => !ready.includes(name)) };
  }

  async #awaitReady(names: readonly string[]): Promise<string[]> {
    const endsMs = performance.now() + (this.#options.readyTimeoutMs ?? defaults.readyTimeoutMs);
    let awaited = this.#supervision.awaited(names);
    const isOver = () => this.#over || this.#host.fabric.region.closed;
    while (awaited.length > 0 && performance.now() < endsMs) {
      // Many take a while, and looking at them takes from what they need to start.
      const lookMs = Math.max(readyLookMs, awaited.length / 20);
      await new Promise((resolve) => setTimeout(resolve, lookMs));
      if (isOver()) break;
      awaited = this.#supervision.awaited(awaited);
    }
    return awaited;
  }

  #tick(): void {
    this.#host.fabric.region.sweep();
    this.#supervision.tick();
    this.#watchMemory();
  }

  #watchMemory(): void {
    const general = this.#options.limits?.memoryBytes;
    for (const name of this.#supervision.named('running', 'starting')) {
      const plan = this.topology.agent(name);
      const limitBytes = plan?.limits.memoryBytes ?? general;
      if (limitBytes === undefined) continue;
      const { pid, memoryBytes } = this.#host.memoryOf(name);
      if (memoryBytes <= limitBytes) {
        this.#overLimit.delete(name);
        continue;
      }
      // Once for each life that goes beyond it: a stop takes its time.
      if (this.#overLimit.get(name) === pid) continue;
      this.#overLimit.set(name, pid);
      this.#host.tell({ event: 'memory-exceeded', agent: name, memoryBytes, limitBytes });
      const then = plan?.limits.onMemory ?? this.#options.onMemory ?? 'restart';
      if (then === 'stop') this.#supervision.giveUp(name);
      if (then === 'restart') this.#supervision.kick(name);
    }
  }

  #every(ms: number, run: () => void): void {
    this.#timers.push(setInterval(run, ms));
  }
}

async function holdName(fabric: SupervisedFabric): Promise<Agent> {
  try {
    const agent = await fabric.join(supervisorName, { role: supervisorName, mailboxCells: 64 });
    fabric.region.gate(supervisorName, false);
    return agent;
  } catch (error) {
    if (!(error instanceof CfcError) || error.code !== 'ERR_CFC_LEASE_HELD') throw error;
    const pid = fabric.region.agent(supervisorName)?.pid;
    throw new CfcError('ERR_CFC_SUPERVISOR_RUNNING', { fabric: fabric.name, pid });
  }
}

/**
 * Becomes the supervisor in the place of whoever is.
 *
 * @throws {CfcError} `ERR_CFC_SUPERVISOR_RUNNING` where it cannot be killed either: it is in another
 *   PID namespace, or hangs in the kernel
 */
async function takeOver(fabric: SupervisedFabric): Promise<Agent> {
  const askedMs = performance.now();
  let killed = false;
  for (;;) {
    const tookMs = performance.now() - askedMs;
    try {
      return await holdName(fabric);
    } catch (error) {
      if (!(error instanceof CfcError) || error.code !== 'ERR_CFC_SUPERVISOR_RUNNING') throw error;
      if (tookMs >= letGoMs + killMs) throw error;
    }
    fabric.region.gate(supervisorName, true);
    if (!killed && tookMs >= letGoMs) {
      // It is stopped, or its loop does not turn. Its agents do not need it.
      killed = true;
      const holder = fabric.region.agent(supervisorName);
      if (holder?.alive) killHolder(holder);
    }
    await new Promise((resolve) => setTimeout(resolve, readyLookMs));
  }
}

/**
 * Kills the process that holds a name. Its pid is that of its own PID namespace: in ours the number
 * may be anybody's, whom this leaves alone.
 *
 * @returns false where it cannot be told, or cannot be killed
 */
export function killHolder({ pid, startTicks }: { pid: number; startTicks: number }): boolean {
  if (startTicks === 0 || startTicksOf(pid) !== startTicks) return false;
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false; // it has just ended
  }
}

function takeDown(
  fabric: SupervisedFabric,
  host: FabricHost,
  insiders: readonly string[],
  { timeoutMs = option('supervisor.drainMs'), graceMs = option('stop.graceMs') }: DownOptions,
): Promise<ShutdownReport> {
  const dir = dirname(fabric.info().path);
  return shutDown(fabric.region, {
    ...{ timeoutMs, graceMs, insiders, self: supervisorName, fabric: fabric.name, dir },
    starting: () => host.starting(),
    onDraining: () => host.tell({ event: 'draining', agent: supervisorName }),
    stop: (names, forMs) => {
      host.stop(names, forMs);
      for (const name of names) host.tell({ event: 'stopped', agent: name });
    },
  });
}
