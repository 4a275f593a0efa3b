import { CfcError, type CfcErrorCode } from '../errors.js';
import { native, Status } from './native.js';

const codeByName: Readonly<Record<string, CfcErrorCode>> = {
  kFull: 'ERR_CFC_MAILBOX_FULL',
  kTimedOut: 'ERR_CFC_TIMED_OUT',
  kClosed: 'ERR_CFC_MAILBOX_CLOSED',
  kStale: 'ERR_CFC_NO_AGENT',
  kLeaseLost: 'ERR_CFC_LEASE_LOST',
  kTooLarge: 'ERR_CFC_RECORD_TOO_LARGE',
  kInvalid: 'ERR_CFC_USAGE',
  kNoFabric: 'ERR_CFC_NO_FABRIC',
  kNoAgent: 'ERR_CFC_NO_AGENT',
  kNoReader: 'ERR_CFC_NO_READER',
  kExists: 'ERR_CFC_REGION_EXISTS',
  kLeaseHeld: 'ERR_CFC_LEASE_HELD',
  kSlotsFull: 'ERR_CFC_PARTICIPANTS_FULL',
  kAgentsFull: 'ERR_CFC_AGENTS_FULL',
  kMailboxesFull: 'ERR_CFC_MAILBOXES_FULL',
  kCountersFull: 'ERR_CFC_COUNTERS_FULL',
  kReadersFull: 'ERR_CFC_READERS_FULL',
  kTopicsFull: 'ERR_CFC_TOPICS_FULL',
  kSubscribersFull: 'ERR_CFC_SUBSCRIBERS_FULL',
  kNoSpace: 'ERR_CFC_NO_SPACE',
  kSlabFull: 'ERR_CFC_SLAB_FULL',
  kQuota: 'ERR_CFC_QUOTA',
  kQuotaSpent: 'ERR_CFC_QUOTA',
  kRateLimited: 'ERR_CFC_RATE_LIMITED',
  kHopsSpent: 'ERR_CFC_LOOP',
  kForeign: 'ERR_CFC_FOREIGN_OWNER',
  kNotRegular: 'ERR_CFC_NOT_REGULAR',
  kCorrupt: 'ERR_CFC_REGION_CORRUPT',
  kLayout: 'ERR_CFC_REGION_LAYOUT',
  kRemoved: 'ERR_CFC_FABRIC_REMOVED',
  kForked: 'ERR_CFC_FORKED',
  kParticipantLost: 'ERR_CFC_LEASE_LOST',
  kBusy: 'ERR_CFC_BUSY',
  kSystem: 'ERR_CFC_SYSTEM',
};

const codeByStatus: CfcErrorCode[] = [];
for (const [name, number] of Object.entries(native.statuses)) {
  codeByStatus[number] = codeByName[name] ?? 'ERR_CFC_SYSTEM';
}

/** @param status as the core numbers it, positive */
export function errorOf(status: number, details: Record<string, unknown> = {}): CfcError {
  return new CfcError(codeByStatus[status] ?? 'ERR_CFC_SYSTEM', details);
}

interface NativeFailure extends Error {
  status?: number;
  path?: string;
  detail?: string;
  errno?: number;
  syscall?: string;
  needBytes?: number;
  haveBytes?: number;
  ownerUid?: number;
}

/** Runs a slow native call and turns what it throws into a CfcError. */
export function callNative<T>(call: () => T, details: Record<string, unknown> = {}): T {
  try {
    return call();
  } catch (cause) {
    const failure = cause as NativeFailure;
    if (typeof failure.status !== 'number') throw cause;
    const known: Record<string, unknown> = { ...details };
    for (const field of ['path', 'detail', 'needBytes', 'haveBytes', 'ownerUid'] as const) {
      if (failure[field] !== undefined && failure[field] !== '') known[field] = failure[field];
    }
    throw new CfcError(
      codeByStatus[failure.status] ?? 'ERR_CFC_SYSTEM',
      known,
      failure.errno === undefined ? undefined : { cause },
    );
  }
}

/** True where a send may succeed later: what others free by and by. */
export function isFull(status: number): boolean {
  return (
    status === Status.full ||
    status === Status.slabFull ||
    status === Status.quota ||
    status === Status.rateLimited
  );
}
