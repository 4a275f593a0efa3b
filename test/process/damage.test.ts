import { openSync, readdirSync, readFileSync, readSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Fabric } from '../../src/index.js';
import { startChild } from '../support/child.js';
import { evidenceOf } from '../support/evidence.js';
import { failureOf, openFabric, range, sleep } from '../support/fabric.js';

/** More of them: `CFC_SEEDS=1,2,3 npm test -- damage`. */
const seeds = (process.env.CFC_SEEDS ?? '11,23,42').split(',').map(Number);

/** Magic to ready word; docs/memory.md draws them. */
const headerBytes = 168;

describe('A flipped bit', () => {
  test.each(['control', 'metrics'])(
    'in the header of %s, each of them, is found; the file stays as it is for a look',
    async (file) => {
      const evidence = evidenceOf('F10');
      const fabric = await openFabric();
      const agent = await fabric.join('agent');
      const dir = dirname(fabric.info().path);
      const path = join(dir, 'test', file);
      const fd = openSync(path, 'r+');
      const header = Buffer.alloc(headerBytes);
      readSync(fd, header, 0, headerBytes, 0);
      const codes = new Map<string, number>();
      for (const bit of range(8 * headerBytes)) {
        const at = bit >> 3;
        const flipped = Buffer.from([(header[at] as number) ^ (1 << (bit & 7))]);
        writeSync(fd, flipped, 0, 1, at);
        evidence.injected += 1;
        const { code, details } = await failureOf(Fabric.open('test', { dir }));
        codes.set(code, (codes.get(code) ?? 0) + 1);
        expect(details.path, `bit ${bit}`).toBe(path);
        const kept = Buffer.alloc(1);
        readSync(fd, kept, 0, 1, at);
        expect(kept).toEqual(flipped);
        writeSync(fd, header, at, 1, at);
        evidence.hit += 1;
      }

      expect([...codes.keys()].sort()).toEqual(['ERR_CFC_REGION_CORRUPT', 'ERR_CFC_REGION_LAYOUT']);
      expect(codes.get('ERR_CFC_REGION_LAYOUT')).toBeGreaterThanOrEqual(16 + 32);
      // Who had it open never reads the header again.
      await agent.send('agent', 'x');
      expect((await agent.receive())?.text()).toBe('x');
      expect((await Fabric.open('test', { dir })).name).toBe('test');
    },
  );

  test.each(['mail.000', 'slab.000'])(
    'in the header of %s keeps who comes from using it, and harms nobody',
    async (file) => {
      const evidence = evidenceOf('F10');
      const fabric = await openFabric();
      const agent = await fabric.join('agent');
      await agent.send('agent', 'x'.repeat(5000));
      const dir = dirname(fabric.info().path);
      const fd = openSync(join(dir, 'test', file), 'r+');
      const header = Buffer.alloc(headerBytes);
      readSync(fd, header, 0, headerBytes, 0);
      for (const bit of range(8 * headerBytes)) {
        const at = bit >> 3;
        writeSync(fd, Buffer.from([(header[at] as number) ^ (1 << (bit & 7))]), 0, 1, at);
        evidence.injected += 1;
        const other = await Fabric.open('test', { dir });
        const told = await failureOf(
          (async () => {
            const visitor = await other.join('visitor');
            await visitor.send('agent', 'y'.repeat(5000), { timeoutMs: 0 });
            await visitor.leave();
            if (file === 'slab.000') throw new Error('it took another segment');
          })(),
        );
        expect(told.code ?? told.message, `bit ${bit}`).toMatch(
          /^(ERR_CFC_REGION_CORRUPT|ERR_CFC_REGION_LAYOUT|ERR_CFC_MAILBOX_FULL|ERR_CFC_SLAB_FULL|ERR_CFC_SYSTEM|ERR_CFC_BUSY|it took another segment)$/,
        );
        evidence.hit += 1;
        await other.close();
        writeSync(fd, header, at, 1, at);
      }
      expect((await agent.receive())?.text()).toBe('x'.repeat(5000));
    },
  );
});

