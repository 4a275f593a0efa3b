// What measuring costs: the same workload with counting and without, in one run, with bounds; and
// how quickly ten thousand agents are looked at and written down.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Agent, Fabric } from 'cfc';
import { Exporter } from 'cfc/metrics';
import { pairUp, startPeer } from './lib/children.js';
import { withDirectory, withFabric } from './lib/fabric-runs.js';
import type { Machine } from './lib/machine.js';

const bytes = 64;
// Short, so that what the machine does besides meets both of a pair alike, and many.
const messagesPerSlice = 2500;
const slicesPerRun = 4000;
const batchSize = 50;
const warmUpSlices = 4;
const manyAgents = 10_000;
const looks = 15;

interface Overhead {
  /** Of the time that a message takes, what counting adds, in percent; and the 95 % bounds. */
  percent: number;
  low: number;
  high: number;
  pairs: number;
  messagesPerSecond: number;
}

/** @param scale multiplies the work */
export async function benchMetrics(
  { runs, scale, json }: { runs: number; scale: number; json: boolean },
  machine: Machine,
  progress: (text: string) => void,
): Promise<void> {
  progress('one way, 64 B, batches, counting on and off ');
  const overhead = await measureOverhead(runs, scale, () => progress('.'));
  progress('\nthe same in one thread ');
  const alone = await measureAlone(runs, scale, () => progress('.'));
  progress('\n10,000 agents ');
  const many = await measureMany(() => progress('.'));
  progress('\n');
  if (json) {
    console.log(JSON.stringify({ v: 1, machine, overhead, alone, many }));
    return;
  }
  const { percent, low, high, pairs, messagesPerSecond } = overhead;
  const verdictOf = (met: boolean) => (met ? 'meets' : 'MISSES');
  console.log(`one way, 64 B, batches: counting on against off, ${pairs} pairs in one run
  ${(messagesPerSecond / 1e6).toFixed(2)} M messages/s; on costs ${percent.toFixed(2)} % (95 %: ${low.toFixed(2)} to ${high.toFixed(2)})   ${verdictOf(high < 1)} < 1 %, upper bound included
  in one thread, sender and reader by turns, without a wake: ${(alone.messagesPerSecond / 1e6).toFixed(2)} M messages/s; on costs ${alone.percent.toFixed(2)} % (95 %: ${alone.low.toFixed(2)} to ${alone.high.toFixed(2)}, ${alone.pairs} pairs)   ${verdictOf(alone.high < 1)} < 1 %
10,000 agents of one process, that all have sent and received
  fabric.table()      p50 ${many.tableMs.toFixed(1)} ms   ${verdictOf(many.tableMs <= 20)} <= 20 ms
  fabric.snapshot()   p50 ${many.snapshotMs.toFixed(1)} ms
  sampler.sample()    p50 ${many.sampleMs.toFixed(1)} ms
  exporter            ${Math.round(many.linesPerSecond / 1000)} k lines/s (${many.lines} lines a batch)   ${verdictOf(many.linesPerSecond >= 250_000)} >= 250 k`);
}

async function measureOverhead(runs: number, scale: number, tick: () => void): Promise<Overhead> {
  const slices = Math.max(4, Math.round((slicesPerRun * scale) / 4) * 4);
  const logs: number[] = [];
  const rates: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const { on, off } = await withFabric(async (_, dir) => {
      const words = [dir, String(slices), String(messagesPerSlice), String(bytes)];
      const [times] = await pairUp<{ on: number[]; off: number[] }, number>(
        () => startPeer('metrics-send', words, 'free', 1),
        startPeer('metrics-receive', words, 'free', 0),
      );
      return times;
    });
    // The first turns warm up.
    for (let i = 4; i + 1 < on.length; i += 2) {
      const both = (times: number[]) => (times[i] as number) + (times[i + 1] as number);
      logs.push(Math.log(both(on) / both(off)));
      rates.push((2 * messagesPerSlice * 1e6) / both(on));
    }
    tick();
  }
  return { ...medianWithBounds(logs), pairs: logs.length, messagesPerSecond: middle(rates) };
}

/**
 * The same calls by one thread, which sends a batch and reads it, and never waits: of the noise of a
 * machine with others on it only what falls into the slice itself is left. What it counts is the sum
 * of both sides, where two processes show the slower one.
 */
