import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  type ActiveAlert,
  AlertEngine,
  AlertFiles,
  type AlertFilter,
  type AlertRuleProblem,
  type AlertRules,
  CfcError,
  FileSource,
  loadAlertRules,
  Redactor,
  readAlertHistory,
  readHeartbeat,
  SilenceFiles,
  severities,
  summarizeAlerts,
  type WatchStatus,
} from '../index.js';
import { watchVerb } from './alerts-watch.js';
import { LiveSource } from './live-source.js';
import { fabricOption, jsonOption, parseDuration, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, warn, writeJson, writeOut } from './terminal.js';
import { stripLine, table } from './text.js';

export const rulesOption = () => new Option('--rules <file>', 'rules of your own, in YAML');
export const stateOption = () =>
  new Option('--state <dir>', 'where the watch keeps its state (default: by the fabric)');

export function alertsVerb(): Command {
  return verb('alerts', 'say when a threshold is passed: check, watch, list, summary')
    .addCommand(checkVerb())
    .addCommand(watchVerb())
    .addCommand(listVerb())
    .addCommand(summaryVerb())
    .addCommand(silenceVerb())
    .addCommand(rulesVerb());
}

export const filesFor = ({ fabric, state }: { fabric: string; state?: string }): AlertFiles =>
  state === undefined ? AlertFiles.of(fabric) : new AlertFiles(state);

/** @throws {Outcome} with a line for each problem, as compilers write them */
export function readRules(path: string | undefined): AlertRules {
  try {
    return loadAlertRules(path);
  } catch (error) {
    if (!(error instanceof CfcError) || error.code !== 'ERR_CFC_ALERT_RULE') throw error;
    const problems = (error.details.problems as AlertRuleProblem[]).map(
      ({ line, column, message }) =>
        line === 0 ? message : `${path}:${line}:${column}: ${message}`,
    );
    throw new Outcome(exitCodes.failed, `${problems.join('\n     ')} (${error.code})`);
  }
}

/** Says on stderr, whoever looks, that the watch is dead. */
export function warnOfDeadWatch(status: WatchStatus): void {
  if (status.state !== 'dead') return;
  const since = status.lastBeatAtMs === undefined ? 'long ago' : isoTime(status.lastBeatAtMs);
  warn(`cfc: the watch of alerts is dead; its last sign of life was ${since}\n`);
}

export function shapeOfWatch(status: WatchStatus): Record<string, unknown> {
  const { state, pid, lastBeatAtMs, intervalMs, evaluations, failures } = status;
  const lastBeatAt = lastBeatAtMs === undefined ? undefined : isoTime(lastBeatAtMs);
  return { state, pid, lastBeatAt, intervalMs, evaluations, failures };
}

const isoTime = (ms: number) => new Date(ms).toISOString();

export function shapeOfActive(alert: ActiveAlert, redactor: Redactor): Record<string, unknown> {
  const { alert: name, state, severity, labels, value, threshold, message } = alert;
  const at = (ms: number | undefined) => (ms === undefined ? undefined : isoTime(ms));
  return {
    alert: name,
    state,
    severity,
    labels: redactor.labels(labels),
    value,
    threshold,
    message: redactor.text(message),
    startsAt: at(alert.startsAtMs),
    endsAt: at(alert.endsAtMs),
    mutedBy: alert.mutedBy,
  };
}

// ---- check

interface CheckFlags {
  fabric: string;
  file?: string;
  rules?: string;
  state?: string;
  sample: number;
  json?: boolean;
}

function checkVerb(): Command {
  return verb('check', 'evaluate once: exit 1 where something fires')
    .addOption(fabricOption())
    .option('--file <file>', 'a file of metrics, as of its last record, instead of a fabric')
    .addOption(rulesOption())
    .addOption(stateOption())
    .addOption(
      new Option('--sample <time>', 'how long a look at the fabric takes')
        .argParser(parseDuration)
        .default(1000, '1s'),
    )
    .addOption(jsonOption())
    .action(check);
}

