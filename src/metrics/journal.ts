import { open, readFile, rename } from 'node:fs/promises';
import type { Baseline } from './baseline.js';
import type { Place } from './log-file.js';

/** A batch as it is about to be written, and what will have been told by then. */
export interface Entry {
  place: Place;
  batch: Buffer;
  baseline: Baseline;
}

interface Head extends Place, Pick<Baseline, 'fabric' | 'histograms' | 'topics'> {
  v: number;
  /** Of a row of agents, in doubles. */
  width: number;
  /** How many doubles each table has. */
  agents: number;
  boxes: number;
  bytes: number;
}

const version = 1;
const newline = 10;
const wordBytes = Float64Array.BYTES_PER_ELEMENT;

/**
 * What an exporter needs to go on after a `kill -9` at any byte: the last batch, where it begins,
 * and what all sums come to with it. It is written, whole, before the first byte of the batch. So
 * whoever comes next ends the batch, and begins where it ended: no line is missing, none is told
 * twice.
 *
 * A line of JSON, a line with the tags of agents, two tables of doubles, the batch.
 */
export class Journal {
  readonly #path: string;
  // Of a fabric of thousands it takes longer to write down than all the rest, and seldom changes.
  #tags: { of: readonly Record<string, string>[]; json: string } = { of: [], json: '[]' };

  constructor(path: string) {
    this.#path = path;
  }

  async write({ place, batch, baseline }: Entry): Promise<void> {
    const { fabric, histograms, topics, agents, boxes } = baseline;
    const head: Head = {
      v: version,
      ...place,
      fabric,
      histograms,
      topics,
      width: agents.width,
      agents: agents.values.length,
      boxes: boxes.length,
      bytes: batch.length,
    };
    const text = `${JSON.stringify(head)}\n${this.#tagsOf(agents.tags)}\n`;
    const half = `${this.#path}.new`;
    const pieces = [Buffer.from(text), bytesOf(agents.values), bytesOf(boxes), batch];
    await writePieces(half, pieces);
    await rename(half, this.#path);
  }

  /** @returns undefined where there is none, or none that can be read */
  async read(): Promise<Entry | undefined> {
    try {
      const bytes = await readFile(this.#path);
      const first = bytes.indexOf(newline);
      const second = bytes.indexOf(newline, first + 1);
      const head = JSON.parse(bytes.toString('utf8', 0, first)) as Head;
      const tags = JSON.parse(bytes.toString('utf8', first + 1, second)) as Record<
        string,
        string
      >[];
      const tables = second + 1;
      const boxesAt = tables + head.agents * wordBytes;
      const batchAt = boxesAt + head.boxes * wordBytes;
      const batch = bytes.subarray(batchAt);
      const { v, inode, offset, fabric, histograms, topics, width } = head;
      if (v !== version || head.bytes !== batch.length) return undefined;
      const agents = { width, values: doublesOf(bytes.subarray(tables, boxesAt)), tags };
      const boxes = doublesOf(bytes.subarray(boxesAt, batchAt));
      return {
        place: { inode, offset },
        batch,
        baseline: { fabric, agents, boxes, histograms, topics },
      };
    } catch {
      return undefined;
    }
  }

  #tagsOf(tags: readonly Record<string, string>[]): string {
    const known = this.#tags.of;
    const same = known.length === tags.length && tags.every((one, i) => one === known[i]);
    if (!same) this.#tags = { of: tags, json: JSON.stringify(tags) };
    return this.#tags.json;
  }
}

/** A file made anew of these pieces, which are not copied. */
async function writePieces(path: string, pieces: readonly Uint8Array[]): Promise<void> {
  const handle = await open(path, 'w', 0o600);
  try {
    for (let rest = pieces.filter(({ length }) => length > 0); rest.length > 0; ) {
      let { bytesWritten } = await handle.writev(rest);
      // The disk may take a part only, and say why not at the next try.
      const left: Uint8Array[] = [];
      for (const piece of rest) {
        if (bytesWritten < piece.length) left.push(piece.subarray(bytesWritten));
        bytesWritten = Math.max(0, bytesWritten - piece.length);
      }
      rest = left;
    }
  } finally {
    await handle.close();
  }
}

const bytesOf = (values: Float64Array) =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

// Copied, as doubles begin at a multiple of eight.
function doublesOf(bytes: Uint8Array): Float64Array {
  return new Float64Array(Uint8Array.from(bytes).buffer);
}
