import { createReadStream, createWriteStream } from 'node:fs';
import { type FileHandle, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

export interface LogFileOptions {
  /** A file that would grow beyond it is put away under another name first. */
  maxBytes: number;
  /** Files that were put away and are kept. */
  keep: number;
  /** Compress all of those but the newest. */
  gzip: boolean;
  /** Those that were last written longer ago are removed. */
  retentionMs: number;
}

/** Where a batch begins. */
export interface Place {
  inode: number;
  offset: number;
}

const newline = 10;
const scanBytes = 64 * 1024;

/**
 * A file of lines that only grows, by whole batches; what was put away is `FILE.1` (the newest),
 * `FILE.2` and so on. Others may rename it at any time: from the next batch on it is made anew.
 *
 * One process at a time. All calls reject with what the system said.
 */
export class LogFile {
  readonly path: string;
  readonly #options: LogFileOptions;
  #handle: FileHandle | undefined;
  #inode = 0;
  /** A device or a pipe has no size, no end to trim, and nothing to put away. */
  #regular = true;
  #torn = false;
  #rotations = 0;
  #packing: Promise<void> = Promise.resolve();

  constructor(path: string, options: LogFileOptions) {
    this.path = path;
    this.#options = options;
  }

  get regular(): boolean {
    return this.#regular;
  }

  /** How often it was put away, by this object. */
  get rotations(): number {
    return this.#rotations;
  }

  /** Makes it where it is missing, and cuts off a last line that has no end. */
  async open(): Promise<void> {
    await this.#reopen();
    if (this.#regular) await this.#trim();
  }

  /** Ready for a batch of so many bytes: opened anew where it was renamed, put away where it is full. */
  async prepare(bytes: number): Promise<Place> {
    if (this.#handle === undefined || (await this.#moved())) await this.#reopen();
    if (!this.#regular) return { inode: this.#inode, offset: 0 };
    if (this.#torn) await this.#trim();
    const { size } = await (this.#handle as FileHandle).stat();
    if (size === 0 || size + bytes <= this.#options.maxBytes) {
      return { inode: this.#inode, offset: size };
    }
    await this.#rotate();
    return { inode: this.#inode, offset: 0 };
  }

  /** All of it, or (where it rejects) nothing. */
  async append(batch: Buffer, { offset }: Place): Promise<void> {
    const handle = this.#handle as FileHandle;
    let written = 0;
    try {
      while (written < batch.length) {
        const { bytesWritten } = await handle.write(batch, written);
        written += bytesWritten;
      }
    } catch (error) {
      if (this.#regular && written > 0) {
        this.#torn = true;
        await handle.truncate(offset).then(
          () => {
            this.#torn = false;
          },
          () => {},
        );
      }
      throw error;
    }
  }

  /** Ends a batch that an earlier process began there, wherever that file is by now. */
  async complete({ inode, offset }: Place, batch: Buffer): Promise<void> {
    const path = await this.#find(inode);
    if (path === undefined) return; // put away, compressed or removed since: it was whole then
    const handle = await open(path, 'r+');
    try {
      const { size } = await handle.stat();
      if (size >= offset + batch.length) return;
      // Somebody cut off more than the batch: what is left of a line before it goes too.
      const from = size >= offset ? size : await endOfLines(handle, size);
      await handle.truncate(from);
      const rest = size >= offset ? batch.subarray(size - offset) : batch;
      let written = 0;
      while (written < rest.length) {
        const { bytesWritten } = await handle.write(
          rest,
          written,
          rest.length - written,
          from + written,
        );
        written += bytesWritten;
      }
    } finally {
      await handle.close();
    }
  }

  /** Lets go of the file until the next batch, so that a disk that failed can be taken away. */
  async release(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close().catch(() => {}); // what failed may fail at this too, and is closed then
  }

  async close(): Promise<void> {
    await this.#packing;
    await this.release();
  }

  /** Removes what was put away too long ago. */
  async prune(nowMs: number): Promise<void> {
    for (const path of await this.#putAway()) {
      const found = await statOf(path);
      if (found !== undefined && nowMs - found.mtimeMs > this.#options.retentionMs) {
        await unlink(path).catch(() => {});
      }
    }
  }

  async #reopen(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
    const handle = await open(this.path, 'a', 0o600);
    const found = await handle.stat();
    this.#handle = handle;
    this.#inode = found.ino;
    this.#regular = found.isFile();
  }

  async #moved(): Promise<boolean> {
    const found = await statOf(this.path);
    return found === undefined || found.ino !== this.#inode;
  }

  async #trim(): Promise<void> {
    const handle = await open(this.path, 'r+');
    try {
      const { size } = await handle.stat();
      const end = await endOfLines(handle, size);
      if (end < size) await handle.truncate(end);
      this.#torn = false;
    } finally {
      await handle.close();
    }
  }

  async #rotate(): Promise<void> {
    await this.#packing;
    const { keep, gzip } = this.#options;
    if (keep === 0) {
      await unlink(this.path);
    } else {
      for (const end of ['', '.gz']) await unlink(`${this.path}.${keep}${end}`).catch(() => {});
      for (let n = keep - 1; n > 0; n -= 1) {
        for (const end of ['', '.gz']) {
          const from = `${this.path}.${n}${end}`;
          if ((await statOf(from)) !== undefined) await rename(from, `${this.path}.${n + 1}${end}`);
        }
      }
      await rename(this.path, `${this.path}.1`);
    }
    await this.#reopen();
    this.#rotations += 1;
    if (gzip && keep > 1) this.#packing = pack(`${this.path}.2`).catch(() => {});
    await this.prune(Date.now());
  }

  async #putAway(): Promise<string[]> {
    const name = basename(this.path);
    const folder = dirname(this.path);
    const names = await readdir(folder).catch(() => [] as string[]);
    return names
      .filter(
        (one) => one.startsWith(`${name}.`) && /^\d+(\.gz)?$/.test(one.slice(name.length + 1)),
      )
      .map((one) => join(folder, one));
  }

  async #find(inode: number): Promise<string | undefined> {
    const name = basename(this.path);
    const folder = dirname(this.path);
    // Whoever renames it keeps its name as a beginning: FILE.1, FILE-20260102.
    for (const one of await readdir(folder).catch(() => [] as string[])) {
      const path = join(folder, one);
      if (one.startsWith(name) && (await statOf(path))?.ino === inode) return path;
    }
    return undefined;
  }
}

async function statOf(path: string) {
  try {
    return await stat(path);
  } catch {
    return undefined;
  }
}

/** Where the last whole line ends. */
async function endOfLines(handle: FileHandle, size: number): Promise<number> {
  const piece = Buffer.alloc(scanBytes);
  for (let end = size; end > 0; ) {
    const from = Math.max(0, end - scanBytes);
    const { bytesRead } = await handle.read(piece, 0, end - from, from);
    const at = piece.subarray(0, bytesRead).lastIndexOf(newline);
    if (at >= 0) return from + at + 1;
    end = from;
  }
  return 0;
}

async function pack(path: string): Promise<void> {
  if ((await statOf(path)) === undefined) return;
  const half = `${path}.gz.new`;
  await pipeline(createReadStream(path), createGzip(), createWriteStream(half, { mode: 0o600 }));
  await rename(half, `${path}.gz`);
  await unlink(path);
}
