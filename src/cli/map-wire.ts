// The bodies of a map job's messages. native/cli/wire.h describes the same bytes.

export const messageType = { task: 'task', result: 'result', ready: 'ready' } as const;

const resultBytes = 40;
const flag = { stdoutCut: 1, stderrCut: 2, lost: 4, notStarted: 8 } as const;

export interface TaskResult {
  index: number;
  /** 128 + signal where one ended it. */
  exitCode: number;
  durationMs: number;
  /** How often it was begun. */
  attempts: number;
  worker: string;
  stdout: Uint8Array;
  stderr: Uint8Array;
  /** One of the two was longer than is kept. */
  truncated: boolean;
  /** Its workers died of it: it was given up. */
  lost: boolean;
  /** The command could not be executed; stderr says why. */
  notStarted: boolean;
}

export function encodeTask(index: number, task: Uint8Array): Buffer {
  const body = Buffer.allocUnsafe(4 + task.length);
  body.writeUInt32LE(index, 0);
  body.set(task, 4);
  return body;
}

/** @returns undefined where the body is no result */
export function decodeResult(body: Uint8Array): TaskResult | undefined {
  if (body.length < resultBytes) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const word = (at: number) => view.getUint32(at, true);
  const flags = word(20);
  const stdoutAt = resultBytes + word(24);
  const stderrAt = stdoutAt + word(28);
  const end = stderrAt + word(32);
  if (end > body.length) return undefined;
  return {
    index: word(0),
    exitCode: view.getInt32(4, true),
    durationMs: Number(view.getBigUint64(8, true)) / 1000,
    attempts: word(16),
    worker: new TextDecoder().decode(body.subarray(resultBytes, stdoutAt)),
    stdout: body.subarray(stdoutAt, stderrAt),
    stderr: body.subarray(stderrAt, end),
    truncated: (flags & (flag.stdoutCut | flag.stderrCut)) !== 0,
    lost: (flags & flag.lost) !== 0,
    notStarted: (flags & flag.notStarted) !== 0,
  };
}

/** @returns how many workers stand behind the sender, and how many of them are up */
export function decodeReady(body: Uint8Array): { workers: number; up: number } {
  if (body.length < 8) return { workers: 0, up: 0 };
  const view = new DataView(body.buffer, body.byteOffset);
  return { workers: view.getUint32(0, true), up: view.getUint32(4, true) };
}
