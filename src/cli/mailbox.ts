import type { Command } from 'commander';
import { CfcError, Fabric } from '../index.js';
import { agentOption, fabricOption, jsonOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, writeJson, writeOut } from './terminal.js';
import { stripLine } from './text.js';

// Verbs about what lies in mailboxes, that take no part in the fabric.

interface CountFlags {
  fabric: string;
  agent?: string;
  json?: boolean;
}

interface ClearFlags {
  fabric: string;
  dryRun?: boolean;
  json?: boolean;
}

export function countVerb(): Command {
  return verb('count', 'say how many messages of an agent are not acked yet')
    .addOption(fabricOption())
    .addOption(agentOption('whose mailbox').makeOptionMandatory())
    .addOption(jsonOption())
    .action(count);
}

export function clearVerb(): Command {
  return verb('clear', 'drop the messages of an agent that nobody has leased')
    .argument('<name>', "the agent's name")
    .addOption(fabricOption())
    .option('--dry-run', 'only say what would go')
    .addOption(jsonOption())
    .action(clear);
}

export function traceVerb(): Command {
  return verb('trace', 'say where a message is')
    .argument('<id>', "the message's id, as send printed it")
    .addOption(fabricOption())
    .addOption(jsonOption())
    .action(trace);
}

async function count(flags: CountFlags): Promise<void> {
  await look(flags.fabric, async (fabric) => {
    const { name, depth, capacity, leased } = agentOf(fabric, flags.agent ?? '');
    if (flags.json) await writeJson({ v: 1, agent: name, depth, capacity, leased });
    else await writeOut(`${depth}\n`);
  });
}

async function clear(name: string, { fabric: where, dryRun = false, json }: ClearFlags) {
  await look(where, async (fabric) => {
    const { depth, leased } = agentOf(fabric, name);
    const dropped = dryRun ? depth - leased : fabric.clear(name);
    if (json) await writeJson({ v: 1, agent: name, dropped, dryRun });
    else await writeOut(`${dryRun ? 'would drop' : 'dropped'} ${dropped} messages\n`);
    if (leased > 0) say(`${leased} are leased, and stay`);
  });
}

async function trace(id: string, flags: { fabric: string; json?: boolean }): Promise<void> {
  await look(flags.fabric, async (fabric) => {
    const found = fabric.trace(id);
    if (found === undefined) {
      throw new Outcome(
        exitCodes.timedOut,
        `nothing is left of a message ${id}`,
        'it was settled and another one came into its place, or there never was one',
      );
    }
    const { state, from, to, type, lane, sequence, sentAt, attempt, pid, reason } = found;
    // How far it has come on the way from sent to acked.
    const acked = state === 'acked';
    const leased = acked || state === 'leased' || state === 'held';
    if (flags.json) {
      await writeJson({
        ...{ v: 1, id, state, from, to, type, lane, sequence: Number(sequence) },
        sentAt: new Date(sentAt).toISOString(),
        attempt,
        pid: pid ?? null,
        reason: reason ?? null,
        steps: { sent: state !== 'writing', seen: leased || attempt > 0, leased, acked },
      });
      return;
    }
    const by = pid === undefined ? '' : `, by process ${pid}`;
    const again = attempt > 0 ? `, given back ${attempt} times` : '';
    const why = reason === undefined ? '' : `: ${stripLine(reason)}`;
    await writeOut(`${state}: from ${from} to ${to}${by}${again}${why}\n`);
  });
}

async function look(name: string, work: (fabric: Fabric) => Promise<void>): Promise<void> {
  const fabric = await Fabric.open(name);
  try {
    await work(fabric);
  } finally {
    await fabric.close();
  }
}

function agentOf(fabric: Fabric, name: string) {
  const agent = fabric.snapshot().find((one) => one.name === name);
  if (agent === undefined) throw new CfcError('ERR_CFC_NO_AGENT', { agent: name });
  return agent;
}
