import { setTimeout as sleep } from 'node:timers/promises';
import { Fabric, type SupervisionEvent, Supervisor, Topology } from 'cfc';
import type { Case, Run } from './lib/case.js';
import { withDirectory } from './lib/fabric-runs.js';
import { NativeAgents } from './lib/native-agents.js';

const idle = ['sleep', '1000'];
const agents = 100;
const poolSize = 50;

/** What becomes of agents beside their messages: taken from a pool, found dead, drained, stopped. */
export function fabricAgentCases(): Case[] {
  return [
    {
      name: 'fabric, a pooled agent assigned: taken, and its task in its mailbox',
      unit: 'us',
      placement: 'free',
      target: 1000,
      ours: { name: 'cfc', run: pooled },
      rivals: [],
    },
    {
      name: 'fabric, a death noticed by the supervisor: pidfd, then the lease',
      unit: 'us',
      placement: 'free',
      targetP99: 100_000,
      ours: { name: 'cfc', run: deaths },
      rivals: [],
    },
    {
      name: 'fabric, 100 native agents with full mailboxes drained and stopped',
      unit: 'ms',
      placement: 'free',
      target: 1000,
      ours: { name: 'cfc', run: drained },
      rivals: [],
    },
    {
      name: 'fabric, 100 supervised commands taken down',
      unit: 'ms',
      placement: 'free',
      target: 1000,
      ours: { name: 'cfc', run: takenDown },
      rivals: [],
    },
  ];
}

const capacity = { maxAgents: 512, maxParticipants: 2048, mailboxCells: 16 };

function withFabric<T>(use: (fabric: Fabric) => Promise<T>): Promise<T> {
  return withDirectory(async (dir) => {
    const fabric = await Fabric.open('bench', { create: true, dir, capacity });
    try {
      return await use(fabric);
    } finally {
      await fabric.close();
    }
  });
}

const whole = (samples: number[], detail: string): Run => ({
  ...{ samples, sent: samples.length, lost: 0, outOfOrder: 0 },
  detail,
});

/** Half as many are taken as wait; others are started in their place meanwhile. */
function pooled(): Promise<Run> {
  return withFabric(async (fabric) => {
    const here = await fabric.join('here');
    const pool = fabric.pool({ command: idle }, { size: poolSize });
    try {
      while (pool.statistics().idle < poolSize) await sleep(10);
      const samples: number[] = [];
      const taken: string[] = [];
      for (let i = 0; i < poolSize / 2; i += 1) {
        const beganAt = performance.now();
        const name = await pool.take();
        await here.send(name, 'a task');
        samples.push((performance.now() - beganAt) * 1000);
        taken.push(name);
        await sleep(5); // agents are needed one after the other
      }
      const { hitRate } = pool.statistics();
      for (const name of taken) pool.discard(name);
      return whole(samples, `hit rate ${hitRate.toFixed(1)} %`);
    } finally {
      await pool.close();
    }
  });
}

async function supervised<T>(
  fabric: Fabric,
  onEvent: (event: SupervisionEvent) => void,
  use: (supervisor: Supervisor) => Promise<T>,
): Promise<T> {
  const worker = { command: idle, restart: 'never' as const };
  const topology = Topology.flat({ workers: agents, worker });
  const supervisor = await Supervisor.start(fabric, topology, { onEvent, graceMs: 1000 });
  try {
    await supervisor.whenReady();
    return await use(supervisor);
  } finally {
    if (!supervisor.closed) await supervisor.down({ timeoutMs: 2000, graceMs: 500 });
  }
}

/** From the kill to the event, of one shim after the other; its lease is free by then. */
function deaths(): Promise<Run> {
  return withFabric((fabric) => {
    let tell = (_: SupervisionEvent) => {};
    return supervised(
      fabric,
      (event) => tell(event),
      async () => {
        const samples: number[] = [];
        const victims = fabric.snapshot().filter(({ role }) => role === 'worker');
        for (const { name, pid } of victims) {
          const heard = new Promise<void>((resolve) => {
            tell = ({ event, agent }) => {
              if (event === 'exited' && agent === name) resolve();
            };
          });
          const beganAt = performance.now();
          process.kill(pid, 'SIGKILL');
          await heard;
          samples.push((performance.now() - beganAt) * 1000);
          const left = fabric.snapshot().find((agent) => agent.name === name);
          if (left?.liveness === 'alive') throw new Error(`${name} was called dead and is not`);
        }
        return whole(samples, `${samples.length} deaths`);
      },
    );
  });
}

/** From the last message that found room to the last process gone; every message is answered. */
async function drained(): Promise<Run> {
  const native = await NativeAgents.init({ coordinators: 0, workers: agents });
  try {
    await native.start();
    await native.allReady();
    const { sent, answered } = native.fill();
    const beganAt = performance.now();
    const got = await answered();
    await native.stop();
    const ms = performance.now() - beganAt;
    const detail = `${sent} messages queued or under way at the start`;
    return { samples: [ms], sent, lost: sent - got, outOfOrder: 0, detail };
  } finally {
    await native.close();
  }
}

function takenDown(): Promise<Run> {
  return withFabric((fabric) =>
    supervised(
      fabric,
      () => {},
      async (supervisor) => {
        const beganAt = performance.now();
        const { stopped, killed, ledger } = await supervisor.down();
        const ms = performance.now() - beganAt;
        if (stopped.length !== agents) throw new Error(`${stopped.length} were stopped`);
        const { accepted, acked, queued, deadLettered, dropped } = ledger;
        const lost = accepted - acked - queued - deadLettered - dropped;
        return { ...whole([ms], `${killed.length} had to be killed`), lost };
      },
    ),
  );
}
