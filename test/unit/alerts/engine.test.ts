import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AlertEngine } from '../../../src/alerts/engine.js';
import { defaultRules } from '../../../src/alerts/rule.js';
import { evidenceOf } from '../../support/evidence.js';
import { Bench, record, rule, seconds, told } from './support.js';

describe('states', () => {
  test('an alert fires at once, and resolves when its condition ends', () => {
    const bench = new Bench([rule()]);

    expect(bench.at(0, 5)).toEqual([]);
    expect(bench.states()).toEqual({});
    expect(bench.at(30, 11)).toEqual(['load_high firing']);
    expect(bench.states()).toEqual({ load_high: 'firing' });
    expect(bench.at(60, 5)).toEqual(['load_high resolved']);
    expect(bench.states()).toEqual({ load_high: 'resolved' });
  });

  test('with `for` it is pending until the condition has held that long, without a break', () => {
    const bench = new Bench([rule({ forMs: 60_000 })]);

    bench.at(0, 11);
    expect(bench.states()).toEqual({ load_high: 'pending' });
    bench.at(30, 5);
    expect(bench.states()).toEqual({});
    bench.at(60, 11);
    bench.at(90, 11);
    expect(bench.states()).toEqual({ load_high: 'pending' });
    expect(bench.at(120, 11)).toEqual(['load_high firing']);
  });

  test('with `keepFiringFor` a short good spell is no resolution', () => {
    const bench = new Bench([rule({ keepFiringForMs: 60_000 })]);

    bench.at(0, 11);
    bench.at(30, 5);
    expect(bench.states()).toEqual({ load_high: 'firing' });
    bench.at(45, 11);
    bench.at(90, 5);
    expect(bench.states()).toEqual({ load_high: 'firing' });
    expect(bench.at(105, 5)).toEqual(['load_high resolved']);
  });

  test('what falls silent resolves once its window is empty', () => {
    const bench = new Bench([rule()]);

    bench.at(0, 11);
    expect(bench.at(60)).toEqual([]);
    expect(bench.at(61)).toEqual(['load_high resolved']);
  });

  test('a resolution that had to wait is told, even after another pending spell', () => {
    const bench = new Bench([rule({ forMs: 10_000 })], { notifier: { groupIntervalMs: 60_000 } });

    bench.at(0, 11, { tags: {} });
    expect(bench.at(10, 11)).toEqual(['load_high firing']);
    // Another instance takes the turn of resolved alerts, so that this one's has to wait.
    bench.at(20, 5);
    bench.at(30, 11);
    bench.at(35, 5);
    expect(bench.states()).toEqual({ load_high: 'resolved' });
  });

  test('one that resolved is forgotten after a while', () => {
    const bench = new Bench([rule()]);
    bench.at(0, 11);
    bench.at(30, 5);
    bench.at(930, 5);

    expect(bench.states()).toEqual({});
  });
});

describe('the comparison', () => {
  test('is strict, on the real number', () => {
    const bench = new Bench([rule()]);

    expect(bench.at(0, 10)).toEqual([]);
    expect(bench.at(30, 10 + 1e-9)).toEqual(['load_high firing']);
  });

  test('sees nothing that lies before the window, and what lies at its edge', () => {
    const bench = new Bench([rule({ statistic: 'max' })]);
    bench.at(0, 11);

    expect(bench.at(60, 5)).toEqual([]);
    expect(bench.at(60.1, 5)).toEqual(['load_high resolved']);
  });

  test('takes no record that is older than the window, or has no time', () => {
    const bench = new Bench([rule({ statistic: 'max' })]);
    const old = record('load', 99, seconds(-61));
    bench.engine.observe([old, { ...old, timestamp: 'yesterday' }], seconds(0));

    expect(bench.at(0)).toEqual([]);
  });

  test('looks only at records with the tags that the rule wants', () => {
    const bench = new Bench([rule({ where: { team: 'A' } })]);

    expect(bench.at(0, 11, { tags: { team: 'B' } })).toEqual([]);
    expect(bench.at(30, 11, { tags: { team: 'A' } })).toEqual(['load_high firing']);
  });
});

