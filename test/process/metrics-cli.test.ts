// `cfc metrics`, `cfc emit`, and what `map` tells, as a person uses them.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { cli, jsonLines, startCli } from '../support/cli.js';
import { openFabric, testDirectory, until } from '../support/fabric.js';

interface Row {
  metric: string;
  unit: string;
  kind: string;
  tag?: string;
  count: number;
  avg: number;
}

const fields = [
  'metric',
  'unit',
  'kind',
  'count',
  'avg',
  'min',
  'max',
  'p50',
  'p95',
  'p99',
  'rate',
];

describe('cfc metrics', () => {
  test('says what a fabric that runs has counted', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const alice = await fabric.join('alice');
    await fabric.join('bob');
    await alice.sendBatch('bob', [1, 2, 3]);

    const { code, stdout } = await cli(['metrics', '--json', '--window', '5m'], { dir });
    const table = await cli(['metrics', '--by', 'agent', '--metric', 'inbox.size'], { dir });

    expect(code).toBe(0);
    const { v, window, metrics } = JSON.parse(stdout);
    expect(v).toBe(1);
    expect(Object.keys(window)).toEqual(['from', 'to', 'ms']);
    const sent = metrics.find(({ metric }: Row) => metric === 'coordination.message_sent');
    expect(Object.keys(sent)).toEqual(fields);
    expect(sent).toMatchObject({ unit: 'messages', kind: 'counter', count: 1, avg: 3 });
    expect(table.stdout).toMatch(/^METRIC +TAG .*\ninbox.size +bob +messages +1 +3 /);
  });

  test('watches for a window that is shorter than the fabric is old', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const alice = await fabric.join('alice');
    await fabric.join('bob');
    await alice.sendBatch('bob', [1, 2, 3]);
    await sleep(4100);

    const watching = startCli(['metrics', '--json', '--window', '4s'], { dir, input: '' });
    while (!watching.stderr.includes('from now on')) await sleep(1);
    await alice.sendBatch('bob', [4, 5]);
    const { code, stdout } = await watching.exited;

    expect(code).toBe(0);
    const { window, metrics } = JSON.parse(stdout);
    const row = (name: string) => metrics.find(({ metric }: Row) => metric === name);
    expect(window.ms).toBeGreaterThanOrEqual(4000);
    const sent = row('coordination.message_sent');
    expect(sent.avg * sent.count).toBe(2);
    expect(sent.rate).toBeCloseTo(2000 / window.ms, 6);
    expect(row('inbox.size')).toMatchObject({ max: 5 });
    expect(row('inbox.size').count).toBeGreaterThan(1); // a look after the other
  });

  test('says what it saw when it is interrupted', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const alice = await fabric.join('alice');
    await fabric.join('bob');
    await sleep(15_100);

    const watching = startCli(['metrics', '--json', '--window', '15s'], { dir, input: '' });
    while (!watching.stderr.includes('from now on')) await sleep(1);
    await alice.sendBatch('bob', [1, 2, 3]);
    watching.process.kill('SIGINT');
    const { code, stdout } = await watching.exited;

    expect(code).toBe(130);
    const { window, metrics } = JSON.parse(stdout);
    expect(window.ms).toBeLessThan(15_000);
    const sent = metrics.find(({ metric }: Row) => metric === 'coordination.message_sent');
    expect(sent.avg * sent.count).toBe(3);
  });

  test('reads files, and stdin', async () => {
    const dir = testDirectory();
    const line =
      '{"timestamp":"2025-10-08T12:00:00.123Z","metric":"coordination.time","value":2750,"unit":"milliseconds","tags":{}}\n';
    const { stdout, stderr } = await cli(['metrics', '--json', '-'], {
      dir,
      input: `${line}${line}no record\n`,
    });

    expect(JSON.parse(stdout).metrics[0]).toMatchObject({ count: 2, avg: 2750, p99: 2750 });
    expect(stderr).toContain('1 lines are no record');
  });

  test('fails with a code and the reason where there is no file, or no fabric', async () => {
    const dir = testDirectory();
    const file = await cli(['metrics', '/nowhere.jsonl'], { dir });
    expect(file.code).toBe(1);
    expect(file.stderr).toMatch(/ENOENT.*ERR_CFC_EXPORT_IO/);
    expect((await cli(['metrics'], { dir })).code).toBe(3);
    expect((await cli(['metrics', '--window', 'soon'], { dir })).code).toBe(2);
  });
});

