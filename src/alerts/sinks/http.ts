import type { Attempt } from './delivery-queue.js';

export interface PostOptions {
  url: string;
  body: string;
  headers?: Record<string, string>;
  timeoutMs: number;
  signal: AbortSignal;
}

/** Of these no repetition makes a success: the other side does not want what it was sent. */
const refusals = new Set([400, 413, 415, 422]);

/**
 * One POST of JSON. A redirection is not followed: it might carry the token elsewhere.
 *
 * Never throws. An answer other than 2xx is to be tried again, but for those that say that this very
 * body will never do.
 */
export async function post({
  url,
  body,
  headers,
  timeoutMs,
  signal,
}: PostOptions): Promise<Attempt> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', 'user-agent': 'cfc-alerts', ...headers },
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    });
    await response.body?.cancel();
    if (response.ok) return { kind: 'done' };
    const why = `it answered ${response.status}`;
    if (refusals.has(response.status)) return { kind: 'never', why };
    const seconds = Number(response.headers.get('retry-after') ?? 0);
    return { kind: 'later', why, afterMs: Number.isFinite(seconds) ? seconds * 1000 : 0 };
  } catch (error) {
    const { name, message, cause } = error as Error & { cause?: { code?: string } };
    const why = name === 'TimeoutError' ? `no answer in ${timeoutMs} ms` : (cause?.code ?? message);
    return { kind: 'later', why };
  }
}
