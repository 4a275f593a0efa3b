import { readFileSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import {
  type Fabric,
  type SupervisionEvent,
  Supervisor,
  type SupervisorOptions,
  Topology,
} from '../../src/index.js';

/** Keys of an agent that does nothing, in YAML. */
export const idle = "command: [sleep, '1000']";

/** Room for what the tests of supervisors start. */
export const supervisedCapacity = { maxAgents: 256, maxParticipants: 1024, mailboxCells: 64 };

export interface Supervised {
  supervisor: Supervisor;
  events: SupervisionEvent[];
  /** Resolves once such an event was told. */
  heard(event: string, agent?: string, times?: number): Promise<SupervisionEvent>;
}

/** Supervises a topology in this process; what it started ends with the test. */
export async function supervise(
  fabric: Fabric,
  yaml: string | Topology,
  options: SupervisorOptions & { tell?: (event: SupervisionEvent) => void } = {},
): Promise<Supervised> {
  const events: SupervisionEvent[] = [];
  const waiting = new Set<() => void>();
  const topology = typeof yaml === 'string' ? Topology.parse(yaml) : yaml;
  const supervisor = await Supervisor.start(fabric, topology, {
    graceMs: 1000,
    ...options,
    onEvent: (event) => {
      events.push(event);
      options.tell?.(event);
      for (const tell of waiting) tell();
    },
  });
  onTestFinished(async () => {
    if (!supervisor.closed) await supervisor.down({ timeoutMs: 500, graceMs: 200 });
  });
  const heard = (event: string, agent?: string, times = 1) =>
    new Promise<SupervisionEvent>((resolve) => {
      const look = () => {
        const found = events.filter(
          (one) => one.event === event && (agent === undefined || one.agent === agent),
        );
        if (found.length < times) return;
        waiting.delete(look);
        resolve(found[times - 1] as SupervisionEvent);
      };
      waiting.add(look);
      look();
    });
  return { supervisor, events, heard };
}

export function pidOf(fabric: Fabric, name: string): number {
  const pid = fabric.snapshot().find((agent) => agent.name === name)?.pid;
  if (pid === undefined) throw new Error(`there is no ${name}`);
  return pid;
}

/** The command below a shim. */
export function commandOf(fabric: Fabric, name: string): number {
  const text = readFileSync(
    `/proc/${pidOf(fabric, name)}/task/${pidOf(fabric, name)}/children`,
    'latin1',
  );
  return Number(text.split(' ')[0]);
}
