import type { Command } from 'commander';
import {
  type AgentSnapshot,
  AlertFiles,
  CfcError,
  Fabric,
  type Health,
  isLiving,
  option,
  readHeartbeat,
} from '../index.js';
import { shapeOfWatch, warnOfDeadWatch } from './alerts.js';
import { fabricOption, jsonOption, timeoutOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, writeJson, writeOut } from './terminal.js';
import { stripLine, table } from './text.js';

// Verbs about how agents are.

const waitableStates = [
  ...['spawned', 'working', 'waiting', 'paused', 'complete', 'failed'],
  ...['alive', 'stalled', 'busy', 'ready', 'dead', 'left', 'gone', 'idle'],
] as const;
/** Nothing rings when an agent changes its state, so this looks again and again. */
const lookEveryMs = 20;

export function statusVerb(): Command {
  return verb('status', 'say how a fabric is: agents, messages, memory')
    .addOption(fabricOption())
    .addOption(jsonOption())
    .action(status);
}

export function waitVerb(): Command {
  return verb('wait', 'wait until an agent is in a state')
    .argument('<name>', "the agent's name")
    .requiredOption('--for <state>', `one of ${waitableStates.join(', ')}`)
    .addOption(fabricOption())
    .addOption(timeoutOption('how long (default: 30s)'))
    .addOption(jsonOption())
    .action(wait);
}

export function healthVerb(): Command {
  return verb('health', 'exit 0 where all is well, 2 degraded, 1 unhealthy or unknown')
    .argument('[name]', 'one agent; without it all of them')
    .addOption(fabricOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      '\nOf this verb: 0 healthy, 2 degraded, 1 unhealthy or unknown, 64 usage.',
    )
    .action(health);
}

async function status(flags: { fabric: string; json?: boolean }): Promise<void> {
  const fabric = await Fabric.open(flags.fabric);
  try {
    const { path, sharedBytes } = fabric.info();
    const agents = fabric.snapshot();
    const { acked, queued, deadLettered, dropped } = fabric.census();
    const accepted = acked + queued + deadLettered + dropped;
    const messages = { accepted, acked, queued, deadLettered, dropped };
    const count = (key: 'state' | 'liveness' | 'health') => countBy(agents, key);
    const shown = { total: agents.length, ...count('liveness') };
    if (flags.json) {
      const counts = { agents: shown, states: count('state'), health: count('health'), messages };
      await writeJson({ v: 1, fabric: fabric.name, path, sharedBytes, ...counts });
      return;
    }
    const words = (counts: Record<string, number>) =>
      Object.entries(counts)
        .map(([name, number]) => `${number} ${name}`)
        .join(', ');
    await writeOut(
      table(
        ['FABRIC', stripLine(fabric.name)],
        [
          ['path', stripLine(path)],
          ['memory', `${(sharedBytes / 1e6).toFixed(1)} MB`],
          ['agents', words(shown)],
          ['states', words(count('state'))],
          ['health', words(count('health'))],
          ['messages', words(messages)],
        ],
      ),
    );
  } finally {
    await fabric.close();
  }
}

interface WaitFlags {
  fabric: string;
  for: string;
  timeout?: number;
  json?: boolean;
}

async function wait(name: string, flags: WaitFlags): Promise<void> {
  const wanted = flags.for;
  if (!(waitableStates as readonly string[]).includes(wanted)) {
    throw new Outcome(exitCodes.usage, `--for is one of ${waitableStates.join(', ')}`);
  }
  const fabric = await Fabric.open(flags.fabric);
  try {
    const until = performance.now() + (flags.timeout ?? option('wait.timeoutMs'));
    for (;;) {
      const agent = fabric.snapshot().find((one) => one.name === name);
      if (isIn(agent, wanted)) {
        if (flags.json) await writeJson({ v: 1, agent: name, is: wanted });
        return;
      }
      if (performance.now() >= until) {
        const is = agent === undefined ? 'gone' : `${agent.state}, ${agent.liveness}`;
        throw new Outcome(exitCodes.timedOut, `${name} is not ${wanted} in time: it is ${is}`);
      }
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
    }
  } finally {
    await fabric.close();
  }
}

function isIn(agent: AgentSnapshot | undefined, wanted: string): boolean {
  if (agent === undefined) return wanted === 'gone';
  if (wanted === 'idle') return isLiving(agent.liveness) && agent.depth === 0;
  if (agent.liveness === wanted) return true;
  if (wanted === 'alive') return isLiving(agent.liveness);
  if (wanted === 'ready') return isLiving(agent.liveness) && agent.ready;
  // What a dead agent said of itself is no state any more, but for the two it ends with.
  const ended = agent.state === 'complete' || agent.state === 'failed';
  return agent.state === wanted && (isLiving(agent.liveness) || ended);
}

const exitOf: Readonly<Record<Health, number>> = {
  healthy: 0,
  degraded: 2,
  unhealthy: 1,
  unknown: 1,
};

async function health(
  name: string | undefined,
  flags: { fabric: string; json?: boolean },
): Promise<void> {
  const agents = await agentsOf(flags.fabric, name);
  // A dead-man's switch: where a watch of alerts was running, its silence is no good sign.
  const watch =
    name === undefined && agents !== undefined
      ? readHeartbeat(AlertFiles.of(flags.fabric).heartbeat, Date.now())
      : undefined;
  const found = judge(agents, name);
  const verdict = found === 'healthy' && watch?.state === 'dead' ? 'degraded' : found;
  if (flags.json) {
    const rows = agents?.map(
      ({ name: agent, health: is, liveness, depth, capacity, lastProgressAt }) => {
        const at = lastProgressAt.toISOString();
        return { name: agent, health: is, liveness, depth, capacity, lastProgressAt: at };
      },
    );
    await writeJson({
      ...{ v: 1, fabric: flags.fabric, health: verdict, agents: rows ?? [] },
      ...(watch !== undefined && { watch: shapeOfWatch(watch) }),
    });
  } else {
    await writeOut(`${verdict}\n`);
    for (const { name: agent, health: is, liveness } of agents ?? []) {
      if (is !== 'healthy') say(`${stripLine(agent)} is ${is}: ${liveness}`);
    }
  }
  if (watch !== undefined) warnOfDeadWatch(watch);
  if (exitOf[verdict] !== 0) throw new Outcome(exitOf[verdict]);
}

/** @returns undefined where there is no fabric */
async function agentsOf(where: string, name: string | undefined) {
  try {
    const fabric = await Fabric.open(where);
    const agents = fabric.snapshot().filter((one) => name === undefined || one.name === name);
    await fabric.close();
    return agents;
  } catch (error) {
    if (error instanceof CfcError && error.code === 'ERR_CFC_NO_FABRIC') return undefined;
    throw error;
  }
}

// Of many the worst. Who left is nobody's worry, unless messages wait for a successor.
function judge(agents: AgentSnapshot[] | undefined, name: string | undefined): Health {
  if (agents === undefined) return 'unknown';
  if (name !== undefined) return agents[0]?.health ?? 'unknown';
  if (agents.some((agent) => agent.health === 'unhealthy')) return 'unhealthy';
  const waiting = agents.some(({ liveness, depth }) => liveness === 'left' && depth > 0);
  if (waiting || agents.some((agent) => agent.health === 'degraded')) return 'degraded';
  return 'healthy';
}

function countBy(
  agents: readonly AgentSnapshot[],
  key: 'state' | 'liveness' | 'health',
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const agent of agents) counts[agent[key]] = (counts[agent[key]] ?? 0) + 1;
  return counts;
}
