import { option } from '../config/index.js';
import { metricKinds } from '../core/counters.js';
import {
  AgentFact,
  livenessNames,
  type NativeAgentRecord,
  native,
  TableColumn,
  TableText,
} from '../core/native.js';
import type { AgentRows, Region } from '../core/region.js';
import { type AgentState, agentStates } from './agent.js';

/**
 * Alive; stalled: stopped by a signal, a debugger or a freezer; busy: its event loop has not turned
 * for 5 s; dead, proven by the kernel; or left: nobody holds the name, messages wait for one.
 */
export type Liveness = 'alive' | 'stalled' | 'busy' | 'dead' | 'left';
export type Health = 'healthy' | 'degraded' | 'unhealthy' | 'unknown';

export interface AgentSnapshot {
  name: string;
  role: string;
  team: string;
  parent: string;
  /** What the agent says of itself. */
  state: AgentState;
  liveness: Liveness;
  /**
   * Degraded above 500 queued or 80 % of the mailbox, and where messages wait and nothing was done
   * for 30 s (but for the paused): the options `health`; or when busy, or stalled but not paused;
   * unhealthy when dead; unknown when left.
   */
  health: Health;
  /** Of who holds the name: its shim, where it has one. */
  pid: number;
  /** Of the command that its shim started. */
  commandPid: number | undefined;
  /** 128 + signal where one ended it; null while it runs, and where nobody started it for us. */
  exitCode: number | null;
  /** It can take work: it said so, or it is up and has no way to say so. */
  ready: boolean;
  /** What its program last said by `sd_notify`; cut to 48 bytes. */
  statusText: string;
  /** Messages that are not acked yet. */
  depth: number;
  /** Messages that the mailbox holds, both lanes. */
  capacity: number;
  /** Of `depth`, those that a reader has. */
  leased: number;
  /** How often another process took the name over. */
  restarts: number;
  /** When it last received, acked or beat. */
  lastProgressAt: Date;
  joinedAt: Date;
  /** Its counters and gauges by name; histograms are read by `Region.readHistogram`. */
  counters: Readonly<Record<string, number>>;
}

/** True of who is neither dead nor gone, whatever holds it up. */
export function isLiving(liveness: Liveness): boolean {
  return liveness !== 'dead' && liveness !== 'left';
}

/**
 * Every agent at one moment, a row each; it does not change. What is asked of a row is read off the
 * table then, so that who wants little of many pays for little.
 *
 * ```ts
 * const table = fabric.table();
 * for (let row = 0; row < table.length; row += 1) {
 *   if (table.depth(row) > 100) console.log(table.name(row), table.counter(row, 'messages.sent'));
 * }
 * ```
 */
export class AgentTable implements Iterable<AgentSnapshot> {
  readonly length: number;
  readonly #rows: AgentRows;
  readonly #metrics: ReadonlyMap<string, number>;
  readonly #limits = healthLimits();
  readonly #takenAtMs = Date.now();

  /** @internal `fabric.table()` makes them */
  constructor(region: Region, probe: boolean, rowsExpected: number) {
    const metrics = region.metrics().filter(({ kind }) => metricKinds[kind] !== 'histogram');
    this.#metrics = new Map(metrics.map(({ name, index }) => [name, index]));
    const most = metrics.reduce((least, { index }) => Math.max(least, index + 1), 0);
    this.#rows = region.table(probe, most, rowsExpected);
    this.length = this.#rows.rows;
  }

  name(row: number): string {
    return this.#text(row, TableText.name);
  }

  role(row: number): string {
    return this.#text(row, TableText.role);
  }

  team(row: number): string {
    return this.#text(row, TableText.team);
  }

  parent(row: number): string {
    return this.#text(row, TableText.parent);
  }

