import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { SoakReport } from '../../src/cli/soak/report.js';
import { cli, jsonLines, processesOf, startCli } from '../support/cli.js';
import { testDirectory, until } from '../support/fabric.js';

const readReport = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as SoakReport;

describe('cfc soak', () => {
  test('finds the leak of its canary, and no message missing, across a kill of everything', async () => {
    const dir = testDirectory();
    const file = join(dir, 'report.json');
    const samples = `${file}.samples.ndjson`;
    // The canary leaks 12 % of its heap over the horizon, however short that is.
    const words = ['soak', '--duration', '30s', '--every', '500ms', '--horizon', '40s'];
    const load = ['--rate', '300', '--restart-every', '2s', '--report', file];
    const first = startCli([...words, ...load], { dir });
    await until(() => existsSync(samples) && readFileSync(samples, 'utf8').split('\n').length > 5);
    first.process.kill('SIGKILL');
    await first.exited;
    await until(() => processesOf(dir).length === 0); // its processes end without it

    const again = await cli([...words, ...load], { dir });
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('--resume') });
    const done = await cli(['soak', '--report', file, '--resume'], { dir });
    const report = readReport(file);

    expect([0, 1]).toContain(done.code);
    expect(report).toMatchObject({ v: 1, ledger: { difference: 0 } });
    expect(report.runs).toMatchObject([{ finished: false }, { finished: true }]);
    expect(report.durationMs).toBeGreaterThanOrEqual(30_000);
    expect(report.ledger.accepted).toBeGreaterThan(1000);
    expect(report.series.canary?.heapBytes).toMatchObject({ verdict: 'fail' });
    expect(report.series.canary?.heapBytes?.growth).toBeGreaterThan(0.1);
    for (const role of Object.keys(report.series)) {
      if (role !== 'fabric') expect(report.series[role]?.threads?.verdict).toBe('pass');
    }
    expect(report.series.fabric).toMatchObject({
      slots: { verdict: 'pass' },
      regionBytes: { verdict: 'pass' },
    });
    for (const { driver, count } of report.drivers) expect(count, driver).toBeGreaterThan(0);
    // One of the two was cut off, which no report may call a pass.
    expect(report.verdict).not.toBe('pass');
    const { raw, ...said } = report;
    expect(jsonLines(done.stdout)).toEqual([said]);
    expect(raw.runs.find(({ process }) => process === 'sender-1')?.rows.length).toBeGreaterThan(1);
    for (const line of readFileSync(samples, 'utf8').split('\n').slice(0, -1)) {
      const { dir: fabric } = JSON.parse(line) as { dir?: string };
      if (fabric !== undefined) expect(existsSync(fabric)).toBe(false);
    }
  }, 180_000);

  test('ends early and in good order when it is told to, also in the background', async () => {
    const dir = testDirectory();
    const file = join(dir, 'report.json');
    const words = ['soak', '--duration', '1h', '--every', '500ms', '--rate', '100'];
    const { code, stdout } = await cli([...words, '--report', file, '--detach'], { dir });
    const pid = Number(stdout);
    const samples = `${file}.samples.ndjson`;

    expect(code).toBe(0);
    await until(() => existsSync(samples) && readFileSync(samples, 'utf8').split('\n').length > 4);
    process.kill(pid, 'SIGTERM');
    await until(() => processesOf(dir).length === 0);
    const report = readReport(file);
    expect(report.ledger).toMatchObject({ difference: 0 });
    expect(report.ledger.accepted).toBeGreaterThan(0);
    expect(report.runs).toMatchObject([{ finished: true }]);
  }, 120_000);

  test('refuses to resume what was not begun', async () => {
    const dir = testDirectory();
    const words = ['soak', '--resume', '--report', join(dir, 'none.json')];

    expect((await cli(words, { dir })).code).toBe(2);
  });
});
