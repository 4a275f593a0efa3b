import type { AgentPlan } from '../../topology/plan.js';
import type { Topology } from '../../topology/topology.js';
import type { SupervisionEvent, SupervisionEventName } from './events.js';
import { restartedWith, successorOf } from './order.js';
import { isToRestart, RestartHistory, type Verdict } from './restart.js';

/** An agent as the fabric shows it. */
export interface Seen {
  alive: boolean;
  ready: boolean;
  pid: number;
  /** Of its last life, once that is over and known. */
  exitCode: number | null;
  parent: string;
  /** Messages that are not acked yet. */
  depth: number;
  paused: boolean;
  /** Somebody asked for its end, of this life. */
  stopWanted: boolean;
  /** How long ago it joined, and when it last did something. */
  ageMs: number;
  idleMs: number;
}

/** What the decisions are made for; the clock too, so that a test can turn it. */
export interface Host {
  /** Monotonic. */
  nowMs(): number;
  random(): number;
  /** @returns what calls it off */
  after(delayMs: number, run: () => void): () => void;
  look(name: string): Seen | undefined;
  /** Names whose parent this is, by what the fabric says. */
  childrenOf(name: string): string[];
  /** Starts all of them; who could not be has an error instead of a pid. */
  start(plans: readonly AgentPlan[]): readonly { pid: number; error?: unknown }[];
  stop(names: readonly string[]): void;
  /** From now on {@link Supervision.ended} is to be told of the end of this process. */
  watch(name: string, pid: number): void;
  reparent(name: string, parent: string): void;
  /** What waits for `name`, and whatever comes, goes to whom {@link Supervision.heirOf} names. */
  standInFor(name: string): void;
  tell(event: Omit<SupervisionEvent, 'at'>): void;
}

/**
 * `absent`: started by others, and not there. `waiting`: to be started. `stopping`: to be started
 * again with others. `ended`: stays so. `replaced`: another one has its team and its mailbox.
 */
export type Phase =
  | 'absent'
  | 'waiting'
  | 'starting'
  | 'running'
  | 'stopping'
  | 'ended'
  | 'replaced';

interface Life {
  readonly plan: AgentPlan;
  readonly history: RestartHistory;
  phase: Phase;
  pid: number;
  startedMs: number;
  /** Whom it is below now: another than planned after a failover. */
  parent: string;
  round: Round | undefined;
  heir: string | undefined;
  stuck: boolean;
  /** Its end was asked for by us. */
  stopped: 'no' | 'to-restart' | 'for-good';
}

/** Some that are stopped and then started together. */
interface Round {
  names: Set<string>;
  /** Who has not ended yet. */
  pending: Set<string>;
  due: boolean;
  cancel(): void;
}

export interface SupervisionOptions {
  /** Messages wait for so long and nothing is done: it is said once. */
  noProgressMs: number;
  /** What is done about it besides. */
  onNoProgress: 'report' | 'restart';
}

/**
 * The decisions of a supervisor: who is started, started again, given up, replaced. Everything that
 * it does goes through its host, so this can be run by a test with a clock of its own.
 */
export class Supervision {
  readonly #topology: Topology;
  readonly #host: Host;
  readonly #options: SupervisionOptions;
  readonly #lives = new Map<string, Life>();
  #halted = false;

