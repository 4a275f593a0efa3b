import type { Frame, TopEvent } from './frame.js';
import { bad, dim, head, type Line, moods, strong } from './line.js';
import { age, foreign, pad, short, widthOf } from './width.js';

export interface WaitingMessage {
  id: string;
  from: string;
  type: string;
  /** `queued`, or `leased` with who has it. */
  state: string;
  sentAtMs: number;
  /** Its beginning; others' text. */
  body: string;
}

/** What only the page of one agent shows. */
export interface Details {
  messages: WaitingMessage[];
  /** All that it counts, and its gauges. */
  counters: Readonly<Record<string, number>>;
  /** Of its state, those before `top` began too; oldest first. */
  changes: readonly { at: Date; from: string; to: string }[];
  /** The last lines that it wrote, oldest first; others' text. */
  lines: readonly string[];
}

const messagesShown = 12;
const linesShown = 12;

/** The page of an agent, as long as it is. */
export function detailLines(
  details: Details | undefined,
  name: string,
  frame: Frame,
  columns: number,
): Line[] {
  const row = frame.rows.find(({ agent }) => agent.name === name);
  const seen = frame.events.filter(({ agent }) => agent === name);
  const changes = withHistory(seen, details, name);
  if (row === undefined)
    return [[[`${foreign(name)} is not there any more`, bad]], ...changesOf(changes)];
  const { agent } = row;
  const nowMs = frame.at.getTime();
  const words = [
    ['role', agent.role],
    ['team', agent.team],
    ['parent', agent.parent],
  ].filter(([, value]) => value !== '');
  return [
    [
      [foreign(name), strong],
      [words.map(([key, value]) => `   ${key} ${foreign(value as string)}`).join('')],
    ],
    [
      [`${agent.state}, ${agent.liveness}, ${agent.health}`],
      [`   pid ${agent.pid}   restarts ${agent.restarts}`],
      [`   joined ${age(nowMs - agent.joinedAt.getTime())} ago`],
      [`   progress ${age(nowMs - agent.lastProgressAt.getTime())} ago`],
    ],
    [
      [
        `${short(row.sent)} sent/s   ${short(row.received)} received/s   ${short(row.acked)} acked/s`,
      ],
    ],
    [],
    [['MAILBOX', head], [`   ${agent.depth} of ${agent.capacity}, ${agent.leased} leased`]],
    ...mailbox(details?.messages ?? [], nowMs, columns),
    [],
    [['COUNTERS', head]],
    ...counters(details?.counters ?? {}, columns),
    [],
    [['CHANGES', head]],
    ...changesOf(changes),
    ...output(details?.lines ?? []),
  ];
}

function mailbox(messages: readonly WaitingMessage[], nowMs: number, columns: number): Line[] {
  if (messages.length === 0) return [[['  empty', dim]]];
  const lines = messages.slice(0, messagesShown).map((message): Line => {
    const { id, from, type, state, sentAtMs, body } = message;
    const cells = [pad(foreign(id), 10), pad(foreign(from), 14), pad(foreign(type), 10)];
    const front = `  ${cells.join(' ')} ${pad(state, 16)} ${pad(age(nowMs - sentAtMs), 4, true)} `;
    const leased = state !== 'queued';
    return [[front, leased ? moods.plain : undefined], [foreign(body).slice(0, columns)]];
  });
  const more = messages.length - messagesShown;
  return more > 0 ? [...lines, [[`  and more: cfc peek --agent …`, dim]]] : lines;
}

function counters(values: Readonly<Record<string, number>>, columns: number): Line[] {
  const told = Object.entries(values).filter(([, value]) => value !== 0);
  if (told.length === 0) return [[['  all 0', dim]]];
  const texts = told.map(([name, value]) => `${foreign(name)} ${short(value)}`);
  const width = Math.max(...texts.map(widthOf)) + 3;
  const across = Math.max(1, Math.floor((columns - 2) / width));
  const lines: Line[] = [];
  for (let i = 0; i < texts.length; i += across) {
    lines.push([
      [
        `  ${texts
          .slice(i, i + across)
          .map((one) => pad(one, width))
          .join('')}`,
      ],
    ]);
  }
  return lines;
}

// The agent's own record has its states; what was seen has all else.
function withHistory(
  seen: readonly TopEvent[],
  details: Details | undefined,
  name: string,
): readonly TopEvent[] {
  if (details === undefined || details.changes.length === 0) return seen;
  const states = details.changes.map(({ at, from, to }): TopEvent => {
    return { at, agent: name, what: `${from} -> ${to}`, mood: to === 'failed' ? 'bad' : 'plain' };
  });
  const known = new Set(states.map(({ what }) => what));
  const others = seen.filter(({ what }) => !known.has(what));
  return [...states, ...others].sort((a, b) => a.at.getTime() - b.at.getTime());
}

function changesOf(changes: readonly TopEvent[]): Line[] {
  if (changes.length === 0) return [[['  none', dim]]];
  return changes.slice(-linesShown).map(({ at, what, mood }) => [
    [`  ${at.toTimeString().slice(0, 8)}  `, dim],
    [foreign(what), mood === 'plain' ? undefined : moods[mood]],
  ]);
}

function output(lines: readonly string[]): Line[] {
  if (lines.length === 0) return [];
  const shown = lines.slice(-linesShown).map((line): Line => [[`  ${foreign(line)}`]]);
  return [[], [['LAST LINES', head]], ...shown];
}
