import { describe, expect, test } from 'vitest';
import type { Agent, Fabric, GroupReceipt, SendReceipt } from '../../../src/index.js';
import { failureOf, openFabric, range } from '../../support/fabric.js';

/** master, coord-A with two workers, coord-B with one. */
async function makeCompany(fabric: Fabric) {
  const join = (name: string, role: string, team: string, parent: string) =>
    fabric.join(name, { role, team, parent, mailboxCells: 8 });
  return {
    master: await fabric.join('master', { role: 'master' }),
    coordA: await join('coord-A', 'coordinator', 'A', 'master'),
    coordB: await join('coord-B', 'coordinator', 'B', 'master'),
    a1: await join('worker-A-1', 'worker', 'A', 'coord-A'),
    a2: await join('worker-A-2', 'worker', 'A', 'coord-A'),
    b1: await join('worker-B-1', 'worker', 'B', 'coord-B'),
  };
}

const namesOf = ({ accepted }: GroupReceipt) => accepted.map(({ to }) => to).toSorted();

/** Everything that waits, taken and acked. */
function drain(agent: Agent): string[] {
  const texts: string[] = [];
  for (let one = agent.tryReceive(); one !== undefined; one = agent.tryReceive()) {
    texts.push(one.text());
    one.ack();
  }
  return texts;
}

/** Fills the mailbox of `agent`. @returns with how many messages */
function fill(from: Agent, agent: Agent): number {
  let sent = 0;
  while (from.trySend(agent.name, 'filler')) sent += 1;
  return sent;
}

