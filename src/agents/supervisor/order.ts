import type { AgentPlan } from '../../topology/plan.js';
import type { Topology } from '../../topology/topology.js';

// Who is started when, who is restarted with whom, and who takes over from whom. Pure.

/** Those of a topology level by level: everybody after the one above. Levels with nobody are left out. */
export function startLevels(topology: Topology): AgentPlan[][] {
  const depths = new Map<string, number>();
  const levels: AgentPlan[][] = [];
  for (const plan of topology.agents) {
    const depth = plan.parent === '' ? 0 : (depths.get(plan.parent) ?? 0) + 1;
    depths.set(plan.name, depth);
    levels[depth] ??= [];
    levels[depth].push(plan);
  }
  return levels;
}

/**
 * Who is stopped and started again when `name` ends: itself, and by its strategy all with the same
 * parent, or those of them that are listed after it. In the order in which they are to be started.
 */
export function restartedWith(topology: Topology, name: string): string[] {
  const plan = topology.agent(name);
  if (plan === undefined || plan.restart.strategy === 'one-for-one') return [name];
  const siblings = topology.childrenOf(plan.parent);
  const from = plan.restart.strategy === 'one-for-all' ? 0 : siblings.indexOf(name);
  return siblings.slice(from);
}

/** What a choice of a successor looks at. */
export interface Candidate {
  alive: boolean;
  /** How many it has below it. */
  children: number;
}

/**
 * Who takes over the team of a coordinator that does not come back: of the living ones beside it
 * with the same role the one with the fewest below it, else the living one above. An agent with
 * nobody below it has no successor.
 */
export function successorOf(
  topology: Topology,
  name: string,
  look: (name: string) => Candidate,
): string | undefined {
  const plan = topology.agent(name);
  if (plan === undefined || topology.childrenOf(name).length === 0) return undefined;
  let best: string | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (const other of topology.childrenOf(plan.parent)) {
    if (other === name || topology.agent(other)?.role !== plan.role) continue;
    const { alive, children } = look(other);
    if (!alive || children >= fewest) continue;
    best = other;
    fewest = children;
  }
  if (best !== undefined || plan.parent === '') return best;
  return look(plan.parent).alive ? plan.parent : undefined;
}
