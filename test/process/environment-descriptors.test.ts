import { beforeEach, describe, expect, test } from 'vitest';
import { startChild } from '../support/child.js';
import { needs } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { testDirectory } from '../support/fabric.js';

// Hard and soft: Node raises the soft one. Enough for it to load modules, dozens of files at once.
const limited = ['prlimit', '--nofile=128:128'];

describe('A process without descriptors', () => {
  beforeEach((context) => needs(context, [...limited, 'true']));

  test('is told so of what is new, goes on with what it has, and opens nothing half', async () => {
    const evidence = evidenceOf('F14');
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say }) => {
        const fs = process.getBuiltinModule('node:fs');
        const fabric = await cfc.Fabric.open('test', { dir, create: true, profile: 'small' });
        const a = await fabric.join('a');
        await fabric.join('b');
        await a.send('b', 'x'.repeat(2000)); // a slab is there
        const open = () => fs.readdirSync('/proc/self/fd').length;
        const files = () => fs.readdirSync(`${dir}/test`).length;
        const before = { descriptors: open(), files: files() };
        const taken: number[] = [];
        const take = () => {
          for (;;) {
            try {
              taken.push(fs.openSync('/dev/null', 'r'));
            } catch {
              return;
            }
          }
        };
        const told: Record<string, string> = {};
        const trying = async (name: string, what: () => unknown) => {
          try {
            await what();
            told[name] = 'done';
          } catch (error) {
            told[name] = (error as { code?: string }).code ?? String(error);
          }
        };
        take();
        await trying('open', () => cfc.Fabric.open('test', { dir }));
        await trying('create', () => cfc.Fabric.open('other', { dir, create: true }));
        await trying('mailbox', () => fabric.join('c', { mailboxCells: 1024 }));
        await trying('body', () => a.send('b', new Uint8Array(1 << 21), { timeoutMs: 0 }));
        await trying('small', () => a.send('b', 'small'));
        await trying('old slab', () => a.send('b', 'y'.repeat(2000)));
        await trying('wait', () => a.receive({ timeoutMs: 30 }));
        await trying('sweep', () => {
          if (fabric.sweep().reaped !== 0) throw new Error('it called somebody dead');
        });
        await trying('snapshot', () => {
          if (fabric.snapshot().some(({ liveness }) => liveness !== 'alive')) {
            throw new Error('it took somebody for dead');
          }
        });
        for (const fd of taken) fs.closeSync(fd);
        const after = { descriptors: open(), files: files() };
        const census = fabric.census();

        await trying('mailbox, later', () => fabric.join('c', { mailboxCells: 1024 }));
        await trying('body, later', () => a.send('b', new Uint8Array(1 << 21)));
        await trying('wait, later', async () => {
          const waiting = a.receive({ timeoutMs: 10_000 });
          await a.send('a', 'x');
          (await waiting)?.ack();
        });
        say({ told, before, after, census });
        await fabric.close();
      },
      { dir, wrapper: limited },
    );

    const heard = await child.heard<Record<string, unknown>>();
    const { told, before, after, census } = heard as {
      told: Record<string, string>;
      before: unknown;
      after: { descriptors: number };
      census: unknown;
    };
    expect(told, child.stderr).toEqual({
      open: 'ERR_CFC_SYSTEM',
      create: 'ERR_CFC_SYSTEM',
      mailbox: 'ERR_CFC_SYSTEM',
      body: 'ERR_CFC_SYSTEM',
      small: 'done',
      'old slab': 'done',
      wait: expect.stringMatching(/^(done|ERR_CFC_SYSTEM)$/),
      sweep: 'done',
      snapshot: 'done',
      'mailbox, later': 'done',
      'body, later': 'done',
      'wait, later': 'done',
    });
    expect(after).toEqual(before);
    expect(census).toMatchObject({ queued: 3, claimed: 0, chunksLoaned: 0, namesClaimed: 0 });
    evidence.met(9);
    expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
  });
});
