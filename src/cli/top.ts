import type { ReadStream, WriteStream } from 'node:tty';
import { type Command, Option } from 'commander';
import { CfcError, Redactor } from '../index.js';
import { shapeOfActive, shapeOfWatch } from './alerts.js';
import { fabricOption, jsonOption, parseCount, parseDuration, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { shapeOfAgent } from './ps.js';
import { writeJson, writeOut } from './terminal.js';
import { columns } from './top/columns.js';
import { type Frame, FrameMaker } from './top/frame.js';
import { plainOf, render, type Scene, type Screen } from './top/render.js';
import { TerminalScreen } from './top/screen.js';
import { firstView, type Key, press, rowsOf, type View } from './top/view.js';
import { Watcher } from './top/watcher.js';

interface TopFlags {
  fabric: string;
  interval: number;
  sort: string;
  search: string;
  once?: boolean;
  json?: boolean;
}

const leastIntervalMs = 100;
/** Looking may take this share of one CPU, however many agents there are. */
const shareOfTime = 0.2;

export function topVerb(): Command {
  return verb('top', 'watch a fabric: agents, teams, depth, rates, health')
    .addOption(fabricOption())
    .option('--interval <time>', 'how often to look', parseDuration, 1000)
    .addOption(
      new Option('--sort <column>', 'the order of the agents')
        .choices(columns.map(({ key }) => key))
        .default('queued'),
    )
    .option('--search <words>', 'only the agents that it finds', '')
    .option('--once', 'print one screen and end')
    .addOption(jsonOption())
    .action(top);
}

async function top(flags: TopFlags): Promise<void> {
  const everyMs = Math.max(leastIntervalMs, flags.interval);
  const watcher = new Watcher(flags.fabric);
  const view = firstView(flags.sort, flags.search);
  try {
    if (flags.once || flags.json) await printOnce(watcher, view, everyMs, flags.json ?? false);
    else if (process.stdin.isTTY && process.stdout.isTTY) {
      await new Top(watcher, view, everyMs).run();
    } else {
      throw new Outcome(
        exitCodes.usage,
        'top needs a terminal for its screen and its keys',
        'cfc top --once prints one screen, cfc top --json one document',
      );
    }
  } finally {
    await watcher.close();
  }
}

/** Two looks, as rates need both. */
async function printOnce(watcher: Watcher, view: View, everyMs: number, json: boolean) {
  const maker = new FrameMaker();
  maker.make(await watcher.look(), Date.now());
  await new Promise((resolve) => setTimeout(resolve, everyMs));
  const frame = maker.make(await watcher.look(), Date.now());
  if (json) {
    await writeJson(shapeOfFrame(frame, view));
    return;
  }
  const size = { columns: sizeOf('COLUMNS', 80), rows: sizeOf('LINES', 24) };
  const scene: Scene = { frame, view, details: undefined, everyMs, gone: undefined };
  const { lines } = render(scene, size);
  // But for the line of keys, which is no use here.
  const text = lines.slice(0, -1).map((line) => plainOf(line, size.columns));
  await writeOut(`${text.join('\n').trimEnd()}\n`);
}

function sizeOf(variable: 'COLUMNS' | 'LINES', otherwise: number): number {
  const seen = variable === 'COLUMNS' ? process.stdout.columns : process.stdout.rows;
  try {
    return parseCount(1, 10_000)(process.env[variable] ?? String(seen ?? otherwise));
  } catch {
    return otherwise;
  }
}

function shapeOfFrame(frame: Frame, view: View): Record<string, unknown> {
  const { look, perSecond, events, troubles } = frame;
  const { acked, queued, leased, held, dropped, deadLettered } = look.census;
  const redactor = new Redactor();
  return {
    ...{ v: 1, at: frame.at.toISOString(), fabric: look.fabric, path: look.path },
    ...{ sharedBytes: look.sharedBytes, spanMs: frame.spanMs, perSecond },
    messages: { acked, queued, leased: leased + held, dropped, deadLettered },
    agents: rowsOf(frame, view).map(({ agent, sent, received, acked: done, redelivered }) => ({
      ...shapeOfAgent(agent),
      perSecond: { sent, received, acked: done, redelivered },
    })),
    teams: frame.teams,
    alerts: look.alerts.firing.map((alert) => shapeOfActive(alert, redactor)),
    watch: shapeOfWatch(look.alerts.watch),
    unwell: troubles.map(({ agent, what }) => ({ agent, what })),
    events: events.map(({ at, agent, what }) => ({ at: at.toISOString(), agent, what })),
  };
}

/** The live view: a loop of looks, and keys between them. */
class Top {
  readonly #watcher: Watcher;
  readonly #maker = new FrameMaker();
  readonly #screen = new TerminalScreen(
    process.stdin as ReadStream,
    process.stdout as WriteStream,
    hasColour(),
  );
  readonly #everyMs: number;
  readonly #ended: Promise<void>;
  #end: (error?: unknown) => void = () => {};
  #timer: NodeJS.Timeout | undefined;
  #scene: Scene;
  #screenful: Screen | undefined;

  constructor(watcher: Watcher, view: View, everyMs: number) {
    this.#watcher = watcher;
    this.#everyMs = everyMs;
    this.#scene = { frame: undefined, view, details: undefined, everyMs, gone: undefined };
    this.#ended = new Promise((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error as Error));
    });
  }

  /** @throws {CfcError} where there is no such fabric at the beginning */
  async run(): Promise<void> {
    this.#take(await this.#watcher.look());
    const stop = (signal: NodeJS.Signals) => {
      const code =
        signal === 'SIGINT' ? exitCodes.interrupted : 128 + (signal === 'SIGTERM' ? 15 : 1);
      this.#end(new Outcome(code));
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
    process.stdin.on('end', () => this.#end());
    try {
      this.#screen.open(
        (key) => this.#guard(() => this.#press(key)),
        () => this.#guard(() => this.#draw()),
      );
      this.#draw();
      this.#plan(0);
      await this.#ended;
    } finally {
      clearTimeout(this.#timer);
      this.#screen.close();
      process.stdin.pause();
    }
  }

  // An error in a callback ends the program by the same way as all others.
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#end(error);
    }
  }

  #press(key: Key): void {
    if (key.ctrl && key.name === 'z') {
      this.#screen.suspend();
      return;
    }
    const shown = this.#screenful?.shown ?? { names: [], room: 1 };
    const view = press(this.#scene.view, key, shown);
    if (view === undefined) {
      this.#end(key.ctrl ? new Outcome(exitCodes.interrupted) : undefined);
      return;
    }
    const before = this.#scene.view.agent;
    this.#scene = { ...this.#scene, view };
    if (view.agent !== before) this.#lookInto();
    this.#draw();
  }

  #draw(): void {
    const size = { columns: this.#screen.columns, rows: this.#screen.rows };
    this.#screenful = render(this.#scene, size);
    this.#screen.draw(this.#screenful.lines);
  }

  #plan(costMs: number): void {
    const waitMs = Math.max(this.#everyMs - costMs, costMs / shareOfTime - costMs);
    this.#timer = setTimeout(() => {
      this.#step().catch((error: unknown) => this.#end(error));
    }, waitMs);
  }

  async #step(): Promise<void> {
    const began = performance.now();
    if (!this.#scene.view.frozen) {
      try {
        this.#take(await this.#watcher.look());
        this.#lookInto();
      } catch (error) {
        if (!(error instanceof CfcError)) throw error;
        const gone = error.code === 'ERR_CFC_NO_FABRIC' || error.code === 'ERR_CFC_FABRIC_REMOVED';
        const why = gone ? 'the fabric is gone; waiting for it' : `${error.code}; trying again`;
        this.#scene = { ...this.#scene, gone: why };
      }
      this.#draw();
    }
    this.#plan(performance.now() - began);
  }

  #take(look: Awaited<ReturnType<Watcher['look']>>): void {
    const now = new Date();
    if (this.#scene.gone !== undefined) {
      this.#maker.note({ at: now, agent: '-', what: 'the fabric is back', mood: 'good' });
    }
    const frame = this.#maker.make(look, now.getTime());
    this.#scene = { ...this.#scene, frame, gone: undefined };
  }

  #lookInto(): void {
    const { agent } = this.#scene.view;
    const details = agent === undefined ? undefined : this.#watcher.details(agent);
    this.#scene = { ...this.#scene, details };
  }
}

function hasColour(): boolean {
  const { NO_COLOR, TERM } = process.env;
  return (NO_COLOR === undefined || NO_COLOR === '') && TERM !== 'dumb';
}
