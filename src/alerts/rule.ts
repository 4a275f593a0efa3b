import { type OptionKey, option, specOf } from '../config/index.js';

export const severities = ['info', 'warning', 'critical'] as const;
export type Severity = (typeof severities)[number];

/**
 * What is made of the samples in the window: `rate` is their sum a second, `growth` how many percent
 * the last lies above the first, `increase` the last less the first.
 */
export const statistics = [
  ...['last', 'avg', 'min', 'max', 'sum', 'count', 'rate'],
  ...['p50', 'p95', 'p99', 'growth', 'increase'],
] as const;
export type Statistic =
  | 'last'
  | 'avg'
  | 'min'
  | 'max'
  | 'sum'
  | 'count'
  | 'rate'
  | 'p50'
  | 'p95'
  | 'p99'
  | 'growth'
  | 'increase';

export const comparisons = ['>', '>=', '<', '<=', '==', '!='] as const;
export type Comparison = (typeof comparisons)[number];

/** One threshold alert. Each different set of values of the tags in `by` is an instance of it. */
export interface AlertRule {
  /** The alert's name. */
  name: string;
  /** Of the records that it looks at. */
  metric: string;
  statistic: Statistic;
  comparison: Comparison;
  threshold: number;
  /** How far back from now it looks, by the records' times. */
  windowMs: number;
  /** How long the condition must hold before it fires. */
  forMs: number;
  /** How long it goes on firing after the condition held last. */
  keepFiringForMs: number;
  /** How long nothing is told again of an instance that was told of. */
  cooldownMs: number;
  /** Of `growth` and `increase`: how much of a process's life, from its start, does not count. */
  settleMs: number;
  severity: Severity;
  /** Added to the labels of each instance. */
  labels: Readonly<Record<string, string>>;
  /** Only records with these tags. */
  where: Readonly<Record<string, string>>;
  /** Tags that tell instances apart. */
  by: readonly string[];
  /** With `{value}`, `{threshold}`, `{window}` and `{label}` for each label. */
  message: string;
}

export const defaultCooldownMs = specOf('alerts.cooldownSeconds').default * 1000;
export const defaultSettleMs = 60_000;

interface ShippedRule
  extends Pick<
    AlertRule,
    'name' | 'metric' | 'statistic' | 'comparison' | 'severity' | 'by' | 'message'
  > {
  thresholdOption: Extract<OptionKey, `alerts.${string}`>;
}

/** The rules that hold without a file: data, as a user's are. */
export const shippedRules: readonly ShippedRule[] = [
  {
    name: 'coordination_time_exceeded',
    metric: 'coordination.time',
    statistic: 'max',
    comparison: '>',
    thresholdOption: 'alerts.coordinationTimeMs',
    severity: 'critical',
    by: [],
    message: 'a coordination took {value} ms, above {threshold} ms',
  },
  {
    name: 'delivery_rate_low',
    metric: 'coordination.delivery_rate',
    statistic: 'min',
    comparison: '<',
    thresholdOption: 'alerts.deliveryRatePct',
    severity: 'warning',
    by: [],
    message: 'the delivery rate fell to {value} %, below {threshold} %',
  },
  {
    name: 'memory_growth_high',
    metric: 'system.memory_mb',
    statistic: 'growth',
    comparison: '>',
    thresholdOption: 'alerts.memoryGrowthPct',
    severity: 'warning',
    by: ['agent'],
    message: 'the memory of {agent} grew by {value} % in {window}, above {threshold} %',
  },
  {
    name: 'fd_growth_high',
    metric: 'system.open_fds',
    statistic: 'increase',
    comparison: '>',
    thresholdOption: 'alerts.fdGrowth',
    severity: 'warning',
    by: ['agent'],
    message: '{agent} holds {value} more open files than {window} ago, above {threshold}',
  },
  {
    name: 'error_rate_high',
    metric: 'coordination.error_rate',
    statistic: 'max',
    comparison: '>',
    thresholdOption: 'alerts.errorRatePct',
    severity: 'critical',
    by: [],
    message: '{value} % of the tasks failed, above {threshold} %',
  },
  {
    name: 'queue_depth_high',
    metric: 'coordination.queue_depth',
    statistic: 'max',
    comparison: '>',
    thresholdOption: 'alerts.queueDepth',
    severity: 'warning',
    by: [],
    message: '{value} messages wait in the fabric, above {threshold}',
  },
];

type Environment = Readonly<Record<string, string | undefined>>;

/** What the options `alerts.windowSeconds`, `cooldownSeconds` and `checkSeconds` say. */
export function timesFrom(env: Environment): {
  windowMs: number;
  cooldownMs: number;
  intervalMs: number;
} {
  return {
    windowMs: option('alerts.windowSeconds', env) * 1000,
    cooldownMs: option('alerts.cooldownSeconds', env) * 1000,
    intervalMs: option('alerts.checkSeconds', env) * 1000,
  };
}

/**
 * The six rules with their thresholds, window and cooldown as the environment has them.
 *
 * @throws {CfcError} `ERR_CFC_CONFIG_INVALID` where a variable has no such value
 */
export function defaultRules(env: Environment = process.env): AlertRule[] {
  const { windowMs, cooldownMs } = timesFrom(env);
  return shippedRules.map(({ thresholdOption, ...rule }) => ({
    ...rule,
    threshold: option(thresholdOption, env),
    windowMs,
    forMs: 0,
    keepFiringForMs: 0,
    cooldownMs,
    settleMs: defaultSettleMs,
    labels: {},
    where: {},
  }));
}

/** Of real numbers: nothing is rounded first. */
export function holds(value: number, comparison: Comparison, threshold: number): boolean {
  switch (comparison) {
    case '>':
      return value > threshold;
    case '>=':
      return value >= threshold;
    case '<':
      return value < threshold;
    case '<=':
      return value <= threshold;
    case '==':
      return value === threshold;
    default:
      return value !== threshold;
  }
}

/** `{value}` and its kin filled in; what is not known stays as it stands. */
export function messageOf(
  rule: AlertRule,
  value: number,
  labels: Readonly<Record<string, string>>,
): string {
  const known: Record<string, string> = {
    ...labels,
    alert: rule.name,
    metric: rule.metric,
    value: shownNumber(value),
    threshold: shownNumber(rule.threshold),
    window: shownDuration(rule.windowMs),
  };
  return rule.message.replace(/\{([\w.-]+)\}/g, (whole, name: string) => known[name] ?? whole);
}

/** Enough digits to tell a value from the threshold that it passed. */
export function shownNumber(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(6)));
}

export function shownDuration(ms: number): string {
  for (const [unit, scale] of [
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
  ] as const) {
    if (ms >= scale && ms % scale === 0) return `${ms / scale} ${unit}`;
  }
  return `${ms} ms`;
}
