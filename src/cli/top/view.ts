import { columnOf, columns, defaultSort } from './columns.js';
import { type Frame, isUnwell, type Row, type Team } from './frame.js';

export const pages = ['agents', 'teams', 'events'] as const;
export type Page = (typeof pages)[number];

/** What a person has chosen to see. */
export interface View {
  page: Page;
  /** The agent that is looked into. */
  agent: string | undefined;
  help: boolean;
  sort: string;
  reversed: boolean;
  search: string;
  /** The search is being typed. */
  typing: boolean;
  /** Only those that are not well. */
  unwell: boolean;
  /** No new frames. */
  frozen: boolean;
  /** Name of the row with the mark. */
  selected: string | undefined;
  /** How many lines are above the screen. */
  scroll: number;
}

export function firstView(sort = defaultSort, search = ''): View {
  return {
    ...{ page: 'agents', agent: undefined, help: false, sort, reversed: false, search },
    ...{ typing: false, unwell: false, frozen: false, selected: undefined, scroll: 0 },
  };
}

/** A key: its name as Node's readline has it, or the character. */
export interface Key {
  name: string;
  text: string;
  ctrl: boolean;
}

/** What is on the screen, as far as keys need it. */
export interface Shown {
  /** Names of the rows, in order. */
  names: readonly string[];
  /** Rows that fit. */
  room: number;
}

/** @returns the view after a key; undefined where it ends the program */
export function press(view: View, key: Key, shown: Shown): View | undefined {
  if (key.ctrl && key.name === 'c') return undefined;
  if (view.typing) return type(view, key);
  if (view.help) return key.text === 'q' ? undefined : { ...view, help: false };
  switch (key.name) {
    case 'up':
      return move(view, shown, -1);
    case 'down':
      return move(view, shown, 1);
    case 'pageup':
      return move(view, shown, -shown.room);
    case 'pagedown':
    case 'space':
      return move(view, shown, shown.room);
    case 'home':
      return move(view, shown, -Infinity);
    case 'end':
      return move(view, shown, Infinity);
    case 'return':
    case 'enter':
    case 'right':
      return open(view, shown);
    case 'escape':
    case 'backspace':
    case 'left':
      return back(view);
    case 'tab':
      return turnTo(view, pages[(pages.indexOf(view.page) + 1) % pages.length] ?? 'agents');
  }
  return character(view, key.text, shown);
}

function character(view: View, text: string, shown: Shown): View | undefined {
  switch (text) {
    case 'q':
      return undefined;
    case '?':
      return { ...view, help: true };
    case '/':
      return { ...view, agent: undefined, page: searchable(view.page), typing: true };
    case '1':
    case '2':
    case '3':
      return turnTo(view, pages[Number(text) - 1] ?? 'agents');
    case 's':
      return sortBy(view, 1);
    case 'S':
      return sortBy(view, -1);
    case 'r':
      return { ...view, reversed: !view.reversed };
    case 'u':
      return { ...view, unwell: !view.unwell, scroll: 0 };
    case 'p':
      return { ...view, frozen: !view.frozen };
    case 'c':
      return { ...view, search: '', unwell: false, scroll: 0 };
    case 'j':
      return move(view, shown, 1);
    case 'k':
      return move(view, shown, -1);
    case 'g':
      return move(view, shown, -Infinity);
    case 'G':
      return move(view, shown, Infinity);
  }
  return view;
}

const searchable = (page: Page): Page => (page === 'events' ? 'agents' : page);

function type(view: View, key: Key): View {
  const search = (text: string): View => ({ ...view, search: text, scroll: 0 });
  if (key.name === 'return' || key.name === 'enter') return { ...view, typing: false };
  if (key.name === 'escape') return { ...search(''), typing: false };
  if (key.name === 'backspace') return search([...view.search].slice(0, -1).join(''));
  if (key.ctrl && key.name === 'u') return search('');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is kept out
  if (key.ctrl || key.text === '' || /[\u0000-\u001f\u007f-\u009f]/.test(key.text)) return view;
  return search(view.search + key.text);
}

function turnTo(view: View, page: Page): View {
  return { ...view, page, agent: undefined, selected: undefined, scroll: 0 };
}

