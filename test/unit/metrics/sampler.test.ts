import { describe, expect, test } from 'vitest';
import type { MetricRecord } from '../../../src/metrics/record.js';
import { openFabric, range, testDirectory, until } from '../../support/fabric.js';

/** The sum of a metric, of one agent or of all. */
function sum(records: readonly MetricRecord[], metric: string, agent?: string): number {
  return valuesOf(records, metric, agent).reduce((a, b) => a + b, 0);
}

function valuesOf(records: readonly MetricRecord[], metric: string, agent?: string): number[] {
  return records
    .filter((one) => one.metric === metric && (agent === undefined || one.tags.agent === agent))
    .map(({ value }) => value);
}

describe('A sampler', () => {
  test('tells by how much counters grew, each time once', async () => {
    const fabric = await openFabric();
    const [alice, bob] = [await fabric.join('alice'), await fabric.join('bob')];
    const sampler = fabric.sampler();
    for (const i of range(7)) await alice.send('bob', { i });
    const first = sampler.sample();
    for (const i of range(3)) await alice.send('bob', { i });
    const second = sampler.sample();
    const third = sampler.sample();

    expect(sum(first, 'coordination.message_sent', 'alice')).toBe(7);
    expect(sum(second, 'coordination.message_sent', 'alice')).toBe(3);
    expect(sum(third, 'coordination.message_sent')).toBe(0);
    expect(sum(first, 'coordination.messages')).toBe(7);
    expect(sum(second, 'coordination.messages')).toBe(3);
    expect(valuesOf(second, 'coordination.queue_depth')).toEqual([10]);
    expect(valuesOf(second, 'inbox.size', 'bob')).toEqual([10]);
    expect(valuesOf(second, 'coordination.agents')).toEqual([2]);
    expect(bob.left).toBe(false);
  });

  test('says which part of what came to an end was acked', async () => {
    const fabric = await openFabric({ capacity: { mailboxCells: 8 } });
    const [alice, bob] = [await fabric.join('alice'), await fabric.join('bob')];
    const sampler = fabric.sampler();
    for (const i of range(6)) alice.trySend('bob', { i });
    const batch = await bob.receiveBatch({ max: 2 });
    batch.ack();
    fabric.clear('bob');
    while (alice.trySend('bob', 'x'));
    const records = sampler.sample();

    expect(sum(records, 'coordination.acked')).toBe(2);
    expect(sum(records, 'coordination.dropped')).toBe(4);
    expect(sum(records, 'backpressure.inbox_overflow', 'bob')).toBe(4);
    expect(sum(records, 'coordination.send_failure', 'alice')).toBe(1);
    expect(valuesOf(records, 'coordination.delivery_rate')).toEqual([(100 * 2) / 7]);
  });

  test('does not count a send as refused that waits and is accepted', async () => {
    const fabric = await openFabric({ capacity: { mailboxCells: 8 } });
    const [alice, bob] = [await fabric.join('alice'), await fabric.join('bob')];
    while (alice.trySend('bob', 'x'));
    const before = fabric.sampler().sample();
    const sampler = fabric.sampler();
    sampler.sample();
    const waiting = alice.send('bob', 'y');
    const late = alice.send('bob', 'z', { timeoutMs: 30 }).catch(() => 'refused');
    await expect(late).resolves.toBe('refused');
    (await bob.receive())?.ack();
    await waiting;
    const records = sampler.sample();

    expect(sum(before, 'coordination.send_failure', 'alice')).toBe(1);
    expect(sum(records, 'coordination.send_failure', 'alice')).toBe(1);
    expect(sum(records, 'backpressure.waits', 'alice')).toBe(2);
    expect(sum(records, 'backpressure.send.success', 'alice')).toBe(1);
    expect(sum(records, 'backpressure.send.failure', 'alice')).toBe(1);
    expect(sum(records, 'backpressure.wait', 'alice')).toBeGreaterThanOrEqual(30);
  });

  test('tells what agents counted that came and went between two looks', async () => {
    const fabric = await openFabric();
    const bob = await fabric.join('bob', { mailboxCells: 1024 });
    const sampler = fabric.sampler();
    sampler.sample();
    // One name after the other in one place of the directory, and one name again and again.
    for (const i of range(40)) {
      const visitor = await fabric.join(i % 2 === 0 ? 'visitor' : `visitor-${i}`);
      await visitor.send('bob', { i });
      visitor.counter('files.read', 'files').add(2);
      await visitor.leave();
    }
    const records = sampler.sample();

    expect(sum(records, 'coordination.message_sent')).toBe(40);
    expect(sum(records, 'files.read')).toBe(80);
    expect(sum(records, 'coordination.messages')).toBe(40);
    expect(bob.left).toBe(false);
    const again = await fabric.join('visitor');
    expect(fabric.snapshot().find(({ name }) => name === 'visitor')?.counters['files.read']).toBe(
      0,
    );
    again.counter('files.read').add(5);
    expect(fabric.snapshot().find(({ name }) => name === 'visitor')?.counters['files.read']).toBe(
      5,
    );
    expect(sum(sampler.sample(), 'files.read', 'visitor')).toBe(5);
  });

  test('tells what an agent counts under a name beyond those that are kept', async () => {
    const fabric = await openFabric();
    const sampler = fabric.sampler();
    const first = await fabric.join('alice');
    for (const i of range(60)) first.counter(`n${i}`).add(7);
    expect(sum(sampler.sample(), 'n59')).toBe(7);
    await first.leave();
    const second = await fabric.join('alice');
    for (const i of range(60)) second.counter(`n${i}`).add(9);
    const records = sampler.sample();

    expect(sum(records, 'n0')).toBe(9);
    expect(sum(records, 'n59')).toBe(9);
    second.counter('n59').add(1);
    expect(sum(sampler.sample(), 'n59')).toBe(1);
  });

  test("tells users' own counters, gauges and histograms", async () => {
    const fabric = await openFabric();
    const alice = await fabric.join('alice', { team: 'A', role: 'coder' });
    const sampler = fabric.sampler();
    alice.counter('files.read', 'files').add(3);
    alice.gauge('agent.confidence', 'ratio').set(0.75);
    const histogram = alice.histogram('task.ms', 'milliseconds');
    for (const value of [10, 10, 10, 400]) histogram.record(value);
    const records = sampler.sample();
    histogram.record(20);
    const later = sampler.sample();

    const tags = { fabric: 'test', agent: 'alice', team: 'A', role: 'coder' };
    expect(records.find(({ metric }) => metric === 'files.read')).toMatchObject({
      value: 3,
      unit: 'files',
      tags: { ...tags, kind: 'counter' },
    });
    expect(records.find(({ metric }) => metric === 'agent.confidence')).toMatchObject({
      value: 0.75,
      unit: 'ratio',
      tags,
    });
    const values = records
      .filter(({ metric }) => metric === 'task.ms')
      .map(({ value, tags: { times } }) => [Math.round(value), times]);
    expect(values).toEqual([
      [10, '3'],
      [400, undefined],
    ]);
    expect(valuesOf(later, 'task.ms').map(Math.round)).toEqual([20]);
  });

  test('tells the histogram of an agent that has left meanwhile', async () => {
    const fabric = await openFabric();
    const sampler = fabric.sampler();
    const alice = await fabric.join('alice');
    alice.histogram('task.ms').record(7);
    await alice.leave();

    expect(valuesOf(sampler.sample(), 'task.ms').map(Math.round)).toEqual([7]);
    expect(valuesOf(sampler.sample(), 'task.ms')).toEqual([]);
  });

  test('says what a gather took and how far its answers agree', async () => {
    const fabric = await openFabric();
    const [alice, bob, carol] = await Promise.all(
      ['alice', 'bob', 'carol'].map((name) => fabric.join(name, { team: 'A' })),
    );
    const sampler = fabric.sampler();
    const answer = async (agent: typeof bob, body: string) => {
      const question = await agent?.receive();
      await question?.reply(body);
      question?.ack();
    };
    await Promise.all([alice?.gather('team:A', 'which?'), answer(bob, 'x'), answer(carol, 'x')]);
    const records = sampler.sample();

    expect(valuesOf(records, 'consensus.score', 'alice')).toEqual([100]);
    expect(valuesOf(records, 'coordination.time', 'alice')).toHaveLength(1);
    expect(valuesOf(records, 'coordination.latency', 'bob')).toHaveLength(1);
  });

  test('says what its process takes, and how long it took to come', async () => {
    const fabric = await openFabric();
    await fabric.join('alice');
    const sampler = fabric.sampler();
    const records = sampler.sample();

    expect(valuesOf(records, 'system.memory_mb', 'alice')[0]).toBeGreaterThan(1);
    expect(valuesOf(records, 'system.open_fds', 'alice')[0]).toBeGreaterThan(3);
    const before = process.cpuUsage();
    while (process.cpuUsage(before).user < 50_000); // of a CPU, and not of the clock on the wall
    const load = valuesOf(sampler.sample(), 'system.load_per_cpu', 'alice');
    expect(load[0]).toBeGreaterThan(0);
  });

  test('reads what was emitted and what supervisors say, each once, without subscribing', async () => {
    const fabric = await openFabric();
    const alice = await fabric.join('alice');
    const timestamp = new Date().toISOString();
    const emitted = {
      timestamp,
      metric: 'build.seconds',
      value: 4,
      unit: 's',
      tags: { branch: 'm' },
    };
    const sampler = fabric.sampler();
    await alice.publish('cfc.metrics', emitted);
    await alice.publish('cfc.metrics', 'no record');
    await alice.publish('cfc.events', {
      at: Date.now(),
      event: 'restarted',
      agent: 'bob',
      count: 2,
    });
    const records = sampler.sample();

    expect(records.find(({ metric }) => metric === 'build.seconds')).toEqual({
      ...emitted,
      tags: { fabric: 'test', agent: 'alice', branch: 'm' },
    });
    expect(records.find(({ metric }) => metric === 'agent.event')?.tags).toEqual({
      fabric: 'test',
      event: 'restarted',
      agent: 'bob',
      count: '2',
    });
    expect(sum(records, 'metrics.lost')).toBe(1);
    expect(valuesOf(sampler.sample(), 'build.seconds')).toEqual([]);
    expect(fabric.census().subscribers).toBe(0);
  });

  test('counts what was overwritten before it was read', async () => {
    const fabric = await openFabric({ capacity: { topicCells: 8 } });
    const alice = await fabric.join('alice');
    const sampler = fabric.sampler();
    const timestamp = new Date().toISOString();
    const emit = (value: number) =>
      alice.publish('cfc.metrics', { timestamp, metric: 'n', value, unit: '', tags: {} });
    for (const i of range(3)) await emit(i);
    const first = sampler.sample();
    for (const i of range(50)) await emit(100 + i);
    const second = sampler.sample();

    expect(valuesOf(first, 'n')).toEqual([0, 1, 2]);
    const told = valuesOf(second, 'n');
    expect(told.at(-1)).toBe(149);
    expect(told.length + sum(second, 'metrics.lost')).toBe(50);
  });

  test('goes on where an earlier one ended', async () => {
    const fabric = await openFabric();
    const alice = await fabric.join('alice');
    await fabric.join('bob');
    await alice.send('bob', 1);
    const { next } = fabric.sampler().draw();
    await alice.send('bob', 2);
    const baseline = structuredClone(next);
    const records = fabric.sampler({ baseline }).sample();

    expect(sum(records, 'coordination.message_sent')).toBe(1);
    const foreign = { ...baseline, fabric: 'another' };
    expect(sum(fabric.sampler({ baseline: foreign }).sample(), 'coordination.message_sent')).toBe(
      2,
    );
  });

  test('makes tasks that failed an error rate', async () => {
    const fabric = await openFabric();
    const alice = await fabric.join('alice');
    alice.counter('coordination.tasks', 'tasks').add(8);
    alice.counter('coordination.tasks_failed', 'tasks').add(2);

    expect(valuesOf(fabric.sampler().sample(), 'coordination.error_rate')).toEqual([25]);
  });
});

