import { type Command, Option } from 'commander';
import type { SendOptions } from '../index.js';
import { readBody } from './input.js';
import { shapeOf } from './message-shape.js';
import { fabricOption, jsonOption, timeoutOption, verb } from './options.js';
import { writeForeign, writeJson } from './terminal.js';
import { visit } from './visit.js';

interface AskFlags {
  fabric: string;
  from?: string;
  type?: string;
  timeout?: number;
  raw?: boolean;
  json?: boolean;
}

export function askVerb(): Command {
  return verb('ask', 'send a question and print the reply')
    .argument('<to>', "the agent's name")
    .argument('<body>', 'the question; - reads it from stdin')
    .addOption(fabricOption())
    .addOption(
      new Option('--from <name>', 'ask under this name, which nobody holds').env('CFC_AGENT'),
    )
    .option('--type <type>', 'a word for the reader to tell messages apart')
    .addOption(timeoutOption('how long to wait for the reply (default: 5s)'))
    .option('--raw', 'print the reply as it is, escapes and all')
    .addOption(jsonOption())
    .action(ask);
}

async function ask(to: string, body: string, flags: AskFlags): Promise<void> {
  const question = body === '-' ? await readBody() : body;
  const options: Omit<SendOptions, 'wait'> = {};
  if (flags.timeout !== undefined) options.timeoutMs = flags.timeout;
  if (flags.type !== undefined) options.type = flags.type;
  await visit({ fabric: flags.fabric, as: flags.from }, async (agent) => {
    const answer = await agent.ask(to, question, options);
    if (flags.json) await writeJson(shapeOf(answer));
    else await writeForeign(answer.body, { raw: flags.raw ?? false });
  });
}
