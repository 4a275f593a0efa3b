// The other side of metrics-send. Arguments: directory, slices, messages a slice
import { Fabric } from 'cfc';
import { argument, finish, numberOf, Order, ready } from '../lib/peer.js';

const slices = Number(argument(1));
const messages = Number(argument(2));
const fabric = await Fabric.open('bench', { dir: argument(0) });
const receivers = {
  on: await fabric.join('receiver-on', { metrics: true }),
  off: await fabric.join('receiver-off', { metrics: false }),
};
ready();
for (let slice = 0; slice < slices; slice += 1) {
  const way = slice % 4 === 0 || slice % 4 === 3 ? 'on' : 'off';
  const me = receivers[way];
  const order = new Order();
  while (order.received < messages) {
    const batch = await me.receiveBatch();
    for (const message of batch) order.take(numberOf(message.body));
    batch.ack();
  }
  await me.send(`sender-${way}`, 'done');
}
await fabric.close();
await finish(slices);
