import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Child, startChild } from '../support/child.js';
import { openFabric, range, until } from '../support/fabric.js';

interface Told {
  /** Last sequence seen, by publisher. */
  last: Record<string, number>;
  delivered: number;
  lost: number;
  wrong: string[];
}

/** Publishes numbered messages until it is told to stop by a message, or killed. */
function startPublisher(dir: string, name: string, count: number): Child {
  return startChild<{ name: string; count: number }>(
    async ({ open, say, args }) => {
      const me = await (await open()).join(args.name);
      say('ready');
      await me.receive();
      for (let i = 1; i <= args.count; i += 1) {
        const body = `${i} `.padEnd(i % 10 === 0 ? 2000 : 20, 'x');
        await me.publish('ledger', body, { timeoutMs: 60_000 });
        say(i);
      }
      say('done');
      await me.receive(); // stays: what it published is counted by the test
    },
    { dir, args: { name, count } },
  );
}

/** Reads until it has read what it is told to expect, and says what it saw. */
function startSubscriber(dir: string, name: string, policy: 'reliable' | 'lossy'): Child {
  return startChild<{ name: string; policy: 'reliable' | 'lossy' }>(
    async ({ open, say, args, sleep }) => {
      const me = await (await open()).join(args.name);
      const subscription = me.subscribe('ledger', { policy: args.policy, patienceMs: 60_000 });
      const told: Told = { last: {}, delivered: 0, lost: 0, wrong: [] };
      say('ready');
      let over = false;
      void me.receive().then(() => {
        over = true;
      });
      for (;;) {
        const event = await subscription.receive({ timeoutMs: 50 });
        if (event === undefined) {
          if (over) break;
          continue;
        }
        if (event.gap !== undefined) {
          told.lost += event.gap.count;
          if (args.policy === 'reliable') told.wrong.push(`a gap of ${event.gap.count}`);
          continue;
        }
        told.delivered += 1;
        const sequence = Number(event.sequence);
        const last = told.last[event.from] ?? 0;
        if (!event.text().startsWith(`${sequence} x`)) told.wrong.push(`body of ${sequence}`);
        if (sequence <= last || (args.policy === 'reliable' && sequence !== last + 1)) {
          told.wrong.push(`${event.from} ${sequence} after ${last}`);
        }
        told.last[event.from] = sequence;
        if (args.policy === 'lossy' && told.delivered % 100 === 0) await sleep(20);
      }
      say(told);
    },
    { dir, args: { name, policy } },
  );
}

/** The next thing that it says which is no number; the last number before it. */
async function progressOf(child: Child, enough: (number: number) => boolean): Promise<number> {
  for (let last = 0; ; ) {
    const heard = await child.heard<unknown>();
    if (typeof heard !== 'number') return last;
    last = heard;
    if (enough(last)) return last;
  }
}

describe('A ledger of a topic', () => {
  test('agrees with every survivor when publishers and subscribers are killed', async () => {
    const count = 3000;
    const fabric = await openFabric({ capacity: { topicCells: 64, topicSubscribers: 48 } });
    const dir = dirname(fabric.info().path);
    const me = await fabric.join('test');
    const names = range(4).map((i) => `reader-${i}`);
    const readers = names.map((name, i) =>
      startSubscriber(dir, name, i % 2 === 0 ? 'reliable' : 'lossy'),
    );
    const doomed = [
      startSubscriber(dir, 'doomed-0', 'reliable'),
      startSubscriber(dir, 'doomed-1', 'lossy'),
    ];
    const publishers = range(3).map((i) => startPublisher(dir, `publisher-${i}`, count));
    for (const child of [...readers, ...doomed, ...publishers]) {
      expect(await child.heard()).toBe('ready');
    }
    for (const i of range(3)) await me.send(`publisher-${i}`, 'go');

    // The first publisher is killed on its way, and the doomed subscribers while all are busy.
    const [first, ...others] = publishers as [Child, ...Child[]];
    await progressOf(first, (number) => number >= 500);
    await Promise.all([first.kill(), ...doomed.map((child) => child.kill())]);
    const said = await progressOf(first, () => false);
    for (const publisher of others) {
      expect(await progressOf(publisher, () => false)).toBe(count);
    }
    for (const name of names) await me.send(name, 'over');

    const told = await Promise.all(readers.map((reader) => reader.heard<Told>()));
    const ofFirst = told[0]?.last['publisher-0'] ?? 0;
    // What it said is published; at most one more was on its way.
    expect(ofFirst).toBeGreaterThanOrEqual(said);
    for (const [i, { delivered, lost, wrong, last }] of told.entries()) {
      expect(wrong, names[i]).toEqual([]);
      expect(delivered + lost, names[i]).toBe(2 * count + ofFirst);
      if (i % 2 === 0) {
        expect(last).toEqual({
          'publisher-0': ofFirst,
          'publisher-1': count,
          'publisher-2': count,
        });
        expect(lost).toBe(0);
      }
    }
    await Promise.all(readers.map((reader) => reader.exited));
    fabric.sweep();
    expect(fabric.census()).toMatchObject({
      subscribers: 0,
      subscribersClaimed: 0,
      topicClaims: 0,
      chunksLoaned: 0,
    });
  });

  test('has an exact gap for a subscriber that was stopped, and no wait for it', async () => {
    const fabric = await openFabric({ capacity: { topicCells: 64, topicSubscribers: 48 } });
    const dir = dirname(fabric.info().path);
    const me = await fabric.join('test');
    const reader = startChild(
      async ({ open, say }) => {
        const agent = await (await open()).join('sleepy');
        const subscription = agent.subscribe('ledger', { patienceMs: 100 });
        say('ready');
        let next = 0;
        let lost = 0;
        let wrong = 0;
        while (next < 500) {
          const event = await subscription.receive();
          if (event?.gap !== undefined) {
            lost += event.gap.count;
            next += event.gap.count;
          } else if (event?.json<number>() === next) {
            next += 1;
          } else {
            wrong += 1;
          }
        }
        say({ lost, wrong, counts: subscription.counts });
      },
      { dir },
    );
    expect(await reader.heard()).toBe('ready');
    for (const i of range(10)) await me.publish('ledger', i);
    reader.process.kill('SIGSTOP');
    for (const i of range(490)) await me.publish('ledger', 10 + i);
    await until(() => fabric.census().subscribersLagged === 1);
    reader.process.kill('SIGCONT');

    const { lost, wrong, counts } = await reader.heard<{
      lost: number;
      wrong: number;
      counts: { delivered: number; lost: number; lagged: number };
    }>();
    expect(wrong).toBe(0);
    expect(lost).toBeGreaterThan(0);
    expect(counts).toEqual({ delivered: 500 - lost, lost, lagged: 1 });
  });

  test('is read by a publisher of another process that dies between commit and ring', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const me = await fabric.join('test');
    const subscription = me.subscribe('ledger');
    const waiting = subscription.receive();
    const publisher = startChild(
      async ({ open, say }) => {
        const agent = await (await open()).join('brief');
        agent.tryPublish('ledger', 'last words');
        say('published');
        process.kill(process.pid, 'SIGKILL');
      },
      { dir },
    );
    const event = await waiting;
    await publisher.exited;
    expect(event?.gap).toBeUndefined();
    expect((event as { text(): string } | undefined)?.text()).toBe('last words');
  });
});
