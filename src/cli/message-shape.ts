import type { BodyKind, Message } from '../index.js';
import { textOrBase64 } from './text.js';

/** A message as `--json` shows it. */
export function shapeOf(message: Message): Record<string, unknown> {
  return {
    v: 1,
    id: message.id,
    from: message.from,
    to: message.to,
    type: message.type,
    sequence: Number(message.sequence),
    sentAt: new Date(message.sentAt).toISOString(),
    redelivered: message.redelivered,
    attempt: message.attempt,
    ...(message.hops === 0 ? {} : { hops: message.hops }),
    ...(message.correlationId === undefined ? {} : { correlationId: message.correlationId }),
    ...bodyOf(message),
  };
}

/** The body as `body`, or `bodyBase64` where it is no text. */
export function bodyOf(message: {
  readonly kind: BodyKind;
  readonly body: Uint8Array;
  json(): unknown;
}): Record<string, unknown> {
  if (message.kind === 'json') {
    try {
      return { body: message.json() };
    } catch {
      // Not what its sender said: shown as what it is.
    }
  }
  return textOrBase64('body', message.body);
}
