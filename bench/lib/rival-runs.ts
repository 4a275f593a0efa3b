import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Run } from './case.js';
import { type Peer, type Placement, pairUp, startPackaged, startPeer } from './children.js';
import { rateOf, withDirectory } from './fabric-runs.js';
import type { Received, Sent } from './peer.js';

const timesOf = (samples: number[]): Run => ({
  samples,
  sent: samples.length,
  lost: 0,
  outOfOrder: 0,
});

// ---- a Unix socket: frames with a length, a write each

export function socketOneWay(count: number, bytes: number, at: Placement): () => Promise<Run> {
  return () =>
    withDirectory(async (dir) => {
      const path = join(dir, 'socket');
      const words = [path, String(count), String(bytes), 'send'];
      const [sent, got] = await pairUp<Sent, Received>(
        () => startPeer('socket-send', words, at, 1),
        startPeer('socket-receive', [path, String(count), 'count'], at, 0),
      );
      return rateOf(count, sent, got);
    });
}

export function socketRoundTrip(count: number, bytes: number, at: Placement): () => Promise<Run> {
  return () =>
    withDirectory(async (dir) => {
      const path = join(dir, 'socket');
      const words = [path, String(count), String(bytes), 'ask'];
      const [samples] = await pairUp<number[], unknown>(
        () => startPeer('socket-send', words, at, 1),
        startPeer('socket-receive', [path, '0', 'echo'], at, 0),
      );
      return timesOf(samples);
    });
}

// ---- what Node brings: the peer starts its other side itself

export type NodeWay = 'node-ipc' | 'message-port';

export function nodeOneWay(
  way: NodeWay,
  count: number,
  bytes: number,
  at: Placement,
): () => Promise<Run> {
  return async () => {
    const peer = startPeer(way, ['send', at, String(count), String(bytes)], at, 1);
    const result = await peer.result<Sent & Received>();
    return rateOf(count, result, result);
  };
}

export function nodeRoundTrip(
  way: NodeWay,
  count: number,
  bytes: number,
  at: Placement,
): () => Promise<Run> {
  return async () => {
    const peer = startPeer(way, ['ask', at, String(count), String(bytes)], at, 1);
    return timesOf(await peer.result<number[]>());
  };
}

// ---- file IPC, as bench/baseline has it

export type FileVariant = 'A' | 'B' | 'C' | 'D';

const toolsOf: Readonly<Record<FileVariant, readonly string[]>> = {
  A: ['bash', 'flock'],
  B: ['perl', 'mkfifo'], // for whole-system syncs, which Node has none of
  C: [],
  D: [],
};

/** @returns programs that a variant needs and that aren't here */
export function missingFor(variant: FileVariant): string[] {
  return toolsOf[variant].filter(
    (tool) => spawnSync(tool, ['--version'], { stdio: 'ignore' }).error !== undefined,
  );
}

export function filesOneWay(
  variant: FileVariant,
  count: number,
  bytes: number,
  at: Placement,
): () => Promise<Run> {
  return () =>
    withInboxes(async (dir) => {
      const start = (role: string, side: 0 | 1) =>
        startFiles(variant, role, dir, count, bytes, at, side);
      const [near, far] = await pairUp<Sent & { sent: number }, Received & { outOfOrder: number }>(
        () => start('send', 1),
        start('receive', 0),
      );
      return { ...rateOf(near.sent, near, far), outOfOrder: far.outOfOrder };
    });
}

export function filesRoundTrip(
  variant: FileVariant,
  count: number,
  bytes: number,
  at: Placement,
): () => Promise<Run> {
  return () =>
    withInboxes(async (dir) => {
      const start = (role: string, side: 0 | 1) =>
        startFiles(variant, role, dir, count, bytes, at, side);
      const [samples] = await pairUp<number[], unknown>(() => start('ask', 1), start('answer', 0));
      return timesOf(samples);
    });
}

function startFiles(
  variant: FileVariant,
  role: string,
  dir: string,
  count: number,
  bytes: number,
  at: Placement,
  side: 0 | 1,
): Peer {
  const args = [variant, role, dir, String(count), String(bytes)];
  return startPackaged('file-ipc-peer', args, at, side);
}

function withInboxes<T>(use: (dir: string) => Promise<T>): Promise<T> {
  return withDirectory((dir) => {
    for (const agent of ['sender', 'receiver']) {
      for (const box of ['inbox', 'outbox']) mkdirSync(join(dir, agent, box), { recursive: true });
    }
    return use(dir);
  });
}
