// Prints the table of faults: each is injected by the tests and campaigns that there are, and each
// row says how often, how often that met something at work, and what was violated. docs/proof.md
// says what each row means.
//
//   npm run faults                 all rows, in the short form of every change
//   npm run faults -- F8 F12       these rows
//   npm run faults -- --long       kills, messages and checks in the numbers of a campaign
//   npm run faults -- --json FILE  the table as JSON, too
//
// The counts come from the tests themselves: they append lines to the file that CFC_EVIDENCE names.
// Exit code 1 where something was violated, 3 where a row has too few hits to say anything.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './lib.mjs';
import { optionsOf } from './options.mjs';

const { values, positionals } = optionsOf(import.meta.url, {
  allowPositionals: true,
  options: { long: { type: 'boolean', default: false }, json: { type: 'string' } },
});

const vitest = (...files) => [
  process.execPath,
  join(root, 'node_modules', 'vitest', 'vitest.mjs'),
  'run',
  ...files.map((file) => `test/${file.includes('/') ? file : `process/${file}`}.test.ts`),
];
const script = (name, ...words) => [process.execPath, join(root, 'scripts', name), ...words];
const native = (cases) => [join(root, 'scripts', 'test-native.sh'), 'gcc', `--test-case=${cases}`];

const kills = values.long ? '2000' : '200';
const torture = script('torture.mjs', '--kills', kills, '--seed', '1');

const takeovers = script('takeovers.mjs', '--kills', values.long ? '200' : '20', '--seed', '1');

const exporter = values.long ? script('exporter.mjs') : vitest('exporter');

/** What shows a row: its name, the fewest hits that mean something, commands. */
const rows = {
  F1: { what: 'kill -9 of a producer', least: 50, commands: [torture] },
  F2: { what: 'kill -9 of a consumer', least: 50, commands: [torture] },
  F3: {
    what: 'kill -9 during repair, two repairers',
    least: values.long ? 100 : 5,
    commands: [torture, native('Crash: the repairer*,Crash: repair of*')],
  },
  F4: {
    what: 'kill -9 of an exporter',
    least: values.long ? 200 : 12,
    commands: [exporter],
  },
  F5: {
    what: 'kill -9 of a supervisor',
    least: values.long ? 120 : 13,
    commands: [takeovers, vitest('supervisor')],
  },
  F6: {
    what: 'SIGSTOP, then SIGCONT',
    least: 10,
    commands: [torture, native('Crash: a * stopped*')],
  },
  F7: { what: 'clock jumps, suspend', least: 50, commands: [vitest('environment-clocks')] },
  F8: { what: 'PID reuse, PID namespaces', least: 5, commands: [vitest('environment-pids')] },
  F9: {
    what: 'tmpfs full, read-only, missing',
    least: 20,
    commands: [vitest('environment-tmpfs', 'environment-spawn')],
  },
  F10: { what: 'flipped bits of headers', least: 5376, commands: [vitest('damage')] },
  F11: { what: 'garbage in a live region', least: 1000, commands: [vitest('damage')] },
  F12: { what: 'another local user', least: 100, commands: [vitest('environment-strangers')] },
  F13: { what: 'full disk under an exporter', least: 2, commands: [exporter] },
  F14: {
    what: 'no descriptors, no process at spawn',
    least: 32,
    commands: [vitest('environment-descriptors', 'environment-spawn')],
  },
  F15: { what: 'one floods beside ninety-nine', least: 3, commands: [native('Flood:*')] },
  F16: { what: 'a consumer at one percent', least: 1000, commands: [vitest('limits')] },
  F17: { what: 'a message in a circle', least: 1, commands: [vitest('unit/repeats')] },
  F18: { what: '708 agents that start at once', least: 708, commands: [vitest('chaos')] },
  F19: { what: 'crash loop', least: 1, commands: [vitest('supervisor')] },
  F20: { what: 'an event loop that is blocked', least: 1, commands: [vitest('run')] },
  F21: { what: 'worker terminated, exit', least: 70, commands: [vitest('workers', 'exit')] },
  F22: {
    what: 'fork, cluster, exec',
    least: 6,
    commands: [vitest('exit'), native('*forked child*,Lease: does not pass through exec')],
  },
  F23: { what: 'two versions on one fabric', least: 4, commands: [vitest('versions')] },
  F24: { what: 'storm of alerts', least: 10_000, commands: [vitest('unit/alerts/engine')] },
  F25: { what: 'webhook down, slow, failing', least: 5, commands: [vitest('unit/alerts/sinks')] },
  F26: {
    what: 'files of an exporter renamed',
    least: values.long ? 30 : 4,
    commands: [exporter],
  },
  F27: {
    what: 'no pidfd, futex_waitv, O_TMPFILE',
    least: 40,
    commands: [vitest('environment-sandbox')],
  },
  ledger: {
    what: 'messages, difference 0',
    least: values.long ? 1e8 - 100 : 1e7 - 100,
    commands: [script('load.mjs', 'ledger', '--messages', values.long ? '1e8' : '1e7')],
  },
  liveness: {
    what: 'liveness checks, no false death',
    least: values.long ? 1e6 : 1e5,
    commands: [script('load.mjs', 'liveness', '--checks', values.long ? '1e6' : '1e5')],
  },
};

