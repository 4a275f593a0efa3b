#!/usr/bin/env node
import { CommanderError } from 'commander';
import { option } from '../index.js';
import { exitCodeOf, exitCodes, explain, Outcome } from './outcome.js';
import { makeProgram } from './program.js';
import { readSettings } from './settings.js';
import { OutputClosed, warn, watchOutput } from './terminal.js';

watchOutput();
readSettings();
process.exitCode = await main(process.argv);

async function main(words: string[]): Promise<number> {
  try {
    await makeProgram().parseAsync(words);
    return exitCodes.done;
  } catch (error) {
    if (error instanceof OutputClosed) return exitCodes.done;
    // Commander has said it already: help and version on stdout, what was wrong on stderr.
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? exitCodes.done : usageOf(words);
    }
    warn(explain(error));
    if (option('debug') && error instanceof Error) warn(`${error.stack}\n`);
    const code = exitCodeOf(error);
    // What health found it says without a word.
    const found = error instanceof Outcome && error.message === '';
    return code === exitCodes.usage && !found ? usageOf(words) : code;
  }
}

// 2 is an answer of health.
function usageOf(words: readonly string[]): number {
  return words[2] === 'health' ? exitCodes.healthUsage : exitCodes.usage;
}
