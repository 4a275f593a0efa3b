import { randomBytes } from 'node:crypto';
import {
  type Agent,
  CfcError,
  type CfcErrorCode,
  Fabric,
  type Message,
  type MessageBatch,
} from '../index.js';
import { Tree } from './map-tree.js';
import { decodeReady, decodeResult, encodeTask, messageType, type TaskResult } from './map-wire.js';
import { Nudge } from './nudge.js';

export interface JobPlan {
  workers: number;
  /** 0: flat. */
  coordinators: number;
  retries?: number;
  ndjson?: boolean;
  fabric?: string;
  command?: { file: string; arguments: readonly string[] };
}

/** Counts of one pass of tasks through a job. */
export interface PassReport {
  tasks: number;
  answered: number;
  lost: number;
  /** On the clock of `performance.now()`; 0 where nothing was sent, or answered. */
  firstSentAt: number;
  lastAnsweredAt: number;
}

export interface Task<T> {
  /** What `onResult` gets with the answer. */
  task: T;
  /** What the worker gets. */
  bytes: Uint8Array;
}

export type OnResult<T> = (task: T, result: TaskResult) => void;

/** Whom tasks go to: a coordinator, or in the flat shape a worker. */
interface Member {
  name: string;
  workers: number;
  /** Of them, those that have reported once. */
  up: number;
  /** How many tasks it may have at a time. */
  credit: number;
  inFlight: number;
}

interface Outstanding<T> {
  task: T;
  member: Member;
}

const defaultRetries = 3;
/** Tasks that wait at a coordinator, so that a worker that is done need not wait for the master. */
const mostWaiting = 8;
const pauseMs = 20;

/** Others free what is missing by and by: worth another try. */
const passing: ReadonlySet<CfcErrorCode> = new Set<CfcErrorCode>([
  'ERR_CFC_MAILBOX_FULL',
  'ERR_CFC_SLAB_FULL',
  'ERR_CFC_QUOTA',
  'ERR_CFC_NO_SPACE',
  'ERR_CFC_NO_AGENT',
  'ERR_CFC_BUSY',
]);

/**
 * The master of a map job: hands tasks to the least loaded, takes their results, and counts.
 *
 * Underneath each message is delivered at least once; here a task has one result, the first. A job
 * takes any number of passes. `close()` ends every process and removes the fabric.
 */
export class MapJob<T> {
  readonly plan: Required<Omit<JobPlan, 'command'>>;
  readonly startedAt = performance.now();
  readonly #tree: Tree;
  readonly #outstanding = new Map<number, Outstanding<T>>();
  readonly #members = new Map<string, Member>();
  /** Something changed that sending waits for: room, or the end. */
  readonly #room = new Nudge();
  /** Something changed that collecting waits for, besides a message. */
  readonly #news = new Nudge();
  #fabric: Fabric | undefined;
  #master: Agent | undefined;
  #receiving: Promise<MessageBatch> | undefined;
  #nextIndex = 0;
  #draining = false;
  #drained = false;
  #exhausted = false;
  #inputError: Error | undefined;
  #failure: Error | undefined;
  #closing: Promise<void> | undefined;
  #report: PassReport = newReport();

