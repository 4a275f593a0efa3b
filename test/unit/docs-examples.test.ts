// Every program that the documents show: its types are checked, it runs against the package as it was
// built, and it prints what the comments behind its `console.log` say.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { root } from '../support/child.js';
import { testDirectory } from '../support/fabric.js';

interface Example {
  name: string;
  code: string;
}

const programs = (path: string, language: string): Example[] =>
  [...readFileSync(join(root, path), 'utf8').matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, its]) => its === language)
    .map(([, , code = ''], i) => ({ name: `${path} ${i + 1}`, code }));

const documents = [
  'README.md',
  ...['api', 'alerts', 'errors', 'metrics'].map((name) => `docs/${name}.md`),
];
const examples = documents.flatMap((path) => programs(path, 'ts'));
const fileOf = (name: string) => `${name.replace(/\W+/g, '-')}.ts`;

// Below the package's own folder, so that `cfc` means the package.
const folder = join(root, '.cache', `docs-examples-${process.pid}`);

beforeAll(() => {
  mkdirSync(folder, { recursive: true });
  for (const { name, code } of examples) writeFileSync(join(folder, fileOf(name)), code);
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: '../../tsconfig.check.json',
      compilerOptions: { rootDir: '../..', noPropertyAccessFromIndexSignature: false },
      include: ['*.ts'],
    }),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const tool = (name: string) => join(root, 'node_modules', '.bin', name);

test('the programs of the documents have the right types', () => {
  const { status, stdout } = spawnSync(tool('tsc'), ['--project', folder], { encoding: 'utf8' });

  expect(stdout).toBe('');
  expect(status).toBe(0);
});

/** What a program says that it prints; `…` stands for anything. */
function announced(code: string): RegExp[] {
  return [...code.matchAll(/console\.log\(.*\); \/\/ (.+)$/gm)].map(([, text = '']) => {
    const pattern = text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('…', '.*');
    return new RegExp(`^${pattern}$`);
  });
}

test.each(examples)('$name runs, and prints what it says', ({ name, code }) => {
  const places = { CFC_DIR: testDirectory(), CFC_CHECKPOINT_DIR: testDirectory() };
  const { status, stdout, stderr } = spawnSync(tool('tsx'), [join(folder, fileOf(name))], {
    encoding: 'utf8',
    env: { ...process.env, ...places, NODE_OPTIONS: '', NO_COLOR: '1' },
  });

  expect(stderr).toBe('');
  expect(status).toBe(0);
  const lines = stdout.split('\n');
  let at = 0;
  for (const pattern of announced(code)) {
    while (at < lines.length && !pattern.test(lines[at] as string)) at += 1;
    expect(at, `${pattern} in\n${stdout}`).toBeLessThan(lines.length);
    at += 1;
  }
});

test('the C++ program of the README compiles against the core', () => {
  const [program] = programs('README.md', 'cpp');
  const work = mkdtempSync(join(tmpdir(), 'cfc-docs-'));
  onTestFinished(() => rmSync(work, { recursive: true, force: true }));
  symlinkSync(join(root, 'native', 'core'), join(work, 'cfc'));
  writeFileSync(join(work, 'bob.cc'), program?.code ?? '');
  const options = ['-std=c++20', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-I', work];
  const { status, stderr } = spawnSync('g++', [...options, join(work, 'bob.cc')], {
    encoding: 'utf8',
  });

  expect(stderr).toBe('');
  expect(status).toBe(0);
});
