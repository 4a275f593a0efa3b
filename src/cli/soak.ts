import { spawn } from 'node:child_process';
import { openSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { jsonOption, parseCount, parseDuration, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { SoakRun } from './soak/master.js';
import { append, lengthOf, readRecord, type SoakOptions, samplesFileOf } from './soak/record.js';
import { eightHoursMs, makeReport, type SoakReport } from './soak/report.js';
import { say, writeJson, writeOut } from './terminal.js';
import { table } from './text.js';

interface SoakFlags {
  duration: number;
  report: string;
  every?: number;
  horizon: number;
  rate: number;
  restartEvery: number;
  detach?: boolean;
  resume?: boolean;
  json?: boolean;
}

const mostWarmUpMs = 600_000;
const crew = { senders: 2, receivers: 2 };

export function soakVerb(): Command {
  return verb('soak', 'run a fabric under load for long, and judge what grows')
    .addOption(
      new Option('--duration <time>', 'how long')
        .argParser(parseDuration)
        .default(eightHoursMs, '8h'),
    )
    .requiredOption('--report <file>', 'where the report goes, and beside it the samples')
    .option(
      '--every <time>',
      'how often to sample (default: a thousandth of it, from 1s)',
      parseDuration,
    )
    .addOption(
      new Option('--horizon <time>', 'how far ahead growth is reckoned')
        .argParser(parseDuration)
        .default(eightHoursMs, '8h'),
    )
    .option('--rate <n>', 'messages a second', parseCount(1, 1_000_000), 1000)
    .addOption(
      new Option('--restart-every <time>', 'how often an agent is killed, at a sample')
        .argParser(parseDuration)
        .default(30_000, '30s'),
    )
    .option('--detach', 'in the background; its words go to FILE.log')
    .option('--resume', 'go on with one that was stopped or killed')
    .addOption(jsonOption())
    .action(soak);
}

async function soak(flags: SoakFlags): Promise<void> {
  const report = resolve(flags.report);
  const file = samplesFileOf(report);
  const before = readRecord(file);
  if (before === undefined && flags.resume) {
    throw new Outcome(exitCodes.usage, `there is nothing to resume: no ${file}`);
  }
  if (before !== undefined && !flags.resume) {
    throw new Outcome(exitCodes.usage, `${file} is there already`, 'add --resume, or remove it');
  }
  if (flags.detach) {
    detach(report);
    return;
  }
  const options = before?.options ?? optionsOf(flags);
  if (before === undefined) {
    append(file, { kind: 'soak', v: 1, at: new Date().toISOString(), options });
  }
  // What a killed one left in shared memory; its processes ended with it.
  for (const { dir } of before?.runs ?? []) rmSync(dir, { recursive: true, force: true });
  const done = (before?.runs ?? []).reduce((sum, run) => sum + lengthOf(run), 0);
  const left = options.durationMs - done;
  let stopped = false;
  const stop = () => {
    stopped = true;
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop);
  if (left > 0) await new SoakRun(options, file).run(left, () => stopped, say);
  const made = makeReport(options, readRecord(file)?.runs ?? []);
  writeFileSync(report, `${JSON.stringify(made)}\n`, { mode: 0o600 });
  if (flags.json || !process.stdout.isTTY) {
    const { raw, ...rest } = made;
    await writeJson(rest);
  } else await writeOut(describe(made));
  if (stopped) throw new Outcome(exitCodes.interrupted, 'stopped early; --resume goes on');
  if (made.verdict !== 'pass') throw new Outcome(exitCodes.failed);
}

function optionsOf(flags: SoakFlags): SoakOptions {
  const { duration: durationMs, horizon: horizonMs, rate: perSecond } = flags;
  const everyMs = flags.every ?? Math.max(1000, durationMs / 1000);
  const warmUpMs = Math.min(mostWarmUpMs, durationMs / 6);
  const restartEveryMs = flags.restartEvery;
  return { durationMs, warmUpMs, everyMs, horizonMs, perSecond, ...crew, restartEveryMs };
}

// The same command once more, without the word that brought us here.
function detach(report: string): void {
  const words = process.argv.slice(1).filter((word) => word !== '--detach');
  const log = openSync(`${report}.log`, 'a', 0o600);
  const child = spawn(process.execPath, words, { detached: true, stdio: ['ignore', log, log] });
  child.unref();
  process.stdout.write(`${child.pid}\n`);
}

function describe(report: SoakReport): string {
  const percent = (share: number | null) => (share === null ? '' : `${(100 * share).toFixed(1)} %`);
  const rows = Object.entries(report.series).flatMap(([role, judged]) =>
    Object.entries(judged).map(([measure, one]) => [
      ...[role, measure, one.baseline === null ? '' : String(Math.round(one.baseline))],
      ...[percent(one.growth), percent(one.growthHigh), one.verdict],
    ]),
  );
  const { accepted, difference } = report.ledger;
  const because = report.because.map((why) => `  ${why}\n`).join('');
  const heads = ['ROLE', 'WHAT', 'BASELINE', 'GROWTH', 'AT MOST', 'VERDICT'];
  return `${table(heads, rows)}
${accepted} messages accepted in ${Math.round(report.durationMs / 1000)} s, ${difference} of them missing
${report.verdict}
${because}`;
}
