/** What a sampler has told already. Plain JSON, so that it can be kept and given to the next one. */
export interface Baseline {
  /** The fabric's id: of another one it says nothing. */
  fabric: string;
  /** By entry of the directory. */
  agents: Record<number, AgentBaseline>;
  /** By mailbox: acked, dropped, dead-lettered, accepted, and how many it held. */
  boxes: Record<number, readonly number[]>;
  /** By place in the pool. */
  histograms: Record<number, HistogramBaseline>;
  /** By topic: where the next read begins. */
  topics: Record<string, { position: number; aborted: number }>;
}

export interface AgentBaseline {
  life: number;
  naming: number;
  restarts: number;
  incarnation: number;
  /** By index of the metric: of all who ever counted there. */
  totals: number[];
  tags: Record<string, string>;
}

export interface HistogramBaseline {
  key: string;
  buckets: Record<number, number>;
  tags: Record<string, string>;
}

/** Of a fabric of which nothing was told. */
export function emptyBaseline(fabric: string): Baseline {
  return { fabric, agents: {}, boxes: {}, histograms: {}, topics: {} };
}
