import { spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import {
  Fabric,
  type FabricProfile,
  type SupervisionEvent,
  Supervisor,
  type Topology,
} from '../index.js';
import { finishDown } from './down.js';
import { fabricOption, jsonOption, parseDuration, timeoutOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, warn, writeJson } from './terminal.js';
import { stripLine } from './text.js';
import { fabricOf, parseTopology, readTopologyText } from './topo.js';

interface UpFlags {
  fabric: string;
  profile: FabricProfile;
  detach?: boolean;
  log?: string;
  timeout?: number;
  grace?: number;
  json?: boolean;
}

/** What a detached supervisor tells the `cfc up` that started it. */
type Told =
  | { kind: 'event'; event: SupervisionEvent }
  | { kind: 'ready'; ready: string[]; notReady: string[] };

const defaultReadyMs = 30_000;
const drawEveryMs = 100;
/** Told one by one only where that is a few lines: of hundreds, a count says more. */
const quiet: readonly string[] = ['spawned', 'ready', 'adopted', 'stopped'];

export function upVerb(): Command {
  return verb('up', 'start the agents of a topology, and keep them running')
    .argument('<file>', 'a topology in YAML; - reads it from stdin')
    .addOption(fabricOption())
    .addOption(
      new Option('--profile <size>', 'how much room a new fabric has')
        .choices(['small', 'default', 'large'])
        .default('default'),
    )
    .option('-d, --detach', 'return once all are ready; the supervisor goes on in the background')
    .option('--log <file>', "of a detached supervisor (default: in the fabric's directory)")
    .addOption(timeoutOption('how long each level of agents may take to be ready (default: 30s)'))
    .option('--grace <time>', 'from TERM to KILL of an agent (default: 5s)', parseDuration)
    .addOption(jsonOption())
    .action(up);
}

async function up(file: string, flags: UpFlags, command: Command): Promise<void> {
  const text = await readTopologyText(file);
  const topology = parseTopology(file, text);
  const name = fabricOf(topology, flags, command);
  if (flags.detach) await detach(name, text, topology, flags);
  else await supervise(name, topology, flags);
}

/** In the foreground, or as the process that a detached one became. */
async function supervise(name: string, topology: Topology, flags: UpFlags): Promise<void> {
  const fabric = await openFor(name, topology, flags.profile);
  const parent = process.send === undefined ? undefined : new Parent();
  const progress = new UpProgress(topology.agents.length, parent === undefined);
  let ending: Promise<void> | undefined;
  try {
    const supervisor = await Supervisor.start(fabric, topology, {
      readyTimeoutMs: flags.timeout ?? defaultReadyMs,
      ...(flags.grace === undefined ? {} : { graceMs: flags.grace }),
      onEvent: (event) => {
        progress.take(event);
        parent?.tell({ kind: 'event', event });
        if (flags.json) void writeJson({ v: 1, ...event });
      },
    });
    const asked = untilSignalled();
    void supervisor.whenReady().then(({ ready, notReady }) => {
      progress.stop();
      if (!supervisor.closed) {
        report(topology, ready, notReady, progress.elapsedMs);
        if (parent === undefined) say('Ctrl-C takes it down; a second one does not wait');
      }
      parent?.tell({ kind: 'ready', ready, notReady });
      parent?.leave();
    });
    const cause = await Promise.race([asked, supervisor.whenClosed.then(() => 'closed' as const)]);
    progress.stop();
    if (cause === 'closed') {
      warn('cfc: somebody else supervises this fabric now\n');
    } else {
      // A second signal ends whoever still runs at once.
      const impatient = untilSignalled().then(() => supervisor.down({ timeoutMs: 0, graceMs: 0 }));
      void impatient.catch(() => {});
      const down = await supervisor.down(flags.grace === undefined ? {} : { graceMs: flags.grace });
      ending = finishDown(fabric, down, flags.json ?? false);
    }
  } finally {
    progress.stop();
    parent?.leave();
    if (ending === undefined) await fabric.close();
  }
  await ending;
}

function openFor(name: string, topology: Topology, profile: FabricProfile): Promise<Fabric> {
  const capacity = topology.capacity();
  // Of each agent the shim, its command, and a verb of `cfc` that it runs.
  const maxParticipants = Math.min(65_534, capacity.maxParticipants + topology.agents.length);
  return Fabric.open(name, { create: true, profile, capacity: { ...capacity, maxParticipants } });
}

function report(
  topology: Topology,
  ready: readonly string[],
  notReady: readonly string[],
  elapsedMs: number,
): void {
  const seconds = (elapsedMs / 1000).toFixed(1);
  warn(`cfc: ${topology.shape}: ${ready.length} agents ready in ${seconds} s\n`);
  if (notReady.length === 0) return;
  const some = notReady.slice(0, 5).map(stripLine).join(', ');
  const more = notReady.length > 5 ? ` and ${notReady.length - 5} more` : '';
  warn(`cfc: not ready: ${some}${more}\n`);
}

async function detach(
  name: string,
  text: string,
  topology: Topology,
  flags: UpFlags,
): Promise<void> {
  // So that the log has a place, and what is wrong is said here.
  const fabric = await openFor(name, topology, flags.profile);
  const log = flags.log ?? join(fabric.info().path, 'supervisor.log');
  await fabric.close();
  const descriptor = openSync(log, 'a', 0o600);
  const before = fstatSync(descriptor).size;
  const words = ['up', '-', '--fabric', name, '--profile', flags.profile];
  if (flags.timeout !== undefined) words.push('--timeout', `${flags.timeout}ms`);
  if (flags.grace !== undefined) words.push('--grace', `${flags.grace}ms`);
  const child = spawn(process.execPath, [process.argv[1] as string, ...words], {
    detached: true,
    stdio: ['pipe', descriptor, descriptor, 'ipc'],
  });
  closeSync(descriptor);
  child.stdin?.on('error', () => {});
  child.stdin?.end(text);
  const progress = new UpProgress(topology.agents.length, true);
  const stop = () => child.kill('SIGTERM');
  process.once('SIGINT', stop);
  try {
    const { ready, notReady } = await new Promise<Told & { kind: 'ready' }>((resolve, reject) => {
      child.on('message', (told: Told) => {
        if (told.kind === 'event') progress.take(told.event);
        else resolve(told);
      });
      child.on('error', reject);
      child.on('exit', (code) => {
        // What it said went into the log: it is meant for who waits here.
        const said = readFileSync(log).subarray(before).toString();
        reject(new Ended(code ?? exitCodes.failed, said || `cfc: it ended; its log is ${log}\n`));
      });
    });
    progress.stop();
    const pid = child.pid as number;
    if (flags.json) {
      const shape = { fabric: name, topology: topology.shape, pid, log };
      await writeJson({ v: 1, ...shape, ready: ready.length, notReady });
    } else {
      report(topology, ready, notReady, progress.elapsedMs);
      // What comes next finds the fabric by itself only where it has the name that it would look for.
      const where = name === (process.env.CFC_FABRIC ?? 'default') ? '' : ` --fabric ${name}`;
      say(`supervised by process ${pid}, whose log is ${log}`);
      say(`next: cfc ps${where}, cfc sub cfc.events${where}, cfc down${where}`);
    }
    if (notReady.length > 0) throw new Outcome(exitCodes.timedOut);
  } catch (error) {
    progress.stop();
    if (!(error instanceof Ended)) throw error;
    warn(error.message);
    throw new Outcome(error.exitCode);
  } finally {
    progress.stop();
    process.off('SIGINT', stop);
    child.removeAllListeners();
    if (child.connected) child.disconnect();
    child.unref();
  }
}

/** The supervisor in the background did not come up; its words. */
class Ended extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, said: string) {
    super(said);
    this.exitCode = exitCode;
  }
}

