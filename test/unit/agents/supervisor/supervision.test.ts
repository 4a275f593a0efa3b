import { describe, expect, test } from 'vitest';
import { FakeHost } from './fake-host.js';

const list = (...agents: string[]) => `agents:\n${agents.map((one) => `  - ${one}`).join('\n')}\n`;
const agent = (name: string, more = '') =>
  `{ name: ${name}, command: [sleep, '60']${more === '' ? '' : `, ${more}`} }`;
const team = (coordinator = '') => `
topology: hybrid
coordinators: 3
workersPerCoordinator: 2
master: { command: [sleep, '60'] }
coordinator: { command: [sleep, '60']${coordinator} }
worker: { command: [sleep, '60'] }
`;
const crash = (host: FakeHost, name: string, times: number) => {
  for (let i = 0; i < times; i += 1) {
    host.end(name);
    host.pass(1600);
  }
};

describe('Supervision.adopt', () => {
  test('takes in who lives, starts none of them again, and starts who is missing', () => {
    const host = new FakeHost(list(agent('a'), agent('b'), '{ name: by-hand }'));
    host.put('a');
    host.begin();
    expect(host.supervision.phaseOf('by-hand')).toBe('absent');
    expect(host.living).toEqual(['a', 'b']);
    expect(host.processes.size).toBe(2);
    host.put('by-hand');
    host.supervision.tick();
    expect(host.heard()).toEqual(['adopted by-hand']);
  });

  test('leaves alone who ended in a way that calls for no restart', () => {
    const host = new FakeHost(
      list(agent('done'), agent('failed'), agent('once', 'restart: never')),
    );
    for (const name of ['done', 'failed', 'once']) {
      host.put(name, { alive: false, exitCode: name === 'done' ? 0 : 1 });
    }
    host.begin();
    expect(host.living).toEqual(['failed']);
    expect(host.supervision.named('ended')).toEqual(['done', 'once']);
  });

  test('puts a team that was given away below its own coordinator again', () => {
    const host = new FakeHost(team());
    host.put('worker-A-1', { parent: 'coord-B' });
    host.begin();
    expect(host.of('worker-A-1').parent).toBe('coord-A');
    expect(host.supervision.parentOf('worker-A-1')).toBe('coord-A');
  });
});

describe('Supervision, one-for-one', () => {
  test('starts one that failed again, after its wait, and nobody else', () => {
    const host = new FakeHost(list(agent('a'), agent('b')));
    host.begin();
    host.end('a');
    expect(host.heard()).toEqual(['exited a']);
    expect(host.living).toEqual(['b']);
    host.pass(99);
    expect(host.living).toEqual(['b']);
    host.pass(1);
    expect(host.heard()).toEqual(['restarted a', 'ready a']);
    expect(host.living).toEqual(['a', 'b']);
  });

  test('who ended well stays ended, unless it is to run always', () => {
    const host = new FakeHost(list(agent('a'), agent('b', 'restart: always')));
    host.begin();
    host.end('a', 0);
    host.end('b', 0);
    host.pass(1000);
    expect(host.living).toEqual(['b']);
    expect(host.supervision.phaseOf('a')).toBe('ended');
  });

  test('who was stopped by somebody stays stopped', () => {
    const host = new FakeHost(list(agent('a', 'restart: always')));
    host.begin();
    host.stopWanted.add('a');
    host.end('a', 143);
    host.pass(1000);
    expect(host.living).toEqual([]);
    expect(host.supervision.phaseOf('a')).toBe('ended');
  });

  test('who took the name over by hand is as good as a restart', () => {
    const host = new FakeHost(list(agent('a')));
    host.begin();
    Object.assign(host.of('a'), { alive: false });
    host.put('a');
    host.supervision.ended('a');
    host.pass(1000);
    expect(host.processes.size).toBe(2);
    expect(host.heard()).toEqual([]);
  });

  test('a death that nobody told of is found by the next look', () => {
    const host = new FakeHost(list(agent('a')));
    host.begin();
    Object.assign(host.of('a'), { alive: false, exitCode: null });
    host.supervision.tick();
    host.pass(100);
    expect(host.heard()).toEqual(['exited a', 'restarted a', 'ready a']);
  });

  test('a start that fails counts as an end, and comes to a crash loop', () => {
    const host = new FakeHost(list(agent('a')));
    host.broken.add('a');
    host.begin();
    host.pass(5000);
    const heard = host.heard();
    expect(heard.filter((one) => one === 'start-failed a').length).toBeGreaterThan(4);
    expect(heard.filter((one) => one === 'crash-loop a')).toEqual(['crash-loop a']);
  });
});

