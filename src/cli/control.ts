import type { Command } from 'commander';
import { type AgentSnapshot, CfcError, Fabric, isLiving, option } from '../index.js';
import { fabricOption, jsonOption, parseDuration, timeoutOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { writeJson, writeOut } from './terminal.js';

// Verbs that say what is wanted of agents, and wait until it is so.

interface ControlFlags {
  fabric: string;
  timeout?: number;
  grace?: number;
  kill?: boolean;
  json?: boolean;
}

const lookEveryMs = 10;
const patienceMs = 10_000;

function controlVerb(name: string, description: string): Command {
  return verb(name, description)
    .argument('<name...>', 'agents that cfc run, cfc up or startAgents started')
    .addOption(fabricOption())
    .addOption(jsonOption());
}

export function pauseVerb(): Command {
  return controlVerb('pause', 'freeze every process of an agent')
    .addOption(timeoutOption('how long to wait until all are frozen (default: 10s)'))
    .action((names: string[], flags: ControlFlags) => control('pause', names, flags));
}

export function resumeVerb(): Command {
  return controlVerb('resume', 'let a paused agent go on')
    .addOption(timeoutOption('how long to wait until it does (default: 10s)'))
    .action((names: string[], flags: ControlFlags) => control('resume', names, flags));
}

export function stopVerb(): Command {
  return controlVerb('stop', 'end every process of an agent: SIGTERM, then SIGKILL')
    .option('--grace <time>', 'from SIGTERM to SIGKILL (default: 5s)', parseDuration)
    .option('--kill', 'SIGKILL at once')
    .addOption(timeoutOption('how long to wait for the end (default: the grace and 10s)'))
    .action((names: string[], flags: ControlFlags) => control('stop', names, flags));
}

const words = { pause: 'paused', resume: 'resumed', stop: 'stopped' } as const;

async function control(
  verb: keyof typeof words,
  names: readonly string[],
  flags: ControlFlags,
): Promise<void> {
  const graceMs = flags.grace ?? option('stop.graceMs');
  const timeoutMs = flags.timeout ?? (verb === 'stop' ? graceMs : 0) + patienceMs;
  const fabric = await Fabric.open(flags.fabric);
  try {
    const snapshot = fabric.snapshot();
    for (const name of names) {
      const agent = snapshot.find((one) => one.name === name);
      if (agent === undefined) throw new CfcError('ERR_CFC_NO_AGENT', { agent: name });
      if (verb === 'stop' && !isLiving(agent.liveness)) continue; // it has ended
      fabric.control(name, verb, { graceMs, kill: flags.kill ?? false });
    }
    const until = performance.now() + timeoutMs;
    const waiting = new Set(names);
    while (waiting.size > 0) {
      for (const agent of seen(fabric, waiting)) {
        if (!isDone(verb, agent)) continue;
        waiting.delete(agent.name);
        const { name, state, liveness, exitCode } = agent;
        if (flags.json) await writeJson({ v: 1, name, state, liveness, exitCode });
        else await writeOut(`${name} ${words[verb]}\n`);
      }
      if (waiting.size === 0) return;
      if (performance.now() >= until) {
        throw new Outcome(exitCodes.timedOut, `not ${words[verb]} in time: ${[...waiting]}`);
      }
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
    }
  } finally {
    await fabric.close();
  }
}

function seen(fabric: Fabric, names: ReadonlySet<string>): AgentSnapshot[] {
  return fabric.snapshot({ probe: false }).filter(({ name }) => names.has(name));
}

function isDone(verb: keyof typeof words, { state, liveness }: AgentSnapshot): boolean {
  if (!isLiving(liveness)) return true;
  if (verb === 'stop') return false;
  return (state === 'paused') === (verb === 'pause');
}