describe('the shipped rules', () => {
  const cases: [string, string, number[], number[]][] = [
    ['coordination_time_exceeded', 'coordination.time', [10_000], [10_000.5]],
    ['delivery_rate_low', 'coordination.delivery_rate', [90], [89.99]],
    ['error_rate_high', 'coordination.error_rate', [5], [5.01]],
    ['queue_depth_high', 'coordination.queue_depth', [1000], [1001]],
    ['memory_growth_high', 'system.memory_mb', [100, 110], [100, 110.1]],
    ['fd_growth_high', 'system.open_fds', [20, 120], [20, 121]],
  ];

  test.each(cases)('%s fires beyond its threshold, and not at it', (alert, metric, at, beyond) => {
    for (const [values, expected] of [
      [at, []],
      [beyond, [`${alert} firing`]],
    ] as const) {
      const bench = new Bench(defaultRules({}));
      const tags = { agent: 'a', started: String(seconds(-60)) };
      const heard = values.map((value, i) => bench.at(i * 30, value, { metric, tags }));
      expect(heard.at(-1)).toEqual(expected);
    }
  });

  test('take thresholds, window and cooldown from the environment', () => {
    const rules = defaultRules({
      ALERT_QUEUE_DEPTH: '10',
      ALERT_WINDOW_SECONDS: '1.5',
      ALERT_COOLDOWN_SECONDS: '7',
    });

    expect(rules).toHaveLength(6);
    expect(rules.find(({ name }) => name === 'queue_depth_high')?.threshold).toBe(10);
    expect(new Set(rules.map(({ windowMs }) => windowMs))).toEqual(new Set([1500]));
    expect(new Set(rules.map(({ cooldownMs }) => cooldownMs))).toEqual(new Set([7000]));
    expect(() => defaultRules({ ALERT_QUEUE_DEPTH: 'many' })).toThrow('ALERT_QUEUE_DEPTH');
  });
});

describe('growth', () => {
  const growth = rule({
    metric: 'system.memory_mb',
    statistic: 'growth',
    windowMs: 300_000,
    by: ['agent'],
    message: '{agent} grew by {value} %',
  });
  const memory = (started: number, pid = '1') => ({
    metric: 'system.memory_mb',
    tags: { agent: 'a', pid, started: String(seconds(started)) },
  });

  test("counts from the end of the process's first minute", () => {
    const bench = new Bench([growth]);

    bench.at(0, 10, memory(0));
    expect(bench.at(30, 100, memory(0))).toEqual([]);
    expect(bench.at(60, 200, memory(0))).toEqual([]);
    expect(bench.at(90, 220, memory(0))).toEqual([]);
    expect(bench.at(120, 220.1, memory(0))).toEqual(['load_high firing']);
  });

  test('never counts across a restart, and what grew before it resolves', () => {
    const bench = new Bench([growth]);
    bench.at(100, 100, memory(0));
    expect(bench.at(130, 150, memory(0))).toEqual(['load_high firing']);

    expect(bench.at(160, 900, memory(150, '2'))).toEqual(['load_high resolved']);
    expect(bench.at(215, 1000, memory(150, '2'))).toEqual([]);
    expect(bench.at(245, 1001, memory(150, '2'))).toEqual([]);
  });

  test('where nothing says when the process started, its first sample does', () => {
    const bench = new Bench([growth]);
    const of = { metric: 'system.memory_mb', tags: { agent: 'a' } };

    bench.at(0, 10, of);
    expect(bench.at(59, 100, of)).toEqual([]);
    bench.at(60, 100, of);
    expect(bench.at(90, 111, of)).toEqual(['load_high firing']);
  });

  test('says of each agent by itself', () => {
    const bench = new Bench([growth]);
    for (const [at, value] of [
      [100, 100],
      [130, 120],
    ] as const) {
      const observed = ['a', 'b'].map((agent) =>
        record('system.memory_mb', agent === 'a' ? value : 100, seconds(at), {
          agent,
          started: String(seconds(0)),
        }),
      );
      bench.engine.observe(observed, seconds(at));
      bench.at(at);
    }

    expect(bench.states()).toEqual({ 'load_high a': 'firing' });
    expect(bench.engine.active()[0]?.message).toBe('a grew by 20 %');
  });
});

