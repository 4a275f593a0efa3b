import {
  CfcError,
  type Config,
  type ConfigProblem,
  exportConfig,
  loadConfig,
  optionKeys,
  specOf,
} from '../index.js';
import { exitCodes, Outcome } from './outcome.js';
import { warn } from './terminal.js';
import { stripLine } from './text.js';

let loaded: Config | undefined;
let failure: Error | undefined;

/**
 * Reads the options, and puts what files say into the environment. To be called before a verb reads
 * its own; what is wrong is told by {@link settings}, so that help works in any case.
 */
export function readSettings(): void {
  // An empty variable is none; the parser of flags would take it for a value.
  for (const key of optionKeys)
    if (process.env[specOf(key).env] === '') delete process.env[specOf(key).env];
  try {
    loaded = loadConfig();
    exportConfig(loaded);
  } catch (error) {
    failure = error as Error;
  }
}

/**
 * Every option and where it comes from.
 *
 * @throws {Outcome} usage, with a line for each mistake
 */
export function settings(): Config {
  if (loaded === undefined && failure === undefined) readSettings();
  if (loaded !== undefined) return loaded;
  if (!(failure instanceof CfcError) || failure.code !== 'ERR_CFC_CONFIG_INVALID') throw failure;
  const problems = failure.details.problems as readonly ConfigProblem[];
  const lines = problems.map(({ file, line, column, message }) => {
    const place = line === 0 ? file : `${file}:${line}:${column}`;
    return stripLine(`${place === '' ? 'the environment' : place}: ${message}`);
  });
  throw new Outcome(
    exitCodes.usage,
    `${lines.join('\ncfc: ')} (${failure.code})`,
    failure.hint.replace('details.problems says what is wrong, and where; ', ''),
  );
}

/** A line for each variable that is likely to be an option misspelt. */
export function warnOfSlips(): void {
  for (const { variable, near } of settings().unknown) {
    if (near === undefined) continue;
    warn(`cfc: ${stripLine(variable)} is no option; did you mean ${near}?\n`);
  }
}
