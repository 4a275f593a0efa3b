// Receives `count` messages in order, acks each, and tells when it had the last one.
// Arguments: fabric, directory, count, mode (batch: receiveBatch and ack all; one: for await, ack)
import { Fabric } from 'cfc';
import { argument, finish, nowUs, numberOf, Order, type Received, ready } from '../lib/peer.js';

const count = Number(argument(2));
const fabric = await Fabric.open(argument(0), { dir: argument(1) });
const me = await fabric.join('receiver');
const order = new Order();
ready();

if (argument(3) === 'batch') {
  while (order.received < count) {
    const batch = await me.receiveBatch();
    for (const message of batch) order.take(numberOf(message.body));
    batch.ack();
  }
} else {
  for await (const message of me.messages()) {
    order.take(numberOf(message.body));
    message.ack();
    if (order.received === count) break;
  }
}
const endedAtUs = nowUs();
await fabric.close();
await finish({ received: order.received, endedAtUs } satisfies Received);
