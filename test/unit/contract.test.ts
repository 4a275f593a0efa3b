import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import * as core from '../../src/core/index.js';
import { native } from '../../src/core/native.js';
import { errorOf } from '../../src/core/status.js';
import { describeError, errorCodes } from '../../src/errors.js';
import * as main from '../../src/index.js';
import { root } from '../support/child.js';

const read = (...path: string[]) => readFileSync(join(root, ...path), 'utf8');

/** Rows of the table of docs/errors.md: code, meaning, what to do. */
function documented(): Map<string, { meaning: string; remedy: string }> {
  const rows = new Map<string, { meaning: string; remedy: string }>();
  for (const line of read('docs', 'errors.md').split('\n')) {
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
    const code = /^`(ERR_CFC_\w+)`$/.exec(cells[1] ?? '')?.[1];
    if (code === undefined) continue;
    expect(rows.has(code), `${code} stands twice`).toBe(false);
    rows.set(code, { meaning: cells[2] ?? '', remedy: cells[3] ?? '' });
  }
  return rows;
}

describe('docs/errors.md', () => {
  test('has a row for each code, and no other', () => {
    expect([...documented().keys()].sort()).toEqual([...errorCodes].sort());
  });

  test('says what each means and what to do', () => {
    for (const [code, { meaning, remedy }] of documented()) {
      expect(meaning, code).toMatch(/\w{3,}/);
      expect(remedy, code).toMatch(/\w{3,}/);
    }
  });
});

describe('The catalogue of errors', () => {
  test('has a code for each status of the core that is no outcome', () => {
    const outcomes = new Set(['kOk', 'kEmpty', 'kAlreadyAcked']);
    for (const [name, status] of Object.entries(native.statuses)) {
      if (outcomes.has(name) || name === 'kSystem') continue;
      expect(errorOf(status).code, name).not.toBe('ERR_CFC_SYSTEM');
    }
  });

  test('names in its hints only what there is', () => {
    const options = read('src', 'fabric.ts');
    for (const code of errorCodes) {
      for (const [, option] of describeError(code).hint.matchAll(
        /\b((?:max|slab|mail|sender)[A-Z]\w+)/g,
      )) {
        expect(options, `${code}: ${option}`).toContain(`${option}?:`);
      }
    }
  });
});

describe('The entries of the package', () => {
  test('exist as package.json names them, once built', () => {
    const { exports } = JSON.parse(read('package.json')) as {
      exports: Record<string, string | { types: string; default: string }>;
    };
    for (const entry of Object.values(exports)) {
      if (typeof entry === 'string') continue;
      expect(existsSync(join(root, entry.default)), entry.default).toBe(true);
      expect(existsSync(join(root, entry.types)), entry.types).toBe(true);
    }
  });

  test('give what they promise', () => {
    expect(Object.keys(main)).toEqual(
      expect.arrayContaining(['CfcError', 'Fabric', 'agentStates', 'describeError', 'errorCodes']),
    );
    expect(Object.keys(core)).toEqual(
      expect.arrayContaining(['CfcError', 'Counters', 'Mailbox', 'Message', 'Region']),
    );
  });

  test('have one version in all places', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };

    expect(native.constants.version).toBe(version);
  });
});
