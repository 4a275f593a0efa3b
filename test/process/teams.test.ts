import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Fabric, QuorumError } from '../../src/index.js';
import { type Child, startChild } from '../support/child.js';
import { cli, jsonLines } from '../support/cli.js';
import { failureOf, openFabric, range, testDirectory, until } from '../support/fabric.js';

/** A process that joins team A and answers each question with its name, or never. */
async function startMember(dir: string, name: string, answers = true): Promise<Child> {
  const child = startChild<{ name: string; answers: boolean }>(
    async ({ open, say, args }) => {
      const me = await (await open()).join(args.name, { team: 'A', role: 'worker' });
      say('ready');
      for await (const message of me.messages()) {
        if (args.answers && message.expectsReply) await message.reply({ vote: 'yes' });
        if (args.answers) message.ack();
        else say(message.text());
      }
    },
    { dir, args: { name, answers } },
  );
  expect(await child.heard()).toBe('ready');
  return child;
}

const dirOf = (fabric: Fabric) => dirname(fabric.info().path);

describe('A team of processes', () => {
  test('answers a gathering; who was killed is missing, and the quorum decides', async () => {
    const fabric = await openFabric();
    const lead = await fabric.join('lead');
    const members = await Promise.all(range(5).map((n) => startMember(dirOf(fabric), `w${n}`)));
    const all = await lead.gather('team:A', 'vote', { timeoutMs: 30_000 });
    expect(all.answers).toHaveLength(5);
    expect(all.score).toBe(100);
    await members[0]?.kill();

    const most = await lead.gather('team:A', 'vote', { quorum: 0.8, timeoutMs: 30_000 });
    expect(most.asked).toBe(5); // the dead one's name waits for a successor
    expect(most.missing.map(({ to }) => to)).toEqual(['w0']);
    expect(most.score).toBe(80);
    const error = (await failureOf(
      lead.gather('team:A', 'vote', { quorum: 1, timeoutMs: 5000 }),
    )) as QuorumError;
    expect(error.result.missing).toEqual([{ to: 'w0', code: 'ERR_CFC_NO_READER' }]);
    expect(error.result.answers).toHaveLength(4);
  });

  test('has a message for a member that was killed: its successor reads it', async () => {
    const fabric = await openFabric();
    const lead = await fabric.join('lead');
    const member = await startMember(dirOf(fabric), 'w0');
    await member.kill();
    const { accepted } = await lead.send('team:A', 'for whoever comes');

    expect(accepted.map(({ to }) => to)).toEqual(['w0']);
    const successor = await fabric.join('w0', { team: 'A' });
    expect((await successor.receive())?.text()).toBe('for whoever comes');
  });

  test('loses nothing of a group send whose sender is killed: each has it whole or not', async () => {
    const fabric = await openFabric();
    const names = range(8).map((n) => `w${n}`);
    for (const name of names) await fabric.join(name, { team: 'A', mailboxCells: 256 });
    const sender = startChild(
      async ({ open, say }) => {
        const me = await (await open()).join('sender');
        for (let round = 0; ; round += 1) {
          const { accepted } = await me.send('team:A', `${round} ${'.'.repeat(3000)}`);
          if (accepted.length !== 8) say({ wrong: accepted.length });
          if (round === 20) say('going');
        }
      },
      { dir: dirOf(fabric) },
    );
    expect(await sender.heard()).toBe('going');
    await sender.kill();
    fabric.sweep();

    const counts = names.map((name) => {
      const texts = fabric.peek(name, 1024).map(({ message }) => message.text());
      expect(texts).toEqual(texts.map((_, i) => `${i} ${'.'.repeat(3000)}`));
      return texts.length;
    });
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(20);
    // Members are sent to in one order: who has one more than others stands before them.
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    const { queued, claimed, chunksLoaned } = fabric.census();
    expect({ claimed, chunksLoaned }).toEqual({ claimed: 0, chunksLoaned: 0 });
    expect(queued).toBe(counts.reduce((a, b) => a + b));
  });

  test('gets each task of competing senders at one idle member only', async () => {
    const fabric = await openFabric();
    const workers = await Promise.all(range(3).map((n) => fabric.join(`w${n}`, { team: 'A' })));
    const senders = range(4).map((n) =>
      startChild<{ n: number }>(
        async ({ open, say, args }) => {
          const me = await (await open()).join(`sender-${args.n}`);
          let accepted = 0;
          const until = performance.now() + 500;
          while (performance.now() < until) {
            if (me.trySend('team:A', 'task', { route: 'only-if-idle' })) accepted += 1;
          }
          say({ accepted });
          await me.leave();
        },
        { dir: dirOf(fabric), args: { n } },
      ),
    );
    let most = 0;
    let received = 0;
    let done = false;
    const going = Promise.all(
      senders.map((sender) => sender.heard<{ accepted: number }>()),
    ).finally(() => {
      done = true;
    });
    while (!done || workers.some((worker) => worker.count() > 0)) {
      for (const worker of workers) {
        most = Math.max(most, fabric.peek(worker.name).length);
        const message = worker.tryReceive();
        if (message !== undefined) received += 1;
        message?.ack();
      }
      await new Promise((resolve) => setImmediate(resolve));
    }

    expect(most).toBe(1);
    const accepted = (await going).reduce((sum, one) => sum + one.accepted, 0);
    expect(accepted).toBeGreaterThan(0);
    expect(received).toBe(accepted);
  });
});