/** The `cfc up` that waits for us until all are ready. */
class Parent {
  tell(told: Told): void {
    if (process.connected) process.send?.(told, () => {});
  }

  leave(): void {
    if (process.connected) process.disconnect();
  }
}

function untilSignalled(): Promise<'signalled'> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => resolve('signalled'));
    }
  });
}

/** How far it is, on a line of its own; and what happens, a line each. On stderr. */
class UpProgress {
  readonly #total: number;
  readonly #began = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;
  #spawned = 0;
  #ready = 0;
  #over = false;
  #draining = false;

  constructor(total: number, draws: boolean) {
    this.#total = total;
    if (!draws || !process.stderr.isTTY) return;
    this.#timer = setInterval(() => this.#draw(), drawEveryMs);
    this.#timer.unref();
  }

  get elapsedMs(): number {
    return performance.now() - this.#began;
  }

  take(event: SupervisionEvent): void {
    if (event.event === 'spawned') this.#spawned += 1;
    if (event.event === 'ready' || event.event === 'adopted') this.#ready += 1;
    if (quiet.includes(event.event)) return;
    // On the way down everybody ends; what is to be known of it is told at the end.
    if (this.#draining && event.event === 'exited') return;
    this.#draining ||= event.event === 'draining';
    this.#clear();
    warn(`${lineOf(event)}\n`);
  }

  stop(): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#timer);
    this.#clear();
  }

  #clear(): void {
    if (this.#timer !== undefined) process.stderr.write('\r\u001b[K');
  }

  #draw(): void {
    const text = `${this.#ready}/${this.#total} ready, ${this.#spawned} started`;
    process.stderr.write(`\r\u001b[K${text}`);
  }
}

/** `12:00:01 exited worker-1: code 137`. */
function lineOf({ at, event, agent, ...more }: SupervisionEvent): string {
  const facts: string[] = [];
  if (more.exitCode !== undefined) facts.push(`code ${more.exitCode ?? 'unknown'}`);
  if (more.delayMs !== undefined) facts.push(`again in ${(more.delayMs / 1000).toFixed(1)} s`);
  if (more.successor !== undefined) facts.push(`${more.successor} takes over ${more.moved} agents`);
  if (more.depth !== undefined) facts.push(`${more.depth} messages wait`);
  if (more.memoryBytes !== undefined) facts.push(`${(more.memoryBytes / 1e6).toFixed(0)} MB`);
  if (more.reason !== undefined) facts.push(stripLine(more.reason));
  const rest = facts.length === 0 ? '' : `: ${facts.join(', ')}`;
  return `${at.slice(11, 19)} ${event} ${stripLine(agent)}${rest}`;
}
