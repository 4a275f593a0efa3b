import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  environmentOf,
  readReport,
  shimArguments,
  shimCommand,
  startAgents,
} from '../../../src/agents/start.js';
import { native } from '../../../src/core/native.js';
import { failureOf, openFabric } from '../../support/fabric.js';

const bob = { name: 'bob', command: ['sleep', '1'] };

describe('environmentOf', () => {
  test('puts cfc first and node last into PATH, once each', () => {
    const [path] = environmentOf({ PATH: '/a:/b:/a' });
    const folders = path?.replace('PATH=', '').split(':') ?? [];

    expect(folders[0]).toMatch(/\/libexec$/);
    expect(folders.slice(1, 3)).toEqual(['/a', '/b']);
    expect(folders.slice(3)).toEqual([dirname(process.execPath)]);
  });

  test('leaves out what is not set', () => {
    expect(environmentOf({ A: '1', B: undefined }).filter((line) => /^[AB]=/.test(line))).toEqual([
      'A=1',
    ]);
  });
});

describe('shimArguments', () => {
  test('names what is given, and nothing else', () => {
    expect(shimArguments('f', '/d', bob)).toEqual([
      ...['shim', '--fabric', 'f', '--dir', '/d', '--agent', 'bob', '--grace-ms', '5000'],
    ]);
    expect(shimArguments('f', '/d', { ...bob, graceMs: 0, outFile: '/o', role: '' })).toEqual([
      ...['shim', '--fabric', 'f', '--dir', '/d', '--agent', 'bob'],
      ...['--out', '/o', '--grace-ms', '0'],
    ]);
  });
});

describe('readReport', () => {
  const { kLeaseHeld, kSystem } = native.statuses;

  test('answers the pid of the command', () => {
    expect(readReport(['ok', '4711'], bob)).toBe(4711);
  });

  test.each([
    [['failed', String(kLeaseHeld), '0', '', 'bob'], 'ERR_CFC_LEASE_HELD'],
    [['failed', String(kSystem), '24', 'pipe2', ''], 'ERR_CFC_AGENT_START'],
    [['vanished'], 'ERR_CFC_AGENT_START'],
    [[], 'ERR_CFC_AGENT_START'],
  ])('throws what %j means', async (fields, code) => {
    expect((await failureOf(() => readReport(fields, bob))).code).toBe(code);
  });

  test('keeps what the system said', async () => {
    const failure = await failureOf(() =>
      readReport(['failed', String(kSystem), '2', 'execve', 'nope'], bob),
    );

    expect(failure.details).toMatchObject({ agent: 'bob', errno: 2, syscall: 'execve' });
    expect(failure.cause).toMatchObject({ errno: 2, syscall: 'execve' });
  });
});

describe('startAgents', () => {
  test('refuses a command without a program, before anything is started', async () => {
    const fabric = await openFabric();
    const failure = await failureOf(() => startAgents(fabric, [bob, { name: 'a', command: [] }]));

    expect(failure.code).toBe('ERR_CFC_USAGE');
    expect(fabric.snapshot()).toEqual([]);
    expect(startAgents(fabric, [])).toEqual([]);
  });
});

describe('shimCommand', () => {
  test('stays with the process that it is given', async () => {
    const fabric = await openFabric();
    const { file, words, env } = shimCommand(fabric, bob, { attachedTo: 42 });

    expect(file).toMatch(/\/cfc-native$/);
    expect(words.join(' ')).toContain('--pass --parent-pid 42 --report-fd 3 -- sleep 1');
    expect(env.PATH).toMatch(/\/libexec:/);
  });
});
