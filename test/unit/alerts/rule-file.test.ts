import { describe, expect, test } from 'vitest';
import {
  type AlertRuleProblem,
  loadAlertRules,
  parseAlertRules,
} from '../../../src/alerts/rule-file.js';
import { failureOf } from '../../support/fabric.js';

const rulesOf = (text: string) =>
  new Map(parseAlertRules(text, {}).rules.map((rule) => [rule.name, rule]));

async function problemsOf(text: string): Promise<AlertRuleProblem[]> {
  const { code, details } = await failureOf(() => parseAlertRules(text, {}));
  expect(code).toBe('ERR_CFC_ALERT_RULE');
  return details.problems as AlertRuleProblem[];
}

describe('a file of rules', () => {
  test('stands beside the shipped ones', () => {
    const rules = rulesOf(`
rules:
  - name: confidence_low
    metric: agent.confidence
    statistic: avg
    comparison: "<"
    threshold: 0.5
    window: 10m
    for: 90
    keepFiringFor: 2m
    cooldown: 1h
    severity: info
    labels: {owner: night}
    where: {team: A}
    by: [agent]
    message: "{agent} trusts itself with {value}"
`);

    expect(rules.size).toBe(7);
    expect(rules.get('confidence_low')).toEqual({
      name: 'confidence_low',
      metric: 'agent.confidence',
      statistic: 'avg',
      comparison: '<',
      threshold: 0.5,
      windowMs: 600_000,
      forMs: 90_000,
      keepFiringForMs: 120_000,
      cooldownMs: 3_600_000,
      settleMs: 60_000,
      severity: 'info',
      labels: { owner: 'night' },
      where: { team: 'A' },
      by: ['agent'],
      message: '{agent} trusts itself with {value}',
    });
  });

  test('changes of a shipped rule what it mentions', () => {
    const rule = rulesOf('rules: [{name: queue_depth_high, threshold: 50, for: 2m}]').get(
      'queue_depth_high',
    );

    expect(rule).toMatchObject({
      threshold: 50,
      forMs: 120_000,
      statistic: 'max',
      comparison: '>',
    });
  });

  test('may do without the shipped ones', () => {
    expect(rulesOf('defaults: false').size).toBe(0);
    expect(rulesOf('').size).toBe(6);
  });

  test('has a window and a cooldown for all', () => {
    for (const { windowMs, cooldownMs } of rulesOf('{window: 1m, cooldown: 90s}').values()) {
      expect([windowMs, cooldownMs]).toEqual([60_000, 90_000]);
    }
  });

  test('has inhibitions and silences', () => {
    const { inhibitions, silences } = parseAlertRules(`
inhibit:
  - {when: queue_depth_high, silences: delivery_rate_low}
silences:
  - {alert: fd_growth_high, labels: {agent: indexer}, until: 2030-01-01T00:00:00Z, comment: known}
`);

    expect(inhibitions).toEqual([
      { when: 'queue_depth_high', silences: 'delivery_rate_low', equal: [] },
    ]);
    expect(silences).toMatchObject([
      { alert: 'fd_growth_high', labels: { agent: 'indexer' }, untilMs: Date.UTC(2030, 0) },
    ]);
  });
});

describe('what is wrong with a file', () => {
  test('is told all at once, with its place', async () => {
    const problems = await problemsOf(`rules:
  - name: a
    metric: m
    comparison: "=>"
    threshold: high
    windw: 5m
  - name: 9lives
    metric: m
    comparison: ">"
    threshold: 1
    window: a while
`);

    expect(problems.map(({ line, path }) => `${line} ${path}`).toSorted()).toEqual([
      '11 rules.1.window',
      '4 rules.0.comparison',
      '5 rules.0.threshold',
      '6 rules.0.windw',
      '7 rules.1.name',
    ]);
  });

  test.each([
    ['rules: [{name: a, metric: m, threshold: 1}]', 'rule a has no comparison'],
    ['rules: [{name: a}]', 'rule a has no metric'],
    [
      'rules: [{name: queue_depth_high}, {name: queue_depth_high}]',
      'there are two rules named queue_depth_high',
    ],
    ['rules: [', 'Flow sequence'],
    ['rules: {}', 'array'],
    ['window: 0s', 'a window is longer than nothing'],
    ['window: 90d', 'a time is at most 30d'],
    ['a: &x [1,1]\nb: *y', 'alias'],
    ['[]', 'object'],
  ])('%s', async (text, message) => {
    expect((await problemsOf(text)).map((one) => one.message).join()).toContain(message);
  });

  test('a file that grows by its aliases is refused', async () => {
    const levels = Array.from({ length: 9 }, (_, i) => {
      return `l${i + 1}: &l${i + 1} [${Array(9).fill(`*l${i}`).join()}]`;
    });
    const problems = await problemsOf(`l0: &l0 x\n${levels.join('\n')}\n`);

    expect(problems[0]?.message).toContain('Excessive alias count');
  });

  test('a file that is too large, or not there, is refused', async () => {
    expect((await problemsOf(' '.repeat((1 << 20) + 1)))[0]?.message).toContain('1 MiB');
    expect((await failureOf(() => loadAlertRules('/nowhere.yaml'))).code).toBe(
      'ERR_CFC_ALERT_RULE',
    );
  });
});
