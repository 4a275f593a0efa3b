import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { option } from '../config/index.js';
import { CfcError } from '../errors.js';

/** Checks what a state is; a schema of zod fits, and throws where it does not. */
export interface StateSchema<State> {
  parse(value: unknown): State;
}

export interface CheckpointOptions<State> {
  /** Checked before a state is written, and after it was read. Default: any JSON value. */
  schema?: StateSchema<State>;
  /** The version of the state's shape, from 1. Default 1. */
  version?: number;
}

export interface RestoreOptions<State> extends CheckpointOptions<State> {
  /** Makes a state of `version` of one of an older version; without it those are skipped. */
  migrate?: (state: unknown, fromVersion: number) => unknown;
}

export interface CheckpointReceipt {
  /** Grows by one with each checkpoint of this agent. */
  sequence: number;
  path: string;
  bytes: number;
  at: Date;
}

/** A checkpoint that could not be used, and why. */
export interface SkippedCheckpoint {
  path: string;
  reason: string;
}

export interface Restored<State> {
  state: State;
  sequence: number;
  /** Of the life that wrote it. */
  incarnation: number;
  at: Date;
  /** Newer ones that are damaged or no such state, the newest first. */
  skipped: readonly SkippedCheckpoint[];
}

/** The first line of a file; the second one is the state. */
interface Envelope {
  v: 1;
  agent: string;
  incarnation: number;
  sequence: number;
  /** The version of the state's shape. */
  version: number;
  at: string;
  /** Of the state. */
  bytes: number;
  /** Of the envelope without this field, a newline, and the state. */
  sha256: string;
}

/** Whose checkpoints they are. */
export interface CheckpointOwner {
  agent: string;
  incarnation: number;
  /** Of the fabric. */
  path: string;
}

const namePattern = /^checkpoint-(\d{12})-[0-9a-f-]{36}\.json$/;

/**
 * The states that an agent keeps on disk, for its next life.
 *
 * A resolved `write` is on the disk: file and directory were synced. A file appears whole or not at
 * all, under a name of its own, so that no writer overwrites another. Of the newest that is damaged
 * the one before it is read.
 *
 * Threads: one. Writes of one agent happen in the order in which they were asked for.
 */
export class Checkpoints {
  readonly folder: string;
  readonly #owner: CheckpointOwner;
  #last: number | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(owner: CheckpointOwner) {
    this.#owner = owner;
    this.folder = join(baseFolder(), fabricFolder(owner.path), owner.agent);
  }

  /** @throws {CfcError} `ERR_CFC_CHECKPOINT_INVALID`, `ERR_CFC_CHECKPOINT_IO` */
  write<State>(
    state: State,
    { schema, version = 1 }: CheckpointOptions<State> = {},
  ): Promise<CheckpointReceipt> {
    // What the caller changes after this call is not in it.
    const text = this.#textOf(state, schema);
    const written = this.#queue.then(() => this.#write(text, version));
    this.#queue = written.catch(() => {});
    return written;
  }

  /**
   * @returns the newest state that is whole; undefined where there never was one
   * @throws {CfcError} `ERR_CFC_CHECKPOINT_INVALID` where there are some and none can be used,
   *   `ERR_CFC_CHECKPOINT_IO`
   */
  async read<State>(options: RestoreOptions<State> = {}): Promise<Restored<State> | undefined> {
    await this.#queue;
    const skipped: SkippedCheckpoint[] = [];
    for (const { path } of await this.#list()) {
      const found = await this.#try(() => readFile(path), path, ['ENOENT']);
      if (found === undefined) continue; // another life of this agent made room
      const read = readState(found, this.#owner.agent, options);
      if (typeof read === 'string') {
        skipped.push({ path, reason: read });
        continue;
      }
      if (skipped.length > 0) warn(this.#owner.agent, skipped, path);
      return { ...read, skipped };
    }
    if (skipped.length === 0) return undefined;
    throw new CfcError('ERR_CFC_CHECKPOINT_INVALID', { agent: this.#owner.agent, skipped });
  }

  #textOf<State>(state: State, schema: StateSchema<State> | undefined): string {
    let text: string | undefined;
    try {
      text = JSON.stringify(state);
      // What is read back later must pass, and not what is in memory now.
      if (text !== undefined) schema?.parse(JSON.parse(text));
    } catch (cause) {
      throw this.#invalid((cause as Error).message, cause);
    }
    if (text === undefined) throw this.#invalid('a state is a JSON value');
    return text;
  }

  async #write(text: string, version: number): Promise<CheckpointReceipt> {
    if (!Number.isInteger(version) || version < 1) {
      throw new CfcError('ERR_CFC_USAGE', { version, allowed: 'a whole number from 1' });
    }
    const { agent, incarnation } = this.#owner;
    return await this.#try(async () => {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      if (this.#last === undefined) await this.#sweep();
      const before = await this.#list();
      const sequence = Math.max(this.#last ?? 0, before[0]?.sequence ?? 0) + 1;
      const at = new Date();
      const bytes = Buffer.byteLength(text);
      const facts = {
        v: 1 as const,
        agent,
        incarnation,
        sequence,
        version,
        at: at.toISOString(),
        bytes,
      };
      const envelope: Envelope = { ...facts, sha256: digest(facts, text) };
      const id = randomUUID();
      const path = join(this.folder, `checkpoint-${String(sequence).padStart(12, '0')}-${id}.json`);
      await publish(path, `${JSON.stringify(envelope)}\n${text}\n`);
      this.#last = sequence;
      // After the new one is safe: a crash in between leaves one too many.
      for (const { path: old } of before.slice(option('checkpoint.keep') - 1)) {
        await rm(old, { force: true });
      }
      return { sequence, path, bytes, at };
    }, this.folder);
  }

  // What a writer left that was killed. One that is slow has an hour.
  async #sweep(): Promise<void> {
    const oldest = Date.now() - 3_600_000;
    for (const name of await readdir(this.folder)) {
      const path = join(this.folder, name);
      if (!name.startsWith('.checkpoint-')) continue;
      const info = await stat(path).catch(() => undefined);
      if (info !== undefined && info.mtimeMs < oldest) await rm(path, { force: true });
    }
  }

  /** The newest first. */
  async #list(): Promise<{ path: string; sequence: number }[]> {
    const names = (await this.#try(() => readdir(this.folder), this.folder, ['ENOENT'])) ?? [];
    return names
      .flatMap((name) => {
        const sequence = namePattern.exec(name)?.[1];
        if (sequence === undefined) return [];
        return [{ path: join(this.folder, name), sequence: Number(sequence) }];
      })
      .sort((a, b) => b.sequence - a.sequence || (a.path < b.path ? 1 : -1));
  }

  #try<T>(work: () => Promise<T>, path: string): Promise<T>;
  #try<T>(work: () => Promise<T>, path: string, fine: readonly string[]): Promise<T | undefined>;
  async #try<T>(work: () => Promise<T>, path: string, fine: readonly string[] = []) {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof CfcError) throw cause;
      const { code = '' } = cause as NodeJS.ErrnoException;
      if (fine.includes(code)) return undefined;
      throw new CfcError('ERR_CFC_CHECKPOINT_IO', { path, code }, { cause });
    }
  }

  #invalid(reason: string, cause?: unknown): CfcError {
    return new CfcError(
      'ERR_CFC_CHECKPOINT_INVALID',
      { agent: this.#owner.agent, reason },
      { cause },
    );
  }
}

