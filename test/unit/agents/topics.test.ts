import { describe, expect, test } from 'vitest';
import type { Subscription, TopicEvent } from '../../../src/index.js';
import { failureOf, openFabric, openRegion, range, sleep } from '../../support/fabric.js';

/** A fabric whose topics keep few messages. */
const openSmall = () => openFabric({ capacity: { topicCells: 16, topicSubscribers: 48 } });

/** What is there now. */
function drain(subscription: Subscription): TopicEvent[] {
  const events: TopicEvent[] = [];
  for (;;) {
    const event = subscription.tryReceive();
    if (event === undefined) return events;
    events.push(event);
  }
}

const lostOf = (events: readonly TopicEvent[]) =>
  events.reduce((sum, event) => sum + (event.gap?.count ?? 0), 0);
const bodiesOf = (events: readonly TopicEvent[]) =>
  events.flatMap((event) => (event.gap === undefined ? [event.json<number>()] : []));

describe('Agent.publish', () => {
  test('reaches every subscriber, in order, with what is to be known of each', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const bob = await fabric.join('bob');
    await alice.publish('build.events', 'before');
    const subscriptions = [alice.subscribe('build.events'), bob.subscribe('build.events')];

    const receipt = await alice.publish('build.events', { n: 1 }, { type: 'event' });
    await bob.publish('build.events', 'text');
    await alice.publish('build.events', new Uint8Array([1, 2]));

    for (const subscription of subscriptions) {
      const [first, second, third, ...rest] = drain(subscription);
      if (first?.gap !== undefined || second?.gap !== undefined || third?.gap !== undefined) {
        throw new Error('a gap');
      }
      expect(first?.id).toBe(receipt.id);
      expect(receipt.topic).toBe('build.events');
      expect(first).toMatchObject({ from: 'alice', topic: 'build.events', type: 'event' });
      expect(first?.kind).toBe('json');
      expect(first?.json()).toEqual({ n: 1 });
      expect(first?.sequence).toBe(2n);
      expect(Math.abs((first?.sentAt ?? 0) - Date.now())).toBeLessThan(60_000);
      expect(second).toMatchObject({ from: 'bob', sequence: 1n, position: 2 });
      expect(second?.text()).toBe('text');
      expect([...(third?.body ?? [])]).toEqual([1, 2]);
      expect(third?.sequence).toBe(3n);
      expect(rest).toEqual([]);
    }
  });

  test('carries bodies of any size, whole, and each stays as it is', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const subscription = alice.subscribe('large');
    const bodies = [0, 10, 161, 5000, 300_000, 1 << 24].map((bytes) => Buffer.alloc(bytes, bytes));
    for (const body of bodies) await alice.publish('large', body);
    const events = drain(subscription);
    await alice.publish('large', 'and more');
    drain(subscription);

    expect(events).toHaveLength(bodies.length);
    events.forEach((event, i) => {
      if (event.gap !== undefined) throw new Error('a gap');
      expect(Buffer.compare(event.body, bodies[i] as Buffer)).toBe(0);
    });
  });

  test('refuses names, bodies and policies that are none, with a code', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const tooLarge = Buffer.alloc((1 << 24) + 1);

    expect((await failureOf(alice.publish('a/b', 1))).code).toBe('ERR_CFC_USAGE');
    expect((await failureOf(alice.publish('', 1))).code).toBe('ERR_CFC_USAGE');
    expect((await failureOf(() => alice.subscribe('-a'))).code).toBe('ERR_CFC_USAGE');
    expect((await failureOf(alice.publish('a', tooLarge))).code).toBe('ERR_CFC_RECORD_TOO_LARGE');
    expect((await failureOf(() => alice.subscribe('a', { patienceMs: -1 }))).code).toBe(
      'ERR_CFC_USAGE',
    );
    expect((await failureOf(() => alice.subscribe('a', { policy: 'some' as 'lossy' }))).code).toBe(
      'ERR_CFC_USAGE',
    );
  });

  test('says so when the tables of topics and subscribers are full', async () => {
    const fabric = await openFabric({ capacity: { maxTopics: 1, topicSubscribers: 48 } });
    const alice = await fabric.join('alice');
    const all = range(48).map(() => alice.subscribe('one'));

    expect((await failureOf(() => alice.subscribe('one'))).code).toBe('ERR_CFC_SUBSCRIBERS_FULL');
    expect((await failureOf(alice.publish('two', 1))).code).toBe('ERR_CFC_TOPICS_FULL');
    await all[3]?.close();
    expect(alice.subscribe('one').closed).toBe(false);
    expect(fabric.census()).toMatchObject({ topics: 1, subscribers: 48 });
  });

  test('waits for a reliable subscriber that is behind, in order, and gives up in time', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const subscription = alice.subscribe('news', { patienceMs: 60_000 });
    let published = 0;
    while (alice.tryPublish('news', published)) published += 1;
    expect(published).toBe(16);
    const refused = await failureOf(alice.publish('news', -1, { timeoutMs: 20 }));
    expect(refused.code).toBe('ERR_CFC_TOPIC_FULL');
    expect((await failureOf(alice.publish('news', -1, { timeoutMs: 0 }))).code).toBe(
      'ERR_CFC_TOPIC_FULL',
    );

    const waiting = range(10).map((i) => alice.publish('news', 16 + i));
    expect(alice.tryPublish('news', -1)).toBe(false);
    const heard: number[] = [];
    while (heard.length < 26) {
      const event = await subscription.receive();
      if (event?.gap !== undefined) throw new Error('a gap');
      heard.push(event?.json<number>() as number);
    }
    await Promise.all(waiting);
    expect(heard).toEqual(range(26));
  });

  test('sets a laggard aside after its patience, while it waits in the event loop', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const slow = alice.subscribe('news', { patienceMs: 30 });
    for (const i of range(40)) await alice.publish('news', i);
    const events = drain(slow);

    expect(lostOf(events) + bodiesOf(events).length).toBe(40);
    expect(lostOf(events)).toBeGreaterThan(0);
    expect(slow.counts.lagged).toBe(1);
    expect(bodiesOf(events)).toEqual(range(40).slice(lostOf(events)));
  });
});

