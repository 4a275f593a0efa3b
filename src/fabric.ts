import { randomUUID } from 'node:crypto';
import { Agent, type AgentState, agentStates, type Pace } from './agents/agent.js';
import { Pool, type PoolTemplate } from './agents/pool.js';
import { RightsTable, type RightVerb } from './agents/rights.js';
import { startAgents } from './agents/start.js';
import { type AgentSnapshot, AgentTable } from './agents/table.js';
import { option } from './config/index.js';
import type { RateLimit, SendQuota } from './core/limits.js';
import {
  type DeadLetter,
  type MessageTrace,
  type PeekedMessage,
  parseMessageId,
  type TracedMessage,
} from './core/message.js';
import type { Census, NativeFabricOptions, SweepReport } from './core/native.js';
import { Region } from './core/region.js';
import { CfcError, type CfcErrorCode } from './errors.js';
import { Sampler, type SamplerOptions } from './metrics/sampler.js';
import type { Rights } from './topology/rights.js';
import type { Topology } from './topology/topology.js';

/** Capacities of a fabric; what is left out comes from the profile. */
export interface FabricCapacity {
  /** Names at a time. */
  maxAgents?: number;
  /** Processes and threads at a time. */
  maxParticipants?: number;
  /** Messages that a mailbox holds, where the agent asks for nothing else. */
  mailboxCells?: number;
  /** By how many bytes the mailboxes grow at a time. */
  mailSegmentBytes?: number;
  /** By how many bytes the memory for bodies above 160 bytes grows at a time. */
  slabSegmentBytes?: number;
  /** How far it may grow. */
  slabMaxBytes?: number;
  /** How much of it one sender may hold. */
  senderSlabBytes?: number;
  /** Histograms of all agents together. */
  histograms?: number;
  /** Topics, which stay until the fabric goes. At most 256. */
  maxTopics?: number;
  /** Messages that a topic keeps, rounded up to a power of two. */
  topicCells?: number;
  /** Subscribers of one topic at a time. At most 2,304. */
  topicSubscribers?: number;
  /**
   * How often a message is delivered before it is a dead letter: 1 to 14, or 0 for no limit. Default
   * 5.
   */
  attemptLimit?: number;
}

/**
 * `small` fits a container's 64 MB `/dev/shm` with 2,048 agents; `default` serves some hundreds of
 * agents with inboxes of 1,024; `large` has room for 10,000.
 */
export type FabricProfile = 'small' | 'default' | 'large';

const profiles: Readonly<Record<FabricProfile, NativeFabricOptions>> = {
  small: {
    maxAgents: 2048,
    maxParticipants: 4096,
    mailboxCells: 16,
    mailSegmentBytes: 1 << 20,
    slabSegmentBytes: 1 << 20,
    slabMaxBytes: 16 << 20,
    senderSlabBytes: 8 << 20,
    histograms: 16,
    topicCells: 256,
    topicSubscribers: 1024,
  },
  default: {},
  large: { maxAgents: 10_240, maxParticipants: 20_480, mailboxCells: 64, histograms: 256 },
};

export interface OpenOptions {
  /** Make it if it is missing. Default false. */
  create?: boolean;
  /** Only with `create`. Default the option `profile`, `default`. */
  profile?: FabricProfile;
  /** Only with `create`: overrides the profile. */
  capacity?: FabricCapacity;
  /** Directory that holds fabrics. Default `CFC_DIR`, else `/dev/shm/cfc-<uid>`. */
  dir?: string;
}

export interface JoinOptions {
  role?: string;
  team?: string;
  /** Name of the agent above this one. */
  parent?: string;
  /** Messages that its mailbox holds, rounded up to a power of two. */
  mailboxCells?: number;
  /**
   * How fast it may send and publish. `send` waits for its turn; what waits too long is
   * `ERR_CFC_RATE_LIMITED`. It holds for all processes of the agent. Default: no limit.
   */
  rate?: RateLimit;
  /**
   * How much may be sent and published under this name, in this life and those before it that had a
   * limit; then `ERR_CFC_QUOTA`. Default: no limit.
   */
  quota?: SendQuota;
  /**
   * `adaptive`: `send` and `sendBatch` to one agent resolve 5 ms later where the recipient's lane is
   * half full, 10 ms later where it is 80 % full. Default the option `send.pace`, `none`.
   */
  pace?: Pace;
  /**
   * A new life of that name: what an earlier one still holds by `hold` is redelivered. Default true;
   * false for a short visit under the same incarnation.
   */
  fence?: boolean;
  /**
   * Count what it does, for `snapshot` and `cfc/metrics`. Default true, or what the environment
   * variable `CFC_METRICS=off` says.
   */
  metrics?: boolean;
}

