// Worker threads that join a fabric and are terminated at some moment, hundreds of them: whatever
// they were at, the process goes on, and nothing of theirs stays.
//
//   node scripts/teardown.mjs [CYCLES]
//
// scripts/test-addon.sh runs it on an addon with AddressSanitizer. Prints one JSON line: the cycles,
// how many workers were at work when they were terminated, how long that took, and what stayed. Exit
// code 1 where something stayed. A worker that never ends is for whoever called this to end. SIGINT
// ends it early: what it says is of the cycles until then.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Fabric } from 'cfc';

if (isMainThread) await main(Number(process.argv[2] ?? 300));
else await work(workerData);

/** What a worker may be at when it ends: some of it never ends by itself. */
function occupations(dir, fabric, agent, size) {
  const counter = agent.counter('n');
  const histogram = agent.histogram('h');
  return [
    async () => {
      for (;;) {
        await agent.send(agent.name, 'x'.repeat(size));
        (await agent.receive())?.ack();
        counter.add();
        histogram.record(size);
      }
    },
    async () => {
      for (;;) await agent.ask('main', 'question');
    },
    () => agent.receiveSync(),
    async () => {
      for await (const message of agent.messages()) message.ack();
    },
    async () => {
      for (;;) {
        await agent.sendBatch(agent.name, ['small', 'x'.repeat(3000), { json: size }]);
        (await agent.receiveBatch()).ack();
      }
    },
    async () => {
      while (agent.trySend('main', 'x'));
      await agent.send('main', 'waits for room');
    },
    async () => {
      for (;;) {
        agent.peek();
        fabric.snapshot();
        fabric.census();
        await agent.send('main', 'x', { wait: 'acked' });
      }
    },
    async () => {
      await fabric.close();
      counter.add();
      histogram.record(1);
    },
    async () => {
      for (;;) await closeBeforeSleep(dir, `${agent.name}-other`);
    },
    async () => {
      for (;;) await (await fabric.join(`${agent.name}-other`)).leave();
    },
    () => process.exit(0),
  ];
}

/**
 * A message that a timer sends is found by the loop in the same turn, while it is about to sleep:
 * what it closes is what the loop was going to say its sleep of. One that was left by a worker of
 * that name, terminated between its send and its receive, comes first: closing at that one would
 * leave the timer with an agent that is gone.
 */
async function closeBeforeSleep(dir, name) {
  const fabric = await Fabric.open('teardown', { dir });
  const agent = await fabric.join(name);
  const own = randomUUID();
  setTimeout(() => agent.trySend(agent.name, own), 5);
  for (let seen; seen !== own; ) {
    const message = await agent.receive();
    seen = message.text();
    message.ack();
  }
  await fabric.close();
}

async function work({ dir, i }) {
  const fabric = await Fabric.open('teardown', { dir });
  const agent = await fabric.join(`worker-${i % 7}`);
  parentPort.postMessage('at work');
  const all = occupations(dir, fabric, agent, (i * 37) % 9000);
  await all[i % all.length]();
}

async function main(cycles) {
  const dir = mkdtempSync('/dev/shm/cfc-teardown-');
  const fabric = await Fabric.open('teardown', { dir, create: true, profile: 'small' });
  const me = await fabric.join('main');
  const serving = (async () => {
    for await (const message of me.messages()) {
      if (message.expectsReply) await message.reply('answer', { timeoutMs: 0 }).catch(() => {});
      if (me.left) break; // a reply may have waited for room until we left, and gave it back
      message.ack();
    }
  })();

  for (let i = 0; i < 10; i += 1) await closeBeforeSleep(dir, 'closes');

  let stopped = false;
  process.once('SIGINT', () => {
    stopped = true;
  });
  let atWork = 0;
  const tookMs = [];
  const cycle = async (i) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { dir, i } });
    worker.on('error', (error) => {
      console.error(error);
      process.exitCode = 1;
    });
    const exited = once(worker, 'exit');
    await Promise.race([once(worker, 'message'), exited]);
    await sleep((i * 7919) % 15);
    let ended = false;
    worker.once('exit', () => {
      ended = true;
    });
    const began = performance.now();
    if (worker.threadId !== -1) atWork += 1; // it did not end by itself
    await worker.terminate();
    if (!ended) await exited;
    tookMs.push(performance.now() - began);
  };
  // Three at a time, on names that others have just left.
  for (let i = 0; i < cycles && !stopped; i += 3) {
    await Promise.all([i, i + 1, i + 2].filter((each) => each < cycles).map(cycle));
  }

  await me.leave();
  await serving;
  const { slotsLive, slotsReaping, leased, claimed, quarantined, chunksLoaned } = fabric.census();
  const stayed = {
    slotsLive: slotsLive - 1,
    slotsReaping,
    leased,
    claimed,
    quarantined,
    chunksLoaned,
  };
  tookMs.sort((a, b) => a - b);
  const terminateMs = {
    p50: Math.round(tookMs[tookMs.length >> 1] ?? 0),
    p99: Math.round(tookMs[Math.floor(tookMs.length * 0.99)] ?? 0),
    max: Math.round(tookMs.at(-1) ?? 0),
  };
  const ok = process.exitCode === undefined && Object.values(stayed).every((count) => count === 0);
  // Said in words too: what else leaks at its exit changes the code of a process under ASan.
  console.log(JSON.stringify({ cycles: tookMs.length, atWork, terminateMs, stayed, ok }));
  if (!ok) process.exitCode = 1;
  await fabric.close();
  rmSync(dir, { recursive: true });
}