describe('A send to a group', () => {
  test('is one message a member of the team, the sender not among them', async () => {
    const fabric = await openFabric();
    const { master, coordA, a1, a2, b1 } = await makeCompany(fabric);
    const receipt = await coordA.send('team:A', { task: 1 }, { type: 'task' });

    expect(namesOf(receipt)).toEqual(['worker-A-1', 'worker-A-2']);
    expect(receipt).toMatchObject({ to: 'team:A', state: 'accepted', refused: [] });
    expect(fabric.census().queued).toBe(2);
    for (const worker of [a1, a2]) {
      const message = worker.tryReceive();
      expect(message?.json()).toEqual({ task: 1 });
      expect(message).toMatchObject({ kind: 'json', type: 'task', from: 'coord-A' });
      expect(receipt.accepted.map(({ id }) => id)).toContain(message?.id);
    }
    for (const other of [master, coordA, b1]) expect(other.tryReceive()).toBeUndefined();
  });

  test('goes by role, to everybody, and by where the sender stands', async () => {
    const fabric = await openFabric();
    const { master, coordA, a1 } = await makeCompany(fabric);

    expect(namesOf(await master.send('role:worker', 'x'))).toEqual([
      'worker-A-1',
      'worker-A-2',
      'worker-B-1',
    ]);
    expect(namesOf(await a1.send('*', 'x'))).toHaveLength(5);
    expect(namesOf(await coordA.send('children', 'x'))).toEqual(['worker-A-1', 'worker-A-2']);
    expect(namesOf(await coordA.send('parent', 'x'))).toEqual(['master']);
    expect(namesOf(await coordA.send('peers', 'x'))).toEqual(['coord-B']);
    expect(namesOf(await a1.send('peers', 'x'))).toEqual(['worker-A-2']);
  });

  test('sees who joined and who left since the last one', async () => {
    const fabric = await openFabric();
    const { coordA, a1 } = await makeCompany(fabric);
    await a1.leave();
    await fabric.join('worker-A-3', { team: 'A' });

    expect(namesOf(await coordA.send('team:A', 'x'))).toEqual(['worker-A-2', 'worker-A-3']);
  });

  test.each(['team:nobody', 'role:cook', 'children', 'parent', 'peers', '*'])(
    'to %s, where nobody is in it, says so',
    async (to) => {
      const fabric = await openFabric();
      const lonely = await fabric.join('lonely');

      for (const failing of [
        () => lonely.send(to, 'x'),
        () => lonely.sendBatch(to, ['x']),
        () => lonely.trySend(to, 'x'),
        () => lonely.gather(to, 'x'),
      ]) {
        const error = await failureOf(async () => await failing());
        expect(error).toMatchObject({ code: 'ERR_CFC_NO_AGENT', details: { to, members: 0 } });
      }
    },
  );

  test.each(['team:', 'role:a b', 'group:A', ':', 'team:A:B'])(
    'to %s says what an address is',
    async (to) => {
      const fabric = await openFabric();
      const me = await fabric.join('me');
      const error = await failureOf(me.send(to, 'x'));

      expect(error.code).toBe('ERR_CFC_USAGE');
      expect(error.details.allowed).toContain('team:NAME');
    },
  );

  test('rejects with both lists where some refuse, and the others have it', async () => {
    const fabric = await openFabric();
    const { master, coordA, a1, a2 } = await makeCompany(fabric);
    fill(coordA, a1);
    const error = await failureOf(master.send('role:worker', 'x', { timeoutMs: 20 }));

    expect(error.code).toBe('ERR_CFC_PARTLY_DELIVERED');
    const { accepted, refused } = error.details as unknown as GroupReceipt;
    expect(refused).toEqual([{ to: 'worker-A-1', code: 'ERR_CFC_MAILBOX_FULL' }]);
    expect(accepted.map(({ to }) => to).toSorted()).toEqual(['worker-A-2', 'worker-B-1']);
    expect(drain(a2)).toEqual(['x']);
    expect(drain(a1)).not.toContain('x');
  });

  test('waits for room at those who are full, not at the others', async () => {
    const fabric = await openFabric();
    const { master, coordA, a1, a2 } = await makeCompany(fabric);
    fill(coordA, a1);
    const sending = master.send('team:A', 'x');
    expect(drain(a2)).toEqual(['x']);
    drain(a1);

    expect(namesOf(await sending)).toEqual(['coord-A', 'worker-A-1', 'worker-A-2']);
    expect(drain(a1)).toEqual(['x']);
  });

  test('with wait acked resolves when everybody has acked', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    let resolved = false;
    const sending = coordA.send('team:A', 'x', { wait: 'acked' }).then((receipt) => {
      resolved = true;
      return receipt;
    });
    (await a1.receive())?.ack();
    await a1.send('coord-A', 'something that wakes it');
    (await coordA.receive())?.ack();
    expect(resolved).toBe(false);
    (await a2.receive())?.ack();

    expect(await sending).toMatchObject({ state: 'acked', refused: [] });
  });

  test('with wait acked names the messages that were accepted and not acked in time', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    const sending = failureOf(coordA.send('team:A', 'x', { wait: 'acked', timeoutMs: 1000 }));
    (await a1.receive())?.ack();
    const { details } = await sending;

    expect(details).toMatchObject({
      to: 'team:A',
      accepted: [{ to: 'worker-A-1', state: 'acked' }],
    });
    const id = a2.tryReceive()?.id;
    expect(details.refused).toEqual([
      { to: 'worker-A-2', code: 'ERR_CFC_TIMED_OUT', accepted: 1, id },
    ]);
  });

  test('throws what is wrong with the message itself as it is', async () => {
    const fabric = await openFabric();
    const { master } = await makeCompany(fabric);

    expect((await failureOf(master.send('*', undefined))).code).toBe('ERR_CFC_USAGE');
    expect((await failureOf(master.send('*', 'x', { type: 't'.repeat(65) }))).code).toBe(
      'ERR_CFC_USAGE',
    );
    expect((await failureOf(master.send('*', new Uint8Array((16 << 20) + 1)))).code).toBe(
      'ERR_CFC_RECORD_TOO_LARGE',
    );
    expect(fabric.census().queued).toBe(0);
  });

  test('keeps the ledger to the message', async () => {
    const fabric = await openFabric();
    const { master, coordA, a1, a2, b1 } = await makeCompany(fabric);
    let accepted = 0;
    for (let round = 0; round < 20; round += 1) {
      const text = String(round);
      const before = fabric.census();
      try {
        accepted += (await master.send('role:worker', text, { timeoutMs: 0 })).accepted.length;
      } catch (error) {
        accepted += ((error as { details: unknown }).details as GroupReceipt).accepted.length;
      }
      const { acked, queued, dropped, deadLettered } = fabric.census();
      expect(acked + queued + dropped + deadLettered).toBe(accepted);
      expect(acked).toBeGreaterThanOrEqual(before.acked);
      if (round % 3 === 0) drain(a1);
      if (round % 5 === 0) drain(b1);
    }
    expect(drain(coordA)).toEqual([]);
    expect(drain(a2)).toEqual(range(8).map(String));
  });
});

describe('trySend to a group', () => {
  test('is true for all, false for none, and throws both lists for some', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    expect(coordA.trySend('team:A', 'x')).toBe(true);
    fill(coordA, a1);
    const error = await failureOf(() => coordA.trySend('team:A', 'y'));
    fill(coordA, a2);
    const queued = fabric.census().queued;

    expect(error.code).toBe('ERR_CFC_PARTLY_DELIVERED');
    expect(error.details).toEqual({
      to: 'team:A',
      accepted: [{ to: 'worker-A-2' }],
      refused: [{ to: 'worker-A-1', code: 'ERR_CFC_MAILBOX_FULL' }],
    });
    expect(coordA.trySend('team:A', 'z')).toBe(false);
    expect(fabric.census().queued).toBe(queued);
  });
});

