import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { CfcError } from '../errors.js';
import { type MetricRecord, toRecord } from '../metrics/record.js';
import type { MetricSource } from './watch.js';

const blockBytes = 1 << 20;
/** A longer line is no record; it is skipped. */
const maxLineBytes = 1 << 16;

/**
 * The records of a metrics file, as they are written: whole lines, across rotations by rename and
 * truncations. A read takes what is there, however much.
 */
export class FileSource implements MetricSource {
  readonly #path: string;
  #fd: number | undefined;
  #inode = 0;
  #at = 0;
  #skipping = false;
  /** Lines that were no records. */
  unreadable = 0;

  /** @param fromEnd skip what is there at first */
  constructor(path: string, { fromEnd = false }: { fromEnd?: boolean } = {}) {
    this.#path = path;
    if (fromEnd) {
      this.#open();
      if (this.#fd !== undefined) this.#at = fstatSync(this.#fd).size;
    }
  }

  /** @throws {CfcError} `ERR_CFC_SYSTEM` where there is no file, and none was there before */
  *read(): Generator<MetricRecord, void> {
    if (this.#fd === undefined) this.#open();
    if (this.#fd === undefined) return;
    yield* this.#drain(this.#fd);
    if (!this.#replaced()) return;
    // What the writer added to the old file after our look is read before we leave it.
    yield* this.#drain(this.#fd);
    this.close();
    this.#open();
    if (this.#fd !== undefined) yield* this.#drain(this.#fd);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): void {
    try {
      this.#fd = openSync(this.#path, 'r');
    } catch (error) {
      // Between a rotation and the next line there is no file.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' && this.#inode !== 0) return;
      throw new CfcError('ERR_CFC_SYSTEM', { path: this.#path }, { cause: error });
    }
    this.#inode = fstatSync(this.#fd).ino;
    this.#at = 0;
  }

  #replaced(): boolean {
    try {
      return statSync(this.#path).ino !== this.#inode;
    } catch {
      return false;
    }
  }

  *#drain(fd: number): Generator<MetricRecord, void> {
    if (fstatSync(fd).size < this.#at) this.#at = 0;
    const block = Buffer.allocUnsafe(blockBytes);
    for (;;) {
      const read = readSync(fd, block, 0, block.length, this.#at);
      if (read === 0) return;
      // Up to the last whole line, so that no character is cut in two.
      const end = block.subarray(0, read).lastIndexOf(0x0a);
      if (end < 0) {
        if (read < block.length) return;
        this.#skipping = true;
        this.#at += read;
        continue;
      }
      const lines = block.toString('utf8', 0, end).split('\n');
      this.#at += end + 1;
      for (const line of lines) {
        const record = this.#take(line);
        if (record !== undefined) yield record;
      }
    }
  }

  #take(line: string): MetricRecord | undefined {
    if (line === '' && !this.#skipping) return undefined;
    const record = this.#skipping || line.length > maxLineBytes ? undefined : parse(line);
    this.#skipping = false;
    if (record === undefined) this.unreadable += 1;
    return record;
  }
}

function parse(line: string): MetricRecord | undefined {
  try {
    return toRecord(JSON.parse(line));
  } catch {
    return undefined;
  }
}
