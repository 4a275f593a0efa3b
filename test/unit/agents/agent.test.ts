import { describe, expect, onTestFinished, test } from 'vitest';
import type { Agent, Fabric, FabricCapacity, Message } from '../../../src/index.js';
import { failureOf, openFabric, range, sleep, until } from '../../support/fabric.js';

/** Two agents of one fabric. */
async function pair(
  capacity: FabricCapacity = {},
): Promise<{ fabric: Fabric; a: Agent; b: Agent }> {
  const fabric = await openFabric({ capacity });
  return { fabric, a: await fabric.join('a'), b: await fabric.join('b') };
}

/** Sends until there is no room. @returns how many were accepted */
function fill(from: Agent, to: string): number {
  let sent = 0;
  while (from.trySend(to, `${sent}`)) sent += 1;
  return sent;
}

async function receiveAll(agent: Agent, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) {
    const batch = await agent.receiveBatch();
    texts.push(...batch.map((message) => message.text()));
    batch.ack();
  }
  return texts;
}

describe('Agent.send', () => {
  test('carries bytes, text and JSON as what they are', async () => {
    const { a, b } = await pair();

    await a.send('b', new Uint8Array([0, 255, 7]), { type: 'raw' });
    await a.send('b', 'grüß dich 👋');
    await a.send('b', { task: [1, null, 'x'] });
    const [bytes, text, json] = await b.receiveBatch({ max: 3 });

    expect(bytes).toMatchObject({ kind: 'bytes', type: 'raw', from: 'a', to: 'b', attempt: 0 });
    expect(bytes?.body).toEqual(new Uint8Array([0, 255, 7]));
    expect(text).toMatchObject({ kind: 'text', type: '', redelivered: false });
    expect(text?.text()).toBe('grüß dich 👋');
    expect(json?.kind).toBe('json');
    expect(json?.json()).toEqual({ task: [1, null, 'x'] });
  });

  test('resolves to the id under which the message arrives', async () => {
    const { a, b } = await pair();

    const receipt = await a.send('b', 'x');
    const message = await b.receive();

    expect(receipt.toJSON()).toEqual({ id: message?.id, to: 'b', state: 'accepted' });
  });

  test('counts from 1 without gaps, per recipient and lane', async () => {
    const { a, b } = await pair();

    for (const _ of range(3)) await a.send('b', 'work');
    await a.send('b', 'now', { priority: 'control' });
    await a.send('a', 'to myself');
    const got = await b.receiveBatch();

    expect(got.map((message) => message.sequence)).toEqual([1n, 1n, 2n, 3n]);
    expect((await a.receive())?.sequence).toBe(1n);
  });

  test('says that there is no such agent', async () => {
    const { a } = await pair();

    for (const attempt of [
      () => a.send('nobody', 'x'),
      () => a.trySend('nobody', 'x'),
      () => a.sendBatch('nobody', ['x']),
      () => a.ask('nobody', 'x'),
    ]) {
      expect(await failureOf(attempt)).toMatchObject({
        code: 'ERR_CFC_NO_AGENT',
        details: { to: 'nobody' },
      });
    }
  });

  test('refuses names, types and bodies that are none', async () => {
    const { a } = await pair();

    expect(await failureOf(a.send('../b', 'x'))).toMatchObject({ code: 'ERR_CFC_USAGE' });
    expect(await failureOf(a.send('b', undefined))).toMatchObject({ code: 'ERR_CFC_USAGE' });
    expect(await failureOf(a.send('b', 'x', { type: 't'.repeat(65) }))).toMatchObject({
      code: 'ERR_CFC_USAGE',
    });
    expect(await failureOf(a.send('b', new Uint8Array((16 << 20) + 1)))).toMatchObject({
      code: 'ERR_CFC_RECORD_TOO_LARGE',
    });
  });

  test('carries 16 MiB', async () => {
    const { fabric, a, b } = await pair();
    const body = new Uint8Array(16 << 20);
    for (let i = 0; i < body.length; i += 4093) body[i] = i;

    await a.send('b', body);
    const message = await b.receive();

    expect(Buffer.compare(message?.body as Uint8Array, body)).toBe(0);
    message?.ack();
    expect(fabric.census()).toMatchObject({ chunksLoaned: 0, chunksPlaced: 0, acked: 1 });
  });

  test('carries every length around the limits of cells and chunks', async () => {
    const { fabric, a, b } = await pair();
    const limits = [0, 160, 1024, 4096, 16384, 65536, 262144];
    const lengths = limits.flatMap((limit) => [limit - 2, limit - 1, limit, limit + 1]);

    for (const length of lengths.filter((n) => n >= 0)) {
      const body = new Uint8Array(length).fill(length % 251);
      await a.send('b', body);
      const message = await b.receive();
      expect(message?.body.byteLength).toBe(length);
      expect(Buffer.compare(message?.body as Uint8Array, body)).toBe(0);
      message?.ack();
    }
    expect(fabric.census()).toMatchObject({ chunksLoaned: 0, chunksPlaced: 0, queued: 0 });
  });

  test('carries a body of no bytes, also as the first of all', async () => {
    const { a, b } = await pair();

    await a.send('b', new Uint8Array(0));
    await a.send('b', '');

    expect((await b.receive())?.body.byteLength).toBe(0);
    expect((await b.receive())?.text()).toBe('');
  });

  test('never runs out of types, and each arrives with its own', async () => {
    const { a, b } = await pair();

    for (const round of range(1250)) {
      const types = range(8).map((i) => `type-${round}-${i}`);
      for (const type of types) await a.send('b', 'x', { type });
      const batch = await b.receiveBatch();
      expect(batch.map((message) => message.type)).toEqual(types);
      expect(batch.every((message) => message.from === 'a')).toBe(true);
      batch.ack();
    }
  });

  test('waits for room and goes when there is some', async () => {
    const { a, b } = await pair();
    const sent = fill(a, 'b');

    const late = a.send('b', 'late');
    expect(await receiveAll(b, sent + 1)).toEqual([...range(sent).map(String), 'late']);

    expect(await late).toMatchObject({ state: 'accepted' });
  });

  test('rejects when there was no room in time, and has enqueued nothing', async () => {
    const { fabric, a, b } = await pair();
    const sent = fill(a, 'b');

    const began = performance.now();
    const error = await failureOf(a.send('b', 'late', { timeoutMs: 50 }));

    expect(error).toMatchObject({ code: 'ERR_CFC_MAILBOX_FULL', details: { to: 'b' } });
    expect(performance.now() - began).toBeGreaterThanOrEqual(49);
    expect(fabric.census().queued).toBe(sent);
    expect(b.count()).toBe(sent);
  });

  test('rejects at once where it may not wait', async () => {
    const { a } = await pair();
    fill(a, 'b');

    expect(await failureOf(a.send('b', 'x', { timeoutMs: 0 }))).toMatchObject({
      code: 'ERR_CFC_MAILBOX_FULL',
    });
  });

  test('takes a wait of a month as one', async () => {
    const { a, b } = await pair();
    const sent = fill(a, 'b');

    const late = a.send('b', 'late', { timeoutMs: 31 * 86_400_000 });
    await sleep(50);
    await receiveAll(b, sent + 1);

    expect(await late).toMatchObject({ state: 'accepted' });
  });

  test('keeps the order of those who wait', async () => {
    const { a, b } = await pair();
    const sent = fill(a, 'b');

    const order: number[] = [];
    const waiting = range(20).map((i) => a.send('b', `w${i}`).then(() => order.push(i)));
    const got = await receiveAll(b, sent + 20);
    await Promise.all(waiting);

    expect(got.slice(sent)).toEqual(range(20).map((i) => `w${i}`));
    expect(order).toEqual(range(20));
  });

  test('lets nobody in before those who wait', async () => {
    const { a, b } = await pair();
    const sent = fill(a, 'b');
    const first = a.send('b', 'first');

    const batch = await b.receiveBatch({ max: 4 });
    batch.ack(); // there is room now, and `first` has not gone yet
    expect(a.trySend('b', 'pushy')).toBe(false);

    await first;
    expect((await receiveAll(b, sent - 4 + 1)).at(-1)).toBe('first');
  });

  test('with drop-oldest lets the oldest unread message go, counted', async () => {
    const { fabric, a, b } = await pair();
    const sent = fill(a, 'b');

    for (const i of range(5)) await a.send('b', `new${i}`, { whenFull: 'drop-oldest' });
    const got = await receiveAll(b, sent);

    expect(got).toEqual([...range(sent).slice(5).map(String), ...range(5).map((i) => `new${i}`)]);
    expect(fabric.census()).toMatchObject({ acked: sent, dropped: 5, queued: 0 });
  });

  test('with drop-oldest does not take what somebody reads', async () => {
    const { a, b } = await pair();
    fill(a, 'b');
    const held = await b.receive();

    expect(
      await failureOf(a.send('b', 'x', { whenFull: 'drop-oldest', timeoutMs: 20 })),
    ).toMatchObject({ code: 'ERR_CFC_MAILBOX_FULL' });
    expect(held?.text()).toBe('0');
    held?.ack();
  });

  test('in the control lane overtakes work, and goes when work is full', async () => {
    const { a, b } = await pair();
    const sent = fill(a, 'b');

    await a.send('b', 'stop', { priority: 'control', timeoutMs: 0 });

    expect((await b.receive())?.text()).toBe('stop');
    expect((await b.receive())?.text()).toBe('0');
    expect(sent).toBeGreaterThan(1);
  });

  test('of two agents that fill each other times out, and goes on afterwards', async () => {
    const { fabric, a, b } = await pair();
    const toB = fill(a, 'b');
    const toA = fill(b, 'a');

    const both = [a.send('b', 'x', { timeoutMs: 30 }), b.send('a', 'x', { timeoutMs: 30 })];
    const errors = await Promise.all(both.map(failureOf));
    expect(errors.map((error) => error.code)).toEqual([
      'ERR_CFC_MAILBOX_FULL',
      'ERR_CFC_MAILBOX_FULL',
    ]);

    await receiveAll(a, toA);
    await receiveAll(b, toB);
    await a.send('b', 'again', { timeoutMs: 0 });
    expect((await b.receive())?.text()).toBe('again');
    expect(fabric.census()).toMatchObject({ acked: toA + toB, queued: 1 });
  });
});

