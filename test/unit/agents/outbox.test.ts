import { describe, expect, test } from 'vitest';
import { failureOf, openFabric, range, sleep } from '../../support/fabric.js';

describe('Outbox', () => {
  test('learns of an ack even if the cell carries another message by then', async () => {
    const fabric = await openFabric();
    const [a, b, c] = [await fabric.join('a'), await fabric.join('b'), await fabric.join('c')];

    const sending = a.send('b', 'x', { wait: 'acked' });
    b.tryReceive()?.ack();
    for (const i of range(300)) {
      expect(c.trySend('b', i)).toBe(true);
      b.tryReceive()?.ack();
    }

    expect(await sending).toMatchObject({ state: 'acked' });
  });

  test('does not call acked what may have been dropped', async () => {
    const fabric = await openFabric();
    const [a, b, c] = [await fabric.join('a'), await fabric.join('b'), await fabric.join('c')];

    const sending = a.send('b', 'x', { wait: 'acked' });
    for (const i of range(300)) c.trySend('b', i, { whenFull: 'drop-oldest' });

    expect(await failureOf(sending)).toMatchObject({ code: 'ERR_CFC_PARTLY_DELIVERED' });
    expect(b.count()).toBe(64);
  });

  test('keeps the lanes apart: work that waits holds no control message back', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    while (a.trySend('b', 'work'));
    const waiting = a.send('b', 'late');

    await a.send('b', 'now', { priority: 'control', timeoutMs: 0 });

    expect((await b.receive())?.text()).toBe('now');
    for (const _ of range(65)) (await b.receive())?.ack();
    await waiting;
  });

  test('serves many recipients at a time, each in its own order', async () => {
    const fabric = await openFabric();
    const a = await fabric.join('a');
    const readers = await Promise.all(range(8).map((i) => fabric.join(`r${i}`)));
    const got: string[][] = readers.map(() => []);

    const sending = range(200).flatMap((i) => readers.map(({ name }) => a.send(name, `${i}`)));
    await Promise.all(
      readers.map(async (reader, r) => {
        while ((got[r] as string[]).length < 200) {
          const batch = await reader.receiveBatch();
          got[r]?.push(...batch.map((message) => message.text()));
          batch.ack();
        }
      }),
    );
    await Promise.all(sending);

    for (const texts of got) expect(texts).toEqual(range(200).map(String));
  });

  test('lets a small message for a full lane wait behind a large one that waits for memory', async () => {
    const fabric = await openFabric({ capacity: { senderSlabBytes: 1 << 20 } });
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    const large = new Uint8Array(200_000);
    let sent = 0;
    while (a.trySend('b', large)) sent += 1;

    const waiting = [a.send('b', large), a.send('b', 'small')];
    await sleep(120);
    for (const _ of range(sent)) (await b.receive())?.ack();
    await Promise.all(waiting);

    expect((await b.receive())?.body.byteLength).toBe(200_000);
    expect((await b.receive())?.text()).toBe('small');
  });

  test('a batch that waits for payload memory goes when there is some', async () => {
    const fabric = await openFabric({ capacity: { senderSlabBytes: 1 << 20 } });
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    const large = new Uint8Array(60_000);
    let sent = 0;
    while (a.trySend('b', large)) sent += 1;

    const waiting = a.sendBatch('b', [large, large, large]);
    for (const _ of range(sent)) (await b.receive())?.ack();

    expect(await waiting).toHaveLength(3);
    expect(
      await failureOf(
        a.sendBatch(
          'b',
          range(16).map(() => large),
          { timeoutMs: 60 },
        ),
      ),
    ).toMatchObject({ code: 'ERR_CFC_QUOTA', details: { accepted: 0 } });
  });

  test('sends the small one once the batch before it has given up', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    while (a.trySend('b', 'filler'));
    const batch = failureOf(a.sendBatch('b', range(16), { timeoutMs: 100 }));
    const small = a.send('b', 'small').then(({ state }) => state);
    for (const _ of range(4)) b.tryReceive()?.ack(); // room for four, and not for sixteen
    await batch;

    // The backstop would make good for it, up to 5 s later; here that counts as a hang.
    expect(await Promise.race([small, sleep(3000)])).toBe('accepted');
    expect(fabric.census().aborted).toBe(0);
  });

  test('goes on at the name after its holder changed', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    await a.send('b', 'first');
    (await b.receive())?.ack();
    await b.leave();
    const successor = await fabric.join('b');

    await a.send('b', 'second');

    expect((await successor.receive())?.text()).toBe('second');
  });
});
