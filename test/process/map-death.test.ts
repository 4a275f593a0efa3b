import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type Cli,
  forkedBy,
  jsonLines,
  leftOf,
  nativesOf,
  nothing,
  processesOf,
  startCli,
  untilNothingIsLeft,
} from '../support/cli.js';
import { needs } from '../support/environment.js';
import { range, sleep, testDirectory, until } from '../support/fabric.js';

const inShell = (script: string) => ['--', 'sh', '-c', script, 'sh'];
const numbers = (count: number) =>
  range(count)
    .map((i) => `${i}\n`)
    .join('');

function tasksOf(cfc: Cli): unknown[] {
  return cfc.lines.map(({ task }) => task).sort((a, b) => Number(a) - Number(b));
}

/** Kills one random process of that role every `everyMs` until `cfc` has ended. */
async function killWhileRunning(
  cfc: Cli,
  dir: string,
  role: 'worker' | 'coordinator' | 'keeper',
  everyMs: number,
): Promise<number> {
  let killed = 0;
  let ended = false;
  void cfc.exited.then(() => {
    ended = true;
  });
  while (!ended) {
    await sleep(everyMs);
    const there = nativesOf(dir, role);
    const victim = there[Math.floor(Math.random() * there.length)];
    if (victim === undefined) continue;
    try {
      process.kill(victim, 'SIGKILL');
      killed += 1;
    } catch {
      // It was gone before.
    }
  }
  return killed;
}

