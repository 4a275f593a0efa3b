import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';

/** Where a figure comes from. Printed with every run. */
export interface Machine {
  cpu: string;
  cpus: number;
  kernel: string;
  node: string;
  cfc: string;
  commit: string;
  /** What builds the C++ benches. */
  compiler: string;
  /** Of the last minute, when the benches began: figures taken beside other work say so. */
  load: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    kernel: release(),
    node: process.version,
    cfc: packageVersion(),
    commit: commit(),
    compiler: compiler(),
    load: loadAverage(),
  };
}

/** In a line. */
export function describe(machine: Machine): string {
  const { cpu, cpus: count, kernel, node, compiler: cxx, cfc, commit: at, load } = machine;
  const versions = `Linux ${kernel}, Node ${node}, ${cxx}, cfc ${cfc} at ${at}`;
  return `${cpu}, ${count} CPUs, ${versions}; load ${load} at the start`;
}

function loadAverage(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);
}

function packageVersion(): string {
  const manifest = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

function compiler(): string {
  const asked = spawnSync('c++', ['--version'], { encoding: 'utf8' });
  return asked.error === undefined ? (asked.stdout.split('\n')[0] ?? '') : 'none';
}

function commit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    const dirty = git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' (changed)';
    return git('rev-parse', '--short', 'HEAD') + dirty;
  } catch {
    return 'unknown';
  }
}