async function measureAlone(runs: number, scale: number, tick: () => void): Promise<Overhead> {
  const slices = Math.max(8, Math.round(slicesPerRun * scale));
  const logs: number[] = [];
  const rates: number[] = [];
  const bodies = Array.from({ length: batchSize }, () => new Uint8Array(bytes));
  for (let run = 0; run < runs; run += 1) {
    await withFabric(async (fabric) => {
      const make = async (way: string, metrics: boolean) => ({
        to: `reader-${way}`,
        sender: await fabric.join(`sender-${way}`, { metrics }),
        reader: await fabric.join(`reader-${way}`, { metrics }),
      });
      const ways = { on: await make('on', true), off: await make('off', false) };
      const slice = async ({ to, sender, reader }: (typeof ways)['on']) => {
        const beganAt = performance.now();
        for (let sent = 0; sent < messagesPerSlice; sent += batchSize) {
          await sender.sendBatch(to, bodies);
          (await reader.receiveBatch()).ack();
        }
        return performance.now() - beganAt;
      };
      for (let i = 0; i < slices; i += 1) {
        // on, off, off, on: what drifts meets both alike.
        const on1 = await slice(ways.on);
        const off = (await slice(ways.off)) + (await slice(ways.off));
        const on = on1 + (await slice(ways.on));
        if (i < warmUpSlices) continue;
        logs.push(Math.log(on / off));
        rates.push((2 * messagesPerSlice * 1000) / on);
      }
    });
    tick();
  }
  return { ...medianWithBounds(logs), pairs: logs.length, messagesPerSecond: middle(rates) };
}

// The median, and its 95 % bounds by rank: they hold whatever the noise looks like.
function medianWithBounds(logs: readonly number[]): { percent: number; low: number; high: number } {
  const sorted = logs.toSorted((a, b) => a - b);
  const half = 0.98 * Math.sqrt(sorted.length);
  const at = (rank: number) =>
    sorted[Math.max(0, Math.min(sorted.length - 1, Math.round(rank)))] as number;
  const percent = (log: number) => 100 * (Math.exp(log) - 1);
  const center = (sorted.length - 1) / 2;
  return {
    percent: percent(middle(sorted)),
    low: percent(at(center - half)),
    high: percent(at(center + half)),
  };
}

function middle(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}

interface Many {
  tableMs: number;
  snapshotMs: number;
  sampleMs: number;
  linesPerSecond: number;
  lines: number;
}

async function measureMany(tick: () => void): Promise<Many> {
  return await withDirectory(async (dir) => {
    const folder = mkdtempSync(join(tmpdir(), 'cfc-bench-export-'));
    const fabric = await Fabric.open('bench', {
      create: true,
      dir,
      profile: 'large',
      capacity: { mailboxCells: 16 },
    });
    try {
      const agents: Agent[] = [];
      for (let i = 0; i < manyAgents; i += 1) agents.push(await fabric.join(`agent-${i}`));
      const exchange = () => {
        for (const [i, agent] of agents.entries()) {
          agent.trySend(`agent-${(i + 1) % manyAgents}`, 'hello');
        }
        for (const agent of agents) agent.tryReceive()?.ack();
      };
      exchange();
      tick();
      const tableMs = medianMs(() => fabric.table());
      const snapshotMs = medianMs(() => fabric.snapshot());
      tick();
      const sampler = fabric.sampler();
      const sampleMs = medianMs(() => sampler.sample());
      tick();
      const exporter = new Exporter(fabric, {
        file: join(folder, 'metrics.jsonl'),
        intervalMs: 3_600_000,
        eventsMs: 3_600_000,
        maxBytes: 1e9,
      });
      await exporter.start();
      const rates: number[] = [];
      let lines = 0;
      for (let i = 0; i < looks; i += 1) {
        exchange();
        const before = exporter.lines;
        const beganAt = performance.now();
        await exporter.flush();
        lines = exporter.lines - before;
        rates.push((lines * 1000) / (performance.now() - beganAt));
      }
      await exporter.stop();
      if (exporter.lost > 0) throw new Error(`${exporter.lost} records lost`);
      tick();
      return { tableMs, snapshotMs, sampleMs, linesPerSecond: middle(rates), lines };
    } finally {
      await fabric.close();
      rmSync(folder, { recursive: true });
    }
  });
}

function medianMs(what: () => unknown): number {
  const times: number[] = [];
  for (let i = 0; i < looks; i += 1) {
    const beganAt = performance.now();
    what();
    times.push(performance.now() - beganAt);
  }
  return middle(times);
}
