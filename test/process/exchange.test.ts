import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startChild } from '../support/child.js';
import { openFabric, range } from '../support/fabric.js';

const count = 100_000;

describe('Two processes', () => {
  test('exchange a hundred thousand messages in order', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const reader = startChild<{ count: number }>(
      async ({ open, say, args }) => {
        const me = await (await open()).join('reader', { mailboxCells: 1024 });
        say('ready');
        let next = 0;
        // Turns of a timer since the last message: time in which nobody runs does not count.
        let turns = 0;
        let mostTurns = 0;
        const timer = setInterval(() => {
          turns += 1;
        }, 50);
        for await (const message of me.messages()) {
          if (next > 0) mostTurns = Math.max(mostTurns, turns);
          turns = 0;
          const number = message.json<number>();
          if (number !== next || message.sequence !== BigInt(next + 1) || message.redelivered) {
            say({ wrong: number, next, attempt: message.attempt });
          }
          message.ack();
          next += 1;
          if (next === args.count) break;
        }
        clearInterval(timer);
        await me.leave();
        say({ received: next, longestMs: mostTurns * 50 });
      },
      { dir, args: { count } },
    );
    expect(await reader.heard()).toBe('ready');
    const writer = startChild<{ count: number }>(
      async ({ open, say, args }) => {
        const me = await (await open()).join('writer');
        for (let i = 0; i < args.count; i += 1) await me.send('reader', i);
        say({ sent: args.count });
      },
      { dir, args: { count } },
    );

    expect(await writer.heard()).toEqual({ sent: count });
    const { received, longestMs } = await reader.heard<Record<string, number>>();
    expect(received).toBe(count);
    // A wake that is lost is made good by the backstop, up to 5 s later; here it counts as a hang.
    expect(longestMs).toBeLessThan(3000);
    await Promise.all([reader.exited, writer.exited]);
    expect(fabric.census()).toMatchObject({ acked: count, queued: 0, done: 0, dropped: 0 });
  });

  test('exchange batches and large bodies, unharmed and in order', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const writer = startChild<{ count: number }>(
      async ({ open, say, args }) => {
        const { createHash } = process.getBuiltinModule('node:crypto');
        const me = await (await open()).join('writer');
        say('ready');
        await me.receive();
        for (let i = 0; i < args.count; i += 5) {
          const bodies = [];
          for (let j = i; j < i + 5; j += 1) {
            const body = Buffer.alloc(40 + ((j * 7919) % 50_000), j);
            createHash('sha1').update(body.subarray(40)).update(`${j}`).digest().copy(body);
            bodies.push(body);
          }
          await me.sendBatch('reader', bodies);
        }
        say('done');
      },
      { dir, args: { count: 2000 } },
    );
    expect(await writer.heard()).toBe('ready');
    const reader = await fabric.join('reader');
    await reader.send('writer', 'go');
    const { createHash } = await import('node:crypto');

    let got = 0;
    while (got < 2000) {
      const batch = await reader.receiveBatch();
      for (const { body } of batch) {
        const hash = createHash('sha1').update(body.subarray(40)).update(`${got}`).digest();
        expect(body.byteLength).toBe(40 + ((got * 7919) % 50_000));
        expect(Buffer.compare(hash, body.subarray(0, 20))).toBe(0);
        got += 1;
      }
      batch.ack();
    }

    expect(await writer.heard()).toBe('done');
    expect(fabric.census()).toMatchObject({ chunksLoaned: 0, chunksPlaced: 0 });
  });

  test('ask and answer each other ten thousand times', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const server = startChild(
      async ({ open, say }) => {
        const me = await (await open()).join('server');
        say('ready');
        for await (const message of me.messages()) {
          await message.reply(message.json<number>() + 1);
          message.ack();
        }
      },
      { dir },
    );
    expect(await server.heard()).toBe('ready');
    const me = await fabric.join('me');

    for (let i = 0; i < 10_000; i += 100) {
      const answers = await Promise.all(range(100).map((j) => me.ask('server', i + j)));
      expect(answers.map((answer) => answer.json())).toEqual(range(100).map((j) => i + j + 1));
    }

    expect(fabric.census()).toMatchObject({ deadLettered: 0, dropped: 0 });
  });
});
