// Compiles src into dist, from nothing, so that no output of a deleted file is shipped; and beside
// it, so that a build that fails leaves the last good one and one that runs disturbs nobody.

import { chmodSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './lib.mjs';

const target = join(root, 'dist');
const fresh = join(root, `dist.new-${process.pid}`);
const old = join(root, `dist.old-${process.pid}`);
process.on('exit', () => {
  for (const folder of [fresh, old]) rmSync(folder, { recursive: true, force: true });
});

run('tsc', ['--project', 'tsconfig.json', '--outDir', fresh]);

const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const program of Object.values(bin)) {
  const built = join(fresh, program.slice('dist/'.length));
  if (existsSync(built)) chmodSync(built, 0o755);
}
if (existsSync(target)) renameSync(target, old);
renameSync(fresh, target);
