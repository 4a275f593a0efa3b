import type { core } from 'zod';
import { closest } from './closest.js';
import type { Finding } from './source-file.js';

/** A kind of file, as what is wrong with one is told. */
export interface FileKind {
  /** `a topology`. */
  whole: string;
  /** What a mapping may have. */
  keysAt(path: readonly string[]): string[];
}

/** What zod found, in words that fit a file. */
export function problemsOf(
  issues: readonly core.$ZodIssue[],
  file: unknown,
  kind: FileKind,
): Finding[] {
  return issues.flatMap((issue) => wordsFor(issue, issue.path.map(String), file, kind));
}

function wordsFor(
  issue: core.$ZodIssue,
  path: readonly string[],
  file: unknown,
  kind: FileKind,
): Finding[] {
  const value = valueAt(file, path);
  const where = path.length === 0 ? kind.whole : path.join('.');
  const name = path.at(-1) ?? kind.whole;
  const say = (message: string): Finding[] => [{ path: path.join('.'), message }];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(path, key, kind));
    case 'invalid_type':
      if (value === undefined && path.length > 0) {
        return [{ path: path.slice(0, -1).join('.'), message: `${name} is missing` }];
      }
      return say(`${where} is ${kindWanted(issue.expected)}, not ${shown(value)}`);
    case 'invalid_value': {
      const allowed = issue.values.map(String);
      const near = typeof value === 'string' ? closest(value, allowed) : undefined;
      const hint = near === undefined ? '' : `; did you mean ${near}?`;
      return say(`${where} is one of ${allowed.join(', ')}, not ${shown(value)}${hint}`);
    }
    case 'too_small':
      return Array.isArray(value)
        ? say(`${where} is empty`)
        : say(`${where} is at least ${issue.minimum}, not ${shown(value)}`);
    case 'too_big':
      return say(`${where} is at most ${issue.maximum}, not ${shown(value)}`);
    case 'invalid_union':
      return unionProblems(issue, path, file, kind);
    default:
      return say(`${where}: ${issue.message}`);
  }
}

// Of what it may be, that which the value is nearest to: a mapping for a mapping, a word for a word.
function unionProblems(
  issue: core.$ZodIssueInvalidUnion,
  path: readonly string[],
  file: unknown,
  kind: FileKind,
): Finding[] {
  const atRoot = (issues: readonly core.$ZodIssue[], codes: readonly string[]) =>
    issues.some((inner) => inner.path.length === 0 && codes.includes(inner.code));
  const nearest =
    issue.errors.find((issues) => !atRoot(issues, ['invalid_type', 'invalid_value'])) ??
    issue.errors.find((issues) => !atRoot(issues, ['invalid_type'])) ??
    issue.errors[0];
  return (nearest ?? []).flatMap((inner) =>
    wordsFor(inner, [...path, ...inner.path.map(String)], file, kind),
  );
}

function unknownKey(path: readonly string[], key: string, kind: FileKind): Finding {
  const keys = kind.keysAt(path);
  const near = closest(key, keys);
  const where = path.length === 0 ? kind.whole : path.join('.');
  const hint = near === undefined ? `; there are ${keys.join(', ')}` : `; did you mean ${near}?`;
  return { path: [...path, key].join('.'), message: `${where} has no ${key}${hint}`, atKey: true };
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  let inner = value;
  for (const step of path) inner = (inner as Record<string, unknown> | null | undefined)?.[step];
  return inner;
}

function kindWanted(expected: string): string {
  if (expected === 'int' || expected === 'number') return 'a whole number';
  if (expected === 'array') return 'a list';
  if (expected === 'object') return 'a mapping';
  return expected === 'string' ? 'text' : `a ${expected}`;
}

function shown(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? `"${value.slice(0, 60)}"` : String(value);
}
