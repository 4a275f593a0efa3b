import { join } from 'node:path';
import {
  AlertFiles,
  AlertWatch,
  parseAlertRules,
  Redactor,
  type SupervisionEvent,
  Supervisor,
  Topology,
} from '../../index.js';
import { Exporter } from '../../metrics/index.js';
import { LiveSource } from '../live-source.js';
import type { Stage } from './stage.js';

/** What the alert looks at; `churn` sets it. */
export const pulseMetric = 'soak.pulse';
const pulseAlert = 'soak_pulse';
const downMs = 60_000;
const keptFiles = 3;

/** Beside those that are shipped: one that fires and resolves again and again. */
const rules = `
defaults: true
rules:
  - name: ${pulseAlert}
    metric: ${pulseMetric}
    statistic: last
    comparison: '>'
    threshold: 0
    cooldown: 0s
    severity: info
`;

/** Keeps a topology running; its agents are processes of their own, which survive it. */
export async function supervisor(stage: Stage): Promise<void> {
  const { counts, fabric, options } = stage;
  const onEvent = ({ event, agent, reason }: SupervisionEvent) => {
    if (event === 'restarted') counts.restarts += 1;
    if (event === 'adopted') counts.adoptions += 1;
    if (event === 'crash-loop' || event === 'failover') {
      throw new Error(`${event} of ${agent}: ${reason ?? ''}`);
    }
  };
  const supervising = await Supervisor.start(fabric, Topology.parse(options.topology), { onEvent });
  const { notReady } = await supervising.whenReady();
  if (notReady.length > 0) throw new Error(`not ready: ${notReady.join(', ')}`);
  stage.ready();
  await stage.whenStopped;
  await supervising.down({ timeoutMs: downMs });
}

/** Writes what the fabric measures, and puts its file away when it is full. */
export async function exporter(stage: Stage): Promise<void> {
  const { counts, fabric, options } = stage;
  const writing = new Exporter(fabric, {
    file: join(options.stateDir, 'metrics.jsonl'),
    intervalMs: options.exportEveryMs,
    maxBytes: options.exportMaxBytes,
    keep: keptFiles,
    onProblem: (problem) => {
      if (problem !== undefined) throw problem;
    },
  });
  await writing.start();
  // In the middle of a write it has more descriptors than after it.
  stage.settle = async () => {
    await writing.flush();
    counts.lines = writing.lines;
    counts.rotations = writing.rotations;
  };
  stage.ready();
  await stage.whenStopped;
  await writing.stop();
  counts.lines = writing.lines;
  counts.rotations = writing.rotations;
}

/** The daemon of the alerts, with those that are shipped and one that comes and goes. */
export async function alerts(stage: Stage): Promise<void> {
  const { counts, fabric, options } = stage;
  const watch = new AlertWatch({
    ...parseAlertRules(rules),
    labels: { fabric: fabric.name },
    intervalMs: options.evaluateEveryMs,
    redactor: new Redactor(),
    files: new AlertFiles(join(options.stateDir, 'alerts')),
    tell: (line) => {
      throw new Error(line);
    },
    notifier: { groupIntervalMs: options.evaluateEveryMs / 2 },
    source: new LiveSource(fabric.name),
    sinks: [],
  });
  const stop = new AbortController();
  void stage.whenStopped.then(() => stop.abort());
  stage.ready();
  await watch.run(stop.signal, (changed) => {
    counts.evaluations += 1;
    for (const { alert, state } of changed) {
      if (alert !== pulseAlert) continue;
      if (state === 'firing') counts.fired += 1;
      if (state === 'resolved') counts.resolved += 1;
    }
  });
}
