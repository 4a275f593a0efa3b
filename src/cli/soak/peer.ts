// A process of `cfc soak`: plays one role in the fabric until it is told to stop, and says on request
// how it is. Its master is the other end of its IPC channel; without that it ends.
// Arguments: role, name, directory, fabric, its options as JSON.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Agent, CfcError, Fabric } from '../../index.js';
import type { PeerCounts, PeerOptions, Request } from './crew.js';
import { Latencies } from './latencies.js';

const [role = '', name = '', dir = '', fabricName = '', json = '{}'] = process.argv.slice(2);
const options = JSON.parse(json) as PeerOptions;
const fabric = await Fabric.open(fabricName, { dir });
const counts: PeerCounts = {
  ...{ accepted: 0, acked: 0, large: 0, joins: 0, attaches: 0, subscribes: 0, published: 0 },
};
/** Since the last sample. */
const latencies = new Latencies();
const largeBytes = 4096;
const largeEach = 100;
const tickMs = 20;
const workMs = 30_000;

let stopping = false;
let made = 0;
/** Somebody wants a sample: at the end of the cycle. */
let asked: (() => void) | undefined;

process.on('disconnect', () => process.exit(1));
process.on('message', (request: Request) => {
  if (request === 'stop') stopping = true;
  else if (role === 'churn') asked = sample;
  else sample();
});

const roles: Record<string, () => Promise<void>> = { sender, receiver, canary, churn };
const play = roles[role];
if (play === undefined) throw new Error(`no role ${role}`);
await play();
// Where nobody is told to stop in the middle of it.
await fabric.close();
process.send?.({ stopped: counts }, () => process.disconnect());

function sample(): void {
  globalThis.gc?.();
  const heapBytes = process.memoryUsage().heapUsed;
  process.send?.({ sample: { heapBytes, p99Us: latencies.p99(), counts } });
  latencies.clear();
}

function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/** Sends at an even pace, to one after the other; each message says when it left. */
async function sender(): Promise<void> {
  const me = await fabric.join(name, { role: 'sender' });
  process.send?.('ready');
  const began = performance.now();
  let due = 0;
  for (let turn = 0; !stopping; turn += 1) {
    const to = options.recipients[turn % options.recipients.length] as string;
    const target = Math.floor(((performance.now() - began) * options.perSecond) / 1000);
    // Who was held up does not catch up with everything at once.
    if (target - due > options.perSecond) due = target - options.perSecond;
    if (target > due) await sendSome(me, to, Math.min(50, target - due));
    due = Math.min(target, due + 50);
    if (target - due < 50) await sleep(tickMs);
  }
}

async function sendSome(me: Agent, to: string, count: number): Promise<void> {
  const bodies = Array.from({ length: count }, () => {
    made += 1;
    const large = made % largeEach === 0;
    if (large) counts.large += 1;
    const body = new Uint8Array(large ? largeBytes : 64);
    new DataView(body.buffer).setFloat64(0, nowUs());
    return body;
  });
  try {
    counts.accepted += (await me.sendBatch(to, bodies, { timeoutMs: workMs })).length;
  } catch (error) {
    if (!(error instanceof CfcError)) throw error;
    counts.accepted += Number(error.details.accepted ?? 0);
    await sleep(tickMs);
  }
}

async function receiver(): Promise<void> {
  const me = await fabric.join(name, { role: 'receiver' });
  process.send?.('ready');
  while (!stopping) await receiveSome(me);
}

async function receiveSome(me: Agent): Promise<void> {
  const batch = await me.receiveBatch({ max: 256, timeoutMs: 500 });
  const now = nowUs();
  for (const { body } of batch) {
    latencies.add(now - new DataView(body.buffer, body.byteOffset).getFloat64(0));
  }
  batch.ack();
  counts.acked += batch.length;
}

/** A receiver that keeps a little of what it should let go: what the gate must find. */
async function canary(): Promise<void> {
  const me = await fabric.join(name, { role: 'canary' });
  process.send?.('ready');
  const kept: number[][] = [];
  let keptBytes = 0;
  globalThis.gc?.();
  const baseBytes = process.memoryUsage().heapUsed;
  const began = performance.now();
  while (!stopping) {
    await receiveSome(me);
    const hours = (performance.now() - began) / 3_600_000;
    const wanted = hours * options.leakPerHour * baseBytes;
    // Arrays of 128 elements: 8 bytes each, and what an array and its elements begin with.
    for (; keptBytes < wanted; keptBytes += 128 * 8 + 48) kept.push(new Array<number>(128).fill(1));
  }
  if (kept.length < 0) process.exitCode = 1; // it is used: no collector may take it away
}

/** Agents come and go, publish and subscribe; now and then a process attaches anew. */
async function churn(): Promise<void> {
  const base = await fabric.join(name, { role: 'churn', mailboxCells: 64 });
  process.send?.('ready');
  for (let cycle = 0; !stopping; cycle += 1) {
    const again = cycle % 10 === 9;
    const where = again ? await Fabric.open(fabricName, { dir }) : fabric;
    if (again) counts.attaches += 1;
    const guest = await where.join(`${name}-guest-${cycle % 7}`, {
      role: 'guest',
      mailboxCells: 64,
    });
    counts.joins += 1;
    const news = guest.subscribe('soak.news', { policy: 'lossy' });
    counts.subscribes += 1;
    for (let i = 0; i < 5; i += 1) {
      await base.publish('soak.news', { cycle, i });
      counts.published += 1;
      if (base.trySend(guest.name, new Uint8Array(8))) counts.accepted += 1;
    }
    for (let i = 0; i < 5; i += 1) await news.receive({ timeoutMs: workMs });
    await news.close();
    const batch = await guest.receiveBatch({ max: 16, timeoutMs: workMs });
    batch.ack();
    counts.acked += batch.length;
    await guest.leave();
    if (again) await where.close();
    asked?.();
    asked = undefined;
    await sleep(options.pauseMs);
  }
}
