import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { Topology, type TopologyProblem } from '../../../src/index.js';
import { root } from '../../support/child.js';
import { failureOf } from '../../support/fabric.js';

async function problemsOf(text: string): Promise<TopologyProblem[]> {
  const error = await failureOf(() => Topology.parse(text));
  expect(error.code, error.stack).toBe('ERR_CFC_TOPOLOGY_INVALID');
  return error.details.problems as TopologyProblem[];
}

const hybrid = `fabric: review
topology: hybrid
coordinators: 2
workersPerCoordinator: 3
coordinator:
  command: [node, coordinator.js]
worker:
  command:
    - node
    - worker.js
  env: [PATH, HOME]
  restart: always
agents:
  - name: lint
    role: checker
    team: A
    parent: coord-A
    command: [npx, biome, ci]
    restart: { when: never }
    mailboxCells: 128
`;

describe('Topology.parse', () => {
  test('reads a shape, and agents beside it', () => {
    const topology = Topology.parse(hybrid);

    expect(topology.fabric).toBe('review');
    expect(topology.shape).toBe('hybrid');
    expect(topology.agents.map(({ name }) => name)).toEqual([
      ...['master', 'coord-A', 'worker-A-1', 'worker-A-2', 'worker-A-3', 'lint'],
      ...['coord-B', 'worker-B-1', 'worker-B-2', 'worker-B-3'],
    ]);
    expect(topology.agent('worker-B-2')).toMatchObject({
      command: ['node', 'worker.js'],
      env: ['PATH', 'HOME'],
      restart: { when: 'always' },
    });
    expect(topology.agent('lint')).toMatchObject({
      role: 'checker',
      team: 'A',
      parent: 'coord-A',
      mailboxCells: 128,
      restart: { when: 'never', maxRestarts: 5 },
    });
  });

  test.each([
    ['topology: flat\nworkers: 4', 5],
    ['topology: mesh\nworkers: 4', 4],
    ['topology: hierarchical\nworkers: 9', 13],
    ['topology: hierarchical\nworkers: 9\ncoordinators: 2', 12],
    ['topology: hierarchical\nfanOut: [2, 3, 4]', 33],
    ['topology: hybrid\ncoordinators: 2\nworkers: 7', 10],
    ['topology: hybrid\ncoordinators: 2\nworkersPerCoordinator: [2, 5]', 27],
    ['agents:\n  - name: alice\n  - name: bob\n    parent: alice', 2],
    ['{"topology": "flat", "workers": 2}', 3],
  ])('%j has %i agents', (text, agents) => {
    expect(Topology.parse(text).agents).toHaveLength(agents);
  });

  test('reads what an anchor stands for', () => {
    const text = 'topology: flat\nworkers: 1\nmaster: &all\n  env: [PATH]\nworker: *all';

    expect(Topology.parse(text).agent('worker-1')?.env).toEqual(['PATH']);
  });
});

const flat = (rest: string) => `topology: flat\nworkers: 3\n${rest}`;
const agents = (...lines: string[]) => `agents:\n${lines.map((line) => `  ${line}\n`).join('')}`;

