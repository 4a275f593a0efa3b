import { type Agent, Fabric } from '../index.js';

export interface VisitOptions {
  fabric: string;
  /** The name to be known by; without one `cli-<pid>`. */
  as?: string | undefined;
}

/** A person's verb leaves no more than it needs. */
const visitorCells = 64;

/**
 * Takes part in a fabric for as long as `work` runs, under a name that nobody holds. The agent's
 * incarnation stays, so that what it holds since an earlier verb is still its own.
 */
export async function visit<T>(
  { fabric: name, as }: VisitOptions,
  work: (agent: Agent, fabric: Fabric) => Promise<T>,
): Promise<T> {
  const fabric = await Fabric.open(name);
  try {
    const agent =
      as === undefined
        ? await fabric.join(`cli-${process.pid}`, { role: 'cli', mailboxCells: visitorCells })
        : await fabric.join(as, { fence: false });
    try {
      return await work(agent, fabric);
    } finally {
      // Nobody will come under that name again: what a group got there is dropped, and counted.
      if (as === undefined) agent.clear();
    }
  } finally {
    await fabric.close();
  }
}
