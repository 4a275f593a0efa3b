#!/usr/bin/env node
import { CommanderError } from 'commander';
import { exitCodeOf, exitCodes, explain } from './outcome.js';
import { makeProgram } from './program.js';
import { OutputClosed, warn, watchOutput } from './terminal.js';

watchOutput();
process.exitCode = await main(process.argv);

async function main(words: string[]): Promise<number> {
  try {
    await makeProgram().parseAsync(words);
    return exitCodes.done;
  } catch (error) {
    if (error instanceof OutputClosed) return exitCodes.done;
    // Commander has said it already: help and version on stdout, what was wrong on stderr.
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return exitCodes.done;
      return words[2] === 'health' ? exitCodes.healthUsage : exitCodes.usage;
    }
    warn(explain(error));
    if (process.env.CFC_DEBUG && error instanceof Error) warn(`${error.stack}\n`);
    return exitCodeOf(error);
  }
}
