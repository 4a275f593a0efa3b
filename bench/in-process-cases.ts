import { randomUUID } from 'node:crypto';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { type Agent, Fabric } from 'cfc';
import { Bench } from 'tinybench';
import type { Case, Run } from './lib/case.js';
import { idleWakes } from './lib/idle.js';

// Each operation is far below the clock's resolution, so a sample is so many.
const atOnce = 100;

/**
 * Single operations inside one process, and what a process that waits costs.
 *
 * @param scale multiplies the time; 1 takes half a second a run
 */
export function inProcessCases(scale: number): Case[] {
  const timeMs = Math.max(20, 500 * scale);
  const each = (work: (agent: Agent) => () => void) => ({
    name: 'cfc',
    run: () => withAgent((agent) => nanoseconds(work(agent), timeMs)),
  });
  const rival = (name: string, work: () => () => void) => ({
    name,
    run: () => nanoseconds(work(), timeMs),
  });
  const words = new Float64Array(new SharedArrayBuffer(1024));
  const integers = new BigInt64Array(new SharedArrayBuffer(1024));
  const here = { unit: 'ns', placement: 'free' } as const;
  return [
    {
      ...here,
      name: 'in process: counter.add',
      target: 10,
      ours: each((agent) => {
        const counter = agent.counter('bench.counted');
        return () => counter.add(1);
      }),
      rivals: [
        rival('array store', () => () => {
          words[7] = (words[7] as number) + 1;
        }),
        rival('Atomics.add', () => () => Atomics.add(integers, 7, 1n)),
      ],
    },
    {
      ...here,
      name: 'in process: histogram.record',
      target: 20,
      ours: each((agent) => {
        const histogram = agent.histogram('bench.recorded');
        let value = 0;
        return () => {
          value = (value + 17) % 5000;
          histogram.record(value);
        };
      }),
      rivals: [],
    },
    ...[64, 1024].map(
      (bytes): Case => ({
        ...here,
        name: `in process: send, receive and ack, ${bytes} B`,
        ours: each((agent) => {
          const body = new Uint8Array(bytes);
          return () => {
            if (!agent.trySend('bench', body)) throw new Error('full');
            const message = agent.tryReceive();
            if (message?.body.length !== bytes) throw new Error('nothing, or something else');
            message.ack();
          };
        }),
        rivals: [
          rival('MessagePort', () => {
            const { port1, port2 } = new MessageChannel();
            const body = new Uint8Array(bytes);
            for (const port of [port1, port2]) port.unref();
            return () => {
              port1.postMessage(body);
              if (receiveMessageOnPort(port2) === undefined) throw new Error('nothing');
            };
          }),
        ],
      }),
    ),
    {
      name: 'an agent that waits for mail: times it wakes',
      unit: 'wakes/min',
      placement: 'free',
      once: true,
      target: 60 / 5,
      ours: { name: 'cfc', run: () => idleWakes(20 * Math.min(1, scale)) },
      rivals: [],
    },
  ];
}

async function withAgent(use: (agent: Agent) => Promise<Run>): Promise<Run> {
  const name = `bench-${randomUUID().slice(0, 8)}`;
  const fabric = await Fabric.open(name, { create: true });
  try {
    const agent = await fabric.join('bench');
    const run = await use(agent);
    await agent.leave();
    return run;
  } finally {
    await fabric.close();
    await Fabric.destroy(name);
  }
}

async function nanoseconds(work: () => void, timeMs: number): Promise<Run> {
  const bench = new Bench({ time: timeMs, warmupTime: timeMs / 5 });
  bench.add('work', () => {
    for (let i = 0; i < atOnce; i += 1) work();
  });
  const [task] = await bench.run();
  const result = task?.result;
  if (result?.state !== 'completed') throw new Error(`the bench ended as ${result?.state}`);
  // Milliseconds for all of them to nanoseconds for one.
  return { samples: [(result.latency.p50 * 1e6) / atOnce], sent: 0, lost: 0, outOfOrder: 0 };
}
