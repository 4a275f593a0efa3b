import { AlertEngine, type AlertEngineOptions } from '../../../src/alerts/engine.js';
import { type AlertRule, defaultRules } from '../../../src/alerts/rule.js';
import type { MetricRecord } from '../../../src/metrics/record.js';

/** A moment to count from, far from 0. */
export const start = Date.parse('2026-01-31T12:00:00Z');
export const seconds = (count: number) => start + count * 1000;

export function record(
  metric: string,
  value: number,
  atMs: number,
  tags: Record<string, string> = {},
): MetricRecord {
  return { timestamp: new Date(atMs).toISOString(), metric, value, unit: '', tags };
}

/** A rule that fires above 10, on the last value in a minute. */
export function rule(changes: Partial<AlertRule> = {}): AlertRule {
  const [base] = defaultRules({}) as [AlertRule];
  return {
    ...base,
    name: 'load_high',
    metric: 'load',
    statistic: 'last',
    comparison: '>',
    threshold: 10,
    windowMs: 60_000,
    severity: 'warning',
    message: 'load is {value}',
    ...changes,
  };
}

/** An engine that is told one value at a time. */
export class Bench {
  readonly engine: AlertEngine;

  constructor(rules: readonly AlertRule[], options: Partial<AlertEngineOptions> = {}) {
    this.engine = new AlertEngine({ rules, ...options });
  }

  /** Observes a value now and evaluates. @returns names and states that were told */
  at(atSeconds: number, value?: number, { metric = 'load', tags = {} } = {}): string[] {
    const nowMs = seconds(atSeconds);
    if (value !== undefined) this.engine.observe([record(metric, value, nowMs, tags)], nowMs);
    return told(this.engine.evaluate(nowMs).notification);
  }

  states(): Record<string, string> {
    return Object.fromEntries(
      this.engine.active().map(({ alert, labels, state }) => {
        const suffix = labels.agent === undefined ? '' : ` ${labels.agent}`;
        return [`${alert}${suffix}`, state];
      }),
    );
  }
}

export const told = (
  notification: { groups: { alert: string; state: string; count: number }[] } | undefined,
): string[] =>
  notification?.groups.map(({ alert, state, count }) =>
    count === 1 ? `${alert} ${state}` : `${alert} ${state} x${count}`,
  ) ?? [];
