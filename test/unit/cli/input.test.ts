import { describe, expect, test } from 'vitest';
import { parseJsonLine, readLines } from '../../../src/cli/input.js';
import { Outcome } from '../../../src/cli/outcome.js';

async function linesOf(pieces: string[], separator?: number): Promise<string[]> {
  async function* input() {
    for (const piece of pieces) yield await Promise.resolve(Buffer.from(piece));
  }
  const lines: string[] = [];
  for await (const line of readLines(input(), separator)) lines.push(line.toString());
  return lines;
}

describe('readLines', () => {
  test('finds lines wherever the pieces are cut', async () => {
    const text = 'one\n\ntwo three\nfour';
    const expected = ['one', '', 'two three', 'four'];
    for (let size = 1; size <= text.length; size += 1) {
      const pieces = text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [];
      expect(await linesOf(pieces)).toEqual(expected);
    }
  });

  test('makes no line of a newline at the end, nor of nothing', async () => {
    expect(await linesOf(['a\n'])).toEqual(['a']);
    expect(await linesOf([])).toEqual([]);
    expect(await linesOf(['\n'])).toEqual(['']);
  });

  test('splits at another byte', async () => {
    expect(await linesOf(['a\nb\0c'], 0)).toEqual(['a\nb', 'c']);
  });

  test('reads no further than it is asked to', async () => {
    let read = 0;
    async function* input() {
      for (;;) {
        read += 1;
        yield await Promise.resolve(Buffer.from('x\n'));
      }
    }
    const lines = readLines(input());
    await lines.next();
    await lines.next();
    expect(read).toBe(2);
  });
});

test('parseJsonLine names the line that is no JSON', () => {
  expect(parseJsonLine(Buffer.from('{"a":[1]}'), 1)).toEqual({ a: [1] });
  for (const line of ['{', '', '\u00ff{']) {
    expect(() => parseJsonLine(Buffer.from(line, 'latin1'), 7)).toThrow(Outcome);
  }
  expect(() => parseJsonLine(Buffer.from('nope'), 7)).toThrow('line 7');
});