describe('cooldown', () => {
  test('one that goes on firing is told of once a cooldown', () => {
    const bench = new Bench([rule()]);
    const heard: string[] = [];
    for (let at = 0; at <= 900; at += 30)
      heard.push(...bench.at(at, 11).map((one) => `${at} ${one}`));

    expect(heard).toEqual([0, 300, 600, 900].map((at) => `${at} load_high firing`));
  });

  test('one that flaps is told of twice: that it fires, and that it resolved', () => {
    const bench = new Bench([rule()]);
    const heard: string[] = [];
    for (let at = 0; at < 300; at += 30) {
      heard.push(...bench.at(at, at % 60 === 0 ? 11 : 5));
    }

    expect(heard).toEqual(['load_high firing', 'load_high resolved']);
  });

  test('survives a restart, as do states', () => {
    const rules = [rule()];
    const before = new Bench(rules);
    before.at(0, 11);
    const saved = JSON.parse(JSON.stringify(before.engine.save(seconds(0))));

    const after = new Bench(rules);
    after.engine.restore(saved, seconds(10));
    expect(after.states()).toEqual({ load_high: 'firing' });
    expect(after.at(10)).toEqual([]);
    expect(after.states()).toEqual({ load_high: 'firing' });
    expect(after.at(30, 11)).toEqual([]);
    expect(after.at(300, 11)).toEqual(['load_high firing']);
    expect(after.at(330, 5)).toEqual(['load_high resolved']);
  });

  test('after a restart an alert without samples resolves only when its window has passed', () => {
    const rules = [rule()];
    const before = new Bench(rules);
    before.at(0, 11);
    const after = new Bench(rules);
    after.engine.restore(before.engine.save(seconds(0)), seconds(10));

    expect(after.at(69)).toEqual([]);
    expect(after.at(70)).toEqual(['load_high resolved']);
  });

  test('a restart with other rules leaves behind what nobody watches any more', () => {
    const before = new Bench([rule()]);
    before.at(0, 11);
    const after = new Bench([rule({ name: 'other' })]);
    after.engine.restore(before.engine.save(seconds(0)), seconds(10));

    expect(after.states()).toEqual({});
  });
});

describe('a clock that is set back', () => {
  test('makes no storm, and mutes nothing for longer than a cooldown', () => {
    const bench = new Bench([rule()]);
    bench.at(10_000, 11);

    expect(bench.at(0, 11)).toEqual([]);
    expect(bench.at(30, 11)).toEqual([]);
    expect(bench.states()).toEqual({ load_high: 'firing' });
    expect(bench.at(301, 11)).toEqual(['load_high firing']);
  });
});

describe('a fabric that is down', () => {
  const agents = rule({ by: ['agent'] });

  test('is an alert, and silences those of its agents until it is back', () => {
    const bench = new Bench([agents], { labels: { fabric: 'first' } });
    bench.engine.setSource('no such fabric');
    expect(bench.at(0, 11, { tags: { agent: 'a' } })).toEqual(['fabric_down firing']);
    expect(bench.at(30, 11, { tags: { agent: 'a' } })).toEqual([]);

    bench.engine.setSource(undefined);
    expect(bench.at(60, 11, { tags: { agent: 'a' } }).toSorted()).toEqual([
      'fabric_down resolved',
      'load_high firing',
    ]);
  });

  test('leaves what fired before as it is', () => {
    const bench = new Bench([agents], { labels: { fabric: 'first' } });
    bench.at(0, 11, { tags: { agent: 'a' } });
    bench.engine.setSource('gone');
    bench.at(400);

    expect(bench.states()).toEqual({ 'load_high a': 'firing', fabric_down: 'firing' });
    const muted = bench.engine.active().find(({ alert }) => alert === 'load_high')?.mutedBy;
    expect(muted).toBe('alert fabric_down');
  });
});

