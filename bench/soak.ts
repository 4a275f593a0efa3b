import type { Fabric } from 'cfc';
import { type Peer, startPeer } from './lib/children.js';
import { withFabric } from './lib/fabric-runs.js';
import { show } from './lib/print.js';

/** What became of every message: accepted by senders, the rest counted in the fabric. */
export interface Ledger {
  minutes: number;
  accepted: number;
  acked: number;
  queued: number;
  dropped: number;
  deadLettered: number;
  /** accepted - acked - queued - dropped - deadLettered */
  difference: number;
  /** Acked as the readers counted it. */
  ackedByReaders: number;
  messagesPerSecond: number;
}

/** The fabric counts each lane in 32 bits, which a long run exceeds. */
const wrap = 2 ** 32;
const tickMs = 10_000;
const graceMs = 120_000;

// Two senders that wait for room and a quick reader; one sender that pushes out the oldest and a
// slow reader, which leaves a full mailbox behind.
const readers = [
  { name: 'all', pace: 'quick', policy: 'in-order' },
  { name: 'latest', pace: 'slow', policy: 'with-gaps' },
];
const senders = [
  { name: 'first', to: 'all', policy: 'block' },
  { name: 'second', to: 'all', policy: 'block' },
  { name: 'third', to: 'latest', policy: 'drop-oldest' },
];

/** Sends at full rate for so long; then stops with messages still queued, and counts. */
export function soak(minutes: number, progress: (text: string) => void): Promise<Ledger> {
  return withFabric(async (fabric, dir) => {
    const limitMs = minutes * 60_000 + graceMs;
    const start = (peer: string, ...args: string[]) => startPeer(peer, args, 'free', 0, limitMs);
    const running: Peer[] = [];
    const ticking = setInterval(() => progress('.'), tickMs);
    try {
      const reading = readers.map((reader) =>
        start('soak-receive', dir, reader.name, reader.pace, reader.policy),
      );
      running.push(...reading);
      for (const peer of reading) await peer.ready();
      const ms = String(minutes * 60_000);
      const sending = senders.map((sender) =>
        start('soak-send', dir, sender.name, sender.to, sender.policy, ms),
      );
      running.push(...sending);
      // What the readers have not had when they are stopped counts as queued.
      const sent = await Promise.all(sending.map((peer) => peer.result<{ accepted: number }>()));
      const stops = await stopReaders(fabric);
      const read = await Promise.all(reading.map((peer) => peer.result<{ acked: number }>()));
      const accepted = sum(sent.map((peer) => peer.accepted)) + stops;
      return ledgerOf(fabric, minutes, accepted, sum(read.map((peer) => peer.acked)));
    } finally {
      clearInterval(ticking);
      progress('\n');
      for (const peer of running) peer.kill();
    }
  });
}

async function stopReaders(fabric: Fabric): Promise<number> {
  const boss = await fabric.join('boss');
  for (const { name } of readers) await boss.send(name, '', { type: 'stop', priority: 'control' });
  await boss.leave();
  return readers.length;
}

function ledgerOf(
  fabric: Fabric,
  minutes: number,
  accepted: number,
  ackedByReaders: number,
): Ledger {
  const { acked, queued, dropped, deadLettered } = fabric.census();
  const difference = (accepted - acked - queued - dropped - deadLettered) % wrap;
  const messagesPerSecond = ackedByReaders / (minutes * 60);
  return {
    minutes,
    accepted,
    acked,
    queued,
    dropped,
    deadLettered,
    difference,
    ackedByReaders,
    messagesPerSecond,
  };
}

export function printLedger(ledger: Ledger): void {
  const { minutes, messagesPerSecond, ackedByReaders, ...counts } = ledger;
  console.log(`${minutes} minutes at full rate, ${show(messagesPerSecond)} messages/s acked`);
  for (const [name, count] of Object.entries(counts)) {
    console.log(`  ${name.padEnd(14)} ${count.toLocaleString('en')}`);
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
