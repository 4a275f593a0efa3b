import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  jsonLines,
  leftOf,
  nativesOf,
  nothing,
  processesOf,
  startCli,
  untilNothingIsLeft,
} from '../support/cli.js';
import { range, sleep, testDirectory, until } from '../support/fabric.js';

const inShell = (script: string) => ['--', 'sh', '-c', script, 'sh'];
const numbers = (count: number) =>
  range(count)
    .map((i) => `${i}\n`)
    .join('');
const commandsOf = (dir: string, name: string) =>
  processesOf(dir).filter(({ words }) => words[0] === name).length;

describe('Ctrl-C', () => {
  for (const shape of ['flat', 'hybrid']) {
    test(`lets what runs finish, begins nothing new, and exits 130, in a ${shape} topology`, async () => {
      const dir = testDirectory();
      const marks = testDirectory();
      const cfc = startCli(
        [
          'map',
          ...['--workers', '3', '--topology', shape],
          ...inShell(`: > ${marks}/$1; until [ -e ${marks}/go ]; do sleep 0.02; done; echo "$1"`),
        ],
        { dir, input: numbers(50) },
      );
      await until(() => nativesOf(dir, 'worker').length === 3 && commandsOf(dir, 'sh') === 3);
      await sleep(50);
      cfc.process.kill('SIGINT');
      await sleep(100);
      expect(cfc.process.exitCode).toBeNull();
      writeFileSync(join(marks, 'go'), '');
      const { code, stderr } = await cfc.exited;

      expect(code).toBe(130);
      expect(cfc.lines.length).toBe(3);
      for (const { task, stdout } of cfc.lines) {
        expect(stdout).toBe(`${task}\n`);
        expect(existsSync(join(marks, String(task)))).toBe(true);
      }
      expect(range(50).filter((i) => existsSync(join(marks, String(i)))).length).toBe(3);
      expect(jsonLines(stderr).at(-1)).toMatchObject({ answered: 3, lost: 0, interrupted: true });
      expect(leftOf(dir)).toEqual(nothing);
    });

    test(`twice ends what runs, in a ${shape} topology`, async () => {
      const dir = testDirectory();
      const cfc = startCli(['map', '--workers', '3', '--topology', shape, '--', 'sleep'], {
        dir,
        input: '1000\n'.repeat(20),
      });
      await until(() => commandsOf(dir, 'sleep') === 3);
      cfc.process.kill('SIGINT');
      await sleep(50);
      cfc.process.kill('SIGINT');
      const { code } = await cfc.exited;

      expect(code).toBe(130);
      expect(leftOf(dir)).toEqual(nothing);
    });
  }

  test('works while there is nothing to do yet', async () => {
    const dir = testDirectory();
    const cfc = startCli(['map', '--workers', '2', '--', 'true'], { dir });
    await until(() => nativesOf(dir, 'worker').length === 2);
    cfc.process.kill('SIGINT');
    const { code } = await cfc.exited;

    expect(code).toBe(130);
    expect(leftOf(dir)).toEqual(nothing);
  });
});

describe('stdout', () => {
  test('that is closed ends the job quietly, and leaves nothing', async () => {
    const dir = testDirectory();
    const cfc = startCli(['map', '--workers', '4', ...inShell('echo "$1"; sleep 0.01')], {
      dir,
      input: numbers(2000),
    });
    cfc.process.stdout?.once('data', () => cfc.process.stdout?.destroy());
    const [code] = await once(cfc.process, 'exit');

    expect(code).toBe(8);
    expect(cfc.stderr).toBe('');
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('that nobody reads holds the job up, not its memory: input is not read ahead', async () => {
    const dir = testDirectory();
    const cfc = startCli(['map', '--workers', '2', '--', 'printf', '%s %065536d'], { dir });
    cfc.process.stdout?.pause();
    let taken = 0;
    const write = () => {
      while (taken < 20_000 && cfc.process.stdin?.write(`${taken} 0\n`.padEnd(1000, 'x')))
        taken += 1;
    };
    cfc.process.stdin?.on('drain', write);
    write();
    // It comes to a standstill, long before the input is at its end.
    let before = -1;
    while (before !== taken || taken === 0) {
      before = taken;
      await sleep(1000);
    }
    expect(taken).toBeLessThan(2000);
    expect(processesOf(dir).length).toBeGreaterThan(0);
    cfc.process.kill('SIGKILL');
    cfc.process.stdout?.resume();
    await untilNothingIsLeft(dir);
  });
});

describe('stdin', () => {
  test('is answered line by line while it stays open', async () => {
    const dir = testDirectory();
    const cfc = startCli(['map', '--workers', '2', '--', 'echo'], { dir });
    for (const word of ['one', 'two', 'three']) {
      const before = cfc.lines.length;
      cfc.process.stdin?.write(`${word}\n`);
      await until(() => cfc.lines.length > before);
      expect(cfc.lines.at(-1)).toMatchObject({ task: word, stdout: `${word}\n` });
    }
    cfc.process.stdin?.end();
    const { code } = await cfc.exited;

    expect(code).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
  });
});
