import type { PeerSample } from './crew.js';
import { type Counts, type Ledger, lengthOf, type Run, type SoakOptions } from './record.js';
import { type Judged, type Judgement, judgeFlat, judgeGrowth, type Point } from './statistics.js';

const version = 1;
const dayMs = 8 * 3_600_000;

/** What the eight hours of a busy fabric hold of what makes things grow. */
const dayOf: Readonly<Record<keyof Counts, number>> = {
  accepted: 28_800_000, // a thousand messages a second
  acked: 28_800_000,
  large: 288_000, // ten bodies a second that do not fit into a cell
  joins: 28_800, // one a second
  attaches: 2880, // a process each ten seconds
  subscribes: 28_800,
  published: 288_000,
  restarts: 480, // a crash a minute
  samples: 960, // a look each 30 s, as alerts take
};

export interface Driver {
  driver: string;
  count: number;
  inEightHours: number;
  ratio: number;
}

export interface SoakReport {
  v: 1;
  startedAt: string;
  /** Of all runs together. */
  durationMs: number;
  runs: { at: string; durationMs: number; samples: number; finished: boolean }[];
  options: SoakOptions;
  ledger: Ledger;
  census: Record<string, number>;
  /** By role, then by what was measured; `fabric` is no process. */
  series: Record<string, Record<string, Judged>>;
  verdict: Judgement;
  /** Why it is not a pass. */
  because: string[];
  drivers: Driver[];
  /** Of each run, each process: columns and rows. */
  raw: { columns: string[]; runs: { run: number; process: string; rows: (number | null)[][] }[] };
}

type Measure = 'heapBytes' | 'anonymousBytes' | 'descriptors' | 'threads' | 'mappings' | 'p99Us';
const measures: readonly Measure[] = [
  ...(['heapBytes', 'anonymousBytes', 'descriptors', 'threads', 'mappings', 'p99Us'] as const),
];
const flatMeasures: readonly string[] = ['descriptors', 'threads', 'slots'];
const fabricMeasures = ['regionBytes', 'slots', 'names', 'mailboxes', 'chunks'] as const;
const canaryRole = 'canary';

/** The role of a process: its name without its number. */
export const roleOf = (process: string): string => process.replace(/-\d+$/, '');

/** Everything that the samples say. */
export function makeReport(options: SoakOptions, runs: readonly Run[]): SoakReport {
  const warm = runs.map((run) => run.samples.filter(({ atMs }) => atMs >= options.warmUpMs));
  const series: SoakReport['series'] = {};
  const processes = [...new Set(runs.flatMap((run) => Object.keys(run.samples[0]?.peers ?? {})))];
  for (const role of [...new Set(processes.map(roleOf))]) {
    const members = processes.filter((process) => roleOf(process) === role);
    const judged: Record<string, Judged> = {};
    for (const measure of measures) {
      // Each process of a role is a run of its own: their levels differ.
      const points = members.flatMap((process) =>
        warm.map((samples) =>
          samples.flatMap(({ atMs, peers }): Point[] => {
            const value = peers[process]?.[measure] ?? null;
            return value === null ? [] : [{ atMs, value }];
          }),
        ),
      );
      if (points.every((run) => run.length === 0)) continue;
      judged[measure] = judge(measure, points, options.horizonMs);
    }
    series[role] = judged;
  }
  const ofFabric: Record<string, Judged> = {};
  for (const measure of fabricMeasures) {
    const points = warm.map((samples) =>
      samples.map(({ atMs, fabric }): Point => ({ atMs, value: fabric[measure] })),
    );
    ofFabric[measure] = judge(measure, points, options.horizonMs);
  }
  series.fabric = ofFabric;
  const ledger = ledgerOf(runs);
  const durationMs = runs.reduce((sum, run) => sum + lengthOf(run), 0);
  return {
    v: version,
    startedAt: runs[0]?.at ?? '',
    durationMs,
    runs: runs.map((run) => ({
      at: run.at,
      durationMs: lengthOf(run),
      samples: run.samples.length,
      finished: run.end !== undefined,
    })),
    options,
    ledger,
    census: runs.at(-1)?.end?.census ?? {},
    series,
    ...verdictOf(series, ledger, runs),
    drivers: driversOf(runs),
    raw: rawOf(runs, processes),
  };
}

function judge(measure: string, points: readonly Point[][], horizonMs: number): Judged {
  return flatMeasures.includes(measure) ? judgeFlat(points) : judgeGrowth(points, horizonMs);
}

/** @internal exported for its test */
export function verdictOf(
  series: SoakReport['series'],
  ledger: Ledger,
  runs: readonly Pick<Run, 'end'>[],
): { verdict: Judgement; because: string[] } {
  const failed: string[] = [];
  const unclear: string[] = [];
  for (const [role, judged] of Object.entries(series)) {
    if (role === canaryRole) continue;
    for (const [measure, { verdict }] of Object.entries(judged)) {
      if (verdict === 'fail') failed.push(`${role} ${measure}`);
      if (verdict === 'inconclusive') unclear.push(`${role} ${measure} says nothing for certain`);
    }
  }
  if (ledger.difference !== 0) failed.push(`ledger: ${ledger.difference}`);
  if (series[canaryRole]?.heapBytes?.verdict !== 'fail') {
    unclear.push('the gate did not find the leak of the canary');
  }
  if (runs.some((run) => run.end === undefined)) unclear.push('a run was cut off: no ledger of it');
  const verdict = failed.length > 0 ? 'fail' : unclear.length > 0 ? 'inconclusive' : 'pass';
  return { verdict, because: [...failed, ...unclear] };
}

function ledgerOf(runs: readonly Run[]): Ledger {
  const sum = { accepted: 0, acked: 0, queued: 0, dropped: 0, deadLettered: 0, difference: 0 };
  for (const { end } of runs) {
    for (const key of Object.keys(sum) as (keyof Ledger)[]) sum[key] += end?.ledger[key] ?? 0;
  }
  return sum;
}

function driversOf(runs: readonly Run[]): Driver[] {
  return (Object.keys(dayOf) as (keyof Counts)[]).map((driver) => {
    const count = runs.reduce((sum, run) => {
      return sum + ((run.end ?? run.samples.at(-1))?.counts[driver] ?? 0);
    }, 0);
    return { driver, count, inEightHours: dayOf[driver], ratio: count / dayOf[driver] };
  });
}

function rawOf(runs: readonly Run[], processes: readonly string[]): SoakReport['raw'] {
  const rows = runs.flatMap((run, i) =>
    processes.map((process) => ({
      run: i,
      process,
      rows: run.samples.map(({ atMs, peers }) => {
        const sample = peers[process] as PeerSample | undefined;
        return [Math.round(atMs), ...measures.map((measure) => round(sample?.[measure] ?? null))];
      }),
    })),
  );
  const ofFabric = runs.map((run, i) => ({
    run: i,
    process: 'fabric',
    rows: run.samples.map(({ atMs, fabric }) => [
      Math.round(atMs),
      ...fabricMeasures.map((measure) => fabric[measure]),
    ]),
  }));
  const columns = ['atMs', ...measures, `of fabric: ${fabricMeasures.join(', ')}`];
  return { columns, runs: [...rows, ...ofFabric] };
}

const round = (value: number | null) => (value === null ? null : Math.round(value));

export const eightHoursMs = dayMs;