/** What became of dead letters that were to be sent again. */
export interface RedriveResult {
  redriven: { id: string; to: string; sentAs: string }[];
  /** They stay dead letters. */
  refused: { id: string; to: string; code: CfcErrorCode }[];
}

/**
 * A named whole of agents on one host.
 *
 * ```ts
 * const fabric = await Fabric.open('review', { create: true });
 * const me = await fabric.join('coord-A', { role: 'coordinator' });
 * await me.send('worker-1', { task: 1 });
 * ```
 *
 * Ownership: `close()` (or `await using`) leaves with every agent that joined through it;
 * `Fabric.destroy` removes the files.
 */
export class Fabric implements AsyncDisposable {
  readonly name: string;
  readonly #region: Region;
  readonly #rights: RightsTable;
  readonly #agents = new Set<Agent>();
  #rowsExpected = 64;

  private constructor(name: string, region: Region) {
    this.name = name;
    this.#region = region;
    this.#rights = new RightsTable(region);
  }

  /**
   * @throws {CfcError} `ERR_CFC_NO_FABRIC` (without `create`), `ERR_CFC_NO_SPACE`,
   *   `ERR_CFC_FOREIGN_OWNER`, `ERR_CFC_NOT_REGULAR`, `ERR_CFC_REGION_CORRUPT`,
   *   `ERR_CFC_REGION_LAYOUT`, `ERR_CFC_USAGE`, `ERR_CFC_SYSTEM`
   */
  static async open(name: string, options: OpenOptions = {}): Promise<Fabric> {
    const chosen = options.profile ?? option('profile');
    const profile = profiles[chosen as FabricProfile];
    if (profile === undefined) {
      throw new CfcError('ERR_CFC_USAGE', { profile: chosen, allowed: Object.keys(profiles) });
    }
    const mailboxCells = option('mailboxCells');
    const region = Region.open(name, {
      mode: options.create ? 'openOrCreate' : 'open',
      base: options.dir ?? '',
      capacity: {
        ...profile,
        ...(mailboxCells === null ? {} : { mailboxCells }),
        ...options.capacity,
      },
    });
    await Promise.resolve();
    return new Fabric(name, region);
  }

  /**
   * Removes a fabric and everything in it. Who still has it open goes on, apart from others.
   *
   * @throws {CfcError} `ERR_CFC_NO_FABRIC`, and what open throws of foreign directories
   */
  static async destroy(name: string, { dir = '' }: { dir?: string } = {}): Promise<void> {
    Region.destroy(name, { base: dir });
    await Promise.resolve();
  }

  /**
   * The shared memory that a topology takes, computed before anything is made: the new fabric, and
   * with every mailbox. Bodies above 160 bytes come on top as they are sent.
   *
   * @param options as they will be given to open; a capacity not given is the topology's
   */
  static memoryFor(
    topology: Topology,
    { profile = 'default', capacity }: Pick<OpenOptions, 'profile' | 'capacity'> = {},
  ): { fabricBytes: number; mailboxBytes: number; totalBytes: number } {
    const { fabricBytes, mailboxBytes } = Region.memoryFor(
      { ...profiles[profile], ...topology.capacity(), ...capacity },
      topology.agents.map(({ mailboxCells }) => mailboxCells),
    );
    return { fabricBytes, mailboxBytes, totalBytes: fabricBytes + mailboxBytes };
  }

