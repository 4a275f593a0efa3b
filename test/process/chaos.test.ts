import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import { NativeAgents } from '../../bench/lib/native-agents.js';
import { Fabric } from '../../src/index.js';
import { startChild } from '../support/child.js';
import {
  jsonLines,
  leftOf,
  nativesOf,
  nothing,
  startCli,
  untilNothingIsLeft,
} from '../support/cli.js';
import { needs, onTmpfs } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { openFabric, range, sleep, testDirectory, until } from '../support/fabric.js';

const tree = ['--topology', 'hybrid', '--coordinators', '7', '--retries', '13'];
const numbers = (count: number) =>
  range(count)
    .map((i) => `${i}\n`)
    .join('');

function killSome(dir: string, role: 'worker' | 'coordinator', count: number): void {
  const victims = nativesOf(dir, role).slice(0, count);
  expect(victims).toHaveLength(count);
  for (const pid of victims) process.kill(pid, 'SIGKILL');
}

describe('A hybrid of seven coordinators', () => {
  for (const [what, role, count] of [
    ['one of them is', 'coordinator', 1],
    ['three of them are', 'coordinator', 3],
    ['a fifth of the workers are', 'worker', 14],
  ] as const) {
    test(`of a map job loses no task when ${what} killed at once`, async () => {
      const dir = testDirectory();
      const command = ['--', 'sh', '-c', 'sleep 0.05; echo "$1"', 'sh'];
      const words = ['map', '--workers', '70', ...tree, ...command];
      const cfc = startCli(words, { dir, input: numbers(1000) });
      await until(() => cfc.lines.length > 100 && nativesOf(dir, 'worker').length === 70);
      killSome(dir, role, count);
      const { code, stderr } = await cfc.exited;

      const tasks = cfc.lines.map(({ task }) => Number(task)).sort((a, b) => a - b);
      expect(tasks).toEqual(range(1000));
      expect(jsonLines(stderr)).toMatchObject([{ tasks: 1000, answered: 1000, lost: 0 }]);
      expect(code).toBe(0);
      expect(leftOf(dir)).toEqual(nothing);
    });
  }

  test('brings every nonce of every team back, whoever is killed in the middle of a round', async () => {
    const dir = testDirectory();
    vi.stubEnv('CFC_DIR', dir);
    const agents = await NativeAgents.init({ coordinators: 7, workers: 70 });
    try {
      await agents.start();
      await agents.allReady();
      expect(await agents.round()).toMatchObject({ delivered: 70 });
      for (const [role, count] of [
        ['coordinator', 1],
        ['coordinator', 3],
        ['worker', 14],
        ['coordinator', 7],
      ] as const) {
        await until(() => nativesOf(dir, role).length >= count);
        const round = agents.round();
        killSome(dir, role, count);
        expect(await round).toMatchObject({ delivered: 70 });
      }
    } finally {
      await agents.close();
    }
    await untilNothingIsLeft(dir);
  });
});

describe('A map job', () => {
  test('with 512 descriptors for each process runs 200 workers and loses nothing', async (context) => {
    const wrapper = ['prlimit', '--nofile=512:512'];
    needs(context, [...wrapper, 'true']);
    const dir = testDirectory();
    for (const shape of ['flat', 'hybrid']) {
      const words = ['map', '--workers', '200', '--topology', shape, '--', 'true'];
      const { code, stderr } = await startCli(words, { dir, input: numbers(600), wrapper }).exited;

      expect(jsonLines(stderr)).toMatchObject([{ tasks: 600, answered: 600, lost: 0 }]);
      expect(code).toBe(0);
      expect(leftOf(dir)).toEqual(nothing);
    }
  });

  test('on a tmpfs that is 90 % full loses nothing', async (context) => {
    const dir = testDirectory();
    const fill = 'head -c 57m /dev/zero | tr "\\0" x > "$0/full" && mkdir -m 700 "$0/base" && "$@"';
    const wrapper = [...onTmpfs(dir, 'size=64m,mode=700'), 'sh', '-c', fill, dir];
    needs(context, [...onTmpfs(dir, 'size=1m'), 'true']);
    const words = ['map', '--workers', '20', '--topology', 'hybrid', '--', 'head', '-c', '2000'];
    const cfc = startCli([...words, '/dev/zero'], {
      dir,
      input: '/dev/null\n'.repeat(500),
      env: { CFC_DIR: `${dir}/base` },
      wrapper,
    });
    const { code, stderr } = await cfc.exited;

    expect(cfc.lines).toHaveLength(500);
    expect(jsonLines(stderr)).toMatchObject([{ tasks: 500, answered: 500, lost: 0 }]);
    expect(code).toBe(0);
  });
});

