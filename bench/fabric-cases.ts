import type { Case, Rival, Run } from './lib/case.js';
import { NativeAgents, type Team } from './lib/native-agents.js';

/** Rounds of one tree of processes; the first two warm it up. */
const warmRounds = 22;
const warmUp = 2;

interface Plan {
  name: string;
  team: Team;
  warmMs?: number;
  coldMs?: number;
}

const plans: readonly Plan[] = [
  { name: 'flat 100', team: { coordinators: 0, workers: 100 }, warmMs: 5, coldMs: 250 },
  { name: 'flat 300', team: { coordinators: 0, workers: 300 }, warmMs: 15 },
  { name: 'flat 400', team: { coordinators: 0, workers: 400 } },
  { name: 'hybrid 7 x 20', team: { coordinators: 7, workers: 140 } },
  { name: 'hybrid 7 x 50', team: { coordinators: 7, workers: 350 } },
  { name: 'hybrid 7 x 100', team: { coordinators: 7, workers: 700 }, warmMs: 30, coldMs: 1200 },
  { name: 'hybrid 10 x 100', team: { coordinators: 10, workers: 1000 } },
  { name: 'hybrid 20 x 100', team: { coordinators: 20, workers: 2000 } },
];

/**
 * Trees of native agents, each a process: who answers is asked through its own mailbox, and a round
 * counts once every nonce is back with the master, which is JavaScript.
 *
 * @param scale below 1 leaves out the trees of a thousand and more
 */
export function fabricCases(scale: number): Case[] {
  const chosen = plans.filter(({ team }) => scale >= 1 || team.workers < 1000);
  return [
    ...chosen.flatMap(({ name, team, warmMs, coldMs }): Case[] => [
      {
        name: `fabric, ${name}, warm round`,
        unit: 'ms',
        placement: 'free',
        ours: { name: 'cfc', run: () => warm(team, warmRounds) },
        rivals: [],
        ...(warmMs === undefined ? {} : { target: warmMs }),
      },
      {
        name: `fabric, ${name}, cold`,
        unit: 'ms',
        placement: 'free',
        ours: { name: 'cfc', run: () => cold(team) },
        rivals: [],
        ...(coldMs === undefined ? {} : { target: coldMs }),
      },
    ]),
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
      ours: { name: 'hybrid', run: () => eachAgent({ coordinators: 7, workers: 700 }) },
      rivals: [flatRival({ coordinators: 0, workers: 707 })],
    },
  ];
}

function flatRival(team: Team): Rival {
  return { name: 'flat', run: () => eachAgent(team), targetRatio: 1.1 };
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
    return { samples, sent, lost: sent - delivered, outOfOrder: 0, detail: memory(agents) };
  });
}

function cold(team: Team): Promise<Run> {
  return withAgents(team, async (agents) => {
    const { ms, delivered } = await agents.coldRound();
    const lost = team.workers - delivered;
    return { samples: [ms], sent: team.workers, lost, outOfOrder: 0 };
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

/** What was said beforehand, and what the files take: bodies above 160 bytes come on top. */
function memory(agents: NativeAgents): string {
  const stated = megabytes(NativeAgents.memoryFor(agents.team));
  const taken = megabytes(agents.memoryBytes());
  return `${agents.count} processes; ${stated} of shared memory stated, ${taken} taken`;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
