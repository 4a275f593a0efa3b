import { type Command, InvalidArgumentError, Option } from 'commander';
import { type MetricRecord, metricsTopic } from '../metrics/index.js';
import { fabricOption, jsonOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { writeJson } from './terminal.js';
import { visit } from './visit.js';

interface EmitFlags {
  fabric: string;
  from?: string;
  unit?: string;
  tag?: Record<string, string>;
  json?: boolean;
}

export function emitVerb(): Command {
  return verb('emit', 'say what was measured, for exporters and alerts to read')
    .argument('<name>', 'of the metric: up to 64 of A-Z a-z 0-9 _ . -')
    .argument('<value>', 'a number')
    .addOption(fabricOption())
    .addOption(new Option('--from <name>', 'in the name of this agent').env('CFC_AGENT'))
    .option('--unit <unit>', 'what it is counted in')
    .option('--tag <key=value>', 'what it is about; may be given several times', addTag)
    .addOption(jsonOption())
    .addHelpText('after', emitHelp)
    .action(emit);
}

const emitHelp = `
It is kept in shared memory until an exporter has read it: of the small profile the last 256, else
the last 1,024. What was overwritten before that is counted.

  cfc emit task.seconds 12.5 --unit seconds --tag branch=main`;

async function emit(name: string, value: string, flags: EmitFlags): Promise<void> {
  const number = Number(value);
  if (value.trim() === '' || !Number.isFinite(number)) {
    throw new Outcome(exitCodes.usage, `the value is a number, and no '${value}'`);
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(name)) {
    throw new Outcome(exitCodes.usage, 'the name is up to 64 of A-Z a-z 0-9 _ . -');
  }
  const record: MetricRecord = {
    timestamp: new Date().toISOString(),
    metric: name,
    value: number,
    unit: flags.unit ?? '',
    tags: { ...(flags.from === undefined ? {} : { agent: flags.from }), ...flags.tag },
  };
  // As a visitor: the agent of that name lives, and goes on.
  await visit({ fabric: flags.fabric }, async (agent) => {
    await agent.publish(metricsTopic, record);
  });
  if (flags.json) await writeJson({ v: 1, ...record });
}

function addTag(text: string, tags: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('A tag is a key, = and a value.');
  return { ...tags, [text.slice(0, at)]: text.slice(at + 1) };
}