describe('sendBatch to a group', () => {
  test('gives each member all of them in order', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    const receipt = await coordA.sendBatch('team:A', ['a', 'b', 'c', 'd', 'e']);

    expect(receipt.accepted).toHaveLength(10);
    for (const worker of [a1, a2]) expect(drain(worker)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  test('tells how many a member took before it was full', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    for (const one of range(5)) await coordA.send('worker-A-1', one);
    const error = await failureOf(
      coordA.sendBatch('team:A', ['a', 'b', 'c', 'd', 'e', 'f'], { timeoutMs: 10 }),
    );

    expect(error.code).toBe('ERR_CFC_PARTLY_DELIVERED');
    expect(error.details.refused).toEqual([
      { to: 'worker-A-1', code: 'ERR_CFC_MAILBOX_FULL', accepted: 2 },
    ]);
    expect(drain(a2)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    expect(drain(a1).slice(5)).toEqual(['a', 'b']);
  });
});

describe('A send with a route', () => {
  test('by least-loaded goes to who has the fewest unacked messages, leased ones too', async () => {
    const fabric = await openFabric();
    const { master, a1, a2, b1 } = await makeCompany(fabric);
    for (const [worker, count] of [
      [a1, 3],
      [a2, 1],
      [b1, 2],
    ] as const) {
      for (const one of range(count)) await master.send(worker.name, one);
    }
    a2.tryReceive(); // leased and not acked
    const send = async () =>
      (await master.send('role:worker', 'x', { route: 'least-loaded' })) as SendReceipt;

    expect((await send()).to).toBe('worker-A-2');
    expect(['worker-A-2', 'worker-B-1']).toContain((await send()).to);
    expect(['worker-A-2', 'worker-B-1']).toContain((await send()).to);
    expect([a1, a2, b1].map((worker) => worker.count())).toEqual([3, 3, 3]);
  });

  test('by least-loaded spreads what it sends evenly', async () => {
    const fabric = await openFabric();
    const { master, a1, a2, b1 } = await makeCompany(fabric);
    for (const one of range(9)) await master.send('role:worker', one, { route: 'least-loaded' });

    expect([a1, a2, b1].map((worker) => worker.count())).toEqual([3, 3, 3]);
  });

  test('by least-loaded waits for room where all are full', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    fill(coordA, a1);
    fill(coordA, a2);
    const options = { route: 'least-loaded' } as const;
    expect(coordA.trySend('team:A', 'x', options)).toBe(false);
    expect((await failureOf(coordA.send('team:A', 'x', { ...options, timeoutMs: 5 }))).code).toBe(
      'ERR_CFC_MAILBOX_FULL',
    );
    const sending = coordA.send('team:A', 'x', options);
    drain(a1);
    drain(a2);

    const { to } = await sending;
    expect([...drain(a1), ...drain(a2)]).toEqual(['x']);
    expect(to).toMatch(/^worker-A-[12]$/);
  });

  test('by only-if-idle gives each idle one a message, then is refused until one has acked', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    const options = { route: 'only-if-idle' } as const;
    const chosen = [
      (await coordA.send('team:A', 1, options)).to,
      (await coordA.send('team:A', 2, options)).to,
    ];
    expect(chosen.toSorted()).toEqual(['worker-A-1', 'worker-A-2']);
    const message = a2.tryReceive();
    expect(coordA.trySend('team:A', 3, options)).toBe(false);
    expect((await failureOf(coordA.send('team:A', 3, options))).code).toBe('ERR_CFC_NONE_IDLE');
    message?.ack();

    expect((await coordA.send('team:A', 3, options)).to).toBe('worker-A-2');
    expect([a1.count(), a2.count()]).toEqual([1, 1]);
  });

  test('passes over who is paused, complete or failed', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    const options = { route: 'least-loaded' } as const;
    for (const state of ['paused', 'complete', 'failed'] as const) {
      a1.setState(state);
      expect((await coordA.send('team:A', 'x', options)).to).toBe('worker-A-2');
    }
    a2.setState('paused');

    expect((await failureOf(coordA.send('team:A', 'x', options))).code).toBe('ERR_CFC_NO_READER');
  });

  test('asks one member, and resolves to its answer', async () => {
    const fabric = await openFabric();
    const { coordA, a1, a2 } = await makeCompany(fabric);
    await coordA.send('worker-A-1', 'something to do');
    const asking = coordA.ask('team:A', 'who?', { route: 'least-loaded' });
    await (await a2.receive())?.reply('me');

    expect((await asking).from).toBe('worker-A-2');
    expect(a1.count()).toBe(1);
    expect((await failureOf(coordA.ask('team:A', 'who?'))).code).toBe('ERR_CFC_USAGE');
  });

  test('asks the parent', async () => {
    const fabric = await openFabric();
    const { coordA, a1 } = await makeCompany(fabric);
    const asking = a1.ask('parent', 'what now?');
    await (await coordA.receive())?.reply('wait');

    expect((await asking).text()).toBe('wait');
  });

  test('to a name is a mistake; all is what a name has anyhow', async () => {
    const fabric = await openFabric();
    const { master, a1 } = await makeCompany(fabric);

    expect((await failureOf(master.send('worker-A-1', 'x', { route: 'least-loaded' }))).code).toBe(
      'ERR_CFC_USAGE',
    );
    await master.send('worker-A-1', 'x', { route: 'all' });
    expect(a1.count()).toBe(1);
  });
});

describe('join', () => {
  test.each(['parent', 'children', 'peers'])(
    'refuses the name %s: it is an address',
    async (name) => {
      const fabric = await openFabric();
      const error = await failureOf(fabric.join(name));

      expect(error.code).toBe('ERR_CFC_USAGE');
      expect(error.details.detail).toContain('addresses');
    },
  );
});
