import { randomUUID } from 'node:crypto';
import { makeRoomFor, readVersioned, replaceFile } from './files.js';
import type { Silence } from './muting.js';

interface Saved {
  v: 1;
  silences: Silence[];
}

/** Silences that people set by command, in a file that the watch reads at each evaluation. */
export class SilenceFile {
  readonly #path: string;
  readonly #tell: (line: string) => void;

  constructor(path: string, tell: (line: string) => void = () => {}) {
    this.#path = path;
    this.#tell = tell;
  }

  /** Those that are not over yet. */
  read(nowMs: number): Silence[] {
    const saved = readVersioned<Saved>(this.#path, this.#tell);
    return (saved?.silences ?? []).filter(({ untilMs }) => untilMs > nowMs);
  }

  add(silence: Omit<Silence, 'id'>, nowMs: number): Silence {
    const made = { id: randomUUID().slice(0, 8), ...silence };
    this.#write([...this.read(nowMs), made]);
    return made;
  }

  /** @returns whether there was one */
  end(id: string, nowMs: number): boolean {
    const silences = this.read(nowMs);
    const left = silences.filter((one) => one.id !== id);
    this.#write(left);
    return left.length < silences.length;
  }

  #write(silences: Silence[]): void {
    const saved: Saved = { v: 1, silences };
    makeRoomFor(this.#path);
    replaceFile(this.#path, `${JSON.stringify(saved)}\n`);
  }
}
