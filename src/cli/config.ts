import { relative } from 'node:path';
import type { Command } from 'commander';
import {
  type Config,
  closestOption,
  configJsonSchema,
  type OptionKey,
  type OptionSource,
  type OptionSpec,
  optionKeys,
  specOf,
} from '../index.js';
import { jsonOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { settings } from './settings.js';
import { say, warn, writeJson, writeOut } from './terminal.js';
import { stripLine, table } from './text.js';

interface ConfigFlags {
  schema?: boolean;
  json?: boolean;
}

export function configVerb(): Command {
  return verb('config', 'print every option, its value, and where that comes from')
    .argument('[key]', 'one option: print its value')
    .option('--schema', 'print the JSON Schema of the file, for editors')
    .addOption(jsonOption())
    .action(config);
}

async function config(key: string | undefined, flags: ConfigFlags): Promise<void> {
  if (flags.schema) {
    await writeOut(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
    return;
  }
  const found = settings();
  if (key !== undefined) {
    const one = optionOf(key);
    if (flags.json) await writeJson({ v: 1, ...rowOf(one, found) });
    else await writeOut(`${stripLine(String(found.values[one] ?? ''))}\n`);
    return;
  }
  if (flags.json) {
    const { files, ignored, unknown } = found;
    const rows = optionKeys.map((one) => rowOf(one, found));
    await writeJson({ v: 1, files, ignored, unknown, options: rows });
    return;
  }
  const rows = optionKeys.map((one) => [one, shown(one, found), placeOf(found.sources[one])]);
  await writeOut(table(['OPTION', 'VALUE', 'FROM'], rows));
  for (const file of found.ignored) {
    warn(`cfc: ${stripLine(file)} is left alone: others may write it\n`);
  }
  // Those with a suggestion were told before.
  for (const { variable, near } of found.unknown) {
    if (near === undefined) warn(`cfc: ${stripLine(variable)} is no option\n`);
  }
  say('cfc config KEY prints one; --schema is for editors');
}

function optionOf(text: string): OptionKey {
  const key = optionKeys.find((one) => one === text || specOf(one).env === text);
  if (key !== undefined) return key;
  const near = closestOption(text);
  throw new Outcome(
    exitCodes.usage,
    `there is no option ${stripLine(text)}`,
    near === undefined ? 'cfc config lists them all' : `did you mean ${near}?`,
  );
}

function rowOf(key: OptionKey, { values, sources }: Config): Record<string, unknown> {
  const { env, default: usual, doc, unit }: OptionSpec = specOf(key);
  const source = sources[key];
  return { key, value: values[key], default: usual, unit: unit ?? null, env, source, doc };
}

function shown(key: OptionKey, { values }: Config): string {
  const { otherwise = '', unit }: OptionSpec = specOf(key);
  const value = values[key];
  if (value === null) return `(${otherwise.replaceAll('`', '')})`;
  return stripLine(unit === undefined ? String(value) : `${value} ${unit}`);
}

function placeOf(source: OptionSource): string {
  if (source.from === 'environment') return source.variable;
  if (source.from === 'default') return 'default';
  const near = relative(process.cwd(), source.file);
  return stripLine(`${near.startsWith('../../') ? source.file : near}:${source.line}`);
}
