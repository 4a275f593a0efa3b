import type { Message } from '../core/message.js';

/** The most messages whose bodies are equal; of as many, those whose first came first. */
export function agreeing(messages: readonly Message[]): readonly Message[] {
  const byBody = new Map<string, Message[]>();
  let most: Message[] = [];
  for (const message of messages) {
    const key = keyOf(message);
    const same = byBody.get(key) ?? [];
    same.push(message);
    byBody.set(key, same);
  }
  for (const same of byBody.values()) if (same.length > most.length) most = same;
  return most;
}

// JSON by its value, so that neither the order of keys nor a space makes a difference.
function keyOf(message: Message): string {
  if (message.kind === 'json') {
    try {
      return `json ${canonical(message.json())}`;
    } catch {
      // Not what its sender said: by its bytes.
    }
  }
  const { body } = message;
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('latin1');
  return `${message.kind === 'text' ? 'text' : 'bytes'} ${text}`;
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(
          Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
        )
      : inner,
  );
}
