import { createRequire } from 'node:module';
import type * as yamlPackage from 'yaml';
import type { core } from 'zod';
import { CfcError } from '../errors.js';
import { check, type Finding, neighboursOf } from './check.js';
import { namePattern } from './names.js';
import {
  type AgentOptions,
  invalidTopology,
  type TopologyProblem,
  type TopologyShape,
} from './plan.js';
import { problemsOf } from './problems.js';
import { fileSchema, type TopologyFile } from './schema.js';
import {
  flatAgents,
  hierarchyAgents,
  hybridAgents,
  meshAgents,
  type ShapeOptions,
} from './shapes.js';

const require = createRequire(import.meta.url);

export interface ParsedTopology {
  shape: TopologyShape;
  fabric: string;
  agents: AgentOptions[];
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
    throw invalidTopology(file.locate(problemsOf(issues, file.value)));
  }
  const wanted = keyProblems(read.data);
  if (wanted.length > 0) throw invalidTopology(file.locate(wanted));
  const shape = read.data.topology ?? 'custom';
  const generated = file.blame(() => generate(read.data));
  const agents = [...generated, ...((read.data.agents ?? []) as AgentOptions[])];
  const findings = check(agents, neighboursOf(shape, agents), generated.length);
  if (findings.length > 0) throw invalidTopology(file.locate(findings));
  return { shape, fabric: read.data.fabric ?? '', agents };
}

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

/** A file whose values know where they stand. */
class SourceFile {
  /** What makes it no YAML. */
  readonly broken: readonly TopologyProblem[];
  readonly value: unknown;
  readonly #document: yamlPackage.Document.Parsed;
  readonly #lines: yamlPackage.LineCounter;
  readonly #yaml: typeof yamlPackage;

  constructor(text: string) {
    this.#yaml = require('yaml') as typeof yamlPackage;
    this.#lines = new this.#yaml.LineCounter();
    this.#document = this.#yaml.parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      strict: true,
    });
    const broken = [...this.#document.errors, ...this.#document.warnings].map(
      ({ message, pos }) => ({
        ...this.#at(pos[0]),
        path: '',
        message: message.split('\n')[0] as string,
      }),
    );
    this.value = broken.length === 0 ? this.#read(broken) : undefined;
    this.broken = broken;
  }

  /** With line and column: of a value; of what is missing, the thing that should have it. */
  locate(findings: readonly Finding[]): TopologyProblem[] {
    return findings
      .map(({ path, message, atKey = false }) => {
        return { ...this.#at(this.#offsetOf(path, atKey)), path, message };
      })
      .sort((a, b) => a.line - b.line || a.column - b.column);
  }

  /** Runs `make`, and gives its problems their places. */
  blame<T>(make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (!(error instanceof CfcError)) throw error;
      throw invalidTopology(this.locate(error.details.problems as TopologyProblem[]));
    }
  }

  // Aliases may blow up a small file: the package refuses more than a hundred.
  #read(broken: TopologyProblem[]): unknown {
    try {
      return this.#document.toJS() as unknown;
    } catch (error) {
      const place = this.#at(this.#danglingAlias() ?? 0);
      broken.push({ ...place, path: '', message: (error as Error).message });
      return undefined;
    }
  }

  #danglingAlias(): number | undefined {
    let offset: number | undefined;
    this.#yaml.visit(this.#document, {
      Alias: (_, alias) => {
        if (alias.resolve(this.#document) !== undefined) return undefined;
        offset = alias.range?.[0];
        return this.#yaml.visit.BREAK;
      },
    });
    return offset;
  }

  #at(offset: number): { line: number; column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }

  // As far down the path as there is something.
  #offsetOf(path: string, atKey: boolean): number {
    let node: unknown = this.#document.contents;
    let offset = this.#startOf(node) ?? 0;
    for (const step of path === '' ? [] : path.split('.')) {
      if (this.#yaml.isAlias(node)) node = node.resolve(this.#document);
      const pair = this.#yaml.isMap(node)
        ? node.items.find(({ key }) => this.#yaml.isScalar(key) && String(key.value) === step)
        : undefined;
      const item = this.#yaml.isSeq(node) ? node.items[Number(step)] : undefined;
      node = pair === undefined ? item : pair.value;
      const key = this.#startOf(pair?.key);
      const value = this.#startOf(pair?.value) ?? this.#startOf(item);
      const found = (atKey ? (key ?? value) : (value ?? key)) ?? undefined;
      if (found === undefined) break;
      offset = found;
    }
    return offset;
  }

  #startOf(node: unknown): number | undefined {
    return this.#yaml.isNode(node) ? node.range?.[0] : undefined;
  }
}
