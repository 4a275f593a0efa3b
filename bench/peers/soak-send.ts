// Sends numbered messages of 64 bytes until the time is up, and tells how many were accepted.
// Arguments: directory, name, recipient, policy (block: batches; drop-oldest: one by one), ms
import { Fabric } from 'cfc';
import { argument, finish, numbered } from '../lib/peer.js';

const batchSize = 50;
const fabric = await Fabric.open('bench', { dir: argument(0) });
const me = await fabric.join(argument(1));
const to = argument(2);
const until = performance.now() + Number(argument(4));

let accepted = 0;
if (argument(3) === 'block') {
  const bodies = Array.from({ length: batchSize }, () => numbered(64));
  const views = bodies.map(({ body }) => body);
  while (performance.now() < until) {
    for (const [i, { set }] of bodies.entries()) set(accepted + i);
    accepted += (await me.sendBatch(to, views, { timeoutMs: Infinity })).length;
  }
} else {
  const { body, set } = numbered(64);
  while (performance.now() < until) {
    set(accepted);
    await me.send(to, body, { whenFull: 'drop-oldest' });
    accepted += 1;
  }
}
await fabric.close();
await finish({ accepted });
