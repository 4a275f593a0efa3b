import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Fabric } from '../../src/index.js';
import { startChild } from '../support/child.js';
import { cli } from '../support/cli.js';
import { openFabric, testDirectory, until } from '../support/fabric.js';

/** An agent that is killed in mid-work: what it had leased, sent and counted is all it leaves. */
async function killInMidWork(dir: string) {
  const fabric = await openFabric({ dir });
  const lead = await fabric.join('lead');
  const child = startChild(
    async ({ open, say }) => {
      const me = await (await open()).join('bob', { role: 'worker', team: 'red', parent: 'lead' });
      me.setState('waiting');
      const first = await me.receive();
      me.setState('working');
      await me.send('lead', { read: first?.text() }, { type: 'progress' });
      await me.send('lead', 'x'.repeat(1000), { type: 'large' });
      me.counter('files.read', 'files').add(3);
      say('working');
      await me.receive();
      setInterval(() => {}, 60_000);
    },
    { dir },
  );
  await until(() => fabric.snapshot().some(({ name }) => name === 'bob'));
  await lead.send('bob', 'src/fabric.ts', { type: 'task' });
  expect(await child.heard()).toBe('working');
  for (const file of ['src/errors.ts', 'src/index.ts']) {
    await lead.send('bob', file, { type: 'task' });
  }
  await lead.publish('cfc.events', { at: Date.now(), event: 'spawned', agent: 'bob' });
  await lead.publish('cfc.events', { at: Date.now(), event: 'spawned', agent: 'carol' });
  (await lead.receive())?.ack(); // its place still shows it
  await until(() => (fabric.snapshot().find(({ name }) => name === 'bob')?.leased ?? 0) === 2);
  await child.kill();
  return { fabric, pid: child.pid };
}

const told = (pid: number) => ({
  v: 1,
  fabric: 'test',
  agent: { name: 'bob', role: 'worker', team: 'red', parent: 'lead', liveness: 'dead', pid },
  mailbox: [{ type: 'task', body: 'src/index.ts', leased: false }],
  leases: [
    { type: 'task', body: 'src/fabric.ts', leased: true, pid },
    { type: 'task', body: 'src/errors.ts', leased: true, pid },
  ],
  lastSends: [
    { to: 'lead', type: 'large', state: 'queued', body: 'x'.repeat(1000) },
    { to: 'lead', type: 'progress', state: 'acked', body: { read: 'src/fabric.ts' } },
  ],
  events: [{ event: 'spawned', agent: 'bob' }],
  counters: { 'files.read': 3, 'messages.sent': 2, 'messages.received': 2 },
});

describe('An agent that was killed in mid-work', () => {
  test('is still there to be read: mailbox, leases, sends, states, counters', async () => {
    const dir = testDirectory();
    const { pid } = await killInMidWork(dir);
    const { code, stdout, stderr } = await cli(['postmortem', 'bob', '--json'], { dir });
    const report = JSON.parse(stdout);

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(report).toMatchObject({ ...told(pid), savedAt: null });
    expect(report.stateChanges.map(({ to }: { to: string }) => to)).toEqual(
      expect.arrayContaining(['waiting', 'working']),
    );
    expect(report.lastLines).toEqual([]);
  });

  test('is the same from a saved core, when the fabric is gone', async () => {
    const dir = testDirectory();
    const { fabric, pid } = await killInMidWork(dir);
    const core = join(dir, 'test.core');
    const saved = await cli(['core', 'save', core, '--json'], { dir });
    await fabric.close();
    await Fabric.destroy('test', { dir });
    const before = readFileSync(core);
    const report = await cli(['postmortem', 'bob', '--from', core, '--json'], { dir });
    const ps = await cli(['ps', '--from', core, '--json'], { dir });
    const peek = await cli(['peek', '--from', core, '--agent', 'bob', '--json'], { dir });

    expect(JSON.parse(saved.stdout)).toMatchObject({ v: 1, fabric: 'test', file: core, agents: 2 });
    expect(statSync(core).mode & 0o777).toBe(0o600);
    expect(JSON.parse(report.stdout)).toMatchObject({
      ...told(pid),
      savedAt: expect.stringMatching(/^\d{4}-/),
    });
    expect(JSON.parse(ps.stdout).agents).toMatchObject([
      { name: 'bob', liveness: 'dead' },
      { name: 'lead', liveness: 'alive' },
    ]);
    expect(JSON.parse(peek.stdout).messages).toHaveLength(3);
    expect(readFileSync(core).equals(before)).toBe(true);
  });

  test('is an agent that there has to be, and a core that has to be one', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    await fabric.join('bob');
    expect((await cli(['postmortem', 'nobody'], { dir })).code).toBe(3);

    const core = join(dir, 'test.core');
    expect((await cli(['core', 'save', core], { dir })).code).toBe(0);
    expect((await cli(['core', 'save', core], { dir })).code).toBe(2);
    const whole = readFileSync(core);
    const bad = join(dir, 'bad.core');
    const evil = Buffer.from(whole);
    const at = evil.indexOf('"name":"control"');
    evil.write('"name":"../evil"', at);
    for (const bytes of [
      whole.subarray(0, 5),
      whole.subarray(0, 100),
      whole.subarray(0, -200),
      evil,
    ]) {
      writeFileSync(bad, bytes);
      const { code, stderr } = await cli(['ps', '--from', bad], { dir });
      expect(code).toBe(1);
      expect(stderr).toContain('is no saved core');
    }
  });
});
