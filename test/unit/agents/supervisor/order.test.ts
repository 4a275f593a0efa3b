import { describe, expect, test } from 'vitest';
import {
  restartedWith,
  startLevels,
  successorOf,
} from '../../../../src/agents/supervisor/order.js';
import { Topology } from '../../../../src/topology/topology.js';

const command = ['sleep', '60'];

describe('startLevels', () => {
  test('has everybody once, and each after the one above', () => {
    const levels = startLevels(Topology.hierarchical({ fanOut: [2, 2, 3] }));
    expect(levels.map((level) => level.length)).toEqual([1, 2, 4, 12]);
    levels.forEach((level, depth) => {
      for (const { parent } of level) {
        if (depth > 0) expect(levels[depth - 1]?.map(({ name }) => name)).toContain(parent);
      }
    });
  });
});

describe('restartedWith', () => {
  const siblings = (strategy: string) =>
    Topology.parse(`
agents:
  - { name: boss }
  - { name: a, parent: boss }
  - { name: b, parent: boss, restart: { strategy: ${strategy} } }
  - { name: c, parent: boss }
  - { name: other }
`);

  test('one-for-one: itself; one-for-all: all with its parent; rest-for-one: those after it', () => {
    expect(restartedWith(siblings('one-for-one'), 'b')).toEqual(['b']);
    expect(restartedWith(siblings('one-for-all'), 'b')).toEqual(['a', 'b', 'c']);
    expect(restartedWith(siblings('rest-for-one'), 'b')).toEqual(['b', 'c']);
  });
});

describe('successorOf', () => {
  const topology = Topology.hybrid({
    coordinators: 3,
    workersPerCoordinator: 2,
    worker: { command },
  });
  const all =
    (children: Record<string, number>, dead: string[] = []) =>
    (name: string) => ({
      alive: !dead.includes(name),
      children: children[name] ?? 2,
    });

  test('of the living peers the one with the fewest below it', () => {
    expect(successorOf(topology, 'coord-A', all({ 'coord-B': 4 }))).toBe('coord-C');
    expect(successorOf(topology, 'coord-A', all({ 'coord-B': 4 }, ['coord-C']))).toBe('coord-B');
  });

  test('without a living peer the one above, and without that nobody', () => {
    const peers = ['coord-B', 'coord-C'];
    expect(successorOf(topology, 'coord-A', all({}, peers))).toBe('master');
    expect(successorOf(topology, 'coord-A', all({}, [...peers, 'master']))).toBeUndefined();
    expect(successorOf(topology, 'master', all({}))).toBeUndefined();
  });

  test('nobody takes over from who has nobody below it', () => {
    expect(successorOf(topology, 'worker-A-1', all({}))).toBeUndefined();
  });
});
