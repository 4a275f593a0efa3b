import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Fabric, type FabricProfile } from '../../src/index.js';
import { failureOf, openFabric, range, smallCapacity, testDirectory } from '../support/fabric.js';

describe('Fabric.open', () => {
  test('attaches to what is there, and creates only when told to', async () => {
    const dir = testDirectory();

    expect(await failureOf(Fabric.open('test', { dir }))).toMatchObject({
      code: 'ERR_CFC_NO_FABRIC',
      details: { fabric: 'test' },
    });
    const first = await openFabric({ dir });
    const second = await Fabric.open('test', { dir });
    onTestFinished(() => second.close());
    const [a, b] = [await first.join('a'), await second.join('b')];
    await a.send('b', 'hello');

    expect((await b.receive())?.from).toBe('a');
  });

  test.each([
    ['small', 2048, 64 << 20],
    ['default', 2048, 100 << 20],
    ['large', 10_240, 400 << 20],
  ] as const)('has the profile %s, for %i agents', async (profile, maxAgents, mostBytes) => {
    const dir = testDirectory();
    const fabric = await Fabric.open('test', { dir, create: true, profile });
    onTestFinished(() => fabric.close());

    expect(fabric.info()).toMatchObject({ name: 'test', path: join(dir, 'test'), maxAgents });
    expect(fabric.info().sharedBytes).toBeLessThan(mostBytes);
  });

  test('refuses a profile that there is not', async () => {
    const error = await failureOf(
      Fabric.open('test', {
        dir: testDirectory(),
        create: true,
        profile: 'huge' as FabricProfile,
      }),
    );

    expect(error).toMatchObject({ code: 'ERR_CFC_USAGE', details: { profile: 'huge' } });
  });

  test('finds its directory by CFC_DIR', async () => {
    const dir = testDirectory();
    const before = process.env.CFC_DIR;
    process.env.CFC_DIR = dir;
    onTestFinished(() => {
      if (before === undefined) delete process.env.CFC_DIR;
      else process.env.CFC_DIR = before;
    });

    const fabric = await Fabric.open('test', { create: true, capacity: smallCapacity });
    await fabric.close();

    expect(existsSync(join(dir, 'test', 'control'))).toBe(true);
    await Fabric.destroy('test');
    expect(existsSync(join(dir, 'test'))).toBe(false);
  });
});

describe('Fabric.join', () => {
  test('keeps names apart while they live', async () => {
    const fabric = await openFabric();
    const a = await fabric.join('a');

    expect(await failureOf(fabric.join('a'))).toMatchObject({ code: 'ERR_CFC_LEASE_HELD' });
    await a.leave();
    expect((await fabric.join('a')).name).toBe('a');
  });

  test('rounds the mailbox up to a power of two', async () => {
    const fabric = await openFabric();
    const a = await fabric.join('a');
    await fabric.join('b', { mailboxCells: 100 });

    let sent = 0;
    while (a.trySend('b', 'x')) sent += 1;

    expect(sent).toBe(128);
  });
});

describe('Fabric.table', () => {
  test('has of every agent what a snapshot has, by row', async () => {
    const fabric = await openFabric();
    const a = await fabric.join('a', { role: 'sender', team: 'red', parent: 'b' });
    const b = await fabric.join('b');
    const gone = await fabric.join('gone');
    await a.sendBatch('b', [1, 2, 3]);
    await a.send('gone', 1);
    (await b.receive())?.ack();
    await b.receive();
    await gone.leave();

    const table = fabric.table();
    const snapshot = fabric.snapshot();

    expect(table.length).toBe(3);
    const bare = ({ lastProgressAt, ...rest }: (typeof snapshot)[number]) => rest;
    expect([...table].map(bare)).toEqual(snapshot.map(bare));
    for (const [row, seen] of snapshot.entries()) {
      expect({
        name: table.name(row),
        role: table.role(row),
        team: table.team(row),
        parent: table.parent(row),
        state: table.state(row),
        liveness: table.liveness(row),
        health: table.health(row),
        pid: table.pid(row),
        depth: table.depth(row),
        capacity: table.capacity(row),
        sent: table.counter(row, 'messages.sent'),
      }).toMatchObject({ ...pick(seen), sent: seen.counters['messages.sent'] ?? 0 });
      expect(table.counter(row, 'no.such')).toBe(0);
      const some = ['messages.sent'].filter((name) => name in seen.counters);
      expect(Object.keys(table.at(row, ['messages.sent']).counters)).toEqual(some);
    }
    expect(snapshot.find(({ name }) => name === 'b')).toMatchObject({ depth: 2, leased: 1 });
    expect(() => table.depth(3)).toThrow(RangeError);
    expect(() => table.name(-1)).toThrow(RangeError);

    function pick(seen: (typeof snapshot)[number]) {
      const { name, role, team, parent, state, liveness, health, pid, depth, capacity } = seen;
      return { name, role, team, parent, state, liveness, health, pid, depth, capacity };
    }
  });

  test('grows with the fabric from one look to the next, and none changes afterwards', async () => {
    const fabric = await openFabric({ capacity: { maxAgents: 512, maxParticipants: 64 } });
    const before = fabric.table();
    for (const i of range(300)) await fabric.join(`agent-${i}`, { mailboxCells: 2 });

    const names = [...fabric.table()].map(({ name }) => name).toSorted();

    expect(before.length).toBe(0);
    expect(names).toEqual(
      range(300)
        .map((i) => `agent-${i}`)
        .toSorted(),
    );
  });
});

