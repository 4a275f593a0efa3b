import { check, childrenOf, isMeshedBelow, neighboursOf } from './check.js';
import { parse } from './parse.js';
import {
  type AgentOptions,
  type AgentPlan,
  cellsFor,
  defaultEnv,
  invalidTopology,
  leastCells,
  restartOf,
  type TopologyShape,
} from './plan.js';
import { checkRights, type Rights } from './rights.js';
import { topologySchema } from './schema.js';
import {
  countProblem,
  type FlatOptions,
  flatAgents,
  type HierarchicalOptions,
  type HybridOptions,
  hierarchyAgents,
  hybridAgents,
  type MeshOptions,
  meshAgents,
  type ShapeOptions,
} from './shapes.js';

/** Two agents that send to each other: one above the other, or side by side in a mesh. */
export interface Link {
  from: string;
  to: string;
  kind: 'child' | 'peer';
}

/** What a fabric for a topology has to hold. */
export interface TopologyCapacity {
  maxAgents: number;
  maxParticipants: number;
  mailboxCells: number;
}

const mostInMesh = 7;
const mostInHierarchy = 100;
const workersOfCoordinator = 100;
/** Names and participants beside the agents: people's verbs, observers. */
const visitors = 64;

/**
 * Which agents there are to be, and who stands below whom. Pure: nothing is started or opened here.
 *
 * ```ts
 * const topology = Topology.hybrid({ coordinators: 7, workersPerCoordinator: 100 });
 * topology.agents.length; // 708: a master, 7 coordinators, 700 workers
 * topology.route('worker-A-1', 'worker-C-9'); // by way of coord-A and coord-C
 * ```
 *
 * Who goes wrong here throws `ERR_CFC_TOPOLOGY_INVALID`; `details.problems` has all that is wrong,
 * for a file each with line and column.
 */
export class Topology {
  readonly shape: TopologyShape;
  /** The fabric's name; empty where none was given. */
  readonly fabric: string;
  /** What the agents of a role may do; undefined: everybody everything. */
  readonly rights: Rights | undefined;
  /** Parents before their children. */
  readonly agents: readonly AgentPlan[];
  readonly #byName: ReadonlyMap<string, AgentPlan>;
  readonly #children: ReadonlyMap<string, readonly string[]>;

  private constructor(
    shape: TopologyShape,
    fabric: string,
    wanted: readonly AgentOptions[],
    rights?: Rights,
  ) {
    const neighbours = neighboursOf(shape, wanted);
    const found = check(wanted, neighbours, 0);
    const roles = wanted.map(({ role = 'worker' }) => role);
    if (rights !== undefined) found.push(...checkRights(rights, roles));
    const problems = found.map(({ path, message }) => ({ line: 0, column: 0, path, message }));
    if (problems.length > 0) throw invalidTopology(problems);
    const children = childrenOf(wanted);
    const plans = wanted.map((agent, i) => planOf(agent, neighbours[i] as number));
    this.shape = shape;
    this.fabric = fabric;
    this.rights = rights;
    this.#byName = new Map(plans.map((plan) => [plan.name, plan]));
    this.#children = children;
    this.agents = parentsFirst(plans, children);
  }

  /**
   * Reads a file in YAML (JSON is YAML too); docs/topology.md says what may stand there.
   *
   * @throws {CfcError} `ERR_CFC_TOPOLOGY_INVALID`
   */
  static parse(yaml: string): Topology {
    const { shape, fabric, agents, rights } = parse(yaml);
    return new Topology(shape, fabric, agents, rights);
  }

  /** A master, and workers below it. */
  static flat(options: FlatOptions): Topology {
    return new Topology('flat', options.fabric ?? '', flatAgents(options), options.roles);
  }

  /** A tree of any depth: a master, coordinators, workers as its leaves. */
  static hierarchical(options: HierarchicalOptions): Topology {
    return new Topology(
      'hierarchical',
      options.fabric ?? '',
      hierarchyAgents(options),
      options.roles,
    );
  }

  /** Coordinators that are linked with each other, each above a team; a master above them. */
  static hybrid(options: HybridOptions): Topology {
    return new Topology('hybrid', options.fabric ?? '', hybridAgents(options), options.roles);
  }

  /** Everybody is linked with everybody. */
  static mesh(options: MeshOptions): Topology {
    return new Topology('mesh', options.fabric ?? '', meshAgents(options), options.roles);
  }

