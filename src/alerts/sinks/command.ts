import { spawn } from 'node:child_process';
import { basename } from 'node:path';
import { documentOf } from '../alert-record.js';
import type { Notification } from '../notifier.js';
import type { Redactor } from '../redact.js';
import { type Attempt, DeliveryQueue, type DeliveryQueueOptions } from './delivery-queue.js';
import type { AlertSink, SinkStatus } from './sink.js';

export interface CommandSinkOptions
  extends Pick<DeliveryQueueOptions, 'path' | 'tell' | 'backoffMs' | 'maxBackoffMs'> {
  /** Program and arguments. No shell reads them. */
  command: readonly string[];
  redactor: Redactor;
  /** After that it is killed, with what it started. Default 30 s. */
  timeoutMs?: number;
}

/**
 * Starts a command for each notification, with its JSON on stdin. An exit with another code than 0 is
 * a failure, and it is started again later.
 */
export class CommandSink implements AlertSink {
  readonly #queue: DeliveryQueue;

  constructor({ command, redactor, timeoutMs = 30_000, ...queue }: CommandSinkOptions) {
    this.#queue = new DeliveryQueue({
      ...queue,
      name: `command ${basename(command[0] ?? '')}`,
      deliver: (notification, signal) =>
        run(command, JSON.stringify(documentOf(notification, redactor)), timeoutMs, signal),
    });
  }

  notify(notification: Notification): void {
    this.#queue.push(notification);
  }

  status(): SinkStatus {
    return this.#queue.status();
  }

  close(graceMs: number): Promise<void> {
    return this.#queue.close(graceMs);
  }
}

function run(
  [program, ...words]: readonly string[],
  input: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Attempt> {
  return new Promise((resolve) => {
    // A group of its own, so that what it started ends with it.
    const child = spawn(program as string, words, {
      stdio: ['pipe', 'ignore', 'inherit'],
      detached: true,
    });
    const kill = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    };
    let why: string | undefined;
    const timer = setTimeout(() => {
      why = `it did not end in ${timeoutMs} ms`;
      kill();
    }, timeoutMs);
    const onAbort = () => {
      why = 'the watch ended first';
      kill();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const settle = (attempt: Attempt) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      resolve(attempt);
    };
    child.on('error', (error) => settle({ kind: 'later', why: error.message }));
    child.on('close', (code, killedBy) => {
      if (code === 0) settle({ kind: 'done' });
      else settle({ kind: 'later', why: why ?? `it ended with ${code ?? killedBy}` });
    });
    child.stdin.on('error', () => {}); // it need not read
    child.stdin.end(`${input}\n`);
  });
}
