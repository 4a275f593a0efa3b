import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startChild } from '../support/child.js';
import { type Cli, cli, startCli } from '../support/cli.js';
import { openFabric, sleep, testDirectory, until } from '../support/fabric.js';
import {
  debianProgram,
  freePort,
  receiver,
  startServer,
  temporaryDirectory,
} from '../support/prometheus.js';

/** Thresholds that a test reaches in moments; what it does is real. */
const thresholds = {
  ALERT_COORDINATION_TIME_MS: '200',
  ALERT_QUEUE_DEPTH: '10',
  ALERT_WINDOW_SECONDS: '4',
};
// Processes of a test live for seconds: their first minute counts here.
const rules = `rules:
  - {name: memory_growth_high, settle: 0, where: {agent: leaky}, threshold: 40}
  - {name: fd_growth_high, settle: 0}
`;

async function watched(words: string[] = [], dir = testDirectory()) {
  const state = temporaryDirectory();
  const fabric = await openFabric({ dir });
  const env = { ...thresholds, CFC_STATE_DIR: join(state, 'state') };
  const file = join(state, 'rules.yaml');
  writeFileSync(file, rules);
  const start = (): Cli =>
    startCli(['alerts', 'watch', '--interval', '250ms', '--rules', file, '--json', ...words], {
      dir,
      env,
    });
  const watch = start();
  const ask = async (...verb: string[]) => {
    const { stdout, stderr, code } = await cli(['alerts', ...verb, '--json'], { dir, env });
    return { code, stderr, answer: JSON.parse(stdout) };
  };
  // Its sign of life comes with its first look: what happens from now on, it sees.
  for (;;) {
    if ((await ask('list')).answer.watch.state === 'running') break;
    if (watch.process.exitCode !== null) throw new Error(watch.stderr);
  }
  return { dir, env, fabric, watch, start, ask, state };
}

interface Line {
  alert: string;
  metadata: { state: string; count: number; instances: { labels: Record<string, string> }[] };
}

const linesOf = (watch: Cli) => watch.lines as unknown as Line[];
const toldOf = (watch: Cli, alert: string) =>
  linesOf(watch)
    .filter((line) => line.alert === alert)
    .map(({ metadata }) => metadata.state);
const until2 = async (watch: Cli, alert: string, state: string) => {
  await until(() => toldOf(watch, alert).includes(state) || watch.process.exitCode !== null);
};

