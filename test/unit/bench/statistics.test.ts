import { describe, expect, test } from 'vitest';
import { ratioOf, summarize } from '../../../bench/lib/statistics.js';

describe('summarize', () => {
  test('finds percentiles in samples of any order', () => {
    const samples = Array.from({ length: 1000 }, (_, i) => 1000 - i);
    expect(summarize(samples)).toEqual({
      median: 501,
      p99: 991,
      p999: 1000,
      low: 1,
      high: 1000,
      runs: 1000,
    });
  });

  test('has no figures where there are no samples', () => {
    expect(summarize([]).median).toBeNaN();
  });
});

describe('ratioOf', () => {
  test('compares pair by pair, so that a slow minute of the machine cancels out', () => {
    const ratio = ratioOf([100, 10, 50], [50, 5, 25]);
    expect(ratio).toEqual({ median: 2, low: 2, high: 2 });
  });

  test('tells the extremes', () => {
    expect(ratioOf([1, 2, 6], [1, 1, 2])).toEqual({ median: 2, low: 1, high: 3 });
  });
});
