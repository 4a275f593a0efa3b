// Builds what npm ships into prebuilds/<platform>-<arch>: the addon, named by
// its libc, and the native program beside it.
//
// prebuildify deletes and moves what it finds in build/, so it works on a copy
// of the sources and the tree's own build stays as it is.

import { copyFileSync, cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkBinary } from './check-binary.mjs';
import { root, tryRun } from './lib.mjs';
import { gypEnvironment } from './node-headers.mjs';

const arch = process.env.PREBUILD_ARCH ?? process.arch;
const strip = process.env.PREBUILD_STRIP_BIN ?? 'strip';
const out = join(root, 'prebuilds', `linux-${arch}`);
rmSync(out, { recursive: true, force: true });

const copy = mkdtempSync(join(tmpdir(), 'cfc-prebuild-'));
try {
  for (const path of ['package.json', 'binding.gyp']) cpSync(join(root, path), join(copy, path));
  for (const folder of ['core', 'binding', 'cli']) {
    cpSync(join(root, 'native', folder), join(copy, 'native', folder), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));

  must('prebuildify', ['--napi', '--strip', '--tag-libc', '--arch', arch, '--out', root], {
    cwd: copy,
    env: { ...gypEnvironment(), JOBS: '2' },
  });
  const program = join(out, 'cfc-native');
  copyFileSync(join(copy, 'build', 'Release', 'cfc-native'), program);
  must(strip, [program]);
} finally {
  rmSync(copy, { recursive: true, force: true });
}

const problems = readdirSync(out).flatMap((name) => checkBinary(join(out, name)));
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;

// Throws, so that the copy is removed.
function must(command, args, options) {
  const code = tryRun(command, args, options);
  if (code !== 0) throw new Error(`${command} failed with code ${code}`);
}
