import type { Command } from 'commander';
import { shapeOf } from './message-shape.js';
import { agentOption, fabricOption, jsonOption, parseCount, verb } from './options.js';
import { writeJson, writeOut } from './terminal.js';
import { decodeText, stripLine, table } from './text.js';
import { visit } from './visit.js';

interface PeekFlags {
  fabric: string;
  agent?: string;
  count: number;
  json?: boolean;
}

export function peekVerb(): Command {
  return verb('peek', 'show what waits in a mailbox, without taking it')
    .addOption(fabricOption())
    .addOption(agentOption('whose mailbox').makeOptionMandatory())
    .option('--count <n>', 'how many at most', parseCount(1, 100_000), 100)
    .addOption(jsonOption())
    .action(peek);
}

async function peek(flags: PeekFlags): Promise<void> {
  await visit({ fabric: flags.fabric, as: flags.agent }, async (agent) => {
    const waiting = agent.peek(flags.count);
    if (flags.json || !process.stdout.isTTY) {
      const messages = waiting.map(({ message, leased }) => ({ ...shapeOf(message), leased }));
      await writeJson({ v: 1, agent: agent.name, messages });
      return;
    }
    const rows = waiting.map(({ message, leased }) => [
      message.id,
      message.from,
      message.type,
      leased ? 'leased' : 'waiting',
      stripLine(decodeText(message.body.subarray(0, 240)) ?? `${message.body.length} bytes`).slice(
        0,
        60,
      ),
    ]);
    await writeOut(table(['ID', 'FROM', 'TYPE', 'STATE', 'BODY'], rows));
  });
}
