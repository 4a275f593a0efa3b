import type { ActiveAlert, AgentSnapshot, Census, WatchStatus } from '../../index.js';

/** What one look at a fabric found. */
export interface Look {
  fabric: string;
  path: string;
  sharedBytes: number;
  /** Of their counters those of {@link ratedMetrics}. */
  agents: AgentSnapshot[];
  census: Census;
  /** What the watch of alerts says, and whether it lives. */
  alerts: { watch: WatchStatus; firing: ActiveAlert[] };
  /** What supervisors published since the look before. */
  published: TopEvent[];
}

/** An agent, and what it did a second since the look before. */
export interface Row {
  agent: AgentSnapshot;
  sent: number;
  received: number;
  acked: number;
  redelivered: number;
  /** Its place among all names, numbers in them compared as numbers. */
  rank: number;
}

export type Mood = 'good' | 'bad' | 'plain';

/** Something that happened between two looks. */
export interface TopEvent {
  at: Date;
  agent: string;
  what: string;
  mood: Mood;
}

/** An agent that somebody should look at. */
export interface Trouble {
  agent: string;
  what: string;
  mood: Mood;
}

export interface Team {
  name: string;
  agents: number;
  alive: number;
  unwell: number;
  depth: number;
  leased: number;
  sent: number;
  acked: number;
}

/** Everything that a screen shows, but for one agent's details. */
export interface Frame {
  at: Date;
  /** Since the look before; 0 for the first, which has no rates. */
  spanMs: number;
  look: Look;
  rows: Row[];
  teams: Team[];
  events: readonly TopEvent[];
  troubles: Trouble[];
  perSecond: { sent: number; received: number; acked: number; redelivered: number };
}

interface Before {
  agent: AgentSnapshot;
  seen: number;
}

const eventsKept = 1000;
const counted = {
  sent: 'messages.sent',
  received: 'messages.received',
  acked: 'messages.acked',
  redelivered: 'messages.redelivered',
} as const;
/** What rates are made of. */
export const ratedMetrics: readonly string[] = Object.values(counted);
const byName = new Intl.Collator('en', { numeric: true });

/** Makes frames of looks: rates and events are what changed between two of them. */
export class FrameMaker {
  readonly #before = new Map<string, Before>();
  readonly #events: TopEvent[] = [];
  #ranks = new Map<string, number>();
  #atMs: number | undefined;
  #turn = 0;

  /** @param nowMs since 1970 */
  make(look: Look, nowMs: number): Frame {
    const spanMs = this.#atMs === undefined ? 0 : Math.max(1, nowMs - this.#atMs);
    const at = new Date(nowMs);
    this.#turn += 1;
    this.#rank(look.agents);
    for (const event of look.published) this.#tell(event);
    const perSecond = { sent: 0, received: 0, acked: 0, redelivered: 0 };
    const rows = look.agents.map((agent) => {
      const before = this.#before.get(agent.name);
      const row: Row = { agent, ...rates(agent, before?.agent, spanMs), rank: 0 };
      row.rank = this.#ranks.get(agent.name) ?? 0;
      perSecond.sent += row.sent;
      perSecond.received += row.received;
      perSecond.acked += row.acked;
      perSecond.redelivered += row.redelivered;
      if (spanMs > 0) this.#compare(agent, before?.agent, at);
      this.#before.set(agent.name, { agent, seen: this.#turn });
      return row;
    });
    for (const [name, { seen }] of this.#before) {
      if (seen === this.#turn) continue;
      this.#before.delete(name);
      this.#tell({ at, agent: name, what: 'is gone', mood: 'plain' });
    }
    this.#atMs = nowMs;
    const troubles = troublesOf(look.agents);
    return {
      ...{ at, spanMs, look, rows, teams: teamsOf(rows) },
      ...{ events: [...this.#events], troubles, perSecond },
    };
  }

  /** Something that is not to be seen in the agents. */
  note(event: TopEvent): void {
    this.#tell(event);
  }

  #rank(agents: readonly AgentSnapshot[]): void {
    if (agents.length === this.#ranks.size && agents.every(({ name }) => this.#ranks.has(name))) {
      return;
    }
    const names = agents.map(({ name }) => name).sort(byName.compare);
    this.#ranks = new Map(names.map((name, i) => [name, i]));
  }

  #compare(now: AgentSnapshot, before: AgentSnapshot | undefined, at: Date): void {
    const tell = (what: string, mood: Mood) => this.#tell({ at, agent: now.name, what, mood });
    if (before === undefined) {
      tell('has joined', 'good');
      return;
    }
    if (now.restarts > before.restarts) tell(`was restarted, life ${now.restarts + 1}`, 'plain');
    if (now.liveness !== before.liveness) {
      if (now.liveness === 'dead') tell('has died', 'bad');
      else if (now.liveness === 'left') tell('has left', 'plain');
      else tell(`is ${now.liveness}`, 'good');
    }
    if (now.state !== before.state) {
      tell(`${before.state} -> ${now.state}`, now.state === 'failed' ? 'bad' : 'plain');
    }
    if (now.health === before.health || now.liveness !== before.liveness) return;
    tell(`${before.health} -> ${now.health}`, now.health === 'healthy' ? 'good' : 'bad');
  }

  #tell(event: TopEvent): void {
    this.#events.push(event);
    if (this.#events.length > eventsKept) this.#events.shift();
  }
}

function rates(now: AgentSnapshot, before: AgentSnapshot | undefined, spanMs: number) {
  const rate = (counter: string) => {
    if (spanMs === 0) return 0;
    const value = now.counters[counter] ?? 0;
    const old = before?.counters[counter] ?? 0;
    // A new holder of the name counts from 0.
    return ((value >= old ? value - old : value) * 1000) / spanMs;
  };
  return {
    sent: rate(counted.sent),
    received: rate(counted.received),
    acked: rate(counted.acked),
    redelivered: rate(counted.redelivered),
  };
}

function teamsOf(rows: readonly Row[]): Team[] {
  const teams = new Map<string, Team>();
  for (const { agent, sent, acked } of rows) {
    let team = teams.get(agent.team);
    if (team === undefined) {
      const none = { agents: 0, alive: 0, unwell: 0, depth: 0, leased: 0, sent: 0, acked: 0 };
      team = { name: agent.team, ...none };
      teams.set(agent.team, team);
    }
    team.agents += 1;
    if (agent.liveness !== 'dead' && agent.liveness !== 'left') team.alive += 1;
    if (isUnwell(agent)) team.unwell += 1;
    team.depth += agent.depth;
    team.leased += agent.leased;
    team.sent += sent;
    team.acked += acked;
  }
  return [...teams.values()].sort((a, b) => byName.compare(a.name, b.name));
}

/** Who left is nobody's worry, unless messages wait for a successor. */
export function isUnwell({ health, depth }: AgentSnapshot): boolean {
  return health === 'unhealthy' || health === 'degraded' || (health === 'unknown' && depth > 0);
}

function troublesOf(agents: readonly AgentSnapshot[]): Trouble[] {
  const bad: Trouble[] = [];
  const worrying: Trouble[] = [];
  for (const agent of agents) {
    if (!isUnwell(agent)) continue;
    const { name, health, liveness, depth, capacity } = agent;
    if (health === 'unhealthy') bad.push({ agent: name, what: liveness, mood: 'bad' });
    else if (health === 'unknown') {
      worrying.push({ agent: name, what: `left, ${depth} wait`, mood: 'plain' });
    } else worrying.push({ agent: name, what: `degraded, ${depth}/${capacity}`, mood: 'plain' });
  }
  return [...bad, ...worrying];
}
