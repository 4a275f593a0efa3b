import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Fabric } from '../../src/index.js';
import { startChild } from '../support/child.js';
import { failureOf, openFabric, range, sleep, until } from '../support/fabric.js';

const dirOf = (fabric: Fabric) => dirname(fabric.info().path);
const seen = (fabric: Fabric, name: string) =>
  fabric.snapshot().find((agent) => agent.name === name);

describe('A reader that is killed', () => {
  test('leaves what it had to its successor, flagged and in order', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const reader = startChild(
      async ({ open, say, sleep }) => {
        const agent = await (await open()).join('reader');
        say('ready');
        let got = 0;
        while (got < 10) {
          const message = await agent.receive();
          if (got < 3) message?.ack();
          got += 1;
        }
        say('holding');
        await sleep(60_000);
      },
      { dir: dirOf(fabric) },
    );
    expect(await reader.heard()).toBe('ready');
    await me.sendBatch('reader', range(10));
    await me.sendBatch(
      'reader',
      range(10).map((i) => 10 + i),
    );
    expect(await reader.heard()).toBe('holding');

    await reader.kill();
    expect(seen(fabric, 'reader')).toMatchObject({ liveness: 'dead', health: 'unhealthy' });
    await me.send('reader', 20); // a mailbox outlives its process
    const successor = await fabric.join('reader');
    const got: [number, number, number][] = [];
    while (got.length < 18) {
      const batch = await successor.receiveBatch();
      got.push(
        ...batch.map((m): [number, number, number] => [m.json(), Number(m.sequence), m.attempt]),
      );
      batch.ack();
    }

    expect(got).toEqual(range(18).map((i) => [i + 3, i + 4, i + 3 < 10 ? 1 : 0]));
    expect(seen(fabric, 'reader')).toMatchObject({ liveness: 'alive', restarts: 1 });
    expect(fabric.census()).toMatchObject({ acked: 21, queued: 0, leased: 0 });
  });

  test('makes no one wait who sends to it, and is told of where it is asked', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const reader = startChild(
      async ({ open, say, sleep }) => {
        await (await open()).join('reader');
        say('ready');
        await sleep(60_000);
      },
      { dir: dirOf(fabric) },
    );
    expect(await reader.heard()).toBe('ready');
    await reader.kill();

    expect(await me.send('reader', 'x', { timeoutMs: 0 })).toMatchObject({ state: 'accepted' });
    for (const attempt of [
      me.ask('reader', 'q', { timeoutMs: 20 }),
      me.send('reader', 'x', { wait: 'acked', timeoutMs: 20 }),
    ]) {
      expect(await failureOf(attempt)).toMatchObject({ code: 'ERR_CFC_NO_READER' });
    }
    while (me.trySend('reader', 'x'));
    expect(await failureOf(me.send('reader', 'x', { timeoutMs: 20 }))).toMatchObject({
      code: 'ERR_CFC_MAILBOX_FULL',
    });
  });

  test('gives way to a sender that waits for an ack: the successor acks', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const reader = startChild(
      async ({ open, say, sleep }) => {
        const agent = await (await open()).join('reader');
        say('ready');
        await agent.receive();
        say('holding');
        await sleep(60_000);
      },
      { dir: dirOf(fabric) },
    );
    expect(await reader.heard()).toBe('ready');
    const sending = me.send('reader', 'x', { wait: 'acked' });
    expect(await reader.heard()).toBe('holding');
    await reader.kill();
    const successor = await fabric.join('reader');

    (await successor.receive())?.ack();

    expect(await sending).toMatchObject({ state: 'acked' });
  });

  test('wakes senders that wait for room, once its successor reads', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const reader = startChild(
      async ({ open, say, sleep }) => {
        const agent = await (await open()).join('reader');
        say('ready');
        await agent.receiveBatch({ max: 5 });
        say('holding');
        await sleep(60_000);
      },
      { dir: dirOf(fabric) },
    );
    expect(await reader.heard()).toBe('ready');
    await me.sendBatch('reader', range(5));
    expect(await reader.heard()).toBe('holding');
    let sent = 5;
    while (me.trySend('reader', sent)) sent += 1;
    const waiting = range(10).map((i) => me.send('reader', sent + i));
    await reader.kill();

    const successor = await fabric.join('reader');
    const got: number[] = [];
    while (got.length < sent + 10) {
      const batch = await successor.receiveBatch();
      got.push(...batch.map((message) => message.json<number>()));
      batch.ack();
    }
    await Promise.all(waiting);

    expect(got).toEqual(range(sent + 10));
  });
});

