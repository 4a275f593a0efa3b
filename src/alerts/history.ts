import {
  closeSync,
  constants,
  createReadStream,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { createInterface } from 'node:readline';
import { type AlertRecord, toAlertRecord } from './alert-record.js';
import { makeRoomFor, replaceFile } from './files.js';
import { type Severity, severities } from './rule.js';

export const alertRetentionMs = 86_400_000;
const maxFileBytes = 10 << 20;
/** How long lines may outstay the retention, so that the file is seldom written anew. */
const pruneEveryMs = 3_600_000;

/**
 * A file of alert records, a line each, that keeps 24 hours and at most 10 MB. One process writes,
 * whole lines only; what a crash tore off is cut away when the next one opens the file.
 */
export class AlertHistory {
  readonly #path: string;
  #prunedAtMs = -Infinity;
  #fd: number;

  constructor(path: string) {
    this.#path = path;
    makeRoomFor(path);
    this.#fd = open(path);
    trimTornLine(this.#fd);
  }

  /** @throws where the line could not be written; nothing of it is in the file then */
  append(record: AlertRecord, nowMs: number): void {
    this.#prune(nowMs);
    const { size } = fstatSync(this.#fd);
    const line = Buffer.from(`${JSON.stringify(record)}\n`);
    try {
      const written = writeSync(this.#fd, line);
      if (written !== line.length) throw new Error('the disk is full');
    } catch (error) {
      ftruncateSync(this.#fd, size);
      throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #prune(nowMs: number): void {
    const { size } = fstatSync(this.#fd);
    if (nowMs - this.#prunedAtMs < pruneEveryMs && size < maxFileBytes) return;
    this.#prunedAtMs = nowMs;
    const lines = readFileSync(this.#path, 'utf8').split('\n').slice(0, -1);
    let kept = lines.filter((line) => timeOf(line) >= nowMs - alertRetentionMs);
    // The newer half, until it fits.
    while (
      kept.length > 1 &&
      kept.reduce((sum, line) => sum + line.length + 1, 0) >= maxFileBytes
    ) {
      kept = kept.slice(Math.ceil(kept.length / 2));
    }
    if (kept.length === lines.length) return;
    replaceFile(this.#path, kept.map((line) => `${line}\n`).join(''));
    closeSync(this.#fd);
    this.#fd = open(this.#path);
  }
}

export interface AlertFilter {
  severity?: Severity;
  /** At least as bad. */
  leastSeverity?: Severity;
  name?: string;
  sinceMs?: number;
  untilMs?: number;
  state?: 'firing' | 'resolved';
}

/** Records of a file that match, oldest first. Lines that are no records are counted. */
export async function readAlertHistory(
  path: string,
  filter: AlertFilter = {},
): Promise<{ records: AlertRecord[]; unreadable: number }> {
  const records: AlertRecord[] = [];
  let unreadable = 0;
  if (!existsSync(path)) return { records, unreadable };
  const lines = createInterface({ input: createReadStream(path), crlfDelay: Infinity });
  for await (const line of lines) {
    if (line === '') continue;
    const record = parse(line);
    if (record === undefined) unreadable += 1;
    else if (passes(record, filter)) records.push(record);
  }
  return { records, unreadable };
}

function passes(record: AlertRecord, filter: AlertFilter): boolean {
  const { severity, leastSeverity, name, sinceMs, untilMs, state } = filter;
  const at = Date.parse(record.timestamp);
  const rank = (one: Severity) => severities.indexOf(one);
  return (
    (severity === undefined || record.severity === severity) &&
    (leastSeverity === undefined || rank(record.severity) >= rank(leastSeverity)) &&
    (name === undefined || record.alert === name) &&
    (sinceMs === undefined || at >= sinceMs) &&
    (untilMs === undefined || at < untilMs) &&
    (state === undefined || (record.metadata.state ?? 'firing') === state)
  );
}

export interface AlertSummary {
  total: number;
  resolved: number;
  bySeverity: Record<Severity, number>;
  byAlert: AlertCount[];
}

export interface AlertCount {
  alert: string;
  severity: Severity;
  /** Records that say that it fires. */
  count: number;
  /** Records that say that it resolved. */
  resolved: number;
  firstAt: string;
  lastAt: string;
}

/** How often each alert was told of, most often first. */
export function summarizeAlerts(records: readonly AlertRecord[]): AlertSummary {
  const bySeverity: Record<Severity, number> = { info: 0, warning: 0, critical: 0 };
  const counts = new Map<string, AlertCount>();
  let resolved = 0;
  for (const { alert, severity, timestamp, metadata } of records) {
    const count = counts.get(alert) ?? {
      alert,
      severity,
      count: 0,
      resolved: 0,
      firstAt: timestamp,
      lastAt: timestamp,
    };
    counts.set(alert, count);
    count.lastAt = timestamp;
    if (metadata.state === 'resolved') {
      count.resolved += 1;
      resolved += 1;
    } else {
      count.count += 1;
      count.severity = severity;
      bySeverity[severity] += 1;
    }
  }
  const byAlert = [...counts.values()].sort((a, b) => b.count - a.count);
  return { total: records.length - resolved, resolved, bySeverity, byAlert };
}

function parse(line: string): AlertRecord | undefined {
  try {
    return toAlertRecord(JSON.parse(line));
  } catch {
    return undefined;
  }
}

const timeOf = (line: string) => {
  const record = parse(line);
  return record === undefined ? -Infinity : Date.parse(record.timestamp);
};

function open(path: string): number {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW;
  return openSync(path, flags, 0o600);
}

function trimTornLine(fd: number): void {
  let end = fstatSync(fd).size;
  const block = Buffer.alloc(4096);
  while (end > 0) {
    const from = Math.max(0, end - block.length);
    const read = readSync(fd, block, 0, end - from, from);
    const at = block.subarray(0, read).lastIndexOf(0x0a);
    if (at >= 0) {
      ftruncateSync(fd, from + at + 1);
      return;
    }
    end = from;
  }
  ftruncateSync(fd, 0);
}
