import { AgentFact, type NativeAgentRecord } from '../../core/native.js';
import type { Region } from '../../core/region.js';
import { CfcError, type CfcErrorCode } from '../../errors.js';
import type { AgentLimits, AgentPlan } from '../../topology/plan.js';
import type { Rights } from '../../topology/rights.js';
import { type Agent, agentStates } from '../agent.js';
import type { RightVerb } from '../rights.js';
import { type AgentStart, startAgents } from '../start.js';
import { eventsTopic, type SupervisionEvent } from './events.js';
import { StandIn } from './stand-in.js';
import type { Host, Seen } from './supervision.js';
import { memoryBelow } from './tree-memory.js';

/** What a supervisor needs of a `Fabric`. */
export interface SupervisedFabric {
  readonly name: string;
  /** @internal */
  readonly region: Region;
  info(): { path: string };
  setRights(rights: Rights | undefined): void;
  requireRight(verb: RightVerb): void;
  join(
    name: string,
    options: { role?: string; team?: string; parent?: string; mailboxCells?: number },
  ): Promise<Agent>;
}

export interface FabricHostOptions {
  onEvent?: ((event: SupervisionEvent) => void) | undefined;
  env?: Readonly<Record<string, string | undefined>> | undefined;
  cwd?: string | undefined;
  limits?: { openFiles?: number } | undefined;
}

export interface FabricHostHooks {
  graceMs: number;
  ended(name: string): void;
  heirOf(name: string): string;
  planOf(name: string): AgentPlan | undefined;
}

/** Of a stop: it has ended, it is ending, or nothing stands over it that could obey. */
const overAlready: readonly CfcErrorCode[] = [
  'ERR_CFC_NO_AGENT',
  'ERR_CFC_NO_READER',
  'ERR_CFC_MAILBOX_CLOSED',
  'ERR_CFC_USAGE',
];

/** The role of who holds a name for its heir: it is in no team and below nobody. */
const standInRole = 'stand-in';

/**
 * What a supervisor decides, done in a fabric.
 *
 * Ownership: of timers, watches and stand-ins, all gone with `close`; agents are processes of their
 * own.
 */
export class FabricHost implements Host {
  readonly fabric: SupervisedFabric;
  /** Whether ends are told by the kernel at once. */
  readonly watchesPids: boolean;
  readonly #agent: Agent;
  readonly #options: FabricHostOptions;
  readonly #hooks: FabricHostHooks;
  readonly #names = new Map<number, string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #standIns = new Map<string, StandIn>();
  /** Of agents that are not in the directory yet, with the pids of their shims. */
  readonly #starts = new Map<Promise<unknown>, number>();
  #closed = false;

  constructor(
    fabric: SupervisedFabric,
    agent: Agent,
    options: FabricHostOptions,
    hooks: FabricHostHooks,
  ) {
    this.fabric = fabric;
    this.#agent = agent;
    this.#options = options;
    this.#hooks = hooks;
    this.watchesPids = fabric.region.watchPids((pids) => this.#ended(pids));
  }

  nowMs(): number {
    return performance.now();
  }

  random(): number {
    return Math.random();
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, delayMs);
    this.#timers.add(timer);
    return () => {
      clearTimeout(timer);
      this.#timers.delete(timer);
    };
  }

