import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startChild } from '../support/child.js';
import { openFabric, range, sleep } from '../support/fabric.js';
import { callsIn, usageOf } from '../support/process.js';

/** Starting Node leaves this and that to do: how much it has done by then. */
async function untilQuiet(pid: number) {
  for (let before = usageOf(pid); ; ) {
    await sleep(500);
    const now = usageOf(pid);
    if (now.voluntarySwitches - before.voluntarySwitches <= 1) return now;
    before = now;
  }
}

describe('A process that waits for mail', () => {
  test('sleeps: its loop is not woken, but for the backstop, and burns no CPU', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const child = startChild(
      async ({ open, say }) => {
        const me = await (await open()).join('idle');
        say('ready');
        say({ got: (await me.receive())?.text() });
      },
      { dir },
    );
    expect(await child.heard()).toBe('ready');
    const before = await untilQuiet(child.pid);
    await sleep(4000);
    const after = usageOf(child.pid);

    // The backstop comes every five seconds; V8's own threads may ask for a turn now and then.
    expect(after.voluntarySwitches - before.voluntarySwitches).toBeLessThanOrEqual(5);
    expect(after.cpuMs - before.cpuMs).toBeLessThanOrEqual(20);
    const me = await fabric.join('me');
    await me.send('idle', 'wake up');
    expect(await child.heard()).toEqual({ got: 'wake up' });
  });

  test('sleeps also in receiveSync', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const child = startChild(
      async ({ open, say }) => {
        const me = await (await open()).join('idle');
        say('ready');
        say({ got: me.receiveSync()?.text() });
      },
      { dir },
    );
    expect(await child.heard()).toBe('ready');
    const before = await untilQuiet(child.pid);
    await sleep(3000);
    const after = usageOf(child.pid);

    expect(after.voluntarySwitches - before.voluntarySwitches).toBeLessThanOrEqual(5);
    expect(after.cpuMs - before.cpuMs).toBeLessThanOrEqual(20);
    const me = await fabric.join('me');
    await me.send('idle', 'wake up');
    expect(await child.heard()).toEqual({ got: 'wake up' });
  });

  test('that only joined is as if it had not', async () => {
    const fabric = await openFabric();
    const child = startChild(
      async ({ open, say }) => {
        await (await open()).join('idle');
        say('ready');
        setTimeout(() => {}, 60_000);
      },
      { dir: dirname(fabric.info().path) },
    );
    expect(await child.heard()).toBe('ready');
    const before = await untilQuiet(child.pid);
    await sleep(2000);
    const after = usageOf(child.pid);

    expect(after.voluntarySwitches - before.voluntarySwitches).toBeLessThanOrEqual(5);
    expect(after.cpuMs - before.cpuMs).toBeLessThanOrEqual(20);
  });
});

describe('A sender', () => {
  const wakes = ['futex', 'write', 'writev', 'futex_wake', 'eventfd_write'];

  /** Sends `count` messages under strace, `pauseMs` apart. @returns the calls that it made meanwhile */
  async function callsOfSending(
    dir: string,
    count: number,
    pauseMs: number,
  ): Promise<Map<string, number>> {
    const report = join(dir, 'strace.txt');
    const sender = startChild<{ count: number; pauseMs: number }>(
      async ({ open, say, args, sleep }) => {
        const me = await (await open()).join('sender');
        const attached = () => {
          const status = process
            .getBuiltinModule('node:fs')
            .readFileSync('/proc/self/status', 'utf8');
          return !/^TracerPid:\s+0$/m.test(status);
        };
        say({ pid: process.pid });
        while (!attached()) await sleep(10);
        await sleep(300); // until all threads are traced
        for (let i = 0; i < args.count; i += 1) {
          await me.send('receiver', i);
          if (args.pauseMs > 0) await sleep(args.pauseMs);
        }
        say({ sent: args.count });
        await sleep(60_000);
      },
      { dir, args: { count, pauseMs } },
    );
    const { pid } = await sender.heard<{ pid: number }>();
    // The main thread alone: V8's helpers use futexes of their own.
    const strace = spawn('strace', ['-c', '-e', 'trace=all', '-o', report, '-p', `${pid}`], {
      stdio: 'ignore',
    });
    expect(await sender.heard()).toEqual({ sent: count });
    strace.kill('SIGINT');
    await once(strace, 'exit');
    await sender.kill();
    return callsIn(readFileSync(report, 'utf8'));
  }

  test('makes no system call to wake a reader whose loop is busy', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const receiver = startChild(
      async ({ open, say }) => {
        const me = await (await open()).join('receiver', { mailboxCells: 8192 });
        say('ready');
        let received = 0;
        // Never sleeps: each turn of the loop asks for another.
        const turn = () => {
          for (let message = me.tryReceive(); message; message = me.tryReceive()) {
            message.ack();
            received += 1;
          }
          if (received < 3000) setImmediate(turn);
          else say({ received });
        };
        turn();
      },
      { dir },
    );
    expect(await receiver.heard()).toBe('ready');

    const calls = await callsOfSending(dir, 3000, 0);

    expect(await receiver.heard()).toEqual({ received: 3000 });
    const woken = wakes.reduce((sum, name) => sum + (calls.get(name) ?? 0), 0);
    expect(woken, JSON.stringify([...calls])).toBeLessThan(100);
  });

  test('wakes a reader whose loop sleeps with one write', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const receiver = startChild(
      async ({ open, say }) => {
        const me = await (await open()).join('receiver');
        say('ready');
        for (let received = 0; received < 40; received += 1) (await me.receive())?.ack();
        say({ received: 40 });
      },
      { dir },
    );
    expect(await receiver.heard()).toBe('ready');

    const calls = await callsOfSending(dir, 40, 20);

    expect(await receiver.heard()).toEqual({ received: 40 });
    const written = calls.get('write') ?? 0;
    // On a crowded machine it may not have got to sleep between two messages.
    expect(written, JSON.stringify([...calls])).toBeGreaterThanOrEqual(10);
    expect(written, JSON.stringify([...calls])).toBeLessThan(80);
  });

  test('wakes a reader in the futex, too', async () => {
    const fabric = await openFabric();
    const dir = dirname(fabric.info().path);
    const receiver = startChild(
      async ({ open, say }) => {
        const me = await (await open()).join('receiver');
        say('ready');
        const got = [];
        for (let received = 0; received < 40; received += 1) {
          const message = me.receiveSync();
          got.push(message?.json());
          message?.ack();
        }
        say({ got });
      },
      { dir },
    );
    expect(await receiver.heard()).toBe('ready');

    const calls = await callsOfSending(dir, 40, 20);

    expect(await receiver.heard()).toEqual({ got: range(40) });
    expect(calls.get('futex') ?? 0, JSON.stringify([...calls])).toBeGreaterThanOrEqual(10);
  });
});
