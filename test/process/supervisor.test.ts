import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { shimsOf } from '../../src/agents/supervisor/shims.js';
import { Fabric, type SupervisionEvent, Supervisor, Topology } from '../../src/index.js';
import { type Child, startChild } from '../support/child.js';
import { processesOf } from '../support/cli.js';
import { evidenceOf } from '../support/evidence.js';
import { failureOf, openFabric, sleep, testDirectory, until } from '../support/fabric.js';
import { commandOf, idle, pidOf, supervise, supervisedCapacity } from '../support/supervise.js';

const capacity = supervisedCapacity;

/** Takes the fabric down where a test's own supervisor is gone. */
function downAtTheEnd(dir: string): void {
  onTestFinished(async () => {
    try {
      const fabric = await Fabric.open('test', { dir });
      await Supervisor.down(fabric, { timeoutMs: 1000, graceMs: 200 });
      await fabric.close();
    } catch {
      // It was removed already.
    }
  });
}

describe('Supervisor', () => {
  test('starts everybody, coordinators before their workers, and says when all are ready', async () => {
    const fabric = await openFabric({ capacity });
    const { supervisor, events } = await supervise(
      fabric,
      `{ topology: hybrid, coordinators: 2, workersPerCoordinator: 3,
         master: { ${idle} }, coordinator: { ${idle} }, worker: { ${idle} } }`,
    );
    const { ready, notReady } = await supervisor.whenReady();
    expect([ready.length, notReady]).toEqual([9, []]);
    const spawned = events.filter(({ event }) => event === 'spawned').map(({ agent }) => agent);
    expect(spawned.slice(0, 3)).toEqual(['master', 'coord-A', 'coord-B']);
    expect(fabric.snapshot().find(({ name }) => name === 'worker-B-2')).toMatchObject({
      ...{ role: 'worker', team: 'B', parent: 'coord-B', liveness: 'alive' },
    });
  });

  test('is one in a fabric: a second one is refused', async () => {
    const fabric = await openFabric({ capacity });
    const { supervisor } = await supervise(fabric, `agents: [{ name: a, ${idle} }]`);
    const second = await failureOf(Supervisor.start(fabric, supervisor.topology));
    expect(second.code).toBe('ERR_CFC_SUPERVISOR_RUNNING');
    expect(second.details.pid).toBe(process.pid);
  });

  describe('with an agent that it has only just started', () => {
    /** Its shim stands still right after its start, before it has a name. */
    async function superviseSlow() {
      for (;;) {
        const fabric = await openFabric({ capacity });
        let shim = 0;
        const supervised = await supervise(fabric, `agents: [{ name: slow, ${idle} }]`, {
          tell: ({ event, pid = 0 }) => {
            if (event !== 'spawned') return;
            shim = pid;
            process.kill(pid, 'SIGSTOP');
          },
        });
        const isThere = fabric.snapshot().some(({ name }) => name === 'slow');
        if (!isThere) {
          return { ...supervised, fabric, shim, dir: dirname(fabric.info().path) };
        }
        process.kill(shim, 'SIGCONT'); // it was faster than we were
        await supervised.supervisor.down();
      }
    }

    test('stops it as well', async () => {
      const { supervisor, shim, dir } = await superviseSlow();
      setTimeout(() => process.kill(shim, 'SIGCONT'), 300);
      const { stopped, left } = await supervisor.down();
      expect({ stopped, left }).toEqual({ stopped: ['slow'], left: [] });
      expect([...shimsOf('test', dir), ...processesOf(dir)]).toEqual([]);
    });

    test('ends it where it does not come to its name', async () => {
      const { supervisor, dir } = await superviseSlow();
      const { stopped, left } = await supervisor.down();
      expect({ stopped, left }).toEqual({ stopped: [], left: [] });
      await until(() => shimsOf('test', dir).length === 0);
    });

    test('lets go of it once it is there', async () => {
      const { supervisor, shim, fabric } = await superviseSlow();
      setTimeout(() => process.kill(shim, 'SIGCONT'), 300);
      await supervisor.close();
      expect(living(fabric)).toEqual({ slow: shim });
      await Supervisor.down(fabric);
    });
  });

  test('starts again who is killed, and publishes what happens', async () => {
    const fabric = await openFabric({ capacity });
    const watcher = await fabric.join('watcher');
    const topic = watcher.subscribe('cfc.events', { policy: 'lossy' });
    const { supervisor, heard } = await supervise(
      fabric,
      `agents: [{ name: a, ${idle} }, { name: b, ${idle} }]`,
    );
    await supervisor.whenReady();
    const before = [pidOf(fabric, 'a'), pidOf(fabric, 'b')];
    process.kill(commandOf(fabric, 'a'), 'SIGKILL');
    expect((await heard('exited', 'a')).exitCode).toBe(137);
    await heard('ready', 'a', 2);
    expect(pidOf(fabric, 'a')).not.toBe(before[0]);
    expect(pidOf(fabric, 'b')).toBe(before[1]);
    const published: string[] = [];
    while (!published.includes('restarted a')) {
      const event = await topic.receive();
      if (event === undefined || event.gap) continue;
      const told = event.json<SupervisionEvent>();
      published.push(`${told.event} ${told.agent}`);
    }
    expect(published).toContain('exited a');
  });

  test('one-for-all starts the whole team again, rest-for-one those after it', async () => {
    const fabric = await openFabric({ capacity });
    const { supervisor, heard } = await supervise(
      fabric,
      `agents:
         - { name: boss, ${idle} }
         - { name: a, parent: boss, ${idle} }
         - { name: b, parent: boss, ${idle}, restart: { strategy: one-for-all } }
         - { name: c, parent: boss, ${idle}, restart: { strategy: rest-for-one } }
         - { name: d, parent: boss, ${idle} }`,
    );
    await supervisor.whenReady();
    const pids = () => ['boss', 'a', 'b', 'c', 'd'].map((name) => pidOf(fabric, name));
    const first = pids();
    process.kill(commandOf(fabric, 'b'), 'SIGKILL');
    await Promise.all(['a', 'b', 'c', 'd'].map((name) => heard('ready', name, 2)));
    const second = pids();
    expect(second.map((pid, i) => pid === first[i])).toEqual([true, false, false, false, false]);
    process.kill(commandOf(fabric, 'c'), 'SIGKILL');
    await Promise.all(['c', 'd'].map((name) => heard('ready', name, 3)));
    const third = pids();
    expect(third.map((pid, i) => pid === second[i])).toEqual([true, true, true, false, false]);
  });

  test('a crash loop is told once, and its inbox is kept for the life that lasts', async () => {
    const evidence = evidenceOf('F19');
    const fabric = await openFabric({ capacity });
    const me = await fabric.join('me');
    const { heard, events } = await supervise(
      fabric,
      `agents: [{ name: looper, command: ['false'], restart: { backoffMs: 1 } }]`,
    );
    await heard('spawned', 'looper');
    for (let accepted = 0; accepted < 3; ) {
      await me.send('looper', { accepted }).then(
        () => (accepted += 1),
        () => sleep(20), // its name was not there yet
      );
    }
    await heard('crash-loop', 'looper');
    evidence.met();
    await heard('restarted', 'looper', 6);
    expect(events.filter(({ event }) => event === 'crash-loop').length).toBe(1);
    const depth = fabric.snapshot().find(({ name }) => name === 'looper')?.depth ?? 0;
    const { queued, acked, dropped } = fabric.census();
    expect([depth, queued, acked, dropped]).toEqual([3, 3, 0, 0]);
  });

  test('a program that there is not is told, and tried as a crash', async () => {
    const fabric = await openFabric({ capacity });
    const { heard } = await supervise(
      fabric,
      `agents: [{ name: a, command: [/no/such/program], restart: { backoffMs: 1 } }]`,
    );
    expect((await heard('start-failed', 'a')).reason).toMatch(/no\/such\/program|ENOENT/);
    await heard('crash-loop', 'a');
  });
});

