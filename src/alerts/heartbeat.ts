import { linkSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { CfcError } from '../errors.js';
import { replaceFile } from './files.js';

/** What a watch says of itself at each evaluation. */
interface Beat {
  v: 1;
  pid: number;
  /** Of the process, in ticks since the boot: with the PID and the boot it names one process for ever. */
  startTicks: string;
  boot: string;
  /** In whose numbers the PID is. */
  pidNamespace: string;
  atMs: number;
  intervalMs: number;
  /** It ended in good order. */
  stopped: boolean;
  /** Evaluations so far, and those that failed. */
  evaluations: number;
  failures: number;
}

/** `never`: no watch ever ran there. `stopped`: it ended in good order. `dead`: it should live. */
export interface WatchStatus {
  state: 'running' | 'stopped' | 'dead' | 'never';
  pid?: number;
  lastBeatAtMs?: number;
  intervalMs?: number;
  evaluations?: number;
  failures?: number;
}

const leastGraceMs = 5000;

/** The sign of life of a watch: a file that it writes at each evaluation, and others read. */
export class Heartbeat {
  readonly #path: string;
  readonly #beat: Beat;

  constructor(path: string, intervalMs: number) {
    this.#path = path;
    this.#beat = { v: 1, ...identity(), atMs: 0, intervalMs, stopped: false, ...noEvaluations };
  }

  beat(nowMs: number, failed: boolean): void {
    this.#beat.atMs = nowMs;
    this.#beat.evaluations += 1;
    if (failed) this.#beat.failures += 1;
    this.#write();
  }

  stop(nowMs: number): void {
    this.#beat.atMs = nowMs;
    this.#beat.stopped = true;
    this.#write();
  }

  #write(): void {
    replaceFile(this.#path, `${JSON.stringify(this.#beat)}\n`);
  }
}

/** Whether a watch that should run does: a dead-man's switch, for whoever looks. */
export function readHeartbeat(path: string, nowMs: number): WatchStatus {
  let beat: Beat;
  try {
    beat = JSON.parse(readFileSync(path, 'utf8')) as Beat;
  } catch (error) {
    // Half a file cannot be, so a damaged one was damaged by others: no sign of life.
    return { state: (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'never' : 'dead' };
  }
  const { pid, atMs: lastBeatAtMs, intervalMs, evaluations, failures } = beat;
  const late = nowMs - lastBeatAtMs > Math.max(leastGraceMs, 3 * intervalMs);
  const dead = late || isAlive(beat) === false;
  const state = beat.stopped ? 'stopped' : dead ? 'dead' : 'running';
  return { state, pid, lastBeatAtMs, intervalMs, evaluations, failures };
}

/**
 * Takes the place of the one watch that may run over a state directory.
 *
 * @returns lets go of it
 * @throws {CfcError} `ERR_CFC_ALERTS_RUNNING`
 */
export function takeWatchLock(path: string, heartbeatPath: string): () => void {
  const mine = `${path}.${process.pid}`;
  writeFileSync(mine, JSON.stringify(identity()), { mode: 0o600 });
  try {
    for (;;) {
      try {
        // Whole from the first moment on, and only one can make it.
        linkSync(mine, path);
        return () => rmSync(path, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        const holder = readHolder(path);
        if (holder !== undefined && lives(holder, heartbeatPath)) {
          throw new CfcError('ERR_CFC_ALERTS_RUNNING', { pid: holder.pid, path });
        }
        putAside(path, heartbeatPath);
      }
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

type Identity = Pick<Beat, 'pid' | 'startTicks' | 'boot' | 'pidNamespace'>;

const noEvaluations = { evaluations: 0, failures: 0 };

// Another one may have taken the place of the dead in between: that one keeps it.
function putAside(path: string, heartbeatPath: string): void {
  const aside = `${path}.${process.pid}.old`;
  try {
    renameSync(path, aside);
    const holder = readHolder(aside);
    if (holder !== undefined && lives(holder, heartbeatPath)) linkSync(aside, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'EEXIST') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

// Of a process in another PID namespace only its heartbeat tells.
function lives(holder: Identity, heartbeatPath: string): boolean {
  return isAlive(holder) ?? readHeartbeat(heartbeatPath, Date.now()).state === 'running';
}

function readHolder(path: string): Identity | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Identity;
  } catch {
    return undefined;
  }
}

function identity(): Identity {
  const pid = process.pid;
  const startTicks = startTicksOf(pid) ?? '';
  return { pid, startTicks, boot: bootId(), pidNamespace: pidNamespace() };
}

// A PID comes again; a PID with its start does not. @returns undefined where it cannot be told
function isAlive({ pid, startTicks, boot, pidNamespace: space }: Identity): boolean | undefined {
  if (boot !== bootId()) return false;
  if (space !== pidNamespace()) return undefined;
  return startTicksOf(pid) === startTicks;
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

function startTicksOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie is dead.
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
