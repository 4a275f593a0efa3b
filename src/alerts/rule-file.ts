import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import type * as yamlPackage from 'yaml';
import type * as zodPackage from 'zod';
import { CfcError } from '../errors.js';
import type { Inhibition, Silence } from './muting.js';
import {
  type AlertRule,
  comparisons,
  defaultRules,
  defaultSettleMs,
  severities,
  statistics,
  timesFrom,
} from './rule.js';

/** What is wrong with a file of rules, and where. */
export interface AlertRuleProblem {
  line: number;
  column: number;
  /** Such as `rules.0.window`. */
  path: string;
  message: string;
}

export interface AlertRules {
  rules: AlertRule[];
  inhibitions: Inhibition[];
  silences: Silence[];
}

const maxFileBytes = 1 << 20;
const maxRules = 1000;

// Loaded when there is a file, and not by everyone who sends a message.
const require = createRequire(import.meta.url);

/**
 * Reads rules in YAML and puts them beside the shipped ones; a rule with the name of a shipped one
 * changes what it mentions.
 *
 * @throws {CfcError} `ERR_CFC_ALERT_RULE` with `details.problems`: all that is wrong, with its place
 */
export function parseAlertRules(
  text: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): AlertRules {
  if (text.length > maxFileBytes) throw invalid([problem(0, 0, '', 'the file exceeds 1 MiB')]);
  const source = new Source(text);
  const read = schema().safeParse(source.value ?? {});
  if (!read.success) {
    throw invalid(
      read.error.issues.flatMap((issue) => {
        const path = issue.path.map(String);
        if (issue.code !== 'unrecognized_keys') return [source.blame(path, issue.message)];
        return issue.keys.map((key) => source.blame([...path, key], `there is no key ${key}`));
      }),
    );
  }
  const file = read.data;
  const times = timesFrom(env);
  const shipped = defaultRules(env).map((rule) => ({
    ...rule,
    windowMs: file.window ?? rule.windowMs,
    cooldownMs: file.cooldown ?? rule.cooldownMs,
  }));
  const rules = new Map((file.defaults === false ? [] : shipped).map((rule) => [rule.name, rule]));
  const problems: AlertRuleProblem[] = [];
  const seen = new Set<string>();
  (file.rules ?? []).forEach((rule, index) => {
    const path = ['rules', String(index)];
    const base = shipped.find(({ name }) => name === rule.name);
    for (const key of ['metric', 'comparison', 'threshold'] as const) {
      if (base === undefined && rule[key] === undefined) {
        problems.push(source.blame(path, `rule ${rule.name} has no ${key}`));
      }
    }
    if (seen.has(rule.name)) {
      problems.push(source.blame([...path, 'name'], `there are two rules named ${rule.name}`));
    }
    seen.add(rule.name);
    rules.set(rule.name, {
      name: rule.name,
      metric: rule.metric ?? base?.metric ?? '',
      statistic: rule.statistic ?? base?.statistic ?? 'last',
      comparison: rule.comparison ?? base?.comparison ?? '>',
      threshold: rule.threshold ?? base?.threshold ?? 0,
      windowMs: rule.window ?? base?.windowMs ?? file.window ?? times.windowMs,
      forMs: rule.for ?? base?.forMs ?? 0,
      keepFiringForMs: rule.keepFiringFor ?? base?.keepFiringForMs ?? 0,
      cooldownMs: rule.cooldown ?? base?.cooldownMs ?? file.cooldown ?? times.cooldownMs,
      settleMs: rule.settle ?? base?.settleMs ?? defaultSettleMs,
      severity: rule.severity ?? base?.severity ?? 'warning',
      labels: rule.labels ?? {},
      where: rule.where ?? {},
      by: rule.by ?? base?.by ?? [],
      message:
        rule.message ?? base?.message ?? '{metric} is {value}, and the rule says {threshold}',
    });
  });
  if (problems.length > 0) throw invalid(problems);
  return {
    rules: [...rules.values()],
    inhibitions: (file.inhibit ?? []).map(({ when, silences, equal }) => {
      return { when, silences, equal: equal ?? [] };
    }),
    silences: (file.silences ?? []).map(({ alert, labels, from, until, comment }, index) => ({
      id: `file-${index + 1}`,
      alert,
      labels: labels ?? {},
      fromMs: from ?? Number.MIN_SAFE_INTEGER,
      untilMs: until,
      comment: comment ?? '',
    })),
  };
}

/**
 * The rules of a file, or the shipped ones where there is none.
 *
 * @throws {CfcError} `ERR_CFC_ALERT_RULE`, also where the file cannot be read
 */
export function loadAlertRules(
  path?: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): AlertRules {
  if (path === undefined) return { rules: defaultRules(env), inhibitions: [], silences: [] };
  return parseAlertRules(readRuleFile(path), env);
}