describe('silences and inhibitions', () => {
  test('a silenced alert is told of when the silence is over, if it still fires', () => {
    const bench = new Bench([rule({ by: ['agent'] })]);
    const silence = { id: 's', fromMs: seconds(0), untilMs: seconds(60), comment: '' };
    bench.engine.silences = [{ ...silence, alert: 'load_high', labels: { agent: 'a' } }];

    expect(bench.at(0, 11, { tags: { agent: 'a' } })).toEqual([]);
    expect(bench.at(30, 11, { tags: { agent: 'b' } })).toEqual(['load_high firing']);
    expect(bench.at(60, 11, { tags: { agent: 'a' } })).toEqual(['load_high firing']);
  });

  test('an inhibition silences where the named labels are equal', () => {
    const team = { by: ['team', 'agent'] };
    const bench = new Bench([rule(team), rule({ ...team, name: 'team_down', metric: 'down' })], {
      inhibitions: [{ when: 'team_down', silences: 'load_high', equal: ['team'] }],
    });
    bench.at(0, 11, { metric: 'down', tags: { team: 'A' } });

    expect(bench.at(30, 11, { tags: { team: 'A', agent: 'a' } })).toEqual([]);
    expect(bench.at(60, 11, { tags: { team: 'B', agent: 'b' } })).toEqual(['load_high firing']);
  });
});

describe('a storm', () => {
  test('of 10,000 alerts in 10 s makes at most 20 notifications, and misses no group', () => {
    const evidence = evidenceOf('F24');
    const groups = 200;
    const rules = Array.from({ length: groups }, (_, i) =>
      rule({ name: `alert_${i}`, metric: `metric.${i}`, by: ['agent'] }),
    );
    const engine = new AlertEngine({ rules });
    const heard: string[][] = [];
    let fired = 0;
    for (let tick = 0; tick < 100; tick += 1) {
      const nowMs = seconds(tick / 10);
      const batch = Array.from({ length: 100 }, (_, i) => {
        const number = tick * 100 + i;
        return record(`metric.${(number * 7) % groups}`, 11, nowMs, { agent: `a${number}` });
      });
      engine.observe(batch, nowMs);
      const { changed, notification } = engine.evaluate(nowMs);
      fired += changed.length;
      if (notification !== undefined) heard.push(told(notification));
    }

    expect(fired).toBe(10_000);
    expect(heard.length).toBeLessThanOrEqual(20);
    const names = new Set(heard.flat().map((one) => one.split(' ')[0]));
    expect(names.size).toBe(groups);
    // What was not spelt out at first comes when its group's turn has come: every instance is told of.
    const counted = (all: string[][]) =>
      all.flat().reduce((sum, one) => sum + Number(/x(\d+)$/.exec(one)?.[1] ?? 1), 0);
    for (let at = 10; at < 60; at += 5) {
      heard.push(told(engine.evaluate(seconds(at)).notification));
    }
    expect(counted(heard)).toBe(10_000);
    evidence.met(fired);
  });

  test('of instances is bounded, and what was left out is counted', () => {
    const engine = new AlertEngine({ rules: [rule({ by: ['agent'] })], maxInstances: 10 });
    const batch = Array.from({ length: 25 }, (_, i) =>
      record('load', 11, seconds(0), { agent: `${i}` }),
    );
    engine.observe(batch, seconds(0));
    engine.evaluate(seconds(0));

    expect(engine.active()).toHaveLength(10);
    expect(engine.overflowed).toBe(15);
  });
});

test('whatever happens, fired and resolved are told in turn, and at most once a cooldown', () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 1, max: 200 }), fc.boolean(), fc.boolean()), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, (all) => {
      let bench = new Bench([rule()]);
      let now = 0;
      const heard: [number, string][] = [];
      for (const [passed, high, restart] of all) {
        now += passed;
        if (restart) {
          const saved = JSON.parse(JSON.stringify(bench.engine.save(seconds(now))));
          bench = new Bench([rule()]);
          bench.engine.restore(saved, seconds(now));
        }
        for (const one of bench.at(now, high ? 11 : 5)) heard.push([now, one]);
      }
      let lastFiring = -Infinity;
      let open = false;
      for (const [at, one] of heard) {
        if (one === 'load_high firing') {
          expect(at - lastFiring).toBeGreaterThanOrEqual(300);
          lastFiring = at;
          open = true;
        } else {
          expect(open).toBe(true);
          open = false;
        }
      }
    }),
    { numRuns: 300 },
  );
});
