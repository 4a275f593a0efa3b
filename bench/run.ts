// Runs the benches against their rivals, by turns, and prints figures, ratios and targets.
//
//   npm run bench                        all, five rounds each
//   npm run bench -- --only ask          those whose name has `ask` in it
//   npm run bench -- --group native      the core in C++ (js: JavaScript, process: inside one,
//                                        fabric: trees of processes; `bench -- fabric` is the same)
//   npm run bench -- --placement 2cores  another one than each bench has: 1core, 2cores, free
//   npm run bench -- --pairs 1 --scale 0.01 --json
//   npm run bench -- --markdown docs/performance.md    and writes the tables there
//   npm run bench -- fabric --markdown docs/performance.md    that of the trees alone
//   npm run bench -- fleet --agents 10000    a tree of so many agents, with a guard
//   npm run bench -- --minutes 10        at full rate for so long, then the ledger
//   npm run bench -- metrics             what measuring costs, on against off; 10,000 agents
//
// A bench of ours that loses or reorders a message fails; nothing here asserts a speed.
import { optionsOf } from '../scripts/options.mjs';
import { cases, leftOut } from './cases.js';
import { fabricCases } from './fabric-cases.js';
import { runFleet } from './fleet.js';
import { inProcessCases } from './in-process-cases.js';
import type { Case } from './lib/case.js';
import type { Placement } from './lib/children.js';
import { describe, describeMachine } from './lib/machine.js';
import { measure, type Row } from './lib/measure.js';
import { buildNative, missing } from './lib/native.js';
import { render } from './lib/print.js';
import { toJson, toMarkdown, updateSection } from './lib/report.js';
import { benchMetrics } from './metrics.js';
import { nativeCases } from './native-cases.js';
import { printLedger, soak } from './soak.js';

const { values, positionals } = optionsOf(import.meta.url, {
  allowPositionals: true,
  options: {
    pairs: { type: 'string', default: '5' },
    scale: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    group: { type: 'string', default: 'js,native,process,fabric' },
    placement: { type: 'string' },
    minutes: { type: 'string' },
    agents: { type: 'string', default: '1000' },
    markdown: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const progress = (text: string) => process.stderr.write(text);
const print = (text: string) => {
  if (!values.json) console.log(text);
};

const rounds = positive('pairs', values.pairs);
const scale = positive('scale', values.scale);
const placement = placementOf(values.placement);
const machine = describeMachine();
print(describe(machine));

if (positionals.includes('fleet')) {
  await runFleet(positive('agents', values.agents), values.json, print);
} else if (positionals.includes('metrics')) {
  await benchMetrics({ runs: rounds, scale, json: values.json }, machine, progress);
} else if (values.minutes === undefined) await runCases();
else await runSoak(positive('minutes', values.minutes));

async function runCases(): Promise<void> {
  print(`${rounds} interleaved rounds\n`);
  const rows: Row[] = [];
  for (const bench of chosen()) {
    progress(`${bench.name} (${bench.placement}) `);
    const row = await measure(bench, rounds, () => progress('.'));
    progress('\n');
    rows.push(row);
    print(`${render(row)}\n`);
  }
  if (values.json) console.log(JSON.stringify(toJson(machine, rows)));
  if (values.markdown) writeTables(values.markdown, rows);
}

// Trees of processes have a table of their own.
function writeTables(file: string, rows: readonly Row[]): void {
  const trees = rows.filter(({ name }) => name.startsWith('fabric, '));
  const others = rows.filter((row) => !trees.includes(row));
  if (others.length > 0) updateSection(file, 'bench', toMarkdown(machine, others, rounds));
  if (trees.length > 0) updateSection(file, 'fabric', toMarkdown(machine, trees, rounds));
}

function chosen(): Case[] {
  const groups = positionals.length > 0 ? positionals : values.group.split(',');
  const all: Case[] = [];
  if (groups.includes('native') || groups.includes('fabric')) {
    const reason = buildNative();
    const left = reason ?? missing('boost_mq');
    if (left !== undefined) progress(`${left}\n`);
    if (reason === undefined && groups.includes('native')) {
      all.push(...nativeCases(scale, placement));
    }
  }
  if (groups.includes('js')) {
    for (const reason of leftOut()) progress(`${reason}\n`);
    all.push(...cases(scale, placement));
  }
  if (groups.includes('process')) all.push(...inProcessCases(scale));
  if (groups.includes('fabric')) all.push(...fabricCases(scale));
  return all.filter(({ name }) => name.includes(values.only));
}

async function runSoak(minutes: number): Promise<void> {
  const ledger = await soak(minutes, progress);
  if (values.json) console.log(JSON.stringify({ v: 1, machine, ledger }));
  else printLedger(ledger);
  if (ledger.difference !== 0) process.exitCode = 1;
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} is a number above 0`);
  return value;
}

function placementOf(text: string | undefined): Placement | undefined {
  if (text === undefined || text === '1core' || text === '2cores' || text === 'free') return text;
  throw new Error('--placement is 1core, 2cores or free');
}