describe('A sender that is killed', () => {
  test('at any moment leaves a prefix of what it sent, whole and in order', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me', { mailboxCells: 1024 });

    for (const life of range(6)) {
      const sender = startChild<{ life: number }>(
        async ({ open, say, args }) => {
          const agent = await (await open()).join('sender');
          say('ready');
          for (let i = 0; ; i += 10) {
            const bodies = Array.from({ length: 10 }, (_, j) =>
              JSON.stringify({ life: args.life, i: i + j, pad: 'x'.repeat(((i + j) * 37) % 700) }),
            );
            await agent.sendBatch('me', bodies);
          }
        },
        { dir: dirOf(fabric), args: { life } },
      );
      expect(await sender.heard()).toBe('ready');
      let next = 0;
      let killed = false;
      const reading = (async () => {
        for (;;) {
          const all = killed;
          const batch = await me.receiveBatch({ timeoutMs: 100 });
          if (batch.length === 0 && all) return;
          for (const message of batch) {
            expect(message.json()).toMatchObject({ life, i: next });
            expect(message.sequence).toBe(BigInt(next + 1));
            next += 1;
          }
          batch.ack();
        }
      })();
      await until(() => next > 0);
      await sleep(20 + 23 * life);
      await sender.kill();
      killed = true;
      await reading;
    }

    fabric.sweep();
    expect(fabric.census()).toMatchObject({
      queued: 0,
      claimed: 0,
      quarantined: 0,
      chunksLoaned: 0,
      chunksPlaced: 0,
      slotsLive: 1,
      slotsReaping: 0,
    });
  });

  test('while it waits for room holds nobody up', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const sender = startChild(
      async ({ open, say }) => {
        const agent = await (await open()).join('sender');
        while (agent.trySend('me', 'x'));
        say('full');
        await agent.send('me', 'late');
      },
      { dir: dirOf(fabric) },
    );
    expect(await sender.heard()).toBe('full');
    const mine = me.send('me', 'mine');
    await sleep(50);
    await sender.kill();

    let got = 0;
    for (let last = ''; last !== 'mine'; got += 1) {
      const message = await me.receive();
      last = message?.text() ?? '';
      message?.ack();
    }
    await mine;

    expect(got).toBe(65);
  });
});

