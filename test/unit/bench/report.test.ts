import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { updateSection } from '../../../bench/lib/report.js';
import { root } from '../../support/child.js';
import { testDirectory } from '../../support/fabric.js';

describe('updateSection', () => {
  test('replaces what stands between the marks of docs/performance.md, and nothing else', () => {
    const before = readFileSync(join(root, 'docs/performance.md'), 'utf8');
    const copy = join(testDirectory(), 'performance.md');
    writeFileSync(copy, before);
    updateSection(copy, 'bench', '| a table |');
    updateSection(copy, 'bench', '| another table |');
    updateSection(copy, 'fabric', '| of trees |');

    const after = readFileSync(copy, 'utf8');
    const outside = (text: string) =>
      text
        .replace(/(<!-- bench:begin)[\s\S]*(<!-- bench:end)/, '$1$2')
        .replace(/(<!-- fabric:begin)[\s\S]*(<!-- fabric:end)/, '$1$2');
    expect(after).toContain('| another table |');
    expect(after).toContain('| of trees |');
    expect(after).not.toContain('| a table |');
    expect(outside(after)).toBe(outside(before));
  });

  test('refuses a file without marks', () => {
    const file = join(testDirectory(), 'plain.md');
    writeFileSync(file, '# Plain\n');
    expect(() => updateSection(file, 'bench', '')).toThrow('no section');
  });
});
