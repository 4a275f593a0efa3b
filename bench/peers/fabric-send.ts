// Sends `count` numbered messages of `bytes`.
// Arguments: fabric, directory, count, bytes, mode (batch: sendBatch of 50; one: await send)
import { Fabric } from 'cfc';
import { argument, finish, nowUs, numbered, type Sent } from '../lib/peer.js';

const batchSize = 50;
const count = Number(argument(2));
const bytes = Number(argument(3));
const fabric = await Fabric.open(argument(0), { dir: argument(1) });
const me = await fabric.join('sender');

const beganAtUs = nowUs();
if (argument(4) === 'batch') {
  const bodies = Array.from({ length: batchSize }, () => numbered(bytes));
  const views = bodies.map(({ body }) => body);
  for (let sent = 0; sent < count; sent += batchSize) {
    for (let i = 0; i < batchSize; i += 1) bodies[i]?.set(sent + i);
    await me.sendBatch('receiver', views);
  }
} else {
  const { body, set } = numbered(bytes);
  for (let i = 0; i < count; i += 1) {
    set(i);
    await me.send('receiver', body);
  }
}
await fabric.close();
await finish({ beganAtUs } satisfies Sent);
