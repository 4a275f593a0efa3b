import {
  appendFileSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Mailbox } from '../core/mailbox.js';
import type { Region } from '../core/region.js';
import { CfcError } from '../errors.js';
import type { Rights, RoleRights } from '../topology/rights.js';
import { GroupKind } from './group-address.js';

/** What a role may be allowed beside sending. */
export type RightVerb = 'spawn' | 'stop' | 'configure';

/** Of a person at the command line, and of whoever acts under no agent's name. */
export const personRole = 'cli';
/** Who runs the fabric; `*` does not mean them. */
const overseers: readonly string[] = [personRole, 'supervisor'];

const tableFile = 'rights.json';
const auditFile = 'audit.jsonl';
/** Two files of that size at most: what they hold lies in shared memory. */
const auditBytes = 256 << 10;
/** The same refusal is written once in that time, with how often it came. */
const auditEveryMs = 1000;

interface Refused {
  agent: string;
  role: string;
  action: 'send' | RightVerb;
  target: string;
  targetRole: string;
}

/**
 * The rights in a fabric: a table that its supervisor publishes, and what was refused by it.
 *
 * Where there is no table everybody may do everything. The table is a file in the fabric's
 * directory, replaced whole; a look at it costs one `stat` unless it changed. Sends look when an
 * agent first sends to a name, so that a message costs nothing.
 */
export class RightsTable {
  readonly #region: Region;
  readonly #folder: string;
  #stamp = '';
  #table: Rights | undefined;
  readonly #written = new Map<string, { atMs: number; repeats: number }>();

  constructor(region: Region) {
    this.#region = region;
    this.#folder = region.info().path;
  }

  /** @returns undefined where everybody may do everything */
  read(): Rights | undefined {
    const path = join(this.#folder, tableFile);
    const info = statSync(path, { throwIfNoEntry: false });
    const stamp = info === undefined ? '' : stampOf(info);
    if (stamp === this.#stamp) return this.#table;
    this.#table = info === undefined ? undefined : parseTable(path);
    this.#stamp = stamp;
    return this.#table;
  }

  /** Replaces the table for every process of the fabric; undefined removes it. */
  publish(rights: Rights | undefined): void {
    const path = join(this.#folder, tableFile);
    if (rights === undefined) {
      rmSync(path, { force: true });
      return;
    }
    const temporary = `${path}.${process.pid}`;
    writeFileSync(temporary, `${JSON.stringify({ v: 1, roles: rights })}\n`, { mode: 0o600 });
    renameSync(temporary, path);
  }

  /** @throws {CfcError} `ERR_CFC_FORBIDDEN`, after it was written down */
  requireSend(from: Mailbox, to: string): void {
    const table = this.read();
    if (table === undefined || from.name === to) return;
    const role = this.#roleOf(from.name) ?? '';
    const allowed = rowOf(table, role)?.send;
    if (rowOf(table, role) === undefined || allowed?.includes('*')) return;
    // A pass over the directory in native code; who left and is written to all the same is no member.
    if (allowed?.some((one) => from.members(GroupKind.role, one).includes(to))) return;
    const targetRole = this.#roleOf(to);
    if (targetRole === undefined) return; // no such agent: the send says so
    if (allowed?.includes(targetRole)) return;
    this.#refuse({ agent: from.name, role, action: 'send', target: to, targetRole });
  }

  /**
   * @param agent who acts; empty: a person
   * @param target on whom; empty: on the fabric
   * @throws {CfcError} `ERR_CFC_FORBIDDEN`, after it was written down
   */
  require(verb: RightVerb, agent: string, target: string): void {
    const table = this.read();
    if (table === undefined) return;
    const role = agent === '' ? personRole : (this.#roleOf(agent) ?? '');
    const row = rowOf(table, role);
    if (row === undefined || row[verb] === true) return;
    const targetRole = target === '' ? '' : (this.#roleOf(target) ?? '');
    this.#refuse({
      agent: agent === '' ? 'nobody' : agent,
      role,
      action: verb,
      target,
      targetRole,
    });
  }

  #roleOf(name: string): string | undefined {
    return this.#region.agent(name)?.role;
  }

  #refuse(refused: Refused): never {
    try {
      this.#writeDown(refused);
    } catch {
      // A full tmpfs keeps the line, and not the refusal.
    }
    const { agent, role, action, target, targetRole } = refused;
    throw new CfcError('ERR_CFC_FORBIDDEN', {
      agent,
      role,
      action,
      ...(target === '' ? {} : { target, targetRole }),
    });
  }

  #writeDown(refused: Refused): void {
    const { agent, action, target } = refused;
    const key = `${agent} ${action} ${target}`;
    const now = Date.now();
    const last = this.#written.get(key);
    if (last !== undefined && now - last.atMs < auditEveryMs) {
      last.repeats += 1;
      return;
    }
    if (this.#written.size > 1000) this.#written.clear();
    this.#written.set(key, { atMs: now, repeats: 0 });
    const path = join(this.#folder, auditFile);
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size > auditBytes) renameSync(path, join(this.#folder, 'audit.1.jsonl'));
    const at = new Date(now).toISOString();
    const line = { v: 1, at, ...refused, pid: process.pid, repeats: last?.repeats ?? 0 };
    appendFileSync(path, `${JSON.stringify(line)}\n`, { mode: 0o600 });
  }
}

/** A row is all that its role may; who has none falls under `*`, else may everything. */
function rowOf(table: Rights, role: string): RoleRights | undefined {
  if (Object.hasOwn(table, role)) return table[role];
  return overseers.includes(role) ? undefined : table['*'];
}

// Damaged, it lets nobody do anything but those who can mend it.
function parseTable(path: string): Rights {
  try {
    const { roles } = JSON.parse(readFileSync(path, 'utf8')) as { roles: Rights };
    if (typeof roles === 'object' && roles !== null) return roles;
  } catch {
    // As below.
  }
  return { '*': {} };
}

const stampOf = ({ ino, size, mtimeMs }: Stats) => `${ino} ${size} ${mtimeMs}`;
