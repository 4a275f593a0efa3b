import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Fabric } from '../../src/index.js';
import { root } from '../support/child.js';
import { openFabric, sleep, testDirectory, until } from '../support/fabric.js';
import { supervisedCapacity as capacity, idle, pidOf, supervise } from '../support/supervise.js';

/** A command of the shell, in YAML. */
const shell = (text: string): string => `command: [sh, -c, ${JSON.stringify(text)}]`;

/** A program of Node, in YAML; it finds the package as `cfc`. */
function program(dir: string, name: string, text: string): string {
  const file = join(dir, `${name}.mjs`);
  const cfc = JSON.stringify(join(root, 'dist', 'index.js'));
  writeFileSync(file, `import * as cfc from ${cfc};\n${text}`);
  return `command: [${JSON.stringify(process.execPath)}, ${JSON.stringify(file)}]`;
}

/** Touches 96 MB, and ends well when it is asked to. */
const hog = `
process.on('SIGTERM', () => process.exit(0));
const kept = Buffer.alloc(96 << 20, 1);
setInterval(() => kept[0], 1000);
`;
const limitBytes = 72 << 20;

function linesOf(fabric: Fabric, name: string): string[] {
  return fabric.lastLines(name);
}

describe('An agent with more memory than it may have', () => {
  test('is told of once, and started again, though it ended well', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir, capacity });
    const { heard, events } = await supervise(
      fabric,
      `agents: [{ name: hog, ${program(dir, 'hog', hog)},
                  limits: { memoryBytes: ${limitBytes} }, restart: { backoffMs: 1 } }]`,
    );
    const told = await heard('memory-exceeded', 'hog');
    expect(told).toMatchObject({ limitBytes });
    expect(told.memoryBytes).toBeGreaterThan(limitBytes);
    expect((await heard('exited', 'hog')).exitCode).toBe(0);
    await heard('restarted', 'hog');
    const before = events.slice(
      0,
      events.findIndex(({ event }) => event === 'exited'),
    );
    expect(before.filter(({ event }) => event === 'memory-exceeded').length).toBe(1);
  });

  test('is stopped for good, or only told of, where that is asked for', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir, capacity });
    const limits = (then: string) => `limits: { memoryBytes: ${limitBytes}, onMemory: ${then} }`;
    const { heard, events, supervisor } = await supervise(
      fabric,
      `agents: [{ name: stopped, ${program(dir, 'hog', hog)}, ${limits('stop')}, restart: always },
                { name: told, ${program(dir, 'hog', hog)}, ${limits('report')} },
                { name: small, ${idle}, ${limits('stop')} }]`,
    );
    await Promise.all([heard('exited', 'stopped'), heard('memory-exceeded', 'told')]);
    const pid = pidOf(fabric, 'told');
    await sleep(2500); // two more looks
    const phases = supervisor.agents().map(({ name, phase }) => [name, phase]);
    expect(phases).toEqual([
      ['stopped', 'ended'],
      ['told', 'running'],
      ['small', 'running'],
    ]);
    expect(pidOf(fabric, 'told')).toBe(pid);
    const about = events.filter(({ event }) => event === 'memory-exceeded');
    expect(about.map(({ agent }) => agent).sort()).toEqual(['stopped', 'told']);
  });
});

describe('An agent with as many descriptors as it may have', () => {
  test('is refused more by the kernel, and goes on', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir, capacity });
    const opener = `
import { openSync } from 'node:fs';
let open = 0;
try {
  for (;; open += 1) openSync('/dev/null');
} catch (error) {
  console.log(error.code, open > 0 && open < 64);
}
setInterval(() => {}, 1000);
`;
    const { supervisor, events } = await supervise(
      fabric,
      `agents: [{ name: opener, ${program(dir, 'opener', opener)}, limits: { openFiles: 64 } },
                { name: asker, ${shell('ulimit -n; sleep 1000')} }]`,
      { limits: { openFiles: 128 } },
    );
    await supervisor.whenReady();
    await until(() => linesOf(fabric, 'opener').length > 0 && linesOf(fabric, 'asker').length > 0);
    expect(linesOf(fabric, 'opener')).toEqual(['EMFILE true']);
    expect(linesOf(fabric, 'asker')).toEqual(['128']);
    expect(events.filter(({ event }) => event === 'exited')).toEqual([]);
  });
});

