import { chownSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { startChild } from '../support/child.js';
import { needs, onTmpfs, openToOthers, unshare } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { testDirectory } from '../support/fabric.js';

/** A user of whom no process runs but ours, of this run: the kernel counts all that a user has. */
const lonely = 60_000 + (process.pid % 4000);

interface Told {
  /** How each start ended: `started`, or a code. */
  ends: string[];
  errnos: number[];
  /** Names of the agents that live, and of all that the directory has. */
  living: string[];
  known: string[];
  namesClaimed: number;
  later: string;
}

describe('Agents that are started', () => {
  test('without a descriptor left are refused as a whole; who runs goes on', async (context) => {
    const limited = ['prlimit', '--nofile=80:80'];
    needs(context, [...limited, 'true']);
    const evidence = evidenceOf('F14');
    const dir = testDirectory();
    const child = startChild(
      async ({ cfc, dir, say, sleep }) => {
        const fs = process.getBuiltinModule('node:fs');
        const fabric = await cfc.Fabric.open('test', { dir, create: true, profile: 'small' });
        const here = await fabric.join('here');
        const start = (name: string) =>
          cfc.startAgents(fabric, [{ name, command: ['sleep', '600'] }])[0]?.started;
        await start('first');
        const open = () => fs.readdirSync('/proc/self/fd').length;
        const before = open();
        const taken: number[] = [];
        for (let left = 0; left < 3; left += 1) {
          // Once with none left, then with one and with two: a pipe takes two.
          if (left === 0) {
            try {
              for (;;) taken.push(fs.openSync('/dev/null', 'r'));
            } catch {
              // That was the last one.
            }
          } else fs.closeSync(taken.pop() as number);
          try {
            await start(`late-${left}`);
            say('started');
          } catch (error) {
            say((error as { code?: string }).code);
          }
        }
        await here.send('first', 'still there');
        for (const fd of taken) fs.closeSync(fd);
        const after = open();
        const known = fabric.snapshot().map(({ name, liveness }) => `${name} ${liveness}`);
        const { namesClaimed, queued } = fabric.census();
        say({ before, after, known, namesClaimed, queued });
        await start('later');
        for (const name of ['first', 'later']) fabric.control(name, 'stop', { kill: true });
        while (
          fabric.snapshot().some(({ name, exitCode }) => name !== 'here' && exitCode === null)
        ) {
          await sleep(10);
        }
        say('stopped');
        await fabric.close();
      },
      { dir, wrapper: limited },
    );

    for (let left = 0; left < 3; left += 1) {
      expect(await child.heard(), child.stderr).toBe('ERR_CFC_AGENT_START');
      evidence.met();
    }
    const told = await child.heard<{ before: number; after: number; known: string[] }>();
    expect(told).toMatchObject({ namesClaimed: 0, queued: 1 });
    // The pipe by which the first one told may have been open still.
    expect(told.after).toBeLessThanOrEqual(told.before);
    expect(told.known.sort()).toEqual(['first alive', 'here alive']);
    expect(await child.heard(), child.stderr).toBe('stopped');
    expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
  });

  test('beyond the number of processes that a user may have are refused one by one', async (context) => {
    const user = `${lonely}`;
    const asUser = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
    const limited = [
      ...[...unshare('--mount'), ...openToOthers()],
      ...['prlimit', '--nproc=48:48', ...asUser, '--inh-caps=-all'],
    ];
    needs(context, [...limited, 'true']);
    const evidence = evidenceOf('F14');
    const dir = testDirectory();
    chownSync(dir, lonely, lonely);
    const child = startChild(startMany, { dir, args: 60, wrapper: limited });

    const { ends, errnos, living, known, namesClaimed, later } = await child.heard<Told>();
    const refused = ends.filter((end) => end !== 'started');
    expect(new Set(refused), child.stderr).toEqual(new Set(['ERR_CFC_AGENT_START']));
    expect(new Set(errnos)).toEqual(new Set([11]));
    expect(refused.length).toBeGreaterThan(20);
    expect(refused.length).toBeLessThan(60);
    expect(living).toHaveLength(60 - refused.length);
    expect(known).toEqual(living);
    expect([namesClaimed, later]).toEqual([0, 'started']);
    evidence.met(refused.length);
    expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
  });

  test('on a tmpfs that runs full are refused where no mailbox fits; the others go on', async (context) => {
    needs(context, unshare('--mount', 'true'));
    const evidence = evidenceOf('F9');
    const dir = testDirectory();
    const child = startChild(startMany, {
      dir,
      args: 60,
      wrapper: onTmpfs(dir, 'size=12m,mode=700'),
    });

    const { ends, living, known, namesClaimed, later } = await child.heard<Told>();
    const refused = ends.filter((end) => end !== 'started');
    expect(new Set(refused), child.stderr).toEqual(new Set(['ERR_CFC_NO_SPACE']));
    expect(refused.length).toBeLessThan(60);
    expect(living).toHaveLength(60 - refused.length);
    expect(known).toEqual(living);
    expect([namesClaimed, later]).toEqual([0, 'started']);
    evidence.met(refused.length);
    expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
  });
});

/** Starts many agents at once, tells how each start ended, stops them, and starts one more. */
async function startMany({
  cfc,
  dir,
  args,
  say,
  sleep,
}: import('../support/child.js').Context<number>): Promise<void> {
  const fabric = await cfc.Fabric.open('test', {
    dir,
    create: true,
    capacity: {
      ...{ maxAgents: 128, maxParticipants: 256, mailboxCells: 1024, mailSegmentBytes: 1 << 18 },
      ...{ slabSegmentBytes: 1 << 19, slabMaxBytes: 8 << 20, senderSlabBytes: 8 << 20 },
      histograms: 2,
    },
  });
  const names = Array.from({ length: args }, (_, i) => `agent-${i}`);
  const command = ['sleep', '600'];
  const starts = cfc.startAgents(
    fabric,
    names.map((name) => ({ name, command })),
  );
  const errnos: number[] = [];
  const ends = await Promise.all(
    starts.map(({ started }) =>
      started.then(
        () => 'started',
        (error: { code?: string; details?: { errno?: number } }) => {
          errnos.push(error.details?.errno ?? 0);
          return error.code ?? String(error);
        },
      ),
    ),
  );
  const known = fabric.snapshot();
  const living = known.filter(({ liveness }) => liveness === 'alive');
  const { namesClaimed } = fabric.census();
  const stopped = async () => {
    for (const { name } of fabric.snapshot()) fabric.control(name, 'stop', { kill: true });
    while (fabric.snapshot().some(({ exitCode }) => exitCode === null)) await sleep(10);
    for (const { name } of fabric.snapshot()) fabric.forget(name);
  };
  await stopped();
  const [more] = cfc.startAgents(fabric, [{ name: 'more', command }]);
  const later = await more?.started.then(
    () => 'started',
    (error: { code?: string }) => error.code,
  );
  await stopped();
  say({
    ...{ ends, errnos, namesClaimed, later },
    living: living.map(({ name }) => name),
    known: known.map(({ name }) => name),
  });
  await fabric.close();
}
