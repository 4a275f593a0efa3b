import { CfcError } from '../errors.js';
import { Mailbox, type MailboxOptions } from './mailbox.js';
import {
  type DeadLetter,
  formatMessageId,
  kindOf,
  Message,
  type MessageTrace,
  type PeekedMessage,
  readFacts,
  type TracedMessage,
} from './message.js';
import {
  type Census,
  Column,
  deathCauses,
  type NativeAgentNames,
  type NativeAgentRecord,
  type NativeFabric,
  type NativeFabricInfo,
  type NativeFabricOptions,
  type NativeHistogramPlace,
  type NativeHistogramReading,
  type NativeMetric,
  type NativeTopicRead,
  type NativeTrace,
  native,
  Status,
  type SweepReport,
  traceStates,
  wantedVerbs,
} from './native.js';
import { callNative, errorOf } from './status.js';

export interface RegionOptions {
  /** Directory that holds fabrics; default `CFC_DIR`, else `/dev/shm/cfc-<uid>`. */
  base?: string;
  /** `open`: it must exist. `create`: it must not. `openOrCreate`: either. Default `open`. */
  mode?: 'open' | 'create' | 'openOrCreate';
  /** Capacities of a new one. */
  capacity?: NativeFabricOptions;
}

/** What `table` fills. */
export interface AgentRows {
  rows: number;
  /** Doubles a row. */
  width: number;
  values: Float64Array;
  texts: Buffer;
}

/**
 * The shared files of a fabric, mapped into this process, and this thread's standing in it.
 *
 * Ownership: mailboxes joined through a region leave with it. `close()` detaches this thread,
 * `Region.destroy()` removes the files.
 */
export class Region {
  readonly #native: NativeFabric;
  readonly #watchers = new Set<Mailbox>();
  readonly #mailboxes = new Set<Mailbox>();
  #closed = false;

  private constructor(make: (onReady: (failed: number) => void) => NativeFabric) {
    this.#native = make((failed) => this.#ready(failed));
  }

  /**
   * @throws {CfcError} `ERR_CFC_NO_FABRIC`, `ERR_CFC_REGION_EXISTS`, `ERR_CFC_NO_SPACE`,
   *   `ERR_CFC_FOREIGN_OWNER`, `ERR_CFC_NOT_REGULAR`, `ERR_CFC_REGION_CORRUPT`,
   *   `ERR_CFC_REGION_LAYOUT`, `ERR_CFC_USAGE`, `ERR_CFC_SYSTEM`
   */
  static open(
    name: string,
    { base = '', mode = 'open', capacity = {} }: RegionOptions = {},
  ): Region {
    return callNative(
      () => new Region((onReady) => new native.NativeFabric(mode, base, name, capacity, onReady)),
      { fabric: name },
    );
  }

  /**
   * Removes the files. Who has them mapped goes on, apart from everybody else.
   *
   * @throws {CfcError} `ERR_CFC_NO_FABRIC`, and what open throws of foreign directories
   */
  static destroy(name: string, { base = '' }: { base?: string } = {}): void {
    callNative(() => native.destroyFabric(base, name), { fabric: name });
  }

  /**
   * The shared memory of a new region and of mailboxes, computed beforehand; large bodies come on
   * top as they are sent.
   *
   * @param cells how many messages each mailbox holds; 0: the capacity's mailboxCells
   */
  static memoryFor(
    capacity: NativeFabricOptions,
    cells: readonly number[],
  ): { fabricBytes: number; mailboxBytes: number } {
    return native.memoryFor(capacity, Uint32Array.from(cells));
  }