/** Under its name only once it is whole and on the disk. */
async function publish(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.tmp`);
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
  const folder = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** @returns what is wrong with it, where it cannot be used */
function readState<State>(
  file: Buffer,
  agent: string,
  { schema, version = 1, migrate }: RestoreOptions<State>,
): Omit<Restored<State>, 'skipped'> | string {
  const text = file.toString();
  const end = text.indexOf('\n');
  let envelope: Envelope;
  try {
    envelope = JSON.parse(text.slice(0, Math.max(0, end))) as Envelope;
  } catch {
    return 'its first line is no JSON';
  }
  if (envelope?.v !== 1) return 'it is of another format';
  const { sha256, ...facts } = envelope;
  const state = text.slice(end + 1, -1);
  if (!text.endsWith('\n') || digest(facts, state) !== sha256) return 'its checksum is wrong';
  if (envelope.agent !== agent) return `it belongs to ${envelope.agent}`;
  try {
    let value = JSON.parse(state) as unknown;
    if (envelope.version !== version) {
      if (migrate === undefined) return `its version is ${envelope.version}, and not ${version}`;
      value = migrate(value, envelope.version);
    }
    const { sequence, incarnation, at } = envelope;
    const checked = schema === undefined ? (value as State) : schema.parse(value);
    return { state: checked, sequence, incarnation, at: new Date(at) };
  } catch (error) {
    return `it is no such state: ${(error as Error).message}`;
  }
}

function digest(facts: Omit<Envelope, 'sha256'>, state: string): string {
  return createHash('sha256')
    .update(`${JSON.stringify(facts)}\n${state}`)
    .digest('hex');
}

// In the state directory, and not beside the fabric: that lies in memory, and a reboot ends it.
function baseFolder(): string {
  const { HOME, XDG_STATE_HOME } = process.env;
  const home = XDG_STATE_HOME || join(HOME || homedir(), '.local', 'state');
  return option('checkpoint.dir') ?? join(home, 'cfc', 'checkpoints');
}

/** Two fabrics of one name in different directories are two. */
function fabricFolder(path: string): string {
  const at = createHash('sha256').update(dirname(path)).digest('hex').slice(0, 8);
  return `${basename(path)}-${at}`;
}

function warn(agent: string, skipped: readonly SkippedCheckpoint[], used: string): void {
  const [{ path, reason }] = skipped as [SkippedCheckpoint];
  process.emitWarning(`the newest checkpoint of ${agent} is not used: ${reason}`, {
    type: 'CfcWarning',
    code: 'CFC_CHECKPOINT_SKIPPED',
    detail: `${path}; ${used} is read instead`,
  });
}
