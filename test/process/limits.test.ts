import { describe, expect, test } from 'vitest';
import type { Agent, Fabric } from '../../src/index.js';
import { startChild } from '../support/child.js';
import { evidenceOf } from '../support/evidence.js';
import { openFabric, range, testDirectory } from '../support/fabric.js';

const cells = 16;
const offers = 400;

interface Slow {
  fabric: Fabric;
  me: Agent;
  /** Lets the consumer take one message. */
  take(): Promise<void>;
}

/** A consumer in a process of its own, which takes a message when it is told to, and acks it. */
async function slowConsumer(): Promise<Slow> {
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  const me = await fabric.join('me', { mailboxCells: 8 });
  const child = startChild(
    async ({ open, say }) => {
      const fabric = await open();
      const slow = await fabric.join('slow', { mailboxCells: 16 });
      const turns = await fabric.join('turns', { mailboxCells: 8 });
      say('ready');
      for await (const turn of turns.messages()) {
        const message = slow.tryReceive();
        say(message?.json() ?? null);
        message?.ack();
        turn.ack();
      }
    },
    { dir },
  );
  expect(await child.heard()).toBe('ready');
  let last = -1;
  const take = async () => {
    await me.send('turns', 'take', { wait: 'acked' });
    const number = await child.heard<number>();
    expect(number).toBeGreaterThan(last);
    last = number;
  };
  return { fabric, me, take };
}

/** One turn of the consumer for a hundred offers: what came of them, by code. */
async function offer(
  slow: Slow,
  send: (n: number) => Promise<string>,
): Promise<Map<string, number>> {
  const outcomes = new Map<string, number>();
  for (const n of range(offers)) {
    const outcome = await send(n);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    if (n % 100 === 99) await slow.take();
  }
  return outcomes;
}

const turns = offers / 100;

/** What became of the messages to the slow one; the turns that it was given were all acked. */
function ledger(fabric: Fabric) {
  const { acked, queued, dropped, deadLettered } = fabric.census();
  return { acked: acked - turns, queued, dropped, deadLettered };
}

describe('A consumer at one percent', () => {
  test('makes a send that blocks give up at its own deadline, with nothing enqueued', async () => {
    const evidence = evidenceOf('F16');
    const slow = await slowConsumer();
    let late = 0;
    const outcomes = await offer(slow, async (n) => {
      // Set behind the send's own timer, in the same loop, and due after it: however busy the
      // machine is, this one fires first only where the send does not keep to its deadline.
      let timer: NodeJS.Timeout | undefined;
      const sending = slow.me.send('slow', n, { timeoutMs: 2 }).then(
        () => 'accepted',
        (error) => error.code as string,
      );
      const overdue = new Promise<string>((resolve) => {
        timer = setTimeout(() => resolve('overdue'), 500);
      });
      const first = await Promise.race([sending, overdue]);
      clearTimeout(timer);
      if (first === 'overdue') late += 1;
      return sending;
    });

    expect(late).toBe(0);
    const accepted = outcomes.get('accepted') ?? 0;
    const refused = outcomes.get('ERR_CFC_MAILBOX_FULL') ?? 0;
    expect(accepted + refused).toBe(offers);
    expect(ledger(slow.fabric)).toEqual({
      ...{ acked: turns, queued: accepted - turns, dropped: 0, deadLettered: 0 },
    });
    evidence.injected += offers;
    evidence.hit += refused;
  });

  test('makes trySend say no', async () => {
    const evidence = evidenceOf('F16');
    const slow = await slowConsumer();
    const outcomes = await offer(slow, (n) => Promise.resolve(`${slow.me.trySend('slow', n)}`));
    expect(outcomes.get('true')).toBe(cells + turns - 1);
    expect(ledger(slow.fabric)).toEqual({
      ...{ acked: turns, queued: cells - 1, dropped: 0, deadLettered: 0 },
    });
    evidence.injected += offers;
    evidence.hit += outcomes.get('false') ?? 0;
  });

  test('makes drop-oldest drop, to the message, and keep the newest', async () => {
    const evidence = evidenceOf('F16');
    const slow = await slowConsumer();
    const outcomes = await offer(slow, async (n) => {
      await slow.me.send('slow', n, { whenFull: 'drop-oldest', timeoutMs: 0 });
      return 'accepted';
    });
    expect(outcomes.get('accepted')).toBe(offers);
    const { dropped, ...others } = ledger(slow.fabric);
    expect(others).toEqual({ acked: turns, queued: cells - 1, deadLettered: 0 });
    expect(dropped).toBe(offers - turns - (cells - 1));
    const left = slow.fabric.peek('slow').map(({ message }) => message.json<number>());
    expect(left).toEqual(range(cells - 1).map((i) => offers - (cells - 1) + i));
    evidence.injected += offers;
    evidence.hit += dropped;
  });
});
