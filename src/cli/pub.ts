import { type Command, Option } from 'commander';
import type { PublishOptions } from '../index.js';
import { readBodies, refuseMissingBody } from './bodies.js';
import { fabricOption, jsonOption, timeoutOption, verb } from './options.js';
import { say, writeJson, writeOut } from './terminal.js';
import { visit } from './visit.js';

interface PublishFlags {
  fabric: string;
  from?: string;
  type?: string;
  timeout?: number;
  ndjson?: boolean;
  json?: boolean;
}

export function pubVerb(): Command {
  return verb('pub', 'publish a message to a topic, for everybody who subscribes to it')
    .argument('<topic>', "the topic's name; it is made where it is missing")
    .argument('[body]', 'the message; - reads it from stdin')
    .addOption(fabricOption())
    .addOption(
      new Option('--from <name>', 'publish under this name, which nobody holds').env('CFC_AGENT'),
    )
    .option('--type <type>', 'a word for subscribers to tell messages apart')
    .addOption(timeoutOption('how long to wait for reliable subscribers (default: 30s)'))
    .option('--ndjson', 'read stdin: one message a line, each a JSON value')
    .addOption(jsonOption())
    .action(publish);
}

async function publish(
  topic: string,
  body: string | undefined,
  flags: PublishFlags,
): Promise<void> {
  const options: PublishOptions = {};
  if (flags.type !== undefined) options.type = flags.type;
  if (flags.timeout !== undefined) options.timeoutMs = flags.timeout;
  refuseMissingBody(body, flags.ndjson, `cfc pub ${topic} "hello"`);
  await visit({ fabric: flags.fabric, as: flags.from }, async (agent) => {
    for await (const one of readBodies(body, flags.ndjson)) {
      const { id } = await agent.publish(topic, one, options);
      await (flags.json ? writeJson({ v: 1, id, topic, state: 'published' }) : writeOut(`${id}\n`));
    }
  });
  say(`published: whoever has subscribed to ${topic} by now reads it; cfc sub ${topic}`);
}
