import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli, leftOf, nothing } from '../support/cli.js';
import { openFabric, testDirectory } from '../support/fabric.js';
import { onTerminal } from '../support/terminal.js';

const faint = (text: string) => `\u001b[2m${text}`;

describe('On a terminal', () => {
  test('ps is a table, in the order of numbers, with nothing that a terminal obeys', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    for (const name of ['worker-10', 'worker-2']) {
      await fabric.join(name, { role: 'reviewer', team: 'red' });
    }
    const { code, shown } = await onTerminal(['ps'], { dir });

    const lines = shown.split('\n');
    expect(code).toBe(0);
    expect(lines[0]?.split(/ +/)).toEqual([
      'NAME',
      'ROLE',
      'TEAM',
      'STATE',
      'LIVE',
      'HEALTH',
      'PID',
      'QUEUED',
      'RESTARTS',
    ]);
    expect(lines[1]).toMatch(/^worker-2 +reviewer +red +\w+ +alive +healthy +\d+ +0\/\d+ +0$/);
    expect(lines[2]).toMatch(/^worker-10 /);
    expect(shown).toContain(faint('next: cfc send worker-2 "hello"').replace('next: ', ''));
  });

  test('ps of nobody has its heading alone', async () => {
    const dir = testDirectory();
    await openFabric({ dir });

    expect((await onTerminal(['ps'], { dir })).shown.trim().split('\n')).toHaveLength(1);
  });

  test('peek and recv show text without what a terminal would obey', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const bob = await fabric.join('bob');
    const evil = 'red \u001b[31malert\u001b]0;title\u0007 \u202etxt.exe';
    await bob.send('bob', evil, { type: 'warning' });
    await bob.send('bob', new Uint8Array([0xff, 0xfe, 0x00]));
    const peeked = await onTerminal(['peek', '--agent', 'bob'], { dir });
    await bob.leave();
    const received = await onTerminal(['recv', '--agent', 'bob', '--count', '1'], { dir });
    const json = await onTerminal(['recv', '--agent', 'bob', '--count', '1', '--json'], { dir });

    expect(peeked.shown).toMatch(/^ID +FROM +TYPE +STATE +BODY\n/);
    expect(peeked.shown).toMatch(/bob +warning +waiting +red alert/);
    expect(peeked.shown).toContain('3 bytes');
    expect(received.shown).toContain('red alert');
    for (const { shown } of [peeked, received, json]) {
      for (const obeyed of ['\u001b[31m', '\u001b]0', '\u202e', '\u0007']) {
        expect(shown).not.toContain(obeyed);
      }
    }
  });

  test('ask shows the answer, and create, send and destroy what came of them', async () => {
    const dir = testDirectory();
    const created = await onTerminal(['create', '--profile', 'small'], { dir });
    expect(created.shown).toContain(join(dir, 'test'));
    expect(created.shown).toContain('cfc recv --agent bob');
    const fabric = await openFabric({ dir });
    const bob = await fabric.join('bob');
    const serving = (async () => {
      const question = await bob.receive();
      await question?.reply('\u001b[1mforty-two');
      question?.ack();
    })();
    const asked = await onTerminal(['ask', 'bob', 'how many?'], { dir });
    await serving;

    expect(asked).toMatchObject({ code: 0, shown: expect.stringContaining('forty-two') });
    expect(asked.shown).not.toContain('\u001b[1m');
    const { shown } = await onTerminal(['destroy'], { dir });
    expect(shown).toContain(`removed ${join(dir, 'test')}: 1 agents (1 alive), 0 messages`);
    expect(existsSync(join(dir, 'test'))).toBe(false);
  });

  test('map shows how far it is, on stderr', async () => {
    const dir = testDirectory();
    const words = ['map', '--workers', '2', '--', 'sh', '-c', 'sleep 0.2; echo "$1"', 'sh'];
    const { code, shown } = await onTerminal(words, { dir, input: '1\\n2\\n3\\n4\\n' });

    expect(code).toBe(0);
    expect(shown).toMatch(/[█░]{24} \d\/4\+?, \d running, \d+\/s/);
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('demo and bench tell in words what they measured', async () => {
    const dir = testDirectory();
    const demo = await onTerminal(['demo'], { dir });
    const bench = await onTerminal(['bench', '--quick', '--compare', 'file-ipc'], { dir });

    expect(demo.code).toBe(0);
    expect(demo.shown).toMatch(/1010 of 1010 came back \(100 %\)/);
    expect(demo.shown).toContain('starting 2 coordinators');
    expect(bench.code).toBe(0);
    expect(bench.shown).toMatch(/WHAT +MEDIAN/);
    expect(bench.shown).toMatch(/\d CPUs, Linux .*, Node v/);
    expect(leftOf(dir)).toEqual(nothing);
  });
});

describe('cfc create and destroy', () => {
  test('make a fabric once, say what would go, and remove it', async () => {
    const dir = testDirectory();
    const first = await cli(['create', '--json'], { dir });
    const again = await cli(['create'], { dir });
    expect(JSON.parse(first.stdout)).toEqual({
      v: 1,
      fabric: 'test',
      path: join(dir, 'test'),
      sharedBytes: expect.any(Number),
    });
    expect(again).toMatchObject({ code: 0, stdout: `${join(dir, 'test')}\n`, stderr: '' });

    const fabric = await openFabric({ dir });
    await (await fabric.join('bob')).send('bob', 'waits');
    const dry = await cli(['destroy', '--dry-run', '--json'], { dir });
    const gone = { v: 1, fabric: 'test', path: join(dir, 'test'), agents: 1, living: 1, queued: 1 };
    expect(JSON.parse(dry.stdout)).toEqual({ ...gone, dryRun: true });
    expect((await cli(['destroy', '--dry-run'], { dir })).stdout).toMatch(/^would remove /);
    expect(existsSync(join(dir, 'test'))).toBe(true);
    const done = await cli(['destroy', '--json'], { dir });
    expect(JSON.parse(done.stdout)).toEqual({ ...gone, dryRun: false });
    expect((await cli(['destroy'], { dir })).code).toBe(3);
  });

  test('refuse a profile that there is not', async () => {
    const { code, stderr } = await cli(['create', '--profile', 'huge'], { dir: testDirectory() });

    expect(code).toBe(2);
    expect(stderr).toContain('small, default, large');
  });
});

describe('cfc ask', () => {
  test('takes the question from stdin, a name and a type, and answers in JSON', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const bob = await fabric.join('bob');
    const serving = (async () => {
      const question = await bob.receive();
      await question?.reply({ from: question.from, type: question.type, text: question.text() });
      question?.ack();
    })();
    const words = ['ask', 'bob', '-', '--from', 'alice', '--type', 'sum', '--timeout', '20s'];
    const { code, stdout } = await cli([...words, '--json'], { dir, input: '1+1' });
    await serving;

    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      v: 1,
      from: 'bob',
      body: { from: 'alice', type: 'sum', text: '1+1' },
    });
  });
});
