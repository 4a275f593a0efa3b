import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { openSystemSync } from '../../src/cli/bench/system-sync.js';
import { root } from '../support/child.js';
import { cli } from '../support/cli.js';
import { testDirectory } from '../support/fabric.js';

interface Report {
  v: number;
  machine: Record<string, unknown>;
  results: Record<string, unknown>[];
  ratios: Record<string, unknown>[];
}

describe('cfc bench', () => {
  test('compares with file IPC, in the shape that is promised', async () => {
    const { code, stdout, stderr } = await cli(
      ['bench', '--compare', 'file-ipc', '--quick', '--json'],
      { dir: testDirectory() },
    );
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const { v, machine, results, ratios } = JSON.parse(stdout) as Report;
    expect(v).toBe(1);
    expect(machine).toMatchObject({ node: process.version, cpus: expect.any(Number) });
    expect(results.map(({ name }) => name)).toEqual([
      'cfc: one way, 64 B',
      'file IPC D (Node): one way, 64 B',
      'file IPC A (bash): one way, 64 B',
      'cfc: there and back, 1 KiB',
      'file IPC D (Node): there and back, 1 KiB',
      'file IPC A (bash): there and back, 1 KiB',
    ]);
    for (const { median, p99, runs, sent } of results) {
      for (const figure of [median, p99, runs, sent]) expect(figure).toBeGreaterThan(0);
    }
    for (const { name, lost } of results) {
      if (String(name).startsWith('cfc:')) expect(lost).toBe(0);
    }
    expect(ratios.map(({ name, against }) => `${name} / ${against}`)).toEqual([
      'one way, 64 B / file IPC D (Node)',
      'one way, 64 B / file IPC A (bash)',
      'there and back, 1 KiB / file IPC D (Node)',
      'there and back, 1 KiB / file IPC A (bash)',
    ]);
    for (const { ratio } of ratios) expect(ratio).toBeGreaterThan(0);
  });

  test('measures cfc alone where nothing else is asked for', async () => {
    const { code, stdout } = await cli(['bench', '--quick', '--json'], { dir: testDirectory() });
    expect(code).toBe(0);
    const { results, ratios } = JSON.parse(stdout) as Report;
    expect(results).toHaveLength(2);
    expect(ratios).toEqual([]);
  });

  test('refuses a rival that it does not know', async () => {
    const { code, stderr } = await cli(['bench', '--compare', 'pigeons'], { dir: testDirectory() });
    expect(code).toBe(2);
    expect(stderr).toContain('file-ipc');
  });
});

describe('openSystemSync', () => {
  test('syncs as often as it is asked', () => {
    const sync = openSystemSync();
    if (sync === undefined) return; // no Perl here
    for (let i = 0; i < 3; i += 1) sync();
  });
});

describe('npm run bench', () => {
  const run = (...words: string[]) =>
    spawnSync(process.execPath, ['--import', 'tsx', 'bench/run.ts', ...words], {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    });

  test('measures every way that Node has, and file IPC, with nothing of ours lost', () => {
    const only = ['--only', 'one way, 64 B, batches'];
    const { status, stdout, stderr } = run(
      ...['--group', 'js', '--pairs', '1', '--scale', '0.001', '--json'],
      ...only,
    );
    expect(status, stderr).toBe(0);
    const { results, ratios } = JSON.parse(stdout) as Report;
    expect(results.map(({ name }) => String(name).split(':')[0])).toEqual([
      'cfc',
      'Unix socket',
      'child_process IPC',
      'MessagePort',
      'file IPC A (bash)',
      'file IPC B (Node)',
      'file IPC C (Node)',
      'file IPC D (Node)',
    ]);
    expect(results[0]).toMatchObject({ lost: 0, outOfOrder: 0, target: expect.any(Number) });
    expect(ratios).toHaveLength(7);
  });

  test('keeps the ledger over time, with messages acked and dropped', () => {
    const { status, stdout, stderr } = run('--minutes', '0.02', '--json');
    expect(status, stderr).toBe(0);
    const { ledger } = JSON.parse(stdout) as { ledger: Record<string, number> };
    expect(ledger.difference).toBe(0);
    expect(ledger.acked).toBeGreaterThan(0);
    expect(ledger.dropped).toBeGreaterThan(0);
    expect(ledger.acked).toBe(ledger.ackedByReaders);
  });

  test('refuses what it cannot do', () => {
    expect(run('--placement', 'moon').status).not.toBe(0);
    expect(run('--pairs', '0').stderr).toContain('--pairs is a number above 0');
  });
});