function sortBy(view: View, step: number): View {
  const at = columns.findIndex(({ key }) => key === view.sort);
  const next = columns[(at + step + columns.length) % columns.length];
  return { ...view, sort: next?.key ?? defaultSort, reversed: false };
}

function open(view: View, shown: Shown): View {
  const name = selectedOf(view, shown);
  if (view.agent !== undefined || name === undefined) return view;
  if (view.page === 'teams') {
    const search = `team=${name}`;
    return { ...turnTo(view, 'agents'), search };
  }
  return { ...view, page: 'agents', agent: name, selected: name, scroll: 0 };
}

function back(view: View): View {
  if (view.agent !== undefined) return { ...view, agent: undefined, scroll: 0 };
  if (view.search !== '' || view.unwell) return { ...view, search: '', unwell: false, scroll: 0 };
  return view.page === 'agents' ? view : turnTo(view, 'agents');
}

function move(view: View, shown: Shown, by: number): View {
  // An agent's details have no rows to mark: they move as a whole.
  if (view.agent !== undefined) return { ...view, scroll: Math.max(0, finite(view.scroll, by)) };
  const last = shown.names.length - 1;
  if (last < 0) return view;
  const at = Math.max(0, shown.names.indexOf(view.selected ?? ''));
  const to = Math.min(last, Math.max(0, at + by));
  let { scroll } = view;
  if (to < scroll) scroll = to;
  if (to >= scroll + shown.room) scroll = to - shown.room + 1;
  return { ...view, selected: shown.names[to], scroll: Math.max(0, scroll) };
}

const finite = (scroll: number, by: number) =>
  Number.isFinite(by) ? scroll + by : by < 0 ? 0 : scroll;

function selectedOf(view: View, shown: Shown): string | undefined {
  const marked = view.selected;
  return marked !== undefined && shown.names.includes(marked) ? marked : shown.names[0];
}

/**
 * The rows that a view asks for, in its order. Words of the search must all be found in the name,
 * the role or the team. `team:re` is for a team that begins so, `team=red` for that one; so with
 * `name`, `role`, `parent`, `state`, `live` and `health`.
 */
export function rowsOf(frame: Frame, view: View): Row[] {
  const rows = frame.rows.filter(matcher(view));
  const column = columnOf(view.sort) ?? columnOf(defaultSort);
  if (column === undefined) return rows;
  const way = (column.number === true) !== view.reversed ? -1 : 1;
  const keyed = rows.map((row) => ({ row, value: column.value(row) }));
  keyed.sort((a, b) => {
    if (a.value < b.value) return -way;
    if (a.value > b.value) return way;
    return a.row.rank - b.row.rank;
  });
  return keyed.map(({ row }) => row);
}

export function teamsOfView(frame: Frame, view: View): Team[] {
  const wanted = view.search.toLowerCase();
  return frame.teams.filter(
    ({ name, unwell }) => name.toLowerCase().includes(wanted) && (!view.unwell || unwell > 0),
  );
}

const fields: Readonly<Record<string, (row: Row) => string>> = {
  name: ({ agent }) => agent.name,
  role: ({ agent }) => agent.role,
  team: ({ agent }) => agent.team,
  parent: ({ agent }) => agent.parent,
  state: ({ agent }) => agent.state,
  live: ({ agent }) => agent.liveness,
  health: ({ agent }) => agent.health,
};

function matcher(view: View): (row: Row) => boolean {
  const tests = view.search
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word): ((row: Row) => boolean) => {
      const [, key = '', how, text = ''] = /^(\w+)([:=])(.*)$/.exec(word) ?? [];
      const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
      if (field !== undefined && how === '=') return (row) => field(row).toLowerCase() === text;
      if (field !== undefined) return (row) => field(row).toLowerCase().startsWith(text);
      return ({ agent: { name, role, team } }) =>
        name.toLowerCase().includes(word) ||
        role.toLowerCase().includes(word) ||
        team.toLowerCase().includes(word);
    });
  if (view.unwell) tests.push(({ agent }) => isUnwell(agent));
  return (row) => tests.every((test) => test(row));
}
