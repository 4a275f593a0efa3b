import { Argument, type Command } from 'commander';
import { type DeadLetter, Fabric, type RedriveResult } from '../index.js';
import { shapeOf } from './message-shape.js';
import { fabricOption, jsonOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, writeJson, writeOut } from './terminal.js';
import { decodeText, stripLine, table } from './text.js';

interface DeadFlags {
  fabric: string;
  dryRun?: boolean;
  json?: boolean;
}

type Action = 'list' | 'redrive' | 'drop';

export function deadVerb(): Command {
  return verb('dead', 'look at messages that could not be delivered, send them again, or drop them')
    .addArgument(new Argument('<action>', 'what to do').choices(['list', 'redrive', 'drop']))
    .argument('[name]', "whose messages they were (default: everybody's)")
    .addOption(fabricOption())
    .option('--dry-run', 'only say what would be sent again or dropped')
    .addOption(jsonOption())
    .action(dead);
}

async function dead(action: Action, name: string | undefined, flags: DeadFlags): Promise<void> {
  const fabric = await Fabric.open(flags.fabric);
  try {
    if (action === 'list') await list(fabric.deadLetters(name), flags);
    else if (action === 'redrive') await redrive(fabric, name, flags);
    else await drop(fabric, name, flags);
  } finally {
    await fabric.close();
  }
}

async function list(letters: readonly DeadLetter[], flags: DeadFlags): Promise<void> {
  if (flags.json ?? !process.stdout.isTTY) {
    const shapes = letters.map(({ message, cause, reason, attempts, diedAt }) => {
      const { v: _, redelivered, attempt, ...shape } = shapeOf(message);
      return { ...shape, cause, reason, attempts, diedAt: diedAt.toISOString() };
    });
    await writeJson({ v: 1, letters: shapes });
    return;
  }
  const rows = letters.map(({ message, reason, attempts }) => {
    const text = decodeText(message.body.subarray(0, 240)) ?? `${message.body.length} bytes`;
    return [
      message.id,
      message.from,
      message.to,
      String(attempts),
      stripLine(reason).slice(0, 40),
      stripLine(text).slice(0, 40),
    ];
  });
  await writeOut(table(['ID', 'FROM', 'TO', 'ATTEMPTS', 'REASON', 'BODY'], rows));
  if (rows.length > 0) say('next: cfc dead redrive [NAME], or cfc dead drop [NAME]');
}

async function redrive(fabric: Fabric, name: string | undefined, flags: DeadFlags): Promise<void> {
  const dryRun = flags.dryRun ?? false;
  const none: RedriveResult = { redriven: [], refused: [] };
  const { redriven, refused } = dryRun ? none : await fabric.redrive(name);
  const count = dryRun ? fabric.deadLetters(name).length : redriven.length;
  if (flags.json) await writeJson({ v: 1, redriven, refused, count, dryRun });
  else await writeOut(`${dryRun ? 'would send again' : 'sent again'} ${count} messages\n`);
  const [first] = refused;
  if (first === undefined) return;
  throw new Outcome(
    exitCodes.partly,
    `${refused.length} stay dead letters; the first, ${first.id} to ${first.to}: ${first.code}`,
    'let the recipient catch up or start it, then redrive again',
  );
}

async function drop(fabric: Fabric, name: string | undefined, flags: DeadFlags): Promise<void> {
  const dryRun = flags.dryRun ?? false;
  const dropped = dryRun ? fabric.deadLetters(name).length : fabric.dropDead(name);
  if (flags.json) await writeJson({ v: 1, dropped, dryRun });
  else await writeOut(`${dryRun ? 'would drop' : 'dropped'} ${dropped} dead letters\n`);
}
