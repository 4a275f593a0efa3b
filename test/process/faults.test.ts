import { truncateSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startChild } from '../support/child.js';
import { onTmpfs } from '../support/environment.js';
import { failureOf, openFabric, testDirectory } from '../support/fabric.js';

describe('A full tmpfs', () => {
  test('of 4 MB is an error that says how much is needed, and the process lives', async () => {
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const { readdirSync } = process.getBuiltinModule('node:fs');
        const failed = await cfc.Fabric.open('test', { dir, create: true, profile: 'large' }).then(
          () => undefined,
          (error) => error,
        );
        say({ code: failed?.code, ...failed?.details, hint: failed?.hint });
        say({ left: readdirSync(dir) });
      },
      { dir, wrapper: onTmpfs(dir, 'size=4m,mode=700') },
    );

    const told = await child.heard<Record<string, unknown>>();
    expect(told, child.stderr).toMatchObject({ code: 'ERR_CFC_NO_SPACE' });
    expect(told.needBytes as number).toBeGreaterThan(told.haveBytes as number);
    expect(told.haveBytes as number).toBeGreaterThan(0);
    expect(told.hint).toContain('remount');
    expect(await child.heard()).toEqual({ left: [] });
    expect(await child.exited).toEqual({ code: 0, signal: null });
  });

  test('makes what grows say so, and everything else goes on', async () => {
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const capacity = {
          maxAgents: 64,
          maxParticipants: 64,
          mailboxCells: 64,
          mailSegmentBytes: 1 << 18,
          slabSegmentBytes: 1 << 19,
          histograms: 8,
        };
        const fabric = await cfc.Fabric.open('test', { dir, create: true, capacity });
        const codes = new Set<string>();
        const trying = async (what: () => unknown) => {
          try {
            await what();
            return true;
          } catch (error) {
            codes.add((error as { code?: string }).code ?? String(error));
            return false;
          }
        };
        const a = await fabric.join('a');
        await fabric.join('b');
        let large = 0;
        while (await trying(() => a.send('b', new Uint8Array(200_000), { timeoutMs: 0 })))
          large += 1;
        let names = 0;
        while (await trying(() => fabric.join(`n${names}`, { mailboxCells: 512 }))) names += 1;
        say({ codes: [...codes], large, names });
        // What is there works as before: other cells, other chunks, counters.
        await a.send('a', 'small');
        const message = await a.receive();
        message?.ack();
        a.counter('n').add();
        say({ text: message?.text(), census: fabric.census() });
        await fabric.close();
      },
      { dir, wrapper: onTmpfs(dir, 'size=4m,mode=700') },
    );

    const told = await child.heard<{ codes: string[]; large: number; names: number }>();
    expect(told.codes, child.stderr).toEqual(['ERR_CFC_NO_SPACE']);
    expect(told.large).toBeGreaterThan(0);
    expect(await child.heard()).toMatchObject({
      text: 'small',
      census: { acked: 1, queued: told.large, chunksLoaned: 0, claimed: 0 },
    });
    expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
  });

  test('that is read-only is a failure of the system, named', async () => {
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const failed = await cfc.Fabric.open('test', { dir, create: true }).then(
          () => undefined,
          (error) => error,
        );
        say({ code: failed?.code, syscall: failed?.cause?.syscall, errno: failed?.cause?.errno });
      },
      { dir, wrapper: onTmpfs(dir, 'size=4m,mode=700,ro') },
    );

    expect(await child.heard()).toEqual({ code: 'ERR_CFC_SYSTEM', syscall: 'mkdirat', errno: 30 });
  });

  test('with no inodes left is an error, too', async () => {
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const { readdirSync } = process.getBuiltinModule('node:fs');
        const failed = await cfc.Fabric.open('test', { dir, create: true, profile: 'small' }).then(
          () => undefined,
          (error) => error,
        );
        say({ code: failed?.code, left: readdirSync(dir) });
      },
      { dir, wrapper: onTmpfs(dir, 'size=64m,mode=700,nr_inodes=20') },
    );

    expect(await child.heard()).toEqual({ code: 'ERR_CFC_NO_SPACE', left: [] });
  });
});

