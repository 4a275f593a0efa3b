import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli } from '../support/cli.js';
import { testDirectory } from '../support/fabric.js';

describe('cfc topo', () => {
  test('draws a file, with the memory that it takes', async () => {
    const dir = testDirectory();
    const file = join(dir, 'fabric.yaml');
    writeFileSync(
      file,
      'topology: hybrid\ncoordinators: 2\nworkersPerCoordinator: 2\nworker: { command: [wc, -l] }\n',
    );
    const { code, stdout, stderr } = await cli(['topo', file], { dir });

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n').slice(0, 7)).toEqual([
      'master',
      '├─ coord-A  coordinator  ⇄ 1',
      '│  ├─ worker-A-1  wc -l',
      '│  └─ worker-A-2  wc -l',
      '└─ coord-B  coordinator  ⇄ 1',
      '   ├─ worker-B-1  wc -l',
      '   └─ worker-B-2  wc -l',
    ]);
    expect(stdout).toMatch(/hybrid: 7 agents \(1 master, 2 coordinator, 4 worker\); [\d.]+ MB/);
  });

  test('says all that is wrong with a file, each with its place', async () => {
    const dir = testDirectory();
    const input = 'topology: flat\nwokers: 3\nworker:\n  restart: alwyas\n';
    const { code, stdout, stderr } = await cli(['topo', '-'], { dir, input });

    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('stdin:2:1: a topology has no wokers; did you mean workers?');
    expect(stderr).toContain('stdin:4:12: worker.restart is one of always');
    expect(stderr).toContain('2 problems (ERR_CFC_TOPOLOGY_INVALID)');
  });

  test('makes one by its number, and gives it as JSON', async () => {
    const dir = testDirectory();
    const { code, stdout } = await cli(['topo', '--agents', '708', '--json'], { dir });

    expect(code).toBe(0);
    const topology = JSON.parse(stdout);
    expect(topology).toMatchObject({ v: 1, topology: 'hybrid' });
    expect(topology.agents).toHaveLength(708);
    expect(topology.links).toHaveLength(707 + 21);
    expect(topology.memory.totalBytes).toBeGreaterThan(708 * 64 * 256);
  });

  test.each([
    [['--agents', '5', '--topology', 'flat'], 'flat', 5],
    [['--agents', '30', '--topology', 'hierarchical'], 'hierarchical', 30],
    [['--agents', '30', '--topology', 'hybrid', '--coordinators', '4'], 'hybrid', 30],
    [['--topology', 'hierarchical', '--fan-out', '2,3'], 'hierarchical', 9],
  ])('%j is %s with %i agents', async (words, shape, agents) => {
    const { stdout } = await cli(['topo', ...words], { dir: testDirectory() });

    expect(stdout).toContain(`${shape}: ${agents} agents`);
  });

  test('leaves out most of many siblings, unless told otherwise', async () => {
    const dir = testDirectory();
    const some = await cli(['topo', '--agents', '300', '--topology', 'flat'], { dir });
    const all = await cli(['topo', '--agents', '300', '--topology', 'flat', '--full'], { dir });

    expect(some.stdout).toContain('└─ … 296 more, to worker-299');
    expect(all.stdout).toContain('└─ worker-299');
  });

  test('prints the schema for editors', async () => {
    const { stdout } = await cli(['topo', '--schema'], { dir: testDirectory() });

    expect(JSON.parse(stdout).properties).toHaveProperty('workersPerCoordinator');
  });

  test.each([
    [[]],
    [['--topology', 'flat']],
    [['no-such-file.yaml']],
    [['x.yaml', '--agents', '3']],
  ])('with %j exits 2', async (words) => {
    expect((await cli(['topo', ...words], { dir: testDirectory() })).code).toBe(2);
  });
});
