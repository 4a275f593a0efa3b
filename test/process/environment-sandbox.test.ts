import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root, startChild } from '../support/child.js';
import { compiled, needs } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { testDirectory } from '../support/fabric.js';

// What the exchange, the deaths of peers and `cfc map` need, run once more where the kernel refuses
// pidfds, futex_waitv and unnamed files.
const suites = ['exchange', 'crash', 'map', 'map-death'].map(
  (name) => `test/process/${name}.test.ts`,
);

describe.each(['EPERM', 'ENOSYS'])('Where the kernel says %s to what is new', (errno) => {
  const denied = () => [compiled('deny'), errno];

  test('files are made under a temporary name, and nobody sees one that is half made', async (context) => {
    needs(context, [...denied(), 'true']);
    const evidence = evidenceOf('F27');
    const dir = testDirectory();
    const report = join(dir, 'strace.txt');
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const { readdirSync } = process.getBuiltinModule('node:fs');
        const fabric = await cfc.Fabric.open('test', { dir, create: true, profile: 'small' });
        const agent = await fabric.join('agent');
        await fabric.join('other', { mailboxCells: 512 });
        await agent.send('agent', 'x'.repeat(5000));
        const message = await agent.receive();
        say({ length: message?.text().length, files: readdirSync(`${dir}/test`) });
        await fabric.close();
      },
      {
        dir,
        wrapper: [
          'strace',
          '-f',
          '-qq',
          '-o',
          report,
          '-e',
          'trace=openat,link,linkat',
          ...denied(),
        ],
      },
    );

    const { length, files } = await child.heard<{ length: number; files: string[] }>();
    expect(length, child.stderr).toBe(5000);
    expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
    expect(files.filter((name) => name.startsWith('.'))).toEqual([]);
    const calls = readFileSync(report, 'utf8').split('\n');
    const refused = calls.filter((line) => line.includes('O_TMPFILE') && line.includes(errno));
    const linked = calls.filter((line) => /linkat\(.*"\.tmp-/.test(line) && line.endsWith('= 0'));
    evidence.injected += refused.length;
    evidence.hit += linked.length;
    // metrics, control, two segments of mailboxes, one of chunks
    expect(linked).toHaveLength(5);
    expect(refused.length).toBeGreaterThanOrEqual(linked.length);
  });

  test('the suites of exchange, death and map pass as everywhere', (context) => {
    needs(context, [...denied(), 'true']);
    const evidence = evidenceOf('F27');
    const [command, ...rest] = denied();
    const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
    const args = [...rest, process.execPath, vitest, 'run', '--reporter=json', ...suites];
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(VITEST|CFC_|NODE_V8)/.test(name)),
    );
    const { status, stdout, stderr } = spawnSync(command as string, args, {
      cwd: root,
      env,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    });

    const report = JSON.parse(stdout.slice(stdout.indexOf('{')));
    expect(report.numFailedTests, stderr).toBe(0);
    expect(status).toBe(0);
    expect(report.numPassedTests).toBeGreaterThan(20);
    evidence.met(report.numPassedTests);
  }, 240_000);
});