/** An Alertmanager of Debian that posts what it is told to a receiver of the test. */
async function alertmanager() {
  const { url, posted } = await receiver();
  const data = temporaryDirectory();
  const port = await freePort();
  const config = join(data, 'alertmanager.yml');
  const route = { receiver: 'test', group_by: ['alertname', 'agent'], group_wait: '0s' };
  const times = { group_interval: '1s', repeat_interval: '1h' };
  const receivers = [{ name: 'test', webhook_configs: [{ url, send_resolved: true }] }];
  writeFileSync(config, JSON.stringify({ route: { ...route, ...times }, receivers }));
  const base = `http://127.0.0.1:${port}`;
  await startServer(
    debianProgram('prometheus-alertmanager'),
    [
      `--config.file=${config}`,
      `--storage.path=${join(data, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--cluster.listen-address=',
    ],
    `${base}/-/ready`,
  );
  const heard = () =>
    posted.flatMap(({ body }) =>
      (body.alerts as { status: string; labels: { alertname: string } }[]).map(
        ({ status, labels }) => `${labels.alertname} ${status}`,
      ),
    );
  return { base, heard };
}

describe('each of the six, by what really happens', () => {
  test('fires, is logged once a cooldown, reaches Alertmanager, and resolves', async () => {
    const manager = await alertmanager();
    const { dir, fabric, watch, ask } = await watched(['--alertmanager', manager.base]);

    // A slow agent: a gather has to wait for its answer.
    startChild(
      async ({ open }) => {
        const slow = await (await open()).join('slow', { team: 'S' });
        for await (const question of slow.messages()) {
          await new Promise((resolve) => setTimeout(resolve, 400));
          await question.reply('at last');
          question.ack();
        }
      },
      { dir, args: {} },
    );
    const me = await fabric.join('me');
    await until(() => fabric.snapshot().some(({ name }) => name === 'slow'));
    await me.gather('team:S', 'how long?', { timeoutMs: 20_000 });

    // Messages that are dropped, and an inbox that nobody empties.
    await fabric.join('lossy');
    const stuffed = await fabric.join('stuffed');
    for (let i = 0; i < 20; i += 1) await me.send('lossy', 'for nothing');
    expect(fabric.clear('lossy')).toBe(20);
    for (let i = 0; i < 20; i += 1) await me.send('stuffed', 'later');

    // Tasks that fail.
    const worker = await fabric.join('worker');
    worker.counter('coordination.tasks', 'tasks').add(10);
    worker.counter('coordination.tasks_failed', 'tasks').add(6);

    // An agent that leaks memory, and one that opens files, until they are told to stop.
    startChild(
      async ({ open, say }) => {
        const leaky = await (await open()).join('leaky');
        const leaked: Buffer[] = [];
        say('ready');
        while (leaky.tryReceive() === undefined) {
          if (leaked.length < 300) leaked.push(Buffer.alloc(2_000_000, leaked.length));
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        await leaky.receive();
        say(leaked.length);
      },
      { dir, args: {} },
    );
    startChild(
      async ({ open, say }) => {
        const { openSync } = process.getBuiltinModule('node:fs');
        const opener = await (await open()).join('opener');
        say('ready');
        await new Promise((resolve) => setTimeout(resolve, 1500));
        for (let i = 0; i < 150; i += 1) openSync('/dev/zero', 'r');
        await opener.receive();
      },
      { dir, args: {} },
    );

    const six = [
      'coordination_time_exceeded',
      'delivery_rate_low',
      'memory_growth_high',
      'fd_growth_high',
      'error_rate_high',
      'queue_depth_high',
    ];
    for (const alert of six) await until2(watch, alert, 'firing');
    const firing = await ask('check', '--sample', '100ms');
    expect(firing.code).toBe(1);
    expect(firing.answer.alerts.map(({ alert }: Line) => alert)).toContain('queue_depth_high');

    await me.send('leaky', 'enough');
    for (const batch of [await stuffed.receiveBatch({ max: 100 })]) batch.ack();
    for (const alert of six) await until2(watch, alert, 'resolved');

    for (const alert of six)
      expect([alert, ...toldOf(watch, alert)]).toEqual([alert, 'firing', 'resolved']);
    const leak = linesOf(watch).find(({ alert }) => alert === 'memory_growth_high');
    expect(leak?.metadata.instances[0]?.labels).toEqual({ fabric: 'test', agent: 'leaky' });
    const logged = (await ask('list')).answer.alerts as Line[];
    for (const alert of six) {
      const states = logged
        .filter((line) => line.alert === alert)
        .map(({ metadata }) => metadata.state);
      expect([alert, ...states]).toEqual([alert, 'firing', 'resolved']);
    }
    for (const state of ['firing', 'resolved']) {
      await until(() => six.every((alert) => manager.heard().includes(`${alert} ${state}`)));
    }
    expect(manager.heard()).toContain('cfc_alerts_watchdog firing');
    const { answer } = await ask('summary', '--window', '5m');
    expect(answer.total).toBeGreaterThanOrEqual(6);
    expect(answer.bySeverity.critical).toBe(2);
  }, 180_000);
});

describe('a watch', () => {
  test('that is killed is dead, and says so wherever one looks; its successor repeats nothing', async () => {
    const { fabric, watch, start, ask, dir, env } = await watched();
    await fabric.join('stuffed');
    const me = await fabric.join('me');
    for (let i = 0; i < 20; i += 1) await me.send('stuffed', 'later');
    await until2(watch, 'queue_depth_high', 'firing');
    const topNow = async () =>
      JSON.parse((await cli(['top', '--json', '--interval', '100ms'], { dir, env })).stdout);
    const firing = { watch: { state: 'running' }, alerts: [{ alert: 'queue_depth_high' }] };
    while ((await topNow()).alerts.length === 0) await sleep(50);
    expect(await topNow()).toMatchObject(firing);
    // What it told is in its state once the evaluation has ended: killed before, it would tell it again.
    const evaluations = async () => (await ask('list')).answer.watch.evaluations;
    const before = await evaluations();
    while ((await evaluations()) === before) await sleep(50);
    watch.process.kill('SIGKILL');
    await watch.exited;

    const dead = await ask('check', '--sample', '50ms');
    expect(dead.answer.watch.state).toBe('dead');
    expect(dead.stderr).toContain('the watch of alerts is dead');
    expect((await cli(['alerts', 'summary'], { dir, env })).stderr).toContain('is dead');
    expect(await topNow()).toMatchObject({ ...firing, watch: { state: 'dead' } });
    const health = await cli(['health', '--json'], { dir, env });
    expect(health.code).toBe(2);
    expect(health.stderr).toContain('the watch of alerts is dead');
    const answer = JSON.parse(health.stdout);
    expect(answer).toMatchObject({ health: 'degraded', watch: { state: 'dead' } });
    expect(answer.agents.every((one: { health: string }) => one.health === 'healthy')).toBe(true);

    const again = start();
    while ((await ask('list')).answer.watch.state !== 'running') await sleep(50);
    await sleep(1000);
    again.process.kill('SIGTERM');
    expect((await again.exited).code).toBe(0);
    expect(again.lines).toEqual([]);
    expect((await ask('list')).answer.watch.state).toBe('stopped');
    // Ended in good order: nobody is missing.
    expect((await cli(['health'], { dir, env })).code).toBe(0);
    expect(await topNow()).toMatchObject({ alerts: [], watch: { state: 'stopped' } });
  });

  test('lives on when the fabric goes, says so, and sees it come again', async () => {
    const { watch, dir, env } = await watched();
    await cli(['destroy', '--fabric', 'test'], { dir, env });
    await until2(watch, 'fabric_down', 'firing');
    expect((await cli(['create', '--profile', 'small'], { dir, env })).code).toBe(0);
    await until2(watch, 'fabric_down', 'resolved');

    expect(watch.process.exitCode).toBe(null);
    expect(toldOf(watch, 'fabric_down')).toEqual(['firing', 'resolved']);
  });

  test('of a name that never was is a slip; a second one over the same state is refused', async () => {
    const { dir, env } = await watched();
    const slip = await cli(['alerts', 'watch', '--fabric', 'tset'], { dir, env });
    expect(slip.code).toBe(3);
    const second = await cli(['alerts', 'watch'], { dir, env });
    expect(second.code).toBe(1);
    expect(second.stderr).toContain('ERR_CFC_ALERTS_RUNNING');
  });

  test('over a file of metrics tells a command, which no shell reads', async () => {
    const state = temporaryDirectory();
    const dir = testDirectory();
    const env = { CFC_STATE_DIR: state };
    const [file, out] = [join(state, 'metrics.jsonl'), join(state, '$(told)')];
    writeFileSync(file, '');
    const watch = startCli(
      ['alerts', 'watch', '--file', file, '--interval', '100ms', '--json', '--', 'tee', out],
      { dir, env },
    );
    const timestamp = new Date().toISOString();
    const record = { timestamp, metric: 'coordination.queue_depth', value: 1001, unit: 'messages' };
    writeFileSync(file, `${JSON.stringify({ ...record, tags: {} })}\n`);
    await until2(watch, 'queue_depth_high', 'firing');
    await until(() => {
      try {
        return readFileSync(out, 'utf8').endsWith('\n');
      } catch {
        return false;
      }
    });

    expect(JSON.parse(readFileSync(out, 'utf8')).alerts[0].alert).toBe('queue_depth_high');
    const check = await cli(['alerts', 'check', '--file', file, '--json'], { dir, env });
    expect(check.code).toBe(1);
    expect(JSON.parse(check.stdout).firing).toBe(1);
  });
});

test('a file of rules that is wrong is told with line and column', async () => {
  const file = join(temporaryDirectory(), 'rules.yaml');
  writeFileSync(file, 'rules:\n  - {name: a, metric: m, comparison: "=>", threshold: 1}\n');
  const { code, stderr } = await cli(['alerts', 'rules', '--rules', file], {
    dir: testDirectory(),
  });

  expect(code).toBe(1);
  expect(stderr).toContain(`${file}:2:`);
});

test('an alert is silenced by command, and the silence ended', async () => {
  const dir = testDirectory();
  const env = { CFC_STATE_DIR: temporaryDirectory() };
  const run = async (...words: string[]) => {
    const { stdout, code } = await cli(['alerts', 'silence', ...words, '--json'], { dir, env });
    return code === 0 && stdout !== '' ? JSON.parse(stdout).silences : [];
  };
  const [made] = await run(
    'fd_growth_high',
    '--label',
    'agent=a',
    '--for',
    '2h',
    '--comment',
    'known',
  );
  expect(made).toMatchObject({ alert: 'fd_growth_high', labels: { agent: 'a' }, comment: 'known' });
  await run('--end', made.id);

  expect(await run()).toEqual([]);
});
