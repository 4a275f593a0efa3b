import type { Command } from 'commander';
import { Fabric, type ShutdownReport, Supervisor } from '../index.js';
import { fabricOption, jsonOption, parseDuration, timeoutOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { writeJson, writeOut } from './terminal.js';
import { stripLine } from './text.js';
import { fabricOf, parseTopology, readTopologyText } from './topo.js';

interface DownFlags {
  fabric: string;
  timeout?: number;
  grace?: number;
  json?: boolean;
}

export function downVerb(): Command {
  return verb('down', 'stop every agent in good order, print the ledger, remove the fabric')
    .argument('[file]', 'the topology that it was started with, for the fabric that it names')
    .addOption(fabricOption())
    .addOption(timeoutOption('for all of it (default: 30s)'))
    .option('--grace <time>', 'from TERM to KILL of an agent (default: 5s)', parseDuration)
    .addOption(jsonOption())
    .action(down);
}

async function down(file: string | undefined, flags: DownFlags, command: Command): Promise<void> {
  const fabric = await Fabric.open(await nameOf(file, flags, command));
  let report: ShutdownReport;
  try {
    report = await Supervisor.down(fabric, {
      ...(flags.timeout === undefined ? {} : { timeoutMs: flags.timeout }),
      ...(flags.grace === undefined ? {} : { graceMs: flags.grace }),
    });
  } catch (error) {
    await fabric.close();
    throw error;
  }
  await finishDown(fabric, report, flags.json ?? false);
}

async function nameOf(
  file: string | undefined,
  flags: DownFlags,
  command: Command,
): Promise<string> {
  if (file === undefined) return flags.fabric;
  return fabricOf(parseTopology(file, await readTopologyText(file)), flags, command);
}

/**
 * Says how it went, and removes the fabric: but not while it holds messages that nobody read, or
 * dead letters that nobody looked at.
 *
 * @throws {Outcome} partly, where there are such
 */
export async function finishDown(
  fabric: Fabric,
  report: ShutdownReport,
  json: boolean,
): Promise<void> {
  const { name } = fabric;
  const { path } = fabric.info();
  const { deadLetters } = fabric.census();
  await fabric.close();
  const removed = report.ledger.queued === 0 && deadLetters === 0;
  if (removed) await Fabric.destroy(name);
  const { ledger, stopped, killed, left, drained, undelivered, durationMs } = report;
  if (json) {
    const facts = { stopped: stopped.length, killed, left, drained, undelivered, deadLetters };
    await writeJson({ v: 1, fabric: name, ...facts, ledger, removed, durationMs });
  } else {
    const forced = killed.length === 0 ? '' : `, ${killed.length} of them by force`;
    const seconds = (durationMs / 1000).toFixed(1);
    const { accepted, acked, queued, deadLettered, dropped } = ledger;
    await writeOut(`stopped ${stopped.length} agents in ${seconds} s${forced}\n`);
    await writeOut(
      `${accepted} accepted = ${acked} acked + ${queued} queued + ${deadLettered} dead-lettered + ${dropped} dropped\n`,
    );
    if (removed) await writeOut(`removed ${path}\n`);
  }
  if (removed) return;
  if (ledger.queued === 0) {
    throw new Outcome(
      exitCodes.partly,
      `${deadLetters} dead letters are there that nobody dropped`,
      `${path} stays; cfc dead list --fabric ${name} shows them, cfc destroy --fabric ${name} drops them`,
    );
  }
  const most = undelivered.slice(0, 5);
  const some = most.map(({ agent, messages }) => `${stripLine(agent)} ${messages}`).join(', ');
  const more =
    undelivered.length > most.length ? ` and ${undelivered.length - most.length} more` : '';
  throw new Outcome(
    exitCodes.partly,
    `${ledger.queued} messages wait for agents that did not read them: ${some}${more}`,
    `${path} stays; cfc up goes on with them, cfc destroy --fabric ${name} drops them`,
  );
}
