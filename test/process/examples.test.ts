import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root } from '../support/child.js';
import { leftOf, nothing } from '../support/cli.js';
import { testDirectory } from '../support/fabric.js';

/** Runs an example to its end. */
function run(dir: string, program: string, file: string) {
  const env = { ...process.env, CFC_DIR: dir, CFC_AGENT: '', NODE_OPTIONS: '', NO_COLOR: '1' };
  const words = [join(root, 'examples', file)];
  return spawnSync(program, words, { cwd: root, env, encoding: 'utf8', input: '' });
}

describe('The code-review team', () => {
  test('of TypeScript finds what is wrong, and leaves nothing', () => {
    const dir = testDirectory();
    const tsx = join(root, 'node_modules', '.bin', 'tsx');
    const { status, stdout, stderr } = run(dir, tsx, 'code-review.ts');

    expect(stderr).toBe('');
    expect(stdout).toContain('6 reviews');
    expect(status).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('of shell scripts finds what is wrong, and leaves nothing', () => {
    const dir = testDirectory();
    const { status, stdout, stderr } = run(dir, 'bash', 'code-review.sh');

    expect(stderr).toBe('');
    expect(stdout).toContain('broken.js: fails (tester)');
    expect(stdout).toContain('21 messages, each accepted and acked');
    expect(status).toBe(0);
    expect(leftOf(dir)).toEqual(nothing);
  });
});