  constructor(topology: Topology, host: Host, options: SupervisionOptions) {
    this.#topology = topology;
    this.#host = host;
    this.#options = options;
    for (const plan of topology.agents) {
      const history = new RestartHistory(plan.restart, () => host.random());
      this.#lives.set(plan.name, {
        ...{ plan, history, phase: 'waiting', pid: 0, startedMs: 0, parent: plan.parent },
        ...{ round: undefined, heir: undefined, stuck: false, stopped: 'no' },
      });
    }
  }

  phaseOf(name: string): Phase | undefined {
    return this.#lives.get(name)?.phase;
  }

  parentOf(name: string): string {
    return this.#lives.get(name)?.parent ?? '';
  }

  named(...phases: Phase[]): string[] {
    return [...this.#lives.values()]
      .filter(({ phase }) => phases.includes(phase))
      .map(({ plan }) => plan.name);
  }

  /** Whoever has the mailbox of `name` by now; itself where nobody took over from it. */
  heirOf(name: string): string {
    let heir = name;
    // As many steps as there are names: who takes over may have to be replaced in its turn.
    for (let steps = 0; steps < this.#lives.size; steps += 1) {
      const next = this.#lives.get(heir)?.heir;
      if (next === undefined) break;
      heir = next;
    }
    return heir;
  }

  /**
   * Takes in who lives already, and starts none of them again. Who ended before, in a way that calls
   * for no restart, stays ended.
   */
  adopt(): void {
    for (const life of this.#lives.values()) {
      const { plan } = life;
      const seen = this.#host.look(plan.name);
      if (seen?.alive) {
        this.#take(life, seen);
        this.#tell('adopted', life, { pid: seen.pid });
      } else if (plan.command.length === 0) {
        life.phase = 'absent';
      } else if (seen !== undefined && seen.exitCode !== null) {
        if (!isToRestart(plan.restart.when, seen)) life.phase = 'ended';
      }
    }
    for (const life of this.#lives.values()) this.#putBack(life);
  }

  /** Starts those of these that wait for it. */
  start(names: readonly string[]): void {
    const lives = names.map((name) => this.#lives.get(name) as Life);
    this.#launch(
      lives.filter(({ phase }) => phase === 'waiting'),
      'spawned',
    );
  }

  /** Looks who has become ready. @returns who of these is not, and may still be */
  awaited(names: readonly string[]): string[] {
    return names.filter((name) => {
      const life = this.#lives.get(name) as Life;
      if (life.phase === 'starting') this.#becomeReady(life, this.#host.look(name));
      return life.phase === 'starting' || life.phase === 'waiting' || life.phase === 'stopping';
    });
  }

  /** The process that {@link Host.watch} was told of for `name` has ended. */
  ended(name: string): void {
    const life = this.#lives.get(name);
    if (life === undefined || life.phase === 'ended' || life.phase === 'replaced') return;
    const seen = this.#host.look(name);
    if (seen?.alive) {
      // Somebody took the name over at once, by hand: that is as good.
      this.#take(life, seen);
      return;
    }
    const exitCode = seen?.exitCode ?? null;
    const pid = life.pid;
    life.pid = 0;
    this.#tell('exited', life, { pid, exitCode });
    if (this.#halted) {
      life.phase = 'ended';
    } else if (life.round?.pending.delete(name)) {
      life.phase = 'waiting';
      this.#proceed(life.round);
    } else if (life.plan.command.length === 0) {
      life.phase = 'absent';
    } else if (life.stopped === 'for-good' || (seen?.stopWanted && life.stopped === 'no')) {
      life.phase = 'ended'; // somebody stopped it, and means it
    } else {
      // Who ends well because we asked has not done its work for that.
      this.#judge(life, life.stopped === 'no' ? exitCode : null);
    }
  }

  /**
   * Once in a while: who recovered, who does nothing, who is gone without a word or came from
   * elsewhere.
   */
  tick(): void {
    for (const life of this.#lives.values()) {
      const { name } = life.plan;
      const living = life.phase === 'running' || life.phase === 'starting';
      if (!living && life.phase !== 'stopping' && life.phase !== 'absent') continue;
      const seen = this.#host.look(name);
      if (life.phase === 'absent') {
        if (!seen?.alive) continue;
        this.#take(life, seen);
        this.#tell('adopted', life, { pid: seen.pid });
        continue;
      }
      if (!seen?.alive) {
        // A process that was just started has not joined yet; its end is told by its pid.
        if (life.phase !== 'starting') this.ended(name);
        continue;
      }
      if (life.phase === 'starting') this.#becomeReady(life, seen);
      if (life.history.recovered(life.startedMs, this.#host.nowMs())) this.#tell('recovered', life);
      this.#watchProgress(life, seen);
    }
  }

  /** Stops it, so that it is started again as after a failure. */
  kick(name: string): void {
    this.#stop(name, 'to-restart');
  }

  /** Stops it, and it is not started again, whatever its policy says. */
  giveUp(name: string): void {
    this.#stop(name, 'for-good');
  }

  /** Nobody is started any more. */
  halt(): void {
    this.#halted = true;
    for (const life of this.#lives.values()) {
      life.round?.cancel();
      life.round = undefined;
      if (life.phase === 'waiting') life.phase = 'ended';
      if (life.phase === 'stopping') life.phase = 'running';
    }
  }

  #stop(name: string, stopped: Life['stopped']): void {
    const life = this.#lives.get(name);
    if (life !== undefined) life.stopped = stopped;
    this.#host.stop([name]);
  }

  #judge(life: Life, exitCode: number | null): void {
    const verdict = life.history.ended({ exitCode }, life.startedMs, this.#host.nowMs());
    if (verdict.kind === 'stays') {
      life.phase = 'ended';
      // Who has done its work needs nobody to go on with it.
      if (verdict.failed) this.#failOver(life, 'it is not to be restarted');
    } else if (verdict.kind === 'restart') {
      this.#begin(restartedWith(this.#topology, life.plan.name), verdict.delayMs);
    } else {
      this.#crashed(life, verdict);
    }
  }

  #crashed(life: Life, { entered, delayMs }: Verdict & { kind: 'crash-loop' }): void {
    const { name, restart } = life.plan;
    if (entered) {
      // Its inbox stays as it is: messages wait for the life that does not end at once.
      const depth = this.#host.look(name)?.depth ?? 0;
      this.#tell('crash-loop', life, { delayMs, depth });
    }
    if (this.#failOver(life, 'crash-loop')) return;
    if (restart.onCrashLoop === 'give-up') {
      life.phase = 'ended';
    } else if (restart.onCrashLoop === 'escalate' && this.#escalate(life)) {
      return;
    } else {
      this.#begin(restartedWith(this.#topology, name), delayMs);
    }
  }

  // The one above counts as having failed, and everybody below it is started again with it.
  #escalate(life: Life): boolean {
    const above = this.#lives.get(life.parent);
    if (above === undefined || above.plan.command.length === 0) return false;
    if (above.phase === 'ended' || above.phase === 'replaced') return false;
    const verdict = above.history.ended({ exitCode: null }, above.startedMs, this.#host.nowMs());
    if (verdict.kind === 'stays') return false;
    this.#tell('escalated', above, { reason: life.plan.name });
    if (verdict.kind === 'crash-loop') {
      if (verdict.entered) this.#tell('crash-loop', above, { delayMs: verdict.delayMs });
      if (above.plan.restart.onCrashLoop === 'escalate' && this.#escalate(above)) return true;
    }
    const names = new Set(restartedWith(this.#topology, above.plan.name));
    for (const name of names) for (const child of this.#below(name)) names.add(child);
    for (const name of this.#below(above.plan.name)) this.#lives.get(name)?.history.forget();
    this.#begin([...names], verdict.delayMs);
    return true;
  }

  #below(name: string): string[] {
    return [...this.#lives.values()]
      .filter(({ parent }) => parent === name)
      .map((l) => l.plan.name);
  }

  #begin(names: readonly string[], delayMs: number): void {
    const round: Round = { names: new Set(), pending: new Set(), due: false, cancel: () => {} };
    const join = (name: string) => {
      const life = this.#lives.get(name) as Life;
      const { phase, round: other } = life;
      const fixed = phase === 'ended' || phase === 'replaced' || phase === 'absent';
      if (round.names.has(name) || fixed || life.plan.command.length === 0) return;
      round.names.add(name);
      life.round = round;
      if (life.pid !== 0) round.pending.add(name);
      life.phase = life.pid === 0 ? 'waiting' : 'stopping';
      // Those that were to be started together with it still are, and now with all of these.
      if (other === undefined || other === round) return;
      other.cancel();
      for (const companion of other.names) join(companion);
    };
    const already = new Set(names.filter((name) => this.#lives.get(name)?.phase === 'stopping'));
    for (const name of names) join(name);
    round.cancel = this.#host.after(delayMs, () => {
      round.due = true;
      this.#proceed(round);
    });
    const toStop = [...round.pending].filter((name) => !already.has(name));
    if (toStop.length > 0) this.#host.stop(toStop);
  }

  #proceed(round: Round): void {
    if (!round.due || round.pending.size > 0) return;
    const lives = this.#topology.agents
      .filter(({ name }) => round.names.has(name))
      .map(({ name }) => this.#lives.get(name) as Life);
    for (const life of lives) life.round = undefined;
    this.#launch(lives, 'restarted');
  }

  #launch(lives: readonly Life[], event: SupervisionEventName): void {
    if (lives.length === 0 || this.#halted) return;
    const plans = lives.map(({ plan, parent }) => ({ ...plan, parent }));
    const results = this.#host.start(plans);
    const failed: Life[] = [];
    lives.forEach((life, i) => {
      const { pid, error } = results[i] as { pid: number; error?: unknown };
      life.startedMs = this.#host.nowMs();
      life.stuck = false;
      life.stopped = 'no';
      life.phase = 'starting';
      life.pid = pid;
      if (error === undefined) {
        this.#tell(event, life, { pid });
        this.#host.watch(life.plan.name, pid);
      } else {
        const reason = error instanceof Error ? error.message : String(error);
        this.#tell('start-failed', life, { reason });
        failed.push(life);
      }
    });
    for (const life of failed) this.#judge(life, null);
  }

  #take(life: Life, seen: Seen): void {
    life.phase = seen.ready ? 'running' : 'starting';
    life.pid = seen.pid;
    life.parent = seen.parent;
    life.startedMs = this.#host.nowMs() - seen.ageMs;
    life.stuck = false;
    this.#host.watch(life.plan.name, seen.pid);
  }

  // Who was put below another one, while the one above is there again or about to be.
  #putBack(life: Life): void {
    const { plan } = life;
    if (life.parent === plan.parent) return;
    const above = this.#lives.get(plan.parent);
    if (above?.phase === 'ended' || above?.phase === 'absent') return;
    this.#host.reparent(plan.name, plan.parent);
    life.parent = plan.parent;
  }

  #becomeReady(life: Life, seen: Seen | undefined): void {
    if (!seen?.alive || !seen.ready) return;
    life.phase = 'running';
    this.#tell('ready', life, { pid: seen.pid });
  }

  #failOver(life: Life, reason: string): boolean {
    const { name } = life.plan;
    const successor = successorOf(this.#topology, name, (other) => ({
      alive: this.#host.look(other)?.alive === true && this.#lives.get(other)?.heir === undefined,
      children: this.#host.childrenOf(other).length,
    }));
    if (successor === undefined) return false;
    life.phase = 'replaced';
    life.heir = successor;
    const team = new Set([...this.#below(name), ...this.#host.childrenOf(name)]);
    for (const member of team) {
      const known = this.#lives.get(member);
      if (known !== undefined) known.parent = successor;
      this.#host.reparent(member, successor);
    }
    this.#tell('failover', life, { successor, moved: team.size, reason });
    this.#host.standInFor(name);
    return true;
  }

  #watchProgress(life: Life, seen: Seen): void {
    const stuck = seen.depth > 0 && !seen.paused && seen.idleMs > this.#options.noProgressMs;
    const since = this.#host.nowMs() - life.startedMs;
    if (!stuck || since <= this.#options.noProgressMs) {
      life.stuck = false;
      return;
    }
    if (life.stuck) return;
    life.stuck = true;
    this.#tell('no-progress', life, { pid: seen.pid, depth: seen.depth });
    if (this.#options.onNoProgress === 'restart') this.kick(life.plan.name);
  }

  #tell(event: SupervisionEventName, { plan }: Life, more: Partial<SupervisionEvent> = {}): void {
    this.#host.tell({ event, agent: plan.name, ...more });
  }
}