describe('Agent.subscribe', () => {
  test('yields messages and gaps to a loop, and closes when it is left', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const heard: number[] = [];
    let lost = 0;
    const subscription = alice.subscribe('news', { policy: 'lossy' });
    for (const i of range(50)) await alice.publish('news', i);
    for await (const event of subscription) {
      if (event.gap) {
        lost += event.gap.count;
        expect(event.gap.to - event.gap.from).toBe(event.gap.count);
        continue;
      }
      heard.push(event.json<number>());
      if (event.json() === 49) break;
    }

    expect(lost).toBe(34);
    expect(heard).toEqual(range(50).slice(34));
    expect(subscription.closed).toBe(true);
    expect(fabric.census().subscribers).toBe(0);
    expect(alice.tryPublish('news', 1)).toBe(true);
  });

  test('wakes whoever waits, and answers undefined when the time is up', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const bob = await fabric.join('bob');
    const subscription = bob.subscribe('news');
    expect(await subscription.receive({ timeoutMs: 10 })).toBeUndefined();
    expect(subscription.tryReceive()).toBeUndefined();

    const waiting = [subscription.receive(), subscription.receive(), bob.receive()] as const;
    await sleep(20);
    await alice.publish('news', 1);
    await alice.publish('news', 2);
    await alice.send('bob', 3);
    const [first, second, mail] = await Promise.all(waiting);

    expect(bodiesOf([first, second] as TopicEvent[])).toEqual([1, 2]);
    expect(mail?.json()).toBe(3);
    mail?.ack();
  });

  test('ends for whoever waits when it is closed, or its agent leaves', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const one = alice.subscribe('news');
    const waitingOne = one.receive();
    await one.close();
    expect(await waitingOne).toBeUndefined();

    const two = alice.subscribe('news');
    const loop = (async () => {
      for await (const event of two) expect(event).toBeUndefined();
    })();
    await sleep(5);
    await alice.leave();
    await loop;
    expect(two.closed).toBe(true);
    expect((await failureOf(alice.publish('news', 1))).code).toBe('ERR_CFC_MAILBOX_CLOSED');
    expect((await failureOf(() => alice.subscribe('news'))).code).toBe('ERR_CFC_MAILBOX_CLOSED');
  });

  test('keeps thousands of messages in order over many laps, and counts them', async () => {
    const fabric = await openSmall();
    const alice = await fabric.join('alice');
    const bob = await fabric.join('bob');
    const reliable = bob.subscribe('news', { patienceMs: 60_000 });
    const lossy = bob.subscribe('news', { policy: 'lossy' });
    const publishing = (async () => {
      for (const i of range(3000)) await alice.publish('news', i);
    })();
    const heard: number[] = [];
    while (heard.length < 3000) {
      const event = await reliable.receive();
      if (event?.gap !== undefined) throw new Error('a gap');
      heard.push(event?.json<number>() as number);
    }
    await publishing;
    drain(lossy);

    expect(heard).toEqual(range(3000));
    expect(lossy.counts.delivered + lossy.counts.lost).toBe(3000);
    const counters = Object.fromEntries(
      fabric.snapshot().map((agent) => [agent.name, agent.counters]),
    );
    expect(counters.alice?.['topics.published']).toBe(3000);
    expect(counters.bob?.['topics.delivered']).toBe(3000 + lossy.counts.delivered);
    expect(counters.bob?.['topics.lost']).toBe(lossy.counts.lost);
  });
});

describe('cfc/core', () => {
  test('gives topics without waiting', () => {
    const region = openRegion({ topicCells: 8 });
    const alice = region.join('alice');
    const reader = alice.topics.subscribe('news', { policy: 'lossy' });
    for (const i of range(10)) expect(alice.topics.tryPublish('news', `${i}`)).toBeGreaterThan(0);

    expect(reader.waitSync(1000)).toBe(true);
    const events = reader.take(256);
    expect(events.map((event) => event.gap?.count ?? (event as { text(): string }).text())).toEqual(
      [2, ...range(8).map((i) => `${i + 2}`)],
    );
    expect(reader.counts).toEqual({ delivered: 8, lost: 2, lagged: 0 });
    expect(reader.waitSync(5)).toBe(false);
    reader.close();
    expect(reader.take(1)).toEqual([]);
  });

  test('takes no more of a topic once the bodies have 1 MiB, the last one whole', () => {
    const region = openRegion({ topicCells: 8 });
    const alice = region.join('alice');
    const reader = alice.topics.subscribe('news');
    const bodies = range(6).map((i) => Buffer.alloc(300 * 1024, i));
    for (const body of bodies) expect(alice.topics.tryPublish('news', body)).toBeGreaterThan(0);

    const bodiesTaken = () =>
      reader.take(256).map((event) => (event.gap === undefined ? event.body : undefined));
    const same = (taken: readonly (Uint8Array | undefined)[], from: number) =>
      taken.map((body, i) => Buffer.compare(body ?? Buffer.of(), bodies[from + i] as Buffer));
    expect(same(bodiesTaken(), 0)).toEqual([0, 0, 0, 0]);
    expect(same(bodiesTaken(), 4)).toEqual([0, 0]);
    expect(reader.take(256)).toEqual([]);
  });
});
