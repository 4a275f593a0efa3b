import { CfcError } from '../errors.js';

/**
 * Many at once: `team:NAME`, `role:NAME`, `*` for everybody, and what is meant from where the sender
 * stands: its `parent`, its `children` (whose parent it is), its `peers` (who has the same parent).
 */
export type GroupAddress =
  | `team:${string}`
  | `role:${string}`
  | '*'
  | 'parent'
  | 'children'
  | 'peers';

/** As native/core/group.h numbers them. */
export const GroupKind = {
  everybody: 0,
  team: 1,
  role: 2,
  parent: 3,
  children: 4,
  peers: 5,
} as const;

export interface Group {
  kind: number;
  /** Of the team or role. */
  name: string;
}

const words = new Map<string, number>([
  ['*', GroupKind.everybody],
  ['parent', GroupKind.parent],
  ['children', GroupKind.children],
  ['peers', GroupKind.peers],
]);
const prefixes = new Map<string, number>([
  ['team', GroupKind.team],
  ['role', GroupKind.role],
]);
const allowed = 'a name, team:NAME, role:NAME, *, parent, children or peers';
const validName = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

/** True for what is no name, be it an address or nonsense. */
export function isGroup(to: string): boolean {
  return to.includes(':') || words.has(to);
}

/** @throws {CfcError} `ERR_CFC_USAGE` where `to` is no address of a group */
export function parseGroup(to: string): Group {
  const kind = words.get(to);
  if (kind !== undefined) return { kind, name: '' };
  const colon = to.indexOf(':');
  const prefix = prefixes.get(to.slice(0, Math.max(0, colon)));
  const name = to.slice(colon + 1);
  if (prefix === undefined || !validName.test(name)) {
    throw new CfcError('ERR_CFC_USAGE', { to, allowed });
  }
  return { kind: prefix, name };
}