describe('A file that is truncated under its mapping', () => {
  test.each(['control', 'mail.000', 'slab.000', 'metrics'])(
    '%s: who meets it is told, and its process lives',
    async (file) => {
      const fabric = await openFabric();
      const dir = dirname(fabric.info().path);
      const child = startChild(
        async ({ open, say }) => {
          const fabric = await open();
          const a = await fabric.join('a');
          await fabric.join('b');
          await a.send('b', 'x'.repeat(3000));
          a.counter('n').add();
          const codes = new Set<string>();
          const truncated = new Promise((resolve) => process.once('SIGUSR2', resolve));
          const alive = setTimeout(() => {}, 60_000);
          say('ready');
          await truncated;
          clearTimeout(alive);
          const touch = (what: () => unknown) => {
            try {
              what();
            } catch (error) {
              codes.add((error as { code?: string }).code ?? String(error));
            }
          };
          for (let i = 0; i < 20; i += 1) {
            touch(() => a.trySend('b', 'y'.repeat(3000)));
            touch(() => a.tryReceive());
            touch(() => a.counter('n').add());
            touch(() => fabric.snapshot());
            touch(() => fabric.census());
            touch(() => fabric.sweep());
            touch(() => fabric.check());
            touch(() => a.peek());
          }
          await fabric.close().catch((error) => codes.add(error.code));
          say({ codes: [...codes] });
        },
        { dir },
      );
      expect(await child.heard()).toBe('ready');
      await fabric.close();

      truncateSync(join(dir, 'test', file), 0);
      child.process.kill('SIGUSR2');

      const told = await child.heard<{ codes: string[] }>();
      expect(told.codes, child.stderr).toContain('ERR_CFC_REGION_CORRUPT');
      for (const code of told.codes) expect(code).toMatch(/^ERR_CFC_/);
      expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
    },
  );
});

describe('A process that lost its lease', () => {
  test('by closing all descriptors is told so, and no longer takes part', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const child = startChild(
      async ({ open, say, dir }) => {
        const { closeSync, readdirSync, readlinkSync } = process.getBuiltinModule('node:fs');
        const fabric = await open();
        const agent = await fabric.join('child');
        for (const fd of readdirSync('/proc/self/fd')) {
          try {
            if (readlinkSync(`/proc/self/fd/${fd}`).includes(`${dir}/test/lease`))
              closeSync(Number(fd));
          } catch {
            // it was the one that read the list
          }
        }
        try {
          fabric.check();
          say('unaware');
        } catch (error) {
          say((error as { code: string }).code);
        }
        say(
          await agent.send('child', 'x').then(
            () => 'sent',
            (error) => error.code,
          ),
        );
      },
      { dir },
    );

    expect(await child.heard()).toBe('ERR_CFC_LEASE_LOST');
    expect(await child.heard()).toBe('ERR_CFC_LEASE_LOST');
    expect((await fabric.join('child')).name).toBe('child');
  });
});

describe('A fabric that is destroyed', () => {
  test('tells who waits in it, at the backstop at the latest', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const child = startChild(
      async ({ open, say }) => {
        const agent = await (await open()).join('child');
        say('ready');
        say(
          await agent.receive().then(
            () => 'received',
            (error) => error.code,
          ),
        );
      },
      { dir },
    );
    expect(await child.heard()).toBe('ready');

    const { Fabric } = await import('../../src/index.js');
    await Fabric.destroy('test', { dir });

    expect(await child.heard()).toBe('ERR_CFC_FABRIC_REMOVED');
    expect((await failureOf(() => fabric.check())).code).toBe('ERR_CFC_FABRIC_REMOVED');
  });
});
