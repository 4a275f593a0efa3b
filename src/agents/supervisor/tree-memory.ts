import { readdirSync, readFileSync } from 'node:fs';

/** A tree deeper or wider than this is not looked at further: it changes while one looks. */
const mostProcesses = 10_000;

/**
 * The resident memory of all processes below one, in bytes; pages that several of them share count
 * for each. What ends meanwhile counts as nothing.
 */
export function memoryBelow(pid: number): number {
  let bytes = 0;
  const pids = childrenOf(pid);
  for (let i = 0; i < pids.length && i < mostProcesses; i += 1) {
    const one = pids[i] as number;
    bytes += residentBytes(one);
    pids.push(...childrenOf(one));
  }
  return bytes;
}

// A child is listed below the thread that started it.
function childrenOf(pid: number): number[] {
  const tasks = `/proc/${pid}/task`;
  return threadsIn(tasks).flatMap((thread) =>
    read(`${tasks}/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
}

function threadsIn(tasks: string): string[] {
  try {
    return readdirSync(tasks);
  } catch {
    return [];
  }
}

function residentBytes(pid: number): number {
  const match = /^VmRSS:\s*(\d+) kB$/m.exec(read(`/proc/${pid}/status`));
  return match === null ? 0 : Number(match[1]) * 1024;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