  /**
   * The shape for so many agents, master and coordinators included: a mesh up to 7, a hierarchy up
   * to 100, beyond that a hybrid with 50 to 100 workers a coordinator.
   */
  static choose(agents: number, options: ShapeOptions = {}): Topology {
    if (!(agents >= 1)) throw invalidTopology([countProblem('agents', agents)]);
    if (agents <= mostInMesh) return Topology.mesh({ ...options, workers: agents });
    if (agents > mostInHierarchy) {
      const coordinators = Math.ceil((agents - 1) / (workersOfCoordinator + 1));
      return Topology.hybrid({ ...options, coordinators, workers: agents - 1 - coordinators });
    }
    // As many below each coordinator as there are coordinators, and all together `agents`.
    const coordinators = Math.round(Math.sqrt(agents - 0.75) - 0.5);
    return Topology.hierarchical({ ...options, coordinators, workers: agents - 1 - coordinators });
  }

  /** JSON Schema of the file, for editors. */
  static jsonSchema(): Record<string, unknown> {
    return topologySchema();
  }

  agent(name: string): AgentPlan | undefined {
    return this.#byName.get(name);
  }

  /** Names of those below `name`; of the empty name: who has nobody above. */
  childrenOf(name: string): readonly string[] {
    return this.#children.get(name) ?? [];
  }

  /** Who stands beside `name` in a mesh: of a hybrid the other coordinators. */
  peersOf(name: string): readonly string[] {
    const plan = this.#byName.get(name);
    if (plan === undefined || !this.#meshed(plan.parent)) return [];
    return this.childrenOf(plan.parent).filter((other) => other !== name);
  }

  /** Every link once. */
  *links(): Generator<Link> {
    for (const { name, parent } of this.agents) {
      if (parent !== '') yield { from: parent, to: name, kind: 'child' };
    }
    for (const parent of ['', 'master']) {
      const side = this.#meshed(parent) ? this.childrenOf(parent) : [];
      for (const [i, from] of side.entries()) {
        for (const to of side.slice(i + 1)) yield { from, to, kind: 'peer' };
      }
    }
  }

  /**
   * The way from one agent to another along the links, both included: up to where the two branches
   * meet, across where they meet in a mesh, and down. Empty where there is none.
   */
  route(from: string, to: string): string[] {
    const up = this.#ancestors(from);
    const down = this.#ancestors(to);
    if (up.length === 0 || down.length === 0) return [];
    let common = 0;
    while (
      common < Math.min(up.length, down.length) &&
      up.at(-1 - common) === down.at(-1 - common)
    ) {
      common += 1;
    }
    const climbs = up.slice(0, up.length - common);
    const descends = down.slice(0, down.length - common).reverse();
    const meeting = up[up.length - common];
    const across = climbs.length > 0 && descends.length > 0 && this.#meshed(meeting ?? '');
    if (across) return [...climbs, ...descends];
    return meeting === undefined ? [] : [...climbs, meeting, ...descends];
  }

  /** For `Fabric.open`, with room for visitors. {@link Fabric.memoryFor} says what it costs. */
  capacity(): TopologyCapacity {
    return {
      maxAgents: this.agents.length + visitors,
      maxParticipants: Math.min(65_534, 2 * this.agents.length + visitors),
      mailboxCells: leastCells,
    };
  }

  toJSON(): Record<string, unknown> {
    const { fabric, shape: topology, agents, rights: roles } = this;
    return { fabric, topology, agents, ...(roles === undefined ? {} : { roles }) };
  }

  #meshed(parent: string): boolean {
    return isMeshedBelow(this.shape, parent);
  }

  // From the name itself to the top.
  #ancestors(name: string): string[] {
    const chain: string[] = [];
    for (let plan = this.#byName.get(name); plan !== undefined; ) {
      chain.push(plan.name);
      plan = this.#byName.get(plan.parent);
    }
    return chain;
  }
}

function planOf(agent: AgentOptions, neighbours: number): AgentPlan {
  const { name, role = 'worker', team = '', parent = '', command = [], env = defaultEnv } = agent;
  const mailboxCells = roundUp(agent.mailboxCells ?? cellsFor(neighbours));
  return {
    name,
    role,
    team,
    parent,
    command,
    env,
    restart: restartOf(agent.restart),
    mailboxCells,
    ready: agent.ready ?? 'started',
    limits: agent.limits ?? {},
  };
}

function roundUp(cells: number): number {
  let rounded = 8;
  while (rounded < cells) rounded *= 2;
  return rounded;
}

function parentsFirst(
  plans: readonly AgentPlan[],
  children: ReadonlyMap<string, readonly string[]>,
): AgentPlan[] {
  const byName = new Map(plans.map((plan) => [plan.name, plan]));
  const sorted: AgentPlan[] = [];
  const names = [...(children.get('') ?? [])].reverse();
  for (let name = names.pop(); name !== undefined; name = names.pop()) {
    sorted.push(byName.get(name) as AgentPlan);
    names.push(...[...(children.get(name) ?? [])].reverse());
  }
  return sorted;
}
