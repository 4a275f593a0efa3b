import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { root } from '../support/child.js';

describe('A campaign', () => {
  for (const [script, begins] of [
    ['scripts/exporter.mjs', 'Kills an exporter'],
    ['scripts/faults.mjs', 'Prints the table of faults'],
    ['scripts/takeovers.mjs', 'Kills supervisors'],
    ['scripts/torture.mjs', 'Kills and stops'],
    ['bench/run.ts', 'Runs the benches'],
  ] as const) {
    test(`${script} says what it does and takes, and what of it is unknown`, () => {
      const run = (option: string) =>
        spawnSync(process.execPath, ['--import', 'tsx', script, option], {
          cwd: root,
          encoding: 'utf8',
        });

      const help = run('--help');
      expect(help.stdout.startsWith(begins)).toBe(true);
      expect(help.stdout).toContain('npm run ');
      expect(help.status).toBe(0);

      const wrong = run('--bogus');
      expect(wrong.stderr).toContain("Unknown option '--bogus'");
      expect(wrong.stderr).toContain(begins);
      expect(wrong.stdout).toBe('');
      expect(wrong.status).toBe(2);
    });
  }
});
