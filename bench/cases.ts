import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Fabric } from 'cfc';
import { type Placement, startPeer } from './lib/children.js';

/** One bench: what runs, against whom, and what it has to reach. */
export interface Case {
  name: string;
  unit: 'messages/s' | 'GB/s' | 'us';
  placement: Placement;
  /** @returns samples: rates, or times of single round trips */
  ours(): Promise<number[]>;
  rival?: { name: string; run(): Promise<number[]> };
  /** What ours over the rival's must be: at least for rates, at most for times. */
  targetRatio?: number;
  /** The same for the 99th percentile of times. */
  targetRatioP99?: number;
  /** Of the absolute figure, on the machine that docs/performance.md names. */
  target?: number;
}

type Mode = 'batch' | 'one';

/** Runs `use` with a fabric of its own, in a directory of its own. */
async function withFabric<T>(use: (name: string, dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync('/dev/shm/cfc-bench-');
  const fabric = await Fabric.open('bench', { create: true, dir });
  try {
    return await use('bench', dir);
  } finally {
    await fabric.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Messages a second, one way. */
function fabricOneWay(count: number, bytes: number, send: Mode, receive: Mode, at: Placement) {
  return () =>
    withFabric(async (name, dir) => {
      const receiver = startPeer('fabric-receive', [name, dir, String(count), receive], at, 0);
      await receiver.ready();
      const args = [name, dir, String(count), String(bytes), send];
      const sender = startPeer('fabric-send', args, at, 1);
      const [got] = await Promise.all([
        receiver.result<{ received: number; elapsedMs: number }>(),
        sender.done(),
      ]);
      if (got.received !== count) throw new Error(`lost ${count - got.received} of ${count}`);
      return [(count / got.elapsedMs) * 1000];
    });
}

function socketOneWay(count: number, bytes: number, at: Placement) {
  return () =>
    withSocket(async (path) => {
      const receiver = startPeer('socket-receive', [path, String(count), 'count'], at, 0);
      await receiver.ready();
      const sender = startPeer('socket-send', [path, String(count), String(bytes), 'send'], at, 1);
      const [got] = await Promise.all([
        receiver.result<{ received: number; elapsedMs: number }>(),
        sender.done(),
      ]);
      return [(got.received / got.elapsedMs) * 1000];
    });
}

/** Microseconds of single round trips, one in flight. */
function fabricRoundTrip(count: number, bytes: number, at: Placement) {
  return () =>
    withFabric(async (name, dir) => {
      const answerer = startPeer('fabric-answer', [name, dir], at, 0);
      await answerer.ready();
      const asker = startPeer('fabric-ask', [name, dir, String(count), String(bytes)], at, 1);
      const [samples] = await Promise.all([asker.result<number[]>(), answerer.done()]);
      return samples;
    });
}

function socketRoundTrip(count: number, bytes: number, at: Placement) {
  return () =>
    withSocket(async (path) => {
      const echo = startPeer('socket-receive', [path, '0', 'echo'], at, 0);
      await echo.ready();
      const asker = startPeer('socket-send', [path, String(count), String(bytes), 'ask'], at, 1);
      const [samples] = await Promise.all([asker.result<number[]>(), echo.done()]);
      return samples;
    });
}

async function withSocket<T>(use: (path: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync('/dev/shm/cfc-bench-');
  try {
    return await use(join(dir, 'socket'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const inGigabytes = (bytes: number, rates: () => Promise<number[]>) => async () =>
  (await rates()).map((rate) => (rate * bytes) / 1e9);

/** @param scale multiplies the work; 1 takes about a second a run */
export function cases(scale: number): Case[] {
  const of = (count: number) => Math.max(1000, Math.round((count * scale) / 1000) * 1000);
  const large = 64 * 1024;
  return [
    {
      name: 'one way, 64 B, batches',
      unit: 'messages/s',
      placement: 'free',
      ours: fabricOneWay(of(3_000_000), 64, 'batch', 'batch', 'free'),
      rival: { name: 'unix socket', run: socketOneWay(of(300_000), 64, 'free') },
      targetRatio: 8,
      target: 2_500_000,
    },
    {
      name: 'one way, 1 KiB, batches',
      unit: 'messages/s',
      placement: 'free',
      ours: fabricOneWay(of(1_500_000), 1024, 'batch', 'batch', 'free'),
      rival: { name: 'unix socket', run: socketOneWay(of(200_000), 1024, 'free') },
      targetRatio: 8,
      target: 1_500_000,
    },
    {
      name: 'one way, 64 B, await send, for await with ack',
      unit: 'messages/s',
      placement: 'free',
      ours: fabricOneWay(of(800_000), 64, 'one', 'one', 'free'),
      rival: { name: 'unix socket', run: socketOneWay(of(300_000), 64, 'free') },
      target: 600_000,
    },
    {
      name: 'sendBatch of 50 against await send, 64 B',
      unit: 'messages/s',
      placement: 'free',
      ours: fabricOneWay(of(3_000_000), 64, 'batch', 'batch', 'free'),
      rival: { name: 'await send', run: fabricOneWay(of(800_000), 64, 'one', 'batch', 'free') },
      targetRatio: 3,
    },
    {
      name: 'one way, 64 KiB',
      unit: 'GB/s',
      placement: 'free',
      ours: inGigabytes(large, fabricOneWay(of(40_000), large, 'one', 'batch', 'free')),
      rival: {
        name: 'unix socket',
        run: inGigabytes(large, socketOneWay(of(20_000), large, 'free')),
      },
      target: 3,
    },
    {
      name: 'ask and reply, 1 KiB',
      unit: 'us',
      placement: '1core',
      ours: fabricRoundTrip(of(20_000), 1024, '1core'),
      rival: { name: 'unix socket', run: socketRoundTrip(of(10_000), 1024, '1core') },
      targetRatio: 0.6,
    },
    {
      name: 'ask and reply, 1 KiB',
      unit: 'us',
      placement: 'free',
      ours: fabricRoundTrip(of(20_000), 1024, 'free'),
      rival: { name: 'unix socket', run: socketRoundTrip(of(10_000), 1024, 'free') },
      targetRatio: 0.1,
      targetRatioP99: 1,
    },
  ];
}
