// Who may import whom. CONTRIBUTING.md says why; the tables below are the rule.
//
// biome.json repeats the TypeScript part so that editors show it; this is the
// stricter check, as it resolves paths and knows packages.

import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import ts from 'typescript';
import { filesBelow, root } from './lib.mjs';

// ---- TypeScript -------------------------------------------------------------

// Each layer of src and the layers that it sees beside itself.
const layers = {
  errors: [],
  config: ['errors'],
  topology: ['errors'],
  core: ['errors', 'config'],
  metrics: ['errors', 'config', 'core'],
  alerts: ['errors', 'config', 'core', 'metrics'],
  agents: ['errors', 'config', 'topology', 'core', 'metrics', 'alerts'],
  fabric: ['errors', 'config', 'topology', 'core', 'metrics', 'alerts', 'agents'],
  index: ['errors', 'config', 'topology', 'core', 'metrics', 'alerts', 'agents', 'fabric'],
  cli: [],
};

// What a customer can import, and so may the command line.
const publicEntries = ['src/index', 'src/core/index', 'src/metrics/index'];

// Packages and where they may be used; Node's own modules may be used anywhere.
const packages = {
  'node-gyp-build': ['src/core/'],
  commander: ['src/cli/', 'test/'],
  yaml: ['src/errors/', 'src/alerts/', 'test/'],
  zod: ['src/alerts/', 'src/config/', 'src/errors/', 'src/topology/'],
  cfc: ['bench/', 'examples/', 'test/'],
  tinybench: ['bench/'],
  vitest: ['test/', 'bench/'],
  'fast-check': ['test/'],
};

function typescriptProblems(file) {
  const text = readFileSync(join(root, file), 'utf8');
  const imports = ts.preProcessFile(text, true, true).importedFiles;
  return imports.flatMap(({ fileName, pos }) => {
    const reason = fileName.startsWith('.')
      ? relativeProblem(file, normalize(join(dirname(file), fileName)))
      : packageProblem(file, fileName);
    if (reason === undefined) return [];
    const line = text.slice(0, pos).split('\n').length;
    return [`${file}:${line}: '${fileName}' ${reason}`];
  });
}

function packageProblem(file, specifier) {
  if (specifier.startsWith('node:')) return undefined;
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  const folders = packages[name];
  if (folders === undefined) return 'is in no table of packages (scripts/check-layers.mjs)';
  if (folders.some((folder) => file.startsWith(folder))) return undefined;
  return `may only be used in ${folders.join(', ')}`;
}

function relativeProblem(file, target) {
  if (!file.startsWith('src/')) return outsideProblem(file, target);
  if (!target.startsWith('src/')) return 'leaves src';

  const from = layerOf(file);
  const to = layerOf(target);
  if (layers[from] === undefined) return `stands in '${from}', which is no layer`;
  if (from === to) return undefined;
  if (from === 'cli') {
    return publicEntries.includes(withoutExtension(target)) ? undefined : 'is no public entry';
  }
  return layers[from].includes(to) ? undefined : `stands to the right of ${from}`;
}

function outsideProblem(file, target) {
  if (file.startsWith('test/') || !target.startsWith('src/')) return undefined;
  return 'is private: import the package by its name';
}

const withoutExtension = (path) => path.replace(/\.[jt]s$/, '');
const layerOf = (path) => withoutExtension(path.split('/')[1] ?? '');

// ---- C++ --------------------------------------------------------------------

// Each folder of native and the folders whose headers it sees beside its own.
const nativeLayers = {
  core: [],
  binding: ['core'],
  cli: ['core'],
  model: ['core'],
  sched: ['core'],
  test: ['core'],
  fuzz: ['core', 'test'],
};

const nodeHeaders = /^(napi|node|node_api|js_native_api|uv|v8)(-inl)?(\.h$|\/)/;
const doctestHeaders = /^doctest\b/;

function nativeProblems(file) {
  const layer = file.split('/')[1];
  if (nativeLayers[layer] === undefined) return [`${file}: '${layer}' is no layer of native`];

  const visible = [layer, ...nativeLayers[layer]].map((name) => `native/${name}/`);
  const problems = [];
  readFileSync(join(root, file), 'utf8')
    .split('\n')
    .forEach((line, index) => {
      const include = /^\s*#\s*include\s*([<"])([^>"]+)[>"]/.exec(line);
      if (include === null) return;
      const [, kind, name] = include;
      const reason = kind === '<' ? systemProblem(layer, name) : quotedProblem(file, name, visible);
      if (reason) problems.push(`${file}:${index + 1}: ${name} ${reason}`);
    });
  return problems;
}

function systemProblem(layer, name) {
  if (nodeHeaders.test(name) && layer !== 'binding') return 'is for native/binding only';
  if (doctestHeaders.test(name) && !['test', 'fuzz'].includes(layer)) return 'is for tests only';
  if (name.startsWith('cfc/')) return 'is how others include the core; here it is "core/…"';
  return undefined;
}

// As the compiler looks: beside the file first, then from native.
function quotedProblem(file, name, visible) {
  const candidates = [join(dirname(file), name), join('native', name)].map(normalize);
  const header = candidates.find((path) => headers.includes(path));
  if (header !== undefined && visible.some((folder) => header.startsWith(folder))) return undefined;
  return 'is no header that this folder may see';
}

const nativeFiles = filesBelow('native', ['.h', '.cc', '.cpp']);
const headers = nativeFiles.filter((path) => path.endsWith('.h'));

// -----------------------------------------------------------------------------

const problems = [
  ...['src', 'test', 'bench', 'examples'].flatMap((folder) =>
    filesBelow(folder, ['.ts', '.mjs']).flatMap(typescriptProblems),
  ),
  ...nativeFiles.flatMap(nativeProblems),
];
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
