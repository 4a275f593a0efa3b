import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type AgentSnapshot, type AgentStart, type Fabric, startAgents } from '../../src/index.js';
import { root } from '../support/child.js';
import { cli, jsonLines, processesOf, startCli } from '../support/cli.js';
import { evidenceOf } from '../support/evidence.js';
import {
  failureOf,
  openFabric,
  range,
  sleep,
  smallCapacity,
  testDirectory,
  until,
} from '../support/fabric.js';

// Commands as agents: real shims, real trees of processes.

async function withFabric(capacity = {}) {
  const dir = testDirectory();
  const fabric = await openFabric({ dir, capacity: { ...smallCapacity, ...capacity } });
  onTestFinished(() => killAll(dir));
  const start = (name: string, command: string[], more: Partial<AgentStart> = {}) => {
    const [agent] = startAgents(fabric, [{ name, command, ...more }]);
    if (agent === undefined) throw new Error('nothing was started');
    return agent;
  };
  return { dir, fabric, start };
}

/** What a test left running, whatever became of the test. */
function killAll(dir: string): void {
  for (const { pid } of processesOf(dir)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended meanwhile.
    }
  }
}

function seen(fabric: Fabric, name: string): AgentSnapshot {
  const agent = fabric.snapshot().find((one) => one.name === name);
  if (agent === undefined) throw new Error(`${name} is not in the directory`);
  return agent;
}

const ended = (fabric: Fabric, name: string) =>
  until(() => seen(fabric, name).exitCode !== null && seen(fabric, name).liveness === 'left');

/** `T` for stopped, `S` for asleep, and so on; empty where it is gone. */
function stateOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
  } catch {
    return '';
  }
}

describe('cfc run', () => {
  test('makes a command an agent that answers by a cfc of its own', async () => {
    const dir = testDirectory();
    const bob = startCli(
      ['run', '--name', 'bob', '--', 'bash', '-c', 'cfc recv --follow | jq --unbuffered -r .body'],
      { dir },
    );
    let sent = await cli(['send', 'bob', 'hello', '--wait', 'acked'], { dir });
    while (sent.code === 3) sent = await cli(['send', 'bob', 'hello', '--wait', 'acked'], { dir });
    await until(() => bob.stdout.includes('hello\n'));
    bob.process.kill('SIGINT');
    const { code } = await bob.exited;

    expect(sent.code).toBe(0);
    expect(code).toBe(143);
    expect(existsSync(join(dir, 'test'))).toBe(false); // it made the fabric, and was the last there
    expect(processesOf(dir)).toEqual([]);
  });

  test.each([
    ['exit 0', 0],
    ['exit 7', 7],
    ['kill -9 $$', 137],
  ])('ends with the code of its command: %s', async (script, code) => {
    const dir = testDirectory();

    expect((await cli(['run', '--', 'sh', '-c', script], { dir })).code).toBe(code);
    expect(existsSync(join(dir, 'test'))).toBe(false);
  });

  test('passes input and both outputs through, and ends where nobody reads', async () => {
    const dir = testDirectory();
    const { stdout, stderr } = await cli(['run', '--', 'sh', '-c', 'cat; echo no >&2'], {
      dir,
      input: 'a line',
    });
    const endless = startCli(['run', '--', 'yes'], { dir });
    await until(() => endless.stdout.length > 1000);
    endless.process.stdout?.destroy();

    expect([stdout, stderr]).toEqual(['a line', 'no\n']);
    expect((await endless.exited).code).toBe(141);
  });

  test('says what it can not start, and leaves nothing', async () => {
    const dir = testDirectory();
    const { code, stderr } = await cli(['run', '--name', 'bob', '--', 'no-such-program'], { dir });

    expect(code).toBe(1);
    expect(stderr).toContain('ERR_CFC_AGENT_START');
    expect(existsSync(join(dir, 'test'))).toBe(false);
  });

  test('--detach leaves it running, and pause, resume and stop do what they say', async () => {
    const { dir, fabric } = await withFabric();
    const script = 'sleep 1000 & sleep 1000';
    const { stdout } = await cli(
      ['run', '--name', 'bob', '--detach', '--json', '--', 'sh', '-c', script],
      { dir },
    );
    const { commandPid } = JSON.parse(stdout);
    await cli(['pause', 'bob'], { dir });
    const paused = seen(fabric, 'bob');
    const states = processesOf(dir)
      .filter(({ words }) => words[0] === 'sleep')
      .map(({ pid }) => stateOf(pid));
    await cli(['resume', 'bob'], { dir });
    const resumed = seen(fabric, 'bob');
    const stopped = await cli(['stop', 'bob', '--json'], { dir });

    expect(paused).toMatchObject({ state: 'paused', liveness: 'stalled', health: 'healthy' });
    expect([stateOf(commandPid), ...states]).toEqual(['', 'T', 'T']);
    expect(resumed).toMatchObject({ state: 'working', liveness: 'alive' });
    expect(jsonLines(stopped.stdout)).toMatchObject([
      { name: 'bob', state: 'complete', liveness: 'left', exitCode: 143 },
    ]);
    expect(processesOf(dir)).toEqual([]);
  });
});

