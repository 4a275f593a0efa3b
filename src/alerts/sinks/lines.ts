import type { AlertRecord } from '../alert-record.js';
import { recordOfGroup } from '../alert-record.js';
import type { Notification } from '../notifier.js';
import type { Redactor } from '../redact.js';
import type { AlertSink, SinkStatus } from './sink.js';

/** Hands each group of a notification to a function, as a record: for stderr, stdout, a file. */
export class RecordSink implements AlertSink {
  readonly #write: (record: AlertRecord) => void;
  readonly #redactor: Redactor;
  readonly #status: SinkStatus;
  readonly #tell: (line: string) => void;

  constructor(
    name: string,
    redactor: Redactor,
    write: (record: AlertRecord) => void,
    tell: (line: string) => void,
  ) {
    this.#write = write;
    this.#redactor = redactor;
    this.#tell = tell;
    this.#status = { name, delivered: 0, failed: 0, dropped: 0, waiting: 0, lastError: undefined };
  }

  notify(notification: Notification): void {
    for (const group of notification.groups) {
      try {
        this.#write(recordOfGroup(group, notification, this.#redactor));
        this.#status.delivered += 1;
        this.#status.lastError = undefined;
      } catch (error) {
        // A full disk loses lines, and says so; the alert is still told elsewhere.
        this.#status.dropped += 1;
        if (this.#status.lastError === undefined) {
          this.#tell(`${this.#status.name}: alerts are lost there: ${String(error)}`);
        }
        this.#status.lastError = String(error);
      }
    }
  }

  status(): SinkStatus {
    return { ...this.#status };
  }

  async close(): Promise<void> {}
}
