import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vitest/config';

const root = dirname(fileURLToPath(import.meta.url));

/**
 * Under `npm run coverage` the tests import what was built, and run it as Node does: so V8's counts
 * of them and of the processes that they start are of the same files.
 */
const builtInsteadOfSource: Plugin = {
  name: 'built-instead-of-source',
  enforce: 'pre',
  resolveId(source, importer) {
    if (importer === undefined || !source.startsWith('.')) return undefined;
    const path = join(dirname(importer), source);
    if (!path.startsWith(join(root, 'src/'))) return undefined;
    const built = join(root, 'dist', path.slice(root.length + '/src/'.length));
    return existsSync(built) ? built : undefined;
  },
};

const coverage = process.env.CFC_COVERAGE !== undefined;

// The time limits are watchdogs against a hang, far above what any test needs
// on a busy machine. Nothing is retried.
export default defineConfig({
  plugins: coverage ? [builtInsteadOfSource] : [],
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    pool: 'forks',
    maxWorkers: 3, // beside each other on two CPUs: most of them wait for processes
    retry: 0,
    testTimeout: 240_000,
    hookTimeout: 240_000,
    teardownTimeout: 10_000,
    restoreMocks: true,
    unstubEnvs: true,
    server: { deps: { external: [/\/dist\//] } },
    setupFiles: coverage ? ['test/support/take-coverage.ts'] : [],
  },
});
