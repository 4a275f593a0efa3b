import { describe, expect, test } from 'vitest';
import { timesOf, toLine, toRecord } from '../../../src/metrics/record.js';

const record = {
  timestamp: '2026-01-02T03:04:05.678Z',
  metric: 'coordination.time',
  value: 12.5,
  unit: 'milliseconds',
  tags: { agent: 'bob' },
};

describe('a metric record', () => {
  test('comes back from its line as it was', () => {
    expect(toRecord(JSON.parse(toLine(record)))).toEqual(record);
  });

  test('keeps the order of fields that readers of the old files know', () => {
    const { metric, tags, timestamp, unit, value } = record;
    const line = toLine({ tags, unit, value, metric, timestamp });
    expect(line).toMatch(/^\{"timestamp":.*"metric":.*"value":.*"unit":.*"tags":\{.*\}\}\n$/);
  });

  test.each([
    null,
    7,
    {},
    { ...record, value: '12' },
    { ...record, value: Number.NaN },
    { ...record, metric: '' },
    { ...record, timestamp: 12 },
  ])('is none where a field is missing or not what it should be: %j', (value) => {
    expect(toRecord(value)).toBeUndefined();
  });

  test('has a unit and tags, empty where the file has none', () => {
    const { unit: _, tags: __, ...bare } = record;
    expect(toRecord(bare)).toEqual({ ...bare, unit: '', tags: {} });
  });

  test('has tags of text, whatever the file has', () => {
    expect(toRecord({ ...record, tags: { n: 7, ok: true } })?.tags).toEqual({ n: '7', ok: 'true' });
  });

  test('stands for one value, or for as many as its tag says', () => {
    expect(timesOf(record)).toBe(1);
    expect(timesOf({ ...record, tags: { times: '12' } })).toBe(12);
    expect(timesOf({ ...record, tags: { times: 'many' } })).toBe(1);
  });
});