describe("Agent.send with wait: 'acked'", () => {
  test('resolves once the reader acked', async () => {
    const { a, b } = await pair();
    let state = 'waiting';

    const sending = a.send('b', 'x', { wait: 'acked' }).then((receipt) => {
      state = receipt.state;
      return receipt;
    });
    const message = await b.receive();
    await sleep(20);
    expect(state).toBe('waiting');
    message?.ack();

    expect(await sending).toMatchObject({ id: message?.id, state: 'acked' });
  });

  test('tells a slow reader from none', async () => {
    const { a, b } = await pair();

    const slow = await failureOf(a.send('b', 'x', { wait: 'acked', timeoutMs: 20 }));
    await b.leave();
    const none = await failureOf(a.send('b', 'y', { wait: 'acked', timeoutMs: 20 }));

    expect(slow).toMatchObject({ code: 'ERR_CFC_TIMED_OUT', details: { accepted: true } });
    expect(none).toMatchObject({ code: 'ERR_CFC_NO_READER', details: { accepted: true } });
  });

  test('waits through a redelivery', async () => {
    const { a, b } = await pair();

    const sending = a.send('b', 'x', { wait: 'acked' });
    (await b.receive())?.nack();
    const again = await b.receive();
    again?.ack();

    expect(again?.redelivered).toBe(true);
    expect(await sending).toMatchObject({ state: 'acked' });
  });

  test('says so where the message was dropped', async () => {
    const { a, b } = await pair();

    const sending = a.send('b', 'x', { wait: 'acked' });
    expect(b.clear()).toBe(1);

    expect(await failureOf(sending)).toMatchObject({
      code: 'ERR_CFC_PARTLY_DELIVERED',
      details: { refused: [{ to: 'b', code: 'dropped' }] },
    });
  });

  test('serves a hundred who wait at a time', async () => {
    const { a, b } = await pair();
    const sending = range(100).map((i) => a.send('b', i, { wait: 'acked' }));

    await receiveAll(b, 100);

    expect((await Promise.all(sending)).every(({ state }) => state === 'acked')).toBe(true);
  });
});

