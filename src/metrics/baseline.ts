/**
 * What a sampler has told already, to be kept and given to the next one. Data only: it can be cloned
 * (`structuredClone`). Tables are rows of doubles, one after the other, in ascending order of their
 * first column.
 */
export interface Baseline {
  /** The fabric's id: of another one it says nothing. */
  fabric: string;
  /** A row an entry of the directory: {@link AgentColumn}, then what was counted there in all. */
  agents: { width: number; values: Float64Array; tags: readonly Record<string, string>[] };
  /** A row a mailbox: {@link MailboxColumn}. */
  boxes: Float64Array;
  /** By place in the pool. */
  histograms: Record<number, HistogramBaseline>;
  /** By topic: where the next read begins. */
  topics: Record<string, { position: number; aborted: number }>;
}

export const AgentColumn = {
  entry: 0,
  life: 1,
  naming: 2,
  restarts: 3,
  incarnation: 4,
  totals: 5,
} as const;

export const MailboxColumn = {
  box: 0,
  acked: 1,
  dropped: 2,
  deadLettered: 3,
  accepted: 4,
  depth: 5,
} as const;
export const mailboxColumns = 6;

export interface HistogramBaseline {
  key: string;
  buckets: Record<number, number>;
  tags: Record<string, string>;
}

/** Of a fabric of which nothing was told. */
export function emptyBaseline(fabric: string): Baseline {
  return {
    fabric,
    agents: { width: AgentColumn.totals, values: new Float64Array(0), tags: [] },
    boxes: new Float64Array(0),
    histograms: {},
    topics: {},
  };
}

/** Finds the rows of a table by their first column, asked for in ascending order. */
export class Rows {
  readonly #values: Float64Array;
  readonly #width: number;
  #at = 0;

  constructor(values: Float64Array, width: number) {
    this.#values = values;
    this.#width = width;
  }

  /** @returns where the row begins; -1 where there is none */
  find(key: number): number {
    const values = this.#values;
    while (this.#at < values.length && (values[this.#at] as number) < key) this.#at += this.#width;
    return this.#at < values.length && values[this.#at] === key ? this.#at : -1;
  }
}
