import { mkdtempSync, rmSync } from 'node:fs';
import { Fabric } from 'cfc';
import type { Run } from './case.js';
import { type Placement, pairUp, startPeer } from './children.js';
import type { Received, Sent } from './peer.js';

export type Mode = 'batch' | 'one';

/** Runs `use` with a directory of its own in shared memory. */
export async function withDirectory<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync('/dev/shm/cfc-bench-');
  const remove = () => rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
  const interrupt = () => {
    remove();
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, interrupt);
  try {
    return await use(dir);
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, interrupt);
    remove();
  }
}

/** Runs `use` with a fabric called `bench` of its own. */
export function withFabric<T>(use: (fabric: Fabric, dir: string) => Promise<T>): Promise<T> {
  return withDirectory(async (dir) => {
    const fabric = await Fabric.open('bench', { create: true, dir });
    try {
      return await use(fabric, dir);
    } finally {
      await fabric.close();
    }
  });
}

/** From the first send to the last message received. */
export function rateOf(sent: number, { beganAtUs }: Sent, { received, endedAtUs }: Received): Run {
  const samples = [(received * 1e6) / (endedAtUs - beganAtUs)];
  return { samples, sent, lost: sent - received, outOfOrder: 0 };
}

/** Messages a second, one way. The receiver fails at the first message that is out of order. */
export function fabricOneWay(
  count: number,
  bytes: number,
  send: Mode,
  receive: Mode,
  at: Placement,
): () => Promise<Run> {
  return () =>
    withFabric(async (_fabric, dir) => {
      const words = ['bench', dir, String(count), String(bytes), send];
      const [sent, got] = await pairUp<Sent, Received>(
        () => startPeer('fabric-send', words, at, 1),
        startPeer('fabric-receive', ['bench', dir, String(count), receive], at, 0),
      );
      return rateOf(count, sent, got);
    });
}

/** Microseconds of single round trips, one in flight. */
export function fabricRoundTrip(count: number, bytes: number, at: Placement): () => Promise<Run> {
  return () =>
    withFabric(async (_fabric, dir) => {
      const words = ['bench', dir, String(count), String(bytes)];
      const [samples] = await pairUp<number[], unknown>(
        () => startPeer('fabric-ask', words, at, 1),
        startPeer('fabric-answer', ['bench', dir], at, 0),
      );
      return { samples, sent: count, lost: count - samples.length, outOfOrder: 0 };
    });
}
