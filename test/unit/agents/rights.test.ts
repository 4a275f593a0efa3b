import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Fabric, type Rights, Topology } from '../../../src/index.js';
import { startChild } from '../../support/child.js';
import { cli, jsonLines } from '../../support/cli.js';
import { failureOf, openFabric, range, testDirectory } from '../../support/fabric.js';

const rights: Rights = {
  coordinator: { send: ['*'], spawn: true, stop: true, configure: true },
  worker: { send: ['coordinator'] },
};

async function team(table: Rights | 'none' = rights) {
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  fabric.setRights(table === 'none' ? undefined : table);
  const boss = await fabric.join('boss', { role: 'coordinator' });
  const one = await fabric.join('one', { role: 'worker', team: 'A' });
  const two = await fabric.join('two', { role: 'worker', team: 'A' });
  return { dir, fabric, boss, one, two };
}

const audit = (fabric: Fabric, name = 'audit.jsonl') =>
  jsonLines(readFileSync(join(fabric.info().path, name), 'utf8'));

describe('A send', () => {
  test('goes where the role of its sender may send to, and nowhere else', async () => {
    const { fabric, boss, one, two } = await team();
    await one.send('boss', 'done');
    await boss.send('two', 'go on');
    await one.send('one', 'to myself');
    const error = await failureOf(one.send('two', 'psst'));

    expect(error.code).toBe('ERR_CFC_FORBIDDEN');
    expect(error.details).toEqual({
      agent: 'one',
      role: 'worker',
      action: 'send',
      target: 'two',
      targetRole: 'worker',
    });
    await expect(one.sendBatch('two', [1, 2])).rejects.toMatchObject({ code: error.code });
    await expect(one.ask('two', 'psst?')).rejects.toMatchObject({ code: error.code });
    expect(() => one.trySend('two', 'psst')).toThrow(/may not do that/);
    expect(two.count()).toBe(1);
    expect(fabric.census().queued).toBe(3);
  });

  test('of a reply is always allowed, and opens nothing else', async () => {
    const { boss, one, two } = await team({ ...rights, worker: {} });
    const answer = boss.ask('one', 'how far?');
    const question = await one.receive();
    await question?.reply('half');
    question?.ack();

    expect((await answer).text()).toBe('half');
    expect((await failureOf(one.send('boss', 'by the way'))).code).toBe('ERR_CFC_FORBIDDEN');
    expect(two.count()).toBe(0);
  });

  test('to a group tells which members it may not go to', async () => {
    const { one } = await team();
    const error = await failureOf(one.send('*', 'all'));

    expect(error.code).toBe('ERR_CFC_PARTLY_DELIVERED');
    expect(error.details.refused).toEqual([{ to: 'two', code: 'ERR_CFC_FORBIDDEN' }]);
  });

  test('to somebody who left goes by the role that the registry remembers', async () => {
    const { boss, one } = await team();
    await one.send('boss', 'early');
    await boss.leave();
    const three = await (await team()).fabric.join('three', { role: 'worker' });
    expect((await failureOf(three.send('nobody', 'x'))).code).toBe('ERR_CFC_NO_AGENT');

    await one.send('boss', 'late');
  });

  test('goes by what the registry says, and not by a name or a word of the sender', async () => {
    const { fabric } = await team();
    const liar = await fabric.join('coordinator', { role: 'worker' });

    expect((await failureOf(liar.send('two', { from: 'boss' }))).code).toBe('ERR_CFC_FORBIDDEN');
  });

  test('from another process is refused by the same table', async () => {
    const { dir } = await team();
    const child = startChild(
      async ({ open, say }) => {
        const fabric = await open();
        const three = await fabric.join('three', { role: 'worker' });
        const outcome = (to: string) =>
          three.send(to, 'x').then(
            () => 'sent',
            (error: { code: string }) => error.code,
          );
        say([await outcome('two'), await outcome('boss')]);
        await fabric.close();
      },
      { dir },
    );

    expect(await child.heard()).toEqual(['ERR_CFC_FORBIDDEN', 'sent']);
  });

  test.each([
    ['no table', 'none', 'anything', true],
    ['no row for its role', rights, 'stranger', true],
    ['no row, and a row for all others', { '*': {} }, 'stranger', false],
    ['no role at all, and a row for all others', { '*': {} }, '', false],
    ['a row for all others, as a person', { '*': {} }, 'cli', true],
    ['a row for all others, as the supervisor', { '*': {} }, 'supervisor', true],
    ['a row for people', { cli: { send: [] } }, 'cli', false],
  ] as const)('with %s', async (_, table, role, allowed) => {
    const { fabric } = await team(table);
    const sender = await fabric.join('sender', role === '' ? {} : { role });
    const sent = sender.send('one', 'x').then(
      () => true,
      () => false,
    );

    expect(await sent).toBe(allowed);
  });
});

