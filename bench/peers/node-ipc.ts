// Node's IPC between a process and its child, bodies as Buffers (`serialization: 'advanced'`).
// Arguments: role (send, ask; in the child count, echo), placement, count, bytes
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Placement, peerCommand } from '../lib/children.js';
import {
  argument,
  finish,
  nowUs,
  numbered,
  numberOf,
  Order,
  type Received,
  ready,
} from '../lib/peer.js';

const warmUp = 500;
const role = argument(0);
const placement = argument(1) as Placement;
const count = Number(argument(2));
const bytes = Number(argument(3));

if (role === 'count' || role === 'echo') beChild();
else await beParent();

function beChild(): void {
  const order = new Order();
  process.on('message', (body: Uint8Array) => {
    if (role === 'echo') {
      process.send?.(body);
      return;
    }
    order.take(numberOf(body));
    if (order.received < count) return;
    void finish({ received: order.received, endedAtUs: nowUs() } satisfies Received);
  });
  ready();
}

async function beParent(): Promise<void> {
  const childRole = role === 'send' ? 'count' : 'echo';
  const words = [childRole, placement, String(count), String(bytes)];
  const [command, ...args] = peerCommand('node-ipc', words, placement, 0) as [string, ...string[]];
  const child = spawn(command, args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  await once(child, 'message'); // it is ready
  if (role === 'send') {
    const result = once(child, 'message');
    const beganAtUs = await sendAll(child);
    const [received] = (await result) as [Received];
    await finish({ ...received, beganAtUs });
  } else {
    const samples = await askAll(child);
    child.disconnect();
    await finish(samples);
  }
}

/** Waits for the pipe when Node says that too much is waiting for it. */
async function sendAll(child: ChildProcess): Promise<number> {
  const { body, set } = numbered(bytes);
  let unwritten = 0;
  let drained: () => void = () => {};
  const onWritten = () => {
    unwritten -= 1;
    if (unwritten === 0) drained();
  };
  const beganAtUs = nowUs();
  for (let i = 0; i < count; i += 1) {
    set(i);
    unwritten += 1;
    if (child.send(body, onWritten)) continue;
    await new Promise<void>((resolve) => {
      drained = resolve;
    });
  }
  return beganAtUs;
}

async function askAll(child: ChildProcess): Promise<number[]> {
  const { body, set } = numbered(bytes);
  const samples: number[] = [];
  let answered: (body: Uint8Array) => void = () => {};
  child.on('message', (answer: Uint8Array) => answered(answer));
  for (let i = 0; i < warmUp + count; i += 1) {
    set(i);
    const beganAt = performance.now();
    const answer = await new Promise<Uint8Array>((resolve) => {
      answered = resolve;
      child.send(body);
    });
    const elapsed = performance.now() - beganAt;
    if (numberOf(answer) !== i) throw new Error(`answer ${numberOf(answer)} to ${i}`);
    if (i >= warmUp) samples.push(elapsed * 1000);
  }
  return samples;
}
