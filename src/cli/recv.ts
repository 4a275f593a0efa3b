import type { Command } from 'commander';
import type { Agent, Message } from '../index.js';
import { Interruption } from './interruption.js';
import { shapeOf } from './message-shape.js';
import {
  agentOption,
  fabricOption,
  jsonOption,
  parseCount,
  timeoutOption,
  verb,
} from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, whenOutputCloses, writeForeign, writeJson } from './terminal.js';
import { visit } from './visit.js';

interface ReceiveFlags {
  fabric: string;
  agent?: string;
  timeout?: number;
  follow?: boolean;
  count: number;
  lease?: boolean;
  raw?: boolean;
  json?: boolean;
}

export function recvVerb(): Command {
  return verb('recv', 'receive messages; each is acked once its line is written')
    .addOption(fabricOption())
    .addOption(agentOption('receive under this name, which nobody holds'))
    .addOption(timeoutOption('how long to wait for a message (default: for ever)'))
    .option('--follow', 'go on, one JSON line a message')
    .option('--count <n>', 'how many messages', parseCount(1, 1_000_000), 1)
    .option('--lease', 'leave them leased to the agent until cfc ack ID')
    .option('--raw', 'print bodies as they are, escapes and all')
    .addOption(jsonOption())
    .action(receive);
}

async function receive(flags: ReceiveFlags): Promise<void> {
  const most = flags.follow ? Infinity : flags.count;
  const interrupted = new Interruption();
  const got = await visit({ fabric: flags.fabric, as: flags.agent }, async (agent) => {
    if (flags.agent === undefined) say(`receiving as ${agent.name}`);
    interrupted.whenAsked(() => agent.leave());
    whenOutputCloses(() => void agent.leave());
    let count = 0;
    while (count < most) {
      const message = await next(agent, flags.timeout, interrupted);
      if (message === undefined) break;
      await deliver(agent, message, flags);
      count += 1;
    }
    return count;
  });
  interrupted.check();
  if (got < most && !(flags.follow && got > 0)) {
    throw new Outcome(exitCodes.timedOut, `no message came in time (${got} of ${most})`);
  }
}

async function next(
  agent: Agent,
  timeoutMs: number | undefined,
  interrupted: Interruption,
): Promise<Message | undefined> {
  try {
    return await agent.receive({ timeoutMs: timeoutMs ?? Infinity });
  } catch (error) {
    if (interrupted.asked) return undefined;
    throw error;
  }
}

/** A failed write leaves the message in the mailbox: it is acked, or held, only afterwards. */
async function deliver(agent: Agent, message: Message, flags: ReceiveFlags): Promise<void> {
  if (flags.json || flags.follow) await writeJson(shapeOf(message));
  else await writeForeign(message.body, { raw: flags.raw ?? false });
  if (!flags.lease) {
    message.ack();
    return;
  }
  agent.hold(message);
  say(`held: cfc ack ${message.id} --agent ${agent.name}`);
}