  look(name: string): Seen | undefined {
    const record = this.fabric.region.agent(name);
    // A name that we hold ourselves, for its heir, is nobody's life.
    if (record === undefined || this.#standIns.has(name)) return undefined;
    return seenOf(record);
  }

  childrenOf(name: string): string[] {
    return this.fabric.region
      .agents({ probe: false })
      .filter(({ parent }) => parent === name)
      .map((record) => record.name);
  }

  start(plans: readonly AgentPlan[]): { pid: number; error?: unknown }[] {
    try {
      const started = startAgents(
        this.fabric,
        plans.map((plan) => this.#specOf(plan)),
      );
      return started.map(({ name, pid, started: up }) => {
        if (pid === 0) return { pid, error: new CfcError('ERR_CFC_AGENT_START', { agent: name }) };
        // Its shim ends as well, which is what is acted upon; this only says why. But where no
        // pidfd tells of that end, nothing else would: it never held a lease.
        const settled = up
          .catch((error: unknown) => {
            this.#startFailed(name, error);
            if (!this.watchesPids) this.#ended([pid]);
          })
          .finally(() => this.#starts.delete(settled));
        this.#starts.set(settled, pid);
        return { pid };
      });
    } catch (error) {
      return plans.map(() => ({ pid: 0, error }));
    }
  }

  /**
   * Resolves once everybody who was being started is in the directory or has failed, or after
   * `mostMs`.
   */
  async whenStarted(mostMs: number): Promise<void> {
    if (this.#starts.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, mostMs);
    });
    await Promise.race([Promise.all(this.#starts.keys()), late]);
    clearTimeout(timer);
  }

  /** The shims that we started and that have not said yet that they are in the directory. */
  starting(): number[] {
    return [...this.#starts.values()];
  }

  stop(names: readonly string[], graceMs = this.#hooks.graceMs): void {
    for (const name of names) {
      try {
        this.fabric.region.control(name, 'stop', graceMs);
      } catch (error) {
        if (!(error instanceof CfcError) || !overAlready.includes(error.code)) throw error;
      }
    }
  }

  watch(name: string, pid: number): void {
    for (const [other, known] of this.#names) {
      if (known !== name || other === pid) continue;
      this.#names.delete(other);
      this.fabric.region.unwatchPid(other);
    }
    this.#names.set(pid, name);
    // It may have ended before there was a watch: then the next turn says so.
    if (this.watchesPids && !this.fabric.region.watchPid(pid))
      this.after(0, () => this.#ended([pid]));
  }

  reparent(name: string, parent: string): void {
    if (this.fabric.region.agent(name) !== undefined) this.fabric.region.reparent(name, parent);
  }

  standInFor(name: string): void {
    void this.#standIn(name).catch((error: unknown) => {
      this.#startFailed(name, error);
    });
  }

  tell(event: Omit<SupervisionEvent, 'at'>): void {
    const told = { at: new Date().toISOString(), ...event };
    this.#options.onEvent?.(told);
    // Whoever reads this reliably and is behind must not hold up who keeps agents alive.
    if (!this.#agent.left) this.#agent.tryPublish(eventsTopic, told, { type: event.event });
  }

  memoryOf(name: string): { pid: number; memoryBytes: number } {
    const record = this.fabric.region.agent(name);
    if (!record?.alive) return { pid: 0, memoryBytes: 0 };
    return { pid: record.pid, memoryBytes: memoryBelow(record.pid) };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const pid of this.#names.keys()) this.fabric.region.unwatchPid(pid);
    this.#names.clear();
    for (const standIn of this.#standIns.values()) await standIn.close();
    this.#standIns.clear();
  }

  async #standIn(name: string): Promise<void> {
    const cells = this.#hooks.planOf(name)?.mailboxCells ?? 0;
    const options = cells > 0 ? { role: standInRole, mailboxCells: cells } : { role: standInRole };
    const agent = await this.fabric.join(name, options);
    if (this.#closed) await agent.leave();
    else this.#standIns.set(name, this.#standInOf(name, agent));
  }

  #standInOf(name: string, agent: Agent): StandIn {
    const heir = () => this.#hooks.heirOf(name);
    return new StandIn(agent, heir, (error) => {
      this.#standIns.delete(name);
      this.#startFailed(name, error);
    });
  }

  #startFailed(name: string, error: unknown): void {
    if (this.#closed) return;
    this.tell({ event: 'start-failed', agent: name, reason: reasonOf(error) });
  }

  #ended(pids: readonly number[]): void {
    for (const pid of pids) {
      const name = this.#names.get(pid);
      this.#names.delete(pid);
      if (name !== undefined && !this.#closed) this.#hooks.ended(name);
    }
  }

  #specOf(plan: AgentPlan): AgentStart {
    const from = this.#options.env ?? process.env;
    const env: Record<string, string> = {};
    for (const name of plan.env) {
      const value = from[name];
      if (value !== undefined) env[name] = value;
    }
    const { name, role, team, parent, mailboxCells, command, ready } = plan;
    const openFiles = plan.limits.openFiles ?? this.#options.limits?.openFiles;
    return {
      ...{ name, role, team, parent, mailboxCells, command, env, ready },
      graceMs: this.#hooks.graceMs,
      ...(this.#options.cwd === undefined ? {} : { cwd: this.#options.cwd }),
      ...(openFiles === undefined ? {} : { openFiles }),
      ...sendLimits(plan.limits),
    };
  }
}

/** Whether a process of cfc stands over it, which starts and stops its command. */
export function hasShim({ facts }: NativeAgentRecord): boolean {
  return (facts & AgentFact.shim) !== 0;
}

export function isPaused({ state }: NativeAgentRecord): boolean {
  return agentStates[state] === 'paused';
}

function seenOf(record: NativeAgentRecord): Seen {
  const { alive, pid, exitCode, parent, depth, stopWanted } = record;
  return {
    ...{ alive, pid, parent, depth, stopWanted },
    ready: !hasShim(record) || (record.facts & AgentFact.ready) !== 0,
    exitCode: exitCode < 0 ? null : exitCode,
    paused: isPaused(record),
    ageMs: Date.now() - record.joinedAtMs,
    idleMs: Date.now() - record.lastProgressAtMs,
  };
}

function sendLimits({ messagesPerSecond, burst, messages, bytes }: AgentLimits) {
  const limits: Pick<AgentStart, 'rate' | 'quota'> = {};
  if (messagesPerSecond !== undefined) {
    limits.rate = { perSecond: messagesPerSecond, ...(burst !== undefined && { burst }) };
  }
  if (messages !== undefined || bytes !== undefined) {
    limits.quota = {
      ...(messages !== undefined && { messages }),
      ...(bytes !== undefined && { bytes }),
    };
  }
  return limits;
}

// With what the system said, where it did: the code alone helps nobody who reads a log.
function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
