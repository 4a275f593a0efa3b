import {
  closeSync,
  constants,
  createReadStream,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createInterface } from 'node:readline';
import { type AlertRecord, toAlertRecord } from './alert-record.js';
import { makeRoomFor, replaceFile } from './files.js';
import { type Severity, severities } from './rule.js';

export const alertRetentionMs = 86_400_000;
const maxFileBytes = 10 << 20;
const blockBytes = 64 << 10;
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
    const from = this.#firstToKeep(size, nowMs - alertRetentionMs);
    if (from === 0) return;
    replaceFile(this.#path, (fd) => {
      for (const block of blocksOf(this.#fd, from)) writeFileSync(fd, block);
    });
    closeSync(this.#fd);
    this.#fd = open(this.#path);
  }

  /** Where the first line begins that is young enough; half of a file that is full goes anyway. */
  #firstToKeep(size: number, sinceMs: number): number {
    let at = size < maxFileBytes ? 0 : size - maxFileBytes / 2;
    let cutLine = at > 0;
    for (const line of linesOf(this.#fd, at)) {
      if (!cutLine && timeOf(line) >= sinceMs) return at;
      cutLine = false;
      at += line.length;
    }
    return at;
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

const timeOf = (line: Buffer) => {
  const record = parse(line.toString());
  return record === undefined ? -Infinity : Date.parse(record.timestamp);
};

/** What is in a file from there on. A block is overwritten by the next one. */
function* blocksOf(fd: number, from: number): Generator<Buffer> {
  const block = Buffer.alloc(blockBytes);
  for (let at = from; ; ) {
    const read = readSync(fd, block, 0, block.length, at);
    if (read === 0) return;
    yield block.subarray(0, read);
    at += read;
  }
}

/** Lines of a file from there on, each with its end; a day of them is never held at once. */
function* linesOf(fd: number, from: number): Generator<Buffer> {
  let begun = Buffer.alloc(0);
  for (const block of blocksOf(fd, from)) {
    let at = 0;
    for (let end = block.indexOf(0x0a); end >= 0; end = block.indexOf(0x0a, at)) {
      yield Buffer.concat([begun, block.subarray(at, end + 1)]);
      begun = Buffer.alloc(0);
      at = end + 1;
    }
    begun = Buffer.concat([begun, block.subarray(at)]);
  }
}

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
