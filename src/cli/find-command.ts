import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { exitCodes, Outcome } from './outcome.js';

/**
 * The file that a command name stands for, as a shell finds it.
 *
 * @throws {Outcome} usage, where there is none
 */
export function findCommand(name: string): string {
  if (name.includes('/')) {
    const file = resolve(name);
    if (isProgram(file)) return file;
    throw new Outcome(exitCodes.usage, `${name} is no executable file`);
  }
  for (const folder of (process.env.PATH ?? '/usr/bin:/bin').split(delimiter)) {
    const file = resolve(join(folder === '' ? '.' : folder, name));
    if (isProgram(file)) return file;
  }
  throw new Outcome(
    exitCodes.usage,
    `command not found: ${name}`,
    "a command is a program in PATH; of a shell, write sh -c '…' sh",
  );
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
