import { describe, expect, test } from 'vitest';
import { Exposition } from '../../../src/metrics/exposition.js';
import { otlpOf } from '../../../src/metrics/otlp.js';
import { kindTag, type MetricRecord, timesTag } from '../../../src/metrics/record.js';

const record = (
  metric: string,
  value: number,
  tags: Record<string, string> = {},
  unit = '',
): MetricRecord => ({ timestamp: '2026-01-31T12:00:00.000Z', metric, value, unit, tags });

function shown(records: MetricRecord[], labelBudget = 100): string[] {
  const exposition = new Exposition({ labelBudget });
  exposition.add(records);
  return exposition.text().trimEnd().split('\n');
}

const samples = (lines: string[]) => lines.filter((line) => !line.startsWith('#'));

describe('names', () => {
  test.each([
    ['coordination.delivery_rate', 90, 'cfc_coordination_delivery_rate_ratio 0.9'],
    ['coordination.message_sent', 3, 'cfc_coordination_message_sent_total 3'],
    ['bytes.sent', 10, 'cfc_sent_bytes_total 10'],
    ['system.memory_mb', 12.5, 'cfc_system_memory_bytes 12500000'],
    ['backpressure.wait', 1500, 'cfc_backpressure_wait_seconds_total 1.5'],
    ['my-own.thing', 1, 'cfc_my_own_thing 1'],
  ])('%s has its base unit, and the suffix of its kind', (metric, value, line) => {
    expect(samples(shown([record(metric, value)]))).toEqual([line]);
  });

  test("of a user's counter come from its record", () => {
    const lines = shown([record('files.read', 2, { [kindTag]: 'counter' })]);
    expect(lines).toContain('# TYPE cfc_files_read_total counter');
    expect(samples(lines)).toEqual(['cfc_files_read_total 2']);
  });
});

describe('an exposition', () => {
  test('adds counters up, and takes gauges as they are', () => {
    const exposition = new Exposition();
    exposition.add([
      record('coordination.message_sent', 3),
      record('inbox.size', 5, { agent: 'a' }),
    ]);
    exposition.add([
      record('coordination.message_sent', 4),
      record('inbox.size', 1, { agent: 'b' }),
    ]);

    expect(samples(exposition.text().trimEnd().split('\n'))).toEqual([
      'cfc_coordination_message_sent_total 7',
      'cfc_inbox_size{agent="b"} 1',
    ]);
  });

  test('has histograms with cumulative buckets', () => {
    const lines = shown([
      record('coordination.time', 20, { [timesTag]: '3' }),
      record('coordination.time', 4_000_000),
    ]);
    expect(lines).toContain('cfc_coordination_time_seconds_bucket{le="0.01"} 0');
    expect(lines).toContain('cfc_coordination_time_seconds_bucket{le="0.025"} 3');
    expect(lines).toContain('cfc_coordination_time_seconds_bucket{le="1800.0"} 3');
    expect(lines).toContain('cfc_coordination_time_seconds_bucket{le="+Inf"} 4');
    expect(lines).toContain('cfc_coordination_time_seconds_sum 4000.06');
    expect(lines).toContain('cfc_coordination_time_seconds_count 4');
  });

  test('escapes what labels may hold', () => {
    expect(
      samples(shown([record('x', 1, { note: 'a"b\\c\nd', 'odd-name': 'v', le: '1' })])),
    ).toEqual(['cfc_x{note="a\\"b\\\\c\\nd",odd_name="v",tag_le="1"} 1']);
  });

  test('keeps processes and visitors out of the labels', () => {
    const lines = shown([
      record('system.open_fds', 5, { agent: 'a', pid: '7', started: '1' }),
      record('coordination.message_sent', 1, { agent: 'cli-1', role: 'cli' }),
      record('coordination.message_sent', 1, { agent: 'cli-2', role: 'cli' }),
    ]);
    expect(samples(lines)).toEqual([
      'cfc_coordination_message_sent_total{agent="cli",role="cli"} 2',
      'cfc_system_open_fds{agent="a"} 5',
    ]);
  });

  test('of more agents than the budget allows adds up what they said', () => {
    const agents = Array.from({ length: 10_000 }, (_, i) => ({
      agent: `a${i}`,
      team: `t${i % 3}`,
    }));
    const lines = samples(
      shown(
        agents.flatMap((tags, i) => [record('bytes.sent', 2, tags), record('inbox.size', i, tags)]),
      ),
    );
    expect(lines).toHaveLength(3 + 9);
    expect(lines).toContain('cfc_sent_bytes_total{team="t0"} 6668');
    expect(lines).toContain('cfc_inbox_size{team="t0",aggregate="max"} 9999');
    expect(lines).toContain('cfc_inbox_size{team="t0",aggregate="count"} 3334');
  });

  test('is OpenMetrics where that is asked for', () => {
    const exposition = new Exposition();
    exposition.add([record('bytes.sent', 1)]);
    expect(exposition.text('openmetrics').trimEnd().split('\n')).toEqual([
      '# HELP cfc_sent_bytes Bodies of what it sent and published.',
      '# TYPE cfc_sent_bytes counter',
      '# UNIT cfc_sent_bytes bytes',
      'cfc_sent_bytes_total 1',
      '# EOF',
    ]);
  });
});

test('OTLP has sums, gauges and histograms with their attributes', () => {
  const exposition = new Exposition();
  exposition.add([
    record('bytes.sent', 1, { agent: 'a' }),
    record('inbox.size', 2),
    record('coordination.time', 20),
  ]);
  const body = otlpOf(exposition.families(), {
    sinceMs: 1,
    nowMs: 2,
    resource: { 'service.name': 'cfc' },
  });
  const [resource] = body.resourceMetrics as [{ scopeMetrics: [{ metrics: unknown[] }] }];
  const times = { startTimeUnixNano: '1000000', timeUnixNano: '2000000' };

  expect(resource.scopeMetrics[0].metrics).toMatchObject([
    {
      name: 'cfc_coordination_time_seconds',
      unit: 's',
      histogram: { aggregationTemporality: 2, dataPoints: [{ ...times, count: '1', sum: 0.02 }] },
    },
    { name: 'cfc_inbox_size', gauge: { dataPoints: [{ ...times, asDouble: 2, attributes: [] }] } },
    {
      name: 'cfc_sent_bytes',
      unit: 'By',
      sum: {
        isMonotonic: true,
        dataPoints: [{ attributes: [{ key: 'agent', value: { stringValue: 'a' } }] }],
      },
    },
  ]);
});
