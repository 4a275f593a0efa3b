import { Socket } from 'node:net';
import { dirname, resolve } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { option } from '../config/index.js';
import { limitsOf, type RateLimit, type SendQuota } from '../core/limits.js';
import { native } from '../core/native.js';
import { agentPrograms, findNativeProgram } from '../core/native-program.js';
import { callNative, errorOf } from '../core/status.js';
import { CfcError } from '../errors.js';

/** A command that is to be an agent. */
export interface AgentStart {
  name: string;
  role?: string;
  team?: string;
  parent?: string;
  /** Messages that its mailbox holds. Default: the fabric's. */
  mailboxCells?: number;
  /** The program, found in its PATH, and its arguments; no shell reads them. */
  command: readonly string[];
  /** All of its environment, to which cfc adds its own. Default: that of this process. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Default: that of this process. */
  cwd?: string;
  /** Files that its output is appended to. The last lines are kept in the fabric anyhow. */
  outFile?: string;
  errFile?: string;
  /** From SIGTERM to SIGKILL, where it is stopped without a word. Default: option `stop.graceMs`. */
  graceMs?: number;
  /**
   * What makes it ready: that it runs (the default), its `READY=1` by sd_notify, or that a process
   * of it joins the fabric.
   */
  ready?: 'started' | 'notify' | 'join';
  /** It is ended with SIGABRT where no `WATCHDOG=1` comes for so long. Default: never. */
  watchdogMs?: number;
  /** Descriptors that each process of it may have open. Default: as many as this process. */
  openFiles?: number;
  /** As `JoinOptions` has them; for all processes of it. */
  rate?: RateLimit;
  quota?: SendQuota;
}

export interface StartedAgent {
  name: string;
  /** Of the shim over it; 0 where not even that could be started. */
  pid: number;
  /**
   * Resolves to the pid of the command once the agent is in the directory and its command runs.
   * Rejects with `ERR_CFC_AGENT_START`, `ERR_CFC_LEASE_HELD` (somebody living has the name), or what
   * joining rejects with; then nothing of it is left.
   */
  started: Promise<number>;
}

/** What startAgents needs of a fabric. */
export interface StartTarget {
  readonly name: string;
  info(): { path: string };
  requireRight?(verb: 'spawn'): void;
}

/**
 * Starts commands as agents of a fabric, all at once. They outlive this process: over each stands a
 * shim, which holds the agent's name, and ends the whole tree of the command with it.
 *
 * ```ts
 * const [bob] = startAgents(fabric, [{ name: 'bob', command: ['sh', '-c', 'cfc recv --follow'] }]);
 * await bob?.started;
 * ```
 *
 * @returns one for each, in order
 * @throws {CfcError} `ERR_CFC_AGENT_START` where there are no descriptors for any of them,
 *   `ERR_CFC_NATIVE_LOAD`, `ERR_CFC_USAGE`
 */
export function startAgents(fabric: StartTarget, starts: readonly AgentStart[]): StartedAgent[] {
  for (const { name, command } of starts) {
    if (command.length === 0) throw new CfcError('ERR_CFC_USAGE', { agent: name, command });
  }
  if (starts.length === 0) return [];
  fabric.requireRight?.('spawn');
  const program = findNativeProgram();
  const dir = dirname(fabric.info().path);
  const argumentLists = starts.map((start, index) => [
    'cfc-native',
    ...shimArguments(fabric.name, dir, start),
    ...['--report-fd', '3', '--report-index', String(index), '--'],
    ...start.command,
  ]);
  const environments = starts.map(({ env }, index) =>
    index > 0 && env === starts[index - 1]?.env ? 0 : environmentOf(env),
  );
  const { pids, readFd } = start(() => native.startPrograms(program, argumentLists, environments));
  reapOnExit();
  const reports = new Reports(readFd, starts);
  return starts.map(({ name }, index) => {
    const pid = pids[index] as number;
    if (pid < 0) reports.failed(index, -pid);
    return { name, pid: Math.max(pid, 0), started: reports.of(index) };
  });
}

/**
 * What to spawn for one agent that this process stays with: the shim shares our input and output,
 * and goes when `attachedTo` does. It reports on descriptor 3. @internal
 */
export function shimCommand(
  fabric: StartTarget,
  start: AgentStart,
  { attachedTo }: { attachedTo: number },
): { file: string; words: string[]; env: Record<string, string> } {
  const env: Record<string, string> = {};
  for (const line of environmentOf(start.env)) {
    const equals = line.indexOf('=');
    env[line.slice(0, equals)] = line.slice(equals + 1);
  }
  return {
    file: findNativeProgram(),
    words: [
      ...shimArguments(fabric.name, dirname(fabric.info().path), start),
      ...['--pass', '--parent-pid', String(attachedTo), '--report-fd', '3', '--'],
      ...start.command,
    ],
    env,
  };
}

