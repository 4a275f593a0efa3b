import { inspect } from 'node:util';

/** What a code means, and what to do about it. docs/errors.md has a row for each. */
const catalogue = {
  ERR_CFC_NATIVE_LOAD: {
    message: 'no native build fits this platform',
    hint: 'build it with `npm run build`, or install the package on a platform that it ships binaries for',
  },
  ERR_CFC_USAGE: {
    message: 'an argument is not what it should be',
    hint: 'details say which one and what is allowed',
  },
  ERR_CFC_NO_FABRIC: {
    message: 'no such fabric',
    hint: 'create it first, or name another with --fabric or CFC_FABRIC',
  },
  ERR_CFC_NO_AGENT: {
    message: 'no such agent',
    hint: '`cfc ps` lists those that there are',
  },
  ERR_CFC_NO_READER: {
    message: 'nobody lives behind the name, and nobody took it over in time',
    hint: 'the message waits in the mailbox for a successor; start the agent again',
  },
  ERR_CFC_TIMED_OUT: {
    message: 'the time is up',
    hint: 'raise timeoutMs, or look at what the other side is doing',
  },
  ERR_CFC_MAILBOX_FULL: {
    message: 'the mailbox had no room in time; nothing was enqueued',
    hint: 'the reader is slower than its senders: give it a larger mailbox, or more time',
  },
  ERR_CFC_MAILBOX_CLOSED: {
    message: 'the mailbox is closed',
    hint: 'the agent or the fabric object was left or closed before',
  },
  ERR_CFC_RECORD_TOO_LARGE: {
    message: 'the message is larger than the fabric accepts',
    hint: 'a body may have 16 MiB, a type 64 bytes; send a file name instead',
  },
  ERR_CFC_SLAB_FULL: {
    message: "the fabric's memory for large bodies is full; nothing was enqueued",
    hint: 'let readers catch up, or create the fabric with a larger slabMaxBytes',
  },
  ERR_CFC_QUOTA: {
    message:
      'this agent has sent, or holds in payload memory, as much as it may; nothing was enqueued',
    hint: 'give it a larger quota, or none; for payload memory wait until its messages are read, or create the fabric with a larger senderSlabBytes',
  },
  ERR_CFC_RATE_LIMITED: {
    message: 'this agent sends faster than it may; nothing was enqueued',
    hint: 'send less, wait longer, or give it a higher rate',
  },
  ERR_CFC_LOOP: {
    message: 'the message was handed on too often; nothing was enqueued',
    hint: 'somebody hands it on in a circle: details say to whom it was to go next',
  },
  ERR_CFC_LEASES_FULL: {
    message: 'as many messages are leased as may be',
    hint: 'ack or nack some: a reader may hold a quarter of its mailbox',
  },
  ERR_CFC_LEASE_LOST: {
    message: 'the lease is no longer ours',
    hint: 'somebody else took it over, or this process closed the descriptor that proves its life',
  },
  ERR_CFC_LEASE_HELD: {
    message: 'a living process holds the name',
    hint: 'choose another name, or stop the process that holds it',
  },
  ERR_CFC_REGION_EXISTS: {
    message: 'the fabric exists already',
    hint: 'open it instead of creating it, or destroy it first',
  },
  ERR_CFC_REGION_CORRUPT: {
    message: 'a file of the fabric is damaged',
    hint: 'keep a copy for a look, then destroy the fabric and create it anew',
  },
  ERR_CFC_REGION_LAYOUT: {
    message: 'the fabric was made by another layout version',
    hint: 'use the cfc that made it, or destroy the fabric and create it anew',
  },
  ERR_CFC_FABRIC_REMOVED: {
    message: 'the fabric was removed under us',
    hint: 'open it again; what was in it is gone',
  },
  ERR_CFC_NO_SPACE: {
    message: 'the file system has not enough room',
    hint: 'free some, enlarge the tmpfs (mount -o remount,size=…), or use a smaller profile or CFC_DIR',
  },
  ERR_CFC_FOREIGN_OWNER: {
    message: 'a file or directory belongs to another user, or lets other users in',
    hint: 'remove it if it is yours to remove, or point CFC_DIR at a directory of your own with mode 0700',
  },
  ERR_CFC_NOT_REGULAR: {
    message: 'something else than a plain file or directory is in the way',
    hint: 'remove it (a symbolic link there may be an attack), or point CFC_DIR elsewhere',
  },
  ERR_CFC_PARTICIPANTS_FULL: {
    message: 'as many processes take part as the fabric has slots',
    hint: 'create the fabric with more maxParticipants',
  },
  ERR_CFC_AGENTS_FULL: {
    message: "the fabric's directory of agents is full",
    hint: 'create the fabric with more maxAgents',
  },
  ERR_CFC_MAILBOXES_FULL: {
    message: 'the fabric has as many mailbox segments as it can',
    hint: 'create it with a larger mailSegmentBytes',
  },
  ERR_CFC_COUNTERS_FULL: {
    message: 'the table of metrics is full',
    hint: 'use fewer names; put what varies into one metric',
  },
  ERR_CFC_READERS_FULL: {
    message: 'the mailbox has as many readers as it can',
    hint: 'eight readers share a mailbox at most',
  },
  ERR_CFC_TOPIC_FULL: {
    message: 'the topic had no room in time; nothing was published',
    hint: 'a reliable subscriber is behind: give it less patienceMs, the topic more topicCells, or more time',
  },
  ERR_CFC_TOPICS_FULL: {
    message: 'the fabric has as many topics as it can',
    hint: 'create it with more maxTopics; topics stay until the fabric goes',
  },
  ERR_CFC_SUBSCRIBERS_FULL: {
    message: 'the topic has as many subscribers as it can',
    hint: 'create the fabric with more topicSubscribers, or close some',
  },
  ERR_CFC_FORKED: {
    message: 'a fabric cannot be used across fork',
    hint: 'open it again in the child',
  },
  ERR_CFC_BUSY: {
    message: 'other processes were in the middle of this, again and again',
    hint: 'try again; if it stays, look for a process that is stopped',
  },
  ERR_CFC_SYSTEM: {
    message: 'a system call failed',
    hint: 'cause has its name and errno',
  },
  ERR_CFC_NONE_IDLE: {
    message: 'nobody in the group is idle; nothing was enqueued',
    hint: 'try again, or send by least-loaded, which waits for room',
  },
  ERR_CFC_CONFIG_INVALID: {
    message: 'the configuration is not valid',
    hint: 'details.problems says what is wrong, and where; `cfc config` lists every option',
  },
  ERR_CFC_CHECKPOINT_INVALID: {
    message: 'a checkpoint is not what it should be',
    hint: 'details say why; look at the files, and remove those that nobody needs',
  },
  ERR_CFC_CHECKPOINT_IO: {
    message: 'a checkpoint could not be written or read',
    hint: 'the cause says why; checkpoint.dir (CFC_CHECKPOINT_DIR) names another place',
  },
  ERR_CFC_FORBIDDEN: {
    message: 'this agent may not do that',
    hint: 'its role does not allow it; the roles of the topology say what does',
  },
  ERR_CFC_SUPERVISOR_RUNNING: {
    message: 'somebody supervises this fabric already',
    hint: 'details.pid is its process; cfc down takes over from it, and so can you once it has ended',
  },
  ERR_CFC_AGENT_START: {
    message: 'an agent could not be started',
    hint: 'details have the command; run it by hand to see what it says',
  },
  ERR_CFC_EXPORT_IO: {
    message: 'a file of metrics cannot be read or written',
    hint: 'mend what the reason says; agents go on, and counters lose nothing meanwhile',
  },
  ERR_CFC_TOPOLOGY_INVALID: {
    message: 'the topology is not valid',
    hint: 'details.problems says what is wrong, and where; docs/topology.md has every key',
  },
  ERR_CFC_ALERT_RULE: {
    message: 'the alert rules are not valid',
    hint: 'details.problems says what is wrong, and where; docs/alerts.md has every key',
  },
  ERR_CFC_ALERTS_RUNNING: {
    message: 'another alert watch keeps its state there',
    hint: 'stop it, or give this one a state directory of its own with --state',
  },
  ERR_CFC_PARTLY_DELIVERED: {
    message: 'not everything was accepted or answered',
    hint: 'details have both lists',
  },
} as const;

export type CfcErrorCode = keyof typeof catalogue;

/** Every code, for tools and tests. */
export const errorCodes = Object.keys(catalogue) as readonly CfcErrorCode[];

/**
 * What goes wrong in cfc. `code` is stable, messages are not. Failures of the system travel in
 * `cause`, with `errno` and `syscall`.
 */
export class CfcError extends Error {
  readonly code: CfcErrorCode;
  /** What the message is about: names, sizes, paths. Plain values. */
  readonly details: Readonly<Record<string, unknown>>;
  /** What to do about it, in a sentence. */
  readonly hint: string;

  constructor(
    code: CfcErrorCode,
    details: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    const shown =
      Object.keys(details).length > 0 ? ` ${inspect(details, { breakLength: Infinity })}` : '';
    super(`${catalogue[code].message}${shown}`, options);
    this.code = code;
    this.details = details;
    this.hint = catalogue[code].hint;
  }
}

// On the prototype and not enumerable, as built-in errors have it.
Object.defineProperty(CfcError.prototype, 'name', { value: 'CfcError', configurable: true });

/** The message of a code, without details. */
export function describeError(code: CfcErrorCode): { message: string; hint: string } {
  return catalogue[code];
}
