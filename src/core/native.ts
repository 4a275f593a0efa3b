import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CfcError } from '../errors.js';
import type { Addon } from './native-types.js';

export type * from './native-types.js';

// Two folders up both from src/core and from dist/core.
const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

function load(): Addon {
  const require = createRequire(import.meta.url);
  try {
    const find = require('node-gyp-build') as (folder: string) => Addon;
    return find(packageRoot);
  } catch (cause) {
    throw new CfcError(
      'ERR_CFC_NATIVE_LOAD',
      {
        platform: `${process.platform}-${process.arch}`,
        node: process.version,
        looked: ['build/Release', `prebuilds/${process.platform}-${process.arch}`],
        root: packageRoot,
      },
      { cause },
    );
  }
}

/** The addon. The one place that loads it. */
export const native: Addon = load();

function statusNumber(name: string): number {
  const value = native.statuses[name];
  if (value === undefined) {
    throw new CfcError('ERR_CFC_NATIVE_LOAD', { missing: name, version: native.constants.version });
  }
  return value;
}

/** Statuses that callers tell apart, as the addon numbers them. */
export const Status = {
  ok: statusNumber('kOk'),
  full: statusNumber('kFull'),
  empty: statusNumber('kEmpty'),
  timedOut: statusNumber('kTimedOut'),
  busy: statusNumber('kBusy'),
  stale: statusNumber('kStale'),
  slabFull: statusNumber('kSlabFull'),
  quota: statusNumber('kQuota'),
  rateLimited: statusNumber('kRateLimited'),
  noAgent: statusNumber('kNoAgent'),
  leaseLost: statusNumber('kLeaseLost'),
  alreadyAcked: statusNumber('kAlreadyAcked'),
} as const;

/** Columns of a row of the table that take() fills; native/binding/agent_wrap.h has the order. */
export const Column = {
  bodyOffset: 0,
  bodyBytes: 1,
  kind: 2,
  flags: 3,
  lane: 4,
  attempt: 5,
  uid: 6,
  number: 7,
  sequence: 8,
  sentAtMs: 9,
  correlationUid: 10,
  correlationNumber: 11,
  from: 12,
  type: 13,
  lease: 14,
  /** By the monotonic clock (`process.hrtime`); 0: never. */
  expiresAtMs: 15,
} as const;

/** Columns of a row that table() fills; then the value of each metric. */
export const TableColumn = {
  entry: 0,
  pid: 1,
  state: 2,
  /** A place in {@link livenessNames}. */
  liveness: 3,
  restarts: 4,
  joinedAtMs: 5,
  progressAtMs: 6,
  /** AgentFact bits. */
  facts: 7,
  /** -1: none (yet). */
  exitCode: 8,
  /** 0: nobody started one for it. */
  commandPid: 9,
  depth: 10,
  capacity: 11,
  leased: 12,
  /** 1: it has counters. */
  counted: 13,
} as const;

/** Texts of a row of table(), each with its length before it. */
export const TableText = { name: 0, role: 1, team: 2, parent: 3, status: 4 } as const;

/** TableLiveness of native/binding/fabric_wrap.h. */
export const livenessNames = ['left', 'dead', 'alive', 'stalled', 'busy'] as const;

/** Columns of a row that sample() fills; then total and own value of each metric. */
export const SampleColumn = {
  entry: 0,
  uid: 1,
  life: 2,
  liveness: 3,
  pid: 4,
  startTicks: 5,
  incarnation: 6,
  restarts: 7,
  joinedAtMs: 8,
  progressAtMs: 9,
  state: 10,
  box: 11,
  naming: 12,
  /** That its shim started; 0: it has none, or it ended. */
  commandPid: 13,
  commandStartTicks: 14,
} as const;

/** Columns of a row that sampleBoxes() fills; native/binding/fabric_wrap_sample.cc has both. */
export const BoxColumn = {
  box: 0,
  /** Of who owns it, and -1 for none. */
  entry: 1,
  depth: 2,
  capacity: 3,
  leased: 4,
  acked: 5,
  dropped: 6,
  deadLettered: 7,
} as const;

/** What a row means that nextEvents() fills; native/binding/agent_wrap_topic.cc has the other end. */
export const EventColumn = {
  isGap: Column.lane,
  position: Column.lease,
  gapFrom: Column.uid,
  gapTo: Column.number,
  gapCount: Column.sequence,
} as const;

/** Bits of the options of trySend; native/binding/agent_wrap.cc has the other end. */
export const SendBit = {
  text: 1,
  json: 2,
  workLane: 4,
  reply: 8,
  asks: 16,
  dropOldest: 32,
  receipt: 64,
  correlates: 128,
  onlyIfIdle: 256,
  waits: 512,
  expires: 1024,
  keyed: 2048,
} as const;

/** Where a message is, as native/core/trace.h numbers it. */
export const traceStates = [
  'writing',
  'queued',
  'leased',
  'held',
  'acked',
  'dropped',
  'dead-lettered',
  'settled',
] as const;

/** In the same options: how often the message was handed on; of as many as `hopLimit` none is sent. */
export const sendHopsShift = 16;

/** Why a message is a dead letter, as native/core/dead_letters.h numbers it. */
export const deathCauses = ['', 'attempts', 'expired'] as const;

/** Flags of a message, as native/core/layout.h has them. */
export const MessageFlag = { reply: 1, asks: 2 } as const;

/** Facts of an agent, as native/core/layout.h has them. */
export const AgentFact = { shim: 1, ready: 2, stopped: 4, overdue: 8, guests: 16 } as const;

/** What is wanted of an agent, as native/core/layout.h numbers it. */
export const wantedVerbs = ['resume', 'pause', 'stop', 'kill'] as const;

/** What expect() is told. */
export const Expect = { nothing: 0, replies: 1, mail: 2 } as const;
