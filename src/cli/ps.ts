import type { Command } from 'commander';
import type { AgentSnapshot } from '../index.js';
import { fromOption } from './core.js';
import { look, type Sight } from './core-file.js';
import { fabricOption, jsonOption, verb } from './options.js';
import { say, writeJson, writeOut } from './terminal.js';
import { stripLine, table } from './text.js';

interface PsFlags {
  fabric: string;
  from?: string;
  json?: boolean;
}

export function psVerb(): Command {
  return verb('ps', 'list the agents of a fabric')
    .addOption(fabricOption())
    .addOption(fromOption())
    .addOption(jsonOption())
    .action(ps);
}

async function ps(flags: PsFlags): Promise<void> {
  await look(flags, (sight) => show(sight, flags.json ?? !process.stdout.isTTY));
}

async function show(sight: Sight, json: boolean): Promise<void> {
  const agents = sight.agents.sort((a, b) => byName.compare(a.name, b.name));
  if (json) {
    const saved = sight.savedAt === undefined ? {} : { savedAt: sight.savedAt.toISOString() };
    await writeJson({ v: 1, fabric: sight.name, ...saved, agents: agents.map(shapeOfAgent) });
    return;
  }
  const rows = agents.map((agent) => [
    stripLine(agent.name),
    stripLine(agent.role),
    stripLine(agent.team),
    agent.state,
    agent.liveness,
    agent.health,
    String(agent.pid),
    `${agent.depth}/${agent.capacity}`,
    String(agent.restarts),
  ]);
  await writeOut(
    table(['NAME', 'ROLE', 'TEAM', 'STATE', 'LIVE', 'HEALTH', 'PID', 'QUEUED', 'RESTARTS'], rows),
  );
  const first = agents[0];
  if (first !== undefined && sight.savedAt === undefined) say(`cfc send ${first.name} "hello"`);
}

const byName = new Intl.Collator('en', { numeric: true });

/** An agent as `--json` shows it. */
export function shapeOfAgent(agent: AgentSnapshot): Record<string, unknown> {
  const { name, role, team, parent, state, liveness, health, pid } = agent;
  const { depth, capacity, leased, restarts, exitCode, lastProgressAt } = agent;
  const { commandPid, ready, statusText } = agent;
  return {
    name,
    role,
    team,
    parent,
    state,
    liveness,
    health,
    pid,
    depth,
    capacity,
    leased,
    restarts,
    exitCode,
    lastProgressAt: lastProgressAt.toISOString(),
    commandPid: commandPid ?? null,
    ready,
    statusText,
  };
}