describe('startAgents', () => {
  test('starts a hundred, which end and leave no process and no file', async () => {
    const { dir, fabric } = await withFabric({ maxAgents: 256, maxParticipants: 512 });
    const names = range(100).map((n) => `a-${n}`);
    const agents = startAgents(
      fabric,
      names.map((name) => ({ name, command: ['sleep', '1000'] })),
    );
    await Promise.all(agents.map(({ started }) => started));
    const living = fabric.snapshot().filter(({ liveness }) => liveness === 'alive');
    for (const name of names) fabric.control(name, 'stop');
    await until(() => fabric.snapshot().every(({ liveness }) => liveness === 'left'));
    for (const name of names) fabric.forget(name);

    expect(living).toHaveLength(100);
    expect(fabric.snapshot()).toEqual([]);
    await until(() => processesOf(dir).length === 0);
    expect(fabric.census()).toMatchObject({ namesLive: 0, mailboxesOwned: 0 });
    expect(readdirSync(join(dir, 'test')).filter((name) => name.startsWith('lines'))).toEqual([]);
  });

  test('refuses by code, and leaves nothing half open', async () => {
    const { fabric, start } = await withFabric();
    await start('bob', ['sleep', '1000']).started;
    const missing = await failureOf(start('a', ['no-such-program']).started);
    const nowhere = await failureOf(start('b', ['true'], { cwd: '/no/such/folder' }).started);
    const taken = await failureOf(start('bob', ['true']).started);

    expect(missing).toMatchObject({ code: 'ERR_CFC_AGENT_START', details: { errno: 2 } });
    expect(nowhere.code).toBe('ERR_CFC_AGENT_START');
    expect(taken.code).toBe('ERR_CFC_LEASE_HELD');
    expect(fabric.snapshot().map(({ name }) => name)).toEqual(['bob']);
  });

  test('without descriptors says so by code, and leaves no process and no name', () => {
    const dir = testDirectory();
    const script = `import { closeSync, openSync } from 'node:fs';
      import { Fabric, startAgents } from 'cfc';
      const fabric = await Fabric.open('test', { create: true });
      const start = () => startAgents(fabric, [{ name: 'bob', command: ['sleep', '1000'] }])[0];
      const taken = [];
      try {
        for (;;) taken.push(openSync('/dev/null'));
      } catch {}
      const codes = [];
      try {
        await start().started;
      } catch (error) {
        codes.push(error.code, error.cause.errno);
      }
      const agents = fabric.snapshot().length;
      for (const fd of taken) closeSync(fd);
      await start().started;
      console.log(JSON.stringify({ codes, agents, after: fabric.snapshot().length }));
      process.exit(0);`;
    const node = [process.execPath, '--input-type=module', '-e', script];
    const { stdout, stderr } = spawnSync('sh', ['-c', 'ulimit -n 200; exec "$@"', 'sh', ...node], {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, CFC_DIR: dir },
    });
    const running = processesOf(dir).map(({ words }) => words[0]);
    killAll(dir);

    const errno = constants.errno.EMFILE;
    expect(JSON.parse(stdout || '{}'), stderr).toEqual({
      codes: ['ERR_CFC_AGENT_START', errno],
      agents: 0,
      after: 1,
    });
    expect(running.toSorted()).toEqual(['cfc-native', 'sleep']);
  });

  test('gives a command its environment, folder and files', async () => {
    const { dir, fabric, start } = await withFabric();
    const outFile = join(dir, 'out.txt');
    await start('bob', ['sh', '-c', 'echo $GREETING; pwd; echo oops >&2'], {
      env: { PATH: process.env.PATH, GREETING: 'hello' },
      cwd: '/tmp',
      outFile,
    }).started;
    await ended(fabric, 'bob');

    expect(readFileSync(outFile, 'utf8')).toBe('hello\n/tmp\n');
    expect(fabric.lastLines('bob').toSorted()).toEqual(['/tmp', 'hello', 'oops']);
  });

  test('keeps the last lines of an endless output', async () => {
    const { fabric, start } = await withFabric();
    await start('bob', ['seq', '1', '20000']).started;
    await ended(fabric, 'bob');
    const lines = fabric.lastLines('bob');

    expect(lines.at(-1)).toBe('20000');
    expect(lines).toEqual(range(lines.length).map((n) => String(20001 - lines.length + n)));
    expect(lines.length).toBeGreaterThan(500);
  });
});

