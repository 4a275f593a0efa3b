import type { Placement } from './children.js';

/** What one run gave, and what became of what was sent. */
export interface Run {
  /** Rates, or times of single round trips. */
  samples: number[];
  sent: number;
  lost: number;
  outOfOrder: number;
  /** Of several producers: messages of the slowest over an equal share. */
  slowestShare?: number;
  /** What the reader of a figure ought to know. */
  detail?: string;
}

export interface Rival {
  name: string;
  run(): Promise<Run>;
  /** What ours over the rival's must be: at least for rates, at most for times. */
  targetRatio?: number;
  /** The same for the 99th percentile of times. */
  targetRatioP99?: number;
  /** The verdict is by the worst pair, not by the median one. */
  byWorst?: boolean;
}

export type Unit = 'messages/s' | 'GB/s' | 'ms' | 'us' | 'ns' | 'wakes/min';

/** Times and costs: less is better. */
export function isCost(unit: Unit): boolean {
  return unit === 'ms' || unit === 'us' || unit === 'ns' || unit === 'wakes/min';
}

/** One bench: what runs, against whom, and what it has to reach. */
export interface Case {
  name: string;
  unit: Unit;
  placement: Placement;
  ours: { name: string; run(): Promise<Run> };
  rivals: Rival[];
  /** Of the absolute figure, on the machine that docs/performance.md names. */
  target?: number;
  /** The same of the 99th percentile. */
  targetP99?: number;
  /** Of the slowest producer's share: at least. */
  targetShare?: number;
  /** One round is enough, as nothing else of the machine changes it. */
  once?: boolean;
}
