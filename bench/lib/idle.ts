import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Run } from './case.js';
import { startPlainPeer } from './children.js';
import { withFabric } from './fabric-runs.js';

// V8 tidies its heap up for some seconds after a start.
const settleMs = 15_000;

/** How often an agent that waits is put on a CPU, and what CPU it uses meanwhile. */
export function idleWakes(seconds: number): Promise<Run> {
  return withFabric(async (_fabric, dir) => {
    const peer = startPlainPeer('idle', ['bench', dir]);
    await peer.ready();
    await sleep(settleMs);
    const before = usageOf(peer.pid);
    await sleep(seconds * 1000);
    const after = usageOf(peer.pid);
    await peer.end();
    const wakes = after.switches - before.switches;
    const ticks = after.ticks - before.ticks;
    const detail = `${ticks * 10} ms of CPU in ${seconds} s`;
    return { samples: [(wakes * 60) / seconds], sent: 0, lost: 0, outOfOrder: 0, detail };
  });
}

/** Of its main thread: the others belong to Node. Ticks are hundredths of a second. */
function usageOf(pid: number): { switches: number; ticks: number } {
  const status = readFileSync(`/proc/${pid}/task/${pid}/status`, 'utf8');
  const switches = Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { switches, ticks: Number(fields[11]) + Number(fields[12]) };
}
