import { readFileSync } from 'node:fs';
import { native } from '../core/native.js';

type Tags = Record<string, string>;

export interface ProcessFacts {
  tags: Tags;
  memoryMb: number;
  /** 0 where it may not be asked. */
  descriptors: number;
  /** Undefined at the first look, which has nothing to compare with. */
  load: number | undefined;
}

interface Known {
  startTicks: number;
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

  /** A process that an alive agent runs in: of many of them the first gives its name. */
  note(pid: number, startTicks: number, tags: Tags): void {
    if (pid === 0) return;
    const known = this.#known.get(pid);
    if (known !== undefined && known.startTicks === startTicks) {
      if (known.round !== this.#round) known.tags = tags;
      known.round = this.#round;
      return;
    }
    this.#known.set(pid, { startTicks, tags, cpuMs: 0, askedAtMs: 0, round: this.#round });
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
  #identity(pid: number, startTicks: number): Tags {
    if (this.#bootedAtMs === undefined) return { pid: String(pid) };
    return { pid: String(pid), started: String(this.#bootedAtMs + startTicks * msPerTick) };
  }

  ask(nowMs: number): ProcessFacts[] {
    for (const [pid, { round }] of this.#known) if (round !== this.#round) this.#known.delete(pid);
    const pids = [...this.#known.keys()];
    const count = Math.min(this.#atATime, pids.length);
    if (this.#from >= pids.length) this.#from = 0;
    const chosen = Float64Array.from(
      { length: count },
      (_, i) => pids[(this.#from + i) % pids.length] as number,
    );
    this.#from += count;
    const table = new Float64Array(columns * count);
    native.processUsage(chosen, count, table);
    const facts: ProcessFacts[] = [];
    for (let i = 0; i < count; i += 1) {
      const known = this.#known.get(chosen[i] as number) as Known;
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
      const tags = { ...known.tags, ...this.#identity(chosen[i] as number, startTicks) };
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
