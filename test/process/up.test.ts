import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Fabric } from '../../src/index.js';
import { cli, leftOf, nothing, processesOf, startCli, untilNothingIsLeft } from '../support/cli.js';
import { testDirectory, until } from '../support/fabric.js';

// A fabric of long-lived agents from a file, as somebody at a terminal keeps one.

const team = `
topology: flat
workers: 3
master: { command: [sleep, '1000'] }
worker: { command: [sleep, '1000'] }
`;

/** A directory for fabrics, and what was started there is killed whatever becomes of the test. */
function workplace(): string {
  const dir = testDirectory();
  onTestFinished(() => {
    for (const { pid } of processesOf(dir)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended meanwhile.
      }
    }
  });
  return dir;
}

interface Listed {
  name: string;
  pid: number;
  liveness: string;
  restarts: number;
}

async function agentsOf(dir: string): Promise<Listed[]> {
  const { code, stdout } = await cli(['ps', '--json'], { dir });
  expect(code).toBe(0);
  return (JSON.parse(stdout) as { agents: Listed[] }).agents;
}

/** Pids of those that the topology names. */
async function pidsOf(dir: string): Promise<Record<string, number>> {
  const agents = (await agentsOf(dir)).filter(({ name }) => name !== 'supervisor');
  return Object.fromEntries(agents.map(({ name, pid }) => [name, pid]));
}