function readRuleFile(path: string): string {
  try {
    if (statSync(path).size > maxFileBytes) {
      throw invalid([problem(0, 0, '', `${path} exceeds 1 MiB`)]);
    }
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof CfcError) throw error;
    throw invalid([problem(0, 0, '', (error as Error).message)], error);
  }
}

let made: ReturnType<typeof makeSchema> | undefined;

function schema() {
  made ??= makeSchema(require('zod') as typeof zodPackage);
  return made;
}

function makeSchema(z: typeof zodPackage) {
  const duration = z
    .union([z.string(), z.number()])
    .transform((value, context) => {
      const ms = durationOf(value);
      if (ms !== undefined) return ms;
      context.addIssue({ code: 'custom', message: 'a time is a number with ms, s, m, h or d' });
      return z.NEVER;
    })
    .refine((ms) => ms <= 30 * 86_400_000, 'a time is at most 30d');
  const window = duration.refine((ms) => ms >= 1, 'a window is longer than nothing');
  const name = z
    .string()
    .regex(
      /^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$/,
      'a name is a letter, then letters, digits, _ . : -',
    );
  const label = z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, 'a label is a letter, then letters, digits and _');
  const text = z.string().max(1000);
  const labels = z.record(label, text);
  const tags = z.record(z.string().min(1).max(64), text);
  const time = z.union([z.string(), z.date()]).transform((value, context) => {
    const ms = value instanceof Date ? value.getTime() : Date.parse(value);
    if (!Number.isNaN(ms)) return ms;
    context.addIssue({ code: 'custom', message: 'a time is written as 2026-01-31T18:00:00Z' });
    return z.NEVER;
  });
  const rule = z.strictObject({
    name,
    metric: z.string().min(1).max(200).optional(),
    statistic: z.enum(statistics as unknown as [AlertRule['statistic']]).optional(),
    comparison: z.enum(comparisons).optional(),
    threshold: z.number().optional(),
    window: window.optional(),
    for: duration.optional(),
    keepFiringFor: duration.optional(),
    cooldown: duration.optional(),
    settle: duration.optional(),
    severity: z.enum(severities).optional(),
    labels: labels.optional(),
    where: tags.optional(),
    by: z.array(label).max(8).optional(),
    message: text.optional(),
  });
  return z.strictObject({
    defaults: z.boolean().optional(),
    window: window.optional(),
    cooldown: duration.optional(),
    rules: z.array(rule).max(maxRules).optional(),
    inhibit: z
      .array(z.strictObject({ when: name, silences: text, equal: z.array(label).optional() }))
      .max(maxRules)
      .optional(),
    silences: z
      .array(
        z.strictObject({
          alert: text,
          labels: labels.optional(),
          from: time.optional(),
          until: time,
          comment: text.optional(),
        }),
      )
      .max(maxRules)
      .optional(),
  });
}

/** `90`, `90s`, `5m`. A bare number is seconds. @returns milliseconds, or undefined */
function durationOf(value: string | number): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(String(value).trim());
  if (match === null) return undefined;
  const scales = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  return Number(match[1]) * scales[(match[2] ?? 's') as keyof typeof scales];
}

/** A text of YAML whose values know where they stand. */
class Source {
  readonly value: unknown;
  readonly #yaml = require('yaml') as typeof yamlPackage;
  readonly #lines = new this.#yaml.LineCounter();
  readonly #document: yamlPackage.Document.Parsed;

  constructor(text: string) {
    this.#document = this.#yaml.parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      strict: true,
    });
    const broken = [...this.#document.errors, ...this.#document.warnings];
    if (broken.length > 0) {
      throw invalid(
        broken.map(({ message, pos }) => this.#at(pos[0], [], message.split('\n')[0] as string)),
      );
    }
    try {
      // An alias may blow up a small file: the package refuses more than a hundred of them.
      this.value = this.#document.toJS() as unknown;
    } catch (error) {
      throw invalid([this.#at(0, [], (error as Error).message)]);
    }
  }

  /** A problem at the value, or at the nearest thing above it that there is. */
  blame(path: readonly string[], message: string): AlertRuleProblem {
    for (let depth = path.length; depth >= 0; depth -= 1) {
      const steps = path.slice(0, depth).map((step) => (/^\d+$/.test(step) ? Number(step) : step));
      const node = this.#document.getIn(steps, true);
      if (this.#yaml.isNode(node) && node.range) return this.#at(node.range[0], path, message);
    }
    return this.#at(0, path, message);
  }

  #at(offset: number, path: readonly string[], message: string): AlertRuleProblem {
    const { line, col } = this.#lines.linePos(offset);
    return problem(Math.max(1, line), Math.max(1, col), path.join('.'), message);
  }
}

const problem = (line: number, column: number, path: string, message: string) => ({
  line,
  column,
  path,
  message,
});

function invalid(problems: AlertRuleProblem[], cause?: unknown): CfcError {
  return new CfcError('ERR_CFC_ALERT_RULE', { problems }, cause === undefined ? {} : { cause });
}
