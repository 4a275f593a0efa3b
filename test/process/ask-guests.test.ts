import { describe, expect, onTestFinished, test } from 'vitest';
import { type Agent, type Fabric, startAgents } from '../../src/index.js';
import { type Child, type Elsewhere, startChild } from '../support/child.js';
import { openFabric, range, testDirectory, until } from '../support/fabric.js';

interface Team {
  fabric: Fabric;
  /** Answers each question with what it asks, and leaves `never` without an answer. */
  echo: Agent;
  /** A process that is the agent `team`, beside others that are. */
  join<Args>(body: Elsewhere<Args>, args?: Args): Child;
}

/** An agent that several processes are at once, below one shim. */
async function openTeam(): Promise<Team> {
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  const command = ['sh', '-c', 'echo $CFC_LEASE; sleep 1000'];
  startAgents(fabric, [{ name: 'team', command }]);
  onTestFinished(async () => {
    fabric.control('team', 'stop', { kill: true });
    await until(() =>
      fabric.snapshot().every(({ name, exitCode }) => name !== 'team' || exitCode !== null),
    );
  });
  await until(() => fabric.snapshot().length === 1 && fabric.lastLines('team').length === 1);
  const env = { CFC_AGENT: 'team', CFC_LEASE: fabric.lastLines('team')[0] as string };
  const echo = await fabric.join('echo');
  void (async () => {
    for await (const question of echo.messages()) {
      if (question.text() !== 'never') await question.reply(question.json());
      question.ack();
    }
  })();
  return {
    fabric,
    echo,
    join: (body, args) => startChild(body, { dir, env, ...(args !== undefined && { args }) }),
  };
}

const asker: Elsewhere<number> = async ({ open, say, args }) => {
  const fabric = await open();
  const me = await fabric.join('team');
  let right = 0;
  for (let n = 0; n < args; n += 1) {
    const answer = await me.ask('echo', n, { timeoutMs: 20_000 });
    if (answer.json<number>() === n) right += 1;
  }
  say({ right });
  await fabric.close();
};

const reader: Elsewhere<undefined> = async ({ open, say }) => {
  const fabric = await open();
  const me = await fabric.join('team');
  say('reads');
  for await (const message of me.messages()) {
    say({ got: message.json() });
    message.ack();
  }
};

const lateReplies = (fabric: Fabric): number =>
  fabric.snapshot().find(({ name }) => name === 'team')?.counters['replies.late'] ?? 0;

describe('Of processes that are one agent', () => {
  test('who asks gets the answers, and who reads gets everything else', async () => {
    const { fabric, echo, join } = await openTeam();
    const reads = join(reader);
    expect(await reads.heard()).toBe('reads');
    const asks = [join(asker, 200), join(asker, 200)];
    const answered = Promise.all(asks.map((one) => one.heard()));
    for (const n of range(200)) await echo.send('team', n);
    for (const n of range(200)) expect(await reads.heard()).toEqual({ got: n });
    expect(await answered).toEqual([{ right: 200 }, { right: 200 }]);
    expect(lateReplies(fabric)).toBe(0);
    await until(() => fabric.census().queued === 0);
    expect(fabric.census()).toMatchObject({ acked: 1000, dropped: 0, deadLettered: 0 });
  });

  test('who reads is woken beside one that waits for an answer', async () => {
    const { echo, join } = await openTeam();
    const asks = join<undefined>(async ({ open, say }) => {
      const fabric = await open();
      const me = await fabric.join('team');
      const waiting = me.ask('echo', 'never', { timeoutMs: 600_000 });
      say('asks');
      await waiting;
    });
    expect(await asks.heard()).toBe('asks'); // so it is before the other in the list of readers
    const reads = join(reader);
    expect(await reads.heard()).toBe('reads');
    // Would each wait for the reader's own next look, five seconds, the test ran out of time.
    for (const n of range(40)) await echo.send('team', n, { wait: 'acked' });
  });

  test('an answer to one that is gone, or gave up, goes to who reads: it is late, and acked', async () => {
    const { fabric, echo, join } = await openTeam();
    await echo.leave();
    const slow = await fabric.join('slow');
    const gone = join<undefined>(async ({ open, say }) => {
      const fabric = await open();
      const me = await fabric.join('team');
      me.ask('slow', 'for one that is killed', { timeoutMs: 600_000 }).catch(() => {});
      const gaveUp = await me
        .ask('slow', 'for one that gave up', { timeoutMs: 50 })
        .catch((e) => e.code);
      say(gaveUp);
    });
    expect(await gone.heard()).toBe('ERR_CFC_TIMED_OUT');
    const [first, second] = [await slow.receive(), await slow.receive()];
    await gone.kill();
    const reads = join(reader);
    expect(await reads.heard()).toBe('reads');
    for (const question of [first, second]) {
      await question?.reply('late');
      question?.ack();
    }
    await until(() => lateReplies(fabric) === 2);
    await until(() => fabric.census().queued === 0);
  });
});