async function check(flags: CheckFlags): Promise<void> {
  const { rules, inhibitions, silences } = readRules(flags.rules);
  const files = filesFor(flags);
  const watch = readHeartbeat(files.heartbeat, Date.now());
  const labels: Record<string, string> = flags.file === undefined ? { fabric: flags.fabric } : {};
  const engine = new AlertEngine({ rules, inhibitions, labels });
  engine.silences = [...silences, ...new SilenceFiles(files.silences).read(Date.now())];
  if (flags.file === undefined) await lookAt(flags.fabric, flags.sample, engine);
  else evaluateFile(flags.file, engine);
  const active = engine.active().filter(({ state }) => state === 'firing' || state === 'pending');
  const firing = active.filter(({ state, mutedBy }) => state === 'firing' && !mutedBy).length;
  const redactor = new Redactor();
  if (flags.json) {
    const alerts = active.map((alert) => shapeOfActive(alert, redactor));
    const ok = firing === 0 && watch.state !== 'dead';
    await writeJson({ v: 1, fabric: flags.fabric, ok, firing, alerts, watch: shapeOfWatch(watch) });
  } else if (active.length > 0) {
    await writeOut(tableOf(active, redactor));
  }
  warnOfDeadWatch(watch);
  if (firing > 0 || watch.state === 'dead') throw new Outcome(exitCodes.failed);
  say('nothing fires');
}

async function lookAt(fabric: string, sampleMs: number, engine: AlertEngine): Promise<void> {
  const source = new LiveSource(fabric);
  try {
    engine.observe(await source.read(Date.now()), Date.now());
    await new Promise((resolve) => setTimeout(resolve, sampleMs));
    engine.observe(await source.read(Date.now()), Date.now());
    engine.evaluate(Date.now());
  } finally {
    source.close();
  }
}

// By the time of its last record: a file of yesterday is judged as of yesterday. The first pass finds
// that time, so that the second one keeps no more than a window.
function evaluateFile(path: string, engine: AlertEngine): void {
  let lastMs = -Infinity;
  const first = new FileSource(path);
  for (const { timestamp } of first.read()) lastMs = Math.max(lastMs, Date.parse(timestamp) || 0);
  first.close();
  if (first.unreadable > 0) warn(`cfc: ${first.unreadable} lines are no record\n`);
  if (lastMs === -Infinity) return;
  const second = new FileSource(path);
  engine.observe(second.read(), lastMs);
  second.close();
  engine.evaluate(lastMs);
}

// ---- list and summary

interface ListFlags {
  fabric: string;
  state?: string;
  severity?: AlertFilter['severity'];
  name?: string;
  since?: number;
  until?: number;
  resolved?: boolean;
  json?: boolean;
}

function listVerb(): Command {
  return verb('list', 'what was told in the last 24 hours, oldest first')
    .addOption(fabricOption())
    .addOption(stateOption())
    .addOption(new Option('--severity <severity>', 'only these').choices(severities))
    .option('--name <alert>', 'only this alert')
    .option('--since <time>', 'from that long ago on, or from that time on', parsePast)
    .option('--until <time>', 'up to that long ago, or to that time', parsePast)
    .addOption(jsonOption())
    .action(list);
}

async function list(flags: ListFlags): Promise<void> {
  const files = filesFor(flags);
  const { severity, name, since: sinceMs, until: untilMs } = flags;
  const filter = { severity, name, sinceMs, untilMs } as AlertFilter;
  const { records, unreadable } = await readAlertHistory(files.history, filter);
  const watch = readHeartbeat(files.heartbeat, Date.now());
  if (flags.json) {
    await writeJson({ v: 1, fabric: flags.fabric, alerts: records, watch: shapeOfWatch(watch) });
  } else {
    const rows = records.map(({ timestamp, alert, severity: how, message, metadata }) => [
      timestamp,
      stripLine(alert),
      String(metadata.state ?? 'firing'),
      how,
      stripLine(message),
    ]);
    if (rows.length > 0) {
      await writeOut(table(['TIME', 'ALERT', 'STATE', 'SEVERITY', 'MESSAGE'], rows));
    } else
      say(watch.state === 'never' ? 'nobody watched yet: cfc alerts watch' : 'nothing was told');
  }
  if (unreadable > 0) warn(`cfc: ${unreadable} lines of ${files.history} are no record\n`);
  warnOfDeadWatch(watch);
}

function summaryVerb(): Command {
  return verb('summary', 'how often each alert was told of')
    .addOption(fabricOption())
    .addOption(stateOption())
    .addOption(
      new Option('--window <time>', 'how far back')
        .argParser(parseDuration)
        .default(3_600_000, '60m'),
    )
    .addOption(jsonOption())
    .action(summary);
}

