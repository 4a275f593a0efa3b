import { describe, expect, test } from 'vitest';
import { neededOf } from '../../../src/agents/gather.js';
import type { Agent, Fabric, QuorumError } from '../../../src/index.js';
import { failureOf, openFabric, range } from '../../support/fabric.js';

async function makeTeam(fabric: Fabric, size: number) {
  const lead = await fabric.join('lead');
  const members: Agent[] = [];
  for (const n of range(size)) members.push(await fabric.join(`m${n}`, { team: 'A' }));
  return { lead, members };
}

/** Answers the next question. */
async function answer(member: Agent, body: unknown): Promise<void> {
  const question = await member.receive();
  await question?.reply(body);
  question?.ack();
}

describe('gather', () => {
  test('asks everybody, and resolves with all their answers', async () => {
    const fabric = await openFabric();
    const { lead, members } = await makeTeam(fabric, 5);
    const gathering = lead.gather('team:A', { q: 1 });
    for (const member of members) await answer(member, member.name);
    const { answers, missing, asked, needed, durationMs } = await gathering;

    expect(answers.map(({ from }) => from)).toEqual(members.map(({ name }) => name));
    expect(answers.map((one) => one.text())).toEqual(members.map(({ name }) => name));
    expect({ missing, asked, needed }).toEqual({ missing: [], asked: 5, needed: 5 });
    expect(durationMs).toBeGreaterThan(0);
    expect(fabric.census()).toMatchObject({ queued: 0, acked: 10 });
  });

  test('resolves once the quorum has answered, and says who is missing', async () => {
    const fabric = await openFabric();
    const { lead, members } = await makeTeam(fabric, 10);
    const gathering = lead.gather('team:A', 'vote', { quorum: 0.9, timeoutMs: Infinity });
    for (const member of members.slice(1)) await answer(member, 'yes');
    const { answers, missing, needed } = await gathering;

    expect(needed).toBe(9);
    expect(answers).toHaveLength(9);
    expect(missing).toEqual([{ to: 'm0', code: 'ERR_CFC_TIMED_OUT' }]);
  });

  test('counts an answer that comes after the quorum as late, and acks it', async () => {
    const fabric = await openFabric();
    const { lead, members } = await makeTeam(fabric, 2);
    const gathering = lead.gather('team:A', 'vote', { quorum: { count: 1 } });
    await answer(members[0] as Agent, 'yes');
    await gathering;
    await answer(members[1] as Agent, 'yes');
    lead.trySend('lead', 'end');
    expect((await lead.receive())?.text()).toBe('end');

    const seen = fabric.snapshot().find(({ name }) => name === 'lead');
    expect(seen?.counters['replies.late']).toBe(1);
  });

  test('rejects when the time is up before the quorum, with what came', async () => {
    const fabric = await openFabric();
    const { lead, members } = await makeTeam(fabric, 4);
    const gathering = failureOf(lead.gather('team:A', 'vote', { quorum: 3, timeoutMs: 1000 }));
    for (const member of members.slice(0, 2)) await answer(member, 'yes');
    const error = (await gathering) as QuorumError;

    expect(error.code).toBe('ERR_CFC_TIMED_OUT');
    expect(error.details).toMatchObject({ to: 'team:A', asked: 4, needed: 3, answered: 2 });
    expect(error.details.missing).toEqual([
      { to: 'm2', code: 'ERR_CFC_TIMED_OUT' },
      { to: 'm3', code: 'ERR_CFC_TIMED_OUT' },
    ]);
    expect(error.result.answers.map((one) => one.text())).toEqual(['yes', 'yes']);
  });

  test('rejects with the code of those who could not be asked, where there are too many', async () => {
    const fabric = await openFabric();
    const lead = await fabric.join('lead');
    for (const n of range(3)) {
      await fabric.join(`m${n}`, { team: 'A', mailboxCells: 8 });
      while (lead.trySend(`m${n}`, 'filler'));
    }
    const gathering = failureOf(lead.gather('team:A', 'vote', { quorum: 2, timeoutMs: 30 }));
    const error = (await gathering) as QuorumError;

    expect(error.code).toBe('ERR_CFC_MAILBOX_FULL');
    expect(error.result.missing.map(({ code }) => code)).toContain('ERR_CFC_MAILBOX_FULL');
  });

  test('sends no question after it has what it wants', async () => {
    const fabric = await openFabric();
    const lead = await fabric.join('lead');
    const full = await fabric.join('full', { team: 'A', mailboxCells: 8 });
    const quick = await fabric.join('quick', { team: 'A' });
    let filled = 0;
    while (lead.trySend('full', 'filler')) filled += 1;
    const gathering = lead.gather('team:A', 'vote', { quorum: { count: 1 } });
    await answer(quick, 'yes');
    await gathering;
    const texts: string[] = [];
    for (let one = full.tryReceive(); one !== undefined; one = full.tryReceive()) {
      texts.push(one.text());
      one.ack();
    }
    await lead.send('quick', 'a turn of the loop');

    expect(texts).toEqual(range(filled).map(() => 'filler'));
    expect(full.count()).toBe(0);
  });

  test('scores how many agree, JSON by its value, and writes the metrics', async () => {
    const fabric = await openFabric();
    const { lead, members } = await makeTeam(fabric, 5);
    const gathering = lead.gather('team:A', 'vote', { quorum: 4 });
    await answer(members[0] as Agent, 'no');
    await answer(members[1] as Agent, { a: 1, b: [{ c: 2, d: 3 }] });
    await answer(members[2] as Agent, { b: [{ d: 3, c: 2 }], a: 1 });
    await answer(members[3] as Agent, '{"a":1}');
    const { score, agreeing } = await gathering;

    expect(score).toBe(40); // of five asked, two agree
    expect(agreeing.map(({ from }) => from)).toEqual(['m1', 'm2']);
    const seen = fabric.snapshot().find(({ name }) => name === 'lead');
    expect(seen?.counters['consensus.score']).toBe(40);
  });

  test('answers where there is no room for its metrics', async () => {
    const fabric = await openFabric({ capacity: { histograms: 1 } });
    const { lead, members } = await makeTeam(fabric, 1);
    members[0]?.histogram('mine').record(1);
    const gathering = lead.gather('team:A', 'vote');
    await answer(members[0] as Agent, 'yes');

    expect((await gathering).answers).toHaveLength(1);
  });

  test('refuses one name, and ends when its agent leaves', async () => {
    const fabric = await openFabric();
    const { lead } = await makeTeam(fabric, 2);
    expect((await failureOf(lead.gather('m0', 'q'))).code).toBe('ERR_CFC_USAGE');
    const gathering = failureOf(lead.gather('team:A', 'q', { timeoutMs: Infinity }));
    await lead.leave();

    expect((await gathering).code).toBe('ERR_CFC_MAILBOX_CLOSED');
  });
});

describe('A quorum', () => {
  test.each([
    [undefined, 7, 7],
    [1, 7, 7],
    [0.5, 7, 4],
    [0.9, 10, 9],
    [0.07, 100, 7],
    [0.001, 5, 1],
    [3, 7, 3],
    [{ count: 1 }, 7, 1],
  ])('of %j among %i members is %i answers', (quorum, members, needed) => {
    expect(neededOf(quorum, members, 'team:A')).toBe(needed);
  });

  test.each([0, -1, 1.5, Number.NaN, { count: 0 }, { count: 1.5 }])(
    'of %j is a mistake',
    async (quorum) => {
      expect((await failureOf(() => neededOf(quorum, 7, 'team:A'))).code).toBe('ERR_CFC_USAGE');
    },
  );

  test('of more than there are members says how many there are', async () => {
    const error = await failureOf(() => neededOf(5, 3, 'team:A'));

    expect(error).toMatchObject({ code: 'ERR_CFC_NO_AGENT', details: { members: 3, needed: 5 } });
  });
});
