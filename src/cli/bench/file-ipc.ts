import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/**
 * How far the algorithm of `bench/baseline/file-ipc.sh` is followed, or helped. The bash script is
 * variant A.
 */
export interface FileIpcVariant {
  /** Messages that an inbox holds; one more pushes the oldest out. */
  cap: number;
  /** Ids that no two messages share; else two of one second may, and one overwrites the other. */
  uniqueIds: boolean;
  /** Writes everything to the disks, as `sync` does, four times a message. Left out: never. */
  sync?: () => void;
}

/** The same without processes (B), then without syncs (C), then as good as it can be (D). */
export const fileIpcVariants = {
  B: { cap: 100, uniqueIds: false },
  C: { cap: 100, uniqueIds: false },
  D: { cap: 1000, uniqueIds: true },
} satisfies Record<string, FileIpcVariant>;

export interface FileMessage {
  version: string;
  msg_id: string;
  from: string;
  to: string;
  /** Seconds. */
  timestamp: number;
  /** Counts from one sender to one recipient; null where the counter could not be locked. */
  sequence: number | null;
  type: string;
  payload: unknown;
  requires_ack: boolean;
}

const sequenceWaitsMs = [10_000, 20_000, 40_000];
const pauseMs = 100;
const lockPollMs = 0.05;

/**
 * Messages as files: one file a message in `<base>/<agent>/inbox`. What cfc is measured against.
 *
 * Node has no `flock`, so a lock is a file made exclusively and removed again, two system calls
 * more or less alike; lock files therefore don't stay. Everything else is as in the script.
 */
export class FileIpc {
  readonly #base: string;
  readonly #variant: FileIpcVariant;
  #made = 0;

  /** @param base a directory of its own below `/dev/shm` */
  constructor(base: string, variant: FileIpcVariant) {
    this.#base = base;
    this.#variant = variant;
  }

  init(agent: string): void {
    for (const box of ['inbox', 'outbox']) {
      mkdirSync(join(this.#base, agent, box), { recursive: true, mode: 0o755 });
    }
  }

  /**
   * @param payload JSON; goes in as it is
   * @returns the id; no word of what it may have pushed out or overwritten
   * @throws {Error} where a part is empty, or the recipient has no inbox
   */
  send(from: string, to: string, type: string, payload: string): string {
    if (from === '' || to === '' || type === '') {
      throw new Error('a message has a sender, a recipient and a type');
    }
    const inbox = this.#inboxOf(to);
    const waiting = messagesIn(inbox);
    if (waiting.length >= this.#variant.cap) evictOldest(inbox, waiting);

    const id = this.#nextId();
    const timestamp = epochSeconds();
    const sequence = this.#nextSequence(from, to) ?? null;
    const text = `{
  "version": "1.0",
  "msg_id": "${id}",
  "from": "${from}",
  "to": "${to}",
  "timestamp": ${timestamp},
  "sequence": ${sequence},
  "type": "${type}",
  "payload": ${payload},
  "requires_ack": false
}
`;
    const file = join(inbox, `${id}.json`);
    const unlock = lock(join(inbox, '.lock'), Infinity);
    try {
      writeFileSync(`${file}.tmp`, text);
      this.#sync();
      renameSync(`${file}.tmp`, file);
      this.#sync();
    } finally {
      unlock?.();
    }
    const outbox = join(this.#base, from, 'outbox');
    if (existsSync(outbox)) {
      copy(file, join(outbox, `${id}.json`));
      this.#sync();
    }
    return id;
  }

  /**
   * @returns all messages by timestamp, then sequence; they stay where they are
   * @throws {Error} where the agent has no inbox
   */
  receive(agent: string): FileMessage[] {
    const inbox = this.#inboxOf(agent);
    const messages: FileMessage[] = [];
    for (const name of messagesIn(inbox)) {
      const text = readIfThere(join(inbox, name));
      if (text !== undefined) messages.push(JSON.parse(text) as FileMessage);
    }
    return messages.sort(
      (a, b) => a.timestamp - b.timestamp || (a.sequence ?? 0) - (b.sequence ?? 0),
    );
  }

  /** Removes whatever is there, read or not. */
  clear(agent: string): void {
    const inbox = this.#inboxOf(agent);
    for (const name of messagesIn(inbox)) rmSync(join(inbox, name), { force: true });
  }

  /** Removes these: a careful consumer's way to clear. */
  remove(agent: string, messages: readonly FileMessage[]): void {
    const inbox = this.#inboxOf(agent);
    for (const { msg_id } of messages) rmSync(join(inbox, `${msg_id}.json`), { force: true });
  }

  count(agent: string): number {
    return messagesIn(this.#inboxOf(agent)).length;
  }

  #inboxOf(agent: string): string {
    const inbox = join(this.#base, agent, 'inbox');
    if (!existsSync(inbox)) throw new Error(`${agent} has no inbox`);
    return inbox;
  }

  #nextId(): string {
    this.#made += 1;
    const number = this.#variant.uniqueIds
      ? `${process.pid}-${this.#made}`
      : String(Math.floor(Math.random() * 1000)).padStart(3, '0');
    return `msg-${epochSeconds()}-${number}`;
  }

  #nextSequence(from: string, to: string): number | undefined {
    const directory = join(this.#base, from, '.sequences');
    const counter = join(directory, to);
    mkdirSync(directory, { recursive: true });
    if (!existsSync(counter)) writeFileSync(counter, '0\n');
    for (const waitMs of sequenceWaitsMs) {
      const unlock = lock(`${counter}.lock`, waitMs);
      if (unlock === undefined) {
        sleepSync(pauseMs);
        continue;
      }
      try {
        const number = Number(readFileSync(counter, 'utf8')) + 1;
        writeFileSync(counter, `${number}\n`);
        this.#sync();
        return number;
      } finally {
        unlock();
      }
    }
    return undefined;
  }

  #sync(): void {
    this.#variant.sync?.();
  }
}

const epochSeconds = () => Math.floor(Date.now() / 1000);

/** Looks without a lock, as `find` does. */
function messagesIn(inbox: string): string[] {
  return readdirSync(inbox).filter((name) => name.endsWith('.json'));
}

function evictOldest(inbox: string, names: readonly string[]): void {
  let oldest: string | undefined;
  let oldestAt = Infinity;
  for (const name of names) {
    const path = join(inbox, name);
    const at = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity;
    if (at < oldestAt) [oldest, oldestAt] = [path, at];
  }
  if (oldest !== undefined) rmSync(oldest, { force: true });
}

/** @returns what unlocks it; undefined once the time is up */
function lock(path: string, waitMs: number): (() => void) | undefined {
  const until = performance.now() + waitMs;
  for (;;) {
    try {
      closeSync(openSync(path, 'wx'));
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (performance.now() >= until) return undefined;
    sleepSync(lockPollMs);
  }
}

function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Somebody may have removed it meanwhile: pushed out, or read and cleared. */
function copy(from: string, to: string): void {
  try {
    copyFileSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
