import { readdirSync, readFileSync } from 'node:fs';

/** What the kernel says of a process. */
export interface ProcessFacts {
  /** Memory that is its own: no file's, no shared memory. */
  anonymousBytes: number;
  descriptors: number;
  threads: number;
  mappings: number;
}

/** @throws where the process is gone */
export function factsOf(pid: number): ProcessFacts {
  const of = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'latin1');
  const anonymous = /^Anonymous: +(\d+) kB$/m.exec(of('smaps_rollup'))?.[1];
  const threads = /^Threads:\s+(\d+)$/m.exec(of('status'))?.[1];
  // Our own look into the directory is a descriptor too.
  const own = pid === process.pid ? 1 : 0;
  return {
    anonymousBytes: Number(anonymous) * 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length - own,
    threads: Number(threads),
    mappings: of('maps').split('\n').length - 1,
  };
}