describe('An agent that sends more than it may', () => {
  test('is refused with a code, in whatever process of it, and counted', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir, capacity });
    const sink = await fabric.join('sink');
    const flooder = `
const fabric = await cfc.Fabric.open(process.env.CFC_FABRIC);
const me = await fabric.join(process.env.CFC_AGENT, { quota: { messages: 1000 } });
const codes = [];
for (let i = 0; i < 4; i += 1) {
  await me.send('sink', i, { timeoutMs: 0 }).then(() => codes.push('ok'), (error) => codes.push(error.code));
}
await me.leave();
console.log(codes.join(' '));
`;
    const { supervisor } = await supervise(
      fabric,
      `agents: [{ name: flooder, restart: never, limits: { messages: 5, bytes: 1000 },
                  ${shell(`${process.execPath} ${join(dir, 'flooder.mjs')}; ${process.execPath} ${join(dir, 'flooder.mjs')}; sleep 1000`)} },
                { name: hasty, restart: never, limits: { messagesPerSecond: 1, burst: 2 },
                  ${program(dir, 'flooder', flooder)} }]`,
    );
    await supervisor.whenReady();
    await until(
      () => linesOf(fabric, 'flooder').length === 2 && linesOf(fabric, 'hasty').length === 1,
    );
    expect(linesOf(fabric, 'flooder')).toEqual([
      'ok ok ok ok',
      'ok ERR_CFC_QUOTA ERR_CFC_QUOTA ERR_CFC_QUOTA',
    ]);
    const hasty = linesOf(fabric, 'hasty')[0]?.split(' ') ?? [];
    expect(hasty.slice(0, 2)).toEqual(['ok', 'ok']);
    expect(hasty).toContain('ERR_CFC_RATE_LIMITED');
    const accepted = 5 + hasty.filter((code) => code === 'ok').length;
    expect([sink.count(), fabric.census().queued]).toEqual([accepted, accepted]);
    const counters = (name: string) =>
      fabric.snapshot().find((agent) => agent.name === name)?.counters ?? {};
    expect(counters('flooder')['send.over_quota']).toBe(3);
    expect(counters('hasty')['send.rate_limited']).toBe(hasty.length - (accepted - 5));
  });
});

describe('An agent that does nothing while messages wait', () => {
  test('is told of once, and started again where that is asked for; its inbox is kept', async () => {
    const fabric = await openFabric({ capacity });
    const me = await fabric.join('me');
    const worker = `reader, command: [cfc, recv, --follow]`;
    const { heard, events, supervisor } = await supervise(
      fabric,
      `agents: [{ name: idler, ${idle}, restart: { backoffMs: 1 } }, { name: ${worker} }]`,
      { noProgressMs: 500, onNoProgress: 'restart' },
    );
    await supervisor.whenReady();
    const pid = pidOf(fabric, 'idler');
    for (const n of [1, 2, 3]) {
      await me.send('idler', n);
      await me.send('reader', n, { wait: 'acked' });
    }
    expect(await heard('no-progress', 'idler')).toMatchObject({ pid, depth: 3 });
    await heard('restarted', 'idler');
    const before = events.slice(
      0,
      events.findIndex(({ event }) => event === 'exited'),
    );
    expect(before.filter(({ event }) => event === 'no-progress').length).toBe(1);
    expect(
      events.filter(({ agent, event }) => agent === 'reader' && event === 'no-progress'),
    ).toEqual([]);
    const { acked, queued, dropped, deadLettered } = fabric.census();
    expect({ acked, queued, dropped, deadLettered }).toEqual({
      ...{ acked: 3, queued: 3, dropped: 0, deadLettered: 0 },
    });
  });
});

describe('A crash loop that escalates', () => {
  test('starts the parent again and all below it, and goes on above where that one loops too', async () => {
    const fabric = await openFabric({ capacity });
    const restart = 'restart: { maxRestarts: 2, backoffMs: 1, onCrashLoop: escalate }';
    const { heard, events } = await supervise(
      fabric,
      `agents:
         - { name: top, ${idle} }
         - { name: boss, parent: top, ${idle}, ${restart} }
         - { name: looper, parent: boss, command: ['false'], ${restart} }
         - { name: bystander, parent: boss, ${idle} }
         - { name: apart, parent: top, ${idle} }`,
    );
    expect(await heard('escalated', 'boss')).toMatchObject({ reason: 'looper' });
    await heard('restarted', 'boss');
    await heard('restarted', 'bystander');
    expect(await heard('escalated', 'top')).toMatchObject({ reason: 'boss' });
    await heard('restarted', 'top');
    const loops = events.filter(({ event }) => event === 'crash-loop');
    expect(loops.map(({ agent }) => agent)).toContain('looper');
    expect(loops.map(({ agent }) => agent)).toContain('boss');
  });
});
