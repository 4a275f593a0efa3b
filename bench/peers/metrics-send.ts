// Sends slices of messages, by turns from an agent that counts what it does and from one that does
// not, to readers alike; tells how long each took.
// Arguments: directory, slices, messages a slice, bytes
import { Fabric } from 'cfc';
import { argument, finish, nowUs, numbered } from '../lib/peer.js';

const batchSize = 50;
const slices = Number(argument(1));
const messages = Number(argument(2));
const fabric = await Fabric.open('bench', { dir: argument(0) });
const senders = {
  on: await fabric.join('sender-on', { metrics: true }),
  off: await fabric.join('sender-off', { metrics: false }),
};
const bodies = Array.from({ length: batchSize }, () => numbered(Number(argument(3))));
const views = bodies.map(({ body }) => body);

const times: { on: number[]; off: number[] } = { on: [], off: [] };
for (let slice = 0; slice < slices; slice += 1) {
  // on, off, off, on: what drifts meets both alike.
  const way = slice % 4 === 0 || slice % 4 === 3 ? 'on' : 'off';
  const me = senders[way];
  const beganAtUs = nowUs();
  for (let sent = 0; sent < messages; sent += batchSize) {
    for (let i = 0; i < batchSize; i += 1) bodies[i]?.set(sent + i);
    await me.sendBatch(`receiver-${way}`, views);
  }
  (await me.receive())?.ack(); // the last one has arrived
  times[way].push(nowUs() - beganAtUs);
}
await fabric.close();
await finish(times);