const wanted = positionals.length === 0 ? Object.keys(rows) : positionals;
const unknown = wanted.filter((name) => rows[name] === undefined);
if (unknown.length > 0) {
  console.error(`no such row: ${unknown.join(', ')}; there are ${Object.keys(rows).join(', ')}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'cfc-faults-'));
const evidence = join(folder, 'evidence.jsonl');
const done = new Map(); // a command that shows several rows runs once

/** Runs a command. @returns whether it failed, and its doctest cases, if it is one of those */
function show(command) {
  const key = command.join(' ');
  if (!done.has(key)) {
    console.error(`faults: ${key.replaceAll(`${root}/`, '').replace(process.execPath, 'node')}`);
    const env = { ...process.env, CFC_EVIDENCE: evidence, NO_COLOR: '1' };
    const [program, ...words] = command;
    const result = spawnSync(program, words, {
      cwd: root,
      env,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    });
    if (result.status !== 0) console.error(`${result.stdout}\n${result.stderr}`);
    const cases = /test cases: +(\d+) \| +(\d+) passed/.exec(result.stdout);
    done.set(key, {
      failed: result.status !== 0,
      skipped: Number(/Tests .*?(\d+) skipped/.exec(result.stdout)?.[1] ?? 0),
      cases: cases === null ? undefined : [Number(cases[1]), Number(cases[2])],
    });
  }
  return done.get(key);
}

const table = [];
for (const name of wanted) {
  const { what, least, commands } = rows[name];
  const row = { fault: name, what, injected: 0, hit: 0, violations: 0, skipped: 0 };
  let failed = false;
  for (const command of commands) {
    const shown = show(command);
    failed ||= shown.failed;
    row.skipped += shown.skipped;
    // A native test has no count of its own: its cases are what was injected.
    if (shown.cases !== undefined) {
      row.injected += shown.cases[0];
      row.hit += shown.cases[1];
      row.violations += shown.cases[0] - shown.cases[1];
    }
  }
  const lines = existsSync(evidence) ? readFileSync(evidence, 'utf8').split('\n') : [];
  for (const line of lines.filter((text) => text !== '')) {
    const seen = JSON.parse(line);
    if (seen.fault !== name) continue;
    row.injected += seen.injected;
    row.hit += seen.hit;
    row.violations += seen.violations;
  }
  if (failed && row.violations === 0) row.violations = 1;
  row.verdict = row.violations > 0 ? 'VIOLATED' : row.hit < least ? 'too few hits' : 'ok';
  table.push(row);
}
rmSync(folder, { recursive: true });

const columns = ['fault', 'what', 'injected', 'hit', 'violations', 'skipped', 'verdict'];
const width = (column) => Math.max(column.length, ...table.map((row) => `${row[column]}`.length));
const shown = (row) =>
  columns
    .map((column) =>
      typeof row[column] === 'number'
        ? `${row[column]}`.padStart(width(column))
        : `${row[column]}`.padEnd(width(column)),
    )
    .join('  ');
console.log(shown(Object.fromEntries(columns.map((column) => [column, column]))));
for (const row of table) console.log(shown(row));
if (values.json) writeFileSync(values.json, `${JSON.stringify(table, undefined, 2)}\n`);
if (table.some(({ violations }) => violations > 0)) process.exitCode = 1;
else if (table.some(({ verdict }) => verdict !== 'ok')) process.exitCode = 3;
