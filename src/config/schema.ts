import { createRequire } from 'node:module';
import type * as zod from 'zod';
import { type OptionKey, type OptionSpec, optionKeys, specOf } from './options.js';

type Zod = typeof zod;

// Loaded when a file is read, and not by everyone who sends a message.
const require = createRequire(import.meta.url);
let made: ReturnType<typeof makeSchema> | undefined;

/** What may stand in a file: the options as a tree, `send.timeoutMs` below `send`. */
export function configSchema() {
  made ??= makeSchema(require('zod') as Zod);
  return made;
}

/** JSON Schema of the file, for editors. */
export function configJsonSchema(): Record<string, unknown> {
  const { toJSONSchema } = require('zod') as Zod;
  return {
    ...toJSONSchema(configSchema(), { io: 'input' }),
    title: 'cfc configuration',
    description: 'Options of cfc: cfc.yaml in a directory, or cfc/config.yaml of a user.',
  };
}

/** What a mapping of a file may have, in its order. */
export function configKeysAt(path: readonly string[]): string[] {
  const prefix = path.map((step) => `${step}.`).join('');
  const keys = optionKeys.filter((key) => key.startsWith(prefix) && !envOnly(key));
  return [...new Set(keys.map((key) => key.slice(prefix.length).split('.')[0] as string))];
}

const envOnly = (key: OptionKey): boolean => (specOf(key) as OptionSpec).envOnly ?? false;

function makeSchema(z: Zod) {
  const sections: Record<string, Record<string, zod.ZodType>> = {};
  const top: Record<string, zod.ZodType> = {};
  for (const key of optionKeys) {
    const spec: OptionSpec = specOf(key);
    if (spec.envOnly) continue;
    const [first, rest] = key.split('.') as [string, string?];
    const value = valueSchema(z, spec).optional();
    if (rest === undefined) top[first] = value;
    else {
      sections[first] ??= {};
      sections[first][rest] = value;
    }
  }
  for (const [name, section] of Object.entries(sections)) {
    top[name] = z.strictObject(section).optional();
  }
  return z.strictObject(top);
}

function valueSchema(z: Zod, spec: OptionSpec): zod.ZodType {
  const { doc, unit, env, choices, pattern, least = -Infinity, most = Infinity } = spec;
  const meta = {
    description: `${doc}${unit === undefined ? '' : ` (${unit})`}; ${env} in the environment`,
    ...(spec.default === null ? {} : { default: spec.default }),
  };
  if (spec.kind === 'flag') return z.boolean().meta(meta);
  if (spec.kind === 'integer') return z.int().min(least).max(most).meta(meta);
  if (spec.kind === 'number') return z.number().min(least).max(most).meta(meta);
  if (choices !== undefined) return z.enum(choices as readonly [string, ...string[]]).meta(meta);
  if (pattern !== undefined)
    return z.string().regex(pattern.is, `it is ${pattern.words}`).meta(meta);
  return z.string().min(1).meta(meta);
}
