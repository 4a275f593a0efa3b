import { randomUUID } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makePrivateDirectory, readVersioned, replaceFile } from './files.js';
import type { Silence } from './muting.js';

interface Saved {
  v: 1;
  silence: Silence;
}

const suffix = '.json';

/**
 * Silences that people set by command, in a directory that the watch reads at each evaluation. Each
 * is a file of its own, so that two commands at once undo nothing of each other.
 */
export class SilenceFiles {
  readonly #directory: string;
  readonly #tell: (line: string) => void;

  constructor(directory: string, tell: (line: string) => void = () => {}) {
    this.#directory = directory;
    this.#tell = tell;
  }

  /** Those that are not over yet, the oldest first. */
  read(nowMs: number): Silence[] {
    const silences: Silence[] = [];
    for (const file of this.#files()) {
      const path = join(this.#directory, file);
      const silence = readVersioned<Saved>(path, this.#tell)?.silence;
      if (silence === undefined) continue; // somebody has just ended it, or it was put aside
      if (silence.untilMs > nowMs) silences.push(silence);
      else rmSync(path, { force: true });
    }
    return silences.sort((a, b) => a.fromMs - b.fromMs || (a.id < b.id ? -1 : 1));
  }

  add(silence: Omit<Silence, 'id'>): Silence {
    const made = { id: randomUUID().slice(0, 8), ...silence };
    const saved: Saved = { v: 1, silence: made };
    makePrivateDirectory(this.#directory);
    replaceFile(join(this.#directory, made.id + suffix), `${JSON.stringify(saved)}\n`);
    return made;
  }

  /** @returns whether there was one */
  end(id: string, nowMs: number): boolean {
    const known = this.read(nowMs).some((one) => one.id === id);
    if (known) rmSync(join(this.#directory, id + suffix), { force: true });
    return known;
  }

  #files(): string[] {
    try {
      return readdirSync(this.#directory).filter((name) => name.endsWith(suffix));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }
}
