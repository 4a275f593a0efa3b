import type { ParseArgsConfig, parseArgs } from 'node:util';

export function optionsOf<T extends ParseArgsConfig>(
  script: string,
  config: T,
): ReturnType<typeof parseArgs<T>>;
