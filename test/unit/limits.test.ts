import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { failureOf, openFabric, range } from '../support/fabric.js';

describe('rate', () => {
  test('lets a burst through, then makes send wait, and trySend say no', async () => {
    const fabric = await openFabric();
    const b = await fabric.join('b');
    const a = await fabric.join('a', { rate: { perSecond: 100, burst: 3 } });
    const accepted = range(20).filter(() => a.trySend('b', 'x')).length;
    expect(accepted).toBeGreaterThanOrEqual(3);
    expect(accepted).toBeLessThan(20);

    const began = performance.now();
    for (const n of range(10)) await a.send('b', n);
    // Seven at least waited 10 ms each, less a turn of the clock: a burst may have been there again.
    expect(performance.now() - began).toBeGreaterThanOrEqual(65);
    const outcomes = await Promise.all(
      range(20).map(() =>
        a.send('b', 'x', { timeoutMs: 0 }).then(
          () => 'accepted',
          ({ code }) => code,
        ),
      ),
    );
    expect(outcomes).toContain('ERR_CFC_RATE_LIMITED');
    const { counters } = fabric.snapshot().find(({ name }) => name === 'a') ?? {};
    expect(counters?.['send.rate_limited']).toBeGreaterThan(0);
    expect(b.count()).toBeGreaterThanOrEqual(13);
  });

  test('is of a life; what was sent under a quota stays counted', async () => {
    const fabric = await openFabric();
    await fabric.join('b');
    let a = await fabric.join('a', { quota: { messages: 2 } });
    await a.send('a', 'so that the name stays');
    await a.leave();
    a = await fabric.join('a', { quota: { messages: 2 } });
    await a.send('b', 'the second');
    expect(await failureOf(a.send('b', 'x'))).toMatchObject({ code: 'ERR_CFC_QUOTA' });
    await a.leave();
    a = await fabric.join('a', { quota: { messages: 3 } });
    await a.send('b', 'the third');
    expect(await failureOf(a.send('b', 'x'))).toMatchObject({ code: 'ERR_CFC_QUOTA' });
    await a.leave();
    a = await fabric.join('a');
    for (const n of range(5)) await a.send('b', n);
  });

  test('makes publish wait too, and tryPublish say no', async () => {
    const fabric = await openFabric();
    const a = await fabric.join('a', { rate: { perSecond: 50, burst: 1 } });
    const news = a.subscribe('news');
    for (const n of range(4)) await a.publish('news', n);
    expect(range(20).filter((n) => a.tryPublish('news', n)).length).toBeLessThan(20);
    expect(await failureOf(a.publish('news', 'x', { timeoutMs: 0 }))).toMatchObject({
      code: 'ERR_CFC_RATE_LIMITED',
    });
    for (const n of range(4)) {
      const event = await news.receive();
      expect(event && !event.gap && event.json()).toBe(n);
    }
  });

  test('holds for a batch: one beyond the burst goes, and the next waits the longer', async () => {
    const fabric = await openFabric();
    const b = await fabric.join('b', { mailboxCells: 256 });
    const a = await fabric.join('a', { rate: { perSecond: 100, burst: 5 } });
    await a.sendBatch('b', range(20));
    const refused = await failureOf(a.sendBatch('b', range(2), { timeoutMs: 0 }));
    expect(refused).toMatchObject({ code: 'ERR_CFC_RATE_LIMITED', details: { accepted: 0 } });
    await a.sendBatch('b', range(2));
    expect(b.count()).toBe(22);
  });

  test('that makes one wait is what those behind it are told', async () => {
    const fabric = await openFabric();
    await fabric.join('b');
    const a = await fabric.join('a', { rate: { perSecond: 1, burst: 1 } });
    await a.send('b', 'the only token');
    const waiting = failureOf(a.send('b', 'x', { timeoutMs: 50 }));
    const behind = failureOf(a.send('b', 'y', { timeoutMs: 0 }));
    expect(await behind).toMatchObject({ code: 'ERR_CFC_RATE_LIMITED' });
    expect(await waiting).toMatchObject({ code: 'ERR_CFC_RATE_LIMITED' });
  });
});

describe('quota', () => {
  test('ends what an agent may send, at once and with a code', async () => {
    const fabric = await openFabric();
    const b = await fabric.join('b');
    const a = await fabric.join('a', { quota: { messages: 4, bytes: 100 } });
    await a.sendBatch('b', ['x'.repeat(50), 'y'.repeat(40)]);
    expect(() => a.trySend('b', 'z'.repeat(11))).toThrow(/as much as it may/);
    expect(a.trySend('b', 'z'.repeat(10))).toBe(true);
    expect(await failureOf(a.sendBatch('b', ['', '']))).toMatchObject({ code: 'ERR_CFC_QUOTA' });
    await a.send('b', '');
    expect(await failureOf(a.send('b', ''))).toMatchObject({
      code: 'ERR_CFC_QUOTA',
      details: { to: 'b' },
    });
    expect(b.count()).toBe(4);
  });

  test('and rates that make no sense are refused', async () => {
    const fabric = await openFabric();
    for (const options of [
      { rate: { perSecond: 0 } },
      { rate: { perSecond: 1.5 } },
      { rate: { perSecond: 1, burst: 2e6 } },
      { quota: { messages: -1 } },
      { quota: { bytes: Number.NaN } },
      { rate: {} as { perSecond: number } },
    ]) {
      expect(await failureOf(fabric.join('a', options))).toMatchObject({ code: 'ERR_CFC_USAGE' });
    }
  });
});

describe('pace', () => {
  test('adaptive pauses once the recipient is half full, and counts it', async () => {
    const fabric = await openFabric();
    const b = await fabric.join('b', { mailboxCells: 16 });
    const a = await fabric.join('a', { pace: 'adaptive' });
    for (const n of range(16)) await a.send('b', n);
    const { counters } = fabric.snapshot().find(({ name }) => name === 'a') ?? {};
    expect(counters?.['send.paced']).toBe(9);
    expect(b.count()).toBe(16);
  });

  test('is none by default, and what the option says where join says nothing', async () => {
    vi.stubEnv('CFC_SEND_PACE', 'adaptive');
    onTestFinished(() => void vi.unstubAllEnvs());
    const fabric = await openFabric();
    await fabric.join('b', { mailboxCells: 16 });
    const a = await fabric.join('a');
    const plain = await fabric.join('plain', { pace: 'none' });
    for (const n of range(7)) await plain.send('b', n);
    for (const n of range(2)) await a.send('b', n);
    const paced = fabric.snapshot().map(({ name, counters }) => [name, counters['send.paced']]);
    expect(Object.fromEntries(paced)).toMatchObject({ a: 2, plain: 0 });
  });
});
