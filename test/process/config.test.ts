import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type OptionKey, type OptionSpec, specOf } from '../../src/index.js';
import { root } from '../support/child.js';
import { cli, startCli } from '../support/cli.js';
import { openFabric, testDirectory, until } from '../support/fabric.js';
import { onTerminal } from '../support/terminal.js';

/** How an option is set: by nothing, by the environment, or by a file in the working directory. */
interface Way {
  env: Record<string, string>;
  cwd: string;
}

interface Proof {
  /** As the environment has it. */
  value: string;
  /** What differs once it is set. */
  look(way: Way, dir: string): Promise<unknown>;
  /** Left out where the look compares by itself. */
  usual?: unknown;
  changed: unknown;
}

const run = (way: Way, dir: string, ...words: string[]) => cli(words, { dir, ...way });

async function json(way: Way, dir: string, ...words: string[]): Promise<Record<string, unknown>> {
  const { stdout } = await run(way, dir, ...words, '--json');
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** A fabric in which alice writes to bob, who has room for 16 messages and takes none. */
async function withBob(dir: string, messages: number) {
  const fabric = await openFabric({ dir });
  const bob = await fabric.join('bob', { mailboxCells: 16 });
  const alice = await fabric.join('alice');
  await alice.sendBatch('bob', Array(messages).fill('x'));
  return { fabric, bob, alice };
}

async function healthOfBob(way: Way, dir: string, messages: number): Promise<unknown> {
  await withBob(dir, messages);
  return (await run(way, dir, 'health', 'bob')).code;
}

/** Starts a verb twice, with the option and without: the first ends, the other goes on waiting. */
async function endsFirst(way: Way, dir: string, words: string[]): Promise<unknown> {
  const set = startCli(words, { dir, input: '', ...way });
  const usual = startCli(words, { dir, input: '' });
  const { code } = await set.exited;
  return { code, usualWaits: usual.process.exitCode === null };
}

/** What a program prints that `cfc` starts, and so with its options. */
async function printed(way: Way, dir: string, body: string): Promise<string> {
  const script = `
    const { Fabric } = await import(process.argv[1]);
    const fabric = await Fabric.open('scripted', { create: true });
    const agent = await fabric.join('bob');
    ${body}
    await fabric.close();
    await Fabric.destroy('scripted');`;
  const entry = join(root, 'dist', 'index.js');
  const env = { XDG_STATE_HOME: join(dir, 'state'), ...way.env };
  const words = ['map', '--', process.execPath, '--input-type=module', '-e', script, entry];
  const { stdout } = await cli(words, { dir, cwd: way.cwd, env, input: 'one\n' });
  return (JSON.parse(stdout) as { stdout: string }).stdout.trim();
}

/** What is to be seen of eight checkpoints of an agent that `cfc` started. */
async function checkpointsOf<T>(
  way: Way,
  dir: string,
  look: (folder: string) => T,
): Promise<T | undefined> {
  const body =
    'let path; for (let n = 0; n < 8; n += 1) ({ path } = await agent.checkpoint({ n }));';
  return look(dirname(await printed(way, dir, `${body} console.log(path);`)));
}

interface PrintedRule {
  name: string;
  threshold: number;
  windowMs: number;
  cooldownMs: number;
}

/** What `cfc alerts rules` says of the rules that hold without a file. */
function ruleProof(
  look: (rule: PrintedRule) => number,
  usual: number,
  name = 'queue_depth_high',
): Proof {
  return {
    value: '17.5',
    look: async (way, dir) => {
      const { rules } = (await json(way, dir, 'alerts', 'rules')) as { rules: PrintedRule[] };
      return look(rules.find((rule) => rule.name === name) as PrintedRule);
    },
    usual,
    changed: 17.5,
  };
}

const thresholdOf = (name: string, usual: number): Proof =>
  ruleProof((rule) => rule.threshold, usual, name);

/** Lets an exporter write until its files look so. */
async function exported(
  way: Way,
  dir: string,
  look: (files: string[], away: number) => boolean,
  words: string[],
): Promise<boolean> {
  await withBob(dir, 1);
  const file = join(way.cwd, 'm.jsonl');
  const flags = ['metrics', 'export', '--out', file, '--interval', '10ms', ...words];
  const exporter = startCli(flags, { dir, ...way });
  const seen = new Set<number>();
  await until(() => {
    const files = readdirSync(way.cwd).filter((name) => name.startsWith('m.jsonl'));
    if (existsSync(file)) seen.add(statSync(file).ino);
    return look(files, seen.size - 1);
  });
  exporter.process.kill('SIGTERM');
  await exporter.exited;
  return true;
}

// One for each option, or this does not compile.
const proofs: Record<OptionKey, Proof> = {
  dir: {
    value: '/dev/shm/cfc-test-nowhere',
    look: async (way, dir) => {
      await openFabric({ dir });
      const { stderr } = await cli(['ps'], { dir, ...way, env: { CFC_DIR: '', ...way.env } });
      return stderr.includes('/dev/shm/cfc-test-nowhere');
    },
    usual: false,
    changed: true,
  },
  fabric: {
    value: 'elsewhere',
    look: async (way, dir) => {
      const { stderr } = await cli(['ps'], { dir, ...way, env: { CFC_FABRIC: '', ...way.env } });
      return /fabric (\w+)/.exec(stderr.split('no such fabric: ')[1] ?? '')?.[1];
    },
    usual: 'default',
    changed: 'elsewhere',
  },
  agent: {
    value: 'carol',
    look: async (way, dir) => {
      const { bob } = await withBob(dir, 0);
      await run(way, dir, 'send', 'bob', 'hello');
      return bob.tryReceive()?.from.replace(/\d+/, '');
    },
    usual: 'cli-',
    changed: 'carol',
  },
  config: {
    value: 'other.yaml',
    look: async (way, dir) => {
      writeFileSync(join(way.cwd, 'other.yaml'), 'profile: large\n', { mode: 0o600 });
      return (await json(way, dir, 'config', 'profile')).value;
    },
    usual: 'default',
    changed: 'large',
  },
  debug: {
    value: '1',
    look: async (way, dir) => / at .*\.js/.test((await run(way, dir, 'ps')).stderr),
    usual: false,
    changed: true,
  },
  noColor: {
    value: '1',
    // A terminal of its own, as text is dim there alone.
    look: async (way, dir) => {
      await openFabric({ dir });
      const { shown } = await onTerminal(['create'], { dir, ...way });
      return shown.includes('\u001b[2m');
    },
    usual: true,
    changed: false,
  },
  profile: {
    value: 'small',
    look: async (way, dir) => {
      const { sharedBytes } = await json(way, dir, 'create');
      return (sharedBytes as number) < 11_000_000;
    },
    usual: false,
    changed: true,
  },
  mailboxCells: {
    value: '32',
    look: async (way, dir) => {
      await run(way, dir, 'create');
      const fabric = await openFabric({ dir, create: false });
      const bob = await fabric.join('bob');
      return fabric.snapshot()[0]?.capacity === 32 + 16 && bob.count() === 0;
    },
    usual: false,
    changed: true,
  },
  'send.pace': {
    value: 'adaptive',
    look: async (way, dir) => {
      const body = `
    await fabric.join('slow', { mailboxCells: 8 });
    for (let n = 0; n < 6; n += 1) await agent.send('slow', n);
    const { counters } = fabric.snapshot().find(({ name }) => name === 'bob');
    console.log(counters['send.paced'] ?? 0);`;
      return Number(await printed(way, dir, body));
    },
    usual: 0,
    changed: 3,
  },
  'send.timeoutMs': {
    value: '50',
    look: async (way, dir) => {
      const { alice } = await withBob(dir, 0);
      while (alice.trySend('bob', 'filler'));
      return await endsFirst(way, dir, ['send', 'bob', 'one more']);
    },
    changed: { code: 5, usualWaits: true },
  },
  'ask.timeoutMs': {
    value: '50',
    look: async (way, dir) => {
      await withBob(dir, 0);
      return await endsFirst(way, dir, ['ask', 'bob', 'anybody there?']);
    },
    changed: { code: 4, usualWaits: true },
  },
  'wait.timeoutMs': {
    value: '50',
    look: async (way, dir) => {
      await withBob(dir, 0);
      return await endsFirst(way, dir, ['wait', 'bob', '--for', 'complete']);
    },
    changed: { code: 4, usualWaits: true },
  },
  'map.workers': {
    value: '3',
    look: async (way, dir) => {
      const words = ['map', '--summary', join(way.cwd, 'summary'), '--', 'true'];
      await cli(words, { dir, ...way, input: 'one\n' });
      const { agents } = JSON.parse(readFileSync(join(way.cwd, 'summary'), 'utf8'));
      return agents - 1 === 3;
    },
    usual: false,
    changed: true,
  },
  'map.retries': {
    value: '0',
    // The task kills its worker: each death is a try.
    look: async (way, dir) => {
      const log = join(way.cwd, 'log');
      const script = `echo >> ${log}; kill -9 $(cut -d' ' -f4 /proc/$$/stat)`;
      await cli(['map', '--workers', '1', '--', 'bash', '-c', script], {
        dir,
        ...way,
        input: 'one\n',
      });
      return readFileSync(log, 'utf8').length;
    },
    usual: 4,
    changed: 1,
  },
  'health.degradedDepth': {
    value: '3',
    look: (way, dir) => healthOfBob(way, dir, 4),
    usual: 0,
    changed: 2,
  },
  'health.degradedPct': {
    value: '10',
    look: (way, dir) => healthOfBob(way, dir, 4),
    usual: 0,
    changed: 2,
  },
  'health.staleMs': {
    value: '1',
    look: (way, dir) => healthOfBob(way, dir, 1),
    usual: 0,
    changed: 2,
  },
  'checkpoint.dir': {
    value: '/dev/shm/cfc-test-checkpoints',
    look: async (way, dir) => {
      onTestFinished(() =>
        rmSync('/dev/shm/cfc-test-checkpoints', { recursive: true, force: true }),
      );
      return await checkpointsOf(way, dir, (folder) =>
        folder.startsWith('/dev/shm/cfc-test-checkp'),
      );
    },
    usual: false,
    changed: true,
  },
  'checkpoint.keep': {
    value: '2',
    look: (way, dir) => checkpointsOf(way, dir, (folder) => readdirSync(folder).length),
    usual: 5,
    changed: 2,
  },
  'metrics.count': {
    value: 'off',
    look: async (way, dir) => {
      const body = "await agent.send('bob', 'x'); console.log(fabric.snapshot()[0].counters[name])";
      return await printed(way, dir, `const name = 'messages.sent'; ${body};`);
    },
    usual: '1',
    changed: '0',
  },
  'metrics.intervalMs': {
    value: '20',
    look: async (way, dir) => {
      await withBob(dir, 1);
      const [quick, usual] = [join(way.cwd, 'quick'), join(way.cwd, 'usual')];
      startCli(['metrics', 'export', '--out', quick], { dir, ...way });
      startCli(['metrics', 'export', '--out', usual], { dir });
      const samples = (file: string) =>
        existsSync(file) ? readFileSync(file, 'utf8').split('inbox.size').length : 0;
      await until(() => samples(quick) >= 6);
      return samples(usual) < samples(quick);
    },
    changed: true,
  },
  'pool.size': {
    value: '2',
    look: async (way, dir) => {
      const open = "const pool = fabric.pool({ command: ['sleep', '60'] });";
      const look = 'const { idle, starting } = pool.statistics(); console.log(idle + starting);';
      return await printed(way, dir, `${open} ${look} await pool.close();`);
    },
    usual: '20',
    changed: '2',
  },
  'stop.graceMs': {
    value: '100',
    look: async (way, dir) => {
      await openFabric({ dir });
      for (const name of ['set', 'usual']) {
        const deaf = ['bash', '-c', 'trap "" TERM; while :; do sleep 0.05; done'];
        const { code } = await run(way, dir, 'run', '--detach', '--name', name, '--', ...deaf);
        expect(code).toBe(0);
      }
      // Between SIGTERM and SIGKILL the other one waits.
      const usual = startCli(['stop', 'usual'], { dir });
      const set = await run(way, dir, 'stop', 'set');
      const usualWaits = usual.process.exitCode === null;
      await usual.exited;
      return { code: set.code, usualWaits };
    },
    changed: { code: 0, usualWaits: true },
  },
  'supervisor.drainMs': {
    value: '300',
    look: async (way, dir) => {
      const dirs = [dir, testDirectory()] as const;
      for (const each of dirs) {
        await openFabric({ dir: each });
        await cli(['run', '--detach', '--name', 'deaf', '--', 'sleep', '60'], { dir: each });
        await cli(['send', 'deaf', 'nobody reads this'], { dir: each });
      }
      const usual = startCli(['down'], { dir: dirs[1] });
      const { code } = await run(way, dir, 'down');
      const usualWaits = usual.process.exitCode === null;
      usual.process.kill('SIGKILL');
      await usual.exited;
      await cli(['stop', 'deaf', '--kill'], { dir: dirs[1] });
      return { code, usualWaits };
    },
    changed: { code: 8, usualWaits: true },
  },
  'metrics.rotateBytes': {
    value: '4000',
    look: (way, dir) =>
      exported(way, dir, (files) => files.some((name) => name.endsWith('.1')), []),
    changed: true,
  },
  'metrics.keepFiles': {
    value: '2',
    look: (way, dir) =>
      exported(
        way,
        dir,
        // The number of a file that was put away and is there no more.
        (files, away) => away >= 4 && files.filter((name) => /\.\d+$/.test(name)).length <= 2,
        ['--max-size', '2k'],
      ),
    changed: true,
  },
  'metrics.keepSeconds': {
    value: '60',
    look: async (way, dir) => {
      const old = join(way.cwd, 'm.jsonl.3');
      writeFileSync(old, '');
      utimesSync(old, Date.now() / 1000 - 3600, Date.now() / 1000 - 3600);
      return await exported(way, dir, () => !existsSync(old), []);
    },
    changed: true,
  },
  'metrics.port': {
    value: '0',
    look: async (way, dir) => {
      await openFabric({ dir });
      const server = startCli(['metrics', 'serve', '--no-token'], { dir, ...way });
      await until(() => /serving|cfc:/.test(server.stderr));
      const port = /serving http:\/\/[^:]+:(\d+)/.exec(server.stderr)?.[1];
      server.process.kill('SIGTERM');
      await server.exited;
      return port !== undefined && port !== '9464';
    },
    changed: true,
  },
  'alerts.coordinationTimeMs': thresholdOf('coordination_time_exceeded', 10_000),
  'alerts.deliveryRatePct': thresholdOf('delivery_rate_low', 90),
  'alerts.memoryGrowthPct': thresholdOf('memory_growth_high', 10),
  'alerts.fdGrowth': thresholdOf('fd_growth_high', 100),
  'alerts.errorRatePct': thresholdOf('error_rate_high', 5),
  'alerts.queueDepth': thresholdOf('queue_depth_high', 1000),
  'alerts.windowSeconds': { ...ruleProof((rule) => rule.windowMs, 300_000), changed: 17_500 },
  'alerts.cooldownSeconds': { ...ruleProof((rule) => rule.cooldownMs, 300_000), changed: 17_500 },
  'alerts.checkSeconds': {
    value: '0.25',
    look: async (way, dir) => {
      await openFabric({ dir });
      const state = join(way.cwd, 'state');
      const watch = startCli(['alerts', 'watch', '--quiet', '--state', state], { dir, ...way });
      const seen = async () =>
        (await json(way, dir, 'alerts', 'list', '--state', state)).watch as { state: string };
      let told = await seen();
      while (told.state === 'never') told = await seen();
      watch.process.kill('SIGTERM');
      await watch.exited;
      return (told as { intervalMs?: number }).intervalMs;
    },
    usual: 30_000,
    changed: 250,
  },
};

describe.each(Object.entries(proofs) as [OptionKey, Proof][])('%s', (key, proof) => {
  const spec: OptionSpec = specOf(key);
  const text = spec.kind === 'flag' ? 'true' : proof.value;
  const [first, second] = key.split('.') as [string, string?];
  const file = second === undefined ? `${first}: ${text}\n` : `${first}: {${second}: ${text}}\n`;

  const ways: { by: string; env?: Record<string, string>; text?: string; expected: unknown }[] = [
    { by: 'the environment', env: { [spec.env]: proof.value }, expected: proof.changed },
  ];
  if ('usual' in proof) ways.push({ by: 'nothing', expected: proof.usual });
  if (!spec.envOnly) ways.push({ by: 'a file', text: file, expected: proof.changed });

  test.each(ways)('is read where $by sets it', async ({ env = {}, text: written, expected }) => {
    const dir = testDirectory();
    const cwd = testDirectory();
    if (written !== undefined) writeFileSync(join(cwd, 'cfc.yaml'), written, { mode: 0o600 });

    expect(await proof.look({ env, cwd }, dir)).toEqual(expected);
  });
});

describe('cfc config', () => {
  test('prints each option with its value and where it comes from', async () => {
    const dir = testDirectory();
    const cwd = testDirectory();
    writeFileSync(join(cwd, 'cfc.yaml'), 'profile: small\n', { mode: 0o600 });
    const { code, stdout } = await cli(['config'], { dir, cwd });
    const lines = stdout.split('\n').map((line) => line.split(/ {2,}/));

    expect(code).toBe(0);
    expect(lines[0]).toEqual(['OPTION', 'VALUE', 'FROM']);
    expect(lines).toContainEqual(['profile', 'small', 'cfc.yaml:1']);
    expect(lines).toContainEqual(['fabric', 'test', 'CFC_FABRIC']);
    expect(lines).toContainEqual(['map.retries', '3 deaths', 'default']);
  });

  test('prints one, by its key or its variable, and suggests where there is none', async () => {
    const dir = testDirectory();

    expect((await cli(['config', 'map.retries'], { dir })).stdout).toBe('3\n');
    expect((await cli(['config', 'CFC_MAP_RETRIES'], { dir })).stdout).toBe('3\n');
    const { code, stderr } = await cli(['config', 'map.retrys'], { dir });
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean map.retries?');
  });

  test('names variables that are no options', async () => {
    const dir = testDirectory();
    const env = { CFC_FABRIK: 'x', CFC_TICKET: '17' };
    const { code, stderr } = await cli(['config'], { dir, env });

    expect(code).toBe(0);
    expect(stderr).toContain('CFC_FABRIK is no option; did you mean CFC_FABRIC?');
    expect(stderr).toContain('CFC_TICKET is no option');
    expect((await cli(['config', 'fabric'], { dir, env })).stderr).not.toContain('CFC_TICKET');
  });

  test('has a schema that takes what the command takes', async () => {
    const dir = testDirectory();
    const env = { CFC_PROFILE: 'nonsense' }; // the schema is there to mend it
    const { stdout } = await cli(['config', '--schema'], { dir, env });
    const schema = JSON.parse(stdout);

    expect(schema.properties.profile.enum).toEqual(['small', 'default', 'large']);
    expect(schema.properties.send.properties.timeoutMs).toMatchObject({
      type: 'integer',
      default: 30_000,
      minimum: 0,
    });
    expect(schema.additionalProperties).toBe(false);
  });
});

describe('A configuration that is not valid', () => {
  test('ends every verb before it does anything, and help works', async () => {
    const dir = testDirectory();
    const cwd = testDirectory();
    writeFileSync(join(cwd, 'cfc.yaml'), 'fabrik: review\nmap: 3\n', { mode: 0o600 });
    const { code, stdout, stderr } = await cli(['create'], { dir, cwd });

    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr.split('\n').slice(0, 2)).toEqual([
      `cfc: ${cwd}/cfc.yaml:1:1: a configuration has no fabrik; did you mean fabric?`,
      `cfc: ${cwd}/cfc.yaml:2:6: map is a mapping, not 3 (ERR_CFC_CONFIG_INVALID)`,
    ]);
    expect((await cli(['health'], { dir, cwd })).code).toBe(64);
    expect((await cli(['health', '--fabric', '../x'], { dir })).code).toBe(64);
    expect((await cli(['create', '--help'], { dir, cwd })).code).toBe(0);
  });
});

describe('Reading options', () => {
  test('loads neither zod nor yaml where no file says anything', async () => {
    const dir = testDirectory();
    const { stderr, code } = await cli(['config', 'fabric'], {
      dir,
      cwd: testDirectory(),
      env: { NODE_DEBUG: 'module', HOME: dir, CFC_SEND_TIMEOUT_MS: '7' },
    });

    expect(code).toBe(0);
    expect(stderr).toContain('commander');
    expect(stderr).not.toMatch(/node_modules\/(zod|yaml)\//);
  });
});