describe('Agent.trySend', () => {
  test('answers false when full, and true again after a drain', async () => {
    const { a, b } = await pair();
    const sent = fill(a, 'b');

    expect(sent).toBe(64);
    expect(a.trySend('b', 'x')).toBe(false);
    await receiveAll(b, sent);
    expect(a.trySend('b', 'x')).toBe(true);
  });

  test('answers false at the quota of payload memory, and true once it was read', async () => {
    const { fabric, a, b } = await pair({ senderSlabBytes: 1 << 20 });
    const body = new Uint8Array(200_000);

    let sent = 0;
    while (a.trySend('b', body)) sent += 1;
    expect(sent).toBeGreaterThan(1);
    expect(sent).toBeLessThan(64);
    expect(await failureOf(a.send('b', body, { timeoutMs: 20 }))).toMatchObject({
      code: 'ERR_CFC_QUOTA',
    });
    expect(b.trySend('a', body)).toBe(true); // another sender has its own

    const late = a.send('b', body);
    for (const _ of range(sent + 1)) (await b.receive())?.ack();
    expect(await late).toMatchObject({ state: 'accepted' });
    expect(fabric.census()).toMatchObject({ acked: sent + 1, queued: 1, chunksLoaned: 0 });
  });

  test('answers false where the slab is full', async () => {
    const { a } = await pair({ slabMaxBytes: 1 << 20, slabSegmentBytes: 1 << 19 });
    const body = new Uint8Array(200_000);

    let sent = 0;
    while (a.trySend('b', body)) sent += 1;

    expect(sent).toBeLessThan(64);
    expect(await failureOf(a.send('b', body, { timeoutMs: 20 }))).toMatchObject({
      code: 'ERR_CFC_SLAB_FULL',
    });
    expect(a.trySend('b', 'small ones still go')).toBe(true);
  });
});

