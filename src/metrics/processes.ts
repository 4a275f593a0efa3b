import { readFileSync } from 'node:fs';
import { native } from '../core/native.js';

type Tags = Record<string, string>;

/** Processes that belong together. */
export interface Watched {
  /** Of who holds the name. */
  pid: number;
  /** Since boot: with the pid, who it is. */
  startTicks: number;
  /** Where that is a shim, what it started: then everything below the shim is asked, and not it. */
  command?: { pid: number; startTicks: number };
}

export interface ProcessFacts {
  tags: Tags;
  memoryMb: number;
  /** 0 where it may not be asked. */
  descriptors: number;
  /** Undefined at the first look, which has nothing to compare with. */
  load: number | undefined;
}

interface Known extends Watched {
  tags: Tags;
  cpuMs: number;
  askedAtMs: number;
  round: number;
}

const columns = 4;
const msPerTick = 10;

/** What the processes of a fabric take, so many at a time, each in its turn. */
export class Processes {
  readonly #atATime: number;
  readonly #cpus: number;
  readonly #known = new Map<number, Known>();
  #round = 0;
  #from = 0;
  readonly #bootedAtMs: number | undefined;

  constructor(atATime: number, cpus: number) {
    this.#atATime = atATime;
    this.#cpus = cpus;
    this.#bootedAtMs = bootTime();
  }

  begin(): void {
    this.#round += 1;
  }

  /** What an alive agent runs in: of many in one process the first gives its name. */
  note(watched: Watched, tags: Tags): void {
    const { pid, startTicks, command } = watched;
    if (pid === 0) return;
    const known = this.#known.get(pid);
    if (
      known !== undefined &&
      known.startTicks === startTicks &&
      known.command?.startTicks === command?.startTicks
    ) {
      if (known.round !== this.#round) known.tags = tags;
      known.round = this.#round;
      return;
    }
    this.#known.set(pid, { ...watched, tags, cpuMs: 0, askedAtMs: 0, round: this.#round });
  }

  /** @returns ms from the start of a process to a time; undefined where nobody knows */
  sinceStart(atMs: number, startTicks: number, nowMs: number): number | undefined {
    if (this.#bootedAtMs === undefined || startTicks === 0) return undefined;
    const tookMs = atMs - (this.#bootedAtMs + startTicks * msPerTick);
    // A process that joins again, or another fabric, was not started for it.
    return tookMs >= -2000 && tookMs <= 60_000 && atMs <= nowMs + 1000
      ? Math.max(0, tookMs)
      : undefined;
  }

  // Which process it is, for whoever compares one sample with another: a restart is no growth.
  #identity({ command, ...holder }: Watched): Tags {
    const { pid, startTicks } = command ?? holder;
    if (this.#bootedAtMs === undefined) return { pid: String(pid) };
    return { pid: String(pid), started: String(this.#bootedAtMs + startTicks * msPerTick) };
  }

  ask(nowMs: number): ProcessFacts[] {
    for (const [pid, { round }] of this.#known) if (round !== this.#round) this.#known.delete(pid);
    const all = [...this.#known.values()];
    const count = Math.min(this.#atATime, all.length);
    if (this.#from >= all.length) this.#from = 0;
    const chosen = Array.from(
      { length: count },
      (_, i) => all[(this.#from + i) % all.length] as Known,
    );
    this.#from += count;
    const pids = Float64Array.from(chosen, ({ pid, command }) => (command ? -pid : pid));
    const table = new Float64Array(columns * count);
    native.processUsage(pids, count, table);
    const facts: ProcessFacts[] = [];
    for (const [i, known] of chosen.entries()) {
      const [ownBytes, descriptors, cpuMs, startTicks] = table.subarray(columns * i) as unknown as [
        number,
        number,
        number,
        number,
      ];
      // Another process under the same number is none of ours.
      if (Number.isNaN(ownBytes) || startTicks !== known.startTicks) continue;
      const tookMs = nowMs - known.askedAtMs;
      const load =
        known.askedAtMs === 0 || tookMs <= 0
          ? undefined
          : Math.max(0, cpuMs - known.cpuMs) / tookMs / this.#cpus;
      known.cpuMs = cpuMs;
      known.askedAtMs = nowMs;
      const tags = { ...known.tags, ...this.#identity(known) };
      facts.push({ tags, memoryMb: ownBytes / 1e6, descriptors, load });
    }
    return facts;
  }
}

function bootTime(): number | undefined {
  try {
    const seconds = /^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1];
    return seconds === undefined ? undefined : Number(seconds) * 1000;
  } catch {
    return undefined;
  }
}