describe('Supervision, crash loops', () => {
  test('tell once, keep the inbox, go on with growing waits, and end when it lives', () => {
    const host = new FakeHost(list(agent('a')));
    host.begin();
    crash(host, 'a', 5);
    host.told.length = 0;
    host.of('a').depth = 7;
    host.end('a');
    expect(host.told.at(-1)).toMatchObject({ event: 'crash-loop', depth: 7, delayMs: 1000 });
    host.pass(1000);
    crash(host, 'a', 1);
    expect(host.heard().filter((one) => one.startsWith('crash-loop')).length).toBe(1);
    host.pass(400);
    expect(host.living).toEqual(['a']);
    host.pass(10_001);
    host.supervision.tick();
    expect(host.heard()).toContain('recovered a');
  });

  test('give up where the policy says so', () => {
    const host = new FakeHost(
      list(agent('a', 'restart: { onCrashLoop: give-up, maxRestarts: 0 }')),
    );
    host.begin();
    host.end('a');
    host.pass(400_000);
    expect(host.living).toEqual([]);
    expect(host.supervision.phaseOf('a')).toBe('ended');
  });

  test('escalate: the parent and all below it are started again', () => {
    const policy = 'restart: { onCrashLoop: escalate, maxRestarts: 0 }';
    const host = new FakeHost(
      list(
        agent('boss'),
        agent('a', `parent: boss, ${policy}`),
        agent('b', 'parent: boss'),
        agent('c'),
      ),
    );
    host.begin();
    const before = host.of('c');
    host.end('a');
    host.pass(100);
    const heard = host.heard();
    expect(heard).toContain('escalated boss');
    expect(heard.filter((one) => one.startsWith('restarted')).sort()).toEqual([
      'restarted a',
      'restarted b',
      'restarted boss',
    ]);
    expect(host.of('c')).toBe(before);
    expect(host.living).toEqual(['a', 'b', 'boss', 'c']);
  });

  test('escalate step by step to the top, and without a parent wait like others', () => {
    const policy = 'restart: { onCrashLoop: escalate, maxRestarts: 0 }';
    const host = new FakeHost(
      list(
        agent('top', policy),
        agent('mid', `parent: top, ${policy}`),
        agent('low', `parent: mid, ${policy}`),
      ),
    );
    host.begin();
    host.end('low');
    expect(host.heard().filter((one) => one.startsWith('escalated'))).toEqual([
      'escalated mid',
      'escalated top',
    ]);
    host.pass(1000);
    expect(host.living).toEqual(['low', 'mid', 'top']);
  });
});

describe('Supervision, strategies', () => {
  const four = (strategy: string) =>
    list(
      agent('boss'),
      agent('a', 'parent: boss'),
      agent('b', `parent: boss, restart: { strategy: ${strategy} }`),
      agent('c', 'parent: boss'),
    );

  test('one-for-all stops all beside it, waits for their ends, and starts all in order', () => {
    const host = new FakeHost(four('one-for-all'));
    host.begin();
    host.obedient = false;
    host.end('b');
    host.pass(1000);
    expect(host.living).toEqual(['a', 'boss', 'c']);
    host.end('a', 143);
    host.heard();
    host.end('c', 143);
    expect(host.heard()).toEqual(['exited c', 'restarted a', 'restarted b', 'restarted c']);
    expect(host.living).toEqual(['a', 'b', 'boss', 'c']);
  });

  test('rest-for-one starts those listed after it again, and not those before', () => {
    const host = new FakeHost(four('rest-for-one'));
    host.begin();
    const before = host.of('a');
    host.end('b');
    host.pass(100);
    expect(host.of('a')).toBe(before);
    expect(host.processes.size).toBe(6);
    expect(host.living).toEqual(['a', 'b', 'boss', 'c']);
  });

  test('those stopped with another one use up no restarts of their own', () => {
    const host = new FakeHost(four('one-for-all'));
    host.begin();
    crash(host, 'b', 5);
    host.heard();
    host.end('a');
    host.pass(100);
    expect(host.heard()).toContain('restarted a');
    expect(host.living).toEqual(['a', 'b', 'boss', 'c']);
  });

  test('two that end at once in one group make one restart of it', () => {
    const host = new FakeHost(four('one-for-all'));
    host.begin();
    Object.assign(host.of('c'), { alive: false, exitCode: 137 });
    host.obedient = false;
    host.end('b');
    host.supervision.ended('c');
    host.end('a', 143);
    host.pass(100);
    expect(host.processes.size).toBe(4 + 3);
    expect(host.living).toEqual(['a', 'b', 'boss', 'c']);
  });
});