test('An error rate has the tasks of the whole interval, whenever they were told', async () => {
  const fabric = await openFabric();
  const alice = await fabric.join('alice');
  const sampler = fabric.sampler();
  const tell = (metric: string, value: number) => {
    const timestamp = new Date().toISOString();
    return alice.publish('cfc.metrics', { timestamp, metric, value, unit: 'tasks', tags: {} });
  };
  await tell('coordination.tasks', 10);
  const events = sampler.drawEvents();
  events.commit();
  await tell('coordination.tasks', 10);
  await tell('coordination.tasks_failed', 5);

  expect(sum(events.records, 'coordination.tasks')).toBe(10);
  expect(valuesOf(sampler.sample(), 'coordination.error_rate')).toEqual([25]);
  expect(valuesOf(sampler.sample(), 'coordination.error_rate')).toEqual([]);
});

describe('An agent that counts nothing', () => {
  test('works as any other, and has handles to count with', async () => {
    const fabric = await openFabric();
    const alice = await fabric.join('alice', { metrics: false });
    const bob = await fabric.join('bob');
    await alice.send('bob', 'hello');
    alice.counter('n').add(1);
    alice.gauge('g').set(1);
    alice.histogram('h').record(1);
    const message = await bob.receive();
    message?.ack();

    expect(message?.text()).toBe('hello');
    const [counters] = fabric.snapshot().filter(({ name }) => name === 'alice');
    expect(Object.values(counters?.counters ?? {}).every((value) => value === 0)).toBe(true);
    const records = fabric.sampler().sample();
    expect(sum(records, 'coordination.message_sent')).toBe(0);
    expect(sum(records, 'coordination.messages')).toBe(1);
  });

  test('is what CFC_METRICS=off makes of all that join', async () => {
    process.env.CFC_METRICS = 'off';
    try {
      const fabric = await openFabric({ dir: testDirectory() });
      const alice = await fabric.join('alice');
      await alice.send('alice', 'x');
      expect(sum(fabric.sampler().sample(), 'coordination.message_sent')).toBe(0);
    } finally {
      delete process.env.CFC_METRICS;
    }
  });
});

test('sleeps, turns and wakes of a loop are counted', async () => {
  const fabric = await openFabric();
  const [alice, bob] = [await fabric.join('alice'), await fabric.join('bob')];
  const received = bob.receive();
  setTimeout(() => void alice.send('bob', 'x'), 20);
  (await received)?.ack();
  const counters = () => fabric.snapshot().find(({ name }) => name === 'bob')?.counters ?? {};
  await until(() => (counters()['loop.turns'] ?? 0) > 0);

  expect(counters()['receive.waits']).toBeGreaterThanOrEqual(1);
  expect(counters()['receive.wait_time']).toBeGreaterThan(0);
});
