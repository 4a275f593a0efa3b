import { randomUUID } from 'node:crypto';
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { type Agent, Fabric } from '../../../src/index.js';
import { startChild } from '../../support/child.js';
import { failureOf, openFabric, range, sleep, testDirectory } from '../../support/fabric.js';

/** An agent whose checkpoints lie in a directory of this test. */
async function makeAgent(name = 'bob') {
  const dir = testDirectory();
  const kept = testDirectory();
  vi.stubEnv('CFC_CHECKPOINT_DIR', kept);
  const fabric = await openFabric({ dir });
  return { dir, kept, fabric, agent: await fabric.join(name) };
}

const stateOf = async (agent: Agent) => (await agent.restore())?.state;
const filesOf = (path: string) => readdirSync(dirname(path)).toSorted();

/** Warnings of this process while `work` runs. */
async function warningsOf(work: () => Promise<unknown>): Promise<(string | undefined)[]> {
  const heard: (string | undefined)[] = [];
  const listen = (warning: Error & { code?: string }) => heard.push(warning.code);
  process.on('warning', listen);
  await work();
  await sleep(1); // they come in a turn of their own
  process.off('warning', listen);
  return heard;
}

describe('Agent.checkpoint and restore', () => {
  test('give the next life of an agent what this one kept last', async () => {
    const { fabric, agent } = await makeAgent();
    expect(await agent.restore()).toBeUndefined();
    await agent.checkpoint({ step: 1 });
    const receipt = await agent.checkpoint({ step: 2, text: 'zwölf\n"\u0000' });
    await agent.leave();
    const next = await fabric.join('bob');
    const restored = await next.restore();

    expect(restored).toEqual({
      state: { step: 2, text: 'zwölf\n"\u0000' },
      sequence: 2,
      incarnation: expect.any(Number),
      at: receipt.at,
      skipped: [],
    });
    expect((await next.checkpoint(3)).sequence).toBe(3);
    expect(await stateOf(next)).toBe(3);
  });

  test.each([null, 0, '', [], [1, [2]], 'a\nb', { a: { b: [] } }])('keep %j', async (state) => {
    const { agent } = await makeAgent();
    await agent.checkpoint(state);

    expect(await stateOf(agent)).toEqual(state);
  });

  test('keep five, and the files are for their user alone', async () => {
    const { agent } = await makeAgent();
    let path = '';
    for (const n of range(12)) ({ path } = await agent.checkpoint({ n }));

    expect(filesOf(path)).toHaveLength(5);
    expect(filesOf(path).at(-1)).toBe(basename(path));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
  });

  test('keep order where many are asked for at once, each as it was then', async () => {
    const { agent } = await makeAgent();
    const state = { n: 0 };
    const receipts = range(20).map((n) => {
      state.n = n;
      return agent.checkpoint(state);
    });
    state.n = -1;

    expect((await Promise.all(receipts)).map(({ sequence }) => sequence)).toEqual(
      range(20).map((n) => n + 1),
    );
    expect(await stateOf(agent)).toEqual({ n: 19 });
  });

  test('keep agents and fabrics apart', async () => {
    const { fabric, agent } = await makeAgent();
    const carol = await fabric.join('carol');
    await agent.checkpoint('of bob');
    const elsewhere = await openFabric({ dir: testDirectory() });

    expect(await carol.restore()).toBeUndefined();
    expect(await (await elsewhere.join('bob')).restore()).toBeUndefined();
  });

  test('outlive the fabric', async () => {
    const { dir, fabric, agent } = await makeAgent();
    await agent.checkpoint('still here');
    await fabric.close();
    await Fabric.destroy('test', { dir });
    const again = await openFabric({ dir });

    expect(await stateOf(await again.join('bob'))).toBe('still here');
  });

  test('sweep what a writer left that was killed long ago', async () => {
    const { fabric, agent } = await makeAgent();
    const { path } = await agent.checkpoint(1);
    const left = join(dirname(path), `.checkpoint-000000000002-${randomUUID()}.json.tmp`);
    const fresh = `${left}2`;
    for (const file of [left, fresh]) writeFileSync(file, 'half');
    utimesSync(left, 0, 0);
    await agent.leave();
    await (await fabric.join('bob')).checkpoint(2);

    expect(filesOf(path).filter((name) => name.startsWith('.'))).toEqual([basename(fresh)]);
  });
});

describe('A checkpoint that is damaged', () => {
  test.each([
    ['empty', (path: string) => truncateSync(path, 0), /no JSON/],
    ['cut short', (path: string) => truncateSync(path, statSync(path).size - 1), /checksum/],
    ['longer', (path: string) => appendFileSync(path, 'x\n'), /checksum/],
    ['of another agent', (path: string) => rename(path, 'bob', 'bib'), /checksum|belongs/],
    ['of another format', (path: string) => writeFileSync(path, '{"v":2}\n{}\n'), /format/],
  ])('%s gives way to the one before it, with a warning', async (_, damage, reason) => {
    const { agent } = await makeAgent();
    await agent.checkpoint({ n: 1 });
    const { path } = await agent.checkpoint({ n: 2 });
    damage(path);
    let restored: Awaited<ReturnType<Agent['restore']>>;
    const warnings = await warningsOf(async () => {
      restored = await agent.restore();
    });

    expect(restored).toMatchObject({
      state: { n: 1 },
      sequence: 1,
      skipped: [{ path, reason: expect.stringMatching(reason) }],
    });
    expect(warnings).toEqual(['CFC_CHECKPOINT_SKIPPED']);
    expect((await agent.checkpoint({ n: 3 })).sequence).toBe(3);
    expect(await stateOf(agent)).toEqual({ n: 3 });
  });

  test('in any one byte is noticed', async () => {
    const { agent } = await makeAgent();
    await agent.checkpoint({ n: 1 });
    const { path } = await agent.checkpoint({ n: 2 });
    const whole = readFileSync(path);
    process.removeAllListeners('warning'); // one for each byte
    for (const i of whole.keys()) {
      const damaged = Buffer.from(whole);
      damaged[i] = (damaged[i] as number) ^ 1;
      writeFileSync(path, damaged);
      expect(await stateOf(agent), `byte ${i}`).toEqual({ n: 1 });
    }
  });

  test('like all the others is an error that says why of each', async () => {
    const { agent } = await makeAgent();
    for (const n of range(3)) truncateSync((await agent.checkpoint({ n })).path, 3);
    const error = await failureOf(agent.restore());

    expect(error.code).toBe('ERR_CFC_CHECKPOINT_INVALID');
    expect(error.details.skipped).toHaveLength(3);
  });
});

