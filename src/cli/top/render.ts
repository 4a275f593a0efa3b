import { columnsFor } from './columns.js';
import { type Details, detailLines } from './details.js';
import type { Frame, Row, Team } from './frame.js';
import { firstHelp, helpLines, keyLine } from './help.js';
import { bad, dim, good, head, type Line, mark, moods, type Style, strong } from './line.js';
import { pages, rowsOf, type Shown, teamsOfView, type View } from './view.js';
import { clip, foreign, pad, short } from './width.js';

export interface Size {
  columns: number;
  rows: number;
}

/** All that a screen is made of. */
export interface Scene {
  /** Undefined until the first look, and where there is no fabric any more. */
  frame: Frame | undefined;
  view: View;
  details: Details | undefined;
  /** How often a look is taken. */
  everyMs: number;
  /** Why there is nothing newer. */
  gone: string | undefined;
}

export interface Screen {
  /** As many as the terminal has rows. */
  lines: Line[];
  /** For the next key. */
  shown: Shown;
}

/** The lines of a screen, from what it is to show alone. */
export function render(scene: Scene, size: Size): Screen {
  const { frame, view } = scene;
  const nothing: Shown = { names: [], room: 1 };
  if (frame === undefined) {
    const why = scene.gone ?? 'looking';
    return { lines: fill([[[why, bad]]], size.rows - 1, keyLine(view), size.rows), shown: nothing };
  }
  const top = [...summary(scene, size), tabs(frame, view)];
  const bottom: Line[] = [keyLine(view)];
  const room = Math.max(0, size.rows - top.length - bottom.length);
  if (view.help) {
    return {
      lines: fill([...top, ...helpLines], size.rows - 1, bottom[0], size.rows),
      shown: nothing,
    };
  }
  if (view.agent !== undefined) {
    const all = detailLines(scene.details, view.agent, frame, size.columns);
    const scroll = Math.min(view.scroll, Math.max(0, all.length - room));
    const lines = [...top, ...all.slice(scroll, scroll + room)];
    return { lines: fill(lines, size.rows - 1, bottom[0], size.rows), shown: { names: [], room } };
  }
  const { body, shown } = page(frame, view, size, room);
  return { lines: fill([...top, ...body], size.rows - 1, bottom[0], size.rows), shown };
}

function page(frame: Frame, view: View, size: Size, room: number): { body: Line[]; shown: Shown } {
  switch (view.page) {
    case 'agents': {
      // The last events share the screen where it is high enough.
      const events = Math.min(frame.events.length, room >= 14 ? Math.floor(room / 5) : 0);
      const rows = agentsPage(frame, view, size, room - (events > 0 ? events + 1 : 0));
      if (events === 0) return rows;
      const last = frame.events.slice(-events).map((event) => eventLine(event));
      const body = fill(rows.body, room - events - 1, undefined, room - events - 1);
      return { body: [...body, [['LAST EVENTS', head]], ...last], shown: rows.shown };
    }
    case 'teams':
      return teamsPage(frame, view, room);
    case 'events': {
      const names = frame.events.map((_, i) => String(i));
      const list = frame.events.toReversed();
      const first = Math.min(view.scroll, Math.max(0, list.length - room));
      const body = list.slice(first, first + room).map((event) => eventLine(event));
      return {
        body: body.length === 0 ? [[['nothing has happened yet', dim]]] : body,
        shown: { names, room },
      };
    }
  }
}

// Lines up to `rows`, then the last one at the bottom.
function fill(lines: Line[], room: number, last: Line | undefined, rows: number): Line[] {
  const kept = lines.slice(0, Math.max(0, room));
  while (kept.length < room) kept.push([]);
  if (last !== undefined) kept.push(last);
  return kept.slice(0, Math.max(0, rows));
}

