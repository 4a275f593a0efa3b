import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release } from 'node:os';
import { fabricTransport, fileIpcTransport, type Run, type Transport } from './peers.js';

export interface Result {
  name: string;
  unit: 'messages/s' | 'us';
  median: number;
  p99: number;
  /** How many figures median and p99 are of: runs of a rate, single round trips of a time. */
  runs: number;
  sent: number;
  /** Messages that never arrived, of all runs. Ours is 0, or the bench fails. */
  lost: number;
}

export interface ComparedRatio {
  name: string;
  against: string;
  /** Ours over the rival's, run by run; the median. */
  ratio: number;
}

export interface Comparison {
  results: Result[];
  ratios: ComparedRatio[];
  /** What could not be measured here, and why. */
  leftOut: string[];
}

export interface ComparePlan {
  fileIpc: boolean;
  runs: number;
  scale: number;
  say(line: string): void;
}

interface Contender {
  name: string;
  transport: Transport;
  /** Messages of a run: what takes about a second. */
  count: number;
}

interface Workload {
  name: string;
  unit: Result['unit'];
  run(contender: Contender, count: number): Promise<Run>;
  counts: { fabric: number; fileD: number; fileA: number };
}

const workloads: Workload[] = [
  {
    name: 'one way, 64 B',
    unit: 'messages/s',
    run: ({ transport }, count) => transport.oneWay(count, 64),
    counts: { fabric: 1_000_000, fileD: 10_000, fileA: 20 },
  },
  {
    name: 'there and back, 1 KiB',
    unit: 'us',
    run: ({ transport }, count) => transport.roundTrip(count, 1024),
    counts: { fabric: 10_000, fileD: 1000, fileA: 5 },
  },
];

/** Ours and the rivals by turns, so that what else the machine does meets all of them. */
export async function compare(plan: ComparePlan): Promise<Comparison> {
  const comparison: Comparison = { results: [], ratios: [], leftOut: [] };
  const withBash = plan.fileIpc && hasShellTools(comparison);
  for (const { name, unit, run, counts } of workloads) {
    const contenders = contendersOf(counts, plan.fileIpc, withBash);
    const runs = new Map<Contender, Run[]>(contenders.map((contender) => [contender, []]));
    for (let i = 0; i < plan.runs; i += 1) {
      for (const contender of contenders) {
        plan.say(`${name}: ${contender.name}, ${i + 1} of ${plan.runs}`);
        const count = Math.max(2, Math.round(contender.count * plan.scale));
        runs.get(contender)?.push(await run(contender, count));
      }
    }
    const ours = runs.get(contenders[0] as Contender) ?? [];
    for (const [contender, theirs] of runs) {
      comparison.results.push(resultOf(`${contender.name}: ${name}`, unit, theirs));
      if (theirs === ours) continue;
      const ratios = ours.map((one, i) => medianOf(one) / medianOf(theirs[i] as Run));
      comparison.ratios.push({ name, against: contender.name, ratio: percentile(ratios, 50) });
    }
  }
  return comparison;
}

function contendersOf(
  { fabric, fileD, fileA }: Workload['counts'],
  fileIpc: boolean,
  withBash: boolean,
): Contender[] {
  const all: Contender[] = [{ name: 'cfc', transport: fabricTransport(), count: fabric }];
  if (fileIpc) {
    all.push({ name: 'file IPC D (Node)', transport: fileIpcTransport('D'), count: fileD });
  }
  if (withBash) {
    all.push({ name: 'file IPC A (bash)', transport: fileIpcTransport('A'), count: fileA });
  }
  return all;
}

function hasShellTools({ leftOut }: Comparison): boolean {
  const missing = ['bash', 'flock', 'find', 'sed'].filter(
    (tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).error !== undefined,
  );
  if (missing.length > 0) leftOut.push(`file IPC A (bash) is left out: no ${missing.join(', ')}`);
  return missing.length === 0;
}

function resultOf(name: string, unit: Result['unit'], runs: readonly Run[]): Result {
  const samples = runs.flatMap((run) => run.samples);
  const sum = (of: (run: Run) => number) => runs.reduce((total, run) => total + of(run), 0);
  return {
    name,
    unit,
    median: percentile(samples, 50),
    p99: percentile(samples, 99),
    runs: samples.length,
    sent: sum(({ sent }) => sent),
    lost: sum(({ lost }) => lost),
  };
}

const medianOf = ({ samples }: Run) => percentile(samples, 50);

function percentile(samples: readonly number[], percent: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const index = Math.min(sorted.length - 1, Math.floor((percent / 100) * sorted.length));
  return sorted[index] ?? Number.NaN;
}

export function describeMachine(): Record<string, string | number> {
  const manifest = new URL('../../../package.json', import.meta.url);
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    kernel: release(),
    node: process.version,
    cfc: (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version,
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  };
}