describe('cfc send to a group', () => {
  test('prints a line a member, and sends to each', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const members = await Promise.all(range(3).map((n) => fabric.join(`w${n}`, { team: 'A' })));
    const { code, stdout } = await cli(['send', 'team:A', 'hello', '--json'], { dir });

    expect(code).toBe(0);
    const lines = jsonLines(stdout);
    expect(lines.map(({ to }) => to).toSorted()).toEqual(['w0', 'w1', 'w2']);
    for (const member of members) {
      const id = (await member.receive())?.id;
      expect(lines).toContainEqual({ v: 1, id, to: member.name, state: 'accepted' });
    }
  });

  test('ends with 8 where some refuse, with 3 where nobody is in it, with 2 for nonsense', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const lead = await fabric.join('lead', { team: 'B' });
    const full = await fabric.join('full', { team: 'A', mailboxCells: 8 });
    await fabric.join('free', { team: 'A' });
    while (lead.trySend('full', 'filler'));
    const partly = await cli(['send', 'team:A', 'hello', '--json', '--timeout', '50ms'], { dir });

    expect(partly.code).toBe(8);
    expect(jsonLines(partly.stdout)).toMatchObject([
      { to: 'free', state: 'accepted' },
      { id: null, to: 'full', state: 'refused', code: 'ERR_CFC_MAILBOX_FULL' },
    ]);
    expect(partly.stderr).toContain('ERR_CFC_PARTLY_DELIVERED');
    expect((await cli(['send', 'team:nobody', 'hello'], { dir })).code).toBe(3);
    expect((await cli(['send', 'group:A', 'hello'], { dir })).code).toBe(2);
    expect(full.count()).toBe(8);
  });

  test('with a route sends to one', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const lead = await fabric.join('lead');
    const busy = await fabric.join('busy', { role: 'worker' });
    const idle = await fabric.join('idle', { role: 'worker' });
    await lead.send('busy', 'something');
    const words = ['send', 'role:worker', 'task', '--json', '--route'];
    const first = await cli([...words, 'only-if-idle'], { dir });
    const second = await cli([...words, 'only-if-idle'], { dir });

    expect(jsonLines(first.stdout)).toMatchObject([{ to: 'idle' }]);
    expect(second).toMatchObject({ code: 1, stdout: '' });
    expect(second.stderr).toContain('ERR_CFC_NONE_IDLE');
    expect([busy.count(), idle.count()]).toEqual([1, 1]);
  });

  test('to everybody leaves no name behind of a person who was just there', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const me = await fabric.join('me');
    const receiving = cli(['recv', '--timeout', '5s', '--count', '1', '--json'], { dir });
    await until(() => fabric.snapshot().length === 2);
    await me.sendBatch('*', ['one', 'two', 'three']);

    expect(jsonLines((await receiving).stdout)).toMatchObject([{ body: 'one' }]);
    expect(fabric.snapshot().map(({ name }) => name)).toEqual(['me']);
    expect(fabric.census()).toMatchObject({ acked: 1, dropped: 2, queued: 0 });
  });
});

describe('cfc ask of a group', () => {
  test('prints what the quorum replied, and how many agree', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    await Promise.all(range(3).map((n) => startMember(dir, `w${n}`)));
    const all = await cli(['ask', 'team:A', 'vote', '--json', '--timeout', '30s'], { dir });
    const plain = await cli(['ask', 'role:worker', 'vote', '--quorum', '60%', '--timeout', '30s'], {
      dir,
    });

    expect(all.code).toBe(0);
    const [result] = jsonLines(all.stdout);
    expect(result).toMatchObject({
      v: 1,
      to: 'team:A',
      asked: 3,
      needed: 3,
      answered: 3,
      score: 100,
    });
    expect(result?.answers).toHaveLength(3);
    expect(plain.code).toBe(0);
    expect(plain.stdout.trim().split('\n')).toEqual(['{"vote":"yes"}', '{"vote":"yes"}']);
    expect(fabric.snapshot()).toHaveLength(3);
  });

  test('ends with 4 where the quorum is not reached, and prints what came', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    await startMember(dir, 'w0');
    await fabric.join('silent', { team: 'A' });
    const words = ['ask', 'team:A', 'vote', '--quorum', '2', '--timeout', '3s', '--json'];
    const { code, stdout } = await cli(words, { dir });

    expect(code).toBe(4);
    const [result] = jsonLines(stdout);
    expect(result).toMatchObject({ asked: 2, needed: 2, answered: 1 });
    expect(result?.missing).toEqual([{ to: 'silent', code: 'ERR_CFC_TIMED_OUT' }]);
  });
});
