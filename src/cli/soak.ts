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
  pace: number;
  rate?: number;
  restartEvery?: number;
  detach?: boolean;
  resume?: boolean;
  json?: boolean;
}

const parsePace = parseCount(1, 1000);
const parseRate = parseCount(1, 1_000_000);
const mostWarmUpMs = 600_000;

/** What a busy fabric does at a pace of 1; eight hours of it are the day of report.ts. */
const pace = {
  perSecond: 1000,
  restartMs: 60_000,
  pauseMs: 1000,
  exportMs: 5000,
  evaluateMs: 30_000,
  exportMaxBytes: 10_000_000,
} as const;
/** Of evaluations: how many the condition of the alert holds, and then does not. */
const pulse = 4;
/** However quick the pace. */
const least = { everyMs: 1000, pauseMs: 10, exportMs: 100, evaluateMs: 100, maxBytes: 1_000_000 };

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
    .option('--pace <n>', 'how many times as busy as the day that it stands for', parsePace, 1)
    .option('--rate <n>', 'messages a second (default: 1000 at a pace of 1)', parseRate)
    .option(
      '--restart-every <time>',
      'how often somebody is killed, at a sample (default: 60s at a pace of 1)',
      parseDuration,
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
  const { duration: durationMs, horizon: horizonMs, pace: times } = flags;
  const everyMs = flags.every ?? Math.max(least.everyMs, durationMs / 1000);
  const restartMs = flags.restartEvery ?? pace.restartMs / times;
  const evaluateEveryMs = Math.max(least.evaluateMs, pace.evaluateMs / times);
  return {
    ...{ durationMs, everyMs, horizonMs },
    warmUpMs: Math.min(mostWarmUpMs, durationMs / 6),
    perSecond: flags.rate ?? pace.perSecond * times,
    restartEach: Math.max(1, Math.round(restartMs / everyMs)),
    pauseMs: Math.max(least.pauseMs, pace.pauseMs / times),
    exportEveryMs: Math.max(least.exportMs, pace.exportMs / times),
    exportMaxBytes: Math.max(least.maxBytes, pace.exportMaxBytes / times),
    evaluateEveryMs,
    pulseMs: pulse * evaluateEveryMs,
  };
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
