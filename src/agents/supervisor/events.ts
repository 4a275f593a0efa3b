/** What a supervisor tells, and publishes to {@link eventsTopic}. */
export const supervisionEvents = [
  'spawned',
  'ready',
  'adopted',
  'exited',
  'restarted',
  'start-failed',
  'crash-loop',
  'recovered',
  'escalated',
  'failover',
  'no-progress',
  'memory-exceeded',
  'draining',
  'stopped',
] as const;
export type SupervisionEventName = (typeof supervisionEvents)[number];

/** One of them, as it stands in the topic: JSON with these fields. */
export interface SupervisionEvent {
  /** ISO 8601, UTC. */
  at: string;
  event: SupervisionEventName;
  /** Whom it is about. */
  agent: string;
  pid?: number;
  /** Of `exited`: 128 + signal after a signal; null where nobody could say. */
  exitCode?: number | null;
  /** How long until it is started again. */
  delayMs?: number;
  /** Of `failover`: who takes over, how many were put below it, how many messages were handed on. */
  successor?: string;
  moved?: number;
  /** A code or a few words. */
  reason?: string;
  /** Of `no-progress`: messages that wait. Of `memory-exceeded`: bytes, and how many it may have. */
  depth?: number;
  memoryBytes?: number;
  limitBytes?: number;
}

/** A lossy topic: who is too slow is told how much was lost, and holds nobody up. */
export const eventsTopic = 'cfc.events';