describe('a worker that is killed', () => {
  for (const shape of ['flat', 'hybrid']) {
    test(`loses no task, again and again, in a ${shape} topology`, async () => {
      const dir = testDirectory();
      const cfc = startCli(
        [
          'map',
          '--workers',
          '8',
          '--topology',
          shape,
          '--retries',
          '13',
          ...inShell('sleep 0.02; echo "$1"'),
        ],
        { dir, input: numbers(400) },
      );
      const killed = await killWhileRunning(cfc, dir, 'worker', 100);
      const { code, stderr } = await cfc.exited;

      expect(killed).toBeGreaterThan(3);
      expect(tasksOf(cfc)).toEqual(range(400).map(String));
      expect(cfc.lines.filter(({ task, stdout }) => stdout !== `${task}\n`)).toEqual([]);
      expect(jsonLines(stderr)).toMatchObject([{ tasks: 400, answered: 400, lost: 0 }]);
      expect(code).toBe(0);
      expect(leftOf(dir)).toEqual(nothing);
    });
  }

  test('takes its command and everything below it along, and its task is done again', async () => {
    const dir = testDirectory();
    const marks = testDirectory();
    const cfc = startCli(
      [
        'map',
        ...['--workers', '1'],
        ...inShell(
          `[ -e ${marks}/again ] && exit 0; : > ${marks}/again; setsid sleep 1000 & (sleep 1000)`,
        ),
      ],
      { dir, input: 'x\n' },
    );
    await until(() => processesOf(dir).filter(({ words }) => words[0] === 'sleep').length === 2);
    process.kill(nativesOf(dir, 'worker')[0] as number, 'SIGKILL');
    const { code } = await cfc.exited;

    expect(cfc.lines).toMatchObject([{ task: 'x', exitCode: 0, attempts: 2 }]);
    expect(code).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('only as it forks, before it became the command, runs the command all the same', async (context) => {
    needs(context, ['strace', '-V']);
    const dir = testDirectory();
    const mark = join(testDirectory(), 'go');
    const cfc = startCli(
      [
        'map',
        ...['--workers', '1'],
        ...inShell(`until [ -e ${mark} ]; do sleep 0.01; done; echo "$1"`),
      ],
      { dir, input: 'first\nsecond\n' },
    );
    await until(() => processesOf(dir).some(({ words }) => words[0] === 'sleep'));
    const worker = nativesOf(dir, 'worker')[0] as number;
    const slowly = ['-e', 'trace=execve', '-e', 'inject=execve:delay_enter=20000000'];
    const strace = spawn('strace', ['-f', ...slowly, '-p', `${worker}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = once(strace, 'exit');
    await once(strace.stderr, 'data'); // attached
    writeFileSync(mark, '');
    let forked: number[] = [];
    await until(() => {
      forked = forkedBy(dir, 'worker');
      return forked.length > 0;
    });
    for (const pid of forked) process.kill(pid, 'SIGKILL');
    strace.kill('SIGKILL'); // and lets go of the next one
    const { code } = await cfc.exited;

    expect(cfc.lines).toMatchObject([
      { task: 'first', stdout: 'first\n', attempts: 1 },
      { task: 'second', stdout: 'second\n', exitCode: 0, attempts: 1 },
    ]);
    expect(code).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
    await ended;
  });

  test('by its own task, more often than --retries, is told of as lost: exit 8', async () => {
    const dir = testDirectory();
    const marks = testDirectory();
    const cfc = startCli(
      [
        'map',
        ...['--workers', '2', '--retries', '2'],
        ...inShell(`[ "$1" = bad ] || exit 0; echo >> ${marks}/runs; kill -9 $PPID; sleep 1000`),
      ],
      { dir, input: 'good\nbad\nalso good\n' },
    );
    const { code, stderr } = await cfc.exited;

    const byTask = new Map(cfc.lines.map((line) => [line.task, line]));
    expect(byTask.get('bad')).toMatchObject({ exitCode: null, lost: true, attempts: 3 });
    expect(byTask.get('good')).toMatchObject({ exitCode: 0 });
    expect(byTask.get('also good')).toMatchObject({ exitCode: 0 });
    expect(readFileSync(join(marks, 'runs'), 'utf8')).toBe('\n\n\n');
    expect(jsonLines(stderr)).toMatchObject([{ tasks: 3, answered: 2, lost: 1 }]);
    expect(code).toBe(8);
    expect(leftOf(dir)).toEqual(nothing);
  });
});

describe('a coordinator that is killed', () => {
  test('is replaced, and nothing is lost', async () => {
    const dir = testDirectory();
    const cfc = startCli(
      [
        'map',
        ...['--workers', '8', '--topology', 'hybrid', '--coordinators', '2'],
        ...inShell('sleep 0.02; echo "$1"'),
      ],
      { dir, input: numbers(400) },
    );
    const killed = await killWhileRunning(cfc, dir, 'coordinator', 150);
    const { code } = await cfc.exited;

    expect(killed).toBeGreaterThan(2);
    expect(tasksOf(cfc)).toEqual(range(400).map(String));
    expect(code).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('does not disturb the task that a worker of it runs', async () => {
    const dir = testDirectory();
    const marks = testDirectory();
    const cfc = startCli(
      [
        'map',
        ...['--workers', '1', '--topology', 'hybrid', '--coordinators', '1'],
        ...inShell(
          `echo >> ${marks}/runs; until [ -e ${marks}/go ]; do sleep 0.02; done; echo done`,
        ),
      ],
      { dir, input: 'x\n' },
    );
    await until(() => existsSync(join(marks, 'runs')));
    const worker = nativesOf(dir, 'worker');
    const before = nativesOf(dir, 'coordinator')[0] as number;
    process.kill(before, 'SIGKILL');
    await until(() => nativesOf(dir, 'coordinator').some((pid) => pid !== before));
    expect(nativesOf(dir, 'worker')).toEqual(worker);
    writeFileSync(join(marks, 'go'), '');
    const { code } = await cfc.exited;

    expect(cfc.lines).toMatchObject([{ stdout: 'done\n', attempts: 1 }]);
    expect(readFileSync(join(marks, 'runs'), 'utf8')).toBe('\n');
    expect(code).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('together with the workers at random, and with the keeper, loses nothing either', async () => {
    const dir = testDirectory();
    const cfc = startCli(
      [
        'map',
        ...['--workers', '6', '--topology', 'hybrid', '--coordinators', '2', '--retries', '13'],
        ...inShell('sleep 0.02; echo "$1"'),
      ],
      { dir, input: numbers(300) },
    );
    const killed = await Promise.all([
      killWhileRunning(cfc, dir, 'worker', 170),
      killWhileRunning(cfc, dir, 'coordinator', 230),
      killOnce(cfc, dir),
    ]);
    const { code } = await cfc.exited;

    for (const count of killed) expect(count).toBeGreaterThan(0);
    expect(tasksOf(cfc)).toEqual(range(300).map(String));
    expect(code).toBe(0);
    await untilNothingIsLeft(dir);
  });
});

describe('a keeper that is killed', () => {
  for (const shape of ['flat', 'hybrid']) {
    test(`is replaced with everybody below it, in a ${shape} topology`, async () => {
      const dir = testDirectory();
      const cfc = startCli(
        ['map', '--workers', '4', '--topology', shape, ...inShell('sleep 0.02; echo "$1"')],
        { dir, input: numbers(200) },
      );
      expect(await killOnce(cfc, dir)).toBe(1);
      const { code } = await cfc.exited;

      expect(tasksOf(cfc)).toEqual(range(200).map(String));
      expect(code).toBe(0);
      await untilNothingIsLeft(dir);
    });
  }
});

describe('a master that is killed', () => {
  for (const shape of ['flat', 'hybrid']) {
    test(`leaves no process and no file, in a ${shape} topology`, async () => {
      const dir = testDirectory();
      const cfc = startCli(
        [
          'map',
          ...['--workers', '6', '--topology', shape],
          ...inShell('setsid sleep 1000 & sleep 1000 | cat'),
        ],
        { dir, input: numbers(100) },
      );
      await until(() => processesOf(dir).filter(({ words }) => words[0] === 'cat').length === 6);
      cfc.process.kill('SIGKILL');
      await cfc.exited;

      await untilNothingIsLeft(dir);
    });

    test(`while it starts leaves nothing either, in a ${shape} topology`, async () => {
      for (const waitMs of [0, 120, 160, 180, 200, 220, 250, 300]) {
        const dir = testDirectory();
        const cfc = startCli(['map', '--workers', '30', '--topology', shape, '--', 'sleep'], {
          dir,
          input: '1000\n'.repeat(40),
        });
        await sleep(waitMs);
        cfc.process.kill('SIGKILL');
        await cfc.exited;

        await untilNothingIsLeft(dir);
      }
    });
  }
});

/** Kills the keeper once work is under way. */
async function killOnce(cfc: Cli, dir: string): Promise<number> {
  await until(() => cfc.lines.length > 20);
  for (const pid of nativesOf(dir, 'keeper')) {
    process.kill(pid, 'SIGKILL');
    return 1;
  }
  return 0;
}