// What is wrong, where, and what is said of it.
const mistakes: [what: string, text: string, line: number, column: number, says: RegExp][] = [
  ['no YAML', 'topology: [flat\nworkers: 3', 2, 1, /./],
  ['a tab for a space', 'worker:\n\tenv: [A]', 2, 1, /[Tt]ab/],
  ['a key twice', 'topology: flat\nworkers: 1\nworkers: 2', 3, 1, /unique/],
  ['an alias of nothing', 'topology: *flat', 1, 11, /alias/i],
  ['no mapping', '- flat\n- 3', 1, 1, /is a mapping, not a list/],
  ['an empty file', '', 1, 1, /is a mapping, not nothing/],
  ['nothing of use', 'fabric: review', 1, 1, /there are no agents/],
  ['a key with a slip', 'topology: flat\nwokers: 3', 2, 1, /has no wokers; did you mean workers\?/],
  ['an unknown key', flat('colour: red'), 3, 1, /has no colour; there are fabric, topology/],
  ['an unknown key of a role', flat('worker:\n  comand: [a]'), 4, 3, /did you mean command\?/],
  [
    'an unknown key of a restart',
    flat('worker:\n  restart: { retries: 3 }'),
    4,
    14,
    /when, strategy/,
  ],
  ['an unknown key of an agent', agents('- name: a', '  rolle: b'), 3, 5, /did you mean role\?/],
  ['an unknown shape', 'topology: hybird\nworkers: 3', 1, 11, /did you mean hybrid\?/],
  ['text for a number', 'topology: flat\nworkers: many', 2, 10, /whole number, not "many"/],
  ['a number with a point', 'topology: flat\nworkers: 2.5', 2, 10, /whole number, not 2.5/],
  ['no workers at all', 'topology: flat\nworkers: 0', 2, 10, /at least 1, not 0/],
  ['too many workers', 'topology: flat\nworkers: 100000', 2, 10, /at most 65000/],
  ['a missing count', 'topology: hybrid\ncoordinators: 2', 1, 11, /coordinators and workersPer/],
  [
    'a count too many',
    'topology: hierarchical\nworkers: 9\nfanOut: [3]',
    3,
    9,
    /not workers and fanOut/,
  ],
  [
    'a count of another shape',
    flat('coordinators: 2'),
    3,
    15,
    /a flat topology has no coordinators/,
  ],
  ['a count without a shape', 'workers: 3', 1, 10, /needs a topology/],
  ['an empty list', 'topology: hierarchical\nfanOut: []', 2, 9, /fanOut is empty/],
  ['a zero in a list', 'topology: hierarchical\nfanOut: [3, 0]', 2, 13, /fanOut.1 is at least 1/],
  ['text for a list', flat('worker:\n  command: node worker.js'), 4, 12, /is a list, not "node/],
  [
    'a number in a command',
    flat('worker:\n  command: [sleep, 5]'),
    4,
    20,
    /command.1 is text, not 5/,
  ],
  ['an empty command', flat('worker:\n  command: []'), 4, 12, /command is empty/],
  ['no program', flat('worker:\n  command: [""]'), 4, 12, /name of a program/],
  ['a value in env', flat('worker:\n  env: [A=1]'), 4, 8, /A=1 is no name of an environment/],
  ['an unknown policy', flat('worker:\n  restart: alwyas'), 4, 12, /did you mean always\?/],
  ['a number as policy', flat('worker:\n  restart: 5'), 4, 12, /always, on-failure, never, not 5/],
  ['an unknown strategy', flat('worker:\n  restart:\n    strategy: all'), 5, 15, /one-for-all/],
  ['a time below zero', flat('worker:\n  restart: { backoffMs: -1 }'), 4, 25, /at least 0, not -1/],
  ['too small a mailbox', flat('master:\n  mailboxCells: 4'), 4, 17, /each of its 3 are 6/],
  ['too large a mailbox', flat('worker:\n  mailboxCells: 100000'), 4, 17, /at most 65536/],
  ['a fabric with a space', flat('fabric: my fabric'), 3, 9, /my fabric is no name/],
  ['an agent without a name', agents('- role: a'), 2, 5, /name is missing/],
  ['a strange name', agents('- name: a b'), 2, 11, /a b is no name/],
  ['a name that is an address', agents('- name: peers'), 2, 11, /is an address/],
  ['a name twice', agents('- name: a', '- name: a'), 3, 11, /taken by agents.0/],
  ['the name of a worker', flat(agents('- name: worker-2')), 4, 11, /taken by the topology/],
  [
    'an unknown parent',
    flat(agents('- name: a', '  parent: mastre')),
    5,
    13,
    /did you mean master\?/,
  ],
  ['itself as parent', agents('- name: a', '  parent: a'), 3, 13, /its own parent/],
  [
    'a circle',
    agents('- name: a', '  parent: b', '- name: b', '  parent: a'),
    3,
    13,
    /circle.*a → b → a/,
  ],
  ['agents that are no list', 'agents: alice', 1, 9, /agents is a list, not "alice"/],
  [
    'more coordinators than workers',
    'topology: hybrid\ncoordinators: 5\nworkers: 2',
    3,
    10,
    /fewer than 5/,
  ],
];

describe('A mistake in a file', () => {
  test.each(mistakes)(
    '%s is named with its line and column',
    async (_, text, line, column, says) => {
      const problems = await problemsOf(text);

      expect(problems[0]).toMatchObject({ line, column });
      expect(problems[0]?.message).toMatch(says);
    },
  );

  test('is one of several, and all are named in their order', async () => {
    const text = 'topology: flat\nwokers: 3\nworker:\n  restart: alwyas\n  mailboxCells: 0\n';
    const problems = await problemsOf(text);

    expect(problems.map(({ line }) => line)).toEqual([2, 4, 5]);
  });

  test('has a message of its own', async () => {
    const messages = new Set<string>();
    for (const [, text] of mistakes) messages.add((await problemsOf(text))[0]?.message as string);

    expect(messages.size).toBe(mistakes.length);
  });

  test('of a million aliases ends in a problem, not in a hang', async () => {
    const levels = 'abcdefgh'.split('').map((name, i, all) => {
      const items = i === 0 ? '[x, x, x, x, x, x, x, x, x]' : `[${`*${all[i - 1]}, `.repeat(9)}]`;
      return `${name}: &${name} ${items}`;
    });

    expect((await problemsOf(levels.join('\n')))[0]?.message).toMatch(/alias/i);
  });
});

describe('Topology.jsonSchema', () => {
  test('describes the file for editors', () => {
    const schema = Topology.jsonSchema() as {
      $schema: string;
      additionalProperties: boolean;
      properties: Record<string, { enum?: string[] }>;
    };

    expect(schema.$schema).toContain('json-schema.org');
    expect(schema.additionalProperties).toBe(false);
    expect(schema.properties.topology?.enum).toEqual(['flat', 'hierarchical', 'hybrid', 'mesh']);
    expect(Object.keys(schema.properties)).toContain('workersPerCoordinator');
  });
});

test('A program that reads no topology loads neither yaml nor zod', () => {
  const script = `
    const { createRequire } = await import('node:module');
    const { Topology } = await import('cfc');
    const loaded = () => Object.keys(createRequire(import.meta.url).cache)
      .some((path) => /node_modules.(yaml|zod)/.test(path));
    const before = loaded();
    Topology.parse('topology: flat\\nworkers: 1');
    console.log(before, loaded());`;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: root,
    encoding: 'utf8',
  });

  expect(output.trim()).toBe('false true');
});