describe('Agent.sendBatch', () => {
  test('keeps the order and mixes kinds of bodies', async () => {
    const { a, b } = await pair();

    const receipts = await a.sendBatch('b', ['one', { two: 2 }, new Uint8Array([3])], {
      type: 'mixed',
    });
    const got = await b.receiveBatch();

    expect(got.map((message) => message.kind)).toEqual(['text', 'json', 'bytes']);
    expect(got.map((message) => message.type)).toEqual(['mixed', 'mixed', 'mixed']);
    expect(receipts.map((receipt) => receipt.id)).toEqual(got.map((message) => message.id));
  });

  test('accepts up to a quarter of the mailbox whole or not at all', async () => {
    const { a, b } = await pair();
    for (const i of range(60)) a.trySend('b', `${i}`);

    const error = await failureOf(
      a.sendBatch(
        'b',
        range(16).map((i) => `b${i}`),
        { timeoutMs: 30 },
      ),
    );

    expect(error).toMatchObject({ code: 'ERR_CFC_MAILBOX_FULL', details: { accepted: 0 } });
    expect(await receiveAll(b, 60)).toEqual(range(60).map(String));
    expect(b.tryReceive()).toBeUndefined();
  });

  test('sends more than that in pieces, and an error tells how many went', async () => {
    const { a, b } = await pair();

    const error = await failureOf(
      a.sendBatch(
        'b',
        range(100).map((i) => `${i}`),
        { timeoutMs: 30 },
      ),
    );

    expect(error).toMatchObject({ code: 'ERR_CFC_MAILBOX_FULL', details: { accepted: 64 } });
    expect(await receiveAll(b, 64)).toEqual(range(64).map(String));
  });

  test('waits for room piece by piece', async () => {
    const { a, b } = await pair();

    const sending = a.sendBatch('b', range(1000));
    const got = await receiveAll(b, 1000);

    expect(got).toEqual(range(1000).map(String));
    expect(await sending).toHaveLength(1000);
  });

  test('of nothing sends nothing', async () => {
    const { a, b } = await pair();

    expect(await a.sendBatch('b', [])).toEqual([]);
    expect(b.count()).toBe(0);
  });

  test('of large bodies gives every chunk back when there is no room', async () => {
    const { fabric, a } = await pair();
    for (const i of range(60)) a.trySend('b', `${i}`);

    await failureOf(
      a.sendBatch(
        'b',
        range(8).map(() => new Uint8Array(5000)),
        { timeoutMs: 0 },
      ),
    );

    expect(fabric.census()).toMatchObject({ queued: 60, chunksLoaned: 0, chunksPlaced: 0 });
  });
});

describe('Agent.ask', () => {
  test('resolves to the answer, which needs no ack', async () => {
    const { fabric, a, b } = await pair();

    const asking = a.ask('b', { q: 1 });
    const question = await b.receive();
    expect(question?.expectsReply).toBe(true);
    await question?.reply({ a: 2 });
    const answer = await asking;

    expect(answer.json()).toEqual({ a: 2 });
    expect(answer.correlationId).toBe(question?.id);
    expect(answer.leased).toBe(false);
    expect(question?.leased).toBe(true); // replying does not ack
    question?.ack();
    expect(fabric.census()).toMatchObject({ acked: 2, queued: 0 });
  });

  test('gets its answer past whatever else waits in the mailbox', async () => {
    const { a, b } = await pair();
    for (const i of range(40)) await b.send('a', `before ${i}`);

    const asking = a.ask('b', 'q');
    await (await b.receive())?.reply('answer');

    expect((await asking).text()).toBe('answer');
    expect(await receiveAll(a, 40)).toEqual(range(40).map((i) => `before ${i}`));
  });

  test('serves many at once, whatever order the answers come in', async () => {
    const { a, b } = await pair();

    const asking = range(30).map((i) => a.ask('b', i));
    const questions: Message[] = [];
    while (questions.length < 30) {
      const batch = await b.receiveBatch({ max: 15 });
      questions.push(...batch);
      batch.ack();
    }
    for (const question of questions.reverse()) await question.reply(question.json<number>() * 2);

    expect((await Promise.all(asking)).map((answer) => answer.json())).toEqual(
      range(30).map((i) => i * 2),
    );
  });

  test('tells a slow answerer from none', async () => {
    const { a, b } = await pair();

    expect(await failureOf(a.ask('b', 'q', { timeoutMs: 20 }))).toMatchObject({
      code: 'ERR_CFC_TIMED_OUT',
      details: { to: 'b' },
    });
    await b.leave();
    expect(await failureOf(a.ask('b', 'q', { timeoutMs: 20 }))).toMatchObject({
      code: 'ERR_CFC_NO_READER',
    });
  });

  test('delivers an answer to what was no question as a message of its own', async () => {
    const { a, b } = await pair();
    const { id } = await a.send('b', 'told');
    const told = await b.receive();
    await told?.reply('heard');

    const answer = await a.receive({ timeoutMs: 1000 });
    expect(answer?.text()).toBe('heard');
    expect(answer?.correlationId).toBe(id);
    expect(answer?.leased).toBe(true);
  });

  test('acks and counts an answer that comes too late', async () => {
    const { fabric, a, b } = await pair();

    await failureOf(a.ask('b', 'q', { timeoutMs: 10 }));
    const question = await b.receive();
    await question?.reply('too late');
    question?.ack();
    expect(await a.receive({ timeoutMs: 20 })).toBeUndefined();

    expect(fabric.census()).toMatchObject({ acked: 2, queued: 0 });
    const [snapshot] = fabric.snapshot().filter(({ name }) => name === 'a');
    expect(snapshot?.counters['replies.late']).toBe(1);
  });

  test('works both ways at once while both also receive', async () => {
    const { a, b } = await pair();
    const serve = async (agent: Agent) => {
      for await (const message of agent.messages()) {
        await message.reply(`${agent.name}:${message.text()}`);
        message.ack();
      }
    };
    const serving = [serve(a), serve(b)];

    const answers = await Promise.all(
      range(50).flatMap((i) => [a.ask('b', `${i}`), b.ask('a', `${i}`)]),
    );

    expect(answers.map((answer) => answer.text())).toEqual(
      range(50).flatMap((i) => [`b:${i}`, `a:${i}`]),
    );
    await Promise.all([a.leave(), b.leave()]);
    await Promise.all(serving);
  });
});