function summary({ frame, view, everyMs, gone }: Scene, { rows, columns }: Size): Line[] {
  if (frame === undefined) return [];
  const { look, perSecond, rows: agents } = frame;
  const { census } = look;
  const clock = frame.at.toTimeString().slice(0, 8);
  const how =
    gone !== undefined ? '' : view.frozen ? 'frozen' : `every ${(everyMs / 1000).toFixed(1)} s`;
  const title: Line = [
    ['cfc top', strong],
    [`  ${foreign(look.fabric)}  ${clock}  ${how}`],
    [gone ?? '', bad],
  ];
  const live = countBy(agents, ({ agent }) => agent.liveness);
  const health = countBy(agents, ({ agent }) => agent.health);
  const lines: Line[] = [
    title,
    [
      ['Agents    ', head],
      [`${agents.length}`],
      ...counts(live, { dead: bad, left: dim }),
      ['   '],
      ['Health', head],
      ...counts(health, { unhealthy: bad, degraded: moods.plain, healthy: good }),
    ],
    [
      ['Messages  ', head],
      [`${short(census.queued)} queued, ${short(census.leased + census.held)} leased`],
      ['   '],
      ['Rates', head],
      [`  ${short(perSecond.sent)} sent/s  ${short(perSecond.acked)} acked/s`],
      [perSecond.redelivered > 0 ? `  ${short(perSecond.redelivered)} again/s` : ''],
    ],
    [
      ['Ledger    ', head],
      [`${short(census.acked)} acked, `],
      [`${short(census.dropped)} dropped`, census.dropped > 0 ? moods.plain : undefined],
      [', '],
      [`${short(census.deadLettered)} dead letters`, census.deadLettered > 0 ? bad : undefined],
      ['   '],
      ['Shared', head],
      [`  ${(look.sharedBytes / 1e6).toFixed(1)} MB`],
      [census.topics > 0 ? `, ${census.topics} topics` : ''],
      [columns < 100 ? '' : `, ${census.slotsLive} participants`],
    ],
    alertLine(frame),
    troubleLine(frame),
  ];
  // A small terminal has its rows for agents.
  return rows < 12 ? lines.slice(0, rows < 8 ? 1 : 2) : lines;
}

const alertsShown = 4;

/** What fires, by the watch; and where nobody watches, that. */
function alertLine({ look: { alerts } }: Frame): Line {
  const { watch, firing } = alerts;
  const line: Line = [['Alerts    ', head]];
  if (watch.state === 'never' || watch.state === 'stopped') {
    return [...line, ['nobody watches: cfc alerts watch', dim]];
  }
  if (watch.state === 'dead') line.push(['the watch is dead  ', bad]);
  else if (firing.length === 0) line.push(['none', good]);
  if (firing.length > 0) line.push([`${firing.length} firing: `]);
  for (const { alert, severity, labels, mutedBy } of firing.slice(0, alertsShown)) {
    const about = labels.agent === undefined ? '' : ` ${labels.agent}`;
    const muted = mutedBy === undefined ? '' : ' (muted)';
    line.push([
      `${foreign(alert)}${foreign(about)}${muted}  `,
      severity === 'critical' ? bad : moods.plain,
    ]);
  }
  return line;
}

function troubleLine({ troubles }: Frame): Line {
  const line: Line = [['Unwell    ', head]];
  if (troubles.length === 0) return [...line, ['none', good]];
  line.push([`${troubles.length}: `]);
  for (const { agent, what, mood } of troubles.slice(0, 8)) {
    line.push([`${foreign(agent)} ${foreign(what)}  `, moods[mood]]);
  }
  return line;
}

function tabs(frame: Frame, view: View): Line {
  const line: Line = [];
  pages.forEach((name, i) => {
    const here = name === view.page && view.agent === undefined;
    line.push([here ? `[${i + 1} ${name}]` : ` ${i + 1} ${name} `, here ? strong : dim]);
  });
  if (view.agent !== undefined) return [...line, [`[${foreign(view.agent)}]`, strong]];
  if (view.page === 'agents') line.push([`  by ${view.sort}${view.reversed ? ', reversed' : ''}`]);
  if (view.unwell) line.push(['  unwell only', moods.plain]);
  if (view.typing) line.push([`  /${foreign(view.search)}_`, strong]);
  else if (view.search !== '') line.push([`  /${foreign(view.search)}`, strong]);
  if (view.page === 'agents' && (view.search !== '' || view.unwell)) {
    line.push([`  of ${frame.rows.length}`, dim]);
  }
  return line;
}

