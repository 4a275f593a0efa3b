import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readRecord } from '../../src/cli/soak/record.js';
import type { SoakReport } from '../../src/cli/soak/report.js';
import { cli, jsonLines, processesOf, startCli } from '../support/cli.js';
import { testDirectory, until } from '../support/fabric.js';

const readReport = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as SoakReport;

/** Where the first run of a soak has its fabrics. */
function dirOf(samples: string): string {
  const run = readFileSync(samples, 'utf8').split('\n')[1] as string;
  return (JSON.parse(run) as { dir: string }).dir;
}

/** Of its last run, those that are judged. */
function warmSamples(file: string): number {
  const record = readRecord(file);
  const { warmUpMs = 0 } = record?.options ?? {};
  return (record?.runs.at(-1)?.samples ?? []).filter(({ atMs }) => atMs >= warmUpMs).length;
}

const wholeCrew = [
  ...['sender', 'receiver', 'restarted', 'canary', 'coordinator', 'churn', 'shim'],
  ...['supervisor', 'takeover', 'exporter', 'alerts', 'master', 'restarted-shim'],
  ...['bereft', 'bereft-shim'],
  ...['adopted-sender', 'adopted-receiver'],
];

describe('cfc soak', () => {
  test('finds the leak of its canary, and no message missing, across a kill of everything', async () => {
    const dir = testDirectory();
    const file = join(dir, 'report.json');
    const samples = `${file}.samples.ndjson`;
    // The canary leaks 12 % of its heap over the horizon, however short that is.
    const words = ['soak', '--duration', '20s', '--every', '400ms', '--horizon', '24s'];
    const load = ['--pace', '60', '--rate', '300', '--restart-every', '400ms', '--report', file];
    const first = startCli([...words, ...load], { dir });
    await until(() => existsSync(samples) && readFileSync(samples, 'utf8').split('\n').length > 5);
    first.process.kill('SIGKILL');
    await first.exited;
    const fabrics = dirOf(samples);
    await until(() => [dir, fabrics].every((one) => processesOf(one).length === 0)); // without it

    const again = await cli([...words, ...load], { dir });
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('--resume') });
    const second = startCli(['soak', '--report', file, '--resume'], { dir });
    // As many as the gate needs, however long a crowded machine takes for them.
    await until(() => warmSamples(samples) >= 10 || second.process.exitCode !== null);
    second.process.kill('SIGTERM');
    const done = await second.exited;
    const report = readReport(file);

    expect([1, 130]).toContain(done.code);
    expect(report).toMatchObject({ v: 1, ledger: { difference: 0 } });
    expect(report.runs).toMatchObject([{ finished: false }, { finished: true }]);
    expect(report.ledger.accepted).toBeGreaterThan(500);
    expect(report.series.canary?.heapBytes).toMatchObject({ verdict: 'fail' });
    expect(report.series.canary?.heapBytes?.growth).toBeGreaterThan(0.1);
    for (const role of wholeCrew) {
      expect(report.series[role]?.threads?.verdict, role).toBe('pass');
    }
    for (const role of ['fabric', 'fabric-adopted']) {
      expect(report.series[role]).toMatchObject({
        slots: { verdict: 'pass' },
        regionBytes: { verdict: 'pass' },
      });
    }
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
    const words = ['soak', '--duration', '20s', '--every', '500ms', '--pace', '2'];
    const { code, stdout } = await cli([...words, '--report', file, '--detach'], { dir });
    const pid = Number(stdout);
    const samples = `${file}.samples.ndjson`;

    expect(code).toBe(0);
    await until(() => existsSync(samples) && readFileSync(samples, 'utf8').split('\n').length > 4);
    process.kill(pid, 'SIGTERM');
    await until(() => [dir, dirOf(samples)].every((one) => processesOf(one).length === 0));
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
