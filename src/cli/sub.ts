import { type Command, Option } from 'commander';
import type { TopicEvent, TopicMessage, TopicPolicy } from '../index.js';
import { Interruption } from './interruption.js';
import { bodyOf } from './message-shape.js';
import {
  agentOption,
  fabricOption,
  jsonOption,
  parseCount,
  parseDuration,
  timeoutOption,
  verb,
} from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, whenOutputCloses, writeForeign, writeJson } from './terminal.js';
import { visit } from './visit.js';

interface SubscribeFlags {
  fabric: string;
  agent?: string;
  policy: TopicPolicy;
  patience?: number;
  count?: number;
  timeout?: number;
  raw?: boolean;
  json?: boolean;
}

export function subVerb(): Command {
  return verb('sub', 'print what is published to a topic from now on')
    .argument('<topic>', "the topic's name; it is made where it is missing")
    .addOption(fabricOption())
    .addOption(agentOption('subscribe under this name, which nobody holds'))
    .addOption(
      new Option('--policy <policy>', 'reliable: publishers wait a while; lossy: nobody waits')
        .choices(['reliable', 'lossy'])
        .default('reliable'),
    )
    .option(
      '--patience <time>',
      'how long publishers wait for this subscriber, if reliable (default: 1s)',
      parseDuration,
    )
    .option('--count <n>', 'how many messages (default: all)', parseCount(1, 1_000_000_000))
    .addOption(timeoutOption('how long to wait for each (default: for ever)'))
    .option('--raw', 'print bodies as they are, escapes and all')
    .addOption(jsonOption())
    .action(subscribe);
}

async function subscribe(topic: string, flags: SubscribeFlags): Promise<void> {
  const most = flags.count ?? Infinity;
  const interrupted = new Interruption();
  let got = 0;
  await visit({ fabric: flags.fabric, as: flags.agent }, async (agent) => {
    const patienceMs = flags.patience;
    await using subscription = agent.subscribe(topic, {
      policy: flags.policy,
      ...(patienceMs === undefined ? {} : { patienceMs }),
    });
    say(`subscribed to ${topic} as ${agent.name}`);
    interrupted.whenAsked(() => subscription.close());
    whenOutputCloses(() => void subscription.close());
    while (got < most) {
      const event = await subscription.receive({ timeoutMs: flags.timeout ?? Infinity });
      if (event === undefined) break;
      await print(event, flags);
      if (event.gap === undefined) got += 1;
    }
  });
  interrupted.check();
  if (got < most && (got === 0 || flags.count !== undefined)) {
    throw new Outcome(
      exitCodes.timedOut,
      `no message came in time (${got}${flags.count === undefined ? '' : ` of ${most}`})`,
    );
  }
}

async function print(event: TopicEvent, flags: SubscribeFlags): Promise<void> {
  if (event.gap !== undefined) {
    const { from, to, count } = event.gap;
    if (flags.json) await writeJson({ v: 1, topic: event.topic, gap: { from, to, count } });
    else process.stderr.write(`cfc: ${count} messages of ${event.topic} lost here\n`);
    return;
  }
  if (flags.json) await writeJson(shapeOf(event));
  else await writeForeign(event.body, { raw: flags.raw ?? false });
}

function shapeOf(message: TopicMessage): Record<string, unknown> {
  return {
    v: 1,
    id: message.id,
    from: message.from,
    topic: message.topic,
    type: message.type,
    sequence: Number(message.sequence),
    sentAt: new Date(message.sentAt).toISOString(),
    position: message.position,
    ...bodyOf(message),
  };
}
