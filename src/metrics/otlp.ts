import type { Family, HistogramValue } from './exposition.js';

export interface OtlpOptions {
  /** When counting began, in milliseconds since the epoch. */
  sinceMs: number;
  nowMs: number;
  /** Of the resource, such as `{ 'service.name': 'cfc' }`. */
  resource: Readonly<Record<string, string>>;
}

const cumulative = 2;

/** The body of a POST to `…/v1/metrics`: OTLP over HTTP, in JSON. */
export function otlpOf(families: readonly Family[], options: OtlpOptions): Record<string, unknown> {
  const startTimeUnixNano = nanos(options.sinceMs);
  const timeUnixNano = nanos(options.nowMs);
  const metrics = families.map(({ name, kind, help, unit, series }) => {
    const about = { name, description: help, unit: otlpUnit(unit) };
    const points = series.map(({ labels, value }) => {
      const point = { attributes: attributesOf(labels), startTimeUnixNano, timeUnixNano };
      return typeof value === 'number'
        ? { ...point, asDouble: value }
        : { ...point, ...histogramPoint(value) };
    });
    if (kind === 'gauge') return { ...about, gauge: { dataPoints: points } };
    const sum = { dataPoints: points, aggregationTemporality: cumulative };
    return kind === 'counter'
      ? { ...about, sum: { ...sum, isMonotonic: true } }
      : { ...about, histogram: sum };
  });
  return {
    resourceMetrics: [
      {
        resource: { attributes: attributesOf(options.resource) },
        scopeMetrics: [{ scope: { name: 'cfc' }, metrics }],
      },
    ],
  };
}

function histogramPoint({ bounds, counts, sum, count }: HistogramValue): Record<string, unknown> {
  // 64-bit integers are strings in the JSON of protocol buffers.
  return { count: String(count), sum, bucketCounts: counts.map(String), explicitBounds: bounds };
}

const attributesOf = (labels: Readonly<Record<string, string>>) =>
  Object.entries(labels).map(([key, stringValue]) => ({ key, value: { stringValue } }));

const nanos = (ms: number) => `${Math.trunc(ms)}000000`;

const otlpUnit = (unit: string) => ({ seconds: 's', bytes: 'By', ratio: '1' })[unit] ?? '';

export interface OtlpPushOptions {
  /** Of the receiver, such as `http://127.0.0.1:4318`; `/v1/metrics` is added where there is no path. */
  url: string;
  token?: string;
  /** Default 10 s. */
  timeoutMs?: number;
}

/**
 * One push. A receiver that is down misses nothing: counters are told as sums, not as differences.
 *
 * @throws where it was not accepted
 */
export async function pushOtlp(
  body: Record<string, unknown>,
  { url, token, timeoutMs = 10_000 }: OtlpPushOptions,
): Promise<void> {
  const target = new URL(url);
  if (target.pathname === '/') target.pathname = '/v1/metrics';
  const response = await fetch(target, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: {
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
  });
  const answer = (await response.text()).slice(0, 200);
  if (!response.ok) throw new Error(`${target.host} answered ${response.status} ${answer}`);
}
