// The options of a script, whose help is the comment that it begins with.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/**
 * As `parseArgs` of node:util, with `--help` and `-h`. What it can't read ends the process with exit
 * code 2, and with the help.
 *
 * @param script `import.meta.url` of the script
 */
export function optionsOf(script, config) {
  const options = { ...config.options, help: { type: 'boolean', short: 'h', default: false } };
  try {
    const parsed = parseArgs({ ...config, options });
    if (!parsed.values.help) return parsed;
  } catch (error) {
    console.error(`${error.message}\n\n${helpOf(script)}`);
    process.exit(2);
  }
  console.log(helpOf(script));
  process.exit(0);
}

function helpOf(script) {
  const lines = readFileSync(fileURLToPath(script), 'utf8').split('\n');
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return lines
    .slice(0, end)
    .map((line) => line.slice(3))
    .join('\n');
}
