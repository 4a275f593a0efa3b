import type { Row } from './frame.js';
import { age, foreign, short } from './width.js';

export interface Column {
  key: string;
  head: string;
  width: number;
  /** Numbers stand to the right, and are sorted largest first. */
  number?: boolean;
  show(row: Row, nowMs: number): string;
  /** What to sort by: numbers ascending, or texts. */
  value(row: Row): number | string;
}

const healthOrder = { unhealthy: 0, degraded: 1, unknown: 2, healthy: 3 } as const;

/** In the order of the screen; those that do not fit are left out by `rarely`. */
export const columns: readonly Column[] = [
  {
    ...{ key: 'name', head: 'NAME', width: 12 },
    show: ({ agent }) => foreign(agent.name),
    value: ({ rank }) => rank,
  },
  text('role', 'ROLE', 12, ({ agent }) => agent.role),
  text('team', 'TEAM', 8, ({ agent }) => agent.team),
  text('parent', 'PARENT', 12, ({ agent }) => agent.parent),
  text('state', 'STATE', 8, ({ agent }) => agent.state),
  text('live', 'LIVE', 7, ({ agent }) => agent.liveness),
  {
    ...{ key: 'health', head: 'HEALTH', width: 9 },
    show: ({ agent }) => agent.health,
    value: ({ agent }) => healthOrder[agent.health],
  },
  number(
    'queued',
    'QUEUED',
    11,
    ({ agent }) => agent.depth,
    ({ agent }) => {
      return `${short(agent.depth)}/${short(agent.capacity)}`;
    },
  ),
  number('leased', 'LEASED', 6, ({ agent }) => agent.leased),
  number('sent', 'SENT/S', 6, ({ sent }) => sent),
  number('received', 'RECV/S', 6, ({ received }) => received),
  number('acked', 'ACK/S', 6, ({ acked }) => acked),
  number('again', 'AGAIN/S', 7, ({ redelivered }) => redelivered),
  number('restarts', 'RESTARTS', 8, ({ agent }) => agent.restarts),
  {
    ...{ key: 'progress', head: 'PROGRESS', width: 8, number: true },
    show: ({ agent }, nowMs) => age(nowMs - agent.lastProgressAt.getTime()),
    value: ({ agent }) => -agent.lastProgressAt.getTime(),
  },
  number(
    'pid',
    'PID',
    8,
    ({ agent }) => agent.pid,
    ({ agent }) => String(agent.pid),
  ),
];

/** Those that go first where the terminal is narrow. */
const rarely = [
  ...['parent', 'again', 'progress', 'received', 'leased', 'pid', 'role', 'restarts', 'team'],
  ...['live', 'sent', 'state', 'acked', 'health', 'queued'],
];

export const defaultSort = 'queued';

export function columnOf(key: string): Column | undefined {
  return columns.find((column) => column.key === key);
}

/** Names get what is left, up to the longest; the others have their width. */
export function columnsFor(width: number, longestName: number): Column[] {
  const least = Math.min(Math.max(12, longestName), 24);
  const shown = new Set(columns);
  const taken = () => {
    let sum = least;
    for (const column of shown) if (column.key !== 'name') sum += column.width + 1;
    return sum;
  };
  for (const key of rarely) {
    if (taken() <= width) break;
    const column = columnOf(key);
    if (column !== undefined) shown.delete(column);
  }
  const room = Math.max(4, least + width - taken());
  return columns
    .filter((column) => shown.has(column))
    .map((column) =>
      column.key === 'name'
        ? { ...column, width: Math.min(room, Math.max(least, longestName)) }
        : column,
    );
}

function text(key: string, head: string, width: number, of: (row: Row) => string): Column {
  return { key, head, width, show: (row) => foreign(of(row)), value: of };
}

function number(
  key: string,
  head: string,
  width: number,
  of: (row: Row) => number,
  show: (row: Row) => string = (row) => short(of(row)),
): Column {
  return { key, head, width, number: true, show, value: of };
}
