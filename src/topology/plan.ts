import type { FileProblem } from '../errors/source-file.js';
import { CfcError } from '../errors.js';

export type TopologyShape = 'flat' | 'hierarchical' | 'hybrid' | 'mesh' | 'custom';

/** What happens when the process of an agent ends. */
export interface RestartPolicy {
  /** `on-failure`: by a signal, or another code than 0. Default `on-failure`. */
  when: 'always' | 'on-failure' | 'never';
  /** Who is started again with it: nobody, all with the same parent, those listed after it. */
  strategy: 'one-for-one' | 'one-for-all' | 'rest-for-one';
  /** More restarts than this within `withinMs` are a crash loop. Default 5. */
  maxRestarts: number;
  /** Default 10000. */
  withinMs: number;
  /** Before the first restart; doubled for each one after it. Default 100. */
  backoffMs: number;
  /**
   * In a crash loop: `backoff` tries again after one second, up to five minutes; `escalate` starts
   * the parent again, and all below it; `give-up` leaves it. A coordinator that has a peer is
   * replaced by that one instead. Default `backoff`.
   */
  onCrashLoop: 'backoff' | 'escalate' | 'give-up';
}

export const defaultRestart: Readonly<RestartPolicy> = {
  when: 'on-failure',
  strategy: 'one-for-one',
  maxRestarts: 5,
  withinMs: 10_000,
  backoffMs: 100,
  onCrashLoop: 'backoff',
};

/** Variables that an agent inherits unless its `env` says otherwise. */
export const defaultEnv: readonly string[] = [
  'HOME',
  'LANG',
  'LC_ALL',
  'LOGNAME',
  'PATH',
  'SHELL',
  'TERM',
  'TMPDIR',
  'TZ',
  'USER',
];

/** What an agent may use. */
export interface AgentLimits {
  /** Resident memory of its processes; pages that they share count for each. */
  memoryBytes?: number;
  /** Descriptors that a process of it may have open. */
  openFiles?: number;
  /** What comes of one with more memory than that. Default `restart`. */
  onMemory?: 'report' | 'restart' | 'stop';
  /** How fast it may send and publish: `ERR_CFC_RATE_LIMITED` for what waits too long. */
  messagesPerSecond?: number;
  /** How many at once after a pause. Default: `messagesPerSecond`. */
  burst?: number;
  /** How many messages it may send and publish in all its lives: then `ERR_CFC_QUOTA`. */
  messages?: number;
  /** How many bytes of bodies, likewise. */
  bytes?: number;
}

/** What makes an agent ready: that it runs, `READY=1` by sd_notify, or that a process of it joins. */
export type ReadyWhen = 'started' | 'notify' | 'join';

/** What may be said of all agents of a kind. */
export interface RoleOptions {
  /** Program and arguments; no shell reads them. Without one nothing is started. */
  command?: readonly string[];
  /** Names of the environment variables that it inherits. Default {@link defaultEnv}. */
  env?: readonly string[];
  restart?: RestartPolicy['when'] | Partial<RestartPolicy>;
  /** Messages that its mailbox holds. Default: two of each neighbour, at least 64. */
  mailboxCells?: number;
  /** Default `started`. */
  ready?: ReadyWhen;
  limits?: AgentLimits;
}

/** An agent of a topology as it is wanted. */
export interface AgentOptions extends RoleOptions {
  name: string;
  /** Default `worker`. */
  role?: string;
  team?: string;
  parent?: string;
}

/** An agent of a topology, with everything decided. */
export interface AgentPlan {
  name: string;
  role: string;
  team: string;
  /** Empty where nobody stands above it. */
  parent: string;
  /** Empty where it is started by somebody else. */
  command: readonly string[];
  env: readonly string[];
  restart: RestartPolicy;
  /** A power of two. */
  mailboxCells: number;
  ready: ReadyWhen;
  limits: AgentLimits;
}

export const leastCells = 64;
export const mostCells = 65_536;
export const mostAgents = 65_000;
/** Of each neighbour so many messages have room at once. */
export const messagesOfEach = 2;

export function restartOf(restart: RoleOptions['restart']): RestartPolicy {
  return typeof restart === 'string'
    ? { ...defaultRestart, when: restart }
    : { ...defaultRestart, ...restart };
}

/** Cells for two messages of each of `neighbours`, as a mailbox has them. */
export function cellsFor(neighbours: number): number {
  let cells = leastCells;
  while (cells < messagesOfEach * neighbours) cells *= 2;
  return cells;
}

/** What is wrong with a topology, and where in its file. */
export type TopologyProblem = FileProblem;

export function invalidTopology(problems: readonly TopologyProblem[]): CfcError {
  return new CfcError('ERR_CFC_TOPOLOGY_INVALID', { problems });
}
