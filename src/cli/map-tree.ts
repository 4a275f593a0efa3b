import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { findNativeProgram } from '../core/index.js';
import { CfcError } from '../index.js';

export interface TreePlan {
  fabric: string;
  workers: number;
  /** 0: no coordinators, the workers are the master's own. */
  coordinators: number;
  retries: number;
  ndjson: boolean;
  /** The command's file and its arguments; without one the workers answer with the task. */
  command?: { file: string; arguments: readonly string[] };
}

const mostRestarts = 5;
const restartWindowMs = 10_000;

/**
 * The processes of a job, by way of the keeper: a native process that makes the fabric, starts
 * everybody, restarts who dies, and removes every trace when this process ends, however it ends: the
 * keeper reads our end of a pipe. native/cli/keeper.cc has the words that go to and fro.
 */
export class Tree {
  readonly #plan: TreePlan;
  readonly #program: string;
  readonly #onFailure: (error: CfcError) => void;
  #keeper: ChildProcess | undefined;
  #heard: (word: string) => void = () => {};
  #exited: Promise<unknown> = Promise.resolve();
  #going = false;
  #ending = false;
  #restarts: number[] = [];
  #drained: () => void = () => {};

  /** @param onFailure called when nothing can be started, or not any more */
  constructor(plan: TreePlan, onFailure: (error: CfcError) => void) {
    this.#plan = plan;
    this.#program = findNativeProgram();
    this.#onFailure = onFailure;
  }

  /**
   * Resolves once the fabric is there; nobody runs yet.
   *
   * @throws {CfcError} `ERR_CFC_AGENT_START`
   */
  async open(): Promise<void> {
    const word = await this.#start(false);
    if (word !== 'ready') throw this.#failure(word);
  }

  /** Starts the processes; whoever they report to has joined. */
  go(): void {
    this.#going = true;
    this.#tell('go');
  }

  /** Asks all to finish what they run. Resolves once they are gone. */
  drain(): Promise<void> {
    const drained = new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
    this.#ending = true;
    this.#tell('stop');
    return Promise.race([drained, this.#exited.then(() => {})]);
  }

  /** Ends whoever is left and removes the fabric. Resolves when nothing is left of it. */
  async close(): Promise<void> {
    this.#ending = true;
    this.#keeper?.stdin?.end();
    await this.#exited;
  }

  /** The keeper's process, for tests and messages. */
  get pid(): number | undefined {
    return this.#keeper?.pid;
  }

  /** @returns the keeper's first word */
  async #start(attach: boolean): Promise<string> {
    const keeper = spawn(this.#program, ['keeper', ...this.#arguments(attach)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true, // a Ctrl-C is for us, and we drain
    });
    this.#keeper = keeper;
    keeper.stdin.on('error', () => {}); // it died: its exit tells
    const first = new Promise<string>((resolve) => {
      this.#heard = resolve;
    });
    createInterface({ input: keeper.stdout }).on('line', (line) => this.#hear(line));
    keeper.once('error', (error) => this.#heard(`failed ${error.message}`));
    this.#exited = once(keeper, 'exit').then(
      () => this.#onExit(),
      () => {},
    );
    return await first;
  }

  #hear(line: string): void {
    if (line === 'drained') this.#drained();
    else if (line.startsWith('failed ') && this.#going) this.#fail(line);
    else this.#heard(line);
  }

  #fail(word: string): void {
    this.#ending = true;
    this.#onFailure(this.#failure(word));
  }

  // Its children follow a keeper that dies; a new one starts them again, and what they held comes
  // again too.
  async #onExit(): Promise<void> {
    this.#heard('failed the keeper ended');
    if (this.#ending || !this.#going) return;
    const now = performance.now();
    this.#restarts = this.#restarts.filter((at) => now - at < restartWindowMs);
    this.#restarts.push(now);
    const word = this.#restarts.length > mostRestarts ? 'failed' : await this.#start(true);
    if (word === 'ready') this.#tell('go');
    else this.#fail(word);
  }

  #tell(word: string): void {
    this.#keeper?.stdin?.write(`${word}\n`);
  }

  #failure(word: string): CfcError {
    const reason = word.replace(/^failed ?/, '') || 'the processes die again and again';
    return new CfcError('ERR_CFC_AGENT_START', { reason });
  }

  #arguments(attach: boolean): string[] {
    const { fabric, workers, coordinators, retries, ndjson, command } = this.#plan;
    return [
      ...['--fabric', fabric, '--parent', 'master'],
      ...['--workers', String(workers), '--coordinators', String(coordinators)],
      ...['--retries', String(retries)],
      ...(ndjson ? ['--ndjson'] : []),
      ...(attach ? ['--attach'] : []),
      ...(command === undefined ? ['--echo', '--'] : ['--program', command.file, '--']),
      ...(command?.arguments ?? []),
    ];
  }
}
