import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import {
  AlertFiles,
  AlertmanagerSink,
  type AlertRecord,
  type AlertSink,
  AlertWatch,
  CommandSink,
  Fabric,
  FileSource,
  RecordSink,
  Redactor,
  readHeartbeat,
  timesFrom,
  WebhookSink,
} from '../index.js';
import { filesFor, readRules, rulesOption, stateOption } from './alerts.js';
import { findCommand } from './find-command.js';
import { LiveSource } from './live-source.js';
import { fabricOption, jsonOption, parseDuration, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { jsonLine, say, warn, whenOutputCloses } from './terminal.js';
import { stripLine } from './text.js';

interface WatchFlags {
  fabric: string;
  file?: string;
  rules?: string;
  state?: string;
  interval?: number;
  out?: string;
  webhook?: string[];
  alertmanager?: string[];
  tokenFile?: string;
  quiet?: boolean;
  json?: boolean;
}

export function watchVerb(): Command {
  return verb('watch', 'evaluate again and again, and tell')
    .argument('[command...]', 'a program for each notification, which it reads on stdin as JSON')
    .addOption(fabricOption())
    .option('--file <file>', 'a file of metrics that grows, instead of a fabric')
    .addOption(rulesOption())
    .addOption(stateOption())
    .addOption(new Option('--interval <time>', 'how often (default: 30s)').argParser(parseDuration))
    .option('--out <file>', 'append each alert here too, as a line of JSON')
    .option('--webhook <url...>', 'post each notification there')
    .option('--alertmanager <url...>', 'keep a Prometheus Alertmanager told')
    .option('--token-file <file>', 'a bearer token for webhooks and Alertmanagers')
    .option('--quiet', 'tell nothing on stderr')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
  cfc alerts watch --alertmanager http://127.0.0.1:9093
  cfc alerts watch --rules night.yaml -- notify-send cfc

It runs until it is interrupted or told to end (SIGTERM), and exits 0. Once a watch was there,
\`cfc alerts list\`, \`summary\` and \`check\` say when it is dead.`,
    )
    .action(watch);
}

async function watch(command: string[], flags: WatchFlags): Promise<void> {
  const { rules, inhibitions, silences } = readRules(flags.rules);
  const intervalMs = flags.interval ?? timesFrom(process.env).intervalMs;
  if (!(intervalMs >= 50)) throw new Outcome(exitCodes.usage, '--interval is at least 50ms');
  const files = filesFor(flags);
  const redactor = new Redactor();
  const labels: Record<string, string> = flags.file === undefined ? { fabric: flags.fabric } : {};
  // A name that never was is a slip of the pen; one that was is a fabric that is down.
  const isNew = readHeartbeat(files.heartbeat, Date.now()).state === 'never';
  if (flags.file === undefined && isNew) await (await Fabric.open(flags.fabric)).close();
  const tell = (line: string) => warn(`cfc: ${stripLine(redactor.text(line))}\n`);
  const daemon = new AlertWatch({
    rules,
    inhibitions,
    silences,
    labels,
    intervalMs,
    redactor,
    files,
    tell,
    notifier: { groupIntervalMs: Math.min(15_000, intervalMs / 2) },
    source: flags.file === undefined ? new LiveSource(flags.fabric) : new FileSource(flags.file),
    sinks: sinksFor(command, flags, { files, redactor, tell, labels, intervalMs }),
  });
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  whenOutputCloses(() => stop.abort());
  say(`watching every ${intervalMs / 1000} s; its state lies in ${files.directory}`);
  await daemon.run(stop.signal);
}

interface Surroundings {
  files: AlertFiles;
  redactor: Redactor;
  tell: (line: string) => void;
  labels: Record<string, string>;
  intervalMs: number;
}

function sinksFor(command: string[], flags: WatchFlags, around: Surroundings): AlertSink[] {
  const { files, redactor, tell, labels, intervalMs } = around;
  const token = flags.tokenFile === undefined ? undefined : readToken(flags.tokenFile);
  const withToken = token === undefined ? {} : { token };
  const sinks: AlertSink[] = [];
  const lines = (name: string, write: (record: AlertRecord) => void) =>
    sinks.push(new RecordSink(name, redactor, write, tell));
  if (flags.json) lines('stdout', (record) => process.stdout.write(jsonLine(record)));
  if (!flags.quiet) lines('stderr', (record) => warn(`${lineOf(record)}\n`));
  if (flags.out !== undefined) {
    const history = AlertFiles.openLog(flags.out);
    lines(flags.out, (record) => history.append(record, Date.now()));
  }
  if (command.length > 0) {
    const [program, ...words] = command as [string];
    const found = [findCommand(program), ...words];
    const path = files.queue('command', JSON.stringify(found));
    sinks.push(new CommandSink({ command: found, path, redactor, tell }));
  }
  for (const url of (flags.webhook ?? []).map(checkedUrl)) {
    const path = files.queue('webhook', url);
    sinks.push(new WebhookSink({ url, path, redactor, tell, ...withToken }));
  }
  for (const url of (flags.alertmanager ?? []).map(checkedUrl)) {
    const path = files.queue('alertmanager', url);
    const options = { url, path, redactor, tell, intervalMs, ...withToken };
    sinks.push(new AlertmanagerSink(options).withLabels(labels));
  }
  return sinks;
}

function lineOf({ timestamp, alert, severity, message, metadata }: AlertRecord): string {
  return stripLine(`${timestamp} ${metadata.state} ${severity} ${alert}: ${message}`);
}

function checkedUrl(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  throw new Outcome(exitCodes.usage, 'an address is http://… or https://…');
}

export function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new Outcome(exitCodes.failed, `the token cannot be read: ${(error as Error).message}`);
  }
}