  /** Where fabrics live unless `base` says otherwise. */
  static defaultBase(): string {
    return native.defaultBase();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Takes a name, with a mailbox of its own; a dead agent's name with the mailbox that it left.
   *
   * @throws {CfcError} `ERR_CFC_LEASE_HELD`, `ERR_CFC_AGENTS_FULL`, `ERR_CFC_MAILBOXES_FULL`,
   *   `ERR_CFC_PARTICIPANTS_FULL`, `ERR_CFC_NO_SPACE`, `ERR_CFC_USAGE`
   */
  join(name: string, options: MailboxOptions = {}): Mailbox {
    this.#assertOpen();
    const mailbox = callNative(() => new Mailbox(this, this.#native, name, options), {
      agent: name,
    });
    this.#mailboxes.add(mailbox);
    return mailbox;
  }

  info(): NativeFabricInfo {
    this.#assertOpen();
    return this.#native.info();
  }

  /**
   * Everybody in the directory. Costs them nothing.
   *
   * @param probe asks the kernel who is stopped, which costs us some microseconds an agent
   */
  agents({ probe = true }: { probe?: boolean } = {}): NativeAgentRecord[] {
    this.#assertOpen();
    return this.#native.snapshot(probe);
  }

  /**
   * Says what is wanted of an agent that a shim stands over, and rings the shim.
   *
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_NO_READER` (nobody living holds the name),
   *   `ERR_CFC_USAGE` (its holder is no shim), `ERR_CFC_MAILBOX_CLOSED` (it is being stopped)
   */
  control(name: string, verb: (typeof wantedVerbs)[number], graceMs: number): void {
    this.#assertOpen();
    const status = this.#native.control(name, wantedVerbs.indexOf(verb), graceMs);
    if (status !== 0) throw errorOf(status, { agent: name, verb });
  }

  /**
   * Takes a name that nobody living holds out of the directory, with what is queued behind it.
   *
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_LEASE_HELD`, `ERR_CFC_PARTICIPANTS_FULL`
   */
  forgetAgent(name: string): void {
    this.#assertOpen();
    const status = callNative(() => this.#native.forget(name), { agent: name });
    if (status !== 0) throw errorOf(status, { agent: name });
  }

  /** @returns the last output of the command behind `name`, whole lines; undefined: no such agent */
  lastLines(name: string): string | undefined {
    this.#assertOpen();
    return this.#native.lastLines(name)?.toString('utf8');
  }

  /** @returns the last changes of its state, oldest first; undefined: no such agent */
  history(name: string): { atMs: number; from: number; to: number }[] | undefined {
    this.#assertOpen();
    return this.#native.history(name);
  }

  /** Who holds the name, or held it last; undefined where the directory has none. */
  agent(name: string): NativeAgentRecord | undefined {
    this.#assertOpen();
    return this.#native.snapshot(false, name)[0];
  }

  /**
   * Puts an agent below another parent, whether it lives or not; it is not asked. `children`,
   * `parent` and `peers` mean the new ones from the next send on.
   *
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_BUSY`
   */
  reparent(name: string, parent: string): void {
    this.#assertOpen();
    const status = this.#native.reparent(name, parent);
    if (status !== 0) throw errorOf(status, { agent: name });
  }

  /**
   * Closes a mailbox to everybody whose own mailbox is not closed in this way, or opens it again.
   * Those outside are refused with `ERR_CFC_MAILBOX_CLOSED`; those inside go on.
   *
   * @returns false where nobody has that name
   */
  gate(name: string, closed: boolean): boolean {
    this.#assertOpen();
    return this.#native.gate(name, closed) === Status.ok;
  }

  /**
   * Has the event loop tell which of the processes given to `watchPid` have ended, in the turn in
   * which they do. It doesn't matter who started them.
   *
   * @returns false where the kernel has no pidfds, or a sandbox forbids them
   */
  watchPids(onEnded: (pids: number[]) => void): boolean {
    this.#assertOpen();
    return this.#native.watchPids(onEnded);
  }

  /** @returns false where it cannot be watched: it has ended already, or no descriptor is free */
  watchPid(pid: number): boolean {
    return !this.#closed && this.#native.watchPid(pid) === 0;
  }

  unwatchPid(pid: number): void {
    if (!this.#closed) this.#native.unwatchPid(pid);
  }

  /**
   * What waits in the mailbox of `name`, oldest first, control lane first; nothing is leased, and
   * whoever reads there is not disturbed.
   *
   * @throws {CfcError} `ERR_CFC_NO_AGENT`
   */
  peek(name: string, max = 100): PeekedMessage[] {
    this.#assertOpen();
    const peeked = this.#native.peek(name, max);
    if (typeof peeked === 'number') throw errorOf(-peeked, { agent: name });
    return peeked.map(({ row, from, type, body, leased }) => ({
      message: new Message(readFacts(row, 0, from, name, type), new Uint8Array(body), -1),
      leased,
    }));
  }

  /**
   * Drops every message for `name` that nobody has leased; they count as dropped.
   *
   * @returns how many
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_PARTICIPANTS_FULL`
   */
  clear(name: string): number {
    this.#assertOpen();
    const dropped = callNative(() => this.#native.clear(name), { agent: name });
    if (dropped < 0) throw errorOf(-dropped, { agent: name });
    return dropped;
  }

  /** @returns undefined where nothing of that message is left */
  trace(uid: number, number: number): MessageTrace | undefined {
    this.#assertOpen();
    const found = this.#native.trace(uid, number);
    if (found === undefined) return undefined;
    return traceOf(found);
  }

  /** The last messages of a sender that some mailbox still shows, newest first. */
  sends(name: string, max: number): TracedMessage[] {
    this.#assertOpen();
    return this.#native.sends(name, max).map(tracedOf);
  }

  /**
   * What could not be delivered, oldest first.
   *
   * @param name whose it was; default: everybody's
   */
  deadLetters(name = '', max: number = native.constants.maxLaneCells): DeadLetter[] {
    this.#assertOpen();
    return this.#native
      .deadLetters(max, name)
      .map(({ row, from, type, body, to, reason, cause, diedAtMs }) => ({
        message: new Message(readFacts(row, 0, from, to, type), new Uint8Array(body), -1),
        cause: deathCauses[cause] === 'expired' ? 'expired' : 'attempts',
        reason,
        attempts: row[Column.attempt] as number,
        diedAt: new Date(diedAtMs),
      }));
  }

  /**
   * Drops a dead letter.
   *
   * @returns false where it is gone, or somebody is at it
   * @throws {CfcError} `ERR_CFC_PARTICIPANTS_FULL`
   */
  dropDead(uid: number, number: number): boolean {
    this.#assertOpen();
    const id = formatMessageId(uid, number);
    const status = -callNative(() => this.#native.dropDead(uid, number), { id });
    if (status !== Status.ok && status !== Status.empty) throw errorOf(status, { id });
    return status === Status.ok;
  }

  /** Every cell, chunk, slot and name, counted; exact while nobody works. */
  census(): Census {
    this.#assertOpen();
    return this.#native.census();
  }

  /** Looks at every process that takes part, and mends what the dead left. */
  sweep(): SweepReport {
    this.#assertOpen();
    return callNative(() => this.#native.sweep());
  }

  /** @throws {CfcError} `ERR_CFC_LEASE_LOST`, `ERR_CFC_FABRIC_REMOVED`, `ERR_CFC_REGION_CORRUPT` */
  check(): void {
    this.#assertOpen();
    const status = this.#native.check();
    if (status !== 0) throw errorOf(status);
  }

  metrics(): NativeMetric[] {
    this.#assertOpen();
    return this.#native.metrics();
  }

  /** @returns the values by metric index, or undefined where that agent never counted */
  readCounters(entry: number): Float64Array | undefined {
    this.#assertOpen();
    const values = new Float64Array(native.constants.blockValues);
    return this.#native.readMetrics(entry, values) ? values : undefined;
  }

  /** @param percentiles from 0 to 100 */
  readHistogram(
    entry: number,
    metric: number,
    percentiles: readonly number[] = [50, 95, 99],
  ): NativeHistogramReading | undefined {
    this.#assertOpen();
    return this.#native.readHistogram(entry, metric, percentiles);
  }

  /**
   * Every agent, as rows of doubles ({@link TableColumn}, then the first `metrics` metrics of who
   * holds the name now) and of texts. Costs the agents nothing.
   *
   * @param probe as of `agents`
   * @param rows for how many there is room at first
   */
  table(probe: boolean, metrics: number, rows: number): AgentRows {
    this.#assertOpen();
    const { tableColumns, tableTexts, tableTextBytes } = native.constants;
    const width = tableColumns + metrics;
    for (let room = rows; ; ) {
      const values = new Float64Array(width * room);
      const texts = Buffer.allocUnsafeSlow(tableTexts * tableTextBytes * room);
      const count = this.#native.table(probe, metrics, values, texts);
      if (count >= 0) return { rows: count, width, values, texts };
      room = Math.ceil(-count * 1.1 + 16);
    }
  }

  /**
   * Everything that is known of every agent, as rows of doubles ({@link SampleColumn}), then of each
   * of the first `metrics` metrics what was counted in all at that place, and what of it by the
   * agent of now. Costs the agents nothing.
   *
   * @param out from an earlier call, or empty; a larger one comes back where it is too small
   */
  sample(metrics: number, out: Float64Array): { rows: number; table: Float64Array } {
    this.#assertOpen();
    const width = native.constants.sampleColumns + 2 * metrics;
    return fill(width, out, (table) => this.#native.sample(metrics, table));
  }

  /** Every mailbox that was ever used, likewise ({@link BoxColumn}). */
  sampleBoxes(out: Float64Array): { rows: number; table: Float64Array } {
    this.#assertOpen();
    return fill(native.constants.boxColumns, out, (table) => this.#native.sampleBoxes(table));
  }

  /**
   * One place of the pool of histograms, with its buckets in `out`.
   *
   * @returns null where nothing is there, undefined beyond the last place
   */
  sampleHistogram(place: number, out: Float64Array): NativeHistogramPlace | null | undefined {
    this.#assertOpen();
    return this.#native.sampleHistogram(place, out);
  }

  /** @returns undefined where nobody has that entry */
  describe(entry: number): NativeAgentNames | undefined {
    this.#assertOpen();
    return this.#native.describe(entry);
  }

  /**
   * Reads a topic without subscribing to it, from where an earlier read ended; negative: from the
   * oldest message that is left.
   *
   * @returns undefined where there is no such topic yet
   */
  readTopic(
    name: string,
    { position, aborted }: { position: number; aborted: number },
    most: number,
  ): NativeTopicRead | undefined {
    this.#assertOpen();
    return this.#native.readTopic(name, position, aborted, most);
  }

  /** Leaves with every mailbox of this region, and unmaps. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const mailbox of [...this.#mailboxes]) mailbox.leave();
    this.#native.close();
  }

  /** @internal The loop sleeps on the doorbell while somebody waits. */
  setWaiting(mailbox: Mailbox, waiting: boolean): void {
    const before = this.#watchers.size;
    if (waiting) this.#watchers.add(mailbox);
    else this.#watchers.delete(mailbox);
    const after = this.#watchers.size;
    if ((before === 0) !== (after === 0) && !this.#closed) this.#native.watch(after > 0);
  }

  /** @internal */
  forget(mailbox: Mailbox): void {
    this.#mailboxes.delete(mailbox);
    this.setWaiting(mailbox, false);
  }

  #ready(failed: number): void {
    for (const mailbox of [...this.#watchers]) {
      if (failed === 0) mailbox.onReady?.();
      else mailbox.onFailure?.(errorOf(failed, { agent: mailbox.name }));
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new CfcError('ERR_CFC_MAILBOX_CLOSED', { what: 'fabric' });
  }
}

// A table that turned out too small is made anew, with room for a few more.
function fill(
  width: number,
  out: Float64Array,
  read: (table: Float64Array) => number,
): { rows: number; table: Float64Array } {
  let table = out;
  for (;;) {
    const rows = read(table);
    if (rows >= 0) return { rows, table };
    table = new Float64Array(width * Math.ceil(-rows * 1.25 + 16));
  }
}

function traceOf({ state, row, from, type, to, pid, reason }: NativeTrace): MessageTrace {
  const facts = readFacts(row, 0, from, to, type);
  return {
    id: formatMessageId(row[Column.uid] as number, row[Column.number] as number),
    state: traceStates[state] ?? 'settled',
    from,
    to,
    type,
    lane: row[Column.lane] === 0 ? 'control' : 'work',
    sequence: BigInt(facts.sequence),
    sentAt: facts.sentAt,
    attempt: facts.attempt,
    pid: pid === 0 ? undefined : pid,
    reason,
  };
}

function tracedOf(found: NativeTrace & { body: ArrayBuffer | undefined }): TracedMessage {
  const body = found.body === undefined ? undefined : new Uint8Array(found.body);
  return { ...traceOf(found), kind: kindOf(found.row[Column.kind] as number), body };
}
