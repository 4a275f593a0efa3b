import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Fabric } from '../../src/index.js';
import { root, startChild, startWorker } from '../support/child.js';
import { evidenceOf } from '../support/evidence.js';
import { openFabric, range, until } from '../support/fabric.js';

const dirOf = (fabric: Fabric) => dirname(fabric.info().path);

describe('A worker thread', () => {
  test('is an agent of its own, beside those of its process', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const worker = startWorker(
      async ({ open, say }) => {
        const agent = await (await open()).join('worker');
        say('ready');
        for await (const message of agent.messages()) {
          await message.reply(`did ${message.text()}`);
          message.ack();
          if (message.text() === 'the last') break;
        }
        await agent.leave();
        say('left');
      },
      { dir: dirOf(fabric) },
    );
    expect(await worker.heard()).toBe('ready');

    const answers = await Promise.all(range(50).map((i) => me.ask('worker', `${i}`)));
    expect(answers.map((answer) => answer.text())).toEqual(range(50).map((i) => `did ${i}`));
    await me.ask('worker', 'the last');

    expect(await worker.heard()).toBe('left');
    expect(await worker.exited).toBe(0);
    expect(fabric.census()).toMatchObject({ slotsLive: 1, namesLive: 1, queued: 0 });
  });

  test('may block in receiveSync while the others go on', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const workers = range(3).map((i) =>
      startWorker<{ i: number }>(
        async ({ open, say, args }) => {
          const agent = await (await open()).join(`w${args.i}`);
          say('ready');
          let sum = 0;
          for (let n = 0; n < 100; n += 1) {
            const message = agent.receiveSync();
            sum += message?.json<number>() ?? 0;
            message?.ack();
          }
          say({ sum });
        },
        { dir: dirOf(fabric), args: { i } },
      ),
    );
    for (const worker of workers) expect(await worker.heard()).toBe('ready');

    for (const n of range(100)) for (const i of range(3)) await me.send(`w${i}`, n);

    for (const worker of workers) expect(await worker.heard()).toEqual({ sum: 4950 });
  });

  test('terminated in mid-wait ends, and gives back what it had', async () => {
    const evidence = evidenceOf('F21');
    const fabric = await openFabric();
    const me = await fabric.join('me');
    const tookMs: string[] = [];
    for (const how of ['receiveSync', 'receive'] as const) {
      const worker = startWorker<{ how: 'receiveSync' | 'receive' }>(
        async ({ open, say, args }) => {
          const agent = await (await open()).join('worker');
          say('ready');
          await agent.receive();
          say('waiting');
          if (args.how === 'receive') await agent.receive();
          else agent.receiveSync();
          say('never');
        },
        { dir: dirOf(fabric), args: { how } },
      );
      expect(await worker.heard()).toBe('ready');
      await me.send('worker', 'held');
      expect(await worker.heard()).toBe('waiting');

      evidence.injected += 1;
      const began = performance.now();
      await worker.worker.terminate();
      tookMs.push(`${how} ${(performance.now() - began).toFixed(1)}`);

      expect(fabric.census()).toMatchObject({ slotsLive: 1, leased: 0, ready: 1 });
      const successor = await fabric.join('worker');
      const message = await successor.receive();
      expect(message?.redelivered).toBe(true);
      message?.ack();
      await successor.leave();
      evidence.hit += 1;
    }
    console.log(`terminated in mid-wait, ms: ${tookMs.join(', ')}`); // at most 250 where idle
  });

  test('terminated while it sends leaves whole messages, and nothing else', async () => {
    const fabric = await openFabric();
    const me = await fabric.join('me');
    for (const round of range(8)) {
      const worker = startWorker<{ round: number }>(
        async ({ open, say, args }) => {
          const agent = await (await open()).join('worker');
          say('ready');
          for (let i = 0; ; i += 1) {
            await agent.send('me', { round: args.round, i, pad: 'x'.repeat((i * 53) % 900) });
          }
        },
        { dir: dirOf(fabric), args: { round } },
      );
      expect(await worker.heard()).toBe('ready');
      let next = 0;
      let ended = false;
      const terminating = (async () => {
        await until(() => next > 50);
        await worker.worker.terminate();
        ended = true;
      })();
      for (;;) {
        const batch = await me.receiveBatch({ timeoutMs: 20 });
        if (batch.length === 0 && ended) break;
        for (const message of batch) {
          expect(message.json()).toMatchObject({ round, i: next });
          next += 1;
        }
        batch.ack();
      }
      await terminating;
    }
    expect(fabric.census()).toMatchObject({
      slotsLive: 1,
      namesLive: 1,
      queued: 0,
      claimed: 0,
      chunksLoaned: 0,
      chunksPlaced: 0,
    });
  });

  test('that comes and goes hundreds of times leaves no slot, descriptor or mapping', async () => {
    const fabric = await openFabric();
    const child = startChild(
      async ({ dir, say, args }) => {
        const { Worker } = process.getBuiltinModule('node:worker_threads');
        const { readdirSync, readFileSync } = process.getBuiltinModule('node:fs');
        const program = process.argv[1] as string;
        const source = `async ({ open, say, args }) => {
          const fabric = await open();
          const agent = await fabric.join('worker-' + args.i % 7);
          agent.counter('n').add();
          agent.histogram('h').record(1);
          await agent.send(agent.name, 'to myself');
          if (args.i % 3 === 0) { say('go'); await fabric.close(); return; }
          await agent.receive();
          say('go');
          if (args.i % 3 === 1) agent.receiveSync();
          else await agent.receive();
        }`;
        const measure = () => ({
          descriptors: readdirSync('/proc/self/fd').length,
          mappings: readFileSync('/proc/self/maps', 'utf8')
            .split('\n')
            .filter((line) => line.includes(dir)).length,
          threads: readdirSync('/proc/self/task').length,
        });
        const cycle = async (i: number) => {
          const worker = new Worker(program, { workerData: { source, args: { i }, dir } });
          const exited = new Promise((resolve) => worker.once('exit', resolve));
          await new Promise((resolve) => worker.once('message', resolve));
          if (i % 3 !== 0) await worker.terminate();
          await exited;
        };
        for (let i = 0; i < 30; i += 1) await cycle(i);
        const before = measure();
        for (let i = 0; i < (args as { cycles: number }).cycles; i += 4) {
          await Promise.all([0, 1, 2, 3].map((j) => cycle(i + j)));
        }
        say({ before, after: measure() });
      },
      { dir: dirOf(fabric), args: { cycles: 240 } },
    );

    const told = await child.heard<{ before: unknown; after: unknown }>();

    expect(told.after, child.stderr).toEqual(told.before);
    expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(fabric.census()).toMatchObject({ slotsLive: 0, leased: 0, claimed: 0 });
  });

  test('terminated at any moment, whatever it is at, ends nobody else and leaves nothing', async () => {
    const evidence = evidenceOf('F21');
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      ['scripts/teardown.mjs', '150'],
      // A worker that is terminated cannot write its coverage, and Node says so on stderr.
      { cwd: root, env: { ...process.env, NODE_V8_COVERAGE: undefined } },
    );

    expect(stderr).toBe('');
    const told = JSON.parse(stdout) as Record<string, number>;
    expect(told).toMatchObject({ cycles: 150, stayed: { slotsLive: 0, leased: 0 } });
    evidence.injected += told.cycles as number;
    evidence.hit += told.atWork as number;
    expect(told.atWork).toBeGreaterThan(75);
  });
});
