import type { Region } from '../core/region.js';
import type { Baseline } from './baseline.js';
import { type MetricRecord, toRecord } from './record.js';

/** Where `cfc emit` and `map` put what they have measured: records, as JSON. */
export const metricsTopic = 'cfc.metrics';
/** Where supervisors say what happened: `{at, event, agent, …}`, as JSON. */
export const eventsTopic = 'cfc.events';

const mostAtATime = 4096;

/**
 * Records that come by way of topics, read without subscribing: who publishes is not held up, and
 * what was overwritten before it was read is counted, and told.
 */
export class TopicRecords {
  readonly #region: Region;
  readonly #fabric: string;

  constructor(region: Region, fabric: string) {
    this.#region = region;
    this.#fabric = fabric;
  }

  /** @param positions moved on */
  read(positions: Baseline['topics']): MetricRecord[] {
    const records: MetricRecord[] = [];
    this.#readTopic(metricsTopic, positions, records, (body, from) => this.#emitted(body, from));
    this.#readTopic(eventsTopic, positions, records, (body) => this.#event(body));
    return records;
  }

  #readTopic(
    topic: string,
    positions: Baseline['topics'],
    records: MetricRecord[],
    recordOf: (body: unknown, from: string) => MetricRecord | undefined,
  ): void {
    const from = positions[topic] ?? { position: -1, aborted: 0 };
    const read = this.#region.readTopic(topic, from, mostAtATime);
    if (read === undefined) return;
    positions[topic] = { position: read.position, aborted: read.aborted };
    let lost = read.lost;
    for (const [i, body] of read.bodies.entries()) {
      const record = recordOf(parse(body), read.from[i] as string);
      if (record === undefined) lost += 1;
      else records.push(record);
    }
    if (lost === 0) return;
    records.push({
      timestamp: new Date().toISOString(),
      metric: 'metrics.lost',
      value: lost,
      unit: 'records',
      tags: { fabric: this.#fabric, reason: 'overwritten', topic },
    });
  }

  #emitted(body: unknown, from: string): MetricRecord | undefined {
    const record = toRecord(body);
    if (record === undefined || Number.isNaN(Date.parse(record.timestamp))) return undefined;
    record.timestamp = new Date(record.timestamp).toISOString();
    record.tags = { fabric: this.#fabric, agent: from, ...record.tags };
    return record;
  }

  #event(body: unknown): MetricRecord | undefined {
    if (typeof body !== 'object' || body === null) return undefined;
    const { at, event, ...rest } = body as Record<string, unknown>;
    if (typeof event !== 'string') return undefined;
    const atMs = typeof at === 'number' || typeof at === 'string' ? new Date(at).getTime() : NaN;
    const tags: Record<string, string> = { fabric: this.#fabric, event };
    for (const [key, value] of Object.entries(rest)) {
      if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
        tags[key] = String(value);
      }
    }
    const timestamp = new Date(Number.isNaN(atMs) ? Date.now() : atMs).toISOString();
    return { timestamp, metric: 'agent.event', value: 1, unit: 'events', tags };
  }
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