test('an exporter writes what was emitted and what a map came to', async () => {
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  const file = join(dir, 'metrics.jsonl');
  const exporter = startCli(['metrics', 'export', '--out', file, '--interval', '50ms'], { dir });
  const lines = () => {
    try {
      return jsonLines(readFileSync(file, 'utf8'));
    } catch {
      return [];
    }
  };
  const valuesOf = (name: string) =>
    lines().flatMap(({ metric, value }) => (metric === name ? [value] : []));

  const words = ['emit', 'task.seconds', '12.5', '--unit', 'seconds', '--tag', 'branch=main'];
  expect((await cli([...words, '--from', 'bob', '--tag', 'n=1'], { dir })).code).toBe(0);
  const map = ['map', '--workers', '2', '--', 'sh', '-c', 'test "$0" != 3'];
  expect((await cli(map, { dir, input: '1\n2\n3\n4\n' })).code).toBe(1);
  await until(() => valuesOf('coordination.error_rate').length > 0);
  exporter.process.kill('SIGTERM');
  expect((await exporter.exited).code).toBe(0);

  expect(valuesOf('coordination.tasks')).toEqual([4]);
  expect(valuesOf('coordination.tasks_failed')).toEqual([1]);
  expect(valuesOf('coordination.error_rate')).toEqual([25]);
  expect(valuesOf('coordination.time')).toHaveLength(1);
  expect(lines().find(({ metric }) => metric === 'task.seconds')).toMatchObject({
    value: 12.5,
    unit: 'seconds',
    tags: { fabric: 'test', agent: 'bob', branch: 'main', n: '1' },
  });
  expect(fabric.snapshot()).toEqual([]);
});

test.each([
  [['emit', 'n', 'much']],
  [['emit', 'n', '']],
  [['emit', 'no name', '1']],
  [['emit', 'n', '1', '--tag', 'novalue']],
  [['metrics', 'export', '--out', 'x', '--max-size', 'big']],
  [['metrics', 'export', '--out', 'x', '--max-size', '0.1']],
])('refuses %j as usage', async (words) => {
  const dir = testDirectory();
  await openFabric({ dir });
  expect((await cli(words, { dir })).code).toBe(2);
});

test('an exporter ends when its fabric is removed, and says so', async () => {
  const dir = testDirectory();
  await openFabric({ dir });
  const file = join(dir, 'metrics.jsonl');
  const exporter = startCli(['metrics', 'export', '--out', file], { dir });
  await until(() => {
    try {
      return readFileSync(file).length > 0;
    } catch {
      return false;
    }
  });
  expect((await cli(['destroy'], { dir })).code).toBe(0);

  const { code, stderr } = await exporter.exited;
  expect(code).toBe(1);
  expect(stderr).toContain('ERR_CFC_FABRIC_REMOVED');
});

test('an exporter that is interrupted exits with 130, its file whole', async () => {
  const dir = testDirectory();
  await openFabric({ dir });
  const file = join(dir, 'metrics.jsonl');
  const exporter = startCli(['metrics', 'export', '--out', file, '--interval', '20ms'], { dir });
  await until(() => {
    try {
      return readFileSync(file).length > 500;
    } catch {
      return false;
    }
  });
  exporter.process.kill('SIGINT');

  expect((await exporter.exited).code).toBe(130);
  expect(readFileSync(file, 'utf8').endsWith('\n')).toBe(true);
});
