import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fabric, Topology } from '../../../src/index.js';
import { failureOf, openFabric } from '../../support/fabric.js';

const namesOf = (topology: Topology) => topology.agents.map(({ name }) => name);
const count = (topology: Topology, role: string) =>
  topology.agents.filter((agent) => agent.role === role).length;

describe('Topology.flat', () => {
  test('has a master, and workers below it', () => {
    const topology = Topology.flat({ workers: 3 });

    expect(namesOf(topology)).toEqual(['master', 'worker-1', 'worker-2', 'worker-3']);
    expect(topology.childrenOf('master')).toHaveLength(3);
    expect([...topology.links()].every(({ kind }) => kind === 'child')).toBe(true);
    expect(topology.route('worker-1', 'worker-3')).toEqual(['worker-1', 'master', 'worker-3']);
  });
});

describe('Topology.hierarchical', () => {
  test('is a tree of any depth', () => {
    const topology = Topology.hierarchical({ fanOut: [2, 2, 2] });

    expect(namesOf(topology)).toEqual([
      'master',
      'coord-A',
      ...['coord-A-1', 'worker-A-1-1', 'worker-A-1-2', 'coord-A-2', 'worker-A-2-1', 'worker-A-2-2'],
      'coord-B',
      ...['coord-B-1', 'worker-B-1-1', 'worker-B-1-2', 'coord-B-2', 'worker-B-2-1', 'worker-B-2-2'],
    ]);
    expect(topology.agent('worker-B-2-1')).toMatchObject({
      role: 'worker',
      team: 'B',
      parent: 'coord-B-2',
    });
    expect(topology.peersOf('coord-A')).toEqual([]);
    expect(topology.route('worker-A-1-2', 'worker-B-2-1')).toEqual([
      ...['worker-A-1-2', 'coord-A-1', 'coord-A', 'master'],
      ...['coord-B', 'coord-B-2', 'worker-B-2-1'],
    ]);
  });

  test('spreads workers over coordinators', () => {
    const topology = Topology.hierarchical({ workers: 10 });

    expect([count(topology, 'coordinator'), count(topology, 'worker')]).toEqual([3, 10]);
    expect(['A', 'B', 'C'].map((team) => topology.childrenOf(`coord-${team}`).length)).toEqual([
      4, 3, 3,
    ]);
  });
});

describe('Topology.hybrid', () => {
  test('links the coordinators with each other, and each with its team', () => {
    const topology = Topology.hybrid({ coordinators: 7, workersPerCoordinator: 100 });

    expect(topology.agents).toHaveLength(708);
    expect([...topology.links()].filter(({ kind }) => kind === 'peer')).toHaveLength(21);
    expect([...topology.links()].filter(({ kind }) => kind === 'child')).toHaveLength(707);
    expect(topology.peersOf('coord-C')).toEqual(
      ['A', 'B', 'D', 'E', 'F', 'G'].map((team) => `coord-${team}`),
    );
    expect(topology.peersOf('worker-A-1')).toEqual([]);
    // Across, and not by way of the master.
    expect(topology.route('worker-A-1', 'worker-C-9')).toEqual([
      ...['worker-A-1', 'coord-A', 'coord-C', 'worker-C-9'],
    ]);
    expect(topology.route('coord-A', 'coord-B')).toEqual(['coord-A', 'coord-B']);
    expect(topology.route('worker-A-1', 'worker-A-2')).toEqual([
      ...['worker-A-1', 'coord-A', 'worker-A-2'],
    ]);
    expect(topology.route('master', 'worker-B-1')).toEqual(['master', 'coord-B', 'worker-B-1']);
    expect(topology.route('worker-B-1', 'master')).toEqual(['worker-B-1', 'coord-B', 'master']);
    expect(topology.route('worker-B-1', 'worker-B-1')).toEqual(['worker-B-1']);
    expect(topology.route('worker-B-1', 'nobody')).toEqual([]);
  });

  test('has teams that are hierarchies themselves', () => {
    const topology = Topology.hybrid({ coordinators: 2, workersPerCoordinator: [2, 3] });

    expect(topology.agents).toHaveLength(1 + 2 + 4 + 12);
    expect(topology.agent('worker-B-2-3')?.parent).toBe('coord-B-2');
    expect(topology.peersOf('coord-A-1')).toEqual([]);
    expect(topology.route('worker-A-1-1', 'worker-B-2-3')).toEqual([
      ...['worker-A-1-1', 'coord-A-1', 'coord-A', 'coord-B', 'coord-B-2', 'worker-B-2-3'],
    ]);
  });

  test('spreads workers evenly, and goes on after coordinator Z', () => {
    const topology = Topology.hybrid({ coordinators: 28, workers: 57 });

    expect(topology.childrenOf('coord-A')).toHaveLength(3);
    expect(topology.childrenOf('coord-AB')).toEqual(['worker-AB-1', 'worker-AB-2']);
  });
});

describe('Topology.mesh', () => {
  test('links everybody with everybody, and has nobody above', () => {
    const topology = Topology.mesh({ workers: 5 });

    expect([...topology.links()]).toHaveLength(10);
    expect(topology.agents.every(({ parent }) => parent === '')).toBe(true);
    expect(topology.peersOf('worker-1')).toHaveLength(4);
    expect(topology.route('worker-1', 'worker-5')).toEqual(['worker-1', 'worker-5']);
  });
});

