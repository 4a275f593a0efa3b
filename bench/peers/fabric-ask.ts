// Asks `count` questions of `bytes`, one at a time, and tells each one's time in microseconds.
// Arguments: fabric, directory, count, bytes
import { Fabric } from 'cfc';
import { argument, finish, numbered, numberOf } from '../lib/peer.js';

const warmUp = 500;
const count = Number(argument(2));
const fabric = await Fabric.open(argument(0), { dir: argument(1) });
const me = await fabric.join('sender');
const { body, set } = numbered(Number(argument(3)));
const samples: number[] = [];
for (let i = 0; i < warmUp + count; i += 1) {
  set(i);
  const beganAt = performance.now();
  const answer = await me.ask('receiver', body);
  const elapsed = performance.now() - beganAt;
  if (numberOf(answer.body) !== i) throw new Error(`answer ${numberOf(answer.body)} to ${i}`);
  if (i >= warmUp) samples.push(elapsed * 1000);
}
await me.ask('receiver', body, { type: 'stop' });
await fabric.close();
await finish(samples);
