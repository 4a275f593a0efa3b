import { describe, expect, test } from 'vitest';
import type { Agent, Fabric } from '../../src/index.js';
import { failureOf, openFabric, range } from '../support/fabric.js';

async function pair(attemptLimit = 2): Promise<{ fabric: Fabric; a: Agent; b: Agent }> {
  const fabric = await openFabric({ capacity: { attemptLimit } });
  return { fabric, a: await fabric.join('a'), b: await fabric.join('b') };
}

/** Nacks what comes until nothing comes. */
function nackAll(agent: Agent, reason?: string): number {
  let nacks = 0;
  for (let message = agent.tryReceive(); message !== undefined; message = agent.tryReceive()) {
    message.nack(reason === undefined ? {} : { reason });
    nacks += 1;
  }
  return nacks;
}

describe('A dead letter', () => {
  test('is made of a message that was nacked as often as may be, with the last reason', async () => {
    const { fabric, a, b } = await pair();
    const { id } = await a.send('b', { task: 1 }, { type: 'job' });

    expect(nackAll(b, 'no such file')).toBe(2);

    const [letter, ...others] = fabric.deadLetters('b');
    expect(others).toEqual([]);
    expect(letter).toMatchObject({ cause: 'attempts', reason: 'no such file', attempts: 2 });
    expect(letter?.message).toMatchObject({ id, from: 'a', to: 'b', type: 'job', leased: false });
    expect(letter?.message.json()).toEqual({ task: 1 });
    expect(letter?.diedAt).toBeInstanceOf(Date);
    expect(fabric.deadLetters('a')).toEqual([]);
    expect(fabric.trace(id)).toMatchObject({ state: 'dead-lettered', reason: 'no such file' });
  });

  test('is counted once, and lies in no mailbox', async () => {
    const { fabric, a, b } = await pair();
    for (const n of range(5)) await a.send('b', `${n}`.padEnd(3000));
    nackAll(b);

    expect(fabric.census()).toMatchObject({ queued: 0, deadLettered: 5, deadLetters: 5, acked: 0 });
    expect(
      fabric
        .snapshot()
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(['a', 'b']);
    expect(fabric.dropDead('nobody')).toBe(0);
    expect(fabric.dropDead('b')).toBe(5);
    expect(fabric.census()).toMatchObject({ deadLettered: 5, deadLetters: 0, chunksPlaced: 0 });
  });

  test('is told to a sender that waits for the ack', async () => {
    const { a, b } = await pair(1);
    const sent = failureOf(a.send('b', 'x', { wait: 'acked' }));
    (await b.receive())?.nack();

    const { code, details } = await sent;
    expect(code).toBe('ERR_CFC_PARTLY_DELIVERED');
    expect(details).toMatchObject({ refused: [{ to: 'b', code: 'dead-lettered' }] });
  });

  test('sent again comes as from its sender, as a new message, and is gone', async () => {
    const { fabric, a, b } = await pair(1);
    const { id } = await a.send('b', 'x', { priority: 'control', type: 't' });
    nackAll(b);

    const { redriven, refused } = await fabric.redrive('b');

    expect(refused).toEqual([]);
    expect(redriven).toEqual([{ id, to: 'b', sentAs: expect.any(String) as string }]);
    const message = await b.receive();
    expect(message).toMatchObject({ from: 'a', type: 't', attempt: 0, redelivered: false });
    expect(message?.id).toBe(redriven[0]?.sentAs);
    message?.ack();
    expect(fabric.deadLetters()).toEqual([]);
    // Two were accepted: the message, and the one that was sent again.
    expect(fabric.census()).toMatchObject({ acked: 1, deadLettered: 1, deadLetters: 0, queued: 0 });
  });

  test('for a recipient that is gone or full stays one', async () => {
    const { fabric, a, b } = await pair(1);
    await a.send('b', 'x');
    nackAll(b);
    while (a.trySend('b', 'fill'));

    expect(await fabric.redrive()).toMatchObject({
      redriven: [],
      refused: [{ to: 'b', code: 'ERR_CFC_MAILBOX_FULL' }],
    });
    b.clear();
    await b.leave();
    expect(await fabric.redrive()).toMatchObject({ refused: [{ code: 'ERR_CFC_NO_AGENT' }] });
    expect(fabric.deadLetters()).toHaveLength(1);
  });

  test('is not made where the fabric has no limit', async () => {
    const { fabric, a, b } = await pair(0);
    await a.send('b', 'x');
    for (const _ of range(30)) b.tryReceive()?.nack({ reason: 'again' });

    expect(b.count()).toBe(1);
    expect(fabric.deadLetters()).toEqual([]);
  });

  test('is not made of what an iterator took and nobody looked at', async () => {
    const { fabric, a, b } = await pair(2);
    await a.sendBatch('b', range(8));
    const seen: number[] = [];
    for (const _ of range(8)) {
      for await (const message of b.messages()) {
        seen.push(message.json());
        expect(message.redelivered).toBe(false);
        message.ack();
        break;
      }
    }

    expect(seen).toEqual(range(8));
    expect(fabric.census()).toMatchObject({ acked: 8, deadLettered: 0 });
  });

  test('limits out of range are refused', async () => {
    for (const attemptLimit of [-1, 15, 1e9]) {
      expect(await failureOf(openFabric({ capacity: { attemptLimit } }))).toMatchObject({
        code: 'ERR_CFC_USAGE',
      });
    }
  });
});

describe('A message with ttlMs', () => {
  test('is a dead letter when it is met too late', async () => {
    const { fabric, a, b } = await pair();
    const { id } = await a.send('b', 'stale', { ttlMs: 0 });
    await a.send('b', 'fresh', { ttlMs: 3_600_000 });
    await a.sendBatch('b', ['also stale', 'too'], { ttlMs: 0 });

    expect((await b.receive())?.text()).toBe('fresh');
    expect(b.tryReceive()).toBeUndefined();

    const letters = fabric.deadLetters();
    expect(letters.map(({ message }) => message.text())).toEqual(['stale', 'also stale', 'too']);
    expect(letters[0]).toMatchObject({ cause: 'expired', reason: 'expired', attempts: 0 });
    expect(fabric.trace(id)).toMatchObject({ state: 'dead-lettered', reason: 'expired' });
    expect(fabric.census()).toMatchObject({ deadLettered: 3, leased: 1, queued: 1 });
  });

  test('refuses times that are none', async () => {
    const { a } = await pair();
    for (const ttlMs of [-1, Number.NaN, 1e15]) {
      expect(await failureOf(a.send('b', 'x', { ttlMs }))).toMatchObject({ code: 'ERR_CFC_USAGE' });
    }
    await a.send('b', 'x', { ttlMs: Infinity });
  });
});
