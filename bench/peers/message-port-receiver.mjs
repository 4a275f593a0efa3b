// The worker thread of message-port.ts: counts bodies in order, or sends them back. Plain
// JavaScript, as tsx doesn't reach into worker threads.
import { parentPort, workerData } from 'node:worker_threads';

const { echo, count, creditEvery } = workerData;
let received = 0;
parentPort.on('message', (body) => {
  if (echo) {
    parentPort.postMessage(body);
    return;
  }
  const number = new DataView(body.buffer, body.byteOffset, 4).getUint32(0, true);
  if (number !== received) throw new Error(`got ${number} instead of ${received}`);
  received += 1;
  if (received % creditEvery > 0 && received < count) return;
  parentPort.postMessage({ received, endedAtUs: Number(process.hrtime.bigint() / 1000n) });
});
