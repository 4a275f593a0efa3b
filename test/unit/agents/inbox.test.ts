import { describe, expect, test } from 'vitest';
import { openFabric, range, sleep } from '../../support/fabric.js';

describe('Inbox', () => {
  test('gives an answer to who asked, also while somebody receives', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];

    const receiving = a.receive();
    const asking = a.ask('b', 'q');
    await (await b.receive())?.reply('answer');
    expect((await asking).text()).toBe('answer');
    await b.send('a', 'mail');

    expect((await receiving)?.text()).toBe('mail');
  });

  test('does not give a plain receive an answer, whatever came first', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    const asking = a.ask('b', 'q');
    await (await b.receive())?.reply('answer');
    await b.send('a', 'mail');

    expect(a.tryReceive()?.text()).toBe('mail');
    expect((await asking).text()).toBe('answer');
  });

  test('leaves other mail where it is while only an answer is waited for', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    const asking = a.ask('b', 'q');
    await b.send('a', 'mail');
    await sleep(20);

    expect(fabric.census()).toMatchObject({ ready: 2, leased: 0 });
    await (await b.receive())?.reply('answer');
    await asking;
    expect((await a.receive())?.redelivered).toBe(false);
  });

  test('who waits first is served first, whatever it waits with', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];

    const one = b.receive();
    const two = b.receiveBatch({ max: 2 });
    const stream = b.messages();
    const three = stream.next();
    expect(b.tryReceive()).toBeUndefined();
    await a.sendBatch('b', range(4));

    expect((await one)?.json()).toBe(0);
    expect((await two).map((message) => message.json())).toEqual([1, 2]);
    expect((await three).value.json()).toBe(3);
    await stream.return?.();
  });

  test('who gave up takes nothing from those behind', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];

    const short = b.receive({ timeoutMs: 10 });
    const long = b.receive();
    expect(await short).toBeUndefined();
    await a.send('b', 'x');

    expect((await long)?.text()).toBe('x');
  });

  test('agents of one fabric object each hear their own', async () => {
    const fabric = await openFabric();
    const agents = await Promise.all(range(10).map((i) => fabric.join(`a${i}`)));

    const receiving = agents.map((agent) => agent.receive());
    for (const agent of agents) await agents[0]?.send(agent.name, agent.name);

    expect((await Promise.all(receiving)).map((message) => message?.text())).toEqual(
      agents.map(({ name }) => name),
    );
  });
});