  state(row: number): AgentState {
    return agentStates[this.#value(row, TableColumn.state)] ?? 'spawned';
  }

  liveness(row: number): Liveness {
    return livenessNames[this.#value(row, TableColumn.liveness)] ?? 'left';
  }

  health(row: number): Health {
    return healthOf(
      this.liveness(row),
      {
        depth: this.depth(row),
        capacity: this.capacity(row),
        state: this.#value(row, TableColumn.state),
        lastProgressAtMs: this.lastProgressAtMs(row),
      },
      this.#takenAtMs,
      this.#limits,
    );
  }

  pid(row: number): number {
    return this.#value(row, TableColumn.pid);
  }

  depth(row: number): number {
    return this.#value(row, TableColumn.depth);
  }

  capacity(row: number): number {
    return this.#value(row, TableColumn.capacity);
  }

  lastProgressAtMs(row: number): number {
    return this.#value(row, TableColumn.progressAtMs);
  }

  /** @returns what it counted, or what a gauge is; 0 where there is no such metric */
  counter(row: number, name: string): number {
    const index = this.#metrics.get(name);
    return index === undefined ? 0 : this.#value(row, native.constants.tableColumns + index);
  }

  /**
   * All of a row.
   *
   * @param metrics of its counters these alone: all of them are most of the work
   */
  at(row: number, metrics: Iterable<string> = this.#metrics.keys()): AgentSnapshot {
    const liveness = this.liveness(row);
    const counters: Record<string, number> = {};
    if (this.#value(row, TableColumn.counted) === 1) {
      for (const name of metrics) counters[name] = this.counter(row, name);
    }
    const exitCode = this.#value(row, TableColumn.exitCode);
    const facts = this.#value(row, TableColumn.facts);
    return {
      name: this.name(row),
      role: this.role(row),
      team: this.team(row),
      parent: this.parent(row),
      state: this.state(row),
      liveness,
      health: this.health(row),
      pid: this.pid(row),
      commandPid: this.#value(row, TableColumn.commandPid) || undefined,
      exitCode: exitCode < 0 ? null : exitCode,
      ready: (facts & (AgentFact.shim | AgentFact.ready)) !== AgentFact.shim,
      statusText: this.#text(row, TableText.status),
      depth: this.depth(row),
      capacity: this.capacity(row),
      leased: this.#value(row, TableColumn.leased),
      restarts: this.#value(row, TableColumn.restarts),
      lastProgressAt: new Date(this.lastProgressAtMs(row)),
      joinedAt: new Date(this.#value(row, TableColumn.joinedAtMs)),
      counters,
    };
  }

  *[Symbol.iterator](): Generator<AgentSnapshot> {
    for (let row = 0; row < this.length; row += 1) yield this.at(row);
  }

  #value(row: number, column: number): number {
    const { rows, width, values } = this.#rows;
    if (!(row >= 0 && row < rows)) throw new RangeError(`no row ${row} of ${rows}`);
    return values[row * width + column] as number;
  }

  #text(row: number, nth: number): string {
    const { rows, texts } = this.#rows;
    if (!(row >= 0 && row < rows)) throw new RangeError(`no row ${row} of ${rows}`);
    const { tableTexts, tableTextBytes } = native.constants;
    const from = (row * tableTexts + nth) * tableTextBytes + 1;
    const bytes = texts[from - 1] as number;
    return bytes === 0 ? '' : texts.toString('utf8', from, from + bytes);
  }
}

function healthLimits() {
  return {
    degradedDepth: option('health.degradedDepth'),
    degradedPct: option('health.degradedPct'),
    staleMs: option('health.staleMs'),
  };
}

/** @internal exported for its test */
export function healthOf(
  liveness: Liveness,
  {
    depth,
    capacity,
    state,
    lastProgressAtMs,
  }: Pick<NativeAgentRecord, 'depth' | 'capacity' | 'state' | 'lastProgressAtMs'>,
  nowMs = Date.now(),
  { degradedDepth, degradedPct, staleMs } = healthLimits(),
): Health {
  if (liveness === 'left') return 'unknown';
  if (liveness === 'dead') return 'unhealthy';
  if (depth > Math.min(degradedDepth, (degradedPct / 100) * capacity)) return 'degraded';
  if (liveness === 'busy') return 'degraded';
  if (liveness === 'stalled' && agentStates[state] !== 'paused') return 'degraded';
  // Who has nothing to do makes no progress, and is well.
  const idle = depth === 0 || agentStates[state] === 'paused';
  return !idle && nowMs - lastProgressAtMs > staleMs ? 'degraded' : 'healthy';
}
