// Installs the packed tarball as a customer would and uses it there: offline,
// without install scripts, with no compiler in reach and no build to fall back to.

import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { root } from './lib.mjs';

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const platform = `linux-${process.arch}`;
const work = mkdtempSync(join(tmpdir(), 'cfc-pack-'));
const project = join(work, 'project');

// All that the installed package may find in PATH.
const programs = ['bash', 'cat', 'env', 'node', 'npm', 'npx', 'sh', 'sleep', 'wc'];

try {
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }\n');

  const tarball = pack(root);
  checkContents(tarball.files.map((file) => file.path));
  sh('publint', ['--strict', tarball.path], {
    cwd: root,
    env: { ...process.env, PATH: toolPath() },
  });

  const dependencies = Object.keys(manifest.dependencies).map(
    (name) => pack(join(root, 'node_modules', name)).path,
  );
  const install = ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
  sh('npm', [...install, tarball.path, ...dependencies], { env: customer() });

  const prebuilds = join(project, 'node_modules', manifest.name, 'prebuilds', platform);
  accessSync(join(prebuilds, 'cfc-native'), constants.X_OK);

  const demo = sh('npx', ['--no-install', 'cfc', 'demo', '--json'], { env: customer() });
  JSON.parse(demo);

  const entries = Object.keys(manifest.exports)
    .filter((entry) => entry !== './package.json')
    .map((entry) => manifest.name + entry.slice(1));
  for (const entry of entries) {
    const check = `const e = await import('${entry}'); if (!Object.keys(e).length) process.exit(1);`;
    sh('node', ['--input-type=module', '--eval', check], { env: customer() });
  }
  checkTypes(entries);
  console.log(
    `pack-check: ${tarball.path.split('/').at(-1)} installs, runs, imports and type-checks`,
  );
} catch (error) {
  console.error(`pack-check: ${error.message}`);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Packs a folder into `work`. */
function pack(folder) {
  const args = ['pack', folder, '--json', '--ignore-scripts', '--pack-destination', work];
  const [{ filename, files }] = JSON.parse(sh('npm', args, { cwd: root }));
  return { path: join(work, filename.replace('@', '').replace('/', '-')), files };
}

function checkContents(files) {
  const needed = [
    ...['README.md', 'LICENSE', 'CHANGELOG.md', 'dist/index.js', 'dist/index.d.ts'],
    ...Object.values(manifest.bin),
    `prebuilds/${platform}/cfc-native`,
    `prebuilds/${platform}/cfc.glibc.node`,
  ];
  const missing = needed.filter((path) => !files.includes(path));
  if (missing.length > 0) throw new Error(`the tarball lacks ${missing.join(', ')}`);

  const odd = files.filter((path) => /^(src|native|test|bench|scripts|build)\/|\.map$/.test(path));
  if (odd.length > 0) throw new Error(`the tarball holds ${odd.join(', ')}`);
}

function checkTypes(entries) {
  const lines = entries.map((entry, index) => `import * as entry${index} from '${entry}';`);
  const uses = entries.map((_, index) => `entry${index}`);
  writeFileSync(
    join(project, 'consumer.ts'),
    [...lines, `export const entries: object[] = [${uses.join(', ')}];`, ''].join('\n'),
  );
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = ['--noEmit', '--strict', '--target', 'es2023', '--module', 'nodenext'];
  const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules', '@types')];
  sh('node', [tsc, ...options, ...types, 'consumer.ts'], { env: customer() });
}

/** The environment of a customer: no settings of ours, no compiler. */
function customer() {
  const bin = join(work, 'bin');
  if (!existsSync(bin)) {
    mkdirSync(bin);
    for (const name of programs) symlinkSync(find(name), join(bin, name));
  }
  const kept = Object.entries(process.env).filter(([name]) => !/^(CFC|NODE_PATH$)/.test(name));
  return { ...Object.fromEntries(kept), PATH: bin, PREBUILDS_ONLY: '1' };
}

function toolPath() {
  return join(root, 'node_modules', '.bin') + delimiter + process.env.PATH;
}

function find(name) {
  if (name === 'node') return process.execPath;
  const folder = process.env.PATH.split(delimiter).find((path) => existsSync(join(path, name)));
  if (folder === undefined) throw new Error(`${name} is not in PATH`);
  return join(folder, name);
}

/** Runs a command in the project, or elsewhere; returns its stdout; throws if it fails. */
function sh(command, args, options = {}) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    cwd: project,
    encoding: 'utf8',
    timeout: 120_000,
    maxBuffer: 1 << 26,
    ...options,
  });
  if (error) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) {
    throw new Error(
      `${command} ${args.join(' ')} ended with ${signal ?? status}\n${stdout}${stderr}`,
    );
  }
  return stdout;
}