describe('Somebody who writes garbage into the files of a living fabric', () => {
  test.each(seeds)(
    'at random, seed %i, crashes and hangs nobody; what they are told has a code',
    async (seed) => {
      const evidence = evidenceOf('F11');
      const fabric = await openFabric();
      const dir = dirname(fabric.info().path);
      const peers = range(3).map((i) =>
        startChild<{ i: number }>(
          async ({ open, say, args, sleep }) => {
            const codes: Record<string, number> = {};
            let done = 0;
            let stopping = false;
            process.once('SIGUSR2', () => {
              stopping = true;
            });
            const trying = async (what: () => unknown) => {
              try {
                await what();
                done += 1;
              } catch (error) {
                const code = (error as { code?: string }).code ?? String(error);
                codes[code] = (codes[code] ?? 0) + 1;
              }
            };
            const fabric = await open();
            const names = ['p0', 'p1', 'p2'];
            let agent = await fabric.join(`p${args.i}`);
            agent.histogram('h').record(1);
            await agent.send(`p${args.i}`, 'x'.repeat(3000));
            say('ready');
            while (!stopping) {
              for (const name of names) {
                await trying(() => agent.trySend(name, 'small'));
                await trying(() => agent.send(name, 'y'.repeat(4000), { timeoutMs: 1 }));
              }
              await trying(async () => (await agent.receive({ timeoutMs: 1 }))?.ack());
              await trying(async () => (await agent.receiveBatch({ timeoutMs: 1 })).ack());
              await trying(() => agent.ask(names[0] as string, 'q', { timeoutMs: 2 }));
              await trying(() => agent.counter('n').add());
              await trying(() => agent.histogram('h').record(5));
              await trying(() => fabric.snapshot());
              await trying(() => fabric.census());
              await trying(() => fabric.peek(names[1] as string));
              await trying(() => fabric.sweep());
              await trying(async () => {
                await agent.leave();
              });
              await trying(async () => {
                agent = await fabric.join(`p${args.i}`);
              });
              await sleep(0);
            }
            say({ done, codes });
            await fabric.close().catch(() => {});
          },
          { dir, args: { i } },
        ),
      );
      for (const peer of peers) expect(await peer.heard(), peer.stderr).toBe('ready');

      const files = readdirSync(join(dir, 'test')).filter((name) => /^(control|m|s)/.test(name));
      const open = files.map((name) => {
        const path = join(dir, 'test', name);
        return { fd: openSync(path, 'r+'), bytes: statSync(path).size };
      });
      let state = seed;
      const random = (below: number) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 2 ** 32) * below);
      };
      const garbage = Buffer.alloc(64);
      const writes = 30_000;
      for (const i of range(writes)) {
        const { fd, bytes } = open[random(open.length)] as { fd: number; bytes: number };
        for (let at = 0; at < garbage.length; at += 1) garbage[at] = random(256);
        // Mostly where something is: words at the front, small numbers, single bits.
        const near = random(3) > 0 ? Math.min(bytes, 1 << 17) : bytes;
        const length = [1, 2, 4, 8, 64][random(5)] as number;
        if (random(3) === 0) garbage.fill(0, 1, 8);
        writeSync(fd, garbage, 0, length, 4096 + random((near - 4096 - 64) >> 3) * 8);
        if (i % 20 === 0) await sleep(1);
      }
      evidence.injected += writes;

      for (const peer of peers) peer.process.kill('SIGUSR2');
      for (const peer of peers) {
        const told = await peer.heard<{ done: number; codes: Record<string, number> }>();
        expect(told.codes, peer.stderr).toBeDefined();
        for (const code of Object.keys(told.codes)) expect(code).toMatch(/^ERR_CFC_[A-Z_]+$/);
        evidence.hit += Object.values(told.codes).reduce((a, b) => a + b, 0);
        expect(await peer.exited, peer.stderr).toEqual({ code: 0, signal: null });
      }
      expect(evidence.hit).toBeGreaterThan(0);
    },
  );
});

test('The size of a header is what the tests here flip', () => {
  const layout = readFileSync(new URL('../../native/core/layout.h', import.meta.url), 'utf8');
  expect(layout).toContain(`sizeof(FileHeader) == ${headerBytes}`);
});
