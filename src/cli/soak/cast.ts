import { defaultEnv } from '../../index.js';
import type { PeerOptions } from './crew.js';

/** Who plays in a soak, by the name of the process: a role of the report, and a number. */

/** The fabric where everybody is at work, and one whose supervisor is killed again and again. */
export const fabricNames = ['soak', 'adopted'] as const;
export type FabricName = (typeof fabricNames)[number];

/**
 * Few places, so that all have been used when the warm-up ends: who rings a sleeper keeps a
 * descriptor for its place.
 */
export const capacities = {
  soak: { mailboxCells: 1024, maxAgents: 64, maxParticipants: 24 },
  adopted: { mailboxCells: 1024, maxAgents: 16, maxParticipants: 16 },
} as const;

/** Of the whole load, what the second fabric has. */
const adoptedShare = 0.05;
const mailboxCells = 4096;

interface Part {
  /** What it does: one of peer.ts. */
  plays: string;
  fabric: FabricName;
  parent?: string;
  recipients?: readonly string[];
  /** Of the messages a second. */
  share?: number;
}

/** Its command is killed again and again, and over the other one the shim. */
export const restarted = 'restarted-1';
export const bereft = 'bereft-1';
export const takeover = 'takeover-1';

const receivers = ['receiver-1', 'receiver-2', restarted, bereft, 'canary-1'] as const;
const boss = 'coordinator-1';

/** Those that a supervisor starts, each below a shim. */
export const agents: Readonly<Record<string, Part>> = {
  [boss]: { plays: 'coordinator', fabric: 'soak', recipients: receivers.slice(0, 2) },
  'receiver-1': { plays: 'receiver', fabric: 'soak', parent: boss },
  'receiver-2': { plays: 'receiver', fabric: 'soak', parent: boss },
  [restarted]: { plays: 'receiver', fabric: 'soak', parent: boss },
  [bereft]: { plays: 'receiver', fabric: 'soak', parent: boss },
  'canary-1': { plays: 'canary', fabric: 'soak', parent: boss },
  'sender-1': { plays: 'sender', fabric: 'soak', recipients: receivers, share: 0.5 },
  'sender-2': { plays: 'sender', fabric: 'soak', recipients: receivers, share: 0.5 },
  'adopted-receiver-1': { plays: 'receiver', fabric: 'adopted' },
  'adopted-sender-1': {
    plays: 'sender',
    fabric: 'adopted',
    recipients: ['adopted-receiver-1'],
    share: adoptedShare,
  },
};

/** Those that the master starts itself, in this order. */
export const own: Readonly<Record<string, Part>> = {
  'supervisor-1': { plays: 'supervisor', fabric: 'soak' },
  [takeover]: { plays: 'supervisor', fabric: 'adopted' },
  'exporter-1': { plays: 'exporter', fabric: 'soak' },
  'alerts-1': { plays: 'alerts', fabric: 'soak' },
  'churn-1': { plays: 'churn', fabric: 'soak' },
};

/** They end in this order: what receivers have not had by then is queued, and counted. */
export const ends: readonly (readonly string[])[] = [
  ['sender-1', 'sender-2', 'adopted-sender-1', boss],
  ['churn-1'],
  [...receivers, 'adopted-receiver-1'],
  ['supervisor-1', 'takeover-1'],
  ['exporter-1', 'alerts-1'],
];

/** The shims over them, by the name of their agent; those that come anew have roles of their own. */
export const shims: Readonly<Record<string, string>> = Object.fromEntries(
  Object.keys(agents).map((name, i) => {
    const comesAnew = name === restarted || name === bereft;
    return [name, comesAnew ? `${roleOf(name)}-shim-1` : `shim-${i + 1}`];
  }),
);

/**
 * V8 makes machine code and notes on types for hours, as one function after the other gets hot, and
 * throws code away that is not used for a while: that looks like a leak, and hides one. So all of it
 * is made at the first call, none of it later, and what is left in the heap is what we put there.
 */
export const settledCode: readonly string[] = [
  ...['--no-opt', '--always-sparkplug', '--no-lazy-feedback-allocation', '--no-flush-bytecode'],
];
/**
 * The young generation grows and shrinks with the load, up to 16 MB: it is held at one size. What a
 * collection frees is given back by threads at some later time, and more of it where V8 finds the
 * process idle: it is given back within the collection, and always as much.
 */
const settledSizes = [
  ...['--min-semi-space-size=2', '--max-semi-space-size=2'],
  ...['--single-threaded-gc', '--no-memory-reducer'],
];

/** The arguments of node that make a process play its part. */
export function wordsOf(
  name: string,
  where: { program: string; socket: string; dir: string },
  common: Omit<PeerOptions, 'recipients' | 'perSecond' | 'topology'>,
  perSecond: number,
): string[] {
  const { plays, fabric, recipients = [], share = 0 } = (agents[name] ?? own[name]) as Part;
  const topology = plays === 'supervisor' ? topologyOf(fabric, where, common, perSecond) : '';
  const options: PeerOptions = { ...common, recipients, perSecond: perSecond * share, topology };
  const words = [plays, name, where.socket, where.dir, fabric, JSON.stringify(options)];
  return ['--expose-gc', ...settledCode, ...settledSizes, where.program, ...words];
}

/** What agents inherit: also where those who measure coverage want its counts. */
const env = [...defaultEnv, 'NODE_V8_COVERAGE'];

// Whoever ends well stays away; who is killed comes again at once, however often.
const restart = { when: 'on-failure', maxRestarts: 1000, withinMs: 1000, backoffMs: 0 } as const;

function topologyOf(
  fabric: FabricName,
  where: Parameters<typeof wordsOf>[1],
  common: Parameters<typeof wordsOf>[2],
  perSecond: number,
): string {
  const members = Object.entries(agents).filter(([, part]) => part.fabric === fabric);
  return JSON.stringify({
    agents: members.map(([name, { parent }]) => ({
      name,
      role: roleOf(name),
      ...(parent === undefined ? {} : { parent }),
      command: [process.execPath, ...wordsOf(name, where, common, perSecond)],
      ...{ env, restart, mailboxCells, ready: 'join' },
    })),
  });
}

/** The role of a process: its name without its number. */
export function roleOf(process: string): string {
  return process.replace(/-\d+$/, '');
}