describe('A supervisor where the kernel has no pidfds', () => {
  test('learns of a start that failed as well', async () => {
    const fabric = await openFabric({ capacity });
    vi.spyOn(fabric.region, 'watchPids').mockReturnValue(false);
    vi.spyOn(fabric.region, 'watchPid').mockReturnValue(false);
    onTestFinished(() => void vi.restoreAllMocks());
    const { supervisor, heard } = await supervise(
      fabric,
      `agents: [{ name: a, command: [there-is-no-such-program],
                  restart: { maxRestarts: 0, onCrashLoop: give-up } }]`,
    );
    await heard('crash-loop', 'a');
    await until(() => supervisor.agents()[0]?.phase === 'ended');
  });
});

describe('A limit of memory', () => {
  test('is told of once, for as long as it is passed', async () => {
    const fabric = await openFabric({ capacity });
    const { heard, events } = await supervise(
      fabric,
      `agents: [{ name: a, ${idle}, limits: { memoryBytes: 1, onMemory: report } }]`,
    );
    await heard('memory-exceeded', 'a');
    await sleep(2500); // two more looks
    expect(events.filter(({ event }) => event === 'memory-exceeded').length).toBe(1);
  });

  test('has who passes it started again', async () => {
    const fabric = await openFabric({ capacity });
    const { heard } = await supervise(
      fabric,
      `agents: [{ name: a, ${idle}, restart: always, limits: { memoryBytes: 1 } }]`,
    );
    await heard('restarted', 'a');
    const second = await heard('memory-exceeded', 'a', 2); // by the next life
    expect(second).toMatchObject({ limitBytes: 1 });
  });
});

