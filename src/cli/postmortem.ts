import type { Command } from 'commander';
import { type AgentSnapshot, CfcError, type Fabric, type TracedMessage } from '../index.js';
import { eventsTopic } from '../metrics/index.js';
import { fromOption } from './core.js';
import { look, type Sight } from './core-file.js';
import { bodyOf, shapeOf } from './message-shape.js';
import { fabricOption, jsonOption, parseCount, verb } from './options.js';
import { shapeOfAgent } from './ps.js';
import { writeJson, writeOut } from './terminal.js';
import { decodeText, stripLine, table } from './text.js';

interface PostmortemFlags {
  fabric: string;
  from?: string;
  count: number;
  json?: boolean;
}

const bodyShown = 60;

export function postmortemVerb(): Command {
  return verb('postmortem', 'all that is left of an agent: mailbox, leases, sends, counters')
    .argument('<name>', "the agent's name")
    .addOption(fabricOption())
    .addOption(fromOption())
    .option('--count <n>', 'how many messages of each kind at most', parseCount(1, 1000), 20)
    .addOption(jsonOption())
    .action(postmortem);
}

async function postmortem(name: string, flags: PostmortemFlags): Promise<void> {
  await look(flags, async (sight) => {
    const agent = sight.agents.find((one) => one.name === name);
    if (agent === undefined) throw new CfcError('ERR_CFC_NO_AGENT', { agent: name });
    const left = leftOf(sight.fabric, agent, flags.count);
    if (flags.json || !process.stdout.isTTY) await writeJson(shapeOfAll(sight, agent, left));
    else await writeOut(describe(sight, agent, left));
  });
}

interface Event {
  at: string;
  event: string;
  [detail: string]: unknown;
}

interface Left {
  /** What waits or is leased, oldest first. */
  mailbox: ReturnType<Fabric['peek']>;
  /** Of the leased ones, the process that has or had each. */
  holders: ReadonlyMap<string, number>;
  /** Newest first. */
  sends: TracedMessage[];
  /** Oldest first. */
  events: Event[];
  /** Oldest first. */
  stateChanges: ReturnType<Fabric['history']>;
  /** The end of what its command wrote. */
  lastLines: string[];
}

function leftOf(fabric: Fabric, { name }: AgentSnapshot, count: number): Left {
  const mailbox = fabric.peek(name, count);
  const holders = new Map<string, number>();
  for (const { message, leased } of mailbox) {
    const pid = leased ? fabric.trace(message.id)?.pid : undefined;
    if (pid !== undefined) holders.set(message.id, pid);
  }
  const events = fabric.topicLog(eventsTopic).flatMap(({ body }) => eventOf(body, name));
  return {
    ...{ mailbox, holders, sends: fabric.lastSends(name, count), events: events.slice(-count) },
    ...{ stateChanges: fabric.history(name), lastLines: fabric.lastLines(name) },
  };
}

// What others published is no event just because it lies there.
function eventOf(body: string, name: string): Event[] {
  try {
    const value = JSON.parse(body) as Partial<Event> | null;
    const { at, event } = value ?? {};
    if (value?.agent !== name || typeof event !== 'string') return [];
    return [{ ...value, at: new Date(at as string | number).toISOString(), event }];
  } catch {
    return [];
  }
}

function shapeOfAll(sight: Sight, agent: AgentSnapshot, left: Left): Record<string, unknown> {
  const { mailbox, holders, sends, events, stateChanges, lastLines } = left;
  const messages = mailbox.map(({ message, leased }) => ({
    ...shapeOf(message),
    leased,
    ...(holders.has(message.id) ? { pid: holders.get(message.id) } : {}),
  }));
  return {
    v: 1,
    fabric: sight.name,
    savedAt: sight.savedAt?.toISOString() ?? null,
    agent: { ...shapeOfAgent(agent), joinedAt: agent.joinedAt.toISOString() },
    mailbox: messages.filter(({ leased }) => !leased),
    leases: messages.filter(({ leased }) => leased),
    lastSends: sends.map(shapeOfTraced),
    stateChanges: stateChanges.map(({ at, ...change }) => ({ at: at.toISOString(), ...change })),
    events,
    lastLines,
    counters: agent.counters,
  };
}

function shapeOfTraced(sent: TracedMessage): Record<string, unknown> {
  const { id, to, type, state, lane, sequence, sentAt, attempt, kind, body } = sent;
  const json = () => JSON.parse(decodeText(body ?? new Uint8Array()) ?? '') as unknown;
  return {
    ...{ id, to, type, state, lane, sequence: Number(sequence) },
    sentAt: new Date(sentAt).toISOString(),
    attempt,
    ...(body === undefined ? { body: null, gone: true } : bodyOf({ kind, body, json })),
  };
}

function describe(sight: Sight, agent: AgentSnapshot, left: Left): string {
  const { role, team, parent, state, liveness, pid, depth, capacity, restarts } = agent;
  const { exitCode } = agent;
  const saved = sight.savedAt === undefined ? '' : `, saved ${sight.savedAt.toISOString()}`;
  const ended = exitCode === null ? '' : `, ended with ${exitCode}`;
  const names = Object.entries({ role, team, parent })
    .filter(([, value]) => value !== '')
    .map(([key, value]) => `, ${key} ${stripLine(value)}`);
  const parts = [
    `${stripLine(agent.name)} of ${stripLine(sight.name)}${saved}${names.join('')}`,
    `${state}, ${liveness}, process ${pid}, taken over ${restarts} times${ended}`,
    `joined ${agent.joinedAt.toISOString()}, last progress ${agent.lastProgressAt.toISOString()}`,
    `\nmailbox: ${depth} of ${capacity}`,
    ...listOf(
      ['ID', 'FROM', 'TYPE', 'STATE', 'BODY'],
      left.mailbox.map(({ message, leased }) => {
        const by = left.holders.get(message.id);
        const is = leased ? `leased${by === undefined ? '' : ` by ${by}`}` : 'queued';
        return [message.id, message.from, message.type, is, bodyText(message.body)];
      }),
    ),
    '\nlast sends',
    ...listOf(
      ['ID', 'AT', 'TO', 'TYPE', 'STATE', 'BODY'],
      left.sends.map(({ id, sentAt, to, type, state: is, body }) => {
        return [id, new Date(sentAt).toISOString(), to, type, is, bodyText(body)];
      }),
    ),
    '\nstate changes',
    ...listOf(
      ['AT', 'FROM', 'TO'],
      left.stateChanges.map((change) => [change.at.toISOString(), change.from, change.to]),
    ),
    '\nlast lines',
    ...(left.lastLines.length === 0 ? ['none'] : left.lastLines.map(stripLine)),
    '\nevents',
    ...listOf(
      ['AT', 'EVENT', 'DETAILS'],
      left.events.map(({ at, event, agent: _agent, ...details }) => {
        return [at, event, JSON.stringify(details)];
      }),
    ),
    '\ncounters',
    ...listOf(
      ['NAME', 'VALUE'],
      Object.entries(agent.counters)
        .filter(([, value]) => value !== 0)
        .map(([name, value]) => [name, String(value)]),
    ),
  ];
  return `${parts.join('\n')}\n`;
}

function listOf(heads: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return ['none that is still to be seen'];
  return [
    table(
      heads,
      rows.map((row) => row.map(stripLine)),
    ).trimEnd(),
  ];
}

function bodyText(body: Uint8Array | undefined): string {
  if (body === undefined) return '(gone)';
  const text = decodeText(body.subarray(0, 4 * bodyShown)) ?? `${body.length} bytes`;
  return stripLine(text).slice(0, bodyShown);
}