describe('Agent.receive', () => {
  test('answers undefined when the time is up, not before', async () => {
    const { b } = await pair();
    const began = performance.now();

    expect(await b.receive({ timeoutMs: 30 })).toBeUndefined();

    expect(performance.now() - began).toBeGreaterThanOrEqual(29);
  });

  test('is woken by a message', async () => {
    const { a, b } = await pair();

    const receiving = b.receive();
    setTimeout(() => a.trySend('b', 'hello'), 20);

    expect((await receiving)?.text()).toBe('hello');
  });

  test('serves those who wait in the order in which they came', async () => {
    const { a, b } = await pair();

    const receiving = range(10).map(() => b.receive());
    await a.sendBatch('b', range(10));
    const got = await Promise.all(receiving);

    expect(got.map((message) => message?.json())).toEqual(range(10));
  });

  test('takes a wait of a month as one', async () => {
    const { a, b } = await pair();

    const receiving = b.receive({ timeoutMs: 31 * 86_400_000 });
    await sleep(50);
    await a.send('b', 'after a while');

    expect((await receiving)?.text()).toBe('after a while');
  });

  test('without waiting answers what is there now', async () => {
    const { a, b } = await pair();

    expect(b.tryReceive()).toBeUndefined();
    expect(await b.receive({ timeoutMs: 0 })).toBeUndefined();
    await a.send('b', 'x');
    expect(b.tryReceive()?.text()).toBe('x');
  });

  test('goes on when something is acked after as much was leased as may be', async () => {
    const { a, b } = await pair();
    await a.sendBatch('b', range(16));
    await a.sendBatch('b', range(16));
    const held = await b.receiveBatch();
    expect(held).toHaveLength(16);

    const receiving = b.receive();
    await sleep(20);
    held[0]?.ack();

    expect((await receiving)?.json()).toBe(0);
  });
});

describe('Agent.receiveSync', () => {
  test('answers what is there, and undefined when the time is up', async () => {
    const { a, b } = await pair();
    await a.send('b', 'x');
    const began = performance.now();

    expect(b.receiveSync({ timeoutMs: 1000 })?.text()).toBe('x');
    expect(b.receiveSync({ timeoutMs: 30 })).toBeUndefined();

    expect(performance.now() - began).toBeGreaterThanOrEqual(29);
  });

  test('rejects to wait where as much is leased as may be', async () => {
    const { a, b } = await pair();
    await a.sendBatch('b', range(16));
    await a.sendBatch('b', range(16));
    const held = await b.receiveBatch();

    expect(await failureOf(() => b.receiveSync({ timeoutMs: 1000 }))).toMatchObject({
      code: 'ERR_CFC_LEASES_FULL',
    });
    held.ack();
    expect(b.receiveSync()?.json()).toBe(0);
  });
});

describe('Agent.receiveBatch', () => {
  test('answers what is there, up to max, and acks all with one call', async () => {
    const { fabric, a, b } = await pair();
    await a.sendBatch('b', range(10));

    const some = await b.receiveBatch({ max: 7 });
    expect(some.map((message) => message.json())).toEqual(range(7));
    expect(Array.isArray(some)).toBe(true);
    some.ack();
    some.ack(); // a second time does nothing

    expect(some.every((message) => !message.leased)).toBe(true);
    expect(await b.receiveBatch()).toHaveLength(3);
    expect(await b.receiveBatch({ timeoutMs: 10 })).toHaveLength(0);
    expect(fabric.census()).toMatchObject({ acked: 7, leased: 3 });
  });

  test('acks the rest where some were acked or given back already', async () => {
    const { fabric, a, b } = await pair();
    await a.sendBatch('b', range(4));

    const batch = await b.receiveBatch();
    batch[0]?.ack();
    batch[1]?.nack({ delayMs: 60_000 });
    batch.ack();

    expect(fabric.census()).toMatchObject({ acked: 3, ready: 1, leased: 0 }); // 2 behind it
    expect(b.count()).toBe(3);
  });

  test('refuses a max that is none', async () => {
    const { b } = await pair();

    for (const max of [0, -1, 1.5, 257, Number.NaN]) {
      expect(await failureOf(b.receiveBatch({ max }))).toMatchObject({ code: 'ERR_CFC_USAGE' });
    }
  });

  test('takes no more once the bodies have 1 MiB, the last one whole', async () => {
    const { a, b } = await pair();
    const body = new Uint8Array(300 * 1024);
    for (let i = 0; i < 6; i += 1) await a.send('b', body.fill(i));
    await a.send('b', new Uint8Array(2 * 1024 * 1024).fill(6));
    await a.send('b', 'last');
    const got: number[][] = [];
    for (const count of [4, 3, 1]) {
      const batch = await b.receiveBatch();
      expect(batch).toHaveLength(count);
      for (const { body } of batch) got.push([body[0] as number, body.length]);
      batch.ack();
    }
    const small = [0, 1, 2, 3, 4, 5].map((i) => [i, body.length]);
    expect(got).toEqual([...small, [6, 2 * 1024 * 1024], [0x6c, 4]]);
  });
});

