import { beforeEach, describe, expect, test } from 'vitest';
import { startChild } from '../support/child.js';
import { needs, onTmpfs, unshare } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { testDirectory } from '../support/fabric.js';

const mountable = unshare('--mount', 'true');

describe('A tmpfs', () => {
  beforeEach((context) => needs(context, mountable));

  test.each([1, 4, 16, 64])(
    'of %i MB: creation works or says what it needs; loaded until it is full, nobody dies of it',
    async (megabytes) => {
      const evidence = evidenceOf('F9');
      const dir = testDirectory();
      const child = startChild(
        async ({ cfc, dir, say }) => {
          type Failure = { code?: string; details?: { needBytes?: number; haveBytes?: number } };
          const { readdirSync } = process.getBuiltinModule('node:fs');
          const tiny = {
            maxAgents: 64,
            maxParticipants: 64,
            mailboxCells: 16,
            mailSegmentBytes: 1 << 16,
            slabSegmentBytes: 1 << 19,
            slabMaxBytes: 256 << 20,
            senderSlabBytes: 256 << 20,
            histograms: 2,
          };
          const ways = {
            large: { profile: 'large' },
            default: {},
            small: { profile: 'small' },
            tiny: { capacity: tiny },
          } as const;
          const made: Record<string, unknown> = {};
          let fabric: Awaited<ReturnType<typeof cfc.Fabric.open>> | undefined;
          for (const [way, options] of Object.entries(ways)) {
            try {
              fabric = await cfc.Fabric.open('test', { dir, create: true, ...options });
              made[way] = 'made';
              if (way === 'tiny') break;
              await fabric.close();
              await cfc.Fabric.destroy('test', { dir }); // takes the directory along
            } catch (error) {
              const { code, details } = error as Failure;
              made[way] = { code, ...details, left: readdirSync(dir) };
            }
          }
          say(made);
          if (fabric === undefined || made.tiny !== 'made') return;

          // Everything that grows, at once, until each is told that there is no room.
          const opened = fabric;
          const writers: Awaited<ReturnType<typeof opened.join>>[] = [];
          for (let i = 0; i < 4; i += 1) writers.push(await fabric.join(`w${i}`));
          const reader = await fabric
            .join('reader', { mailboxCells: 1024 })
            .catch(() => writers[0]);
          const target = reader?.name as string;
          const refusals: { code?: string; needBytes?: number; haveBytes?: number }[] = [];
          let accepted = 0;
          const load = async (what: () => Promise<unknown>) => {
            for (;;) {
              try {
                await what();
              } catch (error) {
                const { code, details } = error as Failure;
                refusals.push({ code: code ?? String(error), ...details });
                return;
              }
            }
          };
          let names = 0;
          await Promise.all([
            ...writers.map((writer, i) =>
              load(async () => {
                await writer.send(target, new Uint8Array(300 << (i * 3)), { timeoutMs: 0 });
                accepted += 1;
              }),
            ),
            load(() => {
              names += 1;
              return opened.join(`n${names}`, { mailboxCells: 4096 });
            }),
          ]);
          // Still the same fabric: what was accepted is there, and small things go on.
          let got = 0;
          for (let message = reader?.tryReceive(); message; message = reader?.tryReceive()) {
            message.ack();
            got += 1;
          }
          await writers[1]?.send(target, 'small');
          (await reader?.receive())?.ack();
          say({ refusals, accepted, got, census: fabric.census() });
          await fabric.close();
        },
        { dir, wrapper: onTmpfs(dir, `size=${megabytes}m,mode=700`) },
      );

      const made = await child.heard<Record<string, unknown>>();
      for (const [way, told] of Object.entries(made)) {
        evidence.injected += 1;
        if (told === 'made') continue;
        evidence.hit += 1;
        expect(told, way).toMatchObject({ code: 'ERR_CFC_NO_SPACE', left: [] });
        const { needBytes, haveBytes } = told as Record<string, number>;
        expect(needBytes, way).toBeGreaterThan(haveBytes as number);
      }
      expect(made.tiny).toBe('made');
      if (megabytes === 64) expect(made.small).toBe('made');
      if (megabytes === 1) expect(made.small).not.toBe('made');

      const told = await child.heard<Record<string, unknown>>();
      const refusals = told.refusals as Record<string, unknown>[];
      expect(refusals, child.stderr).toHaveLength(5);
      for (const refusal of refusals) {
        evidence.met();
        expect(['ERR_CFC_NO_SPACE', 'ERR_CFC_MAILBOX_FULL', 'ERR_CFC_AGENTS_FULL']).toContain(
          refusal.code,
        );
      }
      expect(refusals.some(({ code }) => code === 'ERR_CFC_NO_SPACE')).toBe(true);
      expect(told.got).toBe(told.accepted);
      expect(told.census).toMatchObject({
        acked: (told.accepted as number) + 1,
        queued: 0,
        claimed: 0,
        chunksLoaned: 0,
        chunksPlaced: 0,
      });
      expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
    },
  );

  test('of 64 MB holds 2,048 agents of the small profile, with mail for each', async () => {
    const evidence = evidenceOf('F9');
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const fabric = await cfc.Fabric.open('test', { dir, create: true, profile: 'small' });
        const agents = [];
        for (let i = 0; i < 2048; i += 1) agents.push(await fabric.join(`agent-${i}`));
        for (const [i, agent] of agents.entries()) {
          await agent.send(`agent-${(i + 1) % agents.length}`, `mail of ${i}`);
        }
        let got = 0;
        for (const agent of agents) {
          const message = agent.tryReceive();
          if (message?.text().startsWith('mail of ')) got += 1;
          message?.ack();
        }
        say({ got, bytes: fabric.info().sharedBytes, census: fabric.census() });
        await fabric.close();
      },
      { dir, wrapper: onTmpfs(dir, 'size=64m,mode=700') },
    );

    const told = await child.heard<{ got: number; bytes: number }>();
    expect(told, child.stderr).toMatchObject({ got: 2048, census: { acked: 2048, queued: 0 } });
    expect(told.bytes).toBeLessThan(64 << 20);
    evidence.met();
    expect(await child.exited).toEqual({ code: 0, signal: null });
  });

  test('that becomes read-only between two visits: who comes is told, with the errno', async () => {
    const evidence = evidenceOf('F9');
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const { spawnSync } = process.getBuiltinModule('node:child_process');
        const fabric = await cfc.Fabric.open('test', { dir, create: true, profile: 'small' });
        const agent = await fabric.join('agent');
        await agent.send('agent', 'x'.repeat(5000));
        const message = await agent.receive();
        message?.ack();
        await fabric.close();
        const { status } = spawnSync('mount', ['-o', 'remount,ro', dir], { encoding: 'utf8' });
        const told = [];
        for (const what of [
          () => cfc.Fabric.open('test', { dir }),
          () => cfc.Fabric.open('other', { dir, create: true }),
          () => cfc.Fabric.destroy('test', { dir }),
        ]) {
          told.push(
            await what().then(
              () => 'done',
              ({ code, cause }) => `${code} ${cause?.errno}`,
            ),
          );
        }
        say({ length: message?.text().length, status, told });
      },
      { dir, wrapper: onTmpfs(dir, 'size=32m,mode=700') },
    );

    expect(await child.heard(), child.stderr).toMatchObject({
      length: 5000,
      status: 0,
      told: ['ERR_CFC_SYSTEM 30', 'ERR_CFC_SYSTEM 30', 'ERR_CFC_SYSTEM 30'],
    });
    evidence.met(3);
    expect(await child.exited).toEqual({ code: 0, signal: null });
  });

  test('that is missing is a failure with a path, and CFC_DIR leads round it', async () => {
    const evidence = evidenceOf('F9');
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const told = [];
        for (const options of [{}, { dir: '/dev/shm/not/there' }]) {
          told.push(
            await cfc.Fabric.open('test', { ...options, create: true }).then(
              () => 'made',
              ({ code, details, cause }) => ({ code, path: details.path, errno: cause?.errno }),
            ),
          );
        }
        const { mkdtempSync, rmSync } = process.getBuiltinModule('node:fs');
        const elsewhere = mkdtempSync('/tmp/cfc-test-');
        process.env.CFC_DIR = elsewhere;
        const fabric = await cfc.Fabric.open('test', { create: true, profile: 'small' });
        const agent = await fabric.join('agent');
        await agent.send('agent', 'x');
        told.push((await agent.receive())?.text());
        await fabric.close();
        rmSync(elsewhere, { recursive: true });
        say({ told, dir });
      },
      {
        dir,
        env: { CFC_DIR: '' },
        // Nothing is left of /dev/shm, and nothing can be made there.
        wrapper: onTmpfs('/dev/shm', 'size=1m,mode=555,ro'),
      },
    );

    const { told } = await child.heard<{ told: unknown[] }>();
    expect(told[0], child.stderr).toMatchObject({
      code: 'ERR_CFC_SYSTEM',
      errno: 30,
      path: expect.stringContaining('/dev/shm/cfc-'),
    });
    expect(told[1]).toEqual({ code: 'ERR_CFC_SYSTEM', errno: 2, path: '/dev/shm/not/there' });
    expect(told[2]).toBe('x');
    evidence.met(2);
    expect(await child.exited).toEqual({ code: 0, signal: null });
  });
});
