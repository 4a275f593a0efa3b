import { dirname } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Fabric } from '../../src/index.js';
import { type Elsewhere, startChild } from '../support/child.js';
import { inPidNamespace, needs } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { openFabric, range, until } from '../support/fabric.js';

const dirOf = (fabric: Fabric) => dirname(fabric.info().path);
const seen = (fabric: Fabric, name: string) =>
  fabric.snapshot().find((agent) => agent.name === name);

/** Answers questions; holds on to what is no question. */
const server: Elsewhere<{ name: string }> = async ({ open, say, args }) => {
  const agent = await (await open()).join(args.name);
  say({ pid: process.pid });
  for await (const message of agent.messages()) {
    if (!message.expectsReply) continue;
    await message.reply(`${args.name}: ${message.text()}`);
    message.ack();
  }
};

describe('Processes in PID namespaces that share a fabric', () => {
  beforeEach((context) => needs(context, [...inPidNamespace(), 'true']));

  test('exchange messages, die, and are known to be dead, though their numbers collide', async () => {
    const evidence = evidenceOf('F8');
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const names = ['a', 'b', 'c'];
    const children = names.map((name) =>
      startChild(server, { dir: dirOf(fabric), args: { name }, wrapper: inPidNamespace() }),
    );
    for (const child of children) {
      expect(await child.heard(), child.stderr).toEqual({ pid: 1 }); // each of them
      evidence.injected += 1;
    }
    for (const i of range(50)) {
      const answers = await Promise.all(names.map((name) => me.ask(name, `${i}`)));
      expect(answers.map((answer) => answer.text())).toEqual(names.map((name) => `${name}: ${i}`));
    }

    await me.send('b', 'held');
    await until(() => seen(fabric, 'b')?.leased === 1);
    children[1]?.process.kill('SIGKILL');
    await until(() => seen(fabric, 'b')?.liveness === 'dead');

    // PID 1 lives here, and in the namespaces of the others: none of that is taken for b's life.
    expect(names.map((name) => seen(fabric, name)?.liveness)).toEqual(['alive', 'dead', 'alive']);
    expect(fabric.sweep()).toMatchObject({ living: 3, reaped: 1 });
    evidence.hit += 3;
    const successor = await fabric.join('b');
    expect(await successor.receive()).toMatchObject({ redelivered: true });
    expect((await me.ask('c', 'still there?')).text()).toBe('c: still there?');
  });

  test('also over a fabric that was made in one of them, where its maker is dead', async () => {
    const evidence = evidenceOf('F8');
    const fabric = await openFabric();
    const dir = dirOf(fabric);
    const maker = startChild(
      async ({ cfc, say, dir }) => {
        const fabric = await cfc.Fabric.open('inner', { dir, create: true, profile: 'small' });
        const agent = await fabric.join('maker');
        await agent.send('maker', 'x'.repeat(3000));
        await agent.receive();
        say('made');
        await agent.receive();
      },
      { dir, wrapper: inPidNamespace() },
    );
    expect(await maker.heard(), maker.stderr).toBe('made');
    const { Fabric } = await import('../../src/index.js');
    const inner = await Fabric.open('inner', { dir });
    evidence.injected += 1;

    maker.process.kill('SIGKILL');
    await until(() => seen(inner, 'maker')?.liveness === 'dead');
    const heir = await inner.join('maker');

    expect(await heir.receive()).toMatchObject({ redelivered: true, attempt: 1 });
    evidence.hit += 1;
    await inner.close();
  });
});

describe('A PID that is used again', () => {
  beforeEach((context) =>
    needs(context, [...inPidNamespace(), 'sh', '-c', 'echo 99 > /proc/sys/kernel/ns_last_pid']),
  );

  test('neither revives the dead nor condemns the living', async () => {
    const evidence = evidenceOf('F8');
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const parent = startChild(
      async ({ say }) => {
        const { spawn } = process.getBuiltinModule('node:child_process');
        const { writeFileSync } = process.getBuiltinModule('node:fs');
        const { dir } = JSON.parse(process.env.CFC_TEST_CHILD as string);
        const source = `async ({ open, say, args }) => {
          const agent = await (await open()).join(args.name);
          await agent.receive();
          say('holds');
          await agent.receive();
        }`;
        /** Starts an agent under the process number `pid`, which is free. */
        const start = async (name: string, pid: number) => {
          for (;;) {
            writeFileSync('/proc/sys/kernel/ns_last_pid', `${pid - 1}`);
            const child = spawn(process.execPath, [process.argv[1] as string], {
              stdio: ['ignore', 'pipe', 'inherit'],
              env: {
                ...process.env,
                CFC_TEST_CHILD: JSON.stringify({ source, args: { name }, dir }),
              },
            });
            const gone = new Promise((resolve) => child.once('exit', resolve));
            if (child.pid === pid) return { child, gone };
            child.kill('SIGKILL'); // a thread of ours was quicker
            await gone;
          }
        };
        const rounds = [];
        for (let round = 0; round < 5; round += 1) {
          const pid = 5000 + 100 * round;
          const first = await start(`first-${round}`, pid);
          await new Promise((resolve) => first.child.stdout.once('data', resolve));
          first.child.kill('SIGKILL');
          await first.gone;
          const second = await start(`second-${round}`, pid);
          await new Promise((resolve) => second.child.stdout.once('data', resolve));
          rounds.push([first.child.pid, second.child.pid]);
        }
        say({ rounds });
        await new Promise(() => setTimeout(() => {}, 60_000));
      },
      { dir: dirOf(fabric), wrapper: inPidNamespace() },
    );
    // Their mail makes them hold something.
    const mailing = (async () => {
      for (const round of range(5)) {
        for (const name of [`first-${round}`, `second-${round}`]) {
          await until(() => seen(fabric, name) !== undefined);
          await me.send(name, 'held');
        }
      }
    })();

    const { rounds } = await parent.heard<{ rounds: number[][] }>();
    await mailing;
    for (const [round, [first, second]] of rounds.entries()) {
      evidence.injected += 1;
      expect(first, parent.stderr).toBe(second);
      expect(seen(fabric, `first-${round}`)).toMatchObject({ liveness: 'dead', pid: first });
      expect(seen(fabric, `second-${round}`)).toMatchObject({ liveness: 'alive', pid: second });
      evidence.hit += 1;
    }
    // Some of the dead may have been reaped by one of the living.
    fabric.sweep();
    expect(fabric.sweep()).toMatchObject({ living: 6, reaped: 0 });
    expect(fabric.census()).toMatchObject({ ready: 5, leased: 5 });
  });
});
