import { letters } from './names.js';
import {
  type AgentOptions,
  invalidTopology,
  mostAgents,
  type RoleOptions,
  type TopologyProblem,
} from './plan.js';
import type { Rights } from './rights.js';

/** What every shape takes. */
export interface ShapeOptions {
  /** The fabric's name. */
  fabric?: string;
  master?: RoleOptions;
  /** Of everybody between the master and the workers. */
  coordinator?: RoleOptions;
  worker?: RoleOptions;
  /** What the agents of a role may do. Default: everybody everything. */
  roles?: Rights;
}

export interface FlatOptions extends ShapeOptions {
  workers: number;
}

export interface MeshOptions extends ShapeOptions {
  /** Everybody: a mesh has neither master nor coordinators. */
  workers: number;
}

export interface HierarchicalOptions extends ShapeOptions {
  /** Spread over coordinators. Instead of `fanOut`. */
  workers?: number;
  /** With `workers`. Default: as many as each has workers, or nearly. */
  coordinators?: number;
  /** From the top: how many the master has, how many each of those has, … the last are workers. */
  fanOut?: readonly number[];
}

export interface HybridOptions extends ShapeOptions {
  coordinators: number;
  /** Or, as `fanOut` of a hierarchy, what stands below each coordinator. */
  workersPerCoordinator?: number | readonly number[];
  /** In all, spread evenly. Instead of `workersPerCoordinator`. */
  workers?: number;
}

export function hierarchyAgents(options: HierarchicalOptions): AgentOptions[] {
  const { workers, coordinators, fanOut, ...rest } = options;
  if (fanOut !== undefined) {
    assertCounts('fanOut', fanOut);
    const [first = 0, ...below] = fanOut;
    if (below.length === 0) return flatAgents({ ...rest, workers: first }); // a tree of one level
    return treeAgents(repeat(below, first), rest);
  }
  assertCounts('workers', workers);
  const count = coordinators ?? Math.max(1, Math.round(Math.sqrt(workers as number)));
  return spreadTeams(workers as number, count, rest);
}

export function hybridAgents(options: HybridOptions): AgentOptions[] {
  const { coordinators, workersPerCoordinator: each, workers, ...rest } = options;
  assertCounts('coordinators', coordinators);
  if (each !== undefined) {
    assertCounts('workersPerCoordinator', each);
    return treeAgents(repeat(typeof each === 'number' ? [each] : each, coordinators), rest);
  }
  assertCounts('workers', workers);
  return spreadTeams(workers as number, coordinators, rest);
}

function spreadTeams(workers: number, coordinators: number, rest: ShapeOptions): AgentOptions[] {
  assertCounts('coordinators', coordinators);
  if (workers < coordinators) {
    const message = `${workers} workers are fewer than ${coordinators} coordinators`;
    throw invalidTopology([{ line: 0, column: 0, path: 'workers', message }]);
  }
  const each = Math.floor(workers / coordinators);
  const teams = Array.from({ length: coordinators }, (_, i) => [
    each + (i < workers % coordinators ? 1 : 0),
  ]);
  return treeAgents(teams, rest);
}

const repeat = <T>(value: T, count: number): T[] => Array.from({ length: count }, () => value);

function assertCounts(path: string, value: number | readonly number[] | undefined): void {
  const counts = typeof value === 'object' ? value : [value];
  const whole = counts.every((one) => Number.isInteger(one) && (one as number) >= 1);
  const product = counts.reduce<number>((total, one) => total * (one as number), 1);
  if (counts.length > 0 && whole && product <= mostAgents) return;
  throw invalidTopology([countProblem(path, value)]);
}

export function countProblem(path: string, value: unknown): TopologyProblem {
  const message = `${path} counts agents: whole numbers from 1, ${mostAgents} in all at most, not ${JSON.stringify(value)}`;
  return { line: 0, column: 0, path, message };
}

export function flatAgents({ workers, ...options }: FlatOptions): AgentOptions[] {
  assertCounts('workers', workers);
  const master: AgentOptions = { ...options.master, name: 'master', role: 'master' };
  return [master, ...numbered(workers, 'worker', { ...options.worker, parent: 'master' })];
}

export function meshAgents({ workers, ...options }: MeshOptions): AgentOptions[] {
  assertCounts('workers', workers);
  return numbered(workers, 'worker', { ...options.worker });
}

/** @param teams what stands below each coordinator, level by level; the last are workers */
export function treeAgents(
  teams: readonly (readonly number[])[],
  options: ShapeOptions,
): AgentOptions[] {
  const agents: AgentOptions[] = [{ ...options.master, name: 'master', role: 'master' }];
  teams.forEach((levels, i) => {
    const team = letters(i);
    grow(agents, { path: team, team, parent: 'master', levels }, options);
  });
  return agents;
}

interface Branch {
  /** `A-2`: of the second below coordinator A. */
  path: string;
  team: string;
  parent: string;
  levels: readonly number[];
}

// A branch without levels is a worker.
function grow(agents: AgentOptions[], branch: Branch, options: ShapeOptions): void {
  const { path, team, parent, levels } = branch;
  const [count, ...below] = levels;
  const role = count === undefined ? 'worker' : 'coordinator';
  const name = count === undefined ? `worker-${path}` : `coord-${path}`;
  agents.push({ ...options[role], name, role, team, parent });
  for (let n = 1; n <= (count ?? 0); n += 1) {
    grow(agents, { path: `${path}-${n}`, team, parent: name, levels: below }, options);
  }
}

function numbered(
  count: number,
  role: string,
  options: Omit<AgentOptions, 'name' | 'role'>,
): AgentOptions[] {
  return Array.from({ length: count }, (_, i) => ({ ...options, name: `${role}-${i + 1}`, role }));
}