async function summary(flags: { fabric: string; state?: string; window: number; json?: boolean }) {
  const files = filesFor(flags);
  const nowMs = Date.now();
  const filter = { sinceMs: nowMs - flags.window };
  const { records } = await readAlertHistory(files.history, filter);
  const watch = readHeartbeat(files.heartbeat, nowMs);
  const { total, resolved, bySeverity, byAlert } = summarizeAlerts(records);
  if (flags.json) {
    const window = { from: isoTime(filter.sinceMs), to: isoTime(nowMs), ms: flags.window };
    const counts = { total, resolved, bySeverity, byAlert };
    await writeJson({ v: 1, fabric: flags.fabric, window, ...counts, watch: shapeOfWatch(watch) });
  } else if (byAlert.length > 0) {
    const rows = byAlert.map(({ alert, severity, count, resolved: ended, firstAt, lastAt }) => {
      return [stripLine(alert), severity, String(count), String(ended), firstAt, lastAt];
    });
    await writeOut(table(['ALERT', 'SEVERITY', 'FIRED', 'RESOLVED', 'FIRST', 'LAST'], rows));
  } else {
    say('nothing was told');
  }
  warnOfDeadWatch(watch);
}

// ---- silence and rules

interface SilenceFlags {
  fabric: string;
  state?: string;
  for?: number;
  label?: string[];
  comment?: string;
  end?: string;
  json?: boolean;
}

function silenceVerb(): Command {
  return verb('silence', 'tell nothing of an alert for a time; without a name: which silences hold')
    .argument('[alert]', 'its name; * for all')
    .addOption(fabricOption())
    .addOption(stateOption())
    .option('--for <time>', 'how long (default: 1h)', parseDuration)
    .option('--label <name=value...>', 'only where it has these labels')
    .option('--comment <text>', 'why')
    .option('--end <id>', 'end a silence before its time')
    .addOption(jsonOption())
    .action(silence);
}

async function silence(alert: string | undefined, flags: SilenceFlags): Promise<void> {
  const files = new SilenceFiles(filesFor(flags).silences);
  const nowMs = Date.now();
  if (flags.end !== undefined) {
    if (!files.end(flags.end, nowMs))
      throw new Outcome(exitCodes.failed, `no silence ${flags.end}`);
    return;
  }
  if (alert !== undefined) {
    const labels = Object.fromEntries((flags.label ?? []).map(parseLabel));
    const untilMs = nowMs + (flags.for ?? 3_600_000);
    const comment = flags.comment ?? '';
    const made = files.add({ alert, labels, fromMs: nowMs, untilMs, comment });
    say(`cfc alerts silence --end ${made.id}`);
  }
  const silences = files.read(nowMs).map(({ fromMs, untilMs, ...rest }) => {
    return { ...rest, from: isoTime(fromMs), until: isoTime(untilMs) };
  });
  if (flags.json) await writeJson({ v: 1, silences });
  else if (silences.length > 0) {
    const rows = silences.map(({ id, alert: name, labels, until, comment }) => {
      const shown = Object.entries(labels).map(([label, value]) => `${label}=${value}`);
      return [id, stripLine(name), stripLine(shown.join(' ')), until, stripLine(comment)];
    });
    await writeOut(table(['ID', 'ALERT', 'LABELS', 'UNTIL', 'COMMENT'], rows));
  }
}

function rulesVerb(): Command {
  return verb('rules', 'the rules that hold, or what is wrong with a file of them')
    .addOption(rulesOption())
    .addOption(jsonOption())
    .action(showRules);
}

async function showRules(flags: { rules?: string; json?: boolean }): Promise<void> {
  const { rules } = readRules(flags.rules);
  if (flags.json) return await writeJson({ v: 1, rules });
  const rows = rules.map((rule) => [
    rule.name,
    rule.severity,
    `${rule.statistic} of ${rule.metric} ${rule.comparison} ${rule.threshold}`,
    `${rule.windowMs / 1000} s`,
  ]);
  await writeOut(table(['ALERT', 'SEVERITY', 'FIRES', 'WINDOW'], rows));
}

// -----------------------------------------------------------------------------

function tableOf(alerts: readonly ActiveAlert[], redactor: Redactor): string {
  const rows = alerts.map((alert) => [
    stripLine(alert.alert),
    alert.mutedBy === undefined ? alert.state : `${alert.state}, muted`,
    alert.severity,
    stripLine(redactor.text(alert.message)),
  ]);
  return table(['ALERT', 'STATE', 'SEVERITY', 'MESSAGE'], rows);
}

/** `1h` ago, or a time. @returns milliseconds since the epoch */
function parsePast(text: string): number {
  const at = Date.parse(text);
  if (/^\d{4}-/.test(text) && !Number.isNaN(at)) return at;
  try {
    return Date.now() - parseDuration(text);
  } catch {
    throw new InvalidArgumentError(
      'It is a time such as 2026-01-31T12:00:00Z, or an age such as 1h.',
    );
  }
}

function parseLabel(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new Outcome(exitCodes.usage, `${text} is no label: write name=value`);
}
