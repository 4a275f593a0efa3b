import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root } from '../support/child.js';
import { cli, jsonLines, leftOf, nothing } from '../support/cli.js';
import { openFabric, range, testDirectory } from '../support/fabric.js';

/** Real files, in a number that takes a moment. */
function someFiles(count: number): string[] {
  const folder = join(root, 'node_modules', 'typescript', 'lib');
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => statSync(file).size < 1 << 20)
    .slice(0, 100);
  return range(count).map((i) => files[i % files.length] as string);
}

function summaryOf(stderr: string): Record<string, unknown> {
  return jsonLines(stderr).at(-1) as Record<string, unknown>;
}

describe('cfc map', () => {
  for (const [shape, agents] of [
    ['flat', 13],
    ['hierarchical', 16],
    ['hybrid', 14],
    ['mesh', 13],
  ] as const) {
    test(`answers every task with what xargs says, in a ${shape} topology`, async () => {
      const dir = testDirectory();
      const files = someFiles(300);
      const { code, stdout, stderr } = await cli(
        ['map', '--workers', '12', '--topology', shape, '--', 'wc', '-l'],
        { dir, input: files.map((file) => `${file}\n`).join('') },
      );

      const ours = jsonLines(stdout);
      const theirs = execFileSync('xargs', ['-n1', 'wc', '-l'], { input: files.join('\n') });
      expect(ours.map(({ stdout: text }) => text).sort()).toEqual(
        theirs
          .toString()
          .split(/(?<=\n)/)
          .sort(),
      );
      expect(ours.map(({ task }) => task).sort()).toEqual(files.sort());
      expect(new Set(ours.map(({ exitCode }) => exitCode))).toEqual(new Set([0]));
      expect(summaryOf(stderr)).toMatchObject({
        v: 1,
        agents,
        tasks: 300,
        answered: 300,
        lost: 0,
        deliveryRate: 100,
      });
      expect(code).toBe(0);
      expect(leftOf(dir)).toEqual(nothing);
    });
  }

  test('takes a mesh for 7 agents, a hierarchy for 100 and a hybrid for more, or as is asked for', async () => {
    for (const [words, agents] of [
      [['6'], 7],
      [['7'], 1 + 3 + 7],
      [['90'], 100],
      [['91'], 1 + 2 + 91],
      [['7', '--coordinators', '2'], 1 + 2 + 7],
    ] as const) {
      const { code, stderr } = await cli(['map', '--workers', ...words, '--', 'true'], {
        dir: testDirectory(),
        input: 'x\n',
      });
      expect(summaryOf(stderr)).toMatchObject({ agents, answered: 1 });
      expect(code).toBe(0);
    }
  });

  test('has no coordinators to give a mesh', async () => {
    const words = ['map', '--topology', 'mesh', '--coordinators', '2', '--', 'true'];
    const { code, stderr } = await cli(words, { dir: testDirectory() });
    expect(code).toBe(2);
    expect(stderr).toContain('a mesh topology has no coordinators');
  });

  test('gives each result the shape that is relied upon', async () => {
    const { stdout } = await cli(['map', '--workers', '1', '--', 'echo', 'hello'], {
      dir: testDirectory(),
      input: 'world',
    });

    expect(jsonLines(stdout)).toEqual([
      {
        v: 1,
        task: 'world',
        worker: 'worker-1',
        exitCode: 0,
        stdout: 'hello world\n',
        stderr: '',
        durationMs: expect.any(Number),
        attempts: 1,
      },
    ]);
  });

  test('exits 1 where a command exits with another code than 0, and says which', async () => {
    const { code, stdout, stderr } = await cli(
      ['map', '--workers', '2', '--', 'sh', '-c', 'echo no >&2; exit "$1"', 'sh'],
      { dir: testDirectory(), input: '0\n3\n' },
    );

    expect(code).toBe(1);
    expect(jsonLines(stdout).sort((a, b) => Number(a.task) - Number(b.task))).toMatchObject([
      { task: '0', exitCode: 0, stderr: 'no\n' },
      { task: '3', exitCode: 3, stderr: 'no\n' },
    ]);
    expect(summaryOf(stderr)).toMatchObject({ tasks: 2, answered: 2, lost: 0 });
  });

  test('reports the end by a signal as 128 and its number', async () => {
    const { stdout } = await cli(
      ['map', '--workers', '1', '--', 'sh', '-c', 'kill -TERM $$', 'sh'],
      {
        dir: testDirectory(),
        input: 'x\n',
      },
    );

    expect(jsonLines(stdout)).toMatchObject([{ exitCode: 143, attempts: 1 }]);
  });

  test('gives each JSON value to the command as its stdin', async () => {
    const values = [{ file: 'a b', n: 1 }, 'text', [1, 2], null, 7];
    const { code, stdout } = await cli(['map', '--workers', '3', '--ndjson', '--', 'cat'], {
      dir: testDirectory(),
      input: values.map((value) => `${JSON.stringify(value)}\n`).join(''),
    });

    const byText = (a: unknown, b: unknown) => JSON.stringify(a).localeCompare(JSON.stringify(b));
    const results = jsonLines(stdout);
    expect(results.map(({ task }) => task).sort(byText)).toEqual([...values].sort(byText));
    for (const { task, stdout: echoed } of results) {
      expect(JSON.parse(echoed as string)).toEqual(task);
    }
    expect(code).toBe(0);
  });

  test('answers the tasks before a line that is no JSON, and exits 2', async () => {
    const { code, stdout, stderr } = await cli(['map', '--workers', '1', '--ndjson', '--', 'cat'], {
      dir: testDirectory(),
      input: '1\n2\nthree\n4\n',
    });

    expect(code).toBe(2);
    expect(jsonLines(stdout).map(({ task }) => task)).toEqual([1, 2]);
    expect(stderr).toContain('line 3 of the input is no JSON');
  });

  test('takes a line as it is: blanks, quotes, an empty one, and one that is no UTF-8', async () => {
    const dir = testDirectory();
    const odd = Buffer.from([0x61, 0xff, 0x62]);
    const { stdout } = await cli(['map', '--workers', '2', '--', 'printf', '<%s>'], {
      dir,
      input: Buffer.concat([Buffer.from(' a  b \n"$HOME";*\n\n'), odd, Buffer.from('\n')]),
    });

    const results = jsonLines(stdout);
    expect(results.map(({ task }) => task).sort()).toEqual(['', ' a  b ', '"$HOME";*', undefined]);
    for (const { task, taskBase64, stdout: text, stdoutBase64 } of results) {
      if (task !== undefined) expect(text).toBe(`<${task}>`);
      else {
        expect(taskBase64).toBe(odd.toString('base64'));
        expect(stdoutBase64).toBe(Buffer.from([0x3c, 0x61, 0xff, 0x62, 0x3e]).toString('base64'));
      }
    }
  });

  test('splits at NUL bytes when asked, so that a name may hold a newline', async () => {
    const { stdout } = await cli(['map', '--workers', '1', '-0', '--', 'printf', '%s'], {
      dir: testDirectory(),
      input: 'one\ntwo\0three\0',
    });

    expect(jsonLines(stdout).map(({ stdout: text }) => text)).toEqual(['one\ntwo', 'three']);
  });

  test('keeps 1 MiB of output, says that there was more, and does not hold the command up', async () => {
    const { code, stdout } = await cli(
      ['map', '--workers', '1', '--', 'sh', '-c', 'head -c "$1" /dev/zero | tr "\\0" x', 'sh'],
      { dir: testDirectory(), input: '1048576\n3000000\n' },
    );

    expect(code).toBe(0);
    const [exact, more] = jsonLines(stdout);
    expect(exact).toMatchObject({ stdout: 'x'.repeat(1 << 20) });
    expect(exact).not.toHaveProperty('truncated');
    expect(more).toMatchObject({ stdout: 'x'.repeat(1 << 20), truncated: true });
  });

  test('says at once that a command is not to be found', async () => {
    const dir = testDirectory();
    const { code, stdout, stderr } = await cli(['map', '--', 'no-such-command-here'], { dir });

    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('command not found: no-such-command-here');
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('tells of a script without an interpreter line, and of an argument that is too long', async () => {
    const dir = testDirectory();
    const script = join(dir, 'script');
    writeFileSync(script, 'echo hello\n');
    chmodSync(script, 0o700);
    const { code, stdout } = await cli(['map', '--workers', '1', '--', script], {
      dir,
      input: 'x\n',
    });
    const long = await cli(['map', '--workers', '1', '--', 'true'], {
      dir,
      input: 'x'.repeat(200_000),
    });

    expect(code).toBe(1);
    expect(jsonLines(stdout)).toMatchObject([
      { exitCode: 126, stderr: expect.stringContaining('interpreter line') },
    ]);
    expect(jsonLines(long.stdout)).toMatchObject([
      { exitCode: 126, stderr: expect.stringContaining('--ndjson') },
    ]);
  });

  test('ends what a command leaves in the background', async () => {
    const dir = testDirectory();
    const { code, stdout } = await cli(
      ['map', '--workers', '1', '--', 'sh', '-c', 'setsid sleep 1000 & echo "$1"', 'sh'],
      { dir, input: 'a\nb\n' },
    );

    expect(jsonLines(stdout).map(({ stdout: text }) => text)).toEqual(['a\n', 'b\n']);
    expect(code).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('gives the command its own environment and folder, and an empty stdin', async () => {
    const dir = testDirectory();
    const { stdout } = await cli(
      ['map', '--workers', '1', '--', 'sh', '-c', 'echo "$COLOUR $(pwd) $(cat | wc -c)"', 'sh'],
      { dir, input: 'x\n', env: { COLOUR: 'green' }, cwd: '/' },
    );

    expect(jsonLines(stdout)).toMatchObject([{ stdout: 'green / 0\n' }]);
  });

  test('does nothing, well, where there are no tasks', async () => {
    const dir = testDirectory();
    const { code, stdout, stderr } = await cli(['map', '--workers', '2', '--', 'true'], { dir });

    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(summaryOf(stderr)).toMatchObject({ tasks: 0, answered: 0, lost: 0, deliveryRate: 100 });
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('writes the summary into a file', async () => {
    const dir = testDirectory();
    const file = join(testDirectory(), 'summary.json');
    const { stderr } = await cli(['map', '--workers', '2', '--summary', file, '--', 'true'], {
      dir,
      input: '1\n2\n3\n',
    });

    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ v: 1, tasks: 3, answered: 3 });
    expect(stderr).toBe('');
  });

  test('leaves a fabric alone that has the name it is given', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const { code, stderr } = await cli(['map', '--fabric', 'test', '--', 'true'], {
      dir,
      input: 'x\n',
    });

    expect(code).toBe(1);
    expect(stderr).toContain('exists already');
    expect((await cli(['ps'], { dir })).code).toBe(0);
    fabric.check();
  });

  // A worker that spun for its next task read past the end of what it was given, and died; as it
  // held nothing then, only its PID told.
  test('is done by the workers that it began with, task upon task', async () => {
    const { stdout } = await cli(['map', '--workers', '2', '--', 'sh', '-c', 'echo $PPID'], {
      dir: testDirectory(),
      input: range(400).join('\n'),
    });
    const workers = new Set(jsonLines(stdout).map(({ stdout: pid }) => pid));
    expect(jsonLines(stdout)).toHaveLength(400);
    expect(workers.size).toBeLessThanOrEqual(2);
  });

  test('uses all of its workers', async () => {
    const { stdout } = await cli(
      ['map', '--workers', '6', '--topology', 'hybrid', '--coordinators', '2', '--', 'sleep'],
      { dir: testDirectory(), input: '0.3\n'.repeat(12) },
    );

    expect(new Set(jsonLines(stdout).map(({ worker }) => worker)).size).toBe(6);
  });
});

describe('cfc demo', () => {
  test('needs nothing, tells what it measured, and leaves nothing', async () => {
    const dir = testDirectory();
    const { code, stdout } = await cli(['demo', '--json'], { dir });

    const report = JSON.parse(stdout);
    expect(report).toEqual({
      v: 1,
      topology: 'hybrid',
      agents: 13,
      messages: expect.any(Number),
      delivered: report.messages,
      deliveryRate: 100,
      coldMs: expect.any(Number),
      warmMs: expect.any(Number),
    });
    expect(report.messages).toBeGreaterThanOrEqual(1000);
    expect(code).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
  });
});
