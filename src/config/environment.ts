import type { FileProblem } from '../errors/source-file.js';
import { CfcError } from '../errors.js';
import { type OptionKey, type OptionSpec, type Options, specOf } from './options.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * One option, as the environment has it, else its default. This is how the library reads options:
 * files are read by the command line alone, which puts what they say into its environment, and so
 * into that of everything it starts.
 *
 * @throws {CfcError} `ERR_CFC_CONFIG_INVALID` where the variable has no such value
 */
export function option<Key extends OptionKey>(
  key: Key,
  env: Environment = process.env,
): Options[Key] {
  const spec: OptionSpec = specOf(key);
  const text = env[spec.env];
  if (text === undefined || text === '') return spec.default as Options[Key];
  const read = readText(spec, text);
  if (typeof read !== 'object') return read as Options[Key];
  throw invalidConfig([{ file: '', line: 0, column: 0, path: spec.env, message: read.problem }]);
}

/** What a text of the environment says; what is wrong with it, where it says nothing. */
export function readText(
  spec: OptionSpec,
  text: string,
): string | number | boolean | { problem: string } {
  if (spec.kind === 'flag') return true; // anything, as NO_COLOR has it
  if (spec.kind === 'text') return problemOfText(spec, text) ?? text;
  const whole = spec.kind === 'integer';
  const value = /^-?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (Number.isNaN(value) || (whole && !Number.isInteger(value))) {
    return { problem: `${spec.env} is a ${whole ? 'whole ' : ''}number, not "${shorten(text)}"` };
  }
  const { least = -Infinity, most = Infinity } = spec;
  if (value < least) return { problem: `${spec.env} is at least ${least}, not ${value}` };
  if (value > most) return { problem: `${spec.env} is at most ${most}, not ${value}` };
  return value;
}

function problemOfText(
  { env, choices, pattern }: OptionSpec,
  text: string,
): { problem: string } | undefined {
  if (choices !== undefined && !choices.includes(text)) {
    return { problem: `${env} is one of ${choices.join(', ')}, not "${shorten(text)}"` };
  }
  if (pattern !== undefined && !pattern.is.test(text)) {
    return { problem: `${env} is ${pattern.words}, not "${shorten(text)}"` };
  }
  return undefined;
}

const shorten = (text: string) => text.slice(0, 60);

/** What is wrong with an option, and where it is set. */
export interface ConfigProblem extends FileProblem {
  /** Empty where it is the environment, whose variable is then `path`. */
  file: string;
}

export function invalidConfig(problems: readonly ConfigProblem[]): CfcError {
  return new CfcError('ERR_CFC_CONFIG_INVALID', { problems });
}
