import { describe, expect, test } from 'vitest';
import { isFull, type Mailbox, type Region } from '../../../src/core/index.js';
import { Status } from '../../../src/core/native.js';
import { failureOf, openRegion, range } from '../../support/fabric.js';

function pair(): { region: Region; a: Mailbox; b: Mailbox } {
  const region = openRegion();
  return { region, a: region.join('a'), b: region.join('b') };
}

describe('Mailbox', () => {
  test('sends, takes and acks without waiting for anything', () => {
    const { region, a, b } = pair();

    expect(b.take(10)).toEqual([]);
    const number = a.trySend('b', 'hello');
    const [message] = b.take(10);
    message?.ack();

    expect(number).toBe(1);
    expect(message?.text()).toBe('hello');
    expect(region.census()).toMatchObject({ acked: 1, queued: 0, leased: 0 });
  });

  test('answers with a status where there is no room', () => {
    const { a, b } = pair();
    let number = a.trySend('b', 'x');
    let sent = 0;
    for (; number > 0; number = a.trySend('b', 'x')) sent += 1;

    expect(sent).toBe(b.workCells);
    expect(-number).toBe(Status.full);
    expect(isFull(-number)).toBe(true);
    expect(a.trySendBatch('b', ['x', 'y'])).toEqual([]);
  });

  test('with drop-oldest always has room, at the cost of the oldest', () => {
    const { region, a, b } = pair();
    for (const i of range(100)) expect(a.trySend('b', `${i}`, { dropOldest: true })).toBe(i + 1);

    expect(b.depth).toBe(64);
    expect(b.take(1)[0]?.text()).toBe('36');
    expect(region.census()).toMatchObject({ dropped: 36, queued: 64 });
  });

  test('leases a quarter of the mailbox at most', () => {
    const { a, b } = pair();
    for (const i of range(64)) a.trySend('b', i);

    const held = b.take(256);
    expect(held).toHaveLength(16);
    expect(b.take(256)).toEqual([]);
    expect(b.leasesFull).toBe(true);
    b.ackAll(held);

    expect(b.leasesFull).toBe(false);
    expect(b.take(256)).toHaveLength(16);
  });

  test('a mailbox of one cell works', () => {
    const region = openRegion();
    const a = region.join('a');
    const b = region.join('b', { mailboxCells: 1 });

    for (const i of range(50)) {
      expect(a.trySend('b', i)).toBeGreaterThan(0);
      const [message] = b.take(1);
      expect(message?.json()).toBe(i);
      message?.ack();
    }
    expect(region.census().acked).toBe(50);
  });

  test('takes only replies where it is told to', async () => {
    const { a, b } = pair();
    a.trySend('b', 'question', { asks: true });
    const [question] = b.take(1);
    a.trySend('a', 'to myself');
    await question?.reply('answer');

    const replies = a.take(10, true);

    expect(replies.map((message) => message.text())).toEqual(['answer']);
    expect(replies[0]?.correlationId).toBe(question?.id);
    expect(a.take(10).map((message) => message.text())).toEqual(['to myself']);
  });

  test('a thread that waits in it goes on when there is mail', () => {
    const { a, b } = pair();

    expect(b.waitSync(10)).toBe(false);
    a.trySend('b', 'x');
    expect(b.waitSync(10)).toBe(true);
    expect(b.depth).toBe(1); // nothing was taken
  });

  test('a batch beyond its limit is refused as a mistake', async () => {
    const { a } = pair();

    expect(a.batchLimit('b')).toBe(16);
    expect(await failureOf(() => a.trySendBatch('b', range(17)))).toMatchObject({
      code: 'ERR_CFC_USAGE',
    });
  });

  test('many acked at once after some were lost says how many', async () => {
    const { a, b } = pair();
    for (const i of range(4)) a.trySend('b', i);
    const messages = b.take(4);
    b.leave();

    expect(await failureOf(() => b.ackAll(messages))).toMatchObject({
      code: 'ERR_CFC_LEASE_LOST',
      details: { lost: 4 },
    });
  });

  test('numbers messages per sender over all recipients', () => {
    const { a, b } = pair();

    expect([a.trySend('b', 1), a.trySend('a', 2), a.trySend('b', 3)]).toEqual([1, 2, 3]);
    expect(b.take(2).map(({ sequence }) => sequence)).toEqual([1n, 2n]);
  });

  test('shows every kind and size of body in a peek', () => {
    const { a, b } = pair();
    a.trySend('b', '');
    a.trySend('b', new Uint8Array(100_000).fill(3));
    a.trySend('b', { x: 1 }, { type: 'T' });

    const seen = b.peek().map(({ message }) => message);

    expect(seen.map(({ kind, body }) => [kind, body.byteLength])).toEqual([
      ['text', 0],
      ['bytes', 100_000],
      ['json', 7],
    ]);
    expect(seen[1]?.body.every((byte) => byte === 3)).toBe(true);
    expect(seen[2]?.type).toBe('T');
  });
});