describe('Agent.messages', () => {
  test('yields every message in order, as they come', async () => {
    const { a, b } = await pair();
    const got: number[] = [];

    const reading = (async () => {
      for await (const message of b.messages()) {
        got.push(message.json());
        message.ack();
        if (got.length === 500) break;
      }
    })();
    for (const i of range(500)) await a.send('b', i);
    await reading;

    expect(got).toEqual(range(500));
  });

  test('gives back what it had not yielded when it is left', async () => {
    const { fabric, a, b } = await pair();
    await a.sendBatch('b', range(10));

    for await (const message of b.messages()) {
      message.ack();
      if (message.json() === 3) break;
    }

    expect(fabric.census()).toMatchObject({ acked: 4, ready: 6, leased: 0 });
    expect((await b.receiveBatch()).map((message) => message.json())).toEqual([4, 5, 6, 7, 8, 9]);
  });

  test('gives back what it had not yielded when its body throws', async () => {
    const { fabric, a, b } = await pair();
    await a.sendBatch('b', range(5));

    const error = await failureOf(async () => {
      for await (const message of b.messages()) throw new Error(message.text());
    });

    expect(error.message).toBe('0');
    expect(fabric.census()).toMatchObject({ ready: 4, leased: 1 }); // the first is still ours
  });

  test('ends when the agent leaves', async () => {
    const { b } = await pair();
    const reading = (async () => {
      for await (const message of b.messages()) message.ack();
      return 'ended';
    })();

    await sleep(10);
    await b.leave();

    expect(await reading).toBe('ended');
  });

  test('takes nothing any more once it is returned from in mid-wait', async () => {
    const { fabric, a, b } = await pair();
    const stream = b.messages();

    const next = stream.next();
    await stream.return?.();
    expect(await next).toEqual({ value: undefined, done: true });
    await a.send('b', 'for somebody else');
    await sleep(30);

    expect(fabric.census()).toMatchObject({ ready: 1, leased: 0 });
    expect((await b.receive())?.redelivered).toBe(false);
  });
});

describe('Message.ack and nack', () => {
  test('a message that was given back comes again, flagged, in its place', async () => {
    const { a, b } = await pair();
    await a.sendBatch('b', range(3));

    const first = await b.receive();
    first?.nack();
    const again = await b.receiveBatch();

    expect(again.map((message) => [message.json(), message.attempt])).toEqual([
      [0, 1],
      [1, 0],
      [2, 0],
    ]);
    expect(again[0]?.id).toBe(first?.id);
    expect(again[0]?.sequence).toBe(1n);
  });

  test('a delay is kept, and others pass meanwhile', async () => {
    const { a, b } = await pair();
    await a.sendBatch('b', ['slow', 'quick']);
    const began = performance.now();

    (await b.receive())?.nack({ delayMs: 100, reason: 'later' });
    expect((await b.receive())?.text()).toBe('quick');
    expect(b.tryReceive()).toBeUndefined();
    const again = await b.receive();

    expect(again?.text()).toBe('slow');
    expect(performance.now() - began).toBeGreaterThanOrEqual(98);
  });

  test('a second ack does nothing; an ack after leaving says that the lease is lost', async () => {
    const { a, b } = await pair();
    await a.sendBatch('b', range(2));
    const [first, second] = await b.receiveBatch();

    first?.ack();
    first?.ack();
    first?.nack();
    await b.leave();

    expect(await failureOf(() => second?.ack())).toMatchObject({ code: 'ERR_CFC_LEASE_LOST' });
  });

  test('acks may come in any order', async () => {
    const { fabric, a, b } = await pair();
    await a.sendBatch('b', range(16));
    const batch = await b.receiveBatch();

    for (const i of [3, 15, 0, 7, 1, 2, 14, 4, 13, 5, 6, 12, 8, 11, 9, 10]) batch[i]?.ack();

    expect(fabric.census()).toMatchObject({ acked: 16, queued: 0, done: 0 });
  });

  test('a body stays what it was for as long as it is held', async () => {
    const { a, b } = await pair();
    const held: { body: Uint8Array; was: string }[] = [];

    for (const round of range(200)) {
      const length = [10, 100, 300, 5000][round % 4] as number;
      const text = `${round}:`.padEnd(length, `${round % 10}`);
      await a.send('b', text);
      const message = await b.receive();
      held.push({ body: message?.body as Uint8Array, was: text });
      message?.ack();
    }

    for (const { body, was } of held) expect(Buffer.from(body).toString()).toBe(was);
  });

  test('a body that its reader writes into changes no other', async () => {
    const { a, b } = await pair();
    await a.sendBatch('b', ['one', 'two', 'three']);
    const batch = await b.receiveBatch();

    batch[1]?.body.fill(0);

    expect([batch[0]?.text(), batch[2]?.text()]).toEqual(['one', 'three']);
  });

  test('a reply to an agent that is gone says so', async () => {
    const { a, b } = await pair();
    await a.send('b', 'x');
    const message = await b.receive();
    await a.leave();

    expect(await failureOf(message?.reply('y') as Promise<void>)).toMatchObject({
      code: 'ERR_CFC_NO_AGENT',
    });
  });
});