describe('Mailboxes', () => {
  test('take a storm of 10,000 messages from 100 agents, each in its order', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir, capacity: { maxAgents: 128, maxParticipants: 256 } });
    const sink = await fabric.join('sink', { mailboxCells: 256 });
    const storms = range(4).map((n) =>
      startChild(
        async ({ cfc, dir, args, say }) => {
          const fabric = await cfc.Fabric.open('test', { dir });
          const agents = [];
          for (let i = 0; i < 25; i += 1) agents.push(await fabric.join(`storm-${args}-${i}`));
          await Promise.all(
            agents.map(async (agent) => {
              for (let i = 0; i < 100; i += 1)
                await agent.send('sink', { i, fill: 'x'.repeat(300) });
            }),
          );
          // Nobody joins where another one left: the seal of a mailbox that is opened again is a
          // place without a message, as one that was given back is.
          const alive = setInterval(() => {}, 1000);
          const asked = new Promise((resolve) => process.once('SIGTERM', resolve));
          say('done');
          await asked;
          clearInterval(alive);
          await fabric.close();
        },
        { dir, args: n },
      ),
    );
    const next = new Map<string, number>();
    for (let got = 0; got < 10_000; ) {
      const batch = await sink.receiveBatch();
      for (const message of batch) {
        const due = next.get(message.from) ?? 0;
        expect((message.json() as { i: number }).i).toBe(due);
        next.set(message.from, due + 1);
        got += 1;
      }
      batch.ack();
    }

    expect([...next.values()]).toEqual(range(100).map(() => 100));
    for (const storm of storms) expect(await storm.heard(), storm.stderr).toBe('done');
    for (const storm of storms) {
      storm.process.kill('SIGTERM');
      expect(await storm.exited).toMatchObject({ code: 0 });
    }
    expect(fabric.census()).toMatchObject({
      acked: 10_000,
      queued: 0,
      claimed: 0,
      dropped: 0,
      aborted: 0,
      chunksLoaned: 0,
      chunksPlaced: 0,
    });
    await fabric.close();
  });

  test('that are full both ways time out cleanly, and nothing in them is lost', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const here = await fabric.join('here', { mailboxCells: 8 });
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const fabric = await cfc.Fabric.open('test', { dir });
        const there = await fabric.join('there', { mailboxCells: 8 });
        let sent = 0;
        while (there.trySend('here', { sent })) sent += 1;
        say(sent);
        const code = await there.send('here', 'late', { timeoutMs: 300 }).then(
          () => 'sent',
          (error: { code: string }) => error.code,
        );
        say(code);
        // Reads nothing until the other side has waited in vain too.
        while (!fabric.snapshot().some(({ name }) => name === 'go')) {
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        const got = [];
        while (got.at(-1) !== 'end') {
          const message = await there.receive();
          got.push(message?.text());
          message?.ack();
        }
        say(got.length);
        await fabric.close();
      },
      { dir },
    );
    const theirs = await child.heard<number>();
    let ours = 0;
    while (here.trySend('there', `ours ${ours}`)) ours += 1;
    expect(ours).toBeGreaterThan(0);
    await expect(here.send('there', 'late', { timeoutMs: 300 })).rejects.toMatchObject({
      code: 'ERR_CFC_MAILBOX_FULL',
    });
    expect(await child.heard(), child.stderr).toBe('ERR_CFC_MAILBOX_FULL');
    await fabric.join('go');
    for (let i = 0; i < theirs; i += 1) {
      const message = await here.receive();
      expect(message?.json()).toEqual({ sent: i });
      message?.ack();
    }
    await here.send('there', 'end');
    expect(await child.heard()).toBe(ours + 1);
    expect(await child.exited).toMatchObject({ code: 0 });
    expect(fabric.census()).toMatchObject({ acked: theirs + ours + 1, queued: 0, dropped: 0 });
    await fabric.close();
  });
});

describe('A tree of agents', () => {
  test('of 708 that start at once is ready as a whole, and nobody is taken for dead', async () => {
    const evidence = evidenceOf('F18');
    const dir = testDirectory();
    vi.stubEnv('CFC_DIR', dir);
    const agents = await NativeAgents.init({ coordinators: 7, workers: 700 });
    try {
      await agents.start();
      await agents.allReady();
      const workers = new Set(nativesOf(dir, 'worker'));
      expect(workers.size).toBe(700);
      expect(await agents.round()).toMatchObject({ delivered: 700 });

      const fabric = await Fabric.open(agents.name);
      const snapshot = fabric.snapshot();
      const swept = fabric.sweep();
      await fabric.close();
      expect(snapshot).toHaveLength(708);
      expect(
        snapshot.filter(({ liveness, restarts }) => liveness !== 'alive' || restarts > 0),
      ).toEqual([]);
      expect(swept).toMatchObject({ reaped: 0 });
      expect(new Set(nativesOf(dir, 'worker'))).toEqual(workers);
      evidence.met(snapshot.length);
    } finally {
      await agents.close();
    }
    await untilNothingIsLeft(dir);
  });

  test('whose coordinators get no more memory waits, dies of nothing, and goes on once there is some', async (context) => {
    needs(context, ['prlimit', '--version']);
    const dir = testDirectory();
    vi.stubEnv('CFC_DIR', dir);
    const agents = await NativeAgents.init({ coordinators: 2, workers: 40 });
    const limitMemory = (bytesOf: (pid: number) => number | 'unlimited') => {
      for (const pid of nativesOf(dir, 'coordinator')) {
        execFileSync('prlimit', ['--pid', String(pid), `--as=${bytesOf(pid)}:unlimited`]);
      }
    };
    try {
      await agents.start();
      await agents.allReady();
      const before = nativesOf(dir, 'coordinator');
      // As much as it has, and a little: no segment for the answer of a whole team.
      limitMemory((pid) => addressSpaceOf(pid) + (1 << 20));
      const round = agents.round();
      expect(await Promise.race([round, sleep(700)])).toBeUndefined();
      expect(nativesOf(dir, 'coordinator')).toEqual(before);

      limitMemory(() => 'unlimited');
      expect(await round).toMatchObject({ delivered: 40 });
      expect(nativesOf(dir, 'coordinator')).toEqual(before);
      expect(await agents.round()).toMatchObject({ delivered: 40 });
      const fabric = await Fabric.open(agents.name);
      expect(fabric.census()).toMatchObject({ queued: 0, claimed: 0, dropped: 0, chunksLoaned: 0 });
      await fabric.close();
    } finally {
      await agents.close();
    }
    await untilNothingIsLeft(dir);
  });
});

function addressSpaceOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmSize:\s+(\d+)/m.exec(status)?.[1]) * 1024;
}
