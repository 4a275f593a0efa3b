/**
 * One measurement: a line of a metrics file. Names, units and fields are those that users of the
 * file-based predecessor know, so that files of both can be read by the same programs.
 */
export interface MetricRecord {
  /** ISO 8601, UTC, with milliseconds. */
  timestamp: string;
  metric: string;
  /** Of a counter: by how much it grew since the record before. Of all others: what was measured. */
  value: number;
  unit: string;
  /** What it is about: `agent`, `fabric`, and what the user adds. */
  tags: Record<string, string>;
}

/**
 * In the tags of a histogram's record: how many values this record stands for, where it is more
 * than one.
 */
export const timesTag = 'times';

/** In the tags of a counter that cfc does not know itself: what kind it is. */
export const kindTag = 'kind';

/** @returns how many values a record stands for; 1 unless its tags say more */
export function timesOf(record: MetricRecord): number {
  const times = record.tags[timesTag];
  if (times === undefined) return 1;
  const number = Number(times);
  return Number.isInteger(number) && number > 0 ? number : 1;
}

/** @returns undefined where a value that came from elsewhere is no record */
export function toRecord(value: unknown): MetricRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { timestamp, metric, value: number, unit, tags } = value as Record<string, unknown>;
  if (typeof timestamp !== 'string' || typeof metric !== 'string' || metric === '') {
    return undefined;
  }
  if (typeof number !== 'number' || !Number.isFinite(number)) return undefined;
  const known: Record<string, string> = {};
  if (typeof tags === 'object' && tags !== null) {
    for (const [key, tag] of Object.entries(tags)) known[key] = String(tag);
  }
  return {
    timestamp,
    metric,
    value: number,
    unit: typeof unit === 'string' ? unit : '',
    tags: known,
  };
}

/** @returns the line of a file, with its end */
export function toLine({ timestamp, metric, value, unit, tags }: MetricRecord): string {
  return `${JSON.stringify({ timestamp, metric, value, unit, tags })}\n`;
}
