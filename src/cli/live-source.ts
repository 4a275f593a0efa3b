import { CfcError, Fabric, type MetricSource } from '../index.js';
import type { MetricRecord, Sampler } from '../metrics/index.js';

/**
 * The records of a fabric that runs, from now on: what was counted before is history, and fires
 * nothing. A fabric that goes and comes again is opened anew.
 */
export class LiveSource implements MetricSource {
  readonly #name: string;
  #fabric: Fabric | undefined;
  #sampler: Sampler | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  /** @throws {CfcError} of `Fabric.open`; `ERR_CFC_FABRIC_REMOVED` once it is gone */
  async read(nowMs: number): Promise<MetricRecord[]> {
    try {
      if (this.#fabric === undefined) {
        this.#fabric = await Fabric.open(this.#name);
        this.#sampler = this.#fabric.sampler({ processesAtATime: 20_000 });
        this.#sampler.sample(nowMs);
      }
      this.#fabric.check();
      return this.#sampler?.sample(nowMs) ?? [];
    } catch (error) {
      await this.#close();
      // Its name may be in use again: then that is the fabric.
      if (error instanceof CfcError && error.code === 'ERR_CFC_FABRIC_REMOVED') {
        return await this.#reopened(nowMs, error);
      }
      throw error;
    }
  }

  close(): void {
    void this.#close();
  }

  async #reopened(nowMs: number, removed: CfcError): Promise<MetricRecord[]> {
    try {
      return await this.read(nowMs);
    } catch {
      throw removed;
    }
  }

  async #close(): Promise<void> {
    const fabric = this.#fabric;
    this.#fabric = undefined;
    this.#sampler = undefined;
    await fabric?.close();
  }
}
