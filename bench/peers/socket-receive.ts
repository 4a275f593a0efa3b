// The Unix socket's receiver: counts `count` frames in order, or echoes them.
// Arguments: path, count, mode (count, echo)
import { createServer } from 'node:net';
import { FrameReader } from '../lib/frames.js';
import { argument, finish, nowUs, numberOf, Order, type Received, ready } from '../lib/peer.js';

const count = Number(argument(1));
const echo = argument(2) === 'echo';
const order = new Order();
const server = createServer((socket) => {
  const reader = new FrameReader();
  socket.on('data', (chunk) => {
    reader.push(chunk, (body) => {
      if (!echo) return order.take(numberOf(body));
      const frame = Buffer.allocUnsafe(4 + body.length);
      frame.writeUInt32LE(body.length, 0);
      body.copy(frame, 4);
      socket.write(frame);
    });
    if (!echo && order.received === count) end();
  });
  socket.on('end', () => echo && end());
});
server.listen(argument(0), ready);

function end(): void {
  const endedAtUs = nowUs();
  server.close();
  void finish({ received: order.received, endedAtUs } satisfies Received).then(() =>
    process.exit(0),
  );
}
