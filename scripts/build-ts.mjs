// Compiles src into dist, from nothing, so that no output of a deleted file is shipped.

import { chmodSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './lib.mjs';

rmSync(join(root, 'dist'), { recursive: true, force: true });
run('tsc', ['--project', 'tsconfig.json']);

const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const program of Object.values(bin)) chmodSync(join(root, program), 0o755);
