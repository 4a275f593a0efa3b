import { fabricAgentCases } from './fabric-agent-cases.js';
import type { Case, Rival, Run } from './lib/case.js';
import { fileTeamsInBash, fileTeamsInOneProcess } from './lib/file-teams.js';
import { bareRounds, missing } from './lib/native.js';
import { NativeAgents, type Team } from './lib/native-agents.js';

/** Rounds of one tree of processes; the first two warm it up. */
const warmRounds = 22;
const warmUp = 2;

interface Plan {
  name: string;
  team: Team;
  warmMs?: number;
  /** Of the warm round over a bare one of the same shape: at most. */
  overBare?: number;
  coldMs?: number;
  /** Of the bash predecessor, as it was published for its own machine: milliseconds, percent. */
  predecessor?: readonly [ms: number, deliveredPct: number];
  /** In bash a message takes 60 ms and more: only what is over in a minute or so is run. */
  inBash?: boolean;
}

const flat = (workers: number): Team => ({ coordinators: 0, workers });
const hybrid = (coordinators: number, each: number): Team => ({
  coordinators,
  workers: coordinators * each,
});

const plans: readonly Plan[] = [
  {
    ...{ name: 'flat 100', team: flat(100), warmMs: 5, coldMs: 250 },
    ...{ predecessor: [3000, 96], inBash: true },
  },
  { name: 'flat 300', team: flat(300), warmMs: 15, predecessor: [11_000, 85.3] },
  { name: 'flat 400', team: flat(400), predecessor: [13_000, 84] },
  { name: 'hybrid 7 x 20', team: hybrid(7, 20), inBash: true },
  { name: 'hybrid 7 x 50', team: hybrid(7, 50) },
  {
    ...{ name: 'hybrid 7 x 100', team: hybrid(7, 100), warmMs: 30, overBare: 3, coldMs: 1200 },
    predecessor: [20_000, 97.8],
  },
  { name: 'hybrid 10 x 100', team: hybrid(10, 100) },
  { name: 'hybrid 20 x 100', team: hybrid(20, 100) },
];
const mostBelowScale1 = 999;

/**
 * Trees of native agents, each a process: who answers is asked through its own mailbox, and a round
 * counts once every nonce is back with the master, which is JavaScript.
 *
 * @param scale below 1 leaves out the trees of a thousand and more, and what runs in bash
 */
export function fabricCases(scale: number): Case[] {
  const chosen = plans.filter(({ team }) => scale >= 1 || team.workers <= mostBelowScale1);
  return [
    ...chosen.flatMap((plan) => [warmCase(plan), coldCase(plan, scale >= 1)]),
    {
      name: 'fabric, 500 agents started and ready',
      unit: 'ms',
      placement: 'free',
      target: 1000,
      ours: { name: 'cfc', run: () => ready({ coordinators: 7, workers: 500 }) },
      rivals: [],
    },
    {
      name: 'fabric, 700 workers, warm round for each agent',
      unit: 'us',
      placement: 'free',
      ours: { name: 'hybrid', run: () => eachAgent(hybrid(7, 100)) },
      rivals: [flatRival(flat(707))],
    },
    ...fabricAgentCases(),
  ];
}

function warmCase({ name, team, warmMs, overBare }: Plan): Case {
  const bare: Rival = {
    name: 'bare round',
    run: () => bareRounds(team, warmRounds),
    ...(overBare === undefined ? {} : { targetRatio: overBare }),
  };
  return {
    name: `fabric, ${name}, warm round`,
    unit: 'ms',
    placement: 'free',
    ours: { name: 'cfc', run: () => warm(team, warmRounds) },
    rivals: missing('round') === undefined ? [bare] : [],
    ...(warmMs === undefined ? {} : { target: warmMs }),
  };
}

function coldCase({ name, team, coldMs, predecessor, inBash }: Plan, whole: boolean): Case {
  const rivals: Rival[] = [
    { name: 'file IPC D, one process', run: () => fileTeamsInOneProcess(team) },
  ];
  if (inBash && whole)
    rivals.push({ name: 'file IPC A (bash)', run: once(() => fileTeamsInBash(team)) });
  if (predecessor !== undefined) rivals.push(recorded(...predecessor));
  return {
    name: `fabric, ${name}, cold`,
    unit: 'ms',
    placement: 'free',
    ours: { name: 'cfc', run: () => cold(team) },
    rivals,
    ...(coldMs === undefined ? {} : { target: coldMs }),
  };
}

/** A figure that was taken elsewhere; it stands beside ours, and nothing is run. */
function recorded(ms: number, deliveredPct: number): Rival {
  const sent = 1000;
  const lost = Math.round((sent * (100 - deliveredPct)) / 100);
  const run = () => Promise.resolve({ samples: [ms], sent, lost, outOfOrder: 0 });
  return { name: 'bash predecessor, its machine', run };
}

/** Runs it in the first round; the others are compared with that. */
function once(run: () => Promise<Run>): () => Promise<Run> {
  let first: Promise<Run> | undefined;
  return () => {
    first ??= run();
    return first;
  };
}

function flatRival(team: Team): Rival {
  return { name: 'flat', run: () => eachAgent(team), targetRatio: 1.1, byWorst: true };
}

async function withAgents(team: Team, use: (agents: NativeAgents) => Promise<Run>): Promise<Run> {
  const agents = await NativeAgents.init(team);
  try {
    return await use(agents);
  } finally {
    await agents.close();
  }
}

function warm(team: Team, rounds: number): Promise<Run> {
  return withAgents(team, async (agents) => {
    await agents.start();
    await agents.allReady();
    const samples: number[] = [];
    let delivered = 0;
    for (let i = 0; i < rounds; i += 1) {
      const round = await agents.round();
      delivered += round.delivered;
      if (i >= warmUp) samples.push(round.ms);
    }
    const sent = rounds * team.workers;
    const detail = `${delivered} of ${sent} nonces came back; ${memory(agents)}`;
    return { samples, sent, lost: sent - delivered, outOfOrder: 0, detail };
  });
}

function cold(team: Team): Promise<Run> {
  return withAgents(team, async (agents) => {
    const { ms, delivered } = await agents.coldRound();
    const lost = team.workers - delivered;
    const detail = `${delivered} of ${team.workers} nonces came back`;
    return { samples: [ms], sent: team.workers, lost, outOfOrder: 0, detail };
  });
}

function ready(team: Team): Promise<Run> {
  return withAgents(team, async (agents) => {
    await agents.start();
    return { samples: [await agents.allReady()], sent: 0, lost: 0, outOfOrder: 0 };
  });
}

/** Microseconds of a warm round over its agents, the coordinators among them. */
async function eachAgent(team: Team): Promise<Run> {
  const { samples, ...rest } = await warm(team, warmRounds);
  const agents = team.coordinators + team.workers;
  return { ...rest, samples: samples.map((ms) => (ms * 1000) / agents) };
}

/** What was said beforehand, and what the files take. */
function memory(agents: NativeAgents): string {
  const stated = megabytes(NativeAgents.memoryFor(agents.team));
  const taken = megabytes(agents.memoryBytes());
  return `${agents.count} processes; ${stated} of shared memory stated, ${taken} taken`;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
