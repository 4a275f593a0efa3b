import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Fabric } from '../../src/index.js';
import { type Elsewhere, startChild } from '../support/child.js';
import { compiled, needs, unshare } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { openFabric, range, sleep, until } from '../support/fabric.js';

const dirOf = (fabric: Fabric) => dirname(fabric.info().path);
const seen = (fabric: Fabric, name: string) =>
  fabric.snapshot().find((agent) => agent.name === name);

/** Answers `who`'s questions, until told to stop. */
const server: Elsewhere<{ name: string }> = async ({ open, say, args }) => {
  const agent = await (await open()).join(args.name);
  say('ready');
  let answered = 0;
  for await (const message of agent.messages()) {
    if (message.expectsReply) await message.reply(message.json<number>() + 1);
    message.ack();
    answered += 1;
    if (!message.expectsReply) break;
  }
  await agent.leave();
  say({ answered });
};

describe('A wall clock that jumps by up to a day, twenty times a second', () => {
  test('ends no wait early or never, and no life', async () => {
    const evidence = evidenceOf('F7');
    const preload = { LD_PRELOAD: compiled('skew', { shared: true }) };
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const dir = dirOf(fabric);
    const answering = startChild(server, {
      dir,
      args: { name: 'server' },
      env: { ...preload, CFC_SKEW: '1' },
    });
    expect(await answering.heard(), answering.stderr).toBe('ready');
    const asking = startChild(
      async ({ open, say }) => {
        const fabric = await open();
        const agent = await fabric.join('asking');
        let jumps = 0;
        let last = Date.now();
        const early: unknown[] = [];
        const timed = async (what: string, leastMs: number, how: () => Promise<unknown>) => {
          const began = performance.now();
          await how();
          if (performance.now() - began < leastMs - 2) early.push([what, leastMs]);
          const now = Date.now();
          if (Math.abs(now - last) > 60_000) jumps += 1;
          last = now;
        };
        const code = (promise: Promise<unknown>) => promise.catch((error) => error.code);
        let answers = 0;
        for (let i = 0; i < 40; i += 1) {
          for (let j = 0; j < 10; j += 1) {
            const answer = await agent.ask('server', i, { timeoutMs: 30_000 });
            if (answer.json() === i + 1) answers += 1;
          }
          await timed('receive', 40, () => agent.receive({ timeoutMs: 40 }));
          await timed('ask', 40, () => code(agent.ask('asking', i, { timeoutMs: 40 })));
          (await agent.receive())?.ack();
          await agent.send('asking', 'later');
          (await agent.receive())?.nack({ delayMs: 60 });
          await timed('nack', 60, async () => (await agent.receive())?.ack());
          while (agent.trySend('server-2', 'x'));
          await timed('room', 40, () => code(agent.send('server-2', 'x', { timeoutMs: 40 })));
        }
        say({ jumps, answers, early, census: fabric.census() });
        await fabric.close();
      },
      { dir, env: { ...preload, CFC_SKEW: '2' } },
    );
    await fabric.join('server-2');

    let looks = 0;
    let done = false;
    const looking = (async () => {
      while (!done) {
        for (const agent of fabric.snapshot()) expect(agent.liveness).toBe('alive');
        expect(fabric.sweep().reaped).toBe(0);
        looks += 1;
        await sleep(20);
      }
    })();
    const told = await asking.heard<{ jumps: number; answers: number }>();
    done = true;
    await looking;

    expect(told, asking.stderr).toMatchObject({ answers: 400, early: [] });
    expect(told.jumps).toBeGreaterThan(50);
    expect(looks).toBeGreaterThan(50);
    evidence.met(told.jumps);
    await me.send('server', 0);
    expect(await answering.heard()).toEqual({ answered: 401 });
  });
});

describe('A suspend', () => {
  test('of everybody at once is over as if it had not been: nobody is dead, nothing is lost', async () => {
    const evidence = evidenceOf('F7');
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const names = ['a', 'b', 'c'];
    const children = names.map((name) =>
      startChild(server, { dir: dirOf(fabric), args: { name } }),
    );
    for (const child of children) expect(await child.heard(), child.stderr).toBe('ready');
    for (const round of range(3)) {
      const answers = names.map((name) => me.ask(name, round, { timeoutMs: Infinity }));
      for (const child of children) child.process.kill('SIGSTOP');
      const late = names.map((name) => me.ask(name, round + 10, { timeoutMs: Infinity }));
      await sleep(700);
      expect(fabric.sweep()).toMatchObject({ living: 4, reaped: 0 });
      for (const { name, liveness } of fabric.snapshot()) {
        expect(liveness).toBe(name === 'me' ? 'alive' : 'stalled');
      }
      for (const child of children) child.process.kill('SIGCONT');
      evidence.injected += 3;
      for (const answer of answers) expect((await answer).json()).toBe(round + 1);
      for (const answer of late) expect((await answer).json()).toBe(round + 11);
      evidence.hit += 3;
    }
    for (const name of names) await me.send(name, 0);
    for (const child of children) {
      expect(await child.heard()).toEqual({ answered: 7 });
      expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
    }
    expect(fabric.census()).toMatchObject({ queued: 0, slotsLive: 1, dropped: 0 });
  });
});

describe('A monotonic clock of another time namespace', () => {
  const ahead = unshare(
    '--time',
    '--fork',
    '--kill-child',
    '--monotonic=86400',
    '--boottime=86400',
  );

  test('a day ahead, hinders neither messages nor the notice of a death', async (context) => {
    needs(context, [...ahead, 'true']);
    const evidence = evidenceOf('F7');
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const child = startChild(server, {
      dir: dirOf(fabric),
      args: { name: 'ahead' },
      wrapper: ahead,
    });
    expect(await child.heard(), child.stderr).toBe('ready');
    evidence.injected += 1;
    for (const i of range(100)) expect((await me.ask('ahead', i)).json()).toBe(i + 1);
    expect(fabric.sweep()).toMatchObject({ living: 2, reaped: 0 });

    child.process.kill('SIGKILL');
    await until(() => seen(fabric, 'ahead')?.liveness === 'dead');

    expect(fabric.sweep()).toMatchObject({ living: 1, reaped: 1 });
    evidence.hit += 1;
  });
});
