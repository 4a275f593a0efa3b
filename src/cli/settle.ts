import type { Command } from 'commander';
import { parseMessageId } from '../index.js';
import { readBody } from './input.js';
import { agentOption, fabricOption, jsonOption, parseDuration, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, writeJson } from './terminal.js';
import { visit } from './visit.js';

interface SettleFlags {
  fabric: string;
  agent?: string;
  delay?: number;
  reason?: string;
  json?: boolean;
}

// Three verbs for a message that `cfc recv --lease` left with its agent.

const holder = () => agentOption('the agent that holds the message').makeOptionMandatory();

export function ackVerb(): Command {
  return verb('ack', 'say that a held message was processed')
    .argument('<id>', "the message's id, as recv --lease printed it")
    .addOption(fabricOption())
    .addOption(holder())
    .addOption(jsonOption())
    .action((id: string, flags: SettleFlags) => settle(id, flags, 'acked'));
}

export function nackVerb(): Command {
  return verb('nack', 'give a held message back, to be delivered again')
    .argument('<id>', "the message's id, as recv --lease printed it")
    .addOption(fabricOption())
    .addOption(holder())
    .option('--delay <time>', 'not before this time has passed', parseDuration)
    .option('--reason <text>', 'why; a dead letter shows it')
    .addOption(jsonOption())
    .action((id: string, flags: SettleFlags) => settle(id, flags, 'nacked'));
}

export function replyVerb(): Command {
  return verb('reply', 'answer a held message, without acking it')
    .argument('<id>', "the message's id, as recv --lease printed it")
    .argument('<body>', 'the answer; - reads it from stdin')
    .addOption(fabricOption())
    .addOption(holder())
    .addOption(jsonOption())
    .action(reply);
}

async function settle(id: string, flags: SettleFlags, state: 'acked' | 'nacked'): Promise<void> {
  checkId(id);
  await visit({ fabric: flags.fabric, as: flags.agent }, async (agent) => {
    const settled =
      state === 'acked'
        ? agent.ackHeld(id)
        : agent.nackHeld(id, { delayMs: flags.delay ?? 0, reason: flags.reason ?? '' });
    if (!settled) throw notHeld(agent.name, id);
    if (flags.json) await writeJson({ v: 1, id, agent: agent.name, state });
  });
}

async function reply(id: string, body: string, flags: SettleFlags): Promise<void> {
  checkId(id);
  const answer = body === '-' ? await readBody() : body;
  await visit({ fabric: flags.fabric, as: flags.agent }, async (agent) => {
    const held = agent.peek(Number.MAX_SAFE_INTEGER).find(({ message }) => message.id === id);
    if (held === undefined) throw notHeld(agent.name, id);
    await agent.replyTo(held.message, answer);
    if (flags.json) await writeJson({ v: 1, id, to: held.message.from, state: 'accepted' });
    say(`it is still held: cfc ack ${id} --agent ${agent.name}`);
  });
}

function checkId(id: string): void {
  if (parseMessageId(id) !== undefined) return;
  throw new Outcome(exitCodes.usage, `${id} is no message id`, 'an id looks like 1f-3k');
}

function notHeld(agent: string, id: string): Outcome {
  return new Outcome(
    exitCodes.timedOut,
    `${agent} holds no message ${id}`,
    'it was acked before, or taken back when the agent started anew',
  );
}
