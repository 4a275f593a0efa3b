import { type Command, InvalidArgumentError } from 'commander';
import { Fabric } from '../index.js';
import { analyze, Exporter, type MetricStatistics } from '../metrics/index.js';
import { analyzeLive } from './metrics-live.js';
import { serveVerb } from './metrics-serve.js';
import { fabricOption, jsonOption, parseCount, parseDuration, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, warn, writeJson, writeOut } from './terminal.js';
import { stripLine, table } from './text.js';

interface MetricsFlags {
  fabric: string;
  window?: number;
  by?: string;
  metric?: string[];
  json?: boolean;
}

interface ExportFlags {
  fabric: string;
  out: string;
  interval?: number;
  maxSize?: number;
  keep?: number;
  gzip?: boolean;
  retention?: number;
}

export function metricsVerb(): Command {
  return verb('metrics', 'say what was measured: count, average, percentiles, rate')
    .argument('[files...]', 'of `cfc metrics export`, or of its predecessor; - reads stdin')
    .addOption(fabricOption())
    .option('--window <time>', 'only the last of it, as 5m', parseDuration)
    .option('--by <tag>', 'split each metric by a tag: agent, role, team, …')
    .option('--metric <name...>', 'only these')
    .addOption(jsonOption())
    .addHelpText('after', metricsHelp)
    .action(metrics)
    .addCommand(exportVerb())
    .addCommand(serveVerb());
}

const metricsHelp = `
Without files it looks at a fabric that runs: counters since it began, gauges as they are now, one
value an agent. Shared memory has no past: with a --window that is shorter than the fabric is old it
watches for so long from now on. Ctrl-C ends that early. What was, the files of an exporter know.

  cfc metrics --metric coordination.time --by agent metrics.jsonl metrics.jsonl.1`;

async function metrics(files: string[], flags: MetricsFlags): Promise<void> {
  const options = {
    ...(flags.window === undefined ? {} : { windowMs: flags.window }),
    ...(flags.by === undefined ? {} : { by: flags.by }),
    ...(flags.metric === undefined ? {} : { metrics: flags.metric }),
  };
  const { analysis, interrupted } =
    files.length > 0
      ? { analysis: await analyze(files, options), interrupted: false }
      : await analyzeLive(flags.fabric, options);
  if (analysis.skipped > 0) warn(`cfc: ${analysis.skipped} lines are no record\n`);
  if (flags.json) {
    const { window, metrics: rows } = analysis;
    await writeJson({ v: 1, window, metrics: rows });
  } else {
    await writeOut(tableOf(analysis.metrics));
  }
  if (interrupted) throw new Outcome(exitCodes.interrupted);
}

function tableOf(rows: readonly MetricStatistics[]): string {
  const tagged = rows.some(({ tag }) => tag !== undefined);
  const heads = ['METRIC', 'UNIT', 'COUNT', 'AVG', 'MIN', 'MAX', 'P50', 'P95', 'P99', 'RATE/S'];
  return table(
    tagged ? ['METRIC', 'TAG', ...heads.slice(1)] : heads,
    rows.map((row) => {
      const { metric, unit, count, avg, min, max, p50, p95, p99, rate } = row;
      const numbers = [count, avg, min, max, p50, p95, p99, rate].map(short);
      const tag = tagged ? [stripLine(row.tag ?? '')] : [];
      return [stripLine(metric), ...tag, stripLine(unit), ...numbers];
    }),
  );
}

// Four digits are more than two measurements agree in.
function short(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  return String(Number(value.toPrecision(4)));
}

function exportVerb(): Command {
  return verb('export', 'write what is measured to a file, a record a line, until it is stopped')
    .requiredOption('--out <file>', 'where to')
    .addOption(fabricOption())
    .option('--interval <time>', 'how often (default: 5s)', parseDuration)
    .option('--max-size <bytes>', 'put the file away when it is so large (default: 10M)', parseSize)
    .option('--keep <n>', 'files put away that are kept (default: 5)', parseCount(0, 1000))
    .option('--gzip', 'compress all of those but the newest')
    .option('--retention <time>', 'remove those that are older (default: 48h)', parseDuration)
    .addHelpText('after', exportHelp)
    .action(exportMetrics);
}

const exportHelp = `
Sums over all lines are exact, also when it is killed and started again with the same file. Where
the disk is full it goes on, and counts what was lost in a record metrics.lost. logrotate may rename
the file at any time.`;

async function exportMetrics(flags: ExportFlags): Promise<void> {
  const fabric = await Fabric.open(flags.fabric);
  const { out: file, interval: intervalMs, maxSize: maxBytes, keep, retention } = flags;
  const exporter = new Exporter(fabric, {
    file,
    ...(intervalMs === undefined ? {} : { intervalMs }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(keep === undefined ? {} : { keep }),
    ...(retention === undefined ? {} : { retentionMs: retention }),
    gzip: flags.gzip ?? false,
    onProblem: (problem) =>
      warn(`cfc: ${problem === undefined ? `${file}: written again` : problem.message}\n`),
  });
  let signal: NodeJS.Signals = 'SIGTERM';
  try {
    await exporter.start();
    say(`cfc metrics ${file}`);
    signal = await untilStopped(fabric);
  } finally {
    await exporter.stop();
    await fabric.close();
  }
  if (exporter.problem !== undefined) throw exporter.problem;
  if (signal === 'SIGINT') throw new Outcome(exitCodes.interrupted);
}

const lookEveryMs = 1000;

/** @throws {CfcError} `ERR_CFC_FABRIC_REMOVED` */
function untilStopped(fabric: Fabric): Promise<NodeJS.Signals> {
  return new Promise<NodeJS.Signals>((resolve, reject) => {
    const timer = setInterval(() => {
      try {
        fabric.check();
      } catch (error) {
        clearInterval(timer);
        reject(error);
      }
    }, lookEveryMs);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => {
        clearInterval(timer);
        resolve(signal);
      });
    }
  });
}

/** `10M`, `500k`, `1G`; a bare number is bytes. */
function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kMG])?B?$/.exec(text.trim());
  if (match === null) throw new InvalidArgumentError('A size is a number with k, M or G.');
  const scale = { k: 1e3, M: 1e6, G: 1e9 }[match[2] ?? ''] ?? 1;
  const bytes = Number(match[1]) * scale;
  if (bytes < 1) throw new InvalidArgumentError('A size is at least a byte.');
  return bytes;
}
