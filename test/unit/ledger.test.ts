import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Agent, CfcError, Fabric, type Message } from '../../src/index.js';
import { smallCapacity, testDirectory } from '../support/fabric.js';

/** What the ledger must say: written down outside the fabric, from what its answers promised. */
interface Model {
  accepted: number;
  acked: number;
  dropped: number;
  /** Texts that were sent and are not acked, by sender and recipient, in order. */
  order: Map<string, string[]>;
}

interface World {
  fabric: Fabric;
  agents: (Agent | undefined)[];
  held: { by: number; message: Message }[];
  model: Model;
  next: number;
}

const names = ['a', 'b', 'c'] as const;
const who = fc.nat({ max: names.length - 1 });
const sizes = fc.constantFrom(0, 10, 150, 200, 3000, 20_000);

function bodyOf(world: World, bytes: number): string {
  const text = `${world.next}:`;
  world.next += 1;
  return text.padEnd(bytes, '.');
}

const operations = {
  send: fc.record({ from: who, to: who, bytes: sizes, control: fc.boolean(), drop: fc.boolean() }),
  batch: fc.record({ from: who, to: who, bytes: sizes, count: fc.integer({ min: 1, max: 6 }) }),
  receive: fc.record({ at: who, max: fc.integer({ min: 1, max: 8 }) }),
  settle: fc.record({ nth: fc.nat(), ack: fc.boolean() }),
  leave: fc.record({ at: who }),
  join: fc.record({ at: who }),
  clear: fc.record({ at: who }),
};

type Operations = {
  [K in keyof typeof operations]: (typeof operations)[K] extends fc.Arbitrary<infer T> ? T : never;
};

/** Accepts nothing where the answer is a refusal. */
function accepts(send: () => boolean): boolean {
  try {
    return send();
  } catch (error) {
    if (error instanceof CfcError && error.code === 'ERR_CFC_NO_AGENT') return false;
    throw error;
  }
}

const apply: { [K in keyof Operations]: (world: World, what: Operations[K]) => unknown } = {
  send(world, { from, to, bytes, control, drop }) {
    const text = bodyOf(world, bytes);
    const before = world.fabric.census().dropped;
    const sent = accepts(
      () =>
        world.agents[from]?.trySend(names[to] as string, text, {
          priority: control ? 'control' : 'work',
          ...(drop ? { whenFull: 'drop-oldest' as const } : {}),
        }) ?? false,
    );
    if (sent) world.model.accepted += 1;
    world.model.dropped += world.fabric.census().dropped - before;
  },
  async batch(world, { from, to, bytes, count }) {
    const bodies = Array.from({ length: count }, () => bodyOf(world, bytes));
    try {
      const receipts = await world.agents[from]?.sendBatch(names[to] as string, bodies, {
        timeoutMs: 0,
      });
      world.model.accepted += receipts?.length ?? 0;
    } catch (error) {
      if (!(error instanceof CfcError)) throw error;
      expect(['ERR_CFC_MAILBOX_FULL', 'ERR_CFC_NO_AGENT']).toContain(error.code);
      world.model.accepted += Number(error.details.accepted ?? 0);
    }
  },
  async receive(world, { at, max }) {
    const batch = await world.agents[at]?.receiveBatch({ max, timeoutMs: 0 });
    for (const message of batch ?? []) {
      expect(message.text()).toMatch(/^\d+:\.*$/);
      world.held.push({ by: at, message });
    }
  },
  settle(world, { nth, ack }) {
    const [lease] = world.held.splice(nth % Math.max(1, world.held.length), 1);
    if (lease === undefined) return;
    if (ack) {
      lease.message.ack();
      world.model.acked += 1;
    } else {
      lease.message.nack();
    }
  },
  async leave(world, { at }) {
    await world.agents[at]?.leave();
    world.agents[at] = undefined;
    world.held = world.held.filter(({ by }) => by !== at);
  },
  async join(world, { at }) {
    world.agents[at] ??= await world.fabric.join(names[at] as string, { mailboxCells: 16 });
  },
  clear(world, { at }) {
    world.model.dropped += world.agents[at]?.clear() ?? 0;
  },
};

describe('The ledger', () => {
  test('adds up after whatever was done, in whatever order', async () => {
    const dir = testDirectory();
    let run = 0;
    const step = fc.oneof(
      ...(Object.keys(operations) as (keyof Operations)[]).map((name) =>
        (operations[name] as fc.Arbitrary<unknown>).map((what) => ({ name, what })),
      ),
    );

    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
        run += 1;
        const fabric = await Fabric.open(`run-${run}`, {
          dir,
          create: true,
          capacity: { ...smallCapacity, attemptLimit: 2 },
        });
        const world: World = {
          fabric,
          agents: [],
          held: [],
          model: { accepted: 0, acked: 0, dropped: 0, order: new Map() },
          next: 0,
        };
        try {
          for (const at of names.keys()) await apply.join(world, { at });
          for (const { name, what } of steps) {
            await (apply[name] as (world: World, what: unknown) => unknown)(world, what);
            const census = fabric.census();
            const { accepted, acked, dropped } = world.model;
            expect(census).toMatchObject({ acked, dropped, claimed: 0 });
            expect(census.queued + census.deadLettered).toBe(accepted - acked - dropped);
            expect(census.deadLetters).toBe(census.deadLettered);
            expect(census.leased).toBe(world.held.length);
          }
          // Whoever comes next gets everything that is left, and then nothing is left at all.
          for (const at of names.keys()) {
            await apply.leave(world, { at });
            await apply.join(world, { at });
            for (;;) {
              await apply.receive(world, { at, max: 8 });
              if (world.held.length === 0) break;
              while (world.held.length > 0) apply.settle(world, { nth: 0, ack: true });
            }
          }
          const { deadLettered } = fabric.census();
          expect(fabric.dropDead()).toBe(deadLettered);
          const census = fabric.census();
          expect(census.acked + deadLettered).toBe(world.model.accepted - world.model.dropped);
          expect(census).toMatchObject({ queued: 0, done: 0, chunksLoaned: 0, chunksPlaced: 0 });
        } finally {
          await fabric.close();
          await Fabric.destroy(`run-${run}`, { dir });
        }
      }),
      { numRuns: 100 },
    );
  });
});
