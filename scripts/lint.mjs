// Everything that reads the code without running it. `--fix` formats instead,
// and applies what Biome can mend safely.

import { spawnSync } from 'node:child_process';
import { filesBelow, root, run, tryRun } from './lib.mjs';
import { installedHeaders } from './node-headers.mjs';

const tidyBuild = 'native/build/tidy';
const native = filesBelow('native', ['.h', '.cc', '.cpp']);

if (process.argv.includes('--fix')) {
  run('biome', ['check', '--write', '.']);
  if (native.length > 0) run('clang-format', ['-i', ...native]);
  process.exit(0);
}

const steps = {
  biome: () => tryRun('biome', ['check', '--error-on-warnings', '.']),
  types: () => tryRun('tsc', ['--project', 'tsconfig.check.json']),
  layers: () => tryRun('node', ['scripts/check-layers.mjs']),
  sources: () => tryRun('node', ['scripts/check-sources.mjs']),
  'clang-format': () => tryRun('clang-format', ['--dry-run', '-Werror', ...native]),
  'clang-tidy': clangTidy,
};

// clang-tidy reads how each file is compiled from CMake's list of commands.
// Without Node's headers the addon is left out: nothing here downloads.
function clangTidy() {
  const headers = installedHeaders();
  const addon = headers === undefined ? [] : [`-DCMAKE_JS_INC=${headers}/include/node`];
  const options = ['-DCMAKE_CXX_COMPILER=clang++', '-DCFC_FAIL_POINTS=ON', ...addon];
  const cmake = ['-S', 'native', '-B', tidyBuild, '--log-level=WARNING', ...options];
  const configured = tryRun('cmake', cmake, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (configured !== 0) return configured;

  const folders = headers === undefined ? ['core', 'cli'] : ['core', 'cli', 'binding'];
  const files = folders.flatMap((folder) => filesBelow(`native/${folder}`, ['.cc']));
  const perFile = ['-P2', '-n1', 'clang-tidy', '--quiet', '-p', tidyBuild];
  const { status, stderr } = spawnSync('xargs', perFile, {
    cwd: root,
    input: files.join('\n'),
    stdio: ['pipe', 'inherit', 'pipe'],
    encoding: 'utf8',
  });
  // It counts even the warnings that it was told not to show.
  process.stderr.write(stderr.replace(/^\d+ warnings? generated\.\n/gm, ''));
  return status ?? 1;
}

const failed = Object.entries(steps).filter(([name, step]) => {
  console.error(`lint: ${name}`);
  return step() !== 0;
});
if (failed.length > 0) {
  console.error(`lint: failed: ${failed.map(([name]) => name).join(', ')}`);
  process.exit(1);
}
