import { type Command, Option } from 'commander';
import { type Comparison, compare, describeMachine, type Result } from './bench/compare.js';
import { jsonOption, verb } from './options.js';
import { say, warn, writeJson, writeOut } from './terminal.js';
import { table } from './text.js';

interface BenchFlags {
  compare?: 'file-ipc';
  quick?: boolean;
  json?: boolean;
}

export function benchVerb(): Command {
  return verb('bench', 'measure messages between two processes on this machine')
    .addOption(
      new Option('--compare <rival>', 'and the same as files in a directory').choices(['file-ipc']),
    )
    .option('--quick', 'a tenth of the messages, one run: to see that it works')
    .addOption(jsonOption())
    .action(bench);
}

async function bench(flags: BenchFlags): Promise<void> {
  const machine = describeMachine();
  const { results, ratios, leftOut } = await compare({
    fileIpc: flags.compare === 'file-ipc',
    runs: flags.quick ? 1 : 3,
    scale: flags.quick ? 0.1 : 1,
    say,
  });
  for (const line of leftOut) warn(`cfc: ${line}\n`);
  if (flags.json || !process.stdout.isTTY) {
    await writeJson({ v: 1, machine, results, ratios });
    return;
  }
  const { cpu, cpus, kernel, node, load } = machine;
  await writeOut(`${cpu}, ${cpus} CPUs, Linux ${kernel}, Node ${node}, load ${load}\n\n`);
  await writeOut(describe({ results, ratios, leftOut }));
  if (!flags.compare) say('cfc bench --compare file-ipc');
}

function describe({ results, ratios }: Comparison): string {
  const rows = results.map((result) => [result.name, figureOf(result), tailOf(result)]);
  const lines = ratios.map(({ name, against, ratio }) => {
    const times = ratio >= 1 ? `${short(ratio)} times` : `1/${short(1 / ratio)} of`;
    return `${name}: ${times} ${against}`;
  });
  return `${table(['WHAT', 'MEDIAN', ''], rows)}${lines.length > 0 ? `\n${lines.join('\n')}\n` : ''}`;
}

function figureOf({ median, unit }: Result): string {
  return unit === 'us' ? `${short(median)} us` : `${short(median)} ${unit}`;
}

function tailOf({ p99, unit, sent, lost }: Result): string {
  const tail = unit === 'us' ? `p99 ${short(p99)} us` : '';
  return lost === 0 ? tail : `${tail} lost ${((100 * lost) / sent).toFixed(1)} %`.trim();
}

function short(value: number): string {
  if (value < 100) return value.toPrecision(2);
  return Math.round(value).toLocaleString('en');
}