describe('cfc up in the foreground', () => {
  test('says when all are ready, and Ctrl-C takes everything down', async () => {
    const dir = workplace();
    const up = startCli(['up', '-'], { dir, input: team });
    await until(() => up.stderr.includes('4 agents ready'));
    expect(Object.keys(await pidsOf(dir)).sort()).toEqual([
      'master',
      'worker-1',
      'worker-2',
      'worker-3',
    ]);
    up.process.kill('SIGINT');
    const { code, stdout } = await up.exited;
    expect(code).toBe(0);
    expect(stdout).toContain('stopped 4 agents');
    expect(stdout).toContain('0 accepted = 0 acked + 0 queued + 0 dead-lettered + 0 dropped');
    expect(leftOf(dir)).toEqual(nothing);
  });

  test('has its agents do what their roles may, and nothing else', async () => {
    const dir = workplace();
    const told = join(dir, 'told');
    const script = 'cfc send worker-1 x; echo $? >> "$0"; cfc stop worker-1; echo $? >> "$0"';
    const file = `
topology: flat
workers: 2
roles: { worker: { send: [nobody] } }
worker: { command: [sh, -c, '${script}; exec sleep 1000', '${told}'], restart: never }
`;
    const up = startCli(['up', '-'], { dir, input: file });
    await until(() => existsSync(told) && readFileSync(told, 'utf8').split('\n').length === 5);
    // Anybody may write to itself, as worker-1 does here.
    const codes = readFileSync(told, 'utf8').trim().split('\n').sort();
    expect(codes).toEqual(['0', '6', '6', '6']);
    expect((await cli(['send', 'worker-1', 'from a person'], { dir })).code).toBe(0);
    expect((await cli(['clear', 'worker-1'], { dir })).code).toBe(0);
    up.process.kill('SIGINT');
    expect((await up.exited).code).toBe(0);
  });

  test('tells what happens, a line each, or as JSON', async () => {
    const dir = workplace();
    const up = startCli(['up', '-', '--json'], { dir, input: team });
    await until(() => up.lines.filter(({ event }) => event === 'ready').length === 4);
    const worker = (await pidsOf(dir))['worker-2'] as number;
    process.kill(worker, 'SIGKILL');
    await until(() => up.lines.some(({ event }) => event === 'restarted'));
    expect(up.lines.find(({ event }) => event === 'exited')).toMatchObject({
      ...{ v: 1, agent: 'worker-2', pid: worker },
    });
    expect(up.stderr).toMatch(/\d\d:\d\d:\d\d exited worker-2/);
    up.process.kill('SIGTERM');
    const { code } = await up.exited;
    expect(code).toBe(0);
    expect(up.lines.at(-1)).toMatchObject({ v: 1, removed: true, left: [] });
    await untilNothingIsLeft(dir);
  });

  test('says where a file is wrong, and makes nothing', async () => {
    const dir = workplace();
    const { code, stderr } = await cli(['up', '-'], { dir, input: 'topology: flat\nworker: 3\n' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/:2:\d+/);
    expect(leftOf(dir)).toEqual(nothing);
  });
});

describe('cfc up --detach', () => {
  test('returns once all are ready; a second one is refused; cfc down leaves nothing', async () => {
    const dir = workplace();
    const file = join(dir, 'team.yaml');
    writeFileSync(file, team);
    const first = await cli(['up', file, '--detach', '--json'], { dir });
    expect(first.code).toBe(0);
    expect(JSON.parse(first.stdout)).toMatchObject({
      ...{ v: 1, fabric: 'test', topology: 'flat', ready: 4, notReady: [] },
    });
    const second = await cli(['up', file, '--detach'], { dir });
    expect(second.code).toBe(1);
    expect(second.stderr).toContain('ERR_CFC_SUPERVISOR_RUNNING');

    const down = await cli(['down', '--json'], { dir });
    expect(down.code).toBe(0);
    expect(JSON.parse(down.stdout)).toMatchObject({
      ...{ v: 1, stopped: 4, killed: [], left: [], undelivered: [], removed: true },
      ledger: { accepted: 0, acked: 0, queued: 0, deadLettered: 0, dropped: 0 },
    });
    await until(() => processesOf(dir).length === 0);
    expect(existsSync(join(dir, 'test'))).toBe(false);
  });

  test('names who is not ready in time, and goes on', async () => {
    const dir = workplace();
    const input = `agents:
  - { name: quick, command: [sleep, '1000'] }
  - { name: mute, command: [sleep, '1000'], ready: notify }`;
    const up = await cli(['up', '-', '--detach', '--timeout', '200ms'], { dir, input });
    expect(up.code).toBe(4);
    expect(up.stderr).toContain('not ready: mute');
    expect(Object.keys(await pidsOf(dir)).sort()).toEqual(['mute', 'quick']);
    expect((await cli(['down'], { dir })).code).toBe(0);
    await untilNothingIsLeft(dir);
  });

  test('on a fabric whose supervisor was killed adopts all, and starts none again', async () => {
    const dir = workplace();
    expect((await cli(['up', '-', '--detach'], { dir, input: team })).code).toBe(0);
    const before = await pidsOf(dir);
    const supervisor = (await agentsOf(dir)).find(({ name }) => name === 'supervisor');
    process.kill(supervisor?.pid as number, 'SIGKILL');

    const again = await cli(['up', '-', '--detach'], { dir, input: team });
    expect(again.code).toBe(0);
    expect(await pidsOf(dir)).toEqual(before);
    expect((await cli(['down'], { dir })).code).toBe(0);
    await untilNothingIsLeft(dir);
  });
});

describe('cfc down', () => {
  test('of a file takes down the fabric that the file names, and of no other', async () => {
    const dir = workplace();
    const file = join(dir, 'team.yaml');
    writeFileSync(file, `fabric: review${team}`);
    const env = { CFC_FABRIC: '' };
    expect((await cli(['up', file, '--detach'], { dir, env })).code).toBe(0);
    expect((await cli(['down'], { dir, env })).code).toBe(3); // there is no default
    const { code, stdout } = await cli(['down', file, '--json'], { dir, env });

    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ fabric: 'review', stopped: 4, removed: true });
  });

  test('keeps a fabric with dead letters in it, until somebody drops them', async () => {
    const dir = workplace();
    const fabric = await Fabric.open('test', { create: true, dir, capacity: { attemptLimit: 1 } });
    const bob = await fabric.join('bob');
    await bob.send('bob', 'one');
    bob.tryReceive()?.nack();
    await fabric.close();
    const kept = await cli(['down', '--json'], { dir });
    await cli(['dead', 'drop'], { dir });

    expect(kept.code).toBe(8);
    expect(JSON.parse(kept.stdout)).toMatchObject({ deadLetters: 1, removed: false });
    expect(kept.stderr).toContain('1 dead letters');
    expect((await cli(['down'], { dir })).code).toBe(0);
  });

  test('needs no supervisor', async () => {
    const dir = workplace();
    expect((await cli(['up', '-', '--detach'], { dir, input: team })).code).toBe(0);
    const supervisor = (await agentsOf(dir)).find(({ name }) => name === 'supervisor');
    process.kill(supervisor?.pid as number, 'SIGKILL');
    const { code, stdout } = await cli(['down'], { dir });
    expect(code).toBe(0);
    expect(stdout).toContain('stopped 4 agents');
    await untilNothingIsLeft(dir);
  });

  test('lets agents work off what they have', async () => {
    const dir = workplace();
    const input = `agents:
  - { name: reader, command: [bash, -c, 'cfc recv --follow >/dev/null'] }`;
    expect((await cli(['up', '-', '--detach'], { dir, input })).code).toBe(0);
    const lines = Array.from({ length: 50 }, (_, i) => `${JSON.stringify({ i })}\n`).join('');
    const sent = await cli(['send', 'reader', '--ndjson'], { dir, input: lines });
    expect(sent.code).toBe(0);
    const { code, stdout } = await cli(['down', '--json'], { dir });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      drained: true,
      ledger: { accepted: 50, acked: 50, queued: 0, dropped: 0 },
    });
    await untilNothingIsLeft(dir);
  });

  test('keeps what nobody read: exit 8, and the files stay for the next cfc up', async () => {
    const dir = workplace();
    const input = `agents: [{ name: deaf, command: [sleep, '1000'] }]`;
    expect((await cli(['up', '-', '--detach'], { dir, input })).code).toBe(0);
    expect((await cli(['send', 'deaf', 'hello'], { dir })).code).toBe(0);
    const down = await cli(['down', '--timeout', '1s', '--grace', '500ms'], { dir });
    expect(down.code).toBe(8);
    expect(down.stderr).toContain('deaf 1');
    expect(processesOf(dir)).toEqual([]);

    expect((await cli(['up', '-', '--detach'], { dir, input })).code).toBe(0);
    const got = await cli(['peek', '--agent', 'deaf'], { dir });
    expect(got.stdout).toContain('hello');
    expect((await cli(['clear', 'deaf'], { dir })).code).toBe(0);
    expect((await cli(['down'], { dir })).code).toBe(0);
    await untilNothingIsLeft(dir);
  });

  test('of a fabric that there is not says so', async () => {
    expect((await cli(['down'], { dir: workplace() })).code).toBe(3);
  });
});
