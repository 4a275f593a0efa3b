// One side of a bench of cfc itself, in a process of its own.
// Arguments: role, directory of the fabric, count, bytes
import { Fabric } from '../../index.js';
import { finish, mostSeconds, Numbers, nowUs, numbered, numberOf, ready } from './peer-tools.js';

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
    const views = bodies.map(({ body }) => body);
    const beganAtUs = nowUs();
    const until = beganAtUs + mostSeconds * 1e6;
    for (let sent = 0, last = false; ; ) {
      last = sent + 2 * batchSize > count || nowUs() > until;
      for (const { set } of bodies) {
        sent += 1;
        set(sent - 1, last && sent % batchSize === 0);
      }
      await me.sendBatch('receiver', views);
      if (last) return { sent, beganAtUs };
    }
  },

  async receive() {
    const me = await fabric.join('receiver');
    const numbers = new Numbers(Math.max(count, batchSize));
    ready();
    for (let ended = false; !ended; ) {
      const batch = await me.receiveBatch();
      for (const message of batch) {
        const { number, last } = numberOf(message.body);
        numbers.take(number);
        if (last) ended = true;
      }
      batch.ack();
    }
    return numbers.result(nowUs());
  },

  async ask() {
    const me = await fabric.join('sender');
    const { body, set } = numbered(bytes);
    const samples: number[] = [];
    const until = performance.now() + mostSeconds * 1000;
    for (let i = 0; i < warmUp + count && performance.now() < until; i += 1) {
      set(i);
      const beganAt = performance.now();
      const answer = await me.ask('receiver', body);
      const elapsedMs = performance.now() - beganAt;
      if (numberOf(answer.body).number !== i) throw new Error(`another answer than to ${i}`);
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
