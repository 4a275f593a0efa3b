import type { SupervisionEvent } from '../../../../src/agents/supervisor/events.js';
import {
  type Host,
  type Seen,
  Supervision,
  type SupervisionOptions,
} from '../../../../src/agents/supervisor/supervision.js';
import { Topology } from '../../../../src/topology/topology.js';

interface FakeProcess {
  name: string;
  alive: boolean;
  ready: boolean;
  exitCode: number | null;
  parent: string;
  depth: number;
  idleMs: number;
  startedMs: number;
}

/** Processes that are words, and a clock that a test turns. */
export class FakeHost implements Host {
  now = 1_000_000;
  readonly told: Omit<SupervisionEvent, 'at'>[] = [];
  /** By pid. */
  readonly processes = new Map<number, FakeProcess>();
  readonly standIns: string[] = [];
  /** Names whose start fails. */
  readonly broken = new Set<string>();
  readonly stopWanted = new Set<string>();
  /** Whether a stop ends a process at once. */
  obedient = true;
  readonly supervision: Supervision;
  #timers: { at: number; run: () => void }[] = [];
  #nextPid = 100;

  constructor(yaml: string, options: Partial<SupervisionOptions> = {}) {
    this.supervision = new Supervision(Topology.parse(yaml), this, {
      noProgressMs: 30_000,
      onNoProgress: 'report',
      ...options,
    });
  }

  /** Adopts whoever is there, starts the others, and has all of them ready. */
  begin(): void {
    this.supervision.adopt();
    this.supervision.start(this.supervision.named('waiting'));
    this.supervision.awaited(this.supervision.named('starting'));
    this.told.length = 0;
  }

  /** Somebody who was there before. */
  put(name: string, more: Partial<FakeProcess> = {}): number {
    const pid = this.#nextPid++;
    const fresh = { alive: true, ready: true, exitCode: null, parent: '', depth: 0, idleMs: 0 };
    this.processes.set(pid, { name, ...fresh, startedMs: this.now, ...more });
    return pid;
  }

  /** The last process of that name. */
  of(name: string): FakeProcess {
    const found = [...this.processes.values()].findLast((one) => one.name === name);
    if (found === undefined) throw new Error(`${name} never was`);
    return found;
  }

  end(name: string, exitCode: number | null = 137): void {
    Object.assign(this.of(name), { alive: false, exitCode });
    this.supervision.ended(name);
  }

  /** Turns the clock, and runs what is due on the way. */
  pass(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      this.#timers.sort((a, b) => a.at - b.at);
      const next = this.#timers[0];
      if (next === undefined || next.at > until) break;
      this.#timers.shift();
      this.now = Math.max(this.now, next.at);
      next.run();
      this.supervision.awaited(this.supervision.named('starting'));
    }
    this.now = until;
  }

  /** What was told since the last look, as `event agent`. */
  heard(): string[] {
    return this.told.splice(0).map(({ event, agent }) => `${event} ${agent}`);
  }

  get living(): string[] {
    return [...this.processes.values()]
      .filter(({ alive }) => alive)
      .map(({ name }) => name)
      .sort();
  }

  nowMs(): number {
    return this.now;
  }

  random(): number {
    return 1;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { at: this.now + delayMs, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }

  look(name: string): Seen | undefined {
    const pid = [...this.processes.keys()].findLast(
      (one) => this.processes.get(one)?.name === name,
    );
    if (pid === undefined) return undefined;
    const { startedMs, ...process } = this.processes.get(pid) as FakeProcess;
    return {
      ...process,
      pid,
      paused: false,
      stopWanted: this.stopWanted.has(name),
      ageMs: this.now - startedMs,
    };
  }

  childrenOf(name: string): string[] {
    return [...this.processes.values()]
      .filter(({ alive, parent }) => alive && parent === name)
      .map((one) => one.name);
  }

  start(plans: readonly { name: string; parent: string }[]): { pid: number; error?: unknown }[] {
    return plans.map(({ name, parent }) => {
      if (this.broken.has(name)) return { pid: 0, error: new Error('no such program') };
      return { pid: this.put(name, { parent }) };
    });
  }

  stop(names: readonly string[]): void {
    if (this.obedient) for (const name of names) this.end(name, 143);
  }

  watch(): void {}

  reparent(name: string, parent: string): void {
    for (const one of this.processes.values()) if (one.name === name) one.parent = parent;
  }

  standInFor(name: string): void {
    this.standIns.push(name);
  }

  tell(event: Omit<SupervisionEvent, 'at'>): void {
    this.told.push(event);
  }
}
