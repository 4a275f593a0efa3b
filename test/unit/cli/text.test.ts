import { describe, expect, test } from 'vitest';
import {
  decodeText,
  escapeJson,
  stripLine,
  stripText,
  table,
  textOrBase64,
} from '../../../src/cli/text.js';

const ESC = '\u001b';

/** Control characters but tab and newline, and bidi overrides. */
function dangersIn(text: string): number[] {
  return [...text]
    .map((character) => character.codePointAt(0) as number)
    .filter(
      (code) =>
        (code < 32 && code !== 9 && code !== 10) ||
        (code >= 0x7f && code <= 0x9f) ||
        (code >= 0x202a && code <= 0x202e),
    );
}

describe('stripText', () => {
  test('takes whole escape sequences away, not only their first byte', () => {
    expect(stripText(`a${ESC}[31mb${ESC}[0mc`)).toBe('abc');
    expect(stripText(`a${ESC}]0;title\u0007b`)).toBe('ab');
    expect(stripText(`a${ESC}]8;;http://x${ESC}\\link${ESC}]8;;${ESC}\\b`)).toBe('alinkb');
    expect(stripText(`a${ESC}P1;2|data${ESC}\\b`)).toBe('ab');
    expect(stripText(`a${ESC}(Bb${ESC}cd`)).toBe('abd');
    expect(stripText('a\u009b31mb\u009d0;t\u009cc')).toBe('abc');
  });

  test('takes control characters and bidi overrides away, and keeps tabs and newlines', () => {
    expect(stripText('a\u0000\u0007\b\r\u007f\u0085b\tc\n')).toBe('ab\tc\n');
    expect(stripText('user\u202egnp.exe\u202c\u2066x\u2069\u200f')).toBe('usergnp.exex');
  });

  test('leaves other text alone', () => {
    expect(stripText('grüße — 你好 👋🏽 [31m')).toBe('grüße — 你好 👋🏽 [31m');
  });

  test('lets nothing dangerous through, whatever comes', () => {
    const pieces = [
      ESC,
      '[',
      ']',
      '0',
      ';',
      'm',
      '\u0007',
      '\\',
      '\u009b',
      '\u009d',
      'P',
      '\u202e',
      'x',
      '\n',
    ];
    let seed = 1;
    const next = (most: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % most;
    };
    for (let round = 0; round < 5000; round += 1) {
      const text = Array.from({ length: 1 + next(12) }, () => pieces[next(pieces.length)]).join('');
      expect(dangersIn(stripText(text))).toEqual([]);
    }
  });
});

test('stripLine leaves a single line', () => {
  expect(stripLine('a\nb\t c')).toBe('a b  c');
});

test('escapeJson means the same and holds nothing that a terminal acts on', () => {
  const value = { text: `${ESC}[31m\u009b31m\u202e\u007f ü` };
  const escaped = escapeJson(JSON.stringify(value));
  expect(dangersIn(escaped)).toEqual([]);
  expect(escaped).toContain('ü');
  expect(JSON.parse(escaped)).toEqual(value);
});

test('decodeText tells text from other bytes, and keeps a byte order mark', () => {
  expect(decodeText(new Uint8Array([0xc3, 0xbc]))).toBe('ü');
  expect(decodeText(new Uint8Array([0xc3]))).toBeUndefined();
  expect(decodeText(new Uint8Array([0xef, 0xbb, 0xbf, 0x61]))).toBe('\ufeffa');
});

test('textOrBase64 says which one it is', () => {
  expect(textOrBase64('stdout', Buffer.from('hi'))).toEqual({ stdout: 'hi' });
  expect(textOrBase64('stdout', new Uint8Array([255]))).toEqual({ stdoutBase64: '/w==' });
});

test('table puts its columns under their heads', () => {
  expect(
    table(
      ['NAME', 'N'],
      [
        ['worker-1', '7'],
        ['b', '12'],
      ],
    ),
  ).toBe('NAME      N\nworker-1  7\nb         12\n');
});