  constructor(plan: JobPlan) {
    const { workers, coordinators, retries = defaultRetries, ndjson = false } = plan;
    const fabric = plan.fabric ?? `map-${process.pid}-${randomBytes(4).toString('hex')}`;
    this.plan = { workers, coordinators, retries, ndjson, fabric };
    const { command } = plan;
    this.#tree = new Tree(
      {
        ...this.plan,
        ...(command === undefined ? {} : { command }),
      },
      (error) => this.#fail(error),
    );
  }

  /** Agents of the whole job, the master among them. */
  get agents(): number {
    return 1 + this.plan.coordinators + this.plan.workers;
  }

  /** Workers that have come up. */
  get up(): number {
    let up = 0;
    for (const member of this.#members.values()) up += member.up;
    return up;
  }

  /** Tasks that somebody has, at the moment. */
  get running(): number {
    return this.#outstanding.size;
  }

  get report(): Readonly<PassReport> {
    return this.#report;
  }

  /**
   * Brings the processes up. Returns before all of them are there.
   *
   * @throws {CfcError} `ERR_CFC_AGENT_START`, `ERR_CFC_NATIVE_LOAD`, and what open and join throw
   */
  async start(): Promise<void> {
    await this.#tree.open();
    this.#fabric = await Fabric.open(this.plan.fabric);
    // All results that can be under way, twice over for those that come again.
    const mailboxCells = Math.min(65_536, Math.max(256, 4 * this.plan.workers));
    this.#master = await this.#fabric.join('master', { role: 'master', mailboxCells });
    this.#tree.go();
  }

  /**
   * Sends every task and calls `onResult` for each answer, in the order of completion. Resolves once
   * all are answered, or with what there is once `drain` has come to its end.
   *
   * @param flush awaited after each batch of results; acks follow it
   * @throws what reading the tasks threw, after those before it are answered; what `flush` throws
   */
  async run(
    tasks: AsyncIterator<Task<T>>,
    onResult: OnResult<T>,
    flush: () => Promise<void> = () => Promise.resolve(),
  ): Promise<PassReport> {
    const report = newReport();
    this.#report = report;
    this.#exhausted = false;
    this.#sendAll(tasks)
      .catch((error: Error) => {
        this.#inputError = error;
      })
      .finally(() => {
        this.#exhausted = true;
        this.#news.all();
      });
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#exhausted && this.#outstanding.size === 0) break;
      const last = this.#drained; // then nothing comes any more but what is here
      const batch = await this.#receive(last);
      for (const message of batch ?? []) this.#take(message, onResult);
      if (batch !== undefined && batch.length > 0) {
        await flush();
        batch.ack();
        this.#room.all();
      } else if (last) {
        break;
      }
    }
    if (this.#inputError !== undefined) throw this.#inputError;
    return report;
  }

  /** No new task; what runs is finished. `run` resolves then. */
  async drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    this.#room.all();
    await this.#tree.drain();
    this.#drained = true;
    this.#news.all();
  }

  /** Ends whatever still runs, at once. Resolves when nothing is left of the job. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#fail(new CfcError('ERR_CFC_MAILBOX_CLOSED', { what: 'job' }));
    this.#receiving?.catch(() => {}); // it ends with the master
    await this.#fabric?.close();
    await this.#tree.close();
  }

  /** Resolves once every worker has come up. Only while nothing runs. */
  async allUp(): Promise<void> {
    while (this.#failure === undefined && this.up < this.plan.workers) {
      const batch = await this.#receive(false);
      for (const message of batch ?? []) this.#take(message, () => {});
      batch?.ack();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#room.all();
    this.#news.all();
  }

  // ---- sending

  async #sendAll(tasks: AsyncIterator<Task<T>>): Promise<void> {
    // Before a task is read there is somebody to have it.
    while ((await this.#free()) !== undefined) {
      const next = await tasks.next();
      if (next.done || this.#draining) break;
      await this.#send(next.value);
    }
  }

  async #send({ task, bytes }: Task<T>): Promise<void> {
    const index = this.#nextIndex;
    this.#nextIndex += 1;
    this.#report.tasks += 1;
    const body = encodeTask(index, bytes);
    for (;;) {
      const member = await this.#free();
      if (member === undefined) return;
      member.inFlight += 1;
      this.#members.delete(member.name); // to the end: of equals, the one that waited longest
      this.#members.set(member.name, member);
      this.#outstanding.set(index, { task, member });
      if (this.#report.firstSentAt === 0) this.#report.firstSentAt = performance.now();
      try {
        await this.#master?.send(member.name, body, { type: messageType.task, timeoutMs: 1000 });
        return;
      } catch (error) {
        member.inFlight -= 1;
        this.#outstanding.delete(index);
        if (!(error instanceof CfcError) || !passing.has(error.code)) throw error;
        if (error.code === 'ERR_CFC_NO_AGENT') member.credit = 0; // until it reports again
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }

  /** Waits for somebody with room. @returns undefined once no more task is to be sent */
  async #free(): Promise<Member | undefined> {
    for (;;) {
      if (this.#draining || this.#failure !== undefined) return undefined;
      const member = this.#leastLoaded();
      if (member !== undefined) return member;
      await this.#room.wait();
    }
  }

  #leastLoaded(): Member | undefined {
    let best: Member | undefined;
    let load = Infinity;
    for (const member of this.#members.values()) {
      if (member.inFlight >= member.credit) continue;
      const its = member.inFlight / member.workers;
      if (its >= load) continue;
      best = member;
      load = its;
      if (its === 0) break;
    }
    return best;
  }

  // ---- collecting

  /**
   * Waits for messages, or for news.
   *
   * @param last takes what is there now, and waits for nothing
   * @returns undefined where there are no messages
   */
  async #receive(last: boolean): Promise<MessageBatch | undefined> {
    const master = this.#master as Agent;
    this.#receiving ??= master.receiveBatch();
    const other = last ? immediately() : this.#news.wait();
    const batch = await Promise.race([this.#receiving, other]);
    if (batch !== undefined) {
      this.#receiving = undefined;
      return batch;
    }
    return last ? await master.receiveBatch({ timeoutMs: 0 }) : undefined;
  }

  #take(message: Message, onResult: OnResult<T>): void {
    if (message.type === messageType.ready) this.#welcome(message);
    if (message.type !== messageType.result) return;
    const result = decodeResult(message.body);
    if (result === undefined) return;
    const outstanding = this.#outstanding.get(result.index);
    if (outstanding === undefined) return; // a repeat
    this.#outstanding.delete(result.index);
    outstanding.member.inFlight -= 1;
    if (result.lost) this.#report.lost += 1;
    else this.#report.answered += 1;
    this.#report.lastAnsweredAt = performance.now();
    onResult(outstanding.task, result);
  }

  #welcome(message: Message): void {
    const ready = decodeReady(message.body);
    const workers = Math.max(1, ready.workers);
    const waiting =
      this.plan.coordinators === 0 ? 0 : Math.min(mostWaiting, Math.ceil(workers / 4));
    const credit = workers + waiting;
    const known = this.#members.get(message.from);
    if (known !== undefined) {
      known.credit = credit;
      known.up = Math.max(known.up, ready.up);
    } else {
      const { from: name } = message;
      this.#members.set(name, { name, workers, up: ready.up, credit, inFlight: 0 });
    }
  }
}

function immediately(): Promise<undefined> {
  return new Promise((resolve) => {
    setImmediate(() => resolve(undefined));
  });
}

function newReport(): PassReport {
  return { tasks: 0, answered: 0, lost: 0, firstSentAt: 0, lastAnsweredAt: 0 };
}
