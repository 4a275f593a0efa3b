import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { Fabric } from '../index.js';
import { saveCore } from './core-file.js';
import { fabricOption, jsonOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, writeJson, writeOut } from './terminal.js';

/** For verbs that look at a fabric: one that was saved. */
export const fromOption = () => new Option('--from <file>', 'look at a saved core instead');

export function coreVerb(): Command {
  const save = verb('save', 'save all that is in shared memory to a file')
    .argument('<file>', 'where to; not there yet')
    .addOption(fabricOption())
    .addOption(jsonOption())
    .action(saveTo);
  return verb('core', 'keep what is in a fabric, to look at later').addCommand(save);
}

async function saveTo(file: string, flags: { fabric: string; json?: boolean }): Promise<void> {
  const target = resolve(file);
  if (existsSync(target)) throw new Outcome(exitCodes.usage, `${file} is there already`);
  const fabric = await Fabric.open(flags.fabric);
  try {
    const saved = await saveCore(fabric, target);
    if (flags.json) await writeJson({ v: 1, fabric: flags.fabric, ...saved });
    else await writeOut(`${saved.file}\n`);
    say(`cfc ps --from ${file}; cfc postmortem NAME --from ${file}`);
  } finally {
    await fabric.close();
  }
}
