import { describe, expect, test } from 'vitest';
import { FrameMaker, type Look } from '../../../src/cli/top/frame.js';
import { paint } from '../../../src/cli/top/line.js';
import { plainOf, render, type Scene } from '../../../src/cli/top/render.js';
import { firstView, type Key, press, rowsOf, type View } from '../../../src/cli/top/view.js';
import { clip, pad, short, widthOf } from '../../../src/cli/top/width.js';
import type { ActiveAlert, AgentSnapshot, Census } from '../../../src/index.js';
import { range } from '../../support/fabric.js';

const began = Date.UTC(2030, 0, 1);
const census = { acked: 5, queued: 3, leased: 1, held: 0, dropped: 0, deadLettered: 0 } as Census;

function agent(name: string, rest: Partial<AgentSnapshot> = {}): AgentSnapshot {
  return {
    ...{ name, role: 'worker', team: '', parent: '', state: 'working', liveness: 'alive' },
    ...{ health: 'healthy', pid: 7, depth: 0, capacity: 80, leased: 0, restarts: 0 },
    ...{ lastProgressAt: new Date(began), joinedAt: new Date(began), counters: {} },
    ...rest,
  } as AgentSnapshot;
}

function look(agents: AgentSnapshot[]): Look {
  return {
    ...{ fabric: 'test', path: '/dev/shm/x/test', sharedBytes: 8_400_000, agents, census },
    ...{ alerts: { watch: { state: 'never' }, firing: [] }, published: [] },
  };
}

function sceneOf(agents: AgentSnapshot[], view: Partial<View> = {}): Scene {
  const maker = new FrameMaker();
  maker.make(look(agents), began);
  const frame = maker.make(look(agents), began + 1000);
  const all = { ...firstView(), ...view };
  return { frame, view: all, details: undefined, everyMs: 1000, gone: undefined };
}

function textOf(scene: Scene, columns: number, rows: number): string[] {
  return render(scene, { columns, rows }).lines.map((line) => plainOf(line, columns));
}

const key = (name: string, text = ''): Key => ({ name, text, ctrl: false });

describe('The line of alerts', () => {
  const alert: ActiveAlert = {
    ...{ alert: 'memory_growth_high', state: 'firing', severity: 'warning', value: 50 },
    ...{ labels: { agent: 'red-2' }, threshold: 10, message: '', activeAtMs: 0, fingerprint: 'x' },
  };
  const lineOf = (alerts: Look['alerts']) => {
    const frame = new FrameMaker().make({ ...look([agent('a')]), alerts }, began);
    const scene = { ...sceneOf([agent('a')]), frame };
    return textOf(scene, 80, 24).find((line) => line.startsWith('Alerts'));
  };

  test.each([
    ['what fires', 'running', [alert], '1 firing: memory_growth_high red-2'],
    ['that nothing does', 'running', [], 'none'],
    ['that the watch is dead', 'dead', [alert], 'the watch is dead  1 firing: memory_growth_high'],
    ['that nobody watches', 'never', [], 'nobody watches'],
    ['that nobody watches any more', 'stopped', [], 'nobody watches'],
  ] as const)('says %s', (_, state, firing, words) => {
    expect(lineOf({ watch: { state }, firing: [...firing] })).toContain(words);
  });
});

describe('A frame', () => {
  test('has what a supervisor published among its events, at its own time', () => {
    const at = new Date(began - 5000);
    const published = [{ at, agent: 'b', what: 'crash-loop', mood: 'bad' as const }];
    const frame = new FrameMaker().make({ ...look([agent('a')]), published }, began);

    expect(frame.events).toEqual(published);
  });

  test('has the rates of what was counted between two looks', () => {
    const maker = new FrameMaker();
    const first = maker.make(look([agent('a', { counters: { 'messages.sent': 100 } })]), began);
    const counters = { 'messages.sent': 150, 'messages.acked': 10 };
    const second = maker.make(look([agent('a', { counters })]), began + 500);

    expect(first.rows[0]?.sent).toBe(0);
    expect(second.rows[0]).toMatchObject({ sent: 100, acked: 20, redelivered: 0 });
    expect(second.perSecond).toEqual({ sent: 100, received: 0, acked: 20, redelivered: 0 });
  });

  test('counts from 0 where a new holder does', () => {
    const maker = new FrameMaker();
    maker.make(look([agent('a', { counters: { 'messages.sent': 1000 } })]), began);
    const frame = maker.make(
      look([agent('a', { counters: { 'messages.sent': 30 } })]),
      began + 1000,
    );

    expect(frame.rows[0]?.sent).toBe(30);
  });

  test('tells what happened to each agent between two looks, and nothing of the first', () => {
    const maker = new FrameMaker();
    const first = maker.make(look([agent('a'), agent('b'), agent('c'), agent('d')]), began);
    const frame = maker.make(
      look([
        agent('a', { liveness: 'dead', health: 'unhealthy' }),
        agent('b', { state: 'failed' }),
        agent('c', { restarts: 1, health: 'degraded' }),
        agent('e'),
      ]),
      began + 1000,
    );

    expect(first.events).toEqual([]);
    expect(frame.events.map((event) => `${event.agent} ${event.what}`)).toEqual([
      'a has died',
      'b working -> failed',
      'c was restarted, life 2',
      'c healthy -> degraded',
      'e has joined',
      'd is gone',
    ]);
    expect(frame.troubles.map((one) => `${one.agent} ${one.what}`)).toEqual([
      'a dead',
      'c degraded, 0/80',
    ]);
  });

  test('adds agents up by team', () => {
    const red = (name: string, rest = {}) => agent(name, { team: 'red', depth: 2, ...rest });
    const { frame } = sceneOf([
      red('a'),
      red('b', { health: 'unhealthy', liveness: 'dead' }),
      agent('c'),
    ]);

    expect(frame?.teams).toMatchObject([
      { name: '', agents: 1, alive: 1, unwell: 0, depth: 0 },
      { name: 'red', agents: 2, alive: 1, unwell: 1, depth: 4 },
    ]);
  });
});

