import type { Command } from 'commander';
import type { PeekedMessage } from '../index.js';
import { fromOption } from './core.js';
import { look } from './core-file.js';
import { shapeOf } from './message-shape.js';
import { agentOption, fabricOption, jsonOption, parseCount, verb } from './options.js';
import { writeJson, writeOut } from './terminal.js';
import { decodeText, stripLine, table } from './text.js';

interface PeekFlags {
  fabric: string;
  from?: string;
  agent?: string;
  count: number;
  json?: boolean;
}

export function peekVerb(): Command {
  return verb('peek', 'show what waits in a mailbox, without taking it')
    .addOption(fabricOption())
    .addOption(fromOption())
    .addOption(agentOption('whose mailbox').makeOptionMandatory())
    .option('--count <n>', 'how many at most', parseCount(1, 100_000), 100)
    .addOption(jsonOption())
    .action(peek);
}

async function peek(flags: PeekFlags): Promise<void> {
  const name = flags.agent ?? '';
  await look(flags, ({ fabric }) =>
    show(name, fabric.peek(name, flags.count), flags.json ?? !process.stdout.isTTY),
  );
}

async function show(name: string, waiting: PeekedMessage[], json: boolean): Promise<void> {
  if (json) {
    const messages = waiting.map(({ message, leased }) => ({ ...shapeOf(message), leased }));
    await writeJson({ v: 1, agent: name, messages });
    return;
  }
  const rows = waiting.map(({ message, leased }) => {
    const text = decodeText(message.body.subarray(0, 240)) ?? `${message.body.length} bytes`;
    const state = leased ? 'leased' : 'waiting';
    return [message.id, message.from, message.type, state, stripLine(text).slice(0, 60)];
  });
  await writeOut(table(['ID', 'FROM', 'TYPE', 'STATE', 'BODY'], rows));
}
