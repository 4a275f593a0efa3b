import type { ActiveAlert } from '../instance.js';
import type { Notification } from '../notifier.js';

/** How a sink does. */
export interface SinkStatus {
  name: string;
  delivered: number;
  /** Tries that failed and were, or will be, made again. */
  failed: number;
  /** Notifications that were given up. */
  dropped: number;
  /** That wait. */
  waiting: number;
  /** Of the last failure; undefined once a delivery succeeded after it. */
  lastError: string | undefined;
}

/**
 * Where alerts go. No method throws or waits for the other side: a sink that is down costs the
 * others nothing.
 */
export interface AlertSink {
  /** Takes over a notification: it is delivered, or waits where a restart finds it. */
  notify(notification: Notification): void;
  /** Hears every alert that fires or resolved, at every evaluation. */
  sync?(alerts: readonly ActiveAlert[], nowMs: number): void;
  status(): SinkStatus;
  /** Gives what waits a last chance, for so long, and lets go. What is left waits in its file. */
  close(graceMs: number): Promise<void>;
}
