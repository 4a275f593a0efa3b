import { fabricNames, roleOf } from './cast.js';
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
  asks: 28_800, // a question a second
  beats: 288_000, // ten agents, each once a second
  joins: 28_800, // one a second
  attaches: 2880, // a process each ten seconds
  subscribes: 28_800,
  published: 144_000, // five a second
  restarts: 320, // of an agent each 90 s,
  adoptions: 320, // and of a supervisor each three minutes, with two agents: a crash a minute
  lines: 864_000, // 5,760 times, 150 each
  rotations: 14, // of ten megabytes each
  evaluations: 960, // of all alerts, each 30 s
  fired: 96, // an alert each five minutes
  resolved: 96,
  samples: 960, // a look each 30 s at everybody's /proc
};

/** Rows that a report keeps of each process, evenly; the file beside it has all of them. */
const mostRawRows = 160;

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
  /** By role, then by what was measured; `fabric` and `fabric-adopted` are no processes. */
  series: Record<string, Record<string, Judged>>;
  verdict: Judgement;
  /** Why it is not a pass. */
  because: string[];
  drivers: Driver[];
  /** Of each run, each process: columns and rows, one of `every` samples. */
  raw: {
    columns: string[];
    every: number;
    runs: { run: number; process: string; rows: (number | null)[][] }[];
  };
}

type Measure = 'heapBytes' | 'anonymousBytes' | 'descriptors' | 'threads' | 'mappings' | 'p99Us';
const measures: readonly Measure[] = [
  ...(['heapBytes', 'anonymousBytes', 'descriptors', 'threads', 'mappings', 'p99Us'] as const),
];
const flatMeasures: readonly string[] = ['descriptors', 'threads', 'slots'];
const fabricMeasures = ['regionBytes', 'slots', 'names', 'mailboxes', 'chunks'] as const;
const canaryRole = 'canary';

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
            const { [measure]: value = null, life } = peers[process] ?? {};
            return value === null ? [] : [{ atMs, value, ...(life !== undefined && { life }) }];
          }),
        ),
      );
      if (points.every((run) => run.length === 0)) continue;
      judged[measure] = judge(measure, points, options.horizonMs);
    }
    series[role] = judged;
  }
  for (const name of fabricsOf(runs)) {
    const judged: Record<string, Judged> = {};
    for (const measure of fabricMeasures) {
      const points = warm.map((samples) =>
        samples.flatMap(({ atMs, fabrics }): Point[] => {
          const value = fabrics[name]?.[measure];
          return value === undefined ? [] : [{ atMs, value }];
        }),
      );
      judged[measure] = judge(measure, points, options.horizonMs);
    }
    series[seriesOf(name)] = judged;
  }
  const ledger = ledgerOf(runs);
  const drivers = driversOf(runs);
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
    ...verdictOf(series, ledger, runs, drivers),
    drivers,
    raw: rawOf(runs, processes),
  };
}

const fabricsOf = (runs: readonly Run[]) => [
  ...new Set(runs.flatMap((run) => Object.keys(run.samples[0]?.fabrics ?? {}))),
];
const seriesOf = (fabric: string) => (fabric === fabricNames[0] ? 'fabric' : `fabric-${fabric}`);

function judge(measure: string, points: readonly Point[][], horizonMs: number): Judged {
  return flatMeasures.includes(measure)
    ? judgeFlat(points, horizonMs)
    : judgeGrowth(points, horizonMs);
}

/** @internal exported for its test */
export function verdictOf(
  series: SoakReport['series'],
  ledger: Ledger,
  runs: readonly Pick<Run, 'end'>[],
  drivers: readonly Pick<Driver, 'driver' | 'count'>[],
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
  for (const { driver, count } of drivers) {
    if (count === 0) unclear.push(`nothing was done of ${driver}`);
  }
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
  const samples = runs.reduce((sum, run) => sum + run.samples.length, 0);
  const every = Math.max(1, Math.ceil(samples / mostRawRows));
  const kept = runs.map((run) => run.samples.filter((_, i) => i % every === 0));
  const rows = kept.flatMap((some, run) =>
    processes.map((process) => ({
      ...{ run, process },
      rows: some.map(({ atMs, peers }) => {
        const sample = peers[process] as PeerSample | undefined;
        return [Math.round(atMs), ...measures.map((measure) => round(sample?.[measure] ?? null))];
      }),
    })),
  );
  const ofFabrics = kept.flatMap((some, run) =>
    fabricsOf(runs).map((name) => ({
      ...{ run, process: seriesOf(name) },
      rows: some.map(({ atMs, fabrics }) => [
        Math.round(atMs),
        ...fabricMeasures.map((measure) => fabrics[name]?.[measure] ?? null),
      ]),
    })),
  );
  const columns = ['atMs', ...measures, `of fabric: ${fabricMeasures.join(', ')}`];
  return { columns, every, runs: [...rows, ...ofFabrics] };
}

const round = (value: number | null) => (value === null ? null : Math.round(value));

export const eightHoursMs = dayMs;
