// One side of a bench of cfc itself, in a process of its own.
// Arguments: role, directory of the fabric, count, bytes
import { Fabric } from '../../index.js';
import { finish, Numbers, nowUs, numbered, numberOf, ready } from './peer-tools.js';

const batchSize = 50;
const warmUp = 200;
const [role, dir = '', countText, bytesText] = process.argv.slice(2);
const count = Number(countText);
const bytes = Number(bytesText);
const fabric = await Fabric.open('bench', { dir });

const roles: Record<string, () => Promise<unknown>> = {
  async send() {
    const me = await fabric.join('sender');
    const bodies = Array.from({ length: batchSize }, () => numbered(bytes));
    const beganAtUs = nowUs();
    for (let sent = 0; sent < count; sent += batchSize) {
      const batch = bodies.slice(0, count - sent);
      batch.forEach(({ set }, i) => set(sent + i));
      await me.sendBatch(
        'receiver',
        batch.map(({ body }) => body),
      );
    }
    return { beganAtUs };
  },

  async receive() {
    const me = await fabric.join('receiver');
    const numbers = new Numbers(count);
    ready();
    while (numbers.received < count) {
      const batch = await me.receiveBatch();
      for (const message of batch) numbers.take(numberOf(message.body));
      batch.ack();
    }
    return numbers.result(nowUs());
  },

  async ask() {
    const me = await fabric.join('sender');
    const { body, set } = numbered(bytes);
    const samples: number[] = [];
    for (let i = 0; i < warmUp + count; i += 1) {
      set(i);
      const beganAt = performance.now();
      const answer = await me.ask('receiver', body);
      const elapsedMs = performance.now() - beganAt;
      if (numberOf(answer.body) !== i) throw new Error(`another answer than to ${i}`);
      if (i >= warmUp) samples.push(elapsedMs * 1000);
    }
    await me.send('receiver', '', { type: 'stop' });
    return samples;
  },

  async answer() {
    const me = await fabric.join('receiver');
    ready();
    for await (const message of me.messages()) {
      if (message.type !== 'stop') await message.reply(message.body);
      message.ack();
      if (message.type === 'stop') break;
    }
    return {};
  },
};

const result = await roles[role ?? '']?.();
await fabric.close();
await finish(result);