describe('Topology.choose', () => {
  test.each([
    [1, 'mesh', 0],
    [7, 'mesh', 0],
    [8, 'hierarchical', 2],
    [100, 'hierarchical', 9],
    [101, 'hybrid', 1],
    [300, 'hybrid', 3],
    [708, 'hybrid', 7],
    [1000, 'hybrid', 10],
    [10_000, 'hybrid', 99],
  ])('%i agents are a %s with %i coordinators', (agents, shape, coordinators) => {
    const topology = Topology.choose(agents);

    expect(topology.agents).toHaveLength(agents);
    expect(topology.shape).toBe(shape);
    expect(count(topology, 'coordinator')).toBe(coordinators);
  });

  test('gives as many as asked for, and coordinators of a hybrid 50 to 100 workers', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), (agents) => {
        const topology = Topology.choose(agents);
        expect(topology.agents).toHaveLength(agents);
        if (topology.shape !== 'hybrid') return;
        for (const name of topology.childrenOf('master')) {
          expect(topology.childrenOf(name).length).toBeGreaterThanOrEqual(50);
          expect(topology.childrenOf(name).length).toBeLessThanOrEqual(100);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe('An agent of a topology', () => {
  test('has a mailbox for two messages of each neighbour, at least 64', () => {
    const topology = Topology.hybrid({ coordinators: 2, workersPerCoordinator: 100 });

    expect(topology.agent('coord-A')?.mailboxCells).toBe(256); // 100 workers, a peer, the master
    expect(topology.agent('worker-A-1')?.mailboxCells).toBe(64);
    expect(Topology.flat({ workers: 10_000 }).agent('master')?.mailboxCells).toBe(32_768);
  });

  test('has the command, the environment and the policy of its kind, completed', () => {
    const topology = Topology.flat({
      workers: 1,
      worker: {
        command: ['node', 'worker.js'],
        env: ['PATH'],
        restart: { when: 'always', maxRestarts: 2 },
        mailboxCells: 100,
      },
    });

    expect(topology.agent('worker-1')).toEqual({
      name: 'worker-1',
      role: 'worker',
      team: '',
      parent: 'master',
      command: ['node', 'worker.js'],
      env: ['PATH'],
      restart: {
        when: 'always',
        strategy: 'one-for-one',
        maxRestarts: 2,
        withinMs: 10_000,
        backoffMs: 100,
        onCrashLoop: 'backoff',
      },
      mailboxCells: 128,
      ready: 'started',
      limits: {},
    });
    expect(topology.agent('master')).toMatchObject({
      command: [],
      restart: { when: 'on-failure', maxRestarts: 5 },
    });
  });

  test.each([
    ['too few cells', () => Topology.flat({ workers: 100, master: { mailboxCells: 100 } })],
    ['too many workers for one mailbox', () => Topology.flat({ workers: 40_000 })],
    ['no workers', () => Topology.flat({ workers: 0 })],
    ['half a worker', () => Topology.mesh({ workers: 1.5 })],
    ['more coordinators than workers', () => Topology.hybrid({ coordinators: 5, workers: 4 })],
    ['neither workers nor fanOut', () => Topology.hierarchical({})],
    ['an empty fanOut', () => Topology.hierarchical({ fanOut: [] })],
    ['a million', () => Topology.hierarchical({ fanOut: [100, 100, 100] })],
    ['an empty command', () => Topology.flat({ workers: 1, worker: { command: [] } })],
    ['none to choose for', () => Topology.choose(0)],
  ])('is refused with %s', async (_, make) => {
    const error = await failureOf(make);

    expect(error.code).toBe('ERR_CFC_TOPOLOGY_INVALID');
    expect((error.details.problems as unknown[]).length).toBeGreaterThan(0);
  });
});

describe('Fabric.memoryFor', () => {
  test('says to the byte what a fabric takes once everybody has joined', async () => {
    const topology = Topology.hybrid({ coordinators: 3, workersPerCoordinator: 40 });
    const capacity = { ...topology.capacity(), mailSegmentBytes: 1 << 18, histograms: 8 };
    const { fabricBytes, mailboxBytes, totalBytes } = Fabric.memoryFor(topology, { capacity });
    const fabric = await openFabric({ capacity });
    expect(fabric.info().sharedBytes).toBe(fabricBytes);
    for (const { name, role, team, parent, mailboxCells } of topology.agents) {
      await fabric.join(name, { role, team, parent, mailboxCells });
    }

    expect(fabric.info().sharedBytes).toBe(totalBytes);
    expect(totalBytes).toBe(fabricBytes + mailboxBytes);
  });

  test('grows with the topology, and knows the profiles', () => {
    const small = Fabric.memoryFor(Topology.choose(100));
    const large = Fabric.memoryFor(Topology.choose(10_000));

    expect(large.totalBytes).toBeGreaterThan(10 * small.totalBytes);
    expect(Fabric.memoryFor(Topology.choose(100), { profile: 'small' }).totalBytes).toBeLessThan(
      small.totalBytes,
    );
  });
});
