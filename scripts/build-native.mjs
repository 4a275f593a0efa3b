// Builds the addon and the native program into build/Release.
//
// Incremental: node-gyp writes its makefiles anew only when binding.gyp is
// younger. `--clean` starts from nothing.

import { existsSync, statSync } from 'node:fs';
import { root, run } from './lib.mjs';
import { gypEnvironment } from './node-headers.mjs';

const makefile = `${root}/build/Makefile`;
const configured =
  existsSync(makefile) && statSync(makefile).mtimeMs > statSync(`${root}/binding.gyp`).mtimeMs;
const clean = process.argv.includes('--clean');

const steps = clean || !configured ? ['configure', 'build'] : ['build'];
if (clean) steps.unshift('clean');
for (const step of steps) {
  run('node-gyp', [step, '--release', '--jobs=2', '--loglevel=warn'], { env: gypEnvironment() });
}
