/** Numbers from samples. Percentiles are exact: all samples are kept and sorted. */
export interface Summary {
  median: number;
  p99: number;
  p999: number;
  low: number;
  high: number;
  /** Samples. */
  runs: number;
}

export function percentile(sorted: readonly number[], percent: number): number {
  const index = Math.min(sorted.length - 1, Math.floor((percent / 100) * sorted.length));
  return sorted[index] ?? Number.NaN;
}

export function summarize(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b);
  return {
    median: percentile(sorted, 50),
    p99: percentile(sorted, 99),
    p999: percentile(sorted, 99.9),
    low: sorted[0] ?? Number.NaN,
    high: sorted.at(-1) ?? Number.NaN,
    runs: sorted.length,
  };
}

export interface Ratio {
  median: number;
  low: number;
  high: number;
}

/** Ours over the rival's, pair by pair of one interleaved run; low and high are the extremes. */
export function ratioOf(ours: readonly number[], rivals: readonly number[]): Ratio {
  const ratios = ours.map((value, i) => value / (rivals[i] as number)).sort((a, b) => a - b);
  return {
    median: percentile(ratios, 50),
    low: ratios[0] ?? Number.NaN,
    high: ratios.at(-1) ?? Number.NaN,
  };
}