describe('a tree of processes', () => {
  const daemon = '(setsid sh -c "setsid sleep 1000 & exit" &) ; sleep 0.2';

  test('goes with its command, daemons that forked twice included', async () => {
    const { dir, fabric, start } = await withFabric();
    await start('bob', ['sh', '-c', daemon]).started;
    await ended(fabric, 'bob');

    expect(seen(fabric, 'bob')).toMatchObject({ exitCode: 0, state: 'complete' });
    expect(processesOf(dir)).toEqual([]);
  });

  test('goes when its command is killed', async () => {
    const { dir, fabric, start } = await withFabric();
    const pid = await start('bob', ['sh', '-c', `${daemon}; sleep 1000`]).started;
    await until(() => processesOf(dir).length >= 3);
    process.kill(pid, 'SIGKILL');
    await ended(fabric, 'bob');

    expect(seen(fabric, 'bob')).toMatchObject({ exitCode: 137, state: 'failed' });
    expect(processesOf(dir)).toEqual([]);
  });

  test('is killed where it does not hear SIGTERM, stopped or not', async () => {
    const { dir, fabric, start } = await withFabric();
    await start('deaf', ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 1; done']).started;
    const stopped = await start('still', ['sleep', '1000']).started;
    await until(() => fabric.lastLines('deaf').includes('up'));
    process.kill(stopped, 'SIGSTOP');
    await until(() => seen(fabric, 'still').liveness === 'stalled');
    fabric.control('deaf', 'stop', { graceMs: 100 });
    fabric.control('still', 'stop', { graceMs: 60_000 });
    await ended(fabric, 'deaf');
    await ended(fabric, 'still');

    expect(seen(fabric, 'deaf')).toMatchObject({ exitCode: 137, state: 'failed' });
    expect(seen(fabric, 'still')).toMatchObject({ exitCode: 143, state: 'complete' });
    expect(processesOf(dir)).toEqual([]);
  });

  test('freezes whole while it forks, and goes on', async () => {
    const { dir, fabric, start } = await withFabric();
    const body = '(sleep 0.01; sleep 0.01) & sleep 0.005; n=$((n + 1)); echo $n';
    const script = `n=0; while :; do ${body}; done`;
    // Not how many lines are kept: that is bounded, and a slow machine comes to the bound.
    const last = () => Number(fabric.lastLines('busy').at(-1) ?? 0);
    await start('busy', ['sh', '-c', script]).started;
    await until(() => last() > 5);
    fabric.control('busy', 'pause');
    await until(() => seen(fabric, 'busy').state === 'paused');
    const pids = processesOf(dir).map(({ pid }) => pid);
    const states = new Set(pids.map(stateOf));
    const before = last();
    await sleep(100);
    const after = processesOf(dir).map(({ pid }) => pid);
    const written = last() - before;
    fabric.control('busy', 'resume');
    await until(() => last() > before);

    expect([...states].filter((state) => state !== 'T' && state !== 'Z')).toEqual([]);
    expect(after.toSorted()).toEqual(pids.toSorted());
    expect(written).toBe(0);
  });

  test('goes with a shim that is killed: the command at once, the rest with the next life', async () => {
    const { dir, fabric, start } = await withFabric();
    const bob = start('bob', ['sh', '-c', `${daemon}; sleep 1000`]);
    const command = await bob.started;
    await until(() => processesOf(dir).some(({ words }) => words.join(' ') === 'sleep 1000'));
    process.kill(bob.pid, 'SIGKILL');
    await until(() => stateOf(command) === '');
    const orphans = processesOf(dir);
    const dead = seen(fabric, 'bob');
    await start('bob', ['sleep', '1001']).started;

    expect(dead).toMatchObject({ liveness: 'dead', exitCode: null });
    expect(orphans.map(({ words }) => words.join(' '))).toContain('sleep 1000');
    await until(() => processesOf(dir).length === 1);
    expect(processesOf(dir)[0]?.words).toEqual(['sleep', '1001']);
    expect(seen(fabric, 'bob')).toMatchObject({ liveness: 'alive', restarts: 1 });
  });
});

describe('guests', () => {
  test('send and read as their agent, beside its shim and each other', async () => {
    const { fabric, start } = await withFabric();
    const me = await fabric.join('me');
    const script = 'cfc send me "I am up"; cfc recv --json; cfc ask me how';
    await start('bob', ['bash', '-c', script]).started;
    const first = await me.receive();
    first?.ack();
    await me.send('bob', 'for the guest', { wait: 'acked' });
    const question = await me.receive();
    await question?.reply('well');
    question?.ack();
    await ended(fabric, 'bob');

    expect(first?.from).toBe('bob');
    expect(question).toMatchObject({ from: 'bob' });
    expect(fabric.lastLines('bob').join('\n')).toContain('"body":"for the guest"');
    expect(seen(fabric, 'bob').exitCode).toBe(0);
  });

  test('of an earlier life are refused', async () => {
    const { dir, fabric, start } = await withFabric();
    const bob = start('bob', ['sh', '-c', 'echo $CFC_LEASE; sleep 1000']);
    await bob.started;
    await until(() => fabric.lastLines('bob').length === 1);
    const [token] = fabric.lastLines('bob') as [string];
    const env = { CFC_AGENT: 'bob', CFC_LEASE: token };
    const before = await cli(['count'], { dir, env });
    const follower = startCli(['recv', '--follow'], { dir, env });
    await until(() => fabric.census().slotsLive >= 2);
    fabric.control('bob', 'stop');
    await ended(fabric, 'bob');
    await start('bob', ['sleep', '1000']).started;
    const late = await cli(['send', 'bob', 'x'], { dir, env });

    expect(before.code).toBe(0);
    expect((await follower.exited).stderr).toContain('ERR_CFC_LEASE_LOST');
    expect(late.stderr).toContain('ERR_CFC_LEASE_LOST');
    expect(seen(fabric, 'bob').depth).toBe(0);
  });
});

describe('sd_notify', () => {
  const notify = (text: string) =>
    `python3 -c 'import os,socket
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)
s.sendto(${JSON.stringify(text)}.encode(),"\\0"+os.environ["NOTIFY_SOCKET"][1:])'`;

  test('makes it ready and tells its status', async () => {
    const { dir, fabric, start } = await withFabric();
    const go = join(dir, 'go');
    const waiting = `until [ -e ${go} ]; do sleep 0.01; done`;
    const script = `${waiting}; ${notify('READY=1\nSTATUS=half of it')}; sleep 1000`;
    await start('bob', ['bash', '-c', script], { ready: 'notify' }).started;
    const before = seen(fabric, 'bob');
    writeFileSync(go, '');
    await until(() => seen(fabric, 'bob').ready);

    expect(before).toMatchObject({ ready: false, state: 'spawned', statusText: '' });
    await until(() => seen(fabric, 'bob').statusText === 'half of it');
    expect(seen(fabric, 'bob').state).toBe('working');
  });

  test('a watchdog that is fed lets it live, one that is not ends it', async () => {
    const { fabric, start } = await withFabric();
    const fed = `while :; do ${notify('WATCHDOG=1')}; sleep 0.1; done`;
    await start('fed', ['bash', '-c', fed], { watchdogMs: 5000 }).started;
    await start('starved', ['sleep', '1000'], { watchdogMs: 200 }).started;
    await ended(fabric, 'starved');

    expect(seen(fabric, 'starved')).toMatchObject({ exitCode: 134, state: 'failed' });
    expect(seen(fabric, 'fed').liveness).toBe('alive');
  });
});

describe('What a program says that makes no sense', () => {
  test('a watchdog of half a million years is none', async () => {
    const { fabric, start } = await withFabric();
    // As nanoseconds it would be 384, by the arithmetic of 64 bits.
    const script = `import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"WATCHDOG_USEC=18446744073709552\\nSTATUS=said", "\\0" + os.environ["NOTIFY_SOCKET"][1:])
time.sleep(1000)`;
    await start('bob', ['python3', '-c', script]).started;
    await until(() => seen(fabric, 'bob').statusText === 'said');
    await sleep(300);

    expect(seen(fabric, 'bob')).toMatchObject({ exitCode: null, liveness: 'alive' });
  });

  test('a limit of descriptors that cannot be had is an error, and nothing is started', async () => {
    const { start } = await withFabric();
    const failure = await failureOf(start('bob', ['true'], { openFiles: 2 ** 31 }).started);

    expect(failure.code).toBe('ERR_CFC_AGENT_START');
    expect(failure.details.syscall).toBe('setrlimit');
  });
});

describe('liveness', () => {
  test('tells busy and stalled from dead', async () => {
    const evidence = evidenceOf('F20');
    const { fabric, start } = await withFabric();
    const script = `import { Fabric } from 'cfc';
      const fabric = await Fabric.open('test');
      await fabric.join(process.env.CFC_AGENT);
      console.log('up');
      await new Promise((soon) => setTimeout(soon, 50));
      const until = Date.now() + 60_000;
      while (Date.now() < until);`;
    await start('spins', [process.execPath, '--input-type=module', '-e', script]).started;
    const sleeper = await start('sleeps', ['sleep', '1000']).started;
    await until(() => seen(fabric, 'spins').liveness === 'busy');
    process.kill(sleeper, 'SIGSTOP');
    await until(() => seen(fabric, 'sleeps').liveness === 'stalled');
    const stalled = seen(fabric, 'sleeps');
    process.kill(sleeper, 'SIGCONT');
    await until(() => seen(fabric, 'sleeps').liveness === 'alive');

    expect(seen(fabric, 'spins').health).toBe('degraded');
    expect(stalled).toMatchObject({ state: 'working', health: 'degraded' });
    evidence.met();
  });
});