describe('Fabric.setRights', () => {
  test('publishes the table whole, for its user alone, and takes it away', async () => {
    const { fabric } = await team();
    const path = join(fabric.info().path, 'rights.json');

    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(fabric.rights()).toEqual(rights);
    fabric.setRights(undefined);
    expect(fabric.rights()).toBeUndefined();
    expect(existsSync(path)).toBe(false);
  });

  test('holds for names that an agent has not sent to yet', async () => {
    const { fabric, one } = await team('none');
    await one.send('two', 'before');
    fabric.setRights(rights);
    await one.send('two', 'an open door stays open');
    await one.leave();
    const again = await fabric.join('one', { role: 'worker' });

    expect((await failureOf(again.send('two', 'x'))).code).toBe('ERR_CFC_FORBIDDEN');
  });

  test('of a damaged table leaves people and the supervisor what they need to mend it', async () => {
    const { fabric } = await team();
    writeFileSync(join(fabric.info().path, 'rights.json'), '{"roles": nonsense', { mode: 0o600 });
    const four = await fabric.join('four', { role: 'coordinator' });

    expect((await failureOf(four.send('one', 'x'))).code).toBe('ERR_CFC_FORBIDDEN');
    fabric.setRights(rights);
    await four.send('one', 'x');
  });
});

describe('Fabric.requireRight', () => {
  test.each([
    ['boss', 'stop', true],
    ['one', 'stop', false],
    ['one', 'spawn', false],
    ['one', 'configure', false],
    ['', 'stop', true],
  ] as const)('of %j to %s', async (agent, verb, allowed) => {
    const { fabric } = await team();
    const ask = () => fabric.requireRight(verb, { agent, target: 'two' });

    if (allowed) expect(ask).not.toThrow();
    else expect((await failureOf(ask)).code).toBe('ERR_CFC_FORBIDDEN');
  });
});

test('What is for others drops who may configure; what is for oneself everybody', async () => {
  const { fabric, dir, boss } = await team();
  await boss.send('two', 'work');
  const outcomes = (agent: string) =>
    startChild(
      async ({ open, say, args }) => {
        const fabric = await open();
        const outcome = (work: () => unknown) => {
          try {
            return work();
          } catch (error) {
            return (error as { code: string }).code;
          }
        };
        say([
          outcome(() => fabric.forget('two')),
          outcome(() => fabric.clear('two')),
          outcome(() => fabric.clear(args)),
          outcome(() => fabric.dropDead('two')),
          outcome(() => fabric.dropDead()),
          outcome(() => fabric.dropDead(args)),
        ]);
        await fabric.close();
      },
      { dir, args: agent, env: { CFC_AGENT: agent } },
    ).heard();
  const refused = 'ERR_CFC_FORBIDDEN';

  expect(await outcomes('one')).toEqual([refused, refused, 0, refused, refused, 0]);
  expect(await outcomes('boss')).toEqual(['ERR_CFC_LEASE_HELD', 1, 0, 0, 0, 0]);
  const refusals = audit(fabric).filter(({ action }) => action === 'configure');
  // The second of a target within a second is counted in the line of the next.
  expect(refusals.map(({ target }) => target)).toEqual(['two', '']);
});