  /**
   * Takes a name. A dead agent's name comes with its mailbox, and what it had leased comes again.
   *
   * In a process that an agent's command started, that agent's own name (`CFC_AGENT`) is shared
   * with the shim that holds it, by the token in `CFC_LEASE`; role and the like are the shim's.
   *
   * @throws {CfcError} `ERR_CFC_LEASE_HELD` while a living process holds it, `ERR_CFC_LEASE_LOST`
   *   where the life that the token names is over,
   *   `ERR_CFC_AGENTS_FULL`, `ERR_CFC_PARTICIPANTS_FULL`, `ERR_CFC_MAILBOXES_FULL`,
   *   `ERR_CFC_NO_SPACE`, `ERR_CFC_USAGE`
   */
  async join(name: string, options: JoinOptions = {}): Promise<Agent> {
    // A process in the tree of an agent's command is that agent too, beside the shim above it.
    const life = process.env.CFC_AGENT === name ? process.env.CFC_LEASE : undefined;
    const mailbox = this.#region.join(name, { ...options, ...(life !== undefined && { life }) });
    mailbox.guard = (to) => this.#rights.requireSend(mailbox, to);
    const agent = new Agent(mailbox, options.pace);
    for (const other of this.#agents) if (other.left) this.#agents.delete(other);
    this.#agents.add(agent);
    await Promise.resolve();
    return agent;
  }

  /**
   * Every agent: state, health, depth, counters. Costs them nothing. Of thousands of agents `table` is
   * the quicker way.
   *
   * @param options.probe asks the kernel who is stopped, which costs us some microseconds an agent;
   *   default true. Without it `stalled` is only known where a shim was told.
   */
  snapshot({ probe = true }: { probe?: boolean } = {}): AgentSnapshot[] {
    return [...this.table({ probe })];
  }

  /**
   * The same, read in one piece into a table that is asked for what one wants to know: ten thousand
   * agents take some milliseconds.
   *
   * @param options.probe as of `snapshot`; default false
   */
  table({ probe = false }: { probe?: boolean } = {}): AgentTable {
    const table = new AgentTable(this.#region, probe, this.#rowsExpected);
    this.#rowsExpected = Math.ceil(table.length * 1.1) + 16;
    return table;
  }

  /**
   * What waits in an agent's mailbox, oldest first; nothing is leased, and the agent is not
   * disturbed.
   *
   * @throws {CfcError} `ERR_CFC_NO_AGENT`
   */
  peek(name: string, max?: number): PeekedMessage[] {
    return this.#region.peek(name, max);
  }

  /**
   * Drops every message for an agent that nobody has leased, whoever reads there; they count as
   * dropped, and who waits for an ack is told so.
   *
   * @returns how many
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_FORBIDDEN` where this process is another agent,
   *   and may not configure
   */
  clear(name: string): number {
    this.#requireOwn(name);
    return this.#region.clear(name);
  }

  /**
   * Where a message is, by what its place in the mailbox says. A message that was settled is found
   * until another one comes into its place.
   *
   * @returns undefined where nothing of it is left
   * @throws {CfcError} `ERR_CFC_USAGE` where `id` is none
   */
  trace(id: string): MessageTrace | undefined {
    const parsed = parseMessageId(id);
    if (parsed === undefined) throw new CfcError('ERR_CFC_USAGE', { id, allowed: 'a message id' });
    return this.#region.trace(parsed.uid, parsed.number);
  }

  /**
   * The last messages that a sender of that name sent and that some mailbox still shows, newest first:
   * those that wait, and settled ones until others come into their places. What it sent to agents
   * whose names are gone is not among them.
   */
  lastSends(name: string, max = 20): TracedMessage[] {
    return this.#region.sends(name, max);
  }

  /**
   * What was published to a topic and is still in its log, oldest first, whoever has read it. Takes no
   * part in the topic.
   */
  topicLog(topic: string, max = 4096): { from: string; body: string }[] {
    return this.readTopic(topic, undefined, max).messages;
  }

  /**
   * The same, from where an earlier read ended, for who looks again and again.
   *
   * @param from as `next` of the last call; without it the oldest message that is left
   * @returns `lost`: how many were overwritten before they were read
   */
  readTopic(
    topic: string,
    from: { position: number; aborted: number } = { position: -1, aborted: 0 },
    max = 4096,
  ): {
    messages: { from: string; body: string }[];
    next: { position: number; aborted: number };
    lost: number;
  } {
    const read = this.#region.readTopic(topic, from, max);
    if (read === undefined) return { messages: [], next: from, lost: 0 };
    const { position, aborted, lost } = read;
    const messages = read.bodies.map((body, i) => ({ from: read.from[i] ?? '', body }));
    return { messages, next: { position, aborted }, lost };
  }

  /**
   * Messages that were not processed in as many attempts as they may have, or not in their time,
   * oldest first. They stay until they are sent again or dropped.
   *
   * @param name whose they were; default: everybody's
   */
  deadLetters(name?: string): DeadLetter[] {
    return this.#region.deadLetters(name);
  }

  /**
   * Sends dead letters again, each to whom it was sent, as from who sent it, as a new message with
   * attempts of its own. One that is not accepted now stays a dead letter.
   *
   * @param name whose they were; default: everybody's
   * @returns what was sent, and what was refused and why
   */
  async redrive(name?: string): Promise<RedriveResult> {
    const result: RedriveResult = { redriven: [], refused: [] };
    const letters = this.deadLetters(name);
    if (letters.length === 0) return result;
    await using visitor = await this.join(`redrive-${process.pid}-${randomUUID().slice(0, 8)}`, {
      mailboxCells: 8,
    });
    for (const { message } of letters) {
      const { id, to } = message;
      try {
        const sentAs = visitor.redrive(id);
        if (sentAs !== undefined) result.redriven.push({ id, to, sentAs });
      } catch (error) {
        if (!(error instanceof CfcError)) throw error;
        result.refused.push({ id, to, code: error.code });
      }
    }
    return result;
  }

  /**
   * Drops dead letters for good. The messages stay counted as dead-lettered.
   *
   * @param name whose they were; default: everybody's
   * @returns how many
   * @throws {CfcError} `ERR_CFC_FORBIDDEN` where this process is another agent, and may not configure
   */
  dropDead(name?: string): number {
    this.#requireOwn(name);
    let dropped = 0;
    for (const { message } of this.deadLetters(name)) {
      const { uid, number } = message.facts;
      if (this.#region.dropDead(uid, number)) dropped += 1;
    }
    return dropped;
  }

  /**
   * Every cell, chunk, slot and name, counted: accepted = acked + queued + deadLettered + dropped.
   * Exact while nobody works.
   */
  census(): Census {
    return this.#region.census();
  }

  /** Looks at every process that takes part, and mends what the dead left. */
  sweep(): SweepReport {
    return this.#region.sweep();
  }

  /** What the agents of a role may do; undefined where everybody may do everything. */
  rights(): Rights | undefined {
    return this.#rights.read();
  }

  /**
   * Says what the agents of a role may do from now on, to every process of the fabric; undefined
   * takes all limits away. Sends are looked at when an agent first sends to a name, so those that an
   * agent has written to before stay open to it until it joins again.
   *
   * @throws {CfcError} `ERR_CFC_FORBIDDEN` where this process is an agent that may not configure
   */
  setRights(rights: Rights | undefined): void {
    this.requireRight('configure');
    this.#rights.publish(rights);
  }

  /**
   * Looks whether an agent may do something, by its role. A refusal is written into `audit.jsonl` of
   * the fabric's directory.
   *
   * @param options.agent who acts; default that of the environment (`CFC_AGENT`), else a person
   * @param options.target on which agent; default the fabric as a whole
   * @throws {CfcError} `ERR_CFC_FORBIDDEN`
   */
  requireRight(
    verb: RightVerb,
    { agent, target = '' }: { agent?: string; target?: string } = {},
  ): void {
    this.#rights.require(verb, agent ?? option('agent') ?? '', target);
  }

  /**
   * What says every few seconds what all agents did meanwhile: see `cfc/metrics`. Ends with this
   * object.
   */
  sampler(options?: SamplerOptions): Sampler {
    return new Sampler(this.#region, options);
  }

  /** Where it lies, how large it is, since when. */
  info(): {
    name: string;
    path: string;
    sharedBytes: number;
    maxAgents: number;
    createdAt: Date;
  } {
    const { name, path, sharedBytes, maxAgents, createdAtMs } = this.#region.info();
    return { name, path, sharedBytes, maxAgents, createdAt: new Date(createdAtMs) };
  }

  /**
   * Says what is wanted of an agent that `startAgents` or `cfc run` started; its shim does it soon.
   *
   * `pause` freezes every process of it, `resume` lets them go on; `stop` asks all of them to end
   * (SIGTERM), and kills who has not after `graceMs`.
   *
   * @param options.graceMs default: option `stop.graceMs`
   * @param options.kill with `stop`: at once
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_NO_READER` (nobody living holds the name),
   *   `ERR_CFC_USAGE` (nothing that could obey stands over it), `ERR_CFC_MAILBOX_CLOSED` (it is
   *   being stopped already)
   */
  control(
    name: string,
    verb: 'pause' | 'resume' | 'stop',
    { graceMs = option('stop.graceMs'), kill = false }: { graceMs?: number; kill?: boolean } = {},
  ): void {
    this.requireRight('stop', { target: name });
    this.#region.control(name, verb === 'stop' && kill ? 'kill' : verb, graceMs);
  }

  /**
   * Agents of one kind that are started before they are needed: `pool.take()` gives one at once.
   * They are named `pool-1`, `pool-2`, …; of two pools of a fabric one needs another `prefix`.
   *
   * @param options.size how many wait; default the option `pool.size`, 20
   * @throws {CfcError} `ERR_CFC_USAGE`
   */
  pool(
    template: PoolTemplate,
    { size = option('pool.size'), prefix = 'pool' }: { size?: number; prefix?: string } = {},
  ): Pool {
    return new Pool({
      size,
      prefix,
      start: (names) =>
        startAgents(
          this,
          names.map((name) => ({ ...template, name })),
        ),
      end: (name) => this.#endAndForget(name),
    });
  }

  /**
   * Takes a name that nobody living holds out of the directory: how its command ended, its last
   * lines, and what is queued behind it, which counts as dropped.
   *
   * @throws {CfcError} `ERR_CFC_NO_AGENT`, `ERR_CFC_LEASE_HELD`, `ERR_CFC_FORBIDDEN` where messages
   *   are queued, and this process is another agent that may not configure
   */
  forget(name: string): void {
    if ((this.#region.agent(name)?.depth ?? 0) > 0) this.#requireOwn(name);
    this.#region.forgetAgent(name);
  }

  /**
   * The end of what an agent's command wrote, both outputs together, as far as 4 KiB reach.
   *
   * @throws {CfcError} `ERR_CFC_NO_AGENT`
   */
  lastLines(name: string): string[] {
    const text = this.#region.lastLines(name);
    if (text === undefined) throw new CfcError('ERR_CFC_NO_AGENT', { agent: name });
    return text === '' ? [] : text.replace(/\n$/, '').split('\n');
  }

  /**
   * The last eight changes of an agent's state, oldest first.
   *
   * @throws {CfcError} `ERR_CFC_NO_AGENT`
   */
  history(name: string): { at: Date; from: AgentState; to: AgentState }[] {
    const changes = this.#region.history(name);
    if (changes === undefined) throw new CfcError('ERR_CFC_NO_AGENT', { agent: name });
    return changes.map(({ atMs, from, to }) => ({
      at: new Date(atMs),
      from: agentStates[from] ?? 'spawned',
      to: agentStates[to] ?? 'spawned',
    }));
  }

  /** @internal */
  get region(): Region {
    return this.#region;
  }

  /**
   * Asks whether this process still takes part.
   *
   * @throws {CfcError} `ERR_CFC_LEASE_LOST`, `ERR_CFC_FABRIC_REMOVED`, `ERR_CFC_REGION_CORRUPT`
   */
  check(): void {
    this.#region.check();
  }

  /** What is an agent's own it may drop; what is another's only who may configure. */
  #requireOwn(target?: string): void {
    if (target === undefined) this.requireRight('configure');
    else if (target !== option('agent')) this.requireRight('configure', { target });
  }

  async #endAndForget(name: string): Promise<void> {
    try {
      this.#region.control(name, 'kill', 0);
    } catch (error) {
      // It has ended already, or ends; or it did, and somebody else has the name.
      if (error instanceof CfcError && error.code === 'ERR_CFC_USAGE') return;
    }
    const holder = this.#region.agent(name)?.pid;
    for (;;) {
      try {
        this.#region.forgetAgent(name);
        return;
      } catch (error) {
        if (!(error instanceof CfcError) || error.code !== 'ERR_CFC_LEASE_HELD') return;
        if (this.#region.agent(name)?.pid !== holder) return;
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Leaves with every agent of this object, and unmaps. */
  async close(): Promise<void> {
    for (const agent of this.#agents) await agent.leave();
    this.#agents.clear();
    this.#region.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
