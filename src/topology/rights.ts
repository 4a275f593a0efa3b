import { closest } from '../errors/closest.js';
import type { Finding } from '../errors/source-file.js';
import { namePattern } from './names.js';

/** What the agents of a role may do. What is left out they may not. */
export interface RoleRights {
  /** The roles that they may send to; `*` is everybody. Replies are always allowed. */
  send?: readonly string[];
  /** Start agents. */
  spawn?: boolean;
  /** Stop, pause and resume agents. */
  stop?: boolean;
  /** Change rights, drop messages of others, remove the fabric. */
  configure?: boolean;
}

/**
 * Rights by role. `*` stands for every role without a row of its own, but for those who run the
 * fabric: `cli` (a person) and `supervisor`. Who has no row, and where there is no `*`, may do
 * everything.
 */
export type Rights = Readonly<Record<string, RoleRights>>;

/** @param roles of the agents that there are to be */
export function checkRights(rights: Rights, roles: Iterable<string>): Finding[] {
  const known = new Set([...roles, 'cli', 'supervisor', '*']);
  const findings: Finding[] = [];
  const check = (role: string, path: string, atKey: boolean) => {
    if (known.has(role)) return;
    const near = closest(role, known);
    if (role !== '*' && !namePattern.test(role)) {
      const message = `${role} is no role: up to 64 of A-Z a-z 0-9 _ -, the first a letter or digit`;
      findings.push({ path, message, atKey });
    } else if (near !== undefined) {
      findings.push({
        path,
        message: `no agent has the role ${role}; did you mean ${near}?`,
        atKey,
      });
    }
  };
  for (const [role, { send = [] }] of Object.entries(rights)) {
    check(role, `roles.${role}`, true);
    send.forEach((one, i) => {
      check(one, `roles.${role}.send.${i}`, false);
    });
  }
  return findings;
}
