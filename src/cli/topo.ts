import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CfcError, Fabric, type FabricProfile, Topology, type TopologyProblem } from '../index.js';
import { readBody } from './input.js';
import { jsonOption, parseCount, profileOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, warn, writeJson, writeOut } from './terminal.js';
import { stripLine } from './text.js';
import { drawTree } from './topo-tree.js';

type Shape = 'flat' | 'hierarchical' | 'hybrid' | 'mesh';

interface TopoFlags {
  topology?: Shape;
  agents?: number;
  coordinators?: number;
  fanOut?: number[];
  profile: FabricProfile;
  schema?: boolean;
  full?: boolean;
  json?: boolean;
}

export function topoVerb(): Command {
  return verb('topo', 'check a topology and draw it')
    .argument('[file]', 'a file in YAML; - reads it from stdin')
    .addOption(
      new Option('--topology <shape>', 'instead of a file (default: by the number)').choices([
        'flat',
        'hierarchical',
        'hybrid',
        'mesh',
      ]),
    )
    .option('--agents <n>', 'how many, master and coordinators included', parseCount(1, 65_000))
    .option('--coordinators <n>', 'of a hybrid', parseCount(1, 65_000))
    .option('--fan-out <list>', 'of a hierarchy: 3,4,10 from the top', parseFanOut)
    .addOption(profileOption('of the fabric whose memory is computed'))
    .option('--full', 'draw every agent, however many')
    .option('--schema', 'print the JSON Schema of the file, for editors')
    .addOption(jsonOption())
    .action(topo);
}

async function topo(file: string | undefined, flags: TopoFlags): Promise<void> {
  if (flags.schema) {
    await writeOut(`${JSON.stringify(Topology.jsonSchema(), null, 2)}\n`);
    return;
  }
  const topology = await makeTopology(file, flags);
  const { profile } = flags;
  const memory = Fabric.memoryFor(topology, { profile });
  const { shape, fabric, agents, rights } = topology;
  if (flags.json) {
    const links = [...topology.links()];
    const capacity = topology.capacity();
    const plan = { v: 1, fabric, topology: shape, agents, links, capacity, memory };
    await writeJson({ ...plan, roles: rights ?? null });
    return;
  }
  await writeOut(drawTree(topology, flags.full ?? false));
  const roles = new Map<string, number>();
  for (const { role } of agents) roles.set(role, (roles.get(role) ?? 0) + 1);
  const counts = [...roles].map(([role, count]) => `${count} ${stripLine(role)}`).join(', ');
  await writeOut(
    `\n${shape}: ${agents.length} agents (${counts}); ${megabytes(memory.totalBytes)} of shared memory\n`,
  );
  if (fabric !== '') say(`its fabric is ${fabric}`);
}

/** Flags and the environment go before the file, and the file before the default. */
export function fabricOf(
  { fabric }: Topology,
  flags: { fabric: string },
  command: Command,
): string {
  const given = command.getOptionValueSource('fabric') !== 'default';
  return given || fabric === '' ? flags.fabric : fabric;
}

async function makeTopology(file: string | undefined, flags: TopoFlags): Promise<Topology> {
  const { agents, topology: shape, coordinators, fanOut } = flags;
  if (file !== undefined) {
    if (agents ?? shape ?? coordinators ?? fanOut) {
      throw new Outcome(exitCodes.usage, 'a file says it all: leave the other options out');
    }
    return await readTopology(file);
  }
  if (shape === 'hierarchical' && fanOut !== undefined && agents === undefined) {
    return Topology.hierarchical({ fanOut });
  }
  if (agents === undefined || fanOut !== undefined) {
    throw new Outcome(
      exitCodes.usage,
      'there is neither a file nor a number of agents',
      'cfc topo fabric.yaml, or cfc topo --agents 300',
    );
  }
  if (coordinators !== undefined && shape !== 'hybrid') {
    throw new Outcome(exitCodes.usage, '--coordinators is for --topology hybrid');
  }
  return shaped(shape, agents, coordinators);
}

function shaped(shape: Shape | undefined, agents: number, wanted: number | undefined): Topology {
  if (shape === undefined) return Topology.choose(agents);
  if (shape === 'mesh') return Topology.mesh({ workers: agents });
  if (shape === 'flat') return Topology.flat({ workers: agents - 1 });
  if (shape === 'hybrid') {
    const coordinators = wanted ?? Math.max(1, Math.ceil((agents - 1) / 101));
    return Topology.hybrid({ coordinators, workers: agents - 1 - coordinators });
  }
  // So many coordinators and workers that all of them together are `agents`.
  const coordinators = Math.max(1, Math.round(Math.sqrt(Math.max(0, agents - 0.75)) - 0.5));
  return Topology.hierarchical({ workers: agents - 1 - coordinators, coordinators });
}

/**
 * @throws {Outcome} usage, where the file cannot be read; failed, where it is not valid: each
 *   problem is on stderr then, as FILE:LINE:COLUMN
 */
export async function readTopology(file: string): Promise<Topology> {
  return parseTopology(file, await readTopologyText(file));
}

/** @throws {Outcome} failed, where it is not valid; `file` is what the problems are said of */
export function parseTopology(file: string, text: string): Topology {
  try {
    return Topology.parse(text);
  } catch (error) {
    if (!(error instanceof CfcError) || error.code !== 'ERR_CFC_TOPOLOGY_INVALID') throw error;
    const problems = error.details.problems as TopologyProblem[];
    const name = file === '-' ? 'stdin' : file;
    for (const { line, column, message } of problems) {
      warn(`${name}:${line}:${column}: ${stripLine(message)}\n`);
    }
    const some = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
    throw new Outcome(
      exitCodes.failed,
      `${name} has ${some} (${error.code})`,
      'cfc topo --schema prints what may stand there, for your editor',
    );
  }
}

/** @throws {Outcome} usage, where it cannot be read */
export async function readTopologyText(file: string): Promise<string> {
  const bytes = file === '-' ? await readBody() : readBytes(file);
  return typeof bytes === 'string' ? bytes : new TextDecoder().decode(bytes);
}

function readBytes(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Outcome(exitCodes.usage, `${file} cannot be read: ${(error as Error).message}`);
  }
}

function parseFanOut(text: string): number[] {
  const levels = text.split(',').map(Number);
  if (levels.every((one) => Number.isInteger(one) && one >= 1)) return levels;
  throw new InvalidArgumentError('It is a list of whole numbers from 1, such as 3,4,10.');
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
