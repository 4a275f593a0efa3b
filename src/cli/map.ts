import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type Command, Option } from 'commander';
import { specOf } from '../index.js';
import { findCommand } from './find-command.js';
import { parseJsonLine, readLines } from './input.js';
import { MapJob, type PassReport, type Task } from './map-job.js';
import { MapMetrics } from './map-metrics.js';
import type { TaskResult } from './map-wire.js';
import { parseCount, parseName, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { Progress } from './progress.js';
import { jsonLine, OutputClosed, say, warn, whenOutputCloses, writeOut } from './terminal.js';
import { textOrBase64 } from './text.js';

interface MapFlags {
  workers: number;
  topology?: MapShape;
  coordinators?: number;
  retries: number;
  ndjson?: boolean;
  null?: boolean;
  summary?: string;
  fabric?: string;
}

/** The task as it is shown beside its result. */
type Shown = Record<string, unknown>;

const mapShapes = ['flat', 'hierarchical', 'hybrid', 'mesh'] as const;
type MapShape = (typeof mapShapes)[number];

/** Agents, the master among them, up to which a shape is chosen where none is named. */
const meshUpTo = 7;
const hierarchyUpTo = 100;
const workersPerCoordinator = 50;

export function mapVerb(): Command {
  const workers = specOf('map.workers');
  const retries = specOf('map.retries');
  return verb('map', 'run a command once for each line of stdin, on many workers')
    .usage('[options] -- COMMAND…')
    .argument('<command...>', 'what each task is appended to, as one more argument')
    .addOption(
      new Option('--workers <n>', 'how many run beside each other')
        .env(workers.env)
        .argParser(parseCount(workers.least, workers.most))
        .default(availableParallelism()),
    )
    .addOption(
      new Option(
        '--topology <shape>',
        'flat, mesh: the master hands out the tasks; hierarchical, hybrid: coordinators do (default: mesh to 7 agents, hierarchical to 100, then hybrid)',
      ).choices([...mapShapes]),
    )
    .option(
      '--coordinators <n>',
      `between the master and the workers (default: the square root of the workers; of a hybrid, one for ${workersPerCoordinator})`,
      parseCount(1, 1000),
    )
    .addOption(
      new Option('--retries <n>', retries.doc)
        .env(retries.env)
        .argParser(parseCount(retries.least, retries.most))
        .default(retries.default),
    )
    .option('--ndjson', 'each line is a JSON value and becomes the stdin of the command')
    .option('-0, --null', 'tasks end with a NUL byte, as find -print0 writes them')
    .option('--summary <file>', 'write the summary there instead of to stderr')
    .option('--fabric <name>', "a name for the job's own fabric", parseName)
    .addHelpText('after', mapHelp)
    .action((command: string[], flags: MapFlags) => map(command, flags));
}

const mapHelp = `
One line of JSON a task on stdout, in the order of completion:
  {v, task, worker, exitCode, stdout, stderr, durationMs, attempts}
Exit codes of map: 0 all answered, all with code 0; 1 all answered, some with another code; 8 some
lost. Ctrl-C lets running tasks finish, a second one ends them. What COMMAND leaves running in the
background ends with it.

  find src -name '*.ts' | cfc map --workers 100 -- wc -l`;

async function map(words: string[], flags: MapFlags): Promise<void> {
  const [name = '', ...rest] = words;
  const command = { file: findCommand(name), arguments: [name, ...rest] };
  const coordinators = coordinatorsOf(flags);
  const { workers, retries, ndjson = false, fabric } = flags;
  const job = new MapJob<Shown>({
    workers,
    coordinators,
    retries,
    ndjson,
    command,
    ...(fabric === undefined ? {} : { fabric }),
  });
  const run = new MapRun(job, flags);
  try {
    await run.run();
  } finally {
    await run.end();
  }
  run.judge();
}

/**
 * Who stands between the master and the workers. A mesh has nobody there, as a flat shape; tasks have
 * nothing to say to each other, so their processes are the same.
 */
function coordinatorsOf({ topology, coordinators, workers }: MapFlags): number {
  const shape = topology ?? shapeFor(workers, coordinators);
  if (shape === 'flat' || shape === 'mesh') {
    if (coordinators === undefined) return 0;
    throw new Outcome(
      exitCodes.usage,
      `a ${shape} topology has no coordinators`,
      'leave --coordinators out, or use --topology hierarchical or hybrid',
    );
  }
  const usual =
    shape === 'hybrid' ? Math.ceil(workers / workersPerCoordinator) : Math.round(workers ** 0.5);
  return Math.min(coordinators ?? usual, workers);
}

/** As `Topology.choose`; who asks for coordinators gets a shape that has some. */
function shapeFor(workers: number, coordinators?: number): MapShape {
  if (coordinators === undefined && 1 + workers <= meshUpTo) return 'mesh';
  const between = coordinators ?? Math.round(workers ** 0.5);
  return 1 + between + workers <= hierarchyUpTo ? 'hierarchical' : 'hybrid';
}

/** One `cfc map`, from the first line to the exit code. */
class MapRun {
  readonly #job: MapJob<Shown>;
  readonly #flags: MapFlags;
  readonly #progress: Progress;
  readonly #metrics = new MapMetrics();
  #lines: string[] = [];
  #nonZero = 0;
  #more = true;
  #interrupts = 0;
  #signal: NodeJS.Signals = 'SIGINT';
  #outputClosed = false;
  readonly #onSignal = (signal: NodeJS.Signals) => this.#interrupt(signal);

  constructor(job: MapJob<Shown>, flags: MapFlags) {
    this.#job = job;
    this.#flags = flags;
    this.#progress = new Progress(() => ({
      report: job.report,
      running: job.running,
      more: this.#more,
    }));
  }

  async run(): Promise<void> {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, this.#onSignal);
    whenOutputCloses(() => this.#stopAtOnce());
    if (process.stdin.isTTY) say('tasks are read from the terminal, one a line; Ctrl-D ends them');
    try {
      await this.#job.start();
      await this.#job.run(
        this.#tasks(),
        (task, result) => this.#onResult(task, result),
        () => this.#flush(),
      );
    } catch (error) {
      // Ended on purpose: what it says then is of no interest.
      if (!this.#outputClosed && this.#interrupts < 2 && !(error instanceof OutputClosed))
        throw error;
      this.#outputClosed ||= error instanceof OutputClosed;
    }
  }

  async end(): Promise<void> {
    this.#progress.stop();
    await this.#job.close();
    await this.#metrics.end();
    process.stdin.destroy();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.off(signal, this.#onSignal);
  }

  judge(): void {
    const report = this.#job.report;
    if (!this.#outputClosed) this.#summarize(report);
    if (this.#interrupts > 0) {
      throw new Outcome(this.#signal === 'SIGINT' ? exitCodes.interrupted : 143);
    }
    if (report.answered < report.tasks || this.#outputClosed) throw new Outcome(exitCodes.partly);
    if (this.#nonZero > 0) throw new Outcome(exitCodes.failed);
  }

  async *#tasks(): AsyncGenerator<Task<Shown>> {
    const { ndjson, null: nul } = this.#flags;
    let number = 0;
    for await (const line of readLines(process.stdin, nul ? 0 : 10)) {
      number += 1;
      if (!ndjson) yield { task: textOrBase64('task', line), bytes: line };
      else if (line.length > 0) yield { task: { task: parseJsonLine(line, number) }, bytes: line };
    }
    this.#more = false;
  }

  #onResult(task: Shown, result: TaskResult): void {
    if (!result.lost && result.exitCode !== 0) this.#nonZero += 1;
    this.#metrics.task(result.lost || result.exitCode !== 0);
    this.#lines.push(
      jsonLine({
        v: 1,
        ...task,
        worker: result.worker,
        exitCode: result.lost ? null : result.exitCode,
        ...textOrBase64('stdout', result.stdout),
        ...textOrBase64('stderr', result.stderr),
        durationMs: Math.round(result.durationMs * 1000) / 1000,
        attempts: result.attempts,
        ...(result.truncated ? { truncated: true } : {}),
        ...(result.lost ? { lost: true } : {}),
      }),
    );
  }

  async #flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    const text = this.#lines.join('');
    this.#lines = [];
    await writeOut(text);
  }

  #interrupt(signal: NodeJS.Signals): void {
    this.#interrupts += 1;
    this.#signal = signal;
    if (this.#interrupts === 1 && signal !== 'SIGHUP') {
      say('finishing what runs; once more ends it at once');
      this.#job.drain().catch(() => {});
    } else {
      this.#interrupts = 2;
      this.#job.close().catch(() => {});
    }
  }

  #stopAtOnce(): void {
    this.#outputClosed = true;
    this.#job.close().catch(() => {});
  }

  #summarize(report: Readonly<PassReport>): void {
    const { tasks, answered, lost, firstSentAt, lastAnsweredAt } = report;
    const since = (at: number) =>
      at === 0 || lastAnsweredAt === 0 ? 0 : Math.round((lastAnsweredAt - at) * 10) / 10;
    const summary = {
      v: 1,
      agents: this.#job.agents,
      tasks,
      answered,
      lost,
      deliveryRate: tasks === 0 ? 100 : (100 * answered) / tasks,
      coldMs: since(this.#job.startedAt),
      warmMs: since(firstSentAt),
      ...(this.#interrupts > 0 ? { interrupted: true } : {}),
    };
    const json = `${JSON.stringify(summary)}\n`;
    if (this.#flags.summary !== undefined) writeFileSync(this.#flags.summary, json);
    else if (!process.stderr.isTTY) warn(json);
    else {
      const failed = this.#nonZero > 0 ? `, ${this.#nonZero} with another exit code than 0` : '';
      const gone = lost > 0 ? `, ${lost} lost` : '';
      say(
        `${answered} of ${tasks} tasks answered${failed}${gone}, by ${summary.agents} agents, in ${summary.coldMs} ms`,
      );
    }
  }
}