describe('audit.jsonl', () => {
  test('has a line for each refusal, with who, what, on whom', async () => {
    const { fabric, one } = await team();
    await failureOf(one.send('two', 'psst'));
    await failureOf(() => fabric.requireRight('stop', { agent: 'one', target: 'boss' }));

    expect(audit(fabric)).toEqual([
      {
        v: 1,
        at: expect.stringMatching(/^\d{4}-.*Z$/),
        agent: 'one',
        role: 'worker',
        action: 'send',
        target: 'two',
        targetRole: 'worker',
        pid: process.pid,
        repeats: 0,
      },
      expect.objectContaining({ action: 'stop', target: 'boss', targetRole: 'coordinator' }),
    ]);
  });

  test('does not grow with a loop that is refused', async () => {
    const { fabric, one } = await team();
    for (const _ of range(500)) await failureOf(() => one.trySend('two', 'x'));

    expect(audit(fabric).length).toBeLessThan(500);
  });

  test('is kept within bounds', async () => {
    const { fabric, one } = await team();
    const path = join(fabric.info().path, 'audit.jsonl');
    const line = `${JSON.stringify({ v: 1, filler: 'x'.repeat(1000) })}\n`;
    writeFileSync(path, line.repeat(300), { mode: 0o600 });
    await failureOf(one.send('two', 'psst'));

    expect(audit(fabric)).toHaveLength(1);
    expect(audit(fabric, 'audit.1.jsonl')).toHaveLength(300);
  });
});

describe('The command line', () => {
  test('refuses with exit code 6 what an agent of that role may not do', async () => {
    const { dir, fabric } = await team();
    const env = { CFC_AGENT: 'one' };
    const clear = await cli(['clear', 'two'], { dir, env });
    const destroy = await cli(['destroy'], { dir, env });

    expect([clear.code, destroy.code]).toEqual([6, 6]);
    expect(clear.stderr).toContain('this agent may not do that: agent one, role worker');
    expect((await cli(['clear', 'one'], { dir, env })).code).toBe(0);
    expect((await cli(['clear', 'two'], { dir })).code).toBe(0);
    fabric.check();
  });

  test('sends as the agent that it is', async () => {
    const { dir, fabric, one } = await team();
    await one.leave();
    await fabric.join('one', { role: 'worker' }).then((again) => again.send('boss', 'keep me'));
    const sent = await cli(['send', 'two', 'x'], { dir, env: { CFC_AGENT: 'nobody-yet' } });
    expect(sent.code).toBe(0); // no role, no row, no '*'

    fabric.setRights({ ...rights, '*': {} });
    const refused = await cli(['send', 'two', 'x'], { dir, env: { CFC_AGENT: 'nobody-yet' } });
    expect(refused.code).toBe(6);
    expect(refused.stderr).toContain('ERR_CFC_FORBIDDEN');
  });
});

describe('roles of a topology', () => {
  const file = (roles: string) => `topology: flat\nworkers: 2\nroles:\n${roles}`;

  test('become its rights', () => {
    const topology = Topology.parse(
      file('  master: { send: ["*"], spawn: true }\n  worker: { send: [master] }\n'),
    );

    expect(topology.rights).toEqual({
      master: { send: ['*'], spawn: true },
      worker: { send: ['master'] },
    });
    expect(topology.toJSON()).toMatchObject({ roles: topology.rights });
    expect(Topology.flat({ workers: 1 }).rights).toBeUndefined();
    expect(Topology.flat({ workers: 1, roles: { '*': {} } }).rights).toEqual({ '*': {} });
  });

  test.each([
    ['  worke: {}\n', 4, 3, 'no agent has the role worke; did you mean worker?'],
    ['  worker: { send: [mastr] }\n', 4, 20, 'no agent has the role mastr; did you mean master?'],
    ['  worker: { sends: [master] }\n', 4, 13, 'roles.worker has no sends; did you mean send?'],
    ['  worker: { send: master }\n', 4, 19, 'roles.worker.send is a list, not "master"'],
    ['  worker: { spawn: 3 }\n', 4, 20, 'roles.worker.spawn is a boolean, not 3'],
    [
      '  "a b": {}\n',
      4,
      3,
      'a b is no role: up to 64 of A-Z a-z 0-9 _ -, the first a letter or digit',
    ],
  ])('are checked: %j', async (roles, line, column, message) => {
    const error = await failureOf(() => Topology.parse(file(roles)));

    expect(error.details.problems).toMatchObject([{ line, column, message }]);
  });
});
