// The Unix socket's receiver: counts `count` frames in order, or echoes them.
// Arguments: path, count, mode (count, echo)
import { createServer } from 'node:net';
import { FrameReader } from '../lib/frames.js';
import { argument, finish, numberOf, Order, ready } from '../lib/peer.js';

const count = Number(argument(1));
const echo = argument(2) === 'echo';
const order = new Order();
let beganAt = 0;
const server = createServer((socket) => {
  const reader = new FrameReader();
  socket.on('data', (chunk) => {
    if (beganAt === 0) beganAt = performance.now();
    reader.push(chunk, (body) => {
      if (!echo) return order.take(numberOf(body));
      const frame = Buffer.allocUnsafe(4 + body.length);
      frame.writeUInt32LE(body.length, 0);
      body.copy(frame, 4);
      socket.write(frame);
    });
    if (!echo && order.received === count) end(performance.now() - beganAt);
  });
  socket.on('end', () => echo && end(0));
});
server.listen(argument(0), ready);

function end(elapsedMs: number): void {
  server.close();
  void finish({ received: order.received, elapsedMs }).then(() => process.exit(0));
}
