import type { Command } from 'commander';
import { MapJob, type Task } from './map-job.js';
import type { TaskResult } from './map-wire.js';
import { jsonOption, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, writeJson, writeOut } from './terminal.js';

interface DemoFlags {
  json?: boolean;
}

const coordinators = 2;
const workers = 10;
const warmMessages = 1000;

export function demoVerb(): Command {
  return verb('demo', 'a small fabric of real processes, measured; needs nothing, leaves nothing')
    .addOption(jsonOption())
    .action(demo);
}

/** Each message is a number that only its sender knows; it counts as delivered if it comes back. */
class Nonces {
  sent = 0;
  delivered = 0;

  async *take(count: number): AsyncGenerator<Task<string>> {
    for (let i = 0; i < count; i += 1) {
      const nonce = crypto.randomUUID();
      this.sent += 1;
      yield await Promise.resolve({ task: nonce, bytes: Buffer.from(nonce) });
    }
  }

  check(nonce: string, result: TaskResult): void {
    if (Buffer.from(result.stdout).toString() === nonce) this.delivered += 1;
  }
}

async function demo(flags: DemoFlags): Promise<void> {
  const job = new MapJob<string>({ workers, coordinators });
  const nonces = new Nonces();
  const check = (nonce: string, result: TaskResult) => nonces.check(nonce, result);
  const stop = () => void job.close().finally(() => process.exit(exitCodes.interrupted));
  process.once('SIGINT', stop);
  let coldMs = 0;
  let warmMs = 0;
  try {
    say(`starting ${coordinators} coordinators with ${workers / coordinators} workers each`);
    await job.start();
    await job.allUp();
    const cold = await job.run(nonces.take(workers), check);
    coldMs = cold.lastAnsweredAt - job.startedAt;
    const warm = await job.run(nonces.take(warmMessages), check);
    warmMs = warm.lastAnsweredAt - warm.firstSentAt;
  } finally {
    await job.close();
    process.off('SIGINT', stop);
  }
  const { sent, delivered } = nonces;
  const deliveryRate = (100 * delivered) / sent;
  const report = {
    v: 1,
    topology: 'hybrid',
    agents: job.agents,
    messages: sent,
    delivered,
    deliveryRate,
    coldMs: Math.round(coldMs * 10) / 10,
    warmMs: Math.round(warmMs * 10) / 10,
  };
  if (flags.json || !process.stdout.isTTY) await writeJson(report);
  else await writeOut(describe(report));
  if (delivered < sent) throw new Outcome(exitCodes.partly);
  say("find . -name '*.md' | cfc map --workers 10 -- wc -l");
}

function describe(report: Record<string, unknown> & { coldMs: number; warmMs: number }): string {
  const { agents, messages, delivered, deliveryRate, coldMs, warmMs } = report;
  const perSecond = Math.round((warmMessages * 1000) / warmMs).toLocaleString('en');
  return `${agents} agents, all of them processes: a master, ${coordinators} coordinators, ${workers} workers
${coldMs} ms from nothing until all were there and ${workers} messages had come back
${warmMs} ms for ${warmMessages} more messages through a coordinator to a worker and back, ${perSecond} a second
${delivered} of ${messages} came back (${deliveryRate} %); processes and files are gone again
`;
}
