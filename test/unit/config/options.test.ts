import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { option } from '../../../src/config/environment.js';
import { closestOption, type OptionSpec, optionKeys, specOf } from '../../../src/config/options.js';
import { configSchema } from '../../../src/config/schema.js';
import { root } from '../../support/child.js';
import { failureOf } from '../../support/fabric.js';

const specs = optionKeys.map((key) => [key, specOf(key) as OptionSpec] as const);
const inFiles = specs.filter(([, { envOnly }]) => !envOnly);

describe('The table of options', () => {
  test('names each variable once, after its key unless the origin named it', () => {
    const variables = specs.map(([, { env }]) => env);
    expect(new Set(variables).size).toBe(variables.length);
    for (const [key, { env }] of specs) {
      if (/^(ALERT_\w+|CHECK_INTERVAL|CFC_METRICS|NO_COLOR)$/.test(env)) continue;
      const words = key.replace(/[A-Z]/g, (letter) => `_${letter}`).replace('.', '_');
      expect(env).toBe(`CFC_${words.toUpperCase()}`);
    }
  });

  test.each(specs)('has a default for %s that is a value of it', (key, spec) => {
    expect(spec.default === null).toBe(spec.otherwise !== undefined);
    if (spec.default === null || spec.default === false) return;
    expect(option(key, { [spec.env]: String(spec.default) })).toBe(spec.default);
  });

  test.each(specs)('has a row in docs/config.md for %s', (key, spec) => {
    const usual = spec.default === null ? spec.otherwise : String(spec.default);
    const unit = spec.unit === undefined ? '' : ` ${spec.unit}`;
    const row = `| \`${key}\` | \`${spec.env}\` | ${usual}${unit} | ${spec.doc} | ${spec.reader} |`;

    expect(readFileSync(join(root, 'docs', 'config.md'), 'utf8')).toContain(row);
  });

  test('has every row of docs/config.md', () => {
    const text = readFileSync(join(root, 'docs', 'config.md'), 'utf8');
    const rows = [...text.matchAll(/^\| `([\w.]+)` \| `[A-Z_]+` \|/gm)].map(([, key]) => key);

    expect(rows.toSorted()).toEqual([...optionKeys].toSorted());
  });

  test.each(optionKeys)('has somebody outside of it who reads %s', (key) => {
    const readers = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.startsWith('config/'))
      .filter((path) => {
        const text = readFileSync(join(root, 'src', path), 'utf8');
        return ['option(', 'specOf(', 'thresholdOption: '].some((who) =>
          text.includes(`${who}'${key}'`),
        );
      });

    const readByCore = key === 'dir' || key === 'config'; // region.cc; load.ts itself
    expect(readers.length > 0 || readByCore, key).toBe(true);
  });
});

describe('option', () => {
  test.each([
    [{}, 30_000],
    [{ CFC_SEND_TIMEOUT_MS: '' }, 30_000],
    [{ CFC_SEND_TIMEOUT_MS: '0' }, 0],
    [{ CFC_SEND_TIMEOUT_MS: '250' }, 250],
  ])('reads %j', (env, expected) => {
    expect(option('send.timeoutMs', env)).toBe(expected);
  });

  test.each([
    ['send.timeoutMs', '30s', 'CFC_SEND_TIMEOUT_MS is a whole number, not "30s"'],
    ['send.timeoutMs', '1.5', 'CFC_SEND_TIMEOUT_MS is a whole number, not "1.5"'],
    ['send.timeoutMs', '-1', 'CFC_SEND_TIMEOUT_MS is at least 0, not -1'],
    ['map.retries', '14', 'CFC_MAP_RETRIES is at most 13, not 14'],
    ['profile', 'big', 'CFC_PROFILE is one of small, default, large, not "big"'],
    [
      'fabric',
      '../x',
      'CFC_FABRIC is up to 64 of A-Z a-z 0-9 _ -, the first a letter or digit, not "../x"',
    ],
  ] as const)('of %s refuses %s', async (key, text, message) => {
    const error = await failureOf(() => option(key, { [specOf(key).env]: text }));

    expect(error.code).toBe('ERR_CFC_CONFIG_INVALID');
    expect(error.details.problems).toEqual([
      { file: '', line: 0, column: 0, path: specOf(key).env, message },
    ]);
  });

  test('takes from the environment what the schema takes from a file, and nothing else', () => {
    const text = fc.oneof(
      fc.integer({ min: -10, max: 100_000_000 }).map(String),
      fc
        .double({ min: -10, max: 200, noNaN: true, noDefaultInfinity: true })
        .map((x) => x.toFixed(2)),
      fc.constantFrom('small', 'default', 'large', 'x', 'a b', '-a', 'A_1', '../x', '1e3', ' '),
    );
    const valued = inFiles.filter(([, { kind }]) => kind !== 'flag');
    fc.assert(
      fc.property(fc.constantFrom(...valued), text, ([key, spec], written) => {
        let taken: unknown;
        try {
          taken = option(key, { [spec.env]: written });
        } catch {
          taken = undefined;
        }
        const plain = /^-?\d+(\.\d+)?$/.test(written);
        if (spec.kind !== 'text' && !plain) {
          expect(taken).toBeUndefined();
          return;
        }
        const value = spec.kind === 'text' ? written : Number(written);
        const [first, second] = key.split('.') as [string, string?];
        const file = { [first]: second === undefined ? value : { [second]: value } };
        expect(taken !== undefined).toBe(configSchema().safeParse(file).success);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('closestOption', () => {
  test.each([
    ['send.timeotMs', 'send.timeoutMs'],
    ['fabrik', 'fabric'],
    ['CFC_PROFIL', 'profile'],
    ['something else', undefined],
  ])('finds for %s', (text, key) => {
    expect(closestOption(text)).toBe(key);
  });
});
