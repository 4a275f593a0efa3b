import type { core } from 'zod';
import { problemsOf } from '../errors/schema-words.js';
import { type Finding, SourceFile } from '../errors/source-file.js';
import { CfcError } from '../errors.js';
import { check, neighboursOf } from './check.js';
import { namePattern } from './names.js';
import {
  type AgentOptions,
  invalidTopology,
  type TopologyProblem,
  type TopologyShape,
} from './plan.js';
import { checkRights, type Rights } from './rights.js';
import { fileSchema, keysAt, type TopologyFile } from './schema.js';
import {
  flatAgents,
  hierarchyAgents,
  hybridAgents,
  meshAgents,
  type ShapeOptions,
} from './shapes.js';

export interface ParsedTopology {
  shape: TopologyShape;
  fabric: string;
  agents: AgentOptions[];
  rights: Rights | undefined;
}

/**
 * Reads a file: YAML, then what may stand there, then what belongs together. All that is wrong is
 * said at once, as far as the earlier stage lets one look.
 *
 * @throws {CfcError} `ERR_CFC_TOPOLOGY_INVALID` with `details.problems`
 */
export function parse(text: string): ParsedTopology {
  const file = new SourceFile(text);
  if (file.broken.length > 0) throw invalidTopology(file.broken);
  const read = fileSchema().safeParse(file.value);
  if (!read.success) {
    const issues = read.error.issues as core.$ZodIssue[];
    throw invalidTopology(
      file.locate(problemsOf(issues, file.value, { whole: 'a topology', keysAt })),
    );
  }
  const wanted = keyProblems(read.data);
  if (wanted.length > 0) throw invalidTopology(file.locate(wanted));
  const shape = read.data.topology ?? 'custom';
  const generated = blame(file, () => generate(read.data));
  const agents = [...generated, ...((read.data.agents ?? []) as AgentOptions[])];
  const findings = check(agents, neighboursOf(shape, agents), generated.length);
  if (findings.length > 0) throw invalidTopology(file.locate(findings));
  const rights = read.data.roles as Rights | undefined;
  const roles = checkRights(rights ?? {}, rolesOf(agents));
  if (roles.length > 0) throw invalidTopology(file.locate(roles));
  return { shape, fabric: read.data.fabric ?? '', agents, rights };
}

const rolesOf = (agents: readonly AgentOptions[]) => agents.map(({ role = 'worker' }) => role);

type Key = 'workers' | 'coordinators' | 'workersPerCoordinator' | 'fanOut';

/** What each shape needs and may have: one set of them. */
const keysOf: Readonly<Record<TopologyShape, readonly (readonly Key[])[]>> = {
  flat: [['workers']],
  mesh: [['workers']],
  hierarchical: [['workers'], ['coordinators', 'workers'], ['fanOut']],
  hybrid: [
    ['coordinators', 'workersPerCoordinator'],
    ['coordinators', 'workers'],
  ],
  custom: [[]],
};
const allKeys: readonly Key[] = ['workers', 'coordinators', 'workersPerCoordinator', 'fanOut'];

function keyProblems(file: TopologyFile): Finding[] {
  const { fabric, topology: shape = 'custom' } = file;
  const findings: Finding[] = [];
  if (fabric !== undefined && !namePattern.test(fabric)) {
    const message = `${fabric} is no name: up to 64 of A-Z a-z 0-9 _ -, the first a letter or digit`;
    findings.push({ path: 'fabric', message });
  }
  const sets = keysOf[shape];
  const given = allKeys.filter((key) => file[key] !== undefined);
  for (const key of given) {
    if (sets.some((set) => set.includes(key))) continue;
    const message =
      shape === 'custom'
        ? `${key} needs a topology: flat, hierarchical, hybrid or mesh`
        : `a ${shape} topology has no ${key}`;
    findings.push({ path: key, message });
  }
  if (findings.length > 0 || sets.some((set) => sameKeys(set, given))) return findings;
  const wanted = sets.map((set) => set.join(' and ')).join(', or ');
  if (shape === 'custom') return findings;
  const more = sets.some((set) => set.every((key) => given.includes(key)));
  const path = more ? (given.at(-1) as string) : 'topology';
  const also = given.length === 0 ? '' : `, not ${given.join(' and ')}`;
  return [{ path, message: `a ${shape} topology has ${wanted}${also}` }];
}

const sameKeys = (set: readonly Key[], given: readonly Key[]) =>
  set.length === given.length && set.every((key) => given.includes(key));

function generate(file: TopologyFile): AgentOptions[] {
  const { topology, workers = 0, coordinators = 0, workersPerCoordinator, fanOut } = file;
  const options = { master: file.master, coordinator: file.coordinator, worker: file.worker };
  const rest = options as ShapeOptions;
  if (topology === 'flat') return flatAgents({ ...rest, workers });
  if (topology === 'mesh') return meshAgents({ ...rest, workers });
  if (topology === 'hierarchical') {
    if (fanOut !== undefined) return hierarchyAgents({ ...rest, fanOut });
    return hierarchyAgents({ ...rest, workers, ...(coordinators > 0 ? { coordinators } : {}) });
  }
  if (topology !== 'hybrid') return [];
  return hybridAgents(
    workersPerCoordinator === undefined
      ? { ...rest, coordinators, workers }
      : { ...rest, coordinators, workersPerCoordinator },
  );
}

/** Runs `make`, and gives its problems their places. */
function blame<T>(file: SourceFile, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof CfcError)) throw error;
    throw invalidTopology(file.locate(error.details.problems as TopologyProblem[]));
  }
}