describe('Supervision, failover', () => {
  test('a coordinator that may be restarted is, and keeps its team', () => {
    const host = new FakeHost(team());
    host.begin();
    host.end('coord-A');
    host.pass(100);
    expect(host.heard()).toEqual(['exited coord-A', 'restarted coord-A', 'ready coord-A']);
    expect(host.childrenOf('coord-A')).toEqual(['worker-A-1', 'worker-A-2']);
    expect(host.standIns).toEqual([]);
  });

  test('one that may not gives its team and its mailbox to a peer', () => {
    const host = new FakeHost(team(', restart: never'));
    host.begin();
    host.end('coord-A');
    expect(host.told.at(-1)).toMatchObject({ event: 'failover', successor: 'coord-B', moved: 2 });
    expect(host.childrenOf('coord-B').sort()).toEqual([
      'worker-A-1',
      'worker-A-2',
      'worker-B-1',
      'worker-B-2',
    ]);
    expect(host.standIns).toEqual(['coord-A']);
    host.end('worker-A-1');
    host.pass(100);
    expect(host.of('worker-A-1').parent).toBe('coord-B');
  });

  test('one in a crash loop does so too', () => {
    const host = new FakeHost(team());
    host.begin();
    crash(host, 'coord-C', 5);
    host.end('coord-C');
    expect(host.heard().slice(-2)).toEqual(['crash-loop coord-C', 'failover coord-C']);
    host.pass(400_000);
    expect(host.living).not.toContain('coord-C');
  });

  test('three one after another: the last team goes to the master, and every heir is known', () => {
    const host = new FakeHost(team(', restart: never'));
    host.begin();
    for (const name of ['coord-A', 'coord-B', 'coord-C']) host.end(name);
    expect(host.supervision.heirOf('coord-A')).toBe('master');
    expect(host.supervision.heirOf('coord-B')).toBe('master');
    expect(host.supervision.heirOf('coord-C')).toBe('master');
    expect(host.childrenOf('master').filter((name) => name.startsWith('worker')).length).toBe(6);
  });

  test('who has done its work is not replaced', () => {
    const host = new FakeHost(team(', restart: never'));
    host.begin();
    host.end('coord-A', 0);
    expect(host.heard()).toEqual(['exited coord-A']);
    expect(host.standIns).toEqual([]);
  });
});

describe('Supervision.tick', () => {
  test('tells once of one that lives and does nothing while messages wait', () => {
    const host = new FakeHost(list(agent('a'), agent('idle')), { noProgressMs: 5000 });
    host.begin();
    Object.assign(host.of('a'), { depth: 3, idleMs: 5001 });
    Object.assign(host.of('idle'), { idleMs: 999_999 });
    host.supervision.tick();
    expect(host.heard()).toEqual([]); // it has not been there for so long
    host.pass(5001);
    host.supervision.tick();
    host.supervision.tick();
    expect(host.told).toEqual([expect.objectContaining({ event: 'no-progress', depth: 3 })]);
    host.of('a').idleMs = 0;
    host.supervision.tick();
    host.of('a').idleMs = 6000;
    host.supervision.tick();
    expect(host.heard()).toEqual(['no-progress a', 'no-progress a']);
  });

  test('restarts it where that is wanted', () => {
    const host = new FakeHost(list(agent('a')), { noProgressMs: 5000, onNoProgress: 'restart' });
    host.begin();
    host.pass(5001);
    Object.assign(host.of('a'), { depth: 3, idleMs: 5001 });
    host.supervision.tick();
    host.pass(100);
    expect(host.heard()).toEqual(['no-progress a', 'exited a', 'restarted a', 'ready a']);
  });
});

describe('Supervision.halt', () => {
  test('starts nobody any more, not even who was about to be', () => {
    const host = new FakeHost(list(agent('a'), agent('b')));
    host.begin();
    host.end('a');
    host.supervision.halt();
    host.end('b');
    host.pass(10_000);
    expect(host.living).toEqual([]);
    expect(host.heard()).toEqual(['exited a', 'exited b']);
  });
});
