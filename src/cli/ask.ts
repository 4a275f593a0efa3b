import { type Command, Option } from 'commander';
import {
  type Agent,
  type GatherResult,
  QuorumError,
  type Route,
  type SendOptions,
} from '../index.js';
import { readBody } from './input.js';
import { shapeOf } from './message-shape.js';
import {
  fabricOption,
  jsonOption,
  parseQuorum,
  routeOption,
  timeoutOption,
  verb,
} from './options.js';
import { say, writeForeign, writeJson } from './terminal.js';
import { visit } from './visit.js';

interface AskFlags {
  fabric: string;
  from?: string;
  type?: string;
  timeout?: number;
  route?: Route;
  quorum?: number | { count: number };
  raw?: boolean;
  json?: boolean;
}

export function askVerb(): Command {
  return verb('ask', 'send a question to an agent or to a group, and print what is replied')
    .argument('<to>', 'a name, team:NAME, role:NAME, *, parent, children or peers')
    .argument('<body>', 'the question; - reads it from stdin')
    .addOption(fabricOption())
    .addOption(
      new Option('--from <name>', 'ask under this name, which nobody holds').env('CFC_AGENT'),
    )
    .option('--type <type>', 'a word for the reader to tell messages apart')
    .addOption(timeoutOption('how long to wait for the reply (default: 5s)'))
    .addOption(routeOption())
    .option('--quorum <n>', 'of a group: how many replies are enough, 5 or 90%', parseQuorum)
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
    const one = flags.route !== undefined && flags.route !== 'all';
    if (flags.quorum !== undefined || (!one && isGroup(to))) {
      await gather(agent, to, question, options, flags);
      return;
    }
    if (flags.route !== undefined) options.route = flags.route;
    const answer = await agent.ask(to, question, options);
    if (flags.json) await writeJson(shapeOf(answer));
    else await writeForeign(answer.body, { raw: flags.raw ?? false });
  });
}

// The parent is one. What is neither a name nor a group is told what there is when it is asked.
const isGroup = (to: string) => to.includes(':') || ['*', 'children', 'peers'].includes(to);

async function gather(
  agent: Agent,
  to: string,
  question: string | Uint8Array,
  options: SendOptions,
  { quorum, raw = false, json }: AskFlags,
): Promise<void> {
  try {
    const asked = { ...options, ...(quorum === undefined ? {} : { quorum }) };
    await print(to, await agent.gather(to, question, asked), raw, json);
  } catch (error) {
    if (error instanceof QuorumError) await print(to, error.result, raw, json);
    throw error;
  }
}

async function print(
  to: string,
  result: GatherResult,
  raw: boolean,
  json: boolean | undefined,
): Promise<void> {
  const { answers, missing, asked, needed, score, durationMs } = result;
  if (json) {
    const rounded = Math.round(durationMs * 1000) / 1000;
    const counts = { asked, needed, answered: answers.length, score, durationMs: rounded };
    await writeJson({ v: 1, to, ...counts, answers: answers.map(shapeOf), missing });
    return;
  }
  for (const answer of answers) await writeForeign(answer.body, { raw });
  const agree = `${Math.round(score)} % agree`;
  say(`${answers.length} of ${asked} replied, ${missing.length} missing, ${agree}`);
}
