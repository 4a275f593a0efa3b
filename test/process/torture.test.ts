import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { checkLogs } from '../../scripts/torture-check.mjs';
import { root } from '../support/child.js';

describe('Under random kills', () => {
  // Node processes alone; `npm run torture` has native ones too, and kills thousands.
  test('no message is lost, harmed or out of order, nobody hangs, nothing leaks', async () => {
    const { code, stdout, stderr } = await new Promise<Record<string, unknown>>((resolve) => {
      const args = ['scripts/torture.mjs', '--kills', '40', '--seed', '20240607', '--no-native'];
      execFile(process.execPath, args, { cwd: root }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : error.code, stdout, stderr }),
      );
    });

    expect(stderr).toBe('');
    expect(code, stdout as string).toBe(0);
    const report = JSON.parse(stdout as string) as Record<string, number>;
    expect(report).toMatchObject({ violations: 0 });
    expect(report.injected).toBeGreaterThanOrEqual(40);
    expect(report.hit).toBeGreaterThanOrEqual(24);
  });
});

describe('The check of its logs', () => {
  function check(logs: Record<string, string[]>): string[] {
    const folder = mkdtempSync(join(tmpdir(), 'cfc-test-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    mkdirSync(folder, { recursive: true });
    for (const [name, lines] of Object.entries(logs)) {
      writeFileSync(join(folder, `${name}.log`), lines.map((line) => `${line}\n`).join(''));
    }
    expect(readdirSync(folder)).toHaveLength(Object.keys(logs).length);
    return checkLogs(folder).violations;
  }
  const sent = { 'p0.1': ['A c0 0 2', 'A c0 2 3'] };

  test('finds nothing where all came, also again and flagged', () => {
    const first = ['D p0 1 0 0', 'K p0 1 0', 'D p0 1 1 0'];
    const second = ['D p0 1 1 1', 'D p0 1 2 0', 'D p0 1 3 0', 'K p0 1 1'];

    expect(check({ ...sent, 'c0.2': first, 'c0.3': second })).toEqual([]);
  });

  test.each([
    ['a loss at the end', ['D p0 1 0 0', 'D p0 1 1 0'], /lost: of p0 1 c0 3 were accepted, 2 came/],
    ['a loss in the middle', ['D p0 1 0 0', 'D p0 1 2 0'], /out of order or lost/],
    ['another order', ['D p0 1 1 0', 'D p0 1 0 0', 'D p0 1 2 0'], /out of order/],
    [
      'a repeat without a flag',
      ['D p0 1 0 0', 'D p0 1 0 0', 'D p0 1 1 0', 'D p0 1 2 0'],
      /unflagged/,
    ],
    [
      'a repeat after the ack',
      ['D p0 1 0 0', 'K p0 1 0', 'D p0 1 0 1', 'D p0 1 1 0', 'D p0 1 2 0'],
      /after its ack/,
    ],
    ['a harmed body', ['X corrupt', 'D p0 1 0 0', 'D p0 1 1 0', 'D p0 1 2 0'], /corrupt/],
  ])('finds %s', (_, lines, expected) => {
    expect(check({ ...sent, 'c0.2': lines }).join('\n')).toMatch(expected);
  });
});
