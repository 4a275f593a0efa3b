import { documentOf } from '../alert-record.js';
import type { Notification } from '../notifier.js';
import { type Redactor, shownUrl } from '../redact.js';
import { DeliveryQueue, type DeliveryQueueOptions } from './delivery-queue.js';
import { post } from './http.js';
import type { AlertSink, SinkStatus } from './sink.js';

export interface WebhookOptions
  extends Pick<DeliveryQueueOptions, 'path' | 'tell' | 'backoffMs' | 'maxBackoffMs'> {
  url: string;
  redactor: Redactor;
  /** Sent as `Authorization: Bearer …`. */
  token?: string;
  /** Of one try. Default 10 s. */
  timeoutMs?: number;
}

/**
 * Posts each notification as JSON to an address, at least once: the header `Idempotency-Key` is the
 * same when it comes again.
 */
export class WebhookSink implements AlertSink {
  readonly #queue: DeliveryQueue;

  constructor({ url, redactor, token, timeoutMs = 10_000, ...queue }: WebhookOptions) {
    this.#queue = new DeliveryQueue({
      ...queue,
      name: `webhook ${shownUrl(url)}`,
      deliver: (notification, signal) =>
        post({
          url,
          body: JSON.stringify(documentOf(notification, redactor)),
          headers: {
            'idempotency-key': notification.id,
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          },
          timeoutMs,
          signal,
        }),
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