describe('Fabric.snapshot', () => {
  test('shows every agent with what it said of itself', async () => {
    const fabric = await openFabric();
    const began = Date.now();
    const a = await fabric.join('a', { role: 'worker', team: 'A', parent: 'boss' });
    const b = await fabric.join('b');
    a.setState('paused');
    a.counter('files.read').add(3);
    a.gauge('confidence').set(0.5);
    await b.sendBatch('a', range(10));
    const message = await a.receive();

    const [seen, other] = fabric.snapshot().toSorted((x, y) => (x.name < y.name ? -1 : 1));

    expect(seen).toMatchObject({
      name: 'a',
      role: 'worker',
      team: 'A',
      parent: 'boss',
      state: 'paused',
      liveness: 'alive',
      health: 'healthy',
      pid: process.pid,
      depth: 10,
      leased: 1,
      restarts: 0,
    });
    expect(seen?.capacity).toBeGreaterThanOrEqual(64);
    expect(seen?.counters).toMatchObject({ 'files.read': 3, confidence: 0.5 });
    expect(other).toMatchObject({ name: 'b', state: 'working', depth: 0 });
    expect(other?.counters['files.read'] ?? 0).toBe(0);
    for (const date of [seen?.joinedAt, seen?.lastProgressAt]) {
      expect(date?.getTime()).toBeGreaterThan(began - 1000);
      expect(date?.getTime()).toBeLessThan(Date.now() + 1000);
    }
    message?.ack();
  });

  test('calls an agent degraded while too much waits for it', async () => {
    const fabric = await openFabric();
    const a = await fabric.join('a');
    const b = await fabric.join('b');
    const healthOf = () => fabric.snapshot().find(({ name }) => name === 'b')?.health;

    while (a.trySend('b', 'x'));
    while (a.trySend('b', 'x', { priority: 'control' }));
    expect(healthOf()).toBe('degraded');
    b.clear();
    expect(healthOf()).toBe('healthy');
  });

  test('says when an agent made progress last', async () => {
    const fabric = await openFabric();
    const a = await fabric.join('a');
    const last = () => fabric.snapshot()[0]?.lastProgressAt.getTime() as number;
    const before = last();

    await new Promise((resolve) => setTimeout(resolve, 50));
    a.beat();

    expect(last()).toBeGreaterThan(before + 20);
  });

  test('shows a name whose holder left with mail behind it, until the mail is gone', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    await a.send('b', 'x');
    await b.leave();

    expect(fabric.snapshot().find(({ name }) => name === 'b')).toMatchObject({
      liveness: 'left',
      health: 'unknown',
      depth: 1,
    });
    const successor = await fabric.join('b');
    (await successor.receive())?.ack();
    await successor.leave();

    expect(fabric.snapshot().map(({ name }) => name)).toEqual(['a']);
  });
});

describe('Fabric.close', () => {
  test('unmaps and closes at once, not when somebody collects the garbage', async () => {
    const dir = testDirectory();
    const ours = () => {
      const maps = readFileSync('/proc/self/maps', 'utf8').split('\n');
      const links = readdirSync('/proc/self/fd').map((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`);
        } catch {
          return ''; // the one that read the list
        }
      });
      return [...maps, ...links].filter((text) => text.includes(dir));
    };
    const kept: unknown[] = [];
    for (const round of range(3)) {
      const fabric = await openFabric({ dir });
      const agent = await fabric.join('agent');
      const other = await fabric.join('other');
      kept.push(agent, other, agent.counter('n'), agent.histogram('h'));
      agent.counter('n').add(round);
      agent.histogram('h').record(round);
      await agent.send('other', 'x'.repeat(5000));
      const message = await other.receive();
      kept.push(message);
      message?.ack();
      expect(ours().length).toBeGreaterThan(4);

      await fabric.close();

      expect(ours()).toEqual([]);
    }
    expect(kept).toHaveLength(15);
  });

  test('leaves with every agent, and makes everything else say so', async () => {
    const fabric = await openFabric();
    const [a, b] = [await fabric.join('a'), await fabric.join('b')];
    const waiting = failureOf(a.receive());

    await fabric.close();
    await fabric.close();

    expect([a.left, b.left]).toEqual([true, true]);
    expect((await waiting).code).toBe('ERR_CFC_MAILBOX_CLOSED');
    for (const attempt of [
      () => fabric.join('c'),
      () => fabric.snapshot(),
      () => fabric.census(),
      () => fabric.sweep(),
      () => fabric.check(),
      () => fabric.info(),
    ]) {
      expect((await failureOf(attempt)).code).toBe('ERR_CFC_MAILBOX_CLOSED');
    }
  });

  test('happens at the end of its block', async () => {
    const dir = testDirectory();
    {
      await using fabric = await Fabric.open('test', {
        dir,
        create: true,
        capacity: smallCapacity,
      });
      await fabric.join('a');
    }
    const after = await Fabric.open('test', { dir });
    onTestFinished(() => after.close());

    expect(after.census()).toMatchObject({ namesLive: 0, slotsLive: 0 });
  });
});

describe('Fabric.destroy', () => {
  test('removes everything, and says when there is nothing', async () => {
    const fabric = await openFabric();
    const { path } = fabric.info();
    const dir = join(path, '..');

    await Fabric.destroy('test', { dir });

    expect(existsSync(path)).toBe(false);
    expect(await failureOf(() => fabric.check())).toMatchObject({ code: 'ERR_CFC_FABRIC_REMOVED' });
    expect(await failureOf(Fabric.destroy('test', { dir }))).toMatchObject({
      code: 'ERR_CFC_NO_FABRIC',
    });
  });
});

describe('Fabric.sweep', () => {
  test('finds nothing to mend where nobody died', async () => {
    const fabric = await openFabric();
    await fabric.join('a');

    expect(fabric.sweep()).toEqual({ living: 1, reaped: 0, settledCells: 0, freedChunks: 0 });
  });
});
