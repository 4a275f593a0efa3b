import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import type { Command } from 'commander';
import { Region } from '../core/index.js';
import {
  type AgentStart,
  CfcError,
  Fabric,
  isLiving,
  readReport,
  shimCommand,
  startAgents,
} from '../index.js';
import { fabricOption, jsonOption, parseDuration, parseName, verb } from './options.js';
import { Outcome } from './outcome.js';
import { say, writeJson, writeOut } from './terminal.js';

interface RunFlags {
  fabric: string;
  name?: string;
  role?: string;
  team?: string;
  parent?: string;
  detach?: boolean;
  out?: string;
  err?: string;
  grace?: number;
  ready?: 'started' | 'notify' | 'join';
  watchdog?: number;
  json?: boolean;
}

export function runVerb(): Command {
  return verb('run', 'run a command as an agent, with its whole tree of processes')
    .argument('<command...>', 'the program and its arguments, after --; no shell reads them')
    .addOption(fabricOption())
    .option('--name <name>', "the agent's name (default: the program's, and a number)", parseName)
    .option('--role <role>', 'its role', parseName)
    .option('--team <team>', 'its team', parseName)
    .option('--parent <name>', 'the agent above it', parseName)
    .option('--detach', 'in the background: print its name, and leave it running')
    .option('--out <file>', 'append its standard output there')
    .option('--err <file>', 'append its standard error there')
    .option('--grace <time>', 'from SIGTERM to SIGKILL (default: 5s)', parseDuration)
    .option('--ready <when>', 'what makes it ready: started, notify or join', 'started')
    .option('--watchdog <time>', 'end it where no WATCHDOG=1 comes for so long', parseDuration)
    .addOption(jsonOption())
    .passThroughOptions()
    .action(run);
}

async function run(command: string[], flags: RunFlags): Promise<void> {
  if (!['started', 'notify', 'join'].includes(flags.ready ?? '')) {
    throw new CfcError('ERR_CFC_USAGE', { ready: flags.ready, allowed: 'started, notify, join' });
  }
  const named = flags.name !== undefined;
  const name = flags.name ?? nameFor(command[0] as string);
  const made = !exists(flags.fabric);
  const fabric = await Fabric.open(flags.fabric, { create: true });
  try {
    fabric.requireRight('spawn');
    const start = startOf(name, command, flags);
    if (flags.detach) await detach(fabric, start, flags);
    else await attend(fabric, start, { made, named });
  } finally {
    await fabric.close();
  }
}

function exists(fabric: string): boolean {
  try {
    Region.open(fabric).close();
    return true;
  } catch (error) {
    if (error instanceof CfcError && error.code === 'ERR_CFC_NO_FABRIC') return false;
    throw error;
  }
}

function startOf(name: string, command: string[], flags: RunFlags): AgentStart {
  const { role, team, parent, out, err, grace, ready, watchdog } = flags;
  return {
    name,
    command,
    ...(role !== undefined && { role }),
    ...(team !== undefined && { team }),
    ...(parent !== undefined && { parent }),
    ...(out !== undefined && { outFile: out }),
    ...(err !== undefined && { errFile: err }),
    ...(grace !== undefined && { graceMs: grace }),
    ...(ready !== undefined && { ready }),
    ...(watchdog !== undefined && { watchdogMs: watchdog }),
  };
}

/** `bash-4711`, from `/bin/bash`. */
function nameFor(program: string): string {
  const base = basename(program).replace(/[^A-Za-z0-9_-]+/g, '-');
  return `${/^[A-Za-z0-9]/.test(base) ? base.slice(0, 48) : 'agent'}-${process.pid}`;
}

async function detach(fabric: Fabric, start: AgentStart, flags: RunFlags): Promise<void> {
  const [agent] = startAgents(fabric, [start]);
  if (agent === undefined) return;
  const commandPid = await agent.started;
  if (flags.json) {
    const { name, pid } = agent;
    await writeJson({ v: 1, fabric: fabric.name, name, pid, commandPid });
  } else {
    await writeOut(`${agent.name}\n`);
  }
  say(`next: cfc send ${agent.name} "hello", cfc stop ${agent.name}`);
}

/** Stays with it: our input and output are its, and so is our exit code. */
async function attend(
  fabric: Fabric,
  start: AgentStart,
  { made, named }: { made: boolean; named: boolean },
): Promise<void> {
  const { file, words, env } = shimCommand(fabric, start, { attachedTo: process.pid });
  const shim = spawn(file, words, { stdio: ['inherit', 'inherit', 'inherit', 'pipe'], env });
  const exited = once(shim, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const asked = forwardSignals(fabric, start.name);
  const report = await readAll(shim.stdio[3] as Readable);
  const [code, signal] = await exited;
  process.off('SIGINT', asked).off('SIGTERM', asked).off('SIGHUP', asked);
  if (!named) forget(fabric, start.name);
  if (made && isDeserted(fabric)) {
    await fabric.close();
    await Fabric.destroy(fabric.name);
  }
  readReport(report.trimEnd().split('\t').slice(1), start);
  if (code !== 0) throw new Outcome(code ?? (signal === 'SIGKILL' ? 137 : 1));
}

async function readAll(stream: Readable): Promise<string> {
  let text = '';
  stream.setEncoding('utf8');
  for await (const piece of stream) text += piece;
  return text;
}

/** The first asks it to end, a second ends it. */
function forwardSignals(fabric: Fabric, name: string): () => void {
  let times = 0;
  const ask = () => {
    times += 1;
    try {
      fabric.control(name, 'stop', { kill: times > 1 });
    } catch {
      // It has ended, or has not begun; then the shim goes with us.
    }
  };
  process.on('SIGINT', ask).on('SIGTERM', ask).on('SIGHUP', ask);
  return ask;
}

function forget(fabric: Fabric, name: string): void {
  try {
    if (fabric.snapshot().some((one) => one.name === name && one.depth === 0)) fabric.forget(name);
  } catch {
    // Somebody has the name by now.
  }
}

/** Nobody lives there, and nothing waits for anybody. */
function isDeserted(fabric: Fabric): boolean {
  const { queued, slotsLive, subscribers } = fabric.census();
  const living = fabric.snapshot().some(({ liveness }) => isLiving(liveness));
  return !living && queued === 0 && slotsLive <= 1 && subscribers === 0;
}