describe('A screen', () => {
  const many = range(300).map((i) => agent(`worker-${i}`, { team: `t${i % 7}`, depth: i % 50 }));

  test.each([
    [80, 24],
    [200, 60],
    [40, 10],
    [20, 5],
    [1, 1],
  ])('of %i x %i is filled exactly, and nothing is wider', (columns, rows) => {
    const views: Partial<View>[] = [
      {},
      { page: 'teams' },
      { page: 'events' },
      { help: true },
      { agent: 'worker-3' },
      { search: 'nobody' },
    ];
    for (const view of views) {
      const { lines } = render(sceneOf(many, view), { columns, rows });
      expect(lines).toHaveLength(rows);
      for (const line of lines) {
        expect(widthOf(plainOf(line, columns))).toBeLessThanOrEqual(columns);
      }
    }
  });

  test('says who is there, in the order that was asked for', () => {
    const text = textOf(sceneOf([agent('a', { depth: 1 }), agent('b', { depth: 9 })]), 80, 24);

    expect(text[1]).toMatch(/^Agents +2 +2 alive +Health +2 healthy$/);
    expect(text.findIndex((line) => / b /.test(line))).toBeLessThan(
      text.findIndex((line) => / a /.test(line)),
    );
    expect(text.at(-1)).toContain('q quit');
  });

  test('has columns for which there is room, the name always', () => {
    const heads = (columns: number) =>
      textOf(sceneOf(many), columns, 24).find((line) => /^ +NAME/.test(line)) ?? '';

    expect(heads(80)).toMatch(/NAME.*QUEUED/);
    expect(heads(80)).not.toMatch(/PARENT/);
    expect(heads(160)).toMatch(/NAME.*PARENT.*PROGRESS.*PID/);
    expect(heads(20)).toMatch(/NAME/);
  });

  test('draws as many rows as there is room for, whatever the number of agents', () => {
    const agents = range(10_000).map((i) => agent(`worker-${i}`));
    const { lines, shown } = render(sceneOf(agents), { columns: 80, rows: 24 });

    expect(lines).toHaveLength(24);
    expect(shown.names).toHaveLength(10_000);
    expect(shown.room).toBeLessThan(24);
  });

  test('marks what it marks without colour too', () => {
    const { lines } = render(sceneOf([agent('a', { health: 'degraded' })]), {
      columns: 80,
      rows: 24,
    });
    const plain = lines.map((line) => paint(line, 80, false)).join('\n');
    const colourful = lines.map((line) => paint(line, 80, true)).join('\n');

    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(plain).not.toMatch(/\u001b\[3\d/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(colourful).toMatch(/\u001b\[3\d/);
    expect(plain).toContain('> a ');
  });

  test('shows text of others without what a terminal obeys', () => {
    const body = 'red \u001b[31malert\u001b]0;title\u0007\u009b2J \u202etxt\nnext';
    const message = { id: '1-1', from: 'b', type: 'x', state: 'queued', sentAtMs: began, body };
    const lines = ['\u001b[2Jgone'];
    const scene = {
      ...sceneOf([agent('a')], { agent: 'a' }),
      details: { messages: [message], counters: { 'a\u001b[2J': 7 }, lines, changes: [] },
    };
    const text = textOf(scene, 80, 40).join('\n');

    expect(text).toContain('red alert txt next');
    expect(text).toMatch(/COUNTERS\n +a.* 7/);
    expect(text).toContain('LAST LINES');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });

  test('says that there is no fabric, with the last agents where there were some', () => {
    const gone = 'the fabric is gone; waiting for it';
    expect(textOf({ ...sceneOf([agent('a')]), gone }, 80, 24).join('\n')).toMatch(
      /gone.*[\s\S]*> a /,
    );
    expect(textOf({ ...sceneOf([]), frame: undefined, gone }, 80, 24)[0]).toBe(gone);
  });

  test('counts the columns that wide characters and marks take', () => {
    expect(widthOf('日本')).toBe(4);
    expect(widthOf('e\u0301')).toBe(1);
    expect(clip('日本語', 5)).toBe('日本~');
    expect(clip('abc', 3)).toBe('abc');
    expect(pad('日', 4)).toBe('日  ');
    expect(pad('7', 3, true)).toBe('  7');
  });

  test.each([
    [0, '0'],
    [0.04, '0'],
    [9.94, '9.9'],
    [9.96, '10'],
    [999, '999'],
    [999.6, '1.0k'],
    [12_345, '12k'],
    [999_600, '1.0M'],
    [5e12, '5e+12'],
  ])('writes %d as %s', (value, text) => {
    expect(short(value)).toBe(text);
  });
});

describe('Keys', () => {
  const names = range(100).map((i) => `w${i}`);
  const shown = { names, room: 10 };
  const pressed = (view: View, ...keys: Key[]) =>
    keys.reduce<View | undefined>((now, one) => now && press(now, one, shown), view) as View;

  test('move the mark, and the rows under it', () => {
    expect(pressed(firstView(), key('down'), key('down')).selected).toBe('w2');
    expect(pressed(firstView(), key('pagedown'))).toMatchObject({ selected: 'w10', scroll: 1 });
    expect(pressed(firstView(), key('end'))).toMatchObject({ selected: 'w99', scroll: 90 });
    expect(pressed(firstView(), key('end'), key('', 'g'))).toMatchObject({
      selected: 'w0',
      scroll: 0,
    });
    expect(pressed(firstView(), key('up')).selected).toBe('w0');
  });

  test('open an agent, and come back', () => {
    const open = pressed(firstView(), key('down'), key('return'));
    expect(open).toMatchObject({ agent: 'w1', selected: 'w1' });
    expect(pressed(open, key('escape'))).toMatchObject({ agent: undefined, selected: 'w1' });
  });

  test('open a team as a search for its agents', () => {
    expect(pressed(firstView(), key('', '2'), key('return'))).toMatchObject({
      page: 'agents',
      search: 'team=w0',
    });
  });

  test('type a search, in which q is a letter', () => {
    const typed = pressed(
      firstView(),
      key('', '/'),
      key('q', 'q'),
      key('x', 'x'),
      key('backspace'),
    );
    expect(typed).toMatchObject({ typing: true, search: 'q' });
    expect(pressed(typed, key('return'))).toMatchObject({ typing: false, search: 'q' });
    expect(pressed(typed, key('escape'))).toMatchObject({ typing: false, search: '' });
  });

  test('end it with q or Ctrl-C', () => {
    expect(press(firstView(), key('q', 'q'), shown)).toBeUndefined();
    expect(
      press({ ...firstView(), typing: true }, { ...key('c'), ctrl: true }, shown),
    ).toBeUndefined();
  });

  test('are no harm where nobody is there', () => {
    for (const name of ['up', 'down', 'pageup', 'pagedown', 'home', 'end', 'return', 'left']) {
      expect(press(firstView(), key(name), { names: [], room: 1 })).toEqual(firstView());
    }
  });
});

describe('A search', () => {
  const agents = [
    agent('alice', { role: 'coordinator', team: 'red' }),
    agent('bob', { team: 'red-2', health: 'degraded' }),
    agent('carol', { team: 'blue', liveness: 'dead', health: 'unhealthy' }),
  ];
  const found = (search: string, view: Partial<View> = {}) => {
    const scene = sceneOf(agents, { sort: 'name', search, ...view });
    return scene.frame === undefined
      ? []
      : rowsOf(scene.frame, scene.view).map((row) => row.agent.name);
  };

  test.each([
    ['', ['alice', 'bob', 'carol']],
    ['RED', ['alice', 'bob']],
    ['team:red', ['alice', 'bob']],
    ['team=red', ['alice']],
    ['red health:deg', ['bob']],
    ['live:dead', ['carol']],
    ['role:coord', ['alice']],
    ['no:field', []],
    ['constructor:x', []],
  ])('for "%s" finds %j', (search, names) => {
    expect(found(search)).toEqual(names);
  });

  test('leaves out who is well where that is asked for', () => {
    expect(found('', { unwell: true })).toEqual(['bob', 'carol']);
  });

  test('sorts by each column, both ways', () => {
    expect(found('', { sort: 'health' })).toEqual(['carol', 'bob', 'alice']);
    expect(found('', { reversed: true })).toEqual(['carol', 'bob', 'alice']);
    expect(found('', { sort: 'team' })).toEqual(['carol', 'alice', 'bob']);
  });
});
