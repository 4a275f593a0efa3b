// Receives `count` messages in order, acks each, and says how long that took.
// Arguments: fabric, directory, count, mode (batch: receiveBatch and ack all; one: for await, ack)
import { Fabric } from 'cfc';
import { argument, finish, numberOf, Order, ready } from '../lib/peer.js';

const count = Number(argument(2));
const fabric = await Fabric.open(argument(0), { dir: argument(1) });
const me = await fabric.join('receiver');
const order = new Order();
ready();

let beganAt = 0;
if (argument(3) === 'batch') {
  while (order.received < count) {
    const batch = await me.receiveBatch();
    if (beganAt === 0) beganAt = performance.now();
    for (const message of batch) order.take(numberOf(message.body));
    batch.ack();
  }
} else {
  for await (const message of me.messages()) {
    if (beganAt === 0) beganAt = performance.now();
    order.take(numberOf(message.body));
    message.ack();
    if (order.received === count) break;
  }
}
const elapsedMs = performance.now() - beganAt;
await fabric.close();
await finish({ received: order.received, elapsedMs });