/** The options of `cfc-native shim` that say what is to be started. @internal */
export function shimArguments(fabric: string, dir: string, start: AgentStart): string[] {
  const { perSecond, burst, quotaMessages, quotaBytes } = limitsOf(start);
  const given: [string, string | number | undefined][] = [
    ['--fabric', fabric],
    ['--dir', dir],
    ['--agent', start.name],
    ['--role', start.role],
    ['--team', start.team],
    ['--parent', start.parent],
    ['--cells', start.mailboxCells],
    ['--out', start.outFile && resolve(start.outFile)],
    ['--err', start.errFile && resolve(start.errFile)],
    ['--cwd', start.cwd && resolve(start.cwd)],
    ['--grace-ms', start.graceMs ?? option('stop.graceMs')],
    ['--watchdog-ms', start.watchdogMs],
    ['--open-files', start.openFiles],
    ['--per-second', perSecond || undefined],
    ['--burst', burst || undefined],
    ['--quota-messages', quotaMessages || undefined],
    ['--quota-bytes', quotaBytes || undefined],
    ['--ready', start.ready],
  ];
  return [
    'shim',
    ...given.flatMap(([option, value]) =>
      value === undefined || value === '' ? [] : [option, String(value)],
    ),
  ];
}

/** As `NAME=VALUE`, with `cfc` and `node` in PATH. @internal */
export function environmentOf(env: AgentStart['env'] = process.env): string[] {
  const path = env.PATH ?? '/usr/local/bin:/usr/bin:/bin';
  const folders = [agentPrograms, ...path.split(':'), dirname(process.execPath)];
  const all = { ...env, PATH: [...new Set(folders)].join(':') };
  return Object.entries(all).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`],
  );
}

/** The command's pid, by what a shim reported; throws what went wrong. @internal */
export function readReport(fields: readonly string[], start: AgentStart): number {
  const details = { agent: start.name, command: start.command };
  const [verdict, first = '', errno = '', syscall = '', what = ''] = fields;
  if (verdict === 'ok') return Number(first);
  const status = Number(first);
  if (verdict === 'failed' && status !== native.statuses.kSystem) {
    throw errorOf(status, { agent: start.name, ...(what !== '' && { path: what }) });
  }
  const cause =
    verdict === 'failed'
      ? Object.assign(new Error(`${syscall} failed: ${what}`), { errno: Number(errno), syscall })
      : undefined;
  throw new CfcError(
    'ERR_CFC_AGENT_START',
    { ...details, ...(cause && { syscall, path: what, errno: Number(errno) }) },
    cause && { cause },
  );
}

// One pipe for all of one call: a line a shim, and its end where a shim died without one.
class Reports {
  readonly #starts: readonly AgentStart[];
  readonly #waiting: PromiseWithResolvers[];
  #text = '';

  constructor(readFd: number, starts: readonly AgentStart[]) {
    this.#starts = starts;
    this.#waiting = starts.map(() => {
      const waiting = withResolvers();
      waiting.promise.catch(() => {}); // whoever does not ask is not told
      return waiting;
    });
    const socket = new Socket({ fd: readFd, readable: true, writable: false });
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#take(text));
    socket.on('error', () => {});
    socket.on('close', () => {
      for (const index of starts.keys()) this.#settle(index, ['vanished']);
    });
  }

  of(index: number): Promise<number> {
    return (this.#waiting[index] as PromiseWithResolvers).promise;
  }

  failed(index: number, errno: number): void {
    this.#settle(index, [
      'failed',
      String(native.statuses.kSystem),
      String(errno),
      'posix_spawn',
      'cfc-native',
    ]);
  }

  #take(text: string): void {
    const lines = (this.#text + text).split('\n');
    this.#text = lines.pop() as string;
    for (const line of lines) {
      const [index, ...fields] = line.split('\t');
      this.#settle(Number(index), fields);
    }
  }

  #settle(index: number, fields: readonly string[]): void {
    const waiting = this.#waiting[index];
    if (waiting === undefined) return;
    try {
      waiting.resolve(readReport(fields, this.#starts[index] as AgentStart));
    } catch (error) {
      waiting.reject(error);
    }
  }
}

interface PromiseWithResolvers {
  promise: Promise<number>;
  resolve: (pid: number) => void;
  reject: (error: unknown) => void;
}

function withResolvers(): PromiseWithResolvers {
  const made = {} as PromiseWithResolvers;
  made.promise = new Promise((resolve, reject) => {
    made.resolve = resolve;
    made.reject = reject;
  });
  return made;
}

function start<T>(call: () => T): T {
  try {
    return callNative(call);
  } catch (error) {
    if (!(error instanceof CfcError) || error.code !== 'ERR_CFC_SYSTEM') throw error;
    throw new CfcError('ERR_CFC_AGENT_START', error.details, { cause: error.cause });
  }
}

let reaping = false;

// Shims are children of this process for as long as it lives, and libuv reaps its own only.
function reapOnExit(): void {
  if (reaping || !isMainThread) {
    native.reapPrograms();
    return;
  }
  reaping = true;
  const reap = () => {
    if (native.reapPrograms() > 0) return;
    reaping = false;
    process.off('SIGCHLD', reap);
  };
  process.on('SIGCHLD', reap);
}
