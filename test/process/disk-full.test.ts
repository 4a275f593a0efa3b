import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { root } from '../support/child.js';

// A limit of the process stands for a disk that is full in the middle of a text: either makes a
// write shorter than what was to be written, and only the next one fails.
test('what alerts remember is replaced whole, or stays as it was', () => {
  const dir = mkdtempSync(join(tmpdir(), 'cfc-full-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, 'state.json');
  const script = `
    import { replaceFile } from ${JSON.stringify(join(root, 'dist', 'alerts', 'files.js'))};
    replaceFile(${JSON.stringify(path)}, 'old');
    try {
      replaceFile(${JSON.stringify(path)}, 'x'.repeat(100_000));
      console.log('replaced');
    } catch (error) {
      console.log(error.code);
    }`;
  const words = ['--fsize=4096', process.execPath, '--input-type=module', '-e', script];

  expect(execFileSync('prlimit', words, { encoding: 'utf8' })).toBe('EFBIG\n');
  expect(readFileSync(path, 'utf8')).toBe('old');
  expect(readdirSync(dir)).toEqual(['state.json']);
});
