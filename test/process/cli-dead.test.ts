import { describe, expect, test } from 'vitest';
import { Fabric } from '../../src/index.js';
import { cli } from '../support/cli.js';
import { smallCapacity, testDirectory } from '../support/fabric.js';

describe('cfc dead', () => {
  test('lists, sends again and drops what bob could not process', async () => {
    const dir = testDirectory();
    const options = { dir };
    const run = (...words: string[]) => cli(words, options);
    await using fabric = await Fabric.open('test', {
      create: true,
      dir,
      capacity: { ...smallCapacity, attemptLimit: 1 },
    });
    await using bob = await fabric.join('bob');
    const refuse = () => bob.tryReceive()?.nack({ reason: 'no \u001b[31mred\u001b[0m' });

    const sent = await run('send', 'bob', 'one', '--ttl', '5m', '--from', 'ann', '--json');
    const { id } = JSON.parse(sent.stdout) as { id: string };
    refuse();
    const listed = await run('dead', 'list', '--json');
    expect(JSON.parse(listed.stdout)).toMatchObject({
      v: 1,
      letters: [{ id, from: 'ann', to: 'bob', body: 'one', cause: 'attempts', attempts: 1 }],
    });
    const traced = await run('trace', id);
    expect(traced.stdout).toMatch(/^dead-lettered: from ann to bob.*: no /);
    expect(traced.stdout).not.toContain('\u001b');

    expect((await run('dead', 'redrive', 'bob', '--dry-run')).stdout).toContain('1 messages');
    const redriven = await run('dead', 'redrive', 'bob', '--json');
    expect(JSON.parse(redriven.stdout)).toMatchObject({ redriven: [{ id, to: 'bob' }] });
    refuse();
    expect((await run('dead', 'drop', 'nobody', '--json')).stdout).toContain('"dropped":0');
    expect((await run('dead', 'drop')).stdout).toBe('dropped 1 dead letters\n');
    expect(fabric.census()).toMatchObject({ deadLettered: 2, deadLetters: 0, queued: 0 });
  });

  test('an agent that may not configure may not drop them', async () => {
    const dir = testDirectory();
    await using fabric = await Fabric.open('test', {
      create: true,
      dir,
      capacity: { ...smallCapacity, attemptLimit: 1 },
    });
    await using bob = await fabric.join('bob', { role: 'worker' });
    await bob.send('bob', 'one');
    bob.tryReceive()?.nack();
    fabric.setRights({ worker: { send: ['*'] } });
    const env = { CFC_AGENT: 'bob' };

    const refused = await cli(['dead', 'drop'], { dir, env });
    expect(refused.stderr).toContain('ERR_CFC_FORBIDDEN');
    expect(refused.code).toBe(6);
    expect((await cli(['dead', 'drop', '--dry-run'], { dir, env })).code).toBe(0);
    expect(fabric.deadLetters().length).toBe(1);
    expect((await cli(['dead', 'drop'], { dir })).stdout).toBe('dropped 1 dead letters\n');
  });

  test('exits 8 where a recipient is gone, and 2 where it is told something else', async () => {
    const dir = testDirectory();
    const options = { dir };
    await using fabric = await Fabric.open('test', {
      create: true,
      dir,
      capacity: { ...smallCapacity, attemptLimit: 1 },
    });
    await using ann = await fabric.join('ann');
    const bob = await fabric.join('bob');
    await ann.send('bob', 'x');
    bob.tryReceive()?.nack();
    await bob.leave();

    const refused = await cli(['dead', 'redrive'], options);
    expect(refused).toMatchObject({ code: 8 });
    expect(refused.stderr).toContain('ERR_CFC_NO_AGENT');
    expect(await cli(['dead', 'bury'], options)).toMatchObject({ code: 2 });
  });

  test('a repeat by key is dropped, and a message in a circle refused', async () => {
    const dir = testDirectory();
    const options = { dir };
    await using fabric = await Fabric.open('test', { create: true, dir, capacity: smallCapacity });
    await using bob = await fabric.join('bob');
    const send = () => cli(['send', 'bob', 'x', '--dedup-key', 'k'], options);
    await send();
    bob.tryReceive()?.ack();
    await send();
    expect(bob.tryReceive()).toBeUndefined();
    expect(fabric.census()).toMatchObject({ acked: 1, dropped: 1 });

    const looping = await cli(['send', 'bob', 'x', '--hops', '16'], options);
    expect(looping).toMatchObject({ code: 1 });
    expect(looping.stderr).toContain('ERR_CFC_LOOP');
  });
});
