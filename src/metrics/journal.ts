import { readFile, rename, writeFile } from 'node:fs/promises';
import type { Baseline } from './baseline.js';
import type { Place } from './log-file.js';

/** A batch as it is about to be written, and what will have been told by then. */
export interface Entry {
  place: Place;
  batch: Buffer;
  baseline: Baseline;
}

const version = 1;
const newline = 10;

/**
 * What an exporter needs to go on after a `kill -9` at any byte: the last batch, where it begins,
 * and what all sums come to with it. It is written, whole, before the first byte of the batch. So
 * whoever comes next ends the batch, and begins where it ended: no line is missing, none is told
 * twice.
 */
export class Journal {
  readonly #path: string;
  // Of a fabric of thousands it takes longer to write down than a few events.
  #agents: { of: Baseline['agents']; json: string } | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async write({ place, batch, baseline }: Entry): Promise<void> {
    if (this.#agents?.of !== baseline.agents) {
      this.#agents = { of: baseline.agents, json: JSON.stringify(baseline.agents) };
    }
    const { agents: _, ...rest } = baseline;
    const head = JSON.stringify({ v: version, ...place, bytes: batch.length, ...rest });
    const text = `${head}\n${this.#agents.json}\n`;
    const half = `${this.#path}.new`;
    await writeFile(half, Buffer.concat([Buffer.from(text), batch]), { mode: 0o600 });
    await rename(half, this.#path);
  }

  /** @returns undefined where there is none, or none that can be read */
  async read(): Promise<Entry | undefined> {
    try {
      const bytes = await readFile(this.#path);
      const first = bytes.indexOf(newline);
      const second = bytes.indexOf(newline, first + 1);
      const head = JSON.parse(bytes.toString('utf8', 0, first)) as Record<string, unknown>;
      const batch = bytes.subarray(second + 1);
      if (head.v !== version || head.bytes !== batch.length) return undefined;
      const { inode, offset, fabric, boxes, histograms, topics } = head as unknown as Baseline &
        Place;
      const agents = JSON.parse(bytes.toString('utf8', first + 1, second)) as Baseline['agents'];
      return {
        place: { inode, offset },
        batch,
        baseline: { fabric, agents, boxes, histograms, topics },
      };
    } catch {
      return undefined;
    }
  }
}
