import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Agent, CfcError, Fabric } from '../../index.js';
import { pulseMetric } from './caretakers.js';
import type { Stage } from './stage.js';

const largeBytes = 4096;
const largeEach = 100;
const tickMs = 20;
const workMs = 30_000;
/** Of those that a sender sends at once. */
const mostAtOnce = 256;

function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/** Sends at an even pace, to one after the other; each message says when it left. */
export async function sender(stage: Stage): Promise<void> {
  const { recipients, perSecond } = stage.options;
  const me = await stage.fabric.join(stage.name);
  await practiseWaiting(stage, me);
  stage.ready();
  const began = performance.now();
  let sent = 0;
  for (let turn = 0; !stage.stopping; turn += 1) {
    const to = recipients[turn % recipients.length] as string;
    const target = Math.floor(((performance.now() - began) * perSecond) / 1000);
    // Who was held up does not catch up with everything at once.
    if (target - sent > perSecond) sent = target - Math.ceil(perSecond);
    const count = Math.min(mostAtOnce, target - sent);
    if (count > 0) await sendSome(stage, me, to, count);
    sent += Math.max(0, count);
    if (target === sent) await sleep(tickMs);
  }
}

/**
 * Waits for room, in vain and not, in its own mailbox. V8 makes the code of a wait at the first one,
 * 0.1 MB that stay; else that is whenever the machine is busy for a moment, and looks like growth.
 */
async function practiseWaiting(stage: Stage, me: Agent): Promise<void> {
  const { counts } = stage;
  const bodies = Array.from({ length: mostAtOnce }, () => new Uint8Array(64));
  const fill = async (timeoutMs: number) => {
    counts.accepted += (await me.sendBatch(me.name, bodies, { timeoutMs })).length;
  };
  try {
    for (;;) await fill(1);
  } catch (error) {
    if (!(error instanceof CfcError)) throw error;
    counts.accepted += Number(error.details.accepted ?? 0);
  }
  let waits = true;
  const filled = fill(workMs).finally(() => {
    waits = false;
  });
  while (waits || me.count() > 0) {
    const batch = await me.receiveBatch({ max: mostAtOnce, timeoutMs: 0 });
    batch.ack();
    counts.acked += batch.length;
    await sleep(0);
  }
  await filled;
}

let made = 0;

async function sendSome(stage: Stage, me: Agent, to: string, count: number): Promise<void> {
  const { counts } = stage;
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

export async function receiver(stage: Stage): Promise<void> {
  const me = await stage.fabric.join(stage.name);
  stage.ready();
  while (!stage.stopping) await receiveSome(stage, me);
}

async function receiveSome(stage: Stage, me: Agent): Promise<void> {
  const batch = await me.receiveBatch({ max: 256, timeoutMs: 500 });
  const now = nowUs();
  for (const message of batch) {
    if (message.expectsReply) {
      await message.reply({ batch: batch.length });
      stage.counts.accepted += 1;
      continue;
    }
    const { body } = message;
    stage.latencies.add(now - new DataView(body.buffer, body.byteOffset).getFloat64(0));
  }
  batch.ack();
  stage.counts.acked += batch.length;
  me.beat();
  stage.counts.beats += 1;
}

/** A receiver that keeps a little of what it should let go: what the gate must find. */
export async function canary(stage: Stage): Promise<void> {
  const me = await stage.fabric.join(stage.name);
  stage.ready();
  const kept: number[][] = [];
  let keptBytes = 0;
  globalThis.gc?.();
  const baseBytes = process.memoryUsage().heapUsed;
  const began = performance.now();
  while (!stage.stopping) {
    await receiveSome(stage, me);
    const hours = (performance.now() - began) / 3_600_000;
    const wanted = hours * stage.options.leakPerHour * baseBytes;
    // Arrays of 128 elements: 8 bytes each, and what an array and its elements begin with.
    for (; keptBytes < wanted; keptBytes += 128 * 8 + 48) kept.push(new Array<number>(128).fill(1));
  }
  if (kept.length < 0) process.exitCode = 1; // it is used: no collector may take it away
}

/** Asks those below it how they are, one after the other. */
export async function coordinator(stage: Stage): Promise<void> {
  const { recipients, pauseMs } = stage.options;
  const { counts } = stage;
  const me = await stage.fabric.join(stage.name);
  stage.ready();
  for (let turn = 0; !stage.stopping; turn += 1) {
    const to = recipients[turn % recipients.length] as string;
    await me.ask(to, { turn }, { timeoutMs: workMs });
    counts.accepted += 1;
    counts.asks += 1;
    me.beat();
    counts.beats += 1;
    await sleep(pauseMs);
  }
}

/**
 * Agents come and go, publish and subscribe; now and then a process attaches anew. It also is what
 * the alert looks at: its gauge is up for a while, and down for a while.
 */
export async function churn(stage: Stage): Promise<void> {
  const { fabric, name, counts, options } = stage;
  const { path } = fabric.info();
  const base = await fabric.join(name, { role: 'churn', mailboxCells: 64 });
  const pulse = base.gauge(pulseMetric);
  stage.restsForSamples = true;
  stage.ready();
  for (let cycle = 0; !stage.stopping; cycle += 1) {
    pulse.set(Math.floor(performance.now() / options.pulseMs) % 2);
    const again = cycle % 10 === 9;
    const where = again ? await Fabric.open(fabric.name, { dir: dirname(path) }) : fabric;
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
    base.beat();
    counts.beats += 1;
    await stage.rest();
    await sleep(options.pauseMs);
  }
}
