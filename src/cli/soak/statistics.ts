/** A slope over time, with an interval that holds it in 95 of 100 cases. */
export interface Slope {
  perMs: number;
  lowPerMs: number;
  highPerMs: number;
}

export interface Point {
  atMs: number;
  value: number;
  /** Which process it is of, where one follows another in a run. */
  life?: number;
}

const normal95 = 1.959964;
/** Pairs grow with the square of the samples: more than these are thinned out first. */
const mostPoints = 600;

/** @returns NaN for none */
export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] as number;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** Medians of neighbours, so that at most `most` points are left. */
export function thin(points: readonly Point[], most = mostPoints): Point[] {
  const size = Math.ceil(points.length / most);
  if (size <= 1) return [...points];
  const out: Point[] = [];
  for (let i = 0; i < points.length; i += size) {
    const block = points.slice(i, i + size);
    const value = medianOf(block.map((point) => point.value));
    out.push({ atMs: medianOf(block.map((point) => point.atMs)), value });
  }
  return out;
}

/**
 * The slope after Theil and Sen: the median of the slopes of all pairs, which no outlier moves. Its
 * interval is Sen's, from Kendall's variance. Pairs are made within a run only: after a restart of
 * everything the level is another one.
 *
 * @returns undefined with fewer than four points in every run
 */
export function theilSen(runs: readonly (readonly Point[])[]): Slope | undefined {
  const total = runs.reduce((sum, run) => sum + run.length, 0);
  const slopes: number[] = [];
  let variance = 0;
  for (const run of runs) {
    const points = thin(run, Math.max(4, Math.floor((mostPoints * run.length) / total)));
    const n = points.length;
    if (n < 4) continue;
    variance += (n * (n - 1) * (2 * n + 5)) / 18;
    for (let i = 0; i < n; i += 1) {
      for (let j = i + 1; j < n; j += 1) {
        const [a, b] = [points[i] as Point, points[j] as Point];
        if (b.atMs > a.atMs) slopes.push((b.value - a.value) / (b.atMs - a.atMs));
      }
    }
  }
  if (slopes.length === 0) return undefined;
  const sorted = Float64Array.from(slopes).sort();
  const half = (normal95 * Math.sqrt(variance)) / 2;
  const at = (rank: number) => {
    const index = Math.min(sorted.length - 1, Math.max(0, Math.round(rank)));
    return sorted[index] as number;
  };
  const middle = (sorted.length - 1) / 2;
  return {
    perMs: medianOf(slopes),
    lowPerMs: at(Math.floor(middle - half)),
    highPerMs: at(Math.ceil(middle + half)),
  };
}

export type Judgement = 'pass' | 'fail' | 'inconclusive';

export interface Judged {
  /** `grows`: by its slope; `flat`: exactly. */
  rule: 'grows' | 'flat';
  samples: number;
  baseline: number | null;
  least: number | null;
  most: number | null;
  /** Over the horizon, as a share of the baseline: the slope, and the ends of its interval. */
  growth: number | null;
  growthLow: number | null;
  growthHigh: number | null;
  verdict: Judgement;
}

/** How much of the baseline may be added over the horizon. */
export const growthLimit = 0.1;

/**
 * Passes where even the upper bound of the slope stays within the limit over the horizon. Fails where
 * it does not and it certainly grows; else the samples cannot tell.
 */
export function judgeGrowth(runs: readonly (readonly Point[])[], horizonMs: number): Judged {
  const { least, most, samples } = extremesOf(runs);
  // Each run begins at its own level: the first tenth of its samples.
  const beginnings = runs.flatMap((run) => run.slice(0, Math.max(1, Math.ceil(run.length / 10))));
  const baseline = medianOf(beginnings.map((point) => point.value));
  const slope = theilSen(runs);
  if (slope === undefined || !(baseline > 0)) {
    const nothing = { growth: null, growthLow: null, growthHigh: null };
    const known = samples > 0 && most === 0;
    const level = Number.isNaN(baseline) ? null : baseline;
    const verdict = known ? 'pass' : 'inconclusive';
    return { rule: 'grows', samples, baseline: level, least, most, ...nothing, verdict };
  }
  const share = (perMs: number) => (perMs * horizonMs) / baseline;
  const [growth, growthLow, growthHigh] = [slope.perMs, slope.lowPerMs, slope.highPerMs].map(
    share,
  ) as [number, number, number];
  const verdict = growthHigh <= growthLimit ? 'pass' : growthLow > 0 ? 'fail' : 'inconclusive';
  return { rule: 'grows', samples, baseline, least, most, growth, growthLow, growthHigh, verdict };
}

/**
 * Passes where every sample of a process is the same, and from one process to the next nothing grows
 * either: their levels may differ, as one begins with what another one left undone.
 */
export function judgeFlat(runs: readonly (readonly Point[])[], horizonMs: number): Judged {
  const { least, most, samples } = extremesOf(runs);
  const none = { baseline: least, growth: null, growthLow: null, growthHigh: null };
  if (samples < 2) return { rule: 'flat', samples, least, most, ...none, verdict: 'inconclusive' };
  const flat = runs.every((run) => {
    const levels = new Map<number | undefined, number>();
    return run.every(({ value, life }) => {
      const level = levels.get(life) ?? value;
      levels.set(life, level);
      return value === level;
    });
  });
  const same = runs.every((run) => run.every(({ value }) => value === run[0]?.value));
  if (!flat || same) {
    return { rule: 'flat', samples, least, most, ...none, verdict: flat ? 'pass' : 'fail' };
  }
  return { ...judgeGrowth(runs, horizonMs), rule: 'flat' };
}

function extremesOf(runs: readonly (readonly Point[])[]) {
  let least: number | null = null;
  let most: number | null = null;
  let samples = 0;
  for (const run of runs) {
    for (const { value } of run) {
      samples += 1;
      if (least === null || value < least) least = value;
      if (most === null || value > most) most = value;
    }
  }
  return { least, most, samples };
}
