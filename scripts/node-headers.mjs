// Where Node's C headers are: node-gyp would download them, which needs a
// network, although most installations carry them beside the binary.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** @returns {string | undefined} the prefix that holds include/node for exactly this Node */
export function installedHeaders() {
  const prefix = dirname(dirname(process.execPath));
  const header = join(prefix, 'include', 'node', 'node_version.h');
  if (!existsSync(header)) return undefined;

  const text = readFileSync(header, 'utf8');
  const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  const version = [part('MAJOR'), part('MINOR'), part('PATCH')].join('.');
  return version === process.versions.node ? prefix : undefined;
}

/** @returns {NodeJS.ProcessEnv} the environment for node-gyp and what calls it */
export function gypEnvironment() {
  const prefix = installedHeaders();
  if (process.env.npm_config_nodedir || prefix === undefined) return process.env;
  return { ...process.env, npm_config_nodedir: prefix };
}
