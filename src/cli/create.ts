import type { Command } from 'commander';
import { Fabric, type FabricProfile, isLiving } from '../index.js';
import { fabricOption, jsonOption, parseCount, profileOption, verb } from './options.js';
import { say, writeJson, writeOut } from './terminal.js';

interface CreateFlags {
  fabric: string;
  profile: FabricProfile;
  attemptLimit?: number;
  json?: boolean;
}

interface DestroyFlags {
  fabric: string;
  dryRun?: boolean;
  json?: boolean;
}

export function createVerb(): Command {
  return verb('create', 'make a fabric, if it is not there yet')
    .addOption(fabricOption())
    .addOption(profileOption('how much room a new one has'))
    .option(
      '--attempt-limit <n>',
      'deliveries before a message is a dead letter; 0: no limit (default: 5)',
      parseCount(0, 14),
    )
    .addOption(jsonOption())
    .action(create);
}

export function destroyVerb(): Command {
  return verb('destroy', 'remove a fabric, with every message in it')
    .addOption(fabricOption())
    .option('--dry-run', 'only say what would go')
    .addOption(jsonOption())
    .action(destroy);
}

async function create({ fabric: name, profile, attemptLimit, json }: CreateFlags): Promise<void> {
  const capacity = attemptLimit === undefined ? {} : { attemptLimit };
  const fabric = await Fabric.open(name, { create: true, profile, capacity });
  const { path, sharedBytes } = fabric.info();
  await fabric.close();
  if (json) await writeJson({ v: 1, fabric: name, path, sharedBytes });
  else await writeOut(`${path}\n`);
  say(`next: cfc recv --agent bob --fabric ${name}, and cfc send bob hello from elsewhere`);
}

async function destroy({ fabric: name, dryRun = false, json }: DestroyFlags): Promise<void> {
  const fabric = await Fabric.open(name);
  fabric.requireRight('configure');
  const { path } = fabric.info();
  const agents = fabric.snapshot();
  const living = agents.filter(({ liveness }) => isLiving(liveness)).length;
  const { queued } = fabric.census();
  await fabric.close();
  if (!dryRun) await Fabric.destroy(name);
  const gone = { fabric: name, path, agents: agents.length, living, queued, dryRun };
  if (json) {
    await writeJson({ v: 1, ...gone });
    return;
  }
  const verbed = dryRun ? 'would remove' : 'removed';
  await writeOut(
    `${verbed} ${path}: ${agents.length} agents (${living} alive), ${queued} messages\n`,
  );
}
