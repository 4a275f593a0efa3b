import { CfcError } from '../index.js';
import { type MetricRecord, metricsTopic } from '../metrics/index.js';
import { visit } from './visit.js';

const everyMs = 5000;

/**
 * What a job came to, told to the fabric that `CFC_FABRIC` names (else `default`), where there is
 * one, for the exporters and alerts of that: tasks every few seconds, the time at the end. A job's
 * own fabric goes with the job.
 */
export class MapMetrics {
  readonly #fabric = process.env.CFC_FABRIC || 'default';
  readonly #beganAt = performance.now();
  readonly #timer: NodeJS.Timeout;
  #tasks = 0;
  #failed = 0;
  #telling: Promise<void> = Promise.resolve();

  constructor() {
    this.#timer = setInterval(() => this.#tell([]), everyMs).unref();
  }

  /** @param failed lost, or ended with another code than 0 */
  task(failed: boolean): void {
    this.#tasks += 1;
    if (failed) this.#failed += 1;
  }

  /** Never rejects: a job does not fail for want of somebody who listens. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#tell([recordOf('coordination.time', performance.now() - this.#beganAt, 'milliseconds')]);
    await this.#telling;
  }

  #tell(records: MetricRecord[]): void {
    if (this.#tasks > 0) records.push(recordOf('coordination.tasks', this.#tasks, 'tasks'));
    if (this.#failed > 0)
      records.push(recordOf('coordination.tasks_failed', this.#failed, 'tasks'));
    if (records.length === 0) return;
    this.#tasks = 0;
    this.#failed = 0;
    this.#telling = this.#telling.then(() => this.#publish(records));
  }

  async #publish(records: readonly MetricRecord[]): Promise<void> {
    try {
      await visit({ fabric: this.#fabric }, async (agent) => {
        for (const record of records) await agent.publish(metricsTopic, record, { timeoutMs: 0 });
      });
    } catch (error) {
      if (!(error instanceof CfcError)) throw error;
    }
  }
}

function recordOf(metric: string, value: number, unit: string): MetricRecord {
  const timestamp = new Date().toISOString();
  return { timestamp, metric, value, unit, tags: { agent: 'map', coordination: 'map' } };
}