const healthStyles: Readonly<Record<string, Style | undefined>> = {
  unhealthy: bad,
  degraded: moods.plain,
  unknown: dim,
};

function agentsPage(frame: Frame, view: View, size: Size, room: number) {
  const rows = rowsOf(frame, view);
  const names = rows.map(({ agent }) => agent.name);
  const space = Math.max(1, room - 1);
  const { first, marked } = window(names, view, space);
  const longest = frame.rows.reduce((most, { agent }) => Math.max(most, agent.name.length), 0);
  const columns = columnsFor(size.columns - 2, longest);
  const nowMs = frame.at.getTime();
  const heading: Line = [['  ']];
  for (const column of columns) {
    const sorted = column.key === view.sort;
    const text = pad(column.head, column.width, column.number);
    heading.push([text, sorted ? mark : head], [' ']);
  }
  const body: Line[] = [heading];
  for (const row of rows.slice(first, first + space)) {
    const here = row.agent.name === marked;
    const style = here ? mark : healthStyles[row.agent.health];
    const cells = columns.map((column) => {
      return pad(column.show(row, nowMs), column.width, column.number);
    });
    body.push([[`${here ? '>' : ' '} ${cells.join(' ')}`, style]]);
  }
  if (rows.length === 0) body.push([[`  ${nobody(frame, view)}`, dim]]);
  return { body, shown: { names, room: space } };
}

function nobody(frame: Frame, view: View): string {
  if (frame.rows.length === 0) return firstHelp;
  return view.search === '' ? 'everybody is well' : 'nobody is found; c clears the search';
}

function teamsPage(frame: Frame, view: View, room: number) {
  const teams = teamsOfView(frame, view);
  const names = teams.map(({ name }) => name);
  const space = Math.max(1, room - 1);
  const { first, marked } = window(names, view, space);
  const heads = ['TEAM', 'AGENTS', 'ALIVE', 'UNWELL', 'QUEUED', 'LEASED', 'SENT/S', 'ACK/S'];
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => pad(cell, i === 0 ? 24 : 8, i > 0)).join(' ');
  const cellsOf = ({ name, ...team }: Team) => [
    name === '' ? '(none)' : foreign(name),
    ...[team.agents, team.alive, team.unwell, team.depth, team.leased, team.sent, team.acked].map(
      short,
    ),
  ];
  const body: Line[] = [[[`  ${line(heads)}`, head]]];
  for (const team of teams.slice(first, first + space)) {
    const here = team.name === marked;
    const style = here ? mark : team.unwell > 0 ? moods.plain : undefined;
    body.push([[`${here ? '>' : ' '} ${line(cellsOf(team))}`, style]]);
  }
  return { body, shown: { names, room: space } };
}

// Which row is the first, and which has the mark: the one chosen, as long as it is there.
function window(names: readonly string[], view: View, space: number) {
  const last = Math.max(0, names.length - space);
  const at = view.selected === undefined ? 0 : names.indexOf(view.selected);
  let first = Math.min(view.scroll, last);
  if (at >= 0 && at < first) first = at;
  if (at >= first + space) first = at - space + 1;
  return { first, marked: at >= 0 ? names[at] : names[first] };
}

function eventLine({ at, agent, what, mood }: Frame['events'][number]): Line {
  return [
    [`${at.toTimeString().slice(0, 8)}  `, dim],
    [`${pad(foreign(agent), 20)} `],
    [foreign(what), mood === 'plain' ? undefined : moods[mood]],
  ];
}

function counts(numbers: Map<string, number>, styles: Record<string, Style>): Line {
  return [...numbers].map(([name, count], i) => [
    `${i === 0 ? '  ' : ', '}${count} ${name}`,
    styles[name],
  ]);
}

function countBy(rows: readonly Row[], key: (row: Row) => string): Map<string, number> {
  const found = new Map<string, number>();
  for (const row of rows) found.set(key(row), (found.get(key(row)) ?? 0) + 1);
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A line as text, no wider than the terminal. */
export function plainOf(line: Line, columns: number): string {
  return clip(line.map(([text]) => text).join(''), columns).trimEnd();
}
