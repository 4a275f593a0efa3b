import { describe, expect, test } from 'vitest';
import type { Agent, Fabric, Message } from '../../src/index.js';
import { evidenceOf } from '../support/evidence.js';
import { failureOf, openFabric, range } from '../support/fabric.js';

async function pair(): Promise<{ fabric: Fabric; a: Agent; b: Agent }> {
  const fabric = await openFabric();
  return { fabric, a: await fabric.join('a'), b: await fabric.join('b') };
}

const next = async (agent: Agent): Promise<Message> => (await agent.receive()) as Message;

describe('dedupKey', () => {
  test('drops a repeat of what was acked, counts it, and tells its sender that it was acked', async () => {
    const { fabric, a, b } = await pair();
    await a.send('b', 'one', { dedupKey: 'k' });
    (await next(b)).ack();
    const repeat = a.send('b', 'again', { dedupKey: 'k', wait: 'acked' });
    await a.send('b', 'two', { dedupKey: 'other' });

    expect((await next(b)).text()).toBe('two');
    expect(await repeat).toMatchObject({ state: 'acked' });
    expect(fabric.census()).toMatchObject({ acked: 1, dropped: 1, leased: 1, queued: 1 });
    const [, counted] = fabric.snapshot().toSorted((x, y) => x.name.localeCompare(y.name));
    expect(counted?.counters['messages.repeated']).toBe(1);
  });

  test('delivers a repeat of what was given back', async () => {
    const { fabric, a, b } = await pair();
    await a.send('b', 'one', { dedupKey: 'k' });
    (await next(b)).nack();
    await a.send('b', 'two', { dedupKey: 'k' });

    expect([(await next(b)).text(), (await next(b)).text()]).toEqual(['one', 'two']);
    expect(fabric.census().dropped).toBe(0);
  });

  test('is of one mailbox, and holds for those who take it over', async () => {
    const { fabric, a, b } = await pair();
    const c = await fabric.join('c');
    await a.send('b', 'x', { dedupKey: 'k' });
    (await next(b)).ack();
    await a.send('c', 'x', { dedupKey: 'k' });
    expect((await next(c)).text()).toBe('x');

    await a.send('b', 'kept', {}); // so that name and mailbox stay
    await b.leave();
    const again = await fabric.join('b');
    await a.send('b', 'x', { dedupKey: 'k' });
    const message = await next(again);
    expect(message.text()).toBe('kept');
    expect(again.tryReceive()).toBeUndefined();
  });

  test('remembers a thousand keys', async () => {
    const { fabric, a, b } = await pair();
    for (const n of range(1000)) {
      await a.send('b', n, { dedupKey: `key ${n}` });
      (await next(b)).ack();
    }
    for (const n of range(1000)) {
      await a.send('b', n, { dedupKey: `key ${n}` });
      expect(b.tryReceive()).toBeUndefined();
    }
    expect(fabric.census()).toMatchObject({ acked: 1000, dropped: 1000, queued: 0 });
  });

  test('refuses keys that are none', async () => {
    const { a } = await pair();
    for (const dedupKey of ['', 'x'.repeat(1025)]) {
      const refused = failureOf(a.send('b', 'x', { dedupKey }));
      expect(await refused).toMatchObject({ code: 'ERR_CFC_USAGE' });
    }
  });
});

describe('message.forward', () => {
  test('hands on body, type, lane and what is left of the time', async () => {
    const { fabric, a, b } = await pair();
    const c = await fabric.join('c');
    const bodies = ['text', { json: [1] }, Uint8Array.of(1, 2, 3)];
    for (const body of bodies) {
      await a.send('b', body, { type: 't', priority: 'control', ttlMs: 60_000 });
      const message = await next(b);
      await message.forward('c');
      message.ack();
      const handedOn = await next(c);
      expect(handedOn).toMatchObject({ from: 'b', type: 't', hops: 1, kind: message.kind });
      expect(handedOn.body).toEqual(message.body);
      expect(handedOn.correlationId).toBe(message.id);
      expect(handedOn.facts.lane).toBe(0);
      const { expiresAtMs } = handedOn.facts;
      expect(Math.abs(expiresAtMs - message.facts.expiresAtMs)).toBeLessThan(10_000);
      handedOn.ack();
    }
  });

  test('ends where the message goes in a circle', async () => {
    const evidence = evidenceOf('F17');
    const fabric = await openFabric();
    const ring = await Promise.all(range(5).map((n) => fabric.join(`f${n}`)));
    await (ring[0] as Agent).send('f1', 'round and round');

    let forwards = 0;
    let code = '';
    while (code === '') {
      const at = (1 + forwards) % ring.length;
      const message = await next(ring[at] as Agent);
      expect(message.hops).toBe(forwards);
      const to = `f${(at + 1) % ring.length}`;
      await message.forward(to).then(
        () => {
          forwards += 1;
          message.ack();
        },
        (error: { code: string }) => {
          code = error.code;
          message.nack({ reason: code });
        },
      );
    }

    expect(code).toBe('ERR_CFC_LOOP');
    expect(forwards).toBe(15);
    expect(fabric.census()).toMatchObject({ acked: 15, queued: 1 });
    evidence.met();
  });

  test('counts the hops of a message with another body too', async () => {
    const { a, b } = await pair();
    await a.send('b', 'question', { hops: 14 });
    const message = await next(b);
    await b.send('a', 'changed', { continues: message });
    const last = await next(a);
    expect(last.hops).toBe(15);
    expect(await failureOf(a.send('b', 'x', { continues: last }))).toMatchObject({
      code: 'ERR_CFC_LOOP',
      details: { to: 'b' },
    });
    expect(await failureOf(a.send('b', 'x', { hops: 99 }))).toMatchObject({ code: 'ERR_CFC_LOOP' });
    expect(await failureOf(a.send('b', 'x', { hops: -1 }))).toMatchObject({
      code: 'ERR_CFC_USAGE',
    });
  });
});
