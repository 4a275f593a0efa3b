import { describe, expect, onTestFinished, test } from 'vitest';
import { cli, processesOf } from '../support/cli.js';
import { failureOf, openFabric, range, testDirectory, until } from '../support/fabric.js';

/** A pool of agents that do nothing; whatever becomes of the test, nothing runs on. */
async function withPool(size: number, command = ['sleep', '600']) {
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  const pool = fabric.pool({ command, role: 'helper' }, { size });
  onTestFinished(async () => {
    await pool.close();
    for (const { pid } of processesOf(dir)) process.kill(pid, 'SIGKILL');
  });
  const full = () => until(() => pool.statistics().idle === size);
  return { dir, fabric, pool, full };
}

describe('A pool', () => {
  test('gives agents that run already, and starts others in their place', async () => {
    const { fabric, pool, full } = await withPool(3);
    await full();
    const names = [await pool.take(), pool.tryTake()];

    expect(new Set(names).size).toBe(2);
    const agents = fabric.snapshot().filter(({ name }) => names.includes(name));
    expect(agents.map(({ role, liveness }) => `${role} ${liveness}`)).toEqual([
      'helper alive',
      'helper alive',
    ]);
    await full();
    expect(pool.statistics()).toEqual({
      idle: 3,
      starting: 0,
      taken: 2,
      hits: 2,
      misses: 0,
      hitRate: 100,
    });
  });

  test('lets wait who comes when none is there, in order, and counts a miss', async () => {
    const { pool, full } = await withPool(1);
    const taken = await Promise.all(range(4).map(() => pool.take()));

    expect(new Set(taken).size).toBe(4);
    await full();
    expect(pool.statistics()).toMatchObject({ taken: 4, hits: 0, misses: 4, hitRate: 0 });
  });

  test('takes one back, and ends what is too much or not wanted any more', async () => {
    const { fabric, pool, full } = await withPool(2);
    await full();
    const [one, two] = [await pool.take(), await pool.take()];
    await full();
    pool.giveBack(one);
    pool.discard(two);

    await until(() => fabric.snapshot().length === 2);
    expect(fabric.snapshot().map(({ name }) => name)).not.toContain(one);
    expect((await failureOf(() => pool.giveBack(one))).code).toBe('ERR_CFC_NO_AGENT');
  });

  test('does not give away an agent that died while it waited', async () => {
    const { fabric, pool, full } = await withPool(2);
    await full();
    fabric.control('pool-1', 'stop', { kill: true });
    await until(() =>
      fabric.snapshot().some((one) => one.name === 'pool-1' && one.exitCode !== null),
    );
    const pid = fabric.snapshot().find(({ name }) => name === 'pool-1')?.pid ?? 0;
    await until(() => !processesOf(fabric.info().path).some((one) => one.pid === pid));

    await until(() => isGone(pid));
    expect(await pool.take()).toBe('pool-2');
  });

  test('leaves nothing when it closes, and tells who waits', async () => {
    const { fabric, dir, pool } = await withPool(3);
    const taken = await Promise.all(range(3).map(() => pool.take()));
    for (let more = pool.tryTake(); more !== undefined; more = pool.tryTake()) taken.push(more);
    const late = failureOf(pool.take());
    for (const name of taken) pool.discard(name);
    await pool.close();

    expect((await late).code).toBe('ERR_CFC_MAILBOX_CLOSED');
    expect((await failureOf(pool.take())).code).toBe('ERR_CFC_MAILBOX_CLOSED');
    await until(() => processesOf(dir).length === 0);
    expect(fabric.snapshot()).toEqual([]);
  });

  test('of a command that cannot be started tells who waits, and keeps calm', async () => {
    const { pool } = await withPool(2, ['/nowhere/at/all']);

    expect((await failureOf(pool.take())).code).toBe('ERR_CFC_AGENT_START');
    expect(pool.statistics()).toMatchObject({ idle: 0, taken: 0, misses: 1 });
  });
});

function isGone(pid: number): boolean {
  try {
    return !process.kill(pid, 0);
  } catch {
    return true;
  }
}

describe('Rights', () => {
  test('decide who may start and stop agents', async () => {
    const { dir, fabric } = await withPool(1);
    await fabric.join('one', { role: 'worker' });
    fabric.setRights({ worker: {} });
    const env = { CFC_AGENT: 'one' };
    const run = await cli(['run', '--name', 'x', '--detach', '--', 'sleep', '60'], { dir, env });
    const stop = await cli(['stop', 'pool-1'], { dir, env });

    expect([run.code, stop.code]).toEqual([6, 6]);
    expect(stop.stderr).toContain('action stop, target pool-1, targetRole helper');
  });
});
