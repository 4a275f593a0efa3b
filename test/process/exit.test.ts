import type clusterModule from 'node:cluster';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Fabric } from '../../src/index.js';
import { startChild } from '../support/child.js';
import { evidenceOf } from '../support/evidence.js';
import { openFabric, range, sleep, until } from '../support/fabric.js';

const dirOf = (fabric: Fabric) => dirname(fabric.info().path);

describe('A process that ends', () => {
  test('by process.exit in the middle of everything gives back what it had', async () => {
    const evidence = evidenceOf('F21');
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const child = startChild(
      async ({ open, say }) => {
        const fabric = await open();
        const agent = await fabric.join('child');
        const other = await fabric.join('other');
        say('ready');
        await agent.receive();
        while (agent.trySend('other', 'x'));
        void agent.receive();
        void agent.send('other', 'waits');
        void agent.ask('me', 'q', { timeoutMs: 60_000 });
        void agent.send('me', 'x', { wait: 'acked' });
        void other.receiveBatch();
        void agent.messages().next();
        agent.counter('n').add();
        setTimeout(() => process.exit(3), 30);
      },
      { dir: dirOf(fabric) },
    );
    expect(await child.heard()).toBe('ready');
    await me.send('child', 'held');

    expect(await child.exited, child.stderr).toEqual({ code: 3, signal: null });

    expect(child.stderr).toBe('');
    fabric.sweep();
    expect(fabric.census()).toMatchObject({ slotsLive: 1, leased: 0, claimed: 0 });
    const successor = await fabric.join('child');
    expect(await successor.receive()).toMatchObject({ from: 'me', redelivered: true });
    evidence.met(7); // waits of each kind
  });

  test('by process.exit in mid-send leaves a prefix of what it sent, each whole', async () => {
    const evidence = evidenceOf('F21');
    const fabric = await openFabric();
    const me = await fabric.join('me', { mailboxCells: 1024 });
    let all = 0;
    for (const round of range(6)) {
      const child = startChild<{ round: number }>(
        async ({ open, say, args }) => {
          const agent = await (await open()).join('child');
          let accepted = 0;
          // Reported by a write that does not wait, as nothing is written once exit has begun.
          const { writeSync } = process.getBuiltinModule('node:fs');
          process.once('exit', () => writeSync(1, `${JSON.stringify({ accepted })}\n`));
          say('ready');
          setTimeout(() => process.exit(0), 30 + 11 * args.round);
          const sender = async () => {
            for (let i = 0; ; i += 4) {
              const bodies = [0, 1, 2, 3].map((j) => {
                return { round: args.round, i: i + j, pad: 'x'.repeat(((i + j) * 53) % 900) };
              });
              await agent.sendBatch('me', bodies);
              accepted += 4;
            }
          };
          await sender();
        },
        { dir: dirOf(fabric), args: { round } },
      );
      expect(await child.heard(), child.stderr).toBe('ready');
      evidence.injected += 1;
      let next = 0;
      let ended = false;
      const ending = child.exited.then(() => {
        ended = true;
      });
      for (;;) {
        const over = ended;
        const batch = await me.receiveBatch({ timeoutMs: 20 });
        if (batch.length === 0 && over) break;
        for (const message of batch) {
          expect(message.json()).toMatchObject({
            round,
            i: next,
            pad: 'x'.repeat((next * 53) % 900),
          });
          next += 1;
        }
        batch.ack();
      }
      await ending;
      const { accepted } = await child.heard<{ accepted: number }>();
      expect(next % 4).toBe(0);
      expect(next).toBeGreaterThanOrEqual(accepted);
      expect(next).toBeLessThanOrEqual(accepted + 4); // the one whose promise had not resolved yet
      if (next > 0) evidence.hit += 1;
      all += next;
    }
    expect(all).toBeGreaterThan(100);
    fabric.sweep();
    expect(fabric.census()).toMatchObject({
      acked: all,
      queued: 0,
      claimed: 0,
      aborted: 0,
      chunksLoaned: 0,
      chunksPlaced: 0,
      slotsLive: 1,
    });
  });

  test('by an error in a handler gives its message back', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const child = startChild(
      async ({ open, say }) => {
        const agent = await (await open()).join('child');
        say('ready');
        void agent.receive().then((message) => {
          throw new Error(`handler of ${message?.text()}`);
        });
        await new Promise(() => {});
      },
      { dir: dirOf(fabric) },
    );
    expect(await child.heard()).toBe('ready');
    await me.send('child', 'poison');

    expect((await child.exited).code).not.toBe(0);

    expect(child.stderr).toContain('handler of poison');
    const successor = await fabric.join('child');
    const message = await successor.receive();
    expect(message).toMatchObject({ redelivered: true, attempt: 1 });
    expect(message?.text()).toBe('poison');
  });

  test('by a signal is as good as gone at once', async () => {
    const fabric = await openFabric();
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGABRT', 'SIGKILL'] as const) {
      const child = startChild(
        async ({ open, say }) => {
          const agent = await (await open()).join('child');
          say('ready');
          await agent.receive();
        },
        { dir: dirOf(fabric) },
      );
      expect(await child.heard()).toBe('ready');
      await child.kill(signal);

      const agent = await fabric.join('child');
      expect(agent.name).toBe('child');
      await agent.leave();
    }
  });

  test('is not kept alive by an agent that nobody waits on', async () => {
    const fabric = await openFabric();
    const child = startChild(
      async ({ open, say }) => {
        const fabric = await open();
        const agent = await fabric.join('child');
        await agent.send('child', 'x');
        (await agent.receive())?.ack(); // has waited before
        await agent.receive({ timeoutMs: 20 });
        await fabric.join('another');
        say('done');
      },
      { dir: dirOf(fabric) },
    );
    expect(await child.heard()).toBe('done');

    expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
    expect(fabric.census()).toMatchObject({ slotsLive: 0, leased: 0 });
  });

  test.each([
    ['a receive', 'receive'],
    ['an ask', 'ask'],
    ['a send that waits for room', 'send'],
    ['a send that waits for an ack', 'acked'],
    ['an iterator', 'messages'],
  ] as const)('is kept alive by %s', async (_, what) => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const child = startChild<{ what: string }>(
      async ({ open, say, args }) => {
        const agent = await (await open()).join('child');
        while (args.what === 'send' && agent.trySend('me', 'x'));
        const waits: Record<string, () => Promise<unknown>> = {
          receive: () => agent.receive(),
          ask: () => agent.ask('me', 'q', { timeoutMs: Infinity }),
          send: () => agent.send('me', 'x', { timeoutMs: Infinity }),
          acked: () => agent.send('me', 'x', { wait: 'acked', timeoutMs: Infinity }),
          messages: () => agent.messages().next(),
        };
        const waiting = waits[args.what]?.();
        say('waiting');
        await waiting;
        say('woken');
      },
      { dir: dirOf(fabric), args: { what } },
    );
    expect(await child.heard()).toBe('waiting');
    await sleep(200);
    expect(child.process.exitCode).toBeNull();

    if (what === 'receive' || what === 'messages') await me.send('child', 'x');
    const message = await me.receive({ timeoutMs: what === 'ask' ? Infinity : 50 });
    if (what === 'ask') await message?.reply('a');
    message?.ack();

    expect(await child.heard()).toBe('woken');
    expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
  });

  test('by itself with messages unread leaves them to a successor', async () => {
    const fabric = await openFabric();
    const child = startChild(
      async ({ open, say }) => {
        const agent = await (await open()).join('child');
        await agent.sendBatch('child', ['one', 'two']);
        await agent.receive();
        say('bye');
      },
      { dir: dirOf(fabric) },
    );
    expect(await child.heard()).toBe('bye');
    expect((await child.exited).code).toBe(0);

    const successor = await fabric.join('child');
    const batch = await successor.receiveBatch();
    expect(batch.map((message) => [message.text(), message.attempt])).toEqual([
      ['one', 1],
      ['two', 0],
    ]);
  });
});

