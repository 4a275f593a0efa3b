import { type Command, Option } from 'commander';
import type { Agent, SendOptions } from '../index.js';
import { parseJsonLine, readBody, readLines } from './input.js';
import { fabricOption, jsonOption, timeoutOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, writeJson, writeOut } from './terminal.js';
import { visit } from './visit.js';

interface SendFlags {
  fabric: string;
  from?: string;
  type?: string;
  priority: 'control' | 'work';
  timeout?: number;
  wait: 'accepted' | 'acked';
  ndjson?: boolean;
  json?: boolean;
}

export function sendVerb(): Command {
  return verb('send', 'send a message to an agent')
    .argument('<to>', "the agent's name")
    .argument('[body]', 'the message; - reads it from stdin')
    .addOption(fabricOption())
    .addOption(
      new Option('--from <name>', 'send under this name, which nobody holds').env('CFC_AGENT'),
    )
    .option('--type <type>', 'a word for the reader to tell messages apart')
    .addOption(
      new Option('--priority <lane>', 'control overtakes work')
        .choices(['control', 'work'])
        .default('work'),
    )
    .addOption(timeoutOption('how long to wait for room, and for the ack (default: 30s)'))
    .addOption(
      new Option('--wait <state>', 'what to wait for')
        .choices(['accepted', 'acked'])
        .default('accepted'),
    )
    .option('--ndjson', 'read stdin: one message a line, each a JSON value')
    .addOption(jsonOption())
    .action(send);
}

async function send(to: string, body: string | undefined, flags: SendFlags): Promise<void> {
  const options: SendOptions = { priority: flags.priority, wait: flags.wait };
  if (flags.type !== undefined) options.type = flags.type;
  if (flags.timeout !== undefined) options.timeoutMs = flags.timeout;
  if (flags.ndjson) {
    if (body !== undefined && body !== '-') {
      throw new Outcome(
        exitCodes.usage,
        '--ndjson reads its messages from stdin, and takes no body',
      );
    }
  } else if (body === undefined && process.stdin.isTTY) {
    throw new Outcome(
      exitCodes.usage,
      'there is no body',
      `cfc send ${to} "hello", or - to read stdin`,
    );
  }
  await visit({ fabric: flags.fabric, as: flags.from }, async (agent) => {
    for await (const one of bodies(body, flags)) await sendOne(agent, to, one, options, flags);
  });
  if (flags.wait === 'accepted') {
    say(`accepted: it waits for ${to}; --wait acked waits until it is processed`);
  }
}

async function* bodies(body: string | undefined, flags: SendFlags): AsyncGenerator<unknown> {
  if (!flags.ndjson) {
    yield body === undefined || body === '-' ? await readBody() : body;
    return;
  }
  let number = 0;
  for await (const line of readLines(process.stdin)) {
    number += 1;
    if (line.length > 0) yield parseJsonLine(line, number);
  }
}

async function sendOne(
  agent: Agent,
  to: string,
  body: unknown,
  options: SendOptions,
  flags: SendFlags,
): Promise<void> {
  const { id, state } = await agent.send(to, body, options);
  await (flags.json ? writeJson({ v: 1, id, to, state }) : writeOut(`${id}\n`));
}
