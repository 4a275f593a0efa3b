import { type Command, Option } from 'commander';
import {
  type Agent,
  CfcError,
  type GroupReceipt,
  type Refusal,
  type Route,
  type SendOptions,
  type SendReceipt,
} from '../index.js';
import { readBodies, refuseMissingBody } from './bodies.js';
import {
  fabricOption,
  jsonOption,
  parseCount,
  parseDuration,
  routeOption,
  timeoutOption,
  verb,
} from './options.js';
import { say, writeJson, writeOut } from './terminal.js';
import { visit } from './visit.js';

interface SendFlags {
  fabric: string;
  from?: string;
  type?: string;
  priority: 'control' | 'work';
  timeout?: number;
  ttl?: number;
  dedupKey?: string;
  hops?: number;
  wait: 'accepted' | 'acked';
  route?: Route;
  ndjson?: boolean;
  json?: boolean;
}

export function sendVerb(): Command {
  return verb('send', 'send a message to an agent or to a group')
    .argument('<to>', 'a name, team:NAME, role:NAME, *, parent, children or peers')
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
    .option('--ttl <time>', 'give it up where nobody took it in that time', parseDuration)
    .option('--dedup-key <key>', 'drop it where one with this key was acked lately')
    .option(
      '--hops <n>',
      'how often it was handed on, as recv --json shows it',
      parseCount(0, 1000),
    )
    .addOption(
      new Option('--wait <state>', 'what to wait for')
        .choices(['accepted', 'acked'])
        .default('accepted'),
    )
    .addOption(routeOption())
    .option('--ndjson', 'read stdin: one message a line, each a JSON value')
    .addOption(jsonOption())
    .action(send);
}

/** What is printed of a receipt. */
type Accepted = Pick<SendReceipt, 'id' | 'to' | 'state'>;

async function send(to: string, body: string | undefined, flags: SendFlags): Promise<void> {
  const options: SendOptions = { priority: flags.priority, wait: flags.wait };
  if (flags.type !== undefined) options.type = flags.type;
  if (flags.timeout !== undefined) options.timeoutMs = flags.timeout;
  if (flags.ttl !== undefined) options.ttlMs = flags.ttl;
  if (flags.dedupKey !== undefined) options.dedupKey = flags.dedupKey;
  if (flags.hops !== undefined) options.hops = flags.hops;
  if (flags.route !== undefined) options.route = flags.route;
  refuseMissingBody(body, flags.ndjson, `cfc send ${to} "hello"`);
  await visit({ fabric: flags.fabric, as: flags.from }, async (agent) => {
    for await (const one of readBodies(body, flags.ndjson))
      await sendOne(agent, to, one, options, flags);
  });
  if (flags.wait === 'accepted') {
    say(`accepted: it waits for ${to}; --wait acked waits until it is processed`);
  }
}

async function sendOne(
  agent: Agent,
  to: string,
  body: unknown,
  options: SendOptions,
  flags: SendFlags,
): Promise<void> {
  try {
    const sent = (await agent.send(to, body, options)) as SendReceipt | GroupReceipt;
    await report('accepted' in sent ? sent.accepted : [sent], [], flags);
  } catch (error) {
    if (error instanceof CfcError && error.code === 'ERR_CFC_PARTLY_DELIVERED') {
      const { to: group, accepted, refused } = error.details as unknown as GroupReceipt;
      if (group !== undefined) await report(accepted, refused, flags);
    }
    throw error;
  }
}

// A line a member: stderr says in a word what became of the rest.
async function report(
  accepted: readonly Accepted[],
  refused: readonly Refusal[],
  flags: SendFlags,
): Promise<void> {
  if (flags.json) {
    for (const { id, to, state } of accepted) await writeJson({ v: 1, id, to, state });
    for (const { to, code, id } of refused) {
      const state = id === undefined ? 'refused' : 'accepted';
      await writeJson({ v: 1, id: id ?? null, to, state, code });
    }
  } else {
    for (const { id } of accepted) await writeOut(`${id}\n`);
  }
}
