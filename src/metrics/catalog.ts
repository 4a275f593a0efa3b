import type { MetricKind } from '../core/counters.js';

/** What a metric means, for exporters, for text exposition, and for the table in docs/metrics.md. */
export interface MetricSpec {
  metric: string;
  unit: string;
  kind: MetricKind;
  /** `agent`: one series an agent. `fabric`: one series in all. */
  of: 'agent' | 'fabric';
  help: string;
  /** Its name among the counters of an agent, where that is another one. */
  counter?: string;
  /** What a unit of that counter is worth in units of the metric; default 1. */
  scale?: number;
}

const agent = 'agent';
const fabric = 'fabric';

const specs: readonly MetricSpec[] = [
  // ---- what the whole did
  spec('coordination.time', 'milliseconds', 'histogram', agent, 'Wall time of a map or a gather.'),
  spec('coordination.agents', 'agents', 'gauge', fabric, 'Agents that are alive.'),
  spec(
    'coordination.delivery_rate',
    'percent',
    'gauge',
    fabric,
    'Of the messages that came to an end in the interval, those that were acked; the others were dead-lettered, dropped or refused.',
  ),
  spec('coordination.messages', 'messages', 'counter', fabric, 'Messages accepted by mailboxes.'),
  spec('coordination.acked', 'messages', 'counter', fabric, 'Messages acked.'),
  spec(
    'coordination.dropped',
    'messages',
    'counter',
    fabric,
    'Messages dropped by a policy or by clear.',
  ),
  spec('coordination.dead_lettered', 'messages', 'counter', fabric, 'Messages dead-lettered.'),
  spec('coordination.queue_depth', 'messages', 'gauge', fabric, 'Messages not yet acked, in all.'),
  spec(
    'coordination.tasks',
    'tasks',
    'counter',
    fabric,
    'Tasks of map that came to an end, lost ones too.',
  ),
  spec(
    'coordination.tasks_failed',
    'tasks',
    'counter',
    fabric,
    'Of them, those that were lost or exited with another code than 0.',
  ),
  spec(
    'coordination.error_rate',
    'percent',
    'gauge',
    fabric,
    'Of the tasks in the interval, those that failed.',
  ),
  // ---- what each agent did
  counted('coordination.message_sent', 'messages', 'Messages accepted from it.', 'messages.sent'),
  counted(
    'coordination.message_received',
    'messages',
    'Messages delivered to it, redelivered ones too.',
    'messages.received',
  ),
  spec(
    'coordination.latency',
    'milliseconds',
    'gauge',
    agent,
    'From send to delivery, the mean of the samples in the interval: one in 64, and each that woke it.',
  ),
  counted(
    'coordination.send_failure',
    'messages',
    'Sends refused: no room, or closed.',
    'messages.refused',
  ),
  {
    ...counted(
      'backpressure.wait',
      'milliseconds',
      'Time its sends waited for room.',
      'send.wait_time',
    ),
    scale: 1e-6,
  },
  counted('backpressure.waits', 'waits', 'Sends that waited for room.', 'send.waits'),
  counted(
    'backpressure.send.success',
    'messages',
    'Sends that waited for room and were accepted.',
    'send.waits_paid',
  ),
  counted(
    'backpressure.send.failure',
    'messages',
    'Sends that waited for room until their time was up.',
    'send.waits_failed',
  ),
  spec(
    'backpressure.inbox_overflow',
    'messages',
    'counter',
    agent,
    'Messages that its mailbox lost to the policy drop-oldest, or to clear.',
  ),
  spec('inbox.size', 'messages', 'gauge', agent, 'Messages in its mailbox that are not acked yet.'),
  spec('inbox.utilization', 'percent', 'gauge', agent, 'Of its mailbox, what is taken.'),
  counted('messages.acked', 'messages', 'Messages it acked.'),
  counted('messages.nacked', 'messages', 'Messages it gave back.'),
  counted('messages.redelivered', 'messages', 'Of those delivered, the ones that came again.'),
  counted('bytes.sent', 'bytes', 'Bodies of what it sent and published.'),
  counted('bytes.received', 'bytes', 'Bodies of what was delivered to it.'),
  counted('batches.sent', 'batches', 'Batches accepted from it.'),
  counted('replies.late', 'messages', 'Answers that nobody waited for any more.'),
  counted('receive.waits', 'waits', 'Times it waited for mail.'),
  {
    ...counted('receive.wait', 'milliseconds', 'Time it waited for mail.', 'receive.wait_time'),
    scale: 1e-6,
  },
  spec(
    'agent.wake_latency',
    'milliseconds',
    'gauge',
    agent,
    'From send to delivery where it slept and was woken, the mean in the interval.',
  ),
  spec(
    'agent.loop_lag',
    'milliseconds',
    'gauge',
    agent,
    'What a turn of its event loop took, the mean in the interval: so long waits what comes meanwhile.',
  ),
  spec(
    'agent.event',
    'events',
    'counter',
    agent,
    'Something that a supervisor says happened: its tag `event` says what.',
  ),
  counted('wakes', 'wakes', 'Times it slept and was woken.'),
  counted('rings', 'rings', 'Times it woke somebody.'),
  counted('repairs', 'participants', 'Dead participants it cleaned up after.'),
  counted('quarantines', 'cells', 'Stalled claims it put aside.'),
  counted('cells.corrupt', 'cells', 'Damaged cells it put away.'),
  counted('topics.published', 'messages', 'Messages it published.'),
  counted('topics.delivered', 'messages', 'Messages of topics delivered to it.'),
  counted('topics.lost', 'messages', 'Messages of topics that it was told it had lost.'),
  counted('topics.lagged', 'times', 'Times it was set aside as too slow a subscriber.'),
  counted('messages.dead_lettered', 'messages', 'Messages it gave up: its dead letters.'),
  counted('messages.expired', 'messages', 'Of them, those that it met too late.'),
  counted(
    'messages.repeated',
    'messages',
    'Messages it dropped because one of their key was acked before.',
  ),
  counted('messages.redriven', 'messages', 'Dead letters it sent again.'),
  counted('send.rate_limited', 'messages', 'Tries to send or publish that its rate put off.'),
  counted('send.over_quota', 'messages', 'Sends and publications that its quota refused.'),
  counted('send.paced', 'messages', 'Sends after which it paused, as the recipient was behind.'),
  spec('agent.restarts', 'restarts', 'counter', agent, 'Times another process took its name over.'),
  spec(
    'agent.spawn_time',
    'milliseconds',
    'gauge',
    agent,
    'From the start of its process to its join, to 10 ms; once a life.',
  ),
  spec('agent.confidence', 'ratio', 'gauge', agent, 'What it says itself.'),
  spec(
    'consensus.score',
    'percent',
    'gauge',
    agent,
    'Of the members its last gather asked, those whose answers agree.',
  ),
  {
    ...counted(
      'shutdown.inbox_message_processed',
      'messages',
      'What it counts itself under this name: messages it processed after it was told to stop.',
    ),
  },
  // ---- what each process takes
  spec(
    'system.memory_mb',
    'megabytes',
    'gauge',
    agent,
    'Resident memory of its processes: what they share with others is not in it.',
  ),
  spec('system.open_fds', 'descriptors', 'gauge', agent, 'Open descriptors of its processes.'),
  spec(
    'system.load_per_cpu',
    'load',
    'gauge',
    agent,
    'CPU time that its processes took in a second, over the number of CPUs: 1 is all of the machine.',
  ),
  // ---- how the watching goes
  spec(
    'metrics.lost',
    'records',
    'counter',
    fabric,
    'Records that the exporter could not write, or that were overwritten before it read them.',
  ),
];

/** Every metric that cfc itself produces, by name. Users' own stand beside them. */
export const catalog: ReadonlyMap<string, MetricSpec> = new Map(
  specs.map((one) => [one.metric, one]),
);

/** @returns the metric that shows a counter of an agent */
export function metricOfCounter(counter: string): MetricSpec | undefined {
  return byCounter.get(counter);
}

const byCounter = new Map(specs.map((one) => [one.counter ?? one.metric, one]));

function spec(
  metric: string,
  unit: string,
  kind: MetricKind,
  of: 'agent' | 'fabric',
  help: string,
): MetricSpec {
  return { metric, unit, kind, of, help };
}

// A counter in the agent's own block.
function counted(metric: string, unit: string, help: string, counter = metric): MetricSpec {
  return { metric, unit, kind: 'counter', of: agent, help, counter };
}
