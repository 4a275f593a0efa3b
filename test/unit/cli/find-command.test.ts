import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { findCommand } from '../../../src/cli/find-command.js';
import { Outcome } from '../../../src/cli/outcome.js';
import { testDirectory } from '../../support/fabric.js';

function program(folder: string, name: string, mode = 0o755): string {
  const file = join(folder, name);
  writeFileSync(file, '#!/bin/sh\n');
  chmodSync(file, mode);
  return file;
}

test('the first program of that name in PATH is it; folders and plain files are passed over', () => {
  const dir = testDirectory();
  const [first, second] = ['first', 'second'].map((name) => join(dir, name)) as [string, string];
  mkdirSync(first);
  mkdirSync(second);
  mkdirSync(join(first, 'tool'));
  program(first, 'other', 0o644);
  const tool = program(second, 'tool');
  const other = program(second, 'other');
  vi.stubEnv('PATH', `/nowhere:${first}:${second}`);

  expect(findCommand('tool')).toBe(tool);
  expect(findCommand('other')).toBe(other);
});

test('a name with a slash is a file, made absolute', () => {
  const file = program(testDirectory(), 'tool');
  expect(findCommand(file)).toBe(file);
  expect(findCommand(`./${file.replace(/^\//, '../'.repeat(20))}`)).toBe(file);
});

test('what is not there is a usage error', () => {
  expect(() => findCommand('no-such-command-here')).toThrow(Outcome);
  expect(() => findCommand('./no-such-file')).toThrow('no executable file');
});
