// Receives and acks until a message of type `stop` comes, and tells how many it acked. Fails where a
// sender's numbers come out of order, or with gaps where none may be.
// Arguments: directory, name, pace (quick, slow), policy (in-order, with-gaps)
import { setTimeout } from 'node:timers/promises';
import { Fabric } from 'cfc';
import { argument, finish, numberOf, ready } from '../lib/peer.js';

const numbers = 2 ** 32;
const pauseMs = 20;
const fabric = await Fabric.open('bench', { dir: argument(0) });
const me = await fabric.join(argument(1));
const slow = argument(2) === 'slow';
const gapsAllowed = argument(3) === 'with-gaps';
const next = new Map<string, number>();
ready();

let acked = 0;
for (let stopped = false; !stopped; ) {
  const batch = await me.receiveBatch(slow ? { max: 4 } : {});
  for (const message of batch) {
    if (message.type === 'stop') stopped = true;
    else check(message.from, numberOf(message.body));
  }
  batch.ack();
  acked += batch.length;
  if (slow) await setTimeout(pauseMs);
}
await fabric.close();
await finish({ acked });

/** Numbers wrap, so a step back is one of more than half of them. */
function check(from: string, number: number): void {
  const expected = next.get(from) ?? 0;
  const ahead = (number - expected + numbers) % numbers;
  if (ahead > (gapsAllowed ? numbers / 2 : 0)) {
    throw new Error(`${from}: ${number} instead of ${expected}`);
  }
  next.set(from, (number + 1) % numbers);
}
