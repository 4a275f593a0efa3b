import type { Case, Rival, Run } from './lib/case.js';
import type { Placement } from './lib/children.js';
import { fabricOneWay, fabricRoundTrip } from './lib/fabric-runs.js';
import {
  type FileVariant,
  filesOneWay,
  filesRoundTrip,
  missingFor,
  nodeOneWay,
  nodeRoundTrip,
  socketOneWay,
  socketRoundTrip,
} from './lib/rival-runs.js';

/** Messages of a run at scale 1: what takes each about a second. */
const counts = {
  socket: { 64: 300_000, 1024: 200_000 },
  nodeIpc: { 64: 150_000, 1024: 100_000 },
  messagePort: { 64: 300_000, 1024: 150_000 },
  files: { A: 20, B: 3000, C: 10_000, D: 10_000 },
} as const;

const fileVariants: readonly FileVariant[] = ['A', 'B', 'C', 'D'];
const fileNames: Readonly<Record<FileVariant, string>> = {
  A: 'file IPC A (bash)',
  B: 'file IPC B (Node)',
  C: 'file IPC C (Node)',
  D: 'file IPC D (Node)',
};

/**
 * JavaScript on both sides, through the public interface.
 *
 * @param scale multiplies the work; 1 takes about a second a run
 * @param placement overrides that of every case
 */
export function cases(scale: number, placement?: Placement): Case[] {
  const of = (count: number) => Math.max(1000, Math.round((count * scale) / 1000) * 1000);
  const few = (count: number) => Math.max(3, Math.round(count * scale));
  const free = placement ?? 'free';
  const large = 64 * 1024;

  const oneWayRivals = (bytes: 64 | 1024, aims: { socket: number; filesD?: number }): Rival[] => [
    {
      name: 'Unix socket',
      run: socketOneWay(of(counts.socket[bytes]), bytes, free),
      targetRatio: aims.socket,
    },
    {
      name: 'child_process IPC',
      run: nodeOneWay('node-ipc', of(counts.nodeIpc[bytes]), bytes, free),
    },
    {
      name: 'MessagePort',
      run: nodeOneWay('message-port', of(counts.messagePort[bytes]), bytes, free),
    },
    ...fileRivals((variant) => filesOneWay(variant, few(counts.files[variant]), bytes, free)).map(
      (rival) =>
        rival.name === fileNames.D && aims.filesD ? { ...rival, targetRatio: aims.filesD } : rival,
    ),
  ];
  const roundTripRivals = (at: Placement): Rival[] => [
    { name: 'child_process IPC', run: nodeRoundTrip('node-ipc', of(5000), 1024, at) },
    { name: 'MessagePort', run: nodeRoundTrip('message-port', of(5000), 1024, at) },
  ];
  const at1 = placement ?? '1core';

  return [
    {
      name: 'one way, 64 B, batches',
      unit: 'messages/s',
      placement: free,
      ours: { name: 'cfc', run: fabricOneWay(of(3_000_000), 64, 'batch', 'batch', free) },
      rivals: oneWayRivals(64, { socket: 8, filesD: 100 }),
      target: 2_500_000,
    },
    {
      name: 'one way, 1 KiB, batches',
      unit: 'messages/s',
      placement: free,
      ours: { name: 'cfc', run: fabricOneWay(of(1_500_000), 1024, 'batch', 'batch', free) },
      rivals: oneWayRivals(1024, { socket: 8 }),
      target: 1_500_000,
    },
    {
      name: 'one way, 64 B, await send, for await with ack',
      unit: 'messages/s',
      placement: free,
      ours: { name: 'cfc', run: fabricOneWay(of(800_000), 64, 'one', 'one', free) },
      rivals: [{ name: 'Unix socket', run: socketOneWay(of(counts.socket[64]), 64, free) }],
      target: 600_000,
    },
    {
      name: 'sendBatch of 50 against await send, 64 B',
      unit: 'messages/s',
      placement: free,
      ours: { name: 'cfc', run: fabricOneWay(of(3_000_000), 64, 'batch', 'batch', free) },
      rivals: [
        {
          name: 'await send',
          run: fabricOneWay(of(800_000), 64, 'one', 'batch', free),
          targetRatio: 3,
        },
      ],
    },
    {
      name: 'one way, 64 KiB',
      unit: 'GB/s',
      placement: free,
      ours: {
        name: 'cfc',
        run: inGigabytes(large, fabricOneWay(of(40_000), large, 'one', 'batch', free)),
      },
      rivals: [
        {
          name: 'Unix socket',
          run: inGigabytes(large, socketOneWay(of(20_000), large, free)),
        },
      ],
      target: 3,
    },
    {
      name: 'ask and reply, 1 KiB',
      unit: 'us',
      placement: at1,
      ours: { name: 'cfc', run: fabricRoundTrip(of(20_000), 1024, at1) },
      rivals: [
        { name: 'Unix socket', run: socketRoundTrip(of(10_000), 1024, at1), targetRatio: 0.6 },
        ...roundTripRivals(at1),
      ],
    },
    {
      name: 'ask and reply, 1 KiB',
      unit: 'us',
      placement: free,
      ours: { name: 'cfc', run: fabricRoundTrip(of(20_000), 1024, free) },
      rivals: [
        {
          name: 'Unix socket',
          run: socketRoundTrip(of(10_000), 1024, free),
          targetRatio: 0.1,
          targetRatioP99: 1,
        },
        ...roundTripRivals(free),
        // Those in Node look again without a pause, so they have no place on one CPU for two.
        ...fileRivals((variant) => {
          const count = variant === 'A' ? few(5) : few(500);
          return filesRoundTrip(variant, count, 1024, free);
        }),
      ],
    },
  ];
}

/** Why a variant of file IPC is not among the rivals here. */
export function leftOut(): string[] {
  return fileVariants.flatMap((variant) => {
    const tools = missingFor(variant);
    return tools.length > 0 ? [`${fileNames[variant]} is left out: no ${tools.join(', ')}`] : [];
  });
}

function fileRivals(runOf: (variant: FileVariant) => () => Promise<Run>): Rival[] {
  return fileVariants
    .filter((variant) => missingFor(variant).length === 0)
    .map((variant) => ({ name: fileNames[variant], run: runOf(variant) }));
}

function inGigabytes(bytes: number, rates: () => Promise<Run>): () => Promise<Run> {
  return async () => {
    const { samples, ...rest } = await rates();
    return { ...rest, samples: samples.map((rate) => (rate * bytes) / 1e9) };
  };
}