describe('A child of a process that takes part', () => {
  test('inherits nothing: no descriptor, no life', async () => {
    const evidence = evidenceOf('F22');
    const fabric = await openFabric();
    const parent = startChild(
      async ({ open, say, dir }) => {
        const agent = await (await open()).join('elder');
        agent.counter('n').add();
        void agent.receive();
        await new Promise((resolve) => setTimeout(resolve, 50)); // its FIFO is open by now
        const { spawn } = process.getBuiltinModule('node:child_process');
        const script = `
          const { readdirSync, readlinkSync, readFileSync } = require('node:fs');
          const links = readdirSync('/proc/self/fd').flatMap((fd) => {
            try { return [readlinkSync('/proc/self/fd/' + fd)]; } catch { return []; }
          });
          const maps = readFileSync('/proc/self/maps', 'utf8').split('\\n');
          console.log(JSON.stringify({
            pid: process.pid,
            inherited: [...links, ...maps].filter((text) => text.includes(${JSON.stringify(dir)})),
          }));
          setTimeout(() => {}, 60_000);
        `;
        const child = spawn(process.execPath, ['-e', script], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        child.stdout.once('data', (data: Buffer) => say(JSON.parse(`${data}`)));
      },
      { dir: dirOf(fabric) },
    );
    const { pid, inherited } = await parent.heard<{ pid: number; inherited: string[] }>();
    expect(inherited).toEqual([]);

    await parent.kill();
    try {
      process.kill(pid, 0); // the child lives on
      expect(fabric.sweep()).toMatchObject({ reaped: 1 });
      expect((await fabric.join('elder')).name).toBe('elder');
      evidence.met();
    } finally {
      process.kill(pid, 'SIGKILL');
    }
  });

  test('made by cluster takes part with a name of its own, and dies alone', async () => {
    const evidence = evidenceOf('F22');
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const parent = startChild(
      async ({ open, say }) => {
        const cluster = process.getBuiltinModule('node:cluster') as unknown as typeof clusterModule;
        if (cluster.isWorker) {
          const agent = await (await open()).join(`worker-${cluster.worker?.id}`);
          for await (const message of agent.messages()) {
            await message.reply(agent.name);
            message.ack();
          }
          return;
        }
        const agent = await (await open()).join('primary');
        for (let i = 0; i < 3; i += 1) cluster.fork();
        const before = new Promise((resolve) => {
          cluster.once('exit', (worker, _, signal) => resolve([worker.id, signal]));
        });
        say('ready');
        const victim = await agent.receive();
        victim?.ack();
        cluster.workers?.[2]?.process.kill('SIGKILL');
        say(await before);
        await agent.receive();
        for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL');
      },
      { dir: dirOf(fabric) },
    );
    expect(await parent.heard()).toBe('ready');
    const names = ['worker-1', 'worker-2', 'worker-3'];
    const there = () => fabric.snapshot().map((agent) => agent.name);
    await until(() => names.every((name) => there().includes(name)));
    const answers = await Promise.all(names.map((name) => me.ask(name, 'who?')));
    expect(answers.map((answer) => answer.text())).toEqual(names);
    evidence.met(3);

    await me.send('primary', 'kill');
    expect(await parent.heard(), parent.stderr).toEqual([2, 'SIGKILL']);
    const lives = (name: string) =>
      fabric.snapshot().find((agent) => agent.name === name)?.liveness;
    expect(['primary', ...names].map(lives)).toEqual(['alive', 'alive', 'dead', 'alive']);
    expect((await me.ask('worker-3', 'who?')).text()).toBe('worker-3');
    evidence.met();
    await me.send('primary', 'end');
    await parent.exited;
  });

  test('made by child_process.fork takes part with a name of its own', async () => {
    const evidence = evidenceOf('F22');
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const parent = startChild(
      async ({ open, say }) => {
        const { fork } = process.getBuiltinModule('node:child_process');
        if (process.send !== undefined) {
          const agent = await (await open()).join('forked');
          await agent.send('me', 'from the forked one');
          process.disconnect();
          return;
        }
        const agent = await (await open()).join('elder');
        const child = fork(process.argv[1] as string);
        child.once('exit', async (code) => {
          await agent.send('me', 'from the parent');
          say({ code });
        });
      },
      { dir: dirOf(fabric) },
    );

    expect(await parent.heard()).toEqual({ code: 0 });
    const got = [await me.receive(), await me.receive()];
    expect(got.map((message) => [message?.from, message?.text()])).toEqual([
      ['forked', 'from the forked one'],
      ['elder', 'from the parent'],
    ]);
    evidence.met();
  });
});

describe('A fabric that was closed', () => {
  // The loop said "I go to sleep now" of a participant that the answer, handled just before, had
  // closed: one job of two ended by SIGSEGV. A message that a timer sends is found by the loop in the
  // same turn, in that place.
  test('may be closed by what comes while the loop is about to sleep', async () => {
    const fabric = await openFabric();
    const child = startChild(
      async ({ open, say }) => {
        for (let i = 0; i < 50; i += 1) {
          const fabric = await open();
          const agent = await fabric.join('child');
          setTimeout(() => agent.trySend('child', i), 2);
          (await agent.receive())?.ack();
          await fabric.close();
        }
        say('done');
      },
      { dir: dirOf(fabric) },
    );

    expect(await child.heard()).toBe('done');
    expect(await child.exited).toEqual({ code: 0, signal: null });
  });

  test('is let go of: a process may open and close for ever', async () => {
    const fabric = await openFabric();
    const child = startChild(
      async ({ open, say, sleep }) => {
        const heapBytes = async () => {
          for (let i = 0; i < 5; i += 1) {
            globalThis.gc?.();
            await sleep(20); // finalizers run in turns of the loop
          }
          return process.memoryUsage().heapUsed;
        };
        const openAndClose = async (times: number) => {
          for (let i = 0; i < times; i += 1) {
            const fabric = await open();
            if (i % 2 === 1) fabric.region.watchPids(() => fabric.name);
            await fabric.close();
          }
        };
        await openAndClose(200);
        const before = await heapBytes();
        await openAndClose(2000);
        say((await heapBytes()) - before);
      },
      { dir: dirOf(fabric), nodeOptions: ['--expose-gc'] },
    );

    // What is kept of each is more than 400 bytes, if anything is.
    expect(await child.heard<number>()).toBeLessThan(2000 * 200);
  });
});