describe('A supervisor that is killed', () => {
  test('leaves its agents running; the next one adopts all and restarts none', async () => {
    const evidence = evidenceOf('F5');
    const dir = testDirectory();
    const workers = 707;
    const child = startSupervisor(dir, workers);
    const before = await child.heard<Record<string, number>>();
    expect(Object.keys(before).length).toBe(workers + 1);
    await child.kill('SIGKILL');
    evidence.met();
    downAtTheEnd(dir);
    const fabric = await openFabric({ dir });
    expect(living(fabric)).toEqual(before);
    const { supervisor, events } = await supervise(
      fabric,
      Topology.flat({ workers, master: sleeper, worker: sleeper }),
    );
    const { notReady } = await supervisor.whenReady();
    expect(notReady).toEqual([]);
    expect(living(fabric)).toEqual(before);
    expect(events.filter(({ event }) => event === 'adopted').length).toBe(workers + 1);
    expect(events.filter(({ event }) => event !== 'adopted' && event !== 'ready')).toEqual([]);
    // And it watches them, though it is not their parent.
    process.kill(commandOf(fabric, 'worker-3'), 'SIGKILL');
    await until(() => living(fabric)['worker-3'] !== before['worker-3']);
  });

  test('in the middle of its starts, and whose fabric is taken down, leaves nothing', async () => {
    for (let turn = 0; turn < 3; turn += 1) {
      const dir = testDirectory();
      const child = startChild(
        async ({ cfc, args, dir: base, say }) => {
          const topology = cfc.Topology.parse(args as string);
          const options = { create: true, dir: base, capacity: topology.capacity() };
          const fabric = await cfc.Fabric.open('test', options);
          const supervisor = await cfc.Supervisor.start(fabric, topology);
          say('begun');
          await supervisor.whenClosed;
        },
        { dir, args: sleepers(40) },
      );
      await child.heard();
      await child.kill('SIGKILL');
      const fabric = await openFabric({ dir });
      const { left } = await Supervisor.down(fabric, { timeoutMs: 10_000 });
      await fabric.close();
      await Fabric.destroy('test', { dir });
      const processes = [...shimsOf('test', dir), ...processesOf(dir)];
      expect({ left, processes }).toEqual({ left: [], processes: [] });
    }
  });

  test('and whose fabric is taken down leaves nothing', async () => {
    const dir = testDirectory();
    const child = startSupervisor(dir, 8);
    await child.heard();
    await child.kill('SIGKILL');
    const fabric = await openFabric({ dir });
    const report = await Supervisor.down(fabric, { timeoutMs: 10_000 });
    expect(report).toMatchObject({ drained: true, undelivered: [], left: [] });
    expect(report.stopped.length).toBe(9);
    await fabric.close();
    await Fabric.destroy('test', { dir });
    expect(processesOf(dir)).toEqual([]);
    expect(existsSync(dir)).toBe(false); // it goes with the last fabric in it
  });
});

const sleeper = { command: ['sleep', '1000'] };

/** A topology of agents that are all started at once. */
function sleepers(count: number): string {
  const agents = Array.from({ length: count }, (_, i) => `{ name: a${i}, ${idle} }`);
  return `agents: [${agents.join(', ')}]`;
}

/** Pids of who lives, by name, without the supervisor. */
function living(fabric: Fabric): Record<string, number> {
  const alive = fabric
    .snapshot()
    .filter(({ name, liveness }) => liveness === 'alive' && name !== 'supervisor');
  return Object.fromEntries(alive.map(({ name, pid }) => [name, pid]));
}

/** A process that supervises a flat team of sleepers, and says their pids once all are ready. */
function startSupervisor(dir: string, workers: number): Child {
  return startChild(
    async ({ cfc, args, dir: base, say }) => {
      const worker = { command: ['sleep', '1000'] };
      const topology = cfc.Topology.flat({ workers: args as number, worker, master: worker });
      const fabric = await cfc.Fabric.open('test', {
        ...{ create: true, dir: base },
        capacity: topology.capacity(),
      });
      const supervisor = await cfc.Supervisor.start(fabric, topology);
      await supervisor.whenReady();
      const agents = fabric.snapshot().filter(({ name }) => name !== 'supervisor');
      say(Object.fromEntries(agents.map(({ name, pid }) => [name, pid])));
      await supervisor.whenClosed;
    },
    { dir, args: workers },
  );
}
