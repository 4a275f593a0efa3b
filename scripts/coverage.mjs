// Runs `npm test` with coverage and fails where it is too low: lines and branches of src, whoever ran
// them, the tests or the processes and threads that they started.
//
//   npm run coverage [-- ARGUMENTS FOR VITEST]
//
// V8 counts what is really run, dist/, in every Node process (NODE_V8_COVERAGE is inherited); the
// tests import dist/ instead of src/ meanwhile (vitest.config.ts). Here the counts of all processes
// are added up and led back to src through the source maps. A process that is killed takes its
// counts along. Writes coverage/index.html and coverage/coverage.json.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { mergeScriptCovs } from '@bcoe/v8-coverage';
import { parse } from 'acorn';
import convert from 'ast-v8-to-istanbul';
import istanbulCoverage from 'istanbul-lib-coverage';
import istanbulReport from 'istanbul-lib-report';
import istanbulReports from 'istanbul-reports';
import { filesBelow, root, tryRun } from './lib.mjs';

/** Per cent of all lines and of all branches. Raised as they rise, never lowered. */
const least = { lines: 90, branches: 85 };

/** What V8 has counted of each file of dist, in every process that said so. */
function scriptsIn(folder) {
  const dist = pathToFileURL(join(root, 'dist')).href;
  const scripts = new Map();
  for (const name of readdirSync(folder)) {
    let report;
    try {
      report = JSON.parse(readFileSync(join(folder, name), 'utf8'));
    } catch {
      continue; // cut off: its process was killed as it wrote
    }
    for (const script of report.result) {
      if (!script.url.startsWith(dist)) continue;
      const url = script.url.replace(/\?.*$/, '');
      // Merged one by one, as hundreds of processes together would fill the memory.
      const seen = scripts.get(url);
      const both = seen === undefined ? [{ ...script, url }] : [seen, { ...script, url }];
      scripts.set(url, mergeScriptCovs(both));
    }
  }
  return scripts;
}

/** Of a file that no process loaded: nothing was run. */
function neverRun(url, code) {
  const ranges = [{ startOffset: 0, endOffset: code.length, count: 0 }];
  return { scriptId: '0', url, functions: [{ functionName: '', isBlockCoverage: true, ranges }] };
}

async function report(folder) {
  const scripts = scriptsIn(folder);
  const map = istanbulCoverage.createCoverageMap();
  for (const file of filesBelow('dist', ['.js'])) {
    const path = join(root, file);
    const url = pathToFileURL(path).href;
    const code = readFileSync(path, 'utf8');
    const coverage = scripts.get(url) ?? neverRun(url, code);
    map.merge(
      await convert({
        code,
        coverage,
        wrapperLength: 0,
        ast: parse(code, { ecmaVersion: 'latest', sourceType: 'module', locations: true }),
        sourceMap: JSON.parse(readFileSync(`${path}.map`, 'utf8')),
      }),
    );
  }
  const context = istanbulReport.createContext({
    dir: join(root, 'coverage'),
    coverageMap: map,
    defaultSummarizer: 'nested',
  });
  for (const [name, options] of [
    ['text', { maxCols: 110 }],
    ['html', {}],
    ['json', { file: 'coverage.json' }],
  ]) {
    istanbulReports.create(name, options).execute(context);
  }
  return map.getCoverageSummary();
}

const folder = mkdtempSync(join(tmpdir(), 'cfc-coverage-'));
try {
  const env = { ...process.env, NODE_V8_COVERAGE: folder, CFC_COVERAGE: '1' };
  const code = tryRun('npm', ['test', '--', ...process.argv.slice(2)], { env });
  const summary = await report(folder);
  for (const [what, percent] of Object.entries(least)) {
    const { pct } = summary[what];
    console.log(`coverage of ${what}: ${pct} %, at least ${percent} % are wanted`);
    if (pct < percent) process.exitCode = 1;
  }
  if (code !== 0) process.exitCode = code;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