describe('Agent.hold', () => {
  test('leaves a message leased to the agent, for a later process of that name', async () => {
    const { fabric, a, b } = await pair();
    await a.send('b', 'held');
    const message = await b.receive();
    b.hold(message as Message);
    await b.leave();
    expect(fabric.census()).toMatchObject({ held: 1, leased: 0 });

    const visitor = await fabric.join('b', { fence: false });
    expect(visitor.tryReceive()).toBeUndefined();
    expect(visitor.ackHeld(message?.id as string)).toBe(true);
    expect(visitor.ackHeld(message?.id as string)).toBe(false);

    expect(fabric.census()).toMatchObject({ held: 0, acked: 1, queued: 0 });
  });

  test('is redelivered to a new life of that name', async () => {
    const { fabric, a, b } = await pair();
    await a.send('b', 'held');
    b.hold((await b.receive()) as Message);
    await b.leave();

    const successor = await fabric.join('b');
    const again = await successor.receive();

    expect(again).toMatchObject({ redelivered: true, attempt: 1 });
    expect(again?.text()).toBe('held');
    expect(successor.ackHeld(again?.id as string)).toBe(false); // leased again, not held
  });

  test('can be given back by its id', async () => {
    const { a, b } = await pair();
    await a.send('b', 'held');
    const message = await b.receive();
    b.hold(message as Message);

    expect(b.nackHeld(message?.id as string)).toBe(true);
    expect((await b.receive())?.redelivered).toBe(true);
    expect(await failureOf(() => b.ackHeld('no id'))).toMatchObject({ code: 'ERR_CFC_USAGE' });
  });
});

describe('Agent.peek, count and clear', () => {
  test('peek shows what waits, oldest first, and leases nothing', async () => {
    const { a, b } = await pair();
    await a.sendBatch('b', ['one', 'x'.repeat(3000)], { type: 't' });
    const first = await b.receive();
    await a.send('b', 'now', { priority: 'control' });

    const seen = b.peek();

    expect(seen.map(({ message, leased }) => [message.text().slice(0, 3), leased])).toEqual([
      ['now', false],
      ['one', true],
      ['xxx', false],
    ]);
    expect(seen[2]?.message.body.byteLength).toBe(3000);
    expect(seen[1]?.message).toMatchObject({ id: first?.id, from: 'a', type: 't', leased: false });
    expect(b.peek(1)).toHaveLength(1);
    expect(b.count()).toBe(3);
  });

  test('a reply can be given to what peek showed', async () => {
    const { a, b } = await pair();
    const asking = a.ask('b', 'q');
    const [seen] = b.peek();

    await b.replyTo(seen?.message as Message, 'answer');

    expect((await asking).text()).toBe('answer');
    expect(b.count()).toBe(1);
  });

  test('clear drops what nobody has leased, counted', async () => {
    const { fabric, a, b } = await pair();
    await a.sendBatch('b', range(10));
    const held = await b.receive();

    expect(b.clear()).toBe(9);
    held?.ack();

    expect(b.count()).toBe(0);
    expect(fabric.census()).toMatchObject({ acked: 1, dropped: 9, queued: 0 });
  });
});

describe('Agent.leave', () => {
  test('gives back what was not acked, and keeps the name with it', async () => {
    const { fabric, a, b } = await pair();
    await a.sendBatch('b', range(4));
    const batch = await b.receiveBatch({ max: 3 });
    batch[0]?.ack();

    await b.leave();

    expect(fabric.census()).toMatchObject({ acked: 1, ready: 3, leased: 0, namesLive: 2 });
    expect(await a.send('b', 'for the successor')).toMatchObject({ state: 'accepted' });
    const successor = await fabric.join('b');
    const got = await successor.receiveBatch();
    expect(got.map((message) => [message.text(), message.attempt])).toEqual([
      ['1', 1],
      ['2', 1],
      ['3', 0],
      ['for the successor', 0],
    ]);
  });

  test('gives the name up where nothing is queued behind it', async () => {
    const { fabric, a, b } = await pair();

    await b.leave();

    expect(b.left).toBe(true);
    expect(fabric.snapshot().map(({ name }) => name)).toEqual(['a']);
    expect(await failureOf(a.send('b', 'x'))).toMatchObject({ code: 'ERR_CFC_NO_AGENT' });
  });

  test('tells everybody who waits that the mailbox is closed', async () => {
    const { fabric, a, b } = await pair();
    await fabric.join('c');
    fill(a, 'b');

    const waiting = [
      a.receive(),
      a.receiveBatch(),
      a.ask('c', 'q'),
      a.send('b', 'x'),
      a.sendBatch('b', ['x']),
      a.send('c', 'x', { wait: 'acked' }),
    ].map(failureOf);
    await sleep(10);
    await a.leave();

    for (const error of await Promise.all(waiting)) {
      expect(error.code).toBe('ERR_CFC_MAILBOX_CLOSED');
    }
    expect(b.left).toBe(false);
  });

  test('makes everything else say so too, and may be called twice', async () => {
    const { a } = await pair();

    await a.leave();
    await a.leave();

    for (const attempt of [
      () => a.send('b', 'x'),
      () => a.trySend('b', 'x'),
      () => a.receive({ timeoutMs: 10 }),
      () => a.tryReceive(),
      () => a.receiveSync({ timeoutMs: 10 }),
      () => a.ask('b', 'x', { timeoutMs: 10 }),
      () => a.peek(),
    ]) {
      expect((await failureOf(attempt)).code).toBe('ERR_CFC_MAILBOX_CLOSED');
    }
    expect(a.count()).toBe(0);
    a.beat();
    a.setState('failed');
  });

  test('happens at the end of its block', async () => {
    const { fabric } = await pair();
    let visitor: Agent;

    {
      await using agent = await fabric.join('c');
      visitor = agent;
    }

    expect(visitor.left).toBe(true);
    expect(fabric.census().namesLive).toBe(2);
  });
});

