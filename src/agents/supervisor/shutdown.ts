import type { NativeAgentRecord } from '../../core/native.js';
import type { Region } from '../../core/region.js';
import { hasShim, isPaused } from './host.js';
import { isShimOf, shimsOf } from './shims.js';

export interface ShutdownOptions {
  /** For all of it: draining, and ending those that do not end by themselves. */
  timeoutMs: number;
  /** From TERM to KILL. */
  graceMs: number;
  /** Agents that count as inside, besides those that a shim stands over. */
  insiders: readonly string[];
  /** Who does this, and is not among those left. */
  self: string;
  /** The fabric's name and the folder it is in, by which its shims are known. */
  fabric: string;
  dir: string;
  /** Pids of shims that are being started: not all are known by their arguments yet. */
  starting: () => readonly number[];
  /** Told once nothing more is accepted from outside. */
  onDraining?: ((names: readonly string[]) => void) | undefined;
  /** Asks for an end by TERM, and after the grace by KILL, of the whole tree. */
  stop(names: readonly string[], graceMs: number): void;
}

export interface ShutdownReport {
  /** Agents that were stopped. */
  stopped: string[];
  /** Of them, those that had to be killed. */
  killed: string[];
  /** Who lives on: processes that joined by themselves, and are not ours to end. */
  left: string[];
  /** True where every mailbox inside was empty before anybody was stopped. */
  drained: boolean;
  /** Who has messages that nobody read, and how many. */
  undelivered: { agent: string; messages: number }[];
  /** accepted = acked + queued + deadLettered + dropped */
  ledger: {
    accepted: number;
    acked: number;
    queued: number;
    deadLettered: number;
    dropped: number;
  };
  durationMs: number;
}

const lookEveryMs = 10;
/** Of the time there is, at least so much is left for ending processes. */
const leastEndingShare = 0.25;
/** How long a shim may take from its start to its name; then it is taken for stuck, and killed. */
const startMs = 2_000;
/** By SIGKILL, as the exit code of a command tells it. */
const killedCode = 137;

/**
 * Takes a fabric down in good order: nothing more is accepted from outside, what was accepted is
 * worked off, and then everybody is stopped, those below first. What nobody read stays queued and
 * is reported: nothing is dropped here.
 *
 * Works by what the directory says alone, so it needs neither the file nor the supervisor that
 * started them. Who was being started when it began is waited for; nobody may start agents meanwhile.
 */
export async function shutDown(region: Region, options: ShutdownOptions): Promise<ShutdownReport> {
  const { timeoutMs, graceMs, insiders, self, onDraining, stop } = options;
  const look = () => region.agents({ probe: false });
  const beganMs = performance.now();
  const endsMs = beganMs + timeoutMs;
  const isInside = (agent: NativeAgentRecord) => hasShim(agent) || insiders.includes(agent.name);
  const gateInside = () => {
    const inside = look().filter(isInside);
    for (const { name } of inside) region.gate(name, true);
    return inside.map(({ name }) => name);
  };
  gateInside(); // in this very turn: whoever sends after the call is refused
  await untilStarted(region, options);
  onDraining?.(gateInside());

  const endingMs = Math.max(timeoutMs * leastEndingShare, Math.min(timeoutMs, graceMs));
  const drainUntilMs = Math.max(beganMs, endsMs - endingMs);
  const drained = await until(() => isQuiet(region), drainUntilMs);

  const stopped: string[] = [];
  for (const level of levelsFromBelow(look().filter(hasShim))) {
    const living = level.filter(({ alive }) => alive).map(({ name }) => name);
    if (living.length === 0) continue;
    stopped.push(...living);
    const leftMs = Math.max(0, endsMs - performance.now());
    stop(living, Math.min(graceMs, leftMs));
    // The last look is the kernel's: a tree that was killed is gone once it is reaped.
    const gone = () => living.every((name) => region.agent(name)?.alive !== true);
    await until(gone, Math.max(endsMs, performance.now() + graceMs));
    // What they said in leaving is for those above.
    if (drained) await until(() => isQuiet(region), Math.min(endsMs, performance.now() + graceMs));
  }
  region.sweep();
  const agents = look();
  const { acked, queued, deadLettered, dropped } = region.census();
  return {
    stopped,
    killed: agents
      .filter(({ name, exitCode }) => exitCode === killedCode && stopped.includes(name))
      .map(({ name }) => name),
    left: agents.filter(({ alive, name }) => alive && name !== self).map(({ name }) => name),
    drained,
    // Not `depth`: a place in a lane that a dead process left empty holds no message.
    undelivered: agents
      .map(({ name, waiting, leased }) => ({ agent: name, messages: waiting + leased }))
      .filter(({ messages }) => messages > 0),
    ledger: {
      accepted: acked + queued + deadLettered + dropped,
      ...{ acked, queued, deadLettered, dropped },
    },
    durationMs: performance.now() - beganMs,
  };
}

/**
 * Waits until every shim is in the directory, or gone: one that a supervisor started a moment ago,
 * and was killed or told to stop, would come up behind our back and stay.
 */
async function untilStarted(region: Region, options: ShutdownOptions): Promise<void> {
  const { fabric, dir, starting } = options;
  const unknown = (pids: number[]) => {
    const agents = region.agents({ probe: false });
    const known = new Set(agents.filter(({ alive }) => alive).map(({ pid }) => pid));
    return pids.filter((pid) => !known.has(pid) && isShimOf(pid, fabric, dir));
  };
  let found = unknown(shimsOf(fabric, dir));
  await until(() => {
    found = unknown(found);
    return found.length === 0 && starting().length === 0;
  }, performance.now() + startMs);
  for (const pid of new Set([...found, ...starting()])) killProcess(pid);
}

function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/** Whether anything waits for somebody inside who could still read it. */
function isQuiet(region: Region): boolean {
  return region
    .agents({ probe: false })
    .every((agent) => !agent.gated || !agent.alive || isPaused(agent) || agent.depth === 0);
}

/** Leaves first. By what the directory says of parents; in a circle, all at once. */
export function levelsFromBelow<T extends { name: string; parent: string }>(
  agents: readonly T[],
): T[][] {
  const byName = new Map(agents.map((agent) => [agent.name, agent]));
  const depthOf = (agent: T): number => {
    let depth = 0;
    for (let one: T | undefined = agent; one !== undefined && depth <= agents.length; depth += 1) {
      one = byName.get(one.parent);
    }
    return depth;
  };
  const levels = new Map<number, T[]>();
  for (const agent of agents) {
    const depth = depthOf(agent);
    levels.set(depth, [...(levels.get(depth) ?? []), agent]);
  }
  return [...levels].sort(([a], [b]) => b - a).map(([, level]) => level);
}

async function until(is: () => boolean, endsMs: number): Promise<boolean> {
  while (!is()) {
    if (performance.now() >= endsMs) return false;
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
  return true;
}
