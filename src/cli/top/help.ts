import { dim, head, type Line, strong } from './line.js';
import type { View } from './view.js';

const keys: readonly (readonly [string, string])[] = [
  ['up down j k', 'one row; PgUp PgDn space: a page; Home End g G: to the ends'],
  ['Enter right', 'into the agent, or the team; Esc, left: back'],
  ['1 2 3 Tab', 'agents, teams, events'],
  ['s S r', 'sort by the next column, the one before; turn the order around'],
  ['/', 'search: red, team:red, team=red, role: state: live: health: parent:'],
  ['u c', 'only who is unwell; clear search and filter'],
  ['p', 'freeze, and go on'],
  ['? q', 'this help; quit (Ctrl-C too). Ctrl-Z: to the shell, fg: back'],
];

export const helpLines: readonly Line[] = [
  [],
  ...keys.map(([key, what]): Line => [[`  ${key.padEnd(12)}`, strong], [what]]),
  [],
  [['  again/s: redelivered, as its reader gave it back or died.', dim]],
  [['  Rates are counted between two looks; events are what changed between them.', dim]],
  [['  Looking costs the agents nothing: only the mapped files are read.', dim]],
];

/** What to do where there is nobody. */
export const firstHelp = 'nobody is here; in another terminal: cfc recv --agent bob --follow';

export function keyLine(view: View): Line {
  const shown = view.typing
    ? 'type to search   Enter keep   Esc clear'
    : view.help
      ? 'any key: back   q quit'
      : view.agent !== undefined
        ? 'Esc back   up down scroll   p freeze   ? help   q quit'
        : '? help   Enter open   / search   s sort   u unwell   p freeze   q quit';
  return [[shown, head]];
}