describe('A name', () => {
  test('is refused while its process lives, also while that is stopped', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const holder = startChild(
      async ({ open, say }) => {
        const agent = await (await open()).join('name');
        say('ready');
        const first = await agent.receive();
        say({ got: first?.text() });
        const second = await agent.receive();
        first?.ack();
        second?.ack();
        say('acked');
        await agent.receive();
      },
      { dir: dirOf(fabric) },
    );
    expect(await holder.heard()).toBe('ready');
    await me.send('name', 'one');
    expect(await holder.heard()).toEqual({ got: 'one' });
    expect(await failureOf(fabric.join('name'))).toMatchObject({ code: 'ERR_CFC_LEASE_HELD' });

    holder.process.kill('SIGSTOP');
    await sleep(300);
    fabric.sweep();
    expect(await failureOf(fabric.join('name'))).toMatchObject({ code: 'ERR_CFC_LEASE_HELD' });
    expect(seen(fabric, 'name')?.liveness).toBe('stalled'); // it may go on in an hour
    expect(fabric.census()).toMatchObject({ leased: 1, slotsLive: 2 });
    await me.send('name', 'two');
    holder.process.kill('SIGCONT');

    expect(await holder.heard()).toBe('acked');
    expect(fabric.census()).toMatchObject({ acked: 2, queued: 0 });
  });

  test('goes to one of many that want it when its process dies', async () => {
    const fabric = await openFabric();
    const holder = startChild(
      async ({ open, say, sleep }) => {
        await (await open()).join('name');
        say('ready');
        await sleep(60_000);
      },
      { dir: dirOf(fabric) },
    );
    expect(await holder.heard()).toBe('ready');
    const rivals = range(4).map((i) =>
      startChild<{ i: number }>(
        async ({ open, say, sleep, args }) => {
          const fabric = await open();
          say('ready');
          for (;;) {
            try {
              await fabric.join('name');
              say({ won: args.i });
              await sleep(60_000);
            } catch (error) {
              const { code } = error as { code: string };
              if (code !== 'ERR_CFC_LEASE_HELD') say({ code });
              await sleep(5);
            }
          }
        },
        { dir: dirOf(fabric), args: { i } },
      ),
    );
    for (const rival of rivals) expect(await rival.heard()).toBe('ready');

    let won = 0;
    const told = rivals.map(async (rival, i) => {
      expect(await rival.heard()).toEqual({ won: i });
      won += 1;
    });
    await holder.kill();
    for (const round of range(4)) {
      await until(() => won === round + 1);
      await sleep(60);
      expect(won).toBe(round + 1); // one at a time
      const { pid } = seen(fabric, 'name') as { pid: number };
      await rivals.find((rival) => rival.pid === pid)?.kill();
    }
    await Promise.all(told);
  });
});

describe('What the dead leave', () => {
  test('is mended by whoever sleeps, without being asked', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const reader = startChild(
      async ({ open, say, sleep }) => {
        const agent = await (await open()).join('reader');
        say('ready');
        await agent.receiveBatch({ max: 4 });
        say('holding');
        await sleep(60_000);
      },
      { dir: dirOf(fabric) },
    );
    expect(await reader.heard()).toBe('ready');
    await me.sendBatch(
      'reader',
      range(4).map(() => 'x'.repeat(3000)),
    );
    expect(await reader.heard()).toBe('holding');
    expect(fabric.census()).toMatchObject({ leased: 4, slotsLive: 2 });
    const waiting = me.receive();
    await reader.kill();

    await until(() => fabric.census().slotsLive === 1); // at the backstop of the one who waits

    expect(fabric.census()).toMatchObject({ leased: 0, ready: 4, chunksPlaced: 4 });
    await me.send('me', 'enough');
    await waiting;
  });

  test('is mended by a sweep, once', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const children = range(3).map((i) =>
      startChild<{ i: number }>(
        async ({ open, say, sleep, args }) => {
          const agent = await (await open()).join(`child-${args.i}`);
          agent.counter('n').add(1);
          agent.histogram('h').record(1);
          await agent.sendBatch('me', ['x', 'y'.repeat(5000)]);
          say('ready');
          await sleep(60_000);
        },
        { dir: dirOf(fabric), args: { i } },
      ),
    );
    for (const child of children) expect(await child.heard()).toBe('ready');
    await Promise.all(children.map((child) => child.kill()));

    expect(fabric.sweep()).toMatchObject({ living: 1, reaped: 3 });
    expect(fabric.sweep()).toMatchObject({ living: 1, reaped: 0 });

    expect(fabric.census()).toMatchObject({ slotsLive: 1, ready: 6, chunksPlaced: 3 });
    const batch = await me.receiveBatch();
    expect(batch).toHaveLength(6);
    batch.ack();
    expect(fabric.census()).toMatchObject({ chunksPlaced: 0, chunksLoaned: 0, acked: 6 });
  });
});
