import { describe, expect, test } from 'vitest';
import { healthOf } from '../../src/agents/table.js';
import { startChild } from '../support/child.js';
import { cli } from '../support/cli.js';
import { failureOf, openFabric, testDirectory } from '../support/fabric.js';

async function withFabric() {
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  const alice = await fabric.join('alice');
  const bob = await fabric.join('bob', { mailboxCells: 16 });
  const run = async (...words: string[]) => {
    const result = await cli([...words, '--json'], { dir });
    return { ...result, json: result.stdout === '' ? undefined : JSON.parse(result.stdout) };
  };
  return { dir, fabric, alice, bob, run };
}

describe('cfc count', () => {
  test('counts what is not acked', async () => {
    const { dir, alice, bob, run } = await withFabric();
    await alice.sendBatch('bob', [1, 2, 3]);
    bob.tryReceive();

    expect((await run('count', '--agent', 'bob')).json).toMatchObject({
      agent: 'bob',
      depth: 3,
      leased: 1,
    });
    expect((await cli(['count', '--agent', 'bob'], { dir })).stdout).toBe('3\n');
    expect((await run('count', '--agent', 'nobody')).code).toBe(3);
  });
});

describe('cfc clear', () => {
  test('drops what nobody has leased, of a living agent too, and counts it', async () => {
    const { fabric, alice, bob, run } = await withFabric();
    await alice.sendBatch('bob', [1, 2, 3]);
    const leased = bob.tryReceive();
    expect((await run('clear', 'bob', '--dry-run')).json).toMatchObject({
      dropped: 2,
      dryRun: true,
    });
    expect(bob.count()).toBe(3);
    const { code, json } = await run('clear', 'bob');

    expect({ code, json }).toEqual({
      code: 0,
      json: { v: 1, agent: 'bob', dropped: 2, dryRun: false },
    });
    leased?.ack();
    expect(fabric.census()).toMatchObject({ acked: 1, dropped: 2, queued: 0 });
    expect((await run('clear', 'nobody')).code).toBe(3);
  });

  test('tells a sender that waits for the ack, and makes room for one that waits for room', async () => {
    const { alice, bob, run } = await withFabric();
    const acked = failureOf(alice.send('bob', 'first', { wait: 'acked' }));
    while (alice.trySend('bob', 'filler'));
    const waiting = alice.send('bob', 'late');
    await run('clear', 'bob');

    expect((await acked).details.refused).toMatchObject([{ to: 'bob', code: 'dropped' }]);
    await waiting;
    expect(bob.tryReceive()?.text()).toBe('late');
  });
});

describe('cfc trace', () => {
  test('says where a message is, from sent to acked', async () => {
    const { alice, bob, run } = await withFabric();
    const { id } = await alice.send('bob', 'x', { type: 'task' });
    const queued = await run('trace', id);
    expect(queued.json).toMatchObject({
      ...{ v: 1, id, state: 'queued', from: 'alice', to: 'bob', type: 'task', lane: 'work' },
      steps: { sent: true, seen: false, leased: false, acked: false },
    });
    bob.tryReceive()?.nack();
    expect((await run('trace', id)).json).toMatchObject({
      ...{ state: 'queued', attempt: 1 },
      steps: { seen: true, leased: false },
    });
    const message = bob.tryReceive();
    expect((await run('trace', id)).json).toMatchObject({ state: 'leased', pid: process.pid });
    message?.ack();

    expect((await run('trace', id)).json).toMatchObject({
      state: 'acked',
      steps: { sent: true, seen: true, leased: true, acked: true },
    });
    expect((await run('trace', 'zz-zz')).code).toBe(4);
    expect((await run('trace', 'no id')).code).toBe(2);
  });
});

describe('cfc status', () => {
  test('adds up agents and messages', async () => {
    const { dir, fabric, alice, bob, run } = await withFabric();
    await alice.sendBatch('bob', [1, 2, 3]);
    bob.tryReceive()?.ack();
    const { json } = await run('status');

    expect(json).toMatchObject({
      fabric: 'test',
      sharedBytes: fabric.info().sharedBytes,
      agents: { total: 2, alive: 2 },
      states: { working: 2 },
      health: { healthy: 2 },
      messages: { accepted: 3, acked: 1, queued: 2, deadLettered: 0, dropped: 0 },
    });
    expect((await cli(['status'], { dir })).stdout).toContain('3 accepted, 1 acked, 2 queued');
  });
});

describe('cfc health', () => {
  test('exits 0 for the healthy, 2 for the degraded, 1 for the dead and the unknown, 64 for usage', async () => {
    const { dir, alice, run } = await withFabric();
    expect(await run('health')).toMatchObject({ code: 0, json: { health: 'healthy' } });
    while (alice.trySend('bob', 'x'));
    while (alice.trySend('bob', 'x', { priority: 'control' }));
    expect(await run('health')).toMatchObject({ code: 2, json: { health: 'degraded' } });
    expect((await run('health', 'alice')).code).toBe(0);
    expect((await run('health', 'bob')).code).toBe(2);

    const child = startChild(
      async ({ open, say }) => {
        await (await open()).join('carol');
        say('ready');
        setInterval(() => {}, 1000);
      },
      { dir },
    );
    await child.heard();
    expect((await run('health', 'carol')).code).toBe(0);
    await child.kill();
    expect(await run('health', 'carol')).toMatchObject({ code: 1, json: { health: 'unhealthy' } });
    expect((await run('health')).code).toBe(1);
    expect(await run('health', 'nobody')).toMatchObject({ code: 1, json: { health: 'unknown' } });
    expect((await run('health', '--fabric', 'nowhere')).code).toBe(1);
    expect((await run('health', '--no-such-option')).code).toBe(64);
  });

  test('calls degraded who lets messages wait for half a minute, and nobody who has nothing to do', () => {
    const now = Date.now();
    const record = { depth: 1, capacity: 64, state: 1, lastProgressAtMs: now - 29_000 };

    expect(healthOf('alive', record, now)).toBe('healthy');
    expect(healthOf('alive', record, now + 2000)).toBe('degraded');
    expect(healthOf('alive', { ...record, depth: 0 }, now + 1e9)).toBe('healthy');
    expect(healthOf('alive', { ...record, state: 3 }, now + 1e9)).toBe('healthy'); // paused
    expect(healthOf('alive', { ...record, depth: 501, capacity: 4096 }, now)).toBe('degraded');
    expect(healthOf('left', record, now)).toBe('unknown');
  });
});

describe('cfc wait', () => {
  test.each([
    ['idle', 0],
    ['alive', 0],
    ['working', 0],
    ['paused', 4],
    ['gone', 4],
    ['asleep', 2],
  ])('for %s of a working agent exits %i', async (state, code) => {
    const { run } = await withFabric();

    expect((await run('wait', 'bob', '--for', state, '--timeout', '50ms')).code).toBe(code);
  });

  test('ends when the agent gets there', async () => {
    const { dir, bob, run } = await withFabric();
    const paused = run('wait', 'bob', '--for', 'paused');
    const gone = run('wait', 'bob', '--for', 'gone');
    const there = run('wait', 'carol', '--for', 'alive');
    bob.setState('paused');
    expect((await paused).json).toEqual({ v: 1, agent: 'bob', is: 'paused' });
    await bob.leave();
    expect((await gone).code).toBe(0);
    const other = await openFabric({ dir });
    await other.join('carol');
    expect((await there).code).toBe(0);
  });
});
