import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Run } from './case.js';
import type { Placement } from './children.js';
import { withDirectory } from './fabric-runs.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const build = join(root, 'native/build/bench');

export type NativeProgram =
  | 'core'
  | 'topic'
  | 'round'
  | 'futex'
  | 'futex_wake'
  | 'spsc'
  | 'posix_mq'
  | 'boost_mq';

export interface NativeWork {
  kind: 'one-way' | 'round-trip';
  placement: Placement;
  count: number;
  bytes: number;
  /** Of a topic: subscribers. */
  producers?: number;
  batch?: boolean;
}

/**
 * Builds the programs of bench/native.
 *
 * @returns why there are none, where there are none
 */
export function buildNative(): string | undefined {
  if (spawnSync('cmake', ['--version'], { stdio: 'ignore' }).error !== undefined) {
    return 'the native benches are left out: no cmake';
  }
  const off = ['TESTS', 'MODELS', 'CLI'].map((part) => `-DCFC_BUILD_${part}=OFF`);
  const settings = ['-DCMAKE_BUILD_TYPE=Release', '-DCFC_BUILD_BENCH=ON', ...off];
  const quiet = { stdio: ['ignore', 'ignore', 'inherit'] as ('ignore' | 'inherit')[], cwd: root };
  execFileSync('cmake', ['-S', 'native', '-B', build, '--log-level=WARNING', ...settings], quiet);
  execFileSync('cmake', ['--build', build, '-j2'], quiet);
  return undefined;
}

/** @returns why a program isn't there, where it isn't */
export function missing(program: NativeProgram): string | undefined {
  if (existsSync(pathOf(program))) return undefined;
  return program === 'boost_mq'
    ? 'boost mq is left out: no Boost.Interprocess when the benches were built (libboost-dev)'
    : `${program} is left out: it was not built`;
}

interface Output {
  detail: string;
  messages: number;
  elapsedNs?: number;
  samplesNs?: number[];
  lost?: number;
  outOfOrder?: number;
  slowestShare?: number;
}

/** Runs a program once. It places its processes itself, as `taskset` would. */
export function runNative(program: NativeProgram, work: NativeWork): () => Promise<Run> {
  return () =>
    withDirectory(async (dir) => {
      const child = spawn(pathOf(program), [...argumentsOf(work), '--dir', dir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [printed, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
      if (code !== 0) throw new Error(`${program} ended with ${code}`);
      return runOf(JSON.parse(printed) as Output, work.producers ?? 1);
    });
}

/** Milliseconds of rounds through a tree of processes with nothing but a futex each. */
export async function bareRounds(
  { coordinators, workers }: { coordinators: number; workers: number },
  rounds: number,
): Promise<Run> {
  const words = [workers, coordinators, rounds].map(String);
  const child = spawn(pathOf('round'), words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [printed, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  if (code !== 0) throw new Error(`the bare round ended with ${code}`);
  const { samplesNs = [], detail } = JSON.parse(printed) as Output;
  const samples = samplesNs.map((ns) => ns / 1e6);
  return { samples, sent: samples.length, lost: 0, outOfOrder: 0, detail };
}

function argumentsOf({
  kind,
  placement,
  count,
  bytes,
  producers = 1,
  batch,
}: NativeWork): string[] {
  const words = ['--count', count, '--bytes', bytes, '--producers', producers].map(String);
  return [kind, '--placement', placement, ...words, ...(batch ? ['--batch'] : [])];
}

function runOf(output: Output, producers: number): Run {
  const { messages, elapsedNs, samplesNs, lost = 0, outOfOrder = 0, slowestShare, detail } = output;
  const samples =
    samplesNs === undefined
      ? [messages / ((elapsedNs ?? Number.NaN) / 1e9)]
      : samplesNs.map((ns) => ns / 1000);
  const shares = slowestShare === undefined || producers === 1 ? {} : { slowestShare };
  return { samples, sent: messages, lost, outOfOrder, detail, ...shares };
}

function pathOf(program: NativeProgram): string {
  return join(build, 'bench', `bench_${program}`);
}
