// Runs the benches against their rivals, alternating, and prints figures, ratios and targets.
//
//   npm run bench                      all, five interleaved pairs each
//   npm run bench -- --only ask        those whose name has `ask` in it
//   npm run bench -- --pairs 1 --scale 0.1 --json
//
// A bench of ours that loses or reorders a message fails; nothing here asserts a speed.
import { parseArgs } from 'node:util';
import { type Case, cases } from './cases.js';
import { describeMachine, loadAverage } from './lib/machine.js';
import { type Ratio, ratioOf, type Summary, summarize } from './lib/statistics.js';

interface Row {
  name: string;
  unit: string;
  placement: string;
  ours: Summary;
  against?: string;
  rival?: Summary;
  ratio?: Ratio;
  ratioP99?: Ratio;
  targetRatio?: number;
  targetRatioP99?: number;
  target?: number;
}

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '5' },
    scale: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
  },
});
const pairs = Number(values.pairs);
const machine = describeMachine();
const progress = (text: string) => process.stderr.write(text);

if (!values.json) {
  const { cpu, cpus, kernel, node, commit } = machine;
  console.log(`${cpu}, ${cpus} CPUs, Linux ${kernel}, Node ${node}, commit ${commit}`);
  console.log(`load ${loadAverage()} at the start, ${pairs} interleaved pairs\n`);
}

const rows: Row[] = [];
for (const bench of cases(Number(values.scale))) {
  if (!bench.name.includes(values.only)) continue;
  const row = await measure(bench);
  rows.push(row);
  if (!values.json) console.log(`${render(row)}\n`);
}
if (values.json) console.log(JSON.stringify(report(rows)));

async function measure(bench: Case): Promise<Row> {
  const ours: number[][] = [];
  const rivals: number[][] = [];
  progress(`${bench.name} (${bench.placement}) `);
  for (let pair = 0; pair < pairs; pair += 1) {
    ours.push(await bench.ours());
    if (bench.rival) rivals.push(await bench.rival.run());
    progress('.');
  }
  progress('\n');
  const row: Row = {
    name: bench.name,
    unit: bench.unit,
    placement: bench.placement,
    ours: summarize(ours.flat()),
  };
  if (bench.rival) {
    const middle = (runs: number[][]) => runs.map((samples) => summarize(samples).median);
    const tail = (runs: number[][]) => runs.map((samples) => summarize(samples).p99);
    row.against = bench.rival.name;
    row.rival = summarize(rivals.flat());
    row.ratio = ratioOf(middle(ours), middle(rivals));
    if (bench.unit === 'us') row.ratioP99 = ratioOf(tail(ours), tail(rivals));
  }
  if (bench.targetRatio !== undefined) row.targetRatio = bench.targetRatio;
  if (bench.targetRatioP99 !== undefined) row.targetRatioP99 = bench.targetRatioP99;
  if (bench.target !== undefined) row.target = bench.target;
  return row;
}

function render(row: Row): string {
  const smaller = row.unit === 'us';
  const lines = [`${row.name} [${row.placement}]`];
  const figures = (summary: Summary) =>
    smaller
      ? `p50 ${show(summary.median)}  p99 ${show(summary.p99)}  p999 ${show(summary.p999)} us`
      : `${show(summary.median)} ${row.unit}`;
  const aim = row.target === undefined ? '' : `   target ${show(row.target)}`;
  lines.push(`  cfc          ${figures(row.ours)}${aim}`);
  if (row.rival && row.ratio) {
    lines.push(`  ${(row.against ?? '').padEnd(12)} ${figures(row.rival)}`);
    lines.push(`  ratio        ${showRatio(row.ratio)}${aimOf(row.targetRatio, smaller)}`);
    if (row.ratioP99) {
      lines.push(`  ratio p99    ${showRatio(row.ratioP99)}${aimOf(row.targetRatioP99, smaller)}`);
    }
  }
  return lines.join('\n');
}

function show(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function showRatio({ median, low, high }: Ratio): string {
  return `${median.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}

function aimOf(target: number | undefined, smaller: boolean): string {
  return target === undefined ? '' : `   target ${smaller ? '<=' : '>='} ${target}`;
}

function report(all: readonly Row[]): unknown {
  return {
    v: 1,
    machine,
    results: all.map(({ name, placement, unit, ours }) => ({
      name: `${name} [${placement}]`,
      unit,
      median: ours.median,
      p99: ours.p99,
      runs: ours.runs,
    })),
    ratios: all.flatMap(({ name, placement, against, ratio, ratioP99 }) =>
      ratio === undefined
        ? []
        : [{ name: `${name} [${placement}]`, against, ratio: ratio.median, bounds: ratio, ratioP99 }],
    ),
  };
}
