import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, onTestFinished, test } from 'vitest';
import { failureOf, openRegion } from '../../support/fabric.js';

describe('Region, as a supervisor uses it', () => {
  test('finds one agent by its name, and nobody by another', () => {
    const region = openRegion();
    region.join('bob', { role: 'worker', team: 'A', parent: 'coord-A' });
    region.join('carol');
    expect(region.agent('bob')).toMatchObject({ name: 'bob', team: 'A', alive: true });
    expect(region.agent('dave')).toBeUndefined();
    expect(region.agents().length).toBe(2);
  });

  test('puts an agent below another parent, and its groups follow', async () => {
    const region = openRegion();
    const worker = region.join('worker-A-1', { parent: 'coord-A' });
    const next = region.join('coord-B');
    region.reparent('worker-A-1', 'coord-B');
    expect(region.agent('worker-A-1')?.parent).toBe('coord-B');
    const children = 4;
    expect(next.members(children, '')).toEqual(['worker-A-1']);
    expect(worker.members(3, '')).toEqual(['coord-B']);
    expect((await failureOf(() => region.reparent('nobody', 'coord-B'))).code).toBe(
      'ERR_CFC_NO_AGENT',
    );
  });

  test('closes mailboxes to those outside, and opens them again', async () => {
    const region = openRegion();
    const one = region.join('one');
    const two = region.join('two');
    const outside = region.join('outside');
    expect([region.gate('one', true), region.gate('two', true)]).toEqual([true, true]);
    expect(region.gate('nobody', true)).toBe(false);
    expect((await failureOf(() => outside.trySend('one', 'late'))).code).toBe(
      'ERR_CFC_MAILBOX_CLOSED',
    );
    expect(one.trySend('two', 'within')).toBeGreaterThan(0);
    expect(two.trySend('outside', 'out')).toBeGreaterThan(0);
    region.gate('one', false);
    expect(outside.trySend('one', 'again')).toBeGreaterThan(0);
  });

  test('tells which processes ended, children of ours or not', async () => {
    const region = openRegion();
    const ended: number[] = [];
    let tell = () => {};
    const watching = region.watchPids((pids) => {
      ended.push(...pids);
      tell();
    });
    expect(watching).toBe(true);
    // A grandchild that its parent leaves behind: nobody here waits for it.
    const script = 'sleep 60 >/dev/null & echo $!';
    const shell = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(shell.stdout, 'data');
    const orphan = Number(String(line));
    const child = spawn('sleep', ['60']);
    onTestFinished(() => {
      child.kill('SIGKILL');
      if (!ended.includes(orphan)) process.kill(orphan, 'SIGKILL');
    });
    expect([region.watchPid(orphan), region.watchPid(child.pid as number)]).toEqual([true, true]);
    const told = (pid: number) =>
      new Promise<void>((resolve) => {
        tell = () => ended.includes(pid) && resolve();
        tell();
      });
    process.kill(orphan, 'SIGKILL');
    await told(orphan);
    child.kill('SIGKILL');
    await Promise.all([told(child.pid as number), once(child, 'exit')]);
    expect(region.watchPid(child.pid as number)).toBe(false);
  });
});

describe('Mailbox.forward', () => {
  test('hands on what was sent, and the answer finds who asked', () => {
    const region = openRegion();
    const ann = region.join('ann');
    const trustee = region.join('bob');
    const dave = region.join('dave');
    const number = ann.trySend('bob', { q: 1 }, { type: 'ask', asks: true });
    const [here] = trustee.take(1);
    if (here === undefined) throw new Error('nothing came');
    expect(trustee.forward(here, 'dave')).toBe(1);
    expect(trustee.depth).toBe(0);
    const [there] = dave.take(1);
    expect(there).toMatchObject({ from: 'ann', to: 'dave', type: 'ask', expectsReply: true });
    expect(there?.facts.number).toBe(number);
    dave.trySend('ann', 'answer', { answers: there });
    there?.ack();
    const [answer] = ann.take(1, true);
    expect(answer?.text()).toBe('answer');
    expect(answer?.facts.correlationNumber).toBe(number);
  });

  test('keeps the original until the copy is acked, where its sender waits for that', () => {
    const region = openRegion();
    const ann = region.join('ann');
    const trustee = region.join('bob');
    const dave = region.join('dave');
    const number = ann.trySend('bob', 'x', { receipt: true });
    const [here] = trustee.take(1);
    if (here === undefined) throw new Error('nothing came');
    expect(trustee.forward(here, 'dave')).toBe(0);
    expect(trustee.forwarded(here)).toBe(false);
    expect(ann.verdict(number)).toBeLessThan(0);
    dave.take(1)[0]?.ack();
    expect(trustee.forwarded(here)).toBe(true);
    expect(ann.verdict(number)).toBe(0);
    expect(trustee.depth).toBe(0);
  });
});