describe('The event loop', () => {
  // Clock ticks that this process has used so far, as the kernel counts them.
  const cpuMs = () => process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000;

  /** The share of a CPU that is used while `waiting` goes on for a second. */
  async function shareWhile(waiting: Promise<unknown>): Promise<number> {
    const handled = waiting.catch(() => {});
    await sleep(50);
    const [cpu, time] = [cpuMs(), performance.now()];
    await sleep(1000);
    const share = (cpuMs() - cpu) / (performance.now() - time);
    await handled;
    return share;
  }

  test('sleeps while a receive waits', async () => {
    const { b } = await pair();

    expect(await shareWhile(b.receive({ timeoutMs: 1100 }))).toBeLessThan(0.5);
  });

  test('sleeps while a send waits for room', async () => {
    const { a } = await pair();
    fill(a, 'b');

    expect(await shareWhile(a.send('b', 'x', { timeoutMs: 1100 }))).toBeLessThan(0.5);
  });

  test('sleeps while a batch waits for more room than there is', async () => {
    const { a } = await pair();
    for (const i of range(60)) a.trySend('b', i);

    expect(await shareWhile(a.sendBatch('b', range(16), { timeoutMs: 1100 }))).toBeLessThan(0.5);
  });

  test('sleeps while a send waits for payload memory', async () => {
    const { a } = await pair({ senderSlabBytes: 1 << 20 });
    const body = new Uint8Array(200_000);
    while (a.trySend('b', body));

    expect(await shareWhile(a.send('b', body, { timeoutMs: 1100 }))).toBeLessThan(0.5);
  });

  test('sleeps while a receive waits for leases of its own to be acked', async () => {
    const { a, b } = await pair();
    await a.sendBatch('b', range(16));
    await a.sendBatch('b', range(16));
    const held = await b.receiveBatch();

    expect(await shareWhile(b.receive({ timeoutMs: 1100 }))).toBeLessThan(0.5);
    held.ack();
  });

  test('turns while a reader drains: timers fire between batches', async () => {
    const { a, b } = await pair({ mailboxCells: 4096 });
    await a.sendBatch('b', range(4096));
    let ticks = 0;
    const ticking = setInterval(() => {
      ticks += 1;
    }, 0);
    onTestFinished(() => clearInterval(ticking));

    let got = 0;
    for await (const message of b.messages()) {
      message.ack();
      got += 1;
      if (got % 64 === 0) await sleep(0);
      if (got === 4096) break;
    }

    expect(ticks).toBeGreaterThan(4);
  });

  test('serves agents of one process that talk to each other', async () => {
    const { a, b } = await pair();
    let rounds = 0;

    const serving = (async () => {
      for await (const message of b.messages()) {
        message.ack();
        await b.send('a', message.text());
      }
    })();
    for (const i of range(300)) {
      await a.send('b', `${i}`);
      const back = await a.receive();
      back?.ack();
      if (back?.text() === `${i}`) rounds += 1;
    }
    await b.leave();
    await serving;

    expect(rounds).toBe(300);
  });

  test('hears of an error that a handler of a message throws, as of any other', async () => {
    const { a, b } = await pair();
    const errors: unknown[] = [];
    const before = process.rawListeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.once('uncaughtException', (error) => errors.push(error));
    onTestFinished(() => {
      process.removeAllListeners('uncaughtException');
      for (const listener of before) process.on('uncaughtException', listener as () => void);
    });

    void b.receive().then((message) => {
      setImmediate(() => {
        throw new Error(`handler of ${message?.text()}`);
      });
    });
    await sleep(5);
    await a.send('b', 'x');
    await until(() => errors.length > 0);

    expect(String(errors[0])).toBe('Error: handler of x');
  });
});