function rename(path: string, from: string, to: string): void {
  writeFileSync(path, readFileSync(path, 'utf8').replace(from, to));
}

describe('A schema', () => {
  const schema = {
    parse(value: unknown): { n: number } {
      if (typeof (value as { n?: unknown }).n === 'number') return value as { n: number };
      throw new Error('n is a number');
    },
  };

  test('refuses a state before it is written', async () => {
    const { agent } = await makeAgent();
    await agent.checkpoint({ n: 1 }, { schema });
    const error = await failureOf(
      agent.checkpoint({ n: 'one' } as unknown as { n: number }, { schema }),
    );

    expect(error.code).toBe('ERR_CFC_CHECKPOINT_INVALID');
    expect(error.details).toEqual({ agent: 'bob', reason: 'n is a number' });
    expect(await stateOf(agent)).toEqual({ n: 1 });
  });

  test.each([
    ['undefined', undefined],
    ['a function', () => {}],
    ['a bigint', 1n],
    ['NaN where a number is wanted', { n: Number.NaN }],
  ])('or JSON has no word for %s', async (_, state) => {
    const { agent } = await makeAgent();
    const options = state !== null && typeof state === 'object' ? { schema } : {};

    expect((await failureOf(agent.checkpoint(state as never, options))).code).toBe(
      'ERR_CFC_CHECKPOINT_INVALID',
    );
  });

  test('skips what does not fit it any more', async () => {
    const { agent } = await makeAgent();
    await agent.checkpoint({ n: 1 });
    await agent.checkpoint({ m: 2 });

    expect(await agent.restore({ schema })).toMatchObject({
      state: { n: 1 },
      skipped: [{ reason: 'it is no such state: n is a number' }],
    });
  });

  test('of a new version gets an old state by way of migrate, and not without', async () => {
    const { agent } = await makeAgent();
    await agent.checkpoint(7, { version: 1 });
    const migrate = (state: unknown, from: number) => ({ n: (state as number) * 10 + from });

    expect(await agent.restore({ version: 2, schema, migrate })).toMatchObject({
      state: { n: 71 },
    });
    expect((await failureOf(agent.restore({ version: 2, schema }))).details.skipped).toMatchObject([
      { reason: 'its version is 1, and not 2' },
    ]);
  });
});

describe('A directory that cannot be', () => {
  test('is an error with its cause, and the agent goes on', async () => {
    const { kept, agent } = await makeAgent();
    rmSync(kept, { recursive: true });
    writeFileSync(kept, 'in the way');
    const error = await failureOf(agent.checkpoint(1));

    expect(error.code).toBe('ERR_CFC_CHECKPOINT_IO');
    expect(error.cause).toMatchObject({ syscall: 'mkdir' });
    rmSync(kept);
    mkdirSync(kept, { mode: 0o700 });
    expect((await agent.checkpoint(2)).sequence).toBe(1);
  });
});

describe('An agent that is killed at any moment', () => {
  test('finds what it kept last, or one that it was just keeping', async () => {
    const { dir, kept, fabric, agent } = await makeAgent();
    await agent.leave();
    let before = 0;
    let killedWriting = 0;
    // Until the kills have met what they are meant for.
    for (let round = 0; round < 25 || killedWriting === 0; round += 1) {
      const child = startChild(
        async ({ open, say }) => {
          const writer = await (await open()).join('bob');
          const restored = await writer.restore<{ n: number; filler: string }>();
          let n = restored?.state.n ?? 0;
          say(n);
          for (;;) {
            n += 1;
            await writer.checkpoint({ n, filler: 'x'.repeat((n * 7919) % 60_000) });
            say(n);
          }
        },
        { dir, env: { CFC_CHECKPOINT_DIR: kept } },
      );
      const first = await child.heard<number>();
      expect(first, `round ${round}`).toBeGreaterThanOrEqual(before);
      let last = await child.heard<number>(); // at least one more
      await sleep(Math.random() * 12);
      await child.kill();
      for (;;) {
        const said = await child.heard<number | { ended: true }>();
        if (typeof said !== 'number') break;
        last = said;
      }
      const successor = await fabric.join('bob');
      const { n, filler } = (await successor.restore<{ n: number; filler: string }>())?.state ?? {
        n: -1,
        filler: '',
      };
      expect(n, `round ${round}`).toBeGreaterThanOrEqual(last);
      expect(n, `round ${round}`).toBeLessThanOrEqual(last + 1);
      expect(filler).toHaveLength((n * 7919) % 60_000);
      const folder = join(kept, readdirSync(kept)[0] as string, 'bob');
      killedWriting += readdirSync(folder).some((name) => name.startsWith('.')) ? 1 : 0;
      before = n;
      await successor.leave();
    }
  });
});
