import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { analyze } from '../../../src/metrics/analyze.js';
import { type MetricRecord, toLine } from '../../../src/metrics/record.js';
import { failureOf, range } from '../../support/fabric.js';

const beginMs = Date.parse('2026-01-02T03:00:00.000Z');

function record(metric: string, value: number, atMs: number, tags = {}): MetricRecord {
  return { timestamp: new Date(beginMs + atMs).toISOString(), metric, value, unit: 'ms', tags };
}

function fileOf(content: string | Buffer, name = 'metrics.jsonl'): string {
  const folder = mkdtempSync(join(tmpdir(), 'cfc-analyze-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

describe('analyze', () => {
  test('says count, average, extremes, percentiles and rate of each metric', async () => {
    const records = range(101).map((i) => record('task.ms', i, i * 100));

    const { metrics, window } = await analyze(records);

    expect(window.ms).toBe(10_000);
    expect(metrics).toHaveLength(1);
    const [found] = metrics;
    expect(found).toMatchObject({ metric: 'task.ms', unit: 'ms', kind: 'gauge', count: 101 });
    expect(found).toMatchObject({ avg: 50, min: 0, max: 100, rate: 10.1 });
    for (const [key, right] of Object.entries({ p50: 50, p95: 95, p99: 99 })) {
      const value = found?.[key as 'p50'] as number;
      expect(Math.abs(value - right)).toBeLessThanOrEqual(right * 0.01);
    }
  });

  test('of a counter the rate is what it grew by a second', async () => {
    const records = range(11).map((i) => record('coordination.message_sent', 50, i * 1000));

    const { metrics } = await analyze(records);

    expect(metrics[0]).toMatchObject({ kind: 'counter', count: 11, rate: 55 });
  });

  test('looks at the last of the time only, where a window is asked for', async () => {
    const records = range(60).map((i) => record('m', i, i * 60_000));

    const { metrics, window } = await analyze(records, { windowMs: 300_000 });

    expect(window).toEqual({
      from: '2026-01-02T03:54:00.000Z',
      to: '2026-01-02T03:59:00.000Z',
      ms: 300_000,
    });
    expect(metrics[0]).toMatchObject({ count: 6, min: 54, max: 59 });
  });

  test('finds the same window in whatever order the lines are', async () => {
    const records = range(600).map((i) => record('m', i, i * 1000));
    const inOrder = await analyze(records, { windowMs: 100_000 });
    const turned = await analyze(records.toReversed(), { windowMs: 100_000 });

    expect(turned).toEqual(inOrder);
  });

  test('splits by a tag', async () => {
    const records = [
      record('m', 1, 0, { team: 'A' }),
      record('m', 3, 0, { team: 'A' }),
      record('m', 10, 0, { team: 'B' }),
      record('m', 7, 0),
    ];

    const { metrics } = await analyze(records, { by: 'team' });

    expect(metrics.map(({ tag, count, max }) => [tag, count, max])).toEqual([
      ['', 1, 7],
      ['A', 2, 3],
      ['B', 1, 10],
    ]);
  });

  test('takes a record of a histogram for as many values as it stands for', async () => {
    const { metrics } = await analyze([
      record('task.ms', 5, 0, { times: '98' }),
      record('task.ms', 500, 0, { times: '2' }),
    ]);

    expect(metrics[0]).toMatchObject({ kind: 'histogram', count: 100, avg: 14.9, max: 500 });
    expect(metrics[0]?.p99).toBe(500);
  });

  test("reads files, packed ones too, the predecessor's own lines among them", async () => {
    const old =
      '{"timestamp":"2025-10-08T12:00:00.123Z","metric":"coordination.time","value":2750,"unit":"milliseconds","tags":{"agent_count":"300"}}\n';
    const plain = fileOf(old + toLine(record('m', 1, 0)));
    const packed = fileOf(gzipSync(toLine(record('m', 3, 0))), 'metrics.jsonl.2.gz');

    const { metrics, skipped } = await analyze([plain, packed]);

    expect(skipped).toBe(0);
    expect(metrics.map(({ metric, count, avg }) => [metric, count, avg])).toEqual([
      ['coordination.time', 1, 2750],
      ['m', 2, 2],
    ]);
  });

  test('leaves out what is no record, a torn last line and one without end among it', async () => {
    const line = toLine(record('m', 1, 0));
    const junk = `${line}not json\n{"metric":"m"}\n\n${'x'.repeat(3_000_000)}\n${line}`;
    const path = fileOf(junk + line.slice(0, 40));

    const { metrics, skipped } = await analyze([path]);

    expect(metrics[0]?.count).toBe(2);
    expect(skipped).toBe(4);
  });

  test('keeps no more than its sketches, however long the file is', async () => {
    const lines = range(2000).map((i) => toLine(record('m', i % 100, i)));
    const path = fileOf(lines.join('').repeat(50));

    const { metrics } = await analyze([path]);

    expect(metrics[0]).toMatchObject({ count: 100_000, avg: 49.5, min: 0, max: 99 });
  });

  test('fails with a code where a file cannot be read, or is no packed one', async () => {
    expect((await failureOf(analyze(['/nowhere/metrics.jsonl']))).code).toBe('ERR_CFC_EXPORT_IO');
    const torn = fileOf('plain', 'a.gz');
    expect((await failureOf(analyze([torn]))).code).toBe('ERR_CFC_EXPORT_IO');
    expect((await failureOf(analyze([], { windowMs: 0 }))).code).toBe('ERR_CFC_USAGE');
  });

  test('of nothing says nothing', async () => {
    expect((await analyze([])).metrics).toEqual([]);
  });
});
