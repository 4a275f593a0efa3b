import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { core } from 'zod';
import { closest } from '../errors/closest.js';
import { problemsOf } from '../errors/schema-words.js';
import { type Finding, SourceFile } from '../errors/source-file.js';
import { type ConfigProblem, type Environment, invalidConfig, readText } from './environment.js';
import {
  type OptionKey,
  type OptionSpec,
  type Options,
  optionKeys,
  otherVariables,
  specOf,
} from './options.js';
import { configKeysAt, configSchema } from './schema.js';

/** Where a value comes from. */
export type OptionSource =
  | { from: 'environment'; variable: string }
  | { from: 'file'; file: string; line: number }
  | { from: 'default' };

export interface Config {
  readonly values: Options;
  readonly sources: Readonly<Record<OptionKey, OptionSource>>;
  /** The files that were read, the first before the others. */
  readonly files: readonly string[];
  /** Files in their places that were left alone, as others may have written them. */
  readonly ignored: readonly string[];
  /** Variables that look like options and are none. */
  readonly unknown: readonly { variable: string; near: string | undefined }[];
}

export interface LoadConfigOptions {
  /** Default that of the process. */
  env?: Environment;
  /** Where the look for `cfc.yaml` begins. Default that of the process. */
  cwd?: string;
  /** Instead of `cfc.yaml` and the user's file; the first goes before the others. */
  files?: readonly string[];
}

/**
 * Every option with where it comes from: environment, `cfc.yaml` of this directory or the nearest
 * above it, the user's file (`cfc/config.yaml` in `XDG_CONFIG_HOME`, else in `~/.config`), default.
 *
 * A file is read only where nobody but its reader and root can have written it, and directories
 * above are searched only as long as they belong to the reader.
 *
 * @throws {CfcError} `ERR_CFC_CONFIG_INVALID`: `details.problems` has all that is wrong, each with
 *   file, line and column
 */
export function loadConfig({
  env = process.env,
  cwd = workingDirectory(),
  files,
}: LoadConfigOptions = {}): Config {
  const found = files === undefined ? findFiles(env, cwd) : { files, ignored: [] };
  const problems: ConfigProblem[] = [];
  const read = found.files.map((file) => readFile(file, problems));
  const values: Record<string, unknown> = {};
  const sources: Record<string, OptionSource> = {};
  for (const key of optionKeys) {
    const spec: OptionSpec = specOf(key);
    const text = env[spec.env];
    const set = read.find((file) => file.values.has(key));
    if (text !== undefined && text !== '') {
      const value = readText(spec, text);
      sources[key] = { from: 'environment', variable: spec.env };
      if (typeof value !== 'object') values[key] = value;
      else problems.push({ ...nowhere, path: spec.env, message: value.problem });
    } else if (set !== undefined) {
      const { value, line } = set.values.get(key) as { value: unknown; line: number };
      values[key] = value;
      sources[key] = { from: 'file', file: set.path, line };
    } else {
      values[key] = spec.default;
      sources[key] = { from: 'default' };
    }
  }
  if (problems.length > 0) throw invalidConfig(problems);
  return {
    values: values as Options,
    sources: sources as Record<OptionKey, OptionSource>,
    files: found.files,
    ignored: found.ignored,
    unknown: unknownVariables(env),
  };
}

/**
 * Puts what files say into an environment, so that {@link option} finds it there, and every process
 * that inherits it.
 */
export function exportConfig(
  { values, sources }: Config,
  env: Record<string, string | undefined> = process.env,
): void {
  for (const key of optionKeys) {
    if (sources[key].from !== 'file') continue;
    const value = values[key];
    if (value === false) delete env[specOf(key).env];
    else env[specOf(key).env] = value === true ? '1' : String(value);
  }
}

// One that was removed has no name.
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return '/';
  }
}

const nowhere = { file: '', line: 0, column: 0 };

