import { describe, expect, test } from 'vitest';
import type { Region } from '../../../src/core/index.js';
import { failureOf, openRegion, range } from '../../support/fabric.js';

function counted(region: Region, entry: number, name: string): number | undefined {
  const metric = region.metrics().find((known) => known.name === name);
  return metric === undefined ? undefined : region.readCounters(entry)?.[metric.index];
}

describe('Counters', () => {
  test('are read by others as they are written', () => {
    const region = openRegion();
    const a = region.join('a');
    const files = a.counters.counter('files.read', 'files');
    const confidence = a.counters.gauge('agent.confidence');

    for (const _ of range(10_000)) files.add();
    files.add(0.5);
    confidence.set(0.9);
    confidence.set(0.7);

    expect(counted(region, a.entry, 'files.read')).toBe(10_000.5);
    expect(counted(region, a.entry, 'agent.confidence')).toBe(0.7);
  });

  test('of two agents are apart, under one name and one unit', () => {
    const region = openRegion();
    const [a, b] = [region.join('a'), region.join('b')];

    a.counters.counter('n', 'files').add(1);
    b.counters.counter('n', 'files').add(2);

    expect([counted(region, a.entry, 'n'), counted(region, b.entry, 'n')]).toEqual([1, 2]);
    expect(region.metrics().filter(({ name }) => name === 'n')).toHaveLength(1);
  });

  test('asked for again are the same', () => {
    const a = openRegion().join('a');

    expect(a.counters.counter('n')).toBe(a.counters.counter('n'));
  });

  test('refuse a name that is another kind already', async () => {
    const region = openRegion();
    const [a, b] = [region.join('a'), region.join('b')];
    a.counters.counter('n');

    expect(await failureOf(() => a.counters.gauge('n'))).toMatchObject({ code: 'ERR_CFC_USAGE' });
    expect(await failureOf(() => b.counters.gauge('n'))).toMatchObject({ code: 'ERR_CFC_USAGE' });
    for (const name of ['', 'a b', '-', 'x'.repeat(65), 'é']) {
      expect(await failureOf(() => a.counters.counter(name)), name).toMatchObject({
        code: 'ERR_CFC_USAGE',
      });
    }
  });

  test('say when there are too many', async () => {
    const a = openRegion().join('a');

    const error = await failureOf(() => {
      for (const i of range(10_000)) a.counters.counter(`metric.${i}`);
    });

    expect(error.code).toBe('ERR_CFC_COUNTERS_FULL');
  });

  test('after the agent left are harmless, and do not touch those of its successor', () => {
    const region = openRegion();
    const first = region.join('a');
    const count = first.counters.counter('n');
    const gauge = first.counters.gauge('g');
    const histogram = first.counters.histogram('h');
    count.add(5);
    first.leave();
    const second = region.join('a');
    second.counters.counter('n').add(1);
    second.counters.gauge('g').set(2);
    second.counters.histogram('h').record(3);

    count.add(100);
    gauge.set(100);
    for (const _ of range(10)) histogram.record(100);

    expect(counted(region, second.entry, 'n')).toBe(1);
    expect(counted(region, second.entry, 'g')).toBe(2);
    const metric = region.metrics().find(({ name }) => name === 'h');
    expect(region.readHistogram(second.entry, metric?.index ?? -1)).toMatchObject({
      count: 1,
      max: 3,
    });
  });

  test('stay harmless after the region was closed', () => {
    const region = openRegion();
    const count = region.join('a').counters.counter('n');
    region.close();

    count.add(1);
  });

  test('asked for after leaving say that the mailbox is closed', async () => {
    const a = openRegion().join('a');
    a.leave();

    expect(await failureOf(() => a.counters.counter('n'))).toMatchObject({
      code: 'ERR_CFC_MAILBOX_CLOSED',
    });
    expect(await failureOf(() => a.counters.histogram('h'))).toMatchObject({
      code: 'ERR_CFC_MAILBOX_CLOSED',
    });
  });

  test('of the core count what was sent and received', () => {
    const region = openRegion();
    const [a, b] = [region.join('a'), region.join('b')];
    for (const _ of range(3)) a.trySend('b', '12345');
    const [first, second] = b.take(2);
    first?.ack();
    second?.nack();

    expect(counted(region, a.entry, 'messages.sent')).toBe(3);
    expect(counted(region, a.entry, 'bytes.sent')).toBe(15);
    expect(counted(region, b.entry, 'messages.received')).toBe(2);
    expect(counted(region, b.entry, 'messages.acked')).toBe(1);
    expect(counted(region, b.entry, 'messages.nacked')).toBe(1);
  });
});

describe('Histogram', () => {
  const percentiles = [0, 1, 10, 50, 90, 95, 99, 99.9, 100];

  test.each([
    ['a ramp', (i: number) => i + 1],
    ['microseconds to minutes', (i: number) => 1.0037 ** i / 1000],
    ['one value', () => 12.34],
  ])('of %s has percentiles within 1 %%', (_, value) => {
    const region = openRegion();
    const a = region.join('a');
    const values = range(5000).map(value);
    const histogram = a.counters.histogram('h', 'ms');
    for (const v of values) histogram.record(v);

    const metric = region.metrics().find(({ name }) => name === 'h')?.index ?? -1;
    const read = region.readHistogram(a.entry, metric, percentiles);
    const sorted = values.toSorted((x, y) => x - y);

    expect(read).toMatchObject({ count: 5000, min: sorted[0], max: sorted.at(-1) });
    expect(read?.sum).toBeCloseTo(
      values.reduce((sum, v) => sum + v, 0),
      3,
    );
    percentiles.forEach((percentile, i) => {
      const rank = Math.max(1, Math.ceil((percentile / 100) * 5000));
      const exact = sorted[rank - 1] as number;
      const off = Math.abs((read?.percentiles[i] as number) - exact) / exact;
      expect(off, `p${percentile}: ${read?.percentiles[i]} for ${exact}`).toBeLessThan(0.01);
    });
  });

  test('takes what is too small or too large at its ends, and drops what is no number', () => {
    const region = openRegion();
    const a = region.join('a');
    const histogram = a.counters.histogram('h');
    for (const value of [0, 2 ** -20, 2 ** 50]) histogram.record(value);
    for (const value of [-1, Number.NaN, Infinity, -Infinity]) histogram.record(value);

    const metric = region.metrics().find(({ name }) => name === 'h')?.index ?? -1;

    expect(region.readHistogram(a.entry, metric)).toMatchObject({ count: 3, min: 0, max: 2 ** 50 });
  });

  test('says when there are too many', async () => {
    const region = openRegion({ histograms: 2 });
    const [a, b] = [region.join('a'), region.join('b')];
    a.counters.histogram('h');
    b.counters.histogram('h');

    expect(await failureOf(() => a.counters.histogram('other'))).toMatchObject({
      code: 'ERR_CFC_COUNTERS_FULL',
    });
  });
});
