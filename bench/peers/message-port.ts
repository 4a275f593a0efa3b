// A MessagePort between two threads of one process: what Node offers without leaving it. Both
// threads have the placement of their process.
// Arguments: role (send, ask), placement, count, bytes
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import {
  argument,
  finish,
  nowUs,
  numbered,
  numberOf,
  type Received,
  type Sent,
} from '../lib/peer.js';

const warmUp = 500;
/** A port takes whatever it is given: the sender waits for the receiver, or memory would run out. */
const mostUnderWay = 20_000;
const creditEvery = 5000;
const role = argument(0);
const count = Number(argument(2));
const bytes = Number(argument(3));

const worker = new Worker(new URL('./message-port-receiver.mjs', import.meta.url), {
  workerData: { echo: role === 'ask', count, creditEvery },
  execArgv: [],
});
await once(worker, 'online');
const result = role === 'send' ? await sendAll() : await askAll();
await worker.terminate();
await finish(result);

async function sendAll(): Promise<Sent & Received> {
  const { body, set } = numbered(bytes);
  let progress: Received = { received: 0, endedAtUs: 0 };
  let moved: () => void = () => {};
  worker.on('message', (news: Received) => {
    progress = news;
    moved();
  });
  const untilReceived = async (number: number) => {
    while (progress.received < number) {
      await new Promise<void>((resolve) => {
        moved = resolve;
      });
    }
  };
  const beganAtUs = nowUs();
  for (let i = 0; i < count; i += 1) {
    if (i % creditEvery === 0) await untilReceived(i - mostUnderWay);
    set(i);
    worker.postMessage(body);
  }
  await untilReceived(count);
  return { ...progress, beganAtUs };
}

async function askAll(): Promise<number[]> {
  const { body, set } = numbered(bytes);
  const samples: number[] = [];
  let answered: (body: Uint8Array) => void = () => {};
  worker.on('message', (answer: Uint8Array) => answered(answer));
  for (let i = 0; i < warmUp + count; i += 1) {
    set(i);
    const beganAt = performance.now();
    const answer = await new Promise<Uint8Array>((resolve) => {
      answered = resolve;
      worker.postMessage(body);
    });
    const elapsed = performance.now() - beganAt;
    if (numberOf(answer) !== i) throw new Error(`answer ${numberOf(answer)} to ${i}`);
    if (i >= warmUp) samples.push(elapsed * 1000);
  }
  return samples;
}
