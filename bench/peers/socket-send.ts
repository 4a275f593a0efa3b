// The Unix socket's sender: `count` frames of `bytes`, a write each, waiting when the stream asks
// to; or as many round trips.
// Arguments: path, count, bytes, mode (send, ask)
import { once } from 'node:events';
import { connect } from 'node:net';
import { FrameReader, frameOf } from '../lib/frames.js';
import { argument, finish, nowUs, numberOf, type Sent } from '../lib/peer.js';

const warmUp = 500;
const count = Number(argument(1));
const bytes = Number(argument(2));
const socket = connect(argument(0));
await once(socket, 'connect');

if (argument(3) === 'send') {
  const beganAtUs = nowUs();
  for (let i = 0; i < count; i += 1) {
    const { frame } = frameOf(bytes);
    frame.writeUInt32LE(i, 4);
    if (!socket.write(frame)) await once(socket, 'drain');
  }
  socket.end();
  await once(socket, 'close');
  await finish({ beganAtUs } satisfies Sent);
} else {
  const { frame } = frameOf(bytes);
  const samples: number[] = [];
  const reader = new FrameReader();
  let answered: (number: number) => void = () => {};
  socket.on('data', (chunk) => reader.push(chunk, (body) => answered(numberOf(body))));
  for (let i = 0; i < warmUp + count; i += 1) {
    frame.writeUInt32LE(i, 4);
    const beganAt = performance.now();
    const number = await new Promise<number>((resolve) => {
      answered = resolve;
      socket.write(frame);
    });
    const elapsed = performance.now() - beganAt;
    if (number !== i) throw new Error(`answer ${number} to ${i}`);
    if (i >= warmUp) samples.push(elapsed * 1000);
  }
  socket.end();
  await finish(samples);
}
