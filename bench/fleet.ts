import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { NativeAgents, type Team } from './lib/native-agents.js';
import { summarize } from './lib/statistics.js';

const rounds = 20;
const warmUp = 2;
const agentsPerCoordinator = 100;
/** What a native agent takes beside shared memory: its own pages, page tables, kernel stack, records. */
const processBytes = 256 << 10;
/** Left to the rest of the machine: below it nothing is begun, and what runs is ended. */
const reserveBytes = 6e9;
const mostLoad = 600;

const targetRoundMs = 500;
const targetSharedBytes = 305e6;

/** A hybrid of so many agents, coordinators among them; the master comes on top. */
export function fleetOf(agents: number): Team {
  const coordinators = Math.max(1, Math.round(agents / agentsPerCoordinator));
  return { coordinators, workers: agents - coordinators };
}

/** Bytes that it will take: of files, from the sizes of the layout, and of processes. */
export function fleetMemory(agents: number): { sharedBytes: number; processBytes: number } {
  const sharedBytes = NativeAgents.memoryFor(fleetOf(agents));
  return { sharedBytes, processBytes: agents * processBytes };
}

/**
 * Starts so many native agents, says beforehand what memory they will take, and measures it when all
 * are there, and rounds to all of them and back. For a person who watches: it takes the machine.
 *
 * @throws {Error} where the machine has no room for them, or a nonce did not come back
 */
export async function runFleet(
  agents: number,
  json: boolean,
  print: (text: string) => void,
): Promise<void> {
  const team = fleetOf(agents);
  const stated = fleetMemory(agents);
  print(`${agents} native agents: ${team.coordinators} coordinators, ${team.workers} workers`);
  print(
    `stated: ${megabytes(stated.sharedBytes)} shared (target <= ${megabytes(targetSharedBytes)} ` +
      `at 10,000), ${megabytes(stated.processBytes)} of processes`,
  );
  refuseWithoutRoom(agents, stated.sharedBytes + stated.processBytes);
  const before = available();
  const native = await NativeAgents.init(team);
  let guard: (() => void) | undefined;
  try {
    const starting = native.start();
    guard = watch(native.keeperPid);
    await starting;
    const readyMs = await native.allReady();
    print(`ready after ${readyMs.toFixed(0)} ms`);
    const taken = before - available();
    const samples: number[] = [];
    let delivered = 0;
    for (let i = 0; i < rounds + warmUp; i += 1) {
      const round = await native.round();
      delivered += round.delivered;
      if (i >= warmUp) samples.push(round.ms);
    }
    const sent = (rounds + warmUp) * team.workers;
    const { median, low, high } = summarize(samples);
    const measured = {
      sharedBytes: native.memoryBytes(),
      meanProcessBytes: Math.round(native.processBytes()),
      takenBytes: taken,
    };
    print(
      `warm round: ${median.toFixed(1)} ms (${low.toFixed(1)} to ${high.toFixed(1)}), ` +
        `target <= ${targetRoundMs} at 10,000; ${delivered} of ${sent} nonces came back`,
    );
    print(
      `measured: ${megabytes(measured.sharedBytes)} shared; ` +
        `${(measured.meanProcessBytes / 1024).toFixed(0)} KiB of its own (proportional set and ` +
        `page tables) a process; ${megabytes(taken)} less to be had than before, whatever else runs`,
    );
    if (json) {
      const figures = { readyMs, roundMs: { median, low, high }, sent, delivered };
      console.log(JSON.stringify({ v: 1, agents, stated, measured, ...figures }));
    }
    if (delivered !== sent) throw new Error(`${sent - delivered} nonces did not come back`);
  } finally {
    guard?.();
    await native.close();
  }
}

function refuseWithoutRoom(agents: number, bytes: number): void {
  const free = available();
  if (free < bytes + reserveBytes) {
    throw new Error(
      `${megabytes(bytes)} and ${megabytes(reserveBytes)} in reserve are needed, ${megabytes(free)} are there`,
    );
  }
  const pids = Number(readFileSync('/proc/sys/kernel/pid_max', 'utf8'));
  const limit = /^Max processes +(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  const most = Math.min(pids, limit?.[1] === 'unlimited' ? Infinity : Number(limit?.[1]));
  if (most < agents + 1000) {
    throw new Error(
      `${agents} processes are needed, and ${most} allowed (ulimit -u, kernel.pid_max)`,
    );
  }
}

/** In a process of its own: ends the tree where memory runs short or too many want to run. */
function watch(keeper: number): () => void {
  const script = `while kill -0 "$1" 2>/dev/null; do
      read -r load rest </proc/loadavg
      free=$(sed -n 's/^MemAvailable: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)
      if [ "$free" -lt "$2" ] || [ "\${load%.*}" -gt "$3" ]; then
        echo "fleet: ended: $free KiB are left, load $load" >&2
        kill -9 -"$1"
      fi
      sleep 0.2
    done`;
  const words = [keeper, Math.floor(reserveBytes / 1024), mostLoad].map(String);
  const guard = spawn('sh', ['-c', script, 'fleet-guard', ...words], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return () => guard.kill('SIGKILL');
}

function available(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  return Number(/^MemAvailable:\s+(\d+)/m.exec(text)?.[1] ?? 0) * 1024;
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
