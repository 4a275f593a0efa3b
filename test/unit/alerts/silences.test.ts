import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { SilenceFiles } from '../../../src/alerts/silences.js';

function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cfc-silences-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, 'silences');
}

const silence = { alert: 'load_high', labels: {}, comment: '' };

test('Silences are read oldest first, until they are over or ended; then their files go', () => {
  const directory = temporary();
  const silences = new SilenceFiles(directory);
  expect(silences.read(0)).toEqual([]);
  const later = silences.add({ ...silence, fromMs: 20, untilMs: 100 });
  const sooner = silences.add({ ...silence, fromMs: 10, untilMs: 200 });

  expect(silences.read(50)).toEqual([sooner, later]);
  expect(silences.read(150)).toEqual([sooner]);
  expect(readdirSync(directory)).toHaveLength(1);
  expect(silences.end(sooner.id, 150)).toBe(true);
  expect(silences.end(sooner.id, 150)).toBe(false);
  expect(readdirSync(directory)).toEqual([]);
});

test('Silences of two who knew nothing of each other all hold', () => {
  const directory = temporary();
  const [one, two] = [new SilenceFiles(directory), new SilenceFiles(directory)];
  const before = one.add({ ...silence, fromMs: 0, untilMs: 100 });
  two.read(1);
  one.add({ ...silence, alert: 'one', fromMs: 1, untilMs: 100 });
  two.add({ ...silence, alert: 'two', fromMs: 2, untilMs: 100 });
  one.end(before.id, 3);

  expect(two.read(3).map(({ alert }) => alert)).toEqual(['one', 'two']);
});

test('A silence that is damaged is put aside and told of, and the others hold', () => {
  const directory = temporary();
  const told: string[] = [];
  const silences = new SilenceFiles(directory, (line) => told.push(line));
  silences.add({ ...silence, fromMs: 0, untilMs: 100 });
  writeFileSync(join(directory, 'abc.json'), '{"v":');

  expect(silences.read(1)).toHaveLength(1);
  expect(silences.read(1)).toHaveLength(1);
  expect(told).toEqual([expect.stringContaining('abc.json is damaged')]);
});

test('What is no name of a silence ends none, and touches no file', () => {
  const directory = temporary();
  const silences = new SilenceFiles(directory);
  silences.add({ ...silence, fromMs: 0, untilMs: 100 });
  const outside = join(directory, '..', 'state.json');
  writeFileSync(outside, '{}');

  expect(silences.end('../state', 1)).toBe(false);
  expect(silences.read(1)).toHaveLength(1);
});
