import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { FileIpc, type FileMessage } from '../../src/cli/bench/file-ipc.js';
import { fileIpcScript } from '../../src/cli/bench/file-ipc-script.js';
import { root } from '../support/child.js';
import { range, testDirectory } from '../support/fabric.js';

const script = join(root, 'bench/baseline/file-ipc.sh');

/** One implementation of the algorithm, with inboxes of `cap` messages. */
interface Subject {
  base: string;
  init(agent: string): void;
  send(from: string, to: string, type: string, payload: string): string;
  /** A send whose id is taken already. */
  sendAs(id: string, from: string, to: string, payload: string): void;
  receive(agent: string): FileMessage[];
  clear(agent: string): void;
  count(agent: string): number;
}

function inBash(cap: number): Subject {
  const base = testDirectory();
  const run = (before: string, ...words: string[]) => {
    const { status, stdout, stderr } = spawnSync(
      'bash',
      ['-c', `script=$1; shift; source "$script"; ${before} "$@"`, 'test', script, ...words],
      { env: { ...process.env, BASE: base, CAP: String(cap) }, encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(stderr);
    return stdout.trim();
  };
  const call = (...words: string[]) => run('', ...words);
  // The script's own names collide once in a thousand messages of a second, and then one is lost. So
  // only the first is named by it.
  let sent = 0;
  const naming = () => {
    sent += 1;
    const number = String(sent % 1000).padStart(3, '0');
    return sent === 1 ? '' : `message_id() { echo "msg-$(date +%s)-${number}"; };`;
  };
  return {
    base,
    init: (agent) => void call('init', agent),
    send: (...words) => run(naming(), 'send', ...words),
    sendAs: (id, from, to, payload) =>
      void run(`message_id() { echo ${id}; };`, 'send', from, to, 'task', payload),
    receive: (agent) => JSON.parse(call('receive', agent)) as FileMessage[],
    clear: (agent) => void call('clear', agent),
    count: (agent) => Number(call('count', agent)),
  };
}

function inNode(cap: number): Subject {
  const base = testDirectory();
  const files = new FileIpc(base, { cap, uniqueIds: true });
  return {
    base,
    init: (agent) => files.init(agent),
    send: (...words) => files.send(...words),
    sendAs(id, from, to, payload) {
      const [, seconds, number] = id.split('-').map(Number);
      vi.spyOn(Date, 'now').mockReturnValue((seconds ?? 0) * 1000);
      vi.spyOn(Math, 'random').mockReturnValue((number ?? 0) / 1000);
      new FileIpc(base, { cap, uniqueIds: false }).send(from, to, 'task', payload);
      vi.restoreAllMocks();
    },
    receive: (agent) => files.receive(agent),
    clear: (agent) => files.clear(agent),
    count: (agent) => files.count(agent),
  };
}

const numbersIn = (messages: readonly FileMessage[]) =>
  messages.map(({ payload }) => (payload as { n: number }).n);

describe.each([
  ['in bash', inBash],
  ['in Node', inNode],
])('file IPC %s', (_where, open) => {
  function openWith(cap: number, ...agents: string[]): Subject {
    const subject = open(cap);
    for (const agent of agents) subject.init(agent);
    return subject;
  }
  const inbox = (subject: Subject, agent: string) => join(subject.base, agent, 'inbox');

  test('writes a message with its fields in order, and a copy for the sender', () => {
    const subject = openWith(100, 'alice', 'bob');
    const id = subject.send('alice', 'bob', 'task', '{"n":1}');
    const text = readFileSync(join(inbox(subject, 'bob'), `${id}.json`), 'utf8');

    expect(Object.keys(JSON.parse(text))).toEqual([
      'version',
      'msg_id',
      'from',
      'to',
      'timestamp',
      'sequence',
      'type',
      'payload',
      'requires_ack',
    ]);
    expect(text).toMatch(/^\{\n {2}"version": "1.0",\n {2}"msg_id": /);
    expect(readFileSync(join(subject.base, 'alice/outbox', `${id}.json`), 'utf8')).toBe(text);
  });

  test('counts a sequence for each pair of sender and recipient', () => {
    const subject = openWith(100, 'alice', 'bob', 'carol');
    for (const to of ['bob', 'bob', 'carol']) subject.send('alice', to, 'task', '{}');
    subject.send('carol', 'bob', 'task', '{}');

    const found = subject.receive('bob').map(({ from, sequence }) => `${from} ${sequence}`);
    expect(found.sort()).toEqual(['alice 1', 'alice 2', 'carol 1']);
    expect(subject.receive('carol').map(({ sequence }) => sequence)).toEqual([1]);
    expect(readFileSync(join(subject.base, 'alice/.sequences/bob'), 'utf8')).toBe('2\n');
  });

  test('receives in the order of sending, however the files are named, and removes nothing', () => {
    const subject = openWith(100, 'alice', 'bob');
    for (const n of range(12)) subject.send('alice', 'bob', 'task', `{"n":${n}}`);
    expect(numbersIn(subject.receive('bob'))).toEqual(range(12));
    expect(numbersIn(subject.receive('bob'))).toEqual(range(12));
    expect(subject.count('bob')).toBe(12);
  });

  test('loses the oldest of a full inbox, and tells nobody', () => {
    const subject = openWith(3, 'alice', 'bob');
    for (const n of range(3)) {
      const id = subject.send('alice', 'bob', 'task', `{"n":${n}}`);
      const file = join(inbox(subject, 'bob'), `${id}.json`);
      utimesSync(file, 1000 + n, 1000 + n); // a clock that ticks for each
    }
    for (const n of [3, 4]) expect(subject.send('alice', 'bob', 'task', `{"n":${n}}`)).not.toBe('');
    expect(numbersIn(subject.receive('bob'))).toEqual([2, 3, 4]);
  });

  test('overwrites a message of the same id, and tells nobody', () => {
    const subject = openWith(100, 'alice', 'bob');
    subject.sendAs('msg-1700000000-042', 'alice', 'bob', '{"n":1}');
    subject.sendAs('msg-1700000000-042', 'alice', 'bob', '{"n":2}');
    expect(readdirSync(inbox(subject, 'bob'))).toContain('msg-1700000000-042.json');
    expect(numbersIn(subject.receive('bob'))).toEqual([2]);
  });

  test('refuses a recipient without an inbox, and a message without a part', () => {
    const subject = openWith(100, 'alice', 'bob');
    expect(() => subject.send('alice', 'nobody', 'task', '{}')).toThrow('no inbox');
    for (const [from, to, type] of [
      ['', 'bob', 'task'],
      ['alice', '', 'task'],
      ['alice', 'bob', ''],
    ] as const) {
      expect(() => subject.send(from, to, type, '{}')).toThrow('a sender, a recipient and a type');
    }
    expect(() => subject.receive('nobody')).toThrow('no inbox');
    expect(existsSync(join(subject.base, 'nobody'))).toBe(false);
    expect(subject.count('bob')).toBe(0);
  });

  test('counts messages only, and clears them all', () => {
    const subject = openWith(100, 'alice', 'bob');
    expect(subject.receive('bob')).toEqual([]);
    for (const n of range(4)) subject.send('alice', 'bob', 'task', `{"n":${n}}`);
    expect(subject.count('bob')).toBe(4);
    subject.clear('bob');
    expect(subject.count('bob')).toBe(0);
    expect(subject.receive('bob')).toEqual([]);
  });

  test('may be begun twice', () => {
    const subject = openWith(100, 'alice', 'bob');
    subject.send('alice', 'bob', 'task', '{}');
    subject.init('bob');
    expect(subject.count('bob')).toBe(1);
  });
});

describe('file IPC in bash', () => {
  test('is shipped as the script that is read and tested', () => {
    expect(fileIpcScript).toBe(readFileSync(script, 'utf8'));
  });
});

describe('file IPC in Node', () => {
  test('syncs four times a message where it is told to', () => {
    const sync = vi.fn();
    const files = new FileIpc(testDirectory(), { cap: 100, uniqueIds: true, sync });
    for (const agent of ['alice', 'bob']) files.init(agent);
    files.send('alice', 'bob', 'task', '{}');
    expect(sync).toHaveBeenCalledTimes(4);
  });

  test('removes what was read and leaves what came since', () => {
    const files = new FileIpc(testDirectory(), { cap: 100, uniqueIds: true });
    for (const agent of ['alice', 'bob']) files.init(agent);
    files.send('alice', 'bob', 'task', '{"n":1}');
    const read = files.receive('bob');
    files.send('alice', 'bob', 'task', '{"n":2}');
    files.remove('bob', read);
    expect(numbersIn(files.receive('bob'))).toEqual([2]);
  });
});
