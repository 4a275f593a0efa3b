import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { PeerCounts, PeerSample } from './crew.js';

/** What a soak was started with; a resumed one goes on with the same. */
export interface SoakOptions {
  durationMs: number;
  /** Of each run, what its beginning is left out for. */
  warmUpMs: number;
  everyMs: number;
  /** How far growth is reckoned ahead. */
  horizonMs: number;
  /** Messages a second, of all senders. */
  perSecond: number;
  /** After how many samples somebody is killed: each time the same, so that ages are comparable. */
  restartEach: number;
  /** Between two comings of an agent. */
  pauseMs: number;
  exportEveryMs: number;
  exportMaxBytes: number;
  evaluateEveryMs: number;
  pulseMs: number;
}

/** What became of every message of a run: accepted by senders, the rest counted in the fabric. */
export interface Ledger {
  accepted: number;
  acked: number;
  queued: number;
  dropped: number;
  deadLettered: number;
  /** accepted - acked - queued - dropped - deadLettered: 0. */
  difference: number;
}

/** What a sample says of a fabric. */
export interface FabricSample {
  regionBytes: number;
  slots: number;
  names: number;
  mailboxes: number;
  chunks: number;
}

export type Counts = PeerCounts & { samples: number };

/** Lines of the file beside the report: what a soak knows, and what it goes on from. */
export type Entry =
  | { kind: 'soak'; v: 1; at: string; options: SoakOptions }
  | { kind: 'run'; at: string; dir: string }
  | {
      kind: 'sample';
      /** Since the run began. */
      atMs: number;
      /** By the name of the process: `sender-1`. */
      peers: Record<string, PeerSample>;
      fabrics: Record<string, FabricSample>;
      counts: Counts;
    }
  | { kind: 'end'; atMs: number; ledger: Ledger; census: Record<string, number>; counts: Counts };

export type Sample = Extract<Entry, { kind: 'sample' }>;
export type End = Extract<Entry, { kind: 'end' }>;

/** A run: from a start of all processes to their end, or to the last sample before a crash. */
export interface Run {
  at: string;
  dir: string;
  samples: Sample[];
  end: End | undefined;
}

export function samplesFileOf(report: string): string {
  return `${report}.samples.ndjson`;
}

export function append(file: string, entry: Entry): void {
  appendFileSync(file, `${JSON.stringify(entry)}\n`, { mode: 0o600 });
}

/** @returns undefined where there is no such file; a torn last line is left out */
export function readRecord(file: string): { options: SoakOptions; runs: Run[] } | undefined {
  if (!existsSync(file)) return undefined;
  let options: SoakOptions | undefined;
  const runs: Run[] = [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  for (const line of lines) {
    const entry = JSON.parse(line) as Entry;
    if (entry.kind === 'soak') options = entry.options;
    else if (entry.kind === 'run') {
      runs.push({ at: entry.at, dir: entry.dir, samples: [], end: undefined });
    } else if (entry.kind === 'sample') runs.at(-1)?.samples.push(entry);
    else {
      const run = runs.at(-1);
      if (run !== undefined) run.end = entry;
    }
  }
  return options === undefined ? undefined : { options, runs };
}

/** How long a run ran, as far as is known. */
export function lengthOf(run: Run): number {
  return run.end?.atMs ?? run.samples.at(-1)?.atMs ?? 0;
}
