import { describe, expect, test } from 'vitest';
import { parseCount, parseDuration, parseName, parseQuorum } from '../../../src/cli/options.js';

const refusal = expect.objectContaining({ code: 'commander.invalidArgument' });

describe('parseDuration', () => {
  test('knows ms, s, m and h, and takes a bare number for seconds', () => {
    expect(['250ms', '5s', '1.5s', '2m', '1h', '3', '0'].map(parseDuration)).toEqual([
      250, 5000, 1500, 120_000, 3_600_000, 3000, 0,
    ]);
  });

  test('refuses anything else', () => {
    for (const text of ['', 'soon', '-1s', '5 days', '1e3', 's']) {
      expect(() => parseDuration(text)).toThrow(refusal);
    }
  });
});

test('parseCount takes whole numbers within its limits only', () => {
  const parse = parseCount(1, 10);
  expect([parse('1'), parse('10')]).toEqual([1, 10]);
  for (const text of ['0', '11', '1.5', '-1', 'x', '']) {
    expect(() => parse(text)).toThrow(refusal);
  }
});

test('parseName takes what fabrics and agents may be called', () => {
  for (const name of ['a', 'worker-A-1', '7_x', 'a'.repeat(64)]) expect(parseName(name)).toBe(name);
  for (const name of ['', '-a', 'a b', '../a', 'ä', 'a'.repeat(65)]) {
    expect(() => parseName(name)).toThrow(refusal);
  }
});

test('parseQuorum takes a number of answers, or a share', () => {
  expect(['1', '12', '90%', '100%', '0.9', '.5', '1.0'].map(parseQuorum)).toEqual([
    { count: 1 },
    { count: 12 },
    0.9,
    1,
    0.9,
    0.5,
    1,
  ]);
  for (const text of ['0', '0%', '101%', '1.5', '-1', 'all', '', '0.0', '%', '01']) {
    expect(() => parseQuorum(text), text).toThrow(refusal);
  }
});
