import { accessSync, constants, readdirSync } from 'node:fs';
import { arch, platform } from 'node:process';
import { fileURLToPath } from 'node:url';
import { CfcError } from '../errors.js';

const packageRoot = fileURLToPath(new URL('../../', import.meta.url));

/** Stands in the PATH of agents that cfc starts: `cfc` is found there. */
export const agentPrograms = `${packageRoot}libexec`;

/**
 * The program that shims, coordinators and workers are made of: built here, or shipped.
 *
 * @throws {CfcError} `ERR_CFC_NATIVE_LOAD`
 */
export function findNativeProgram(): string {
  const prebuilds = `${packageRoot}prebuilds/${platform}-${arch}/`;
  const shippedOnly = process.env.PREBUILDS_ONLY !== undefined;
  const tried = [
    ...(shippedOnly ? [] : [`${packageRoot}build/Release/cfc-native`]),
    `${prebuilds}cfc-native`,
  ];
  const found = tried.find(isExecutable);
  if (found !== undefined) return found;
  throw new CfcError('ERR_CFC_NATIVE_LOAD', {
    program: 'cfc-native',
    tried,
    shipped: shippedPlatforms(),
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function shippedPlatforms(): string[] {
  try {
    return readdirSync(`${packageRoot}prebuilds`);
  } catch {
    return [];
  }
}