interface ReadFile {
  path: string;
  values: Map<OptionKey, { value: unknown; line: number }>;
}

function readFile(path: string, problems: ConfigProblem[]): ReadFile {
  const values: ReadFile['values'] = new Map();
  const source = new SourceFile(textOf(path));
  for (const problem of source.broken) problems.push({ file: path, ...problem });
  // An empty file sets nothing.
  if (source.broken.length > 0 || source.value === null) return { path, values };
  const checked = configSchema().safeParse(source.value);
  if (!checked.success) {
    const issues = checked.error.issues as core.$ZodIssue[];
    const kind = { whole: 'a configuration', keysAt: configKeysAt };
    const found = problemsOf(issues, source.value, kind).map((one) => ({ ...one, ...remark(one) }));
    for (const problem of source.locate(found)) problems.push({ file: path, ...problem });
    return { path, values };
  }
  for (const key of optionKeys) {
    let value = checked.data as unknown;
    for (const step of key.split('.')) value = (value as Record<string, unknown>)?.[step];
    if (value === undefined) continue;
    if ((specOf(key) as OptionSpec).path) value = resolve(dirname(path), value as string);
    const [place] = source.locate([{ path: key, message: '', atKey: true }]);
    values.set(key, { value, line: place?.line ?? 0 });
  }
  return { path, values };
}

// What there is, but not in a file.
function remark({ path }: Finding): { message?: string } {
  const key = optionKeys.find((one) => one === path);
  if (key === undefined || !(specOf(key) as OptionSpec).envOnly) return {};
  return { message: `${key} is set by ${specOf(key).env} alone, as it is of one process` };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const message = `it cannot be read: ${(error as Error).message}`;
    throw invalidConfig([{ ...nowhere, file: path, path: '', message }]);
  }
}

function findFiles(env: Environment, cwd: string): { files: string[]; ignored: string[] } {
  const files: string[] = [];
  const ignored: string[] = [];
  const look = (path: string): boolean => {
    const verdict = verdictOn(path);
    if (verdict === 'missing') return false;
    (verdict === 'ours' ? files : ignored).push(path);
    return true;
  };
  if (env.CFC_CONFIG) files.push(resolve(cwd, env.CFC_CONFIG));
  else searchUpwards(cwd, look);
  look(join(env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config'), 'cfc', 'config.yaml'));
  return { files, ignored };
}

function searchUpwards(from: string, look: (path: string) => boolean): void {
  let folder = from;
  while (!look(join(folder, 'cfc.yaml'))) {
    const above = dirname(folder);
    if (above === folder || statSync(above, { throwIfNoEntry: false })?.uid !== ourUid()) return;
    folder = above;
  }
}

// What another user wrote could send us to a fabric of his.
function verdictOn(path: string): 'missing' | 'ours' | 'foreign' {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined || !info.isFile()) return 'missing';
  const owned = info.uid === ourUid() || info.uid === 0;
  // A group of one's own is common, and so is a umask of 002.
  const strangers = info.gid === process.getegid?.() ? 0o002 : 0o022;
  return owned && (info.mode & strangers) === 0 ? 'ours' : 'foreign';
}

const ourUid = () => process.geteuid?.() ?? -1;

function unknownVariables(env: Environment): Config['unknown'] {
  const known = [...optionKeys.map((key) => specOf(key).env), ...otherVariables];
  // Who forgets the unit meant it all the same.
  const word = (variable: string) =>
    variable.replace(/^(CFC|ALERT)_|_(MS|SECONDS|PCT|BYTES|CELLS)$/g, '');
  return Object.keys(env)
    .filter((variable) => /^(CFC|ALERT)_/.test(variable) && !known.includes(variable))
    .map((variable) => {
      const near = closest(word(variable), known.map(word));
      return { variable, near: known.find((one) => word(one) === near) };
    })
    .filter(({ variable, near }) => near !== undefined || variable.startsWith('CFC_'));
}
