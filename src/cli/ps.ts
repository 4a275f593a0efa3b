import type { Command } from 'commander';
import { type AgentSnapshot, Fabric } from '../index.js';
import { fabricOption, jsonOption, verb } from './options.js';
import { say, writeJson, writeOut } from './terminal.js';
import { stripLine, table } from './text.js';

interface PsFlags {
  fabric: string;
  json?: boolean;
}

export function psVerb(): Command {
  return verb('ps', 'list the agents of a fabric')
    .addOption(fabricOption())
    .addOption(jsonOption())
    .action(ps);
}

async function ps(flags: PsFlags): Promise<void> {
  const fabric = await Fabric.open(flags.fabric);
  try {
    const agents = fabric.snapshot().sort((a, b) => byName.compare(a.name, b.name));
    if (flags.json || !process.stdout.isTTY) {
      await writeJson({ v: 1, fabric: fabric.name, agents: agents.map(shapeOfAgent) });
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
    if (first !== undefined) say(`cfc send ${first.name} "hello"`);
  } finally {
    await fabric.close();
  }
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
