import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Sketch } from '../../../src/metrics/sketch.js';

const percents = [0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 100];

/** The oracle: what a sort of all values finds. */
function exact(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(1, Math.ceil((sorted.length * percent) / 100)) - 1] as number;
}

function sketchOf(values: readonly number[]): Sketch {
  const sketch = new Sketch();
  for (const value of values) sketch.add(value);
  return sketch;
}

// Below 1e-300 a double has not enough digits left to be within 1 % of anything.
const numbers = fc
  .oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e12, max: 1e12 }),
    fc.double({ noNaN: true, min: 0, max: 1000 }),
    fc.integer({ min: 0, max: 50 }),
  )
  .map((value) => (Math.abs(value) < 1e-300 ? 0 : value));

describe('A sketch', () => {
  test('has percentiles within 1 % of those that a sort finds', () => {
    fc.assert(
      fc.property(fc.array(numbers, { minLength: 1, maxLength: 400 }), (values) => {
        const sketch = sketchOf(values);
        const found = sketch.percentiles(percents);
        for (const [i, percent] of percents.entries()) {
          const right = exact(values, percent);
          expect(Math.abs((found[i] as number) - right)).toBeLessThanOrEqual(
            Math.abs(right) * 0.01,
          );
        }
      }),
      { numRuns: 500 },
    );
  });

  test('has the exact count, least and greatest, and the sum of what was added', () => {
    fc.assert(
      fc.property(fc.array(numbers, { minLength: 1 }), (values) => {
        const { count, min, max, sum } = sketchOf(values);
        expect({ count, min, max }).toEqual({
          count: values.length,
          min: Math.min(...values),
          max: Math.max(...values),
        });
        expect(sum).toBeCloseTo(
          values.reduce((a, b) => a + b, 0),
          0,
        );
      }),
    );
  });

  test('of a part and of the rest add up to that of all', () => {
    fc.assert(
      fc.property(fc.array(numbers, { minLength: 2 }), fc.nat(), (values, cut) => {
        const at = cut % values.length;
        const merged = sketchOf(values.slice(0, at));
        merged.merge(sketchOf(values.slice(at)));
        const whole = sketchOf(values);
        expect(merged.percentiles(percents)).toEqual(whole.percentiles(percents));
        expect(merged.count).toBe(whole.count);
      }),
    );
  });

  test('takes a value that came several times as often as that', () => {
    const sketch = new Sketch();
    sketch.add(10, 99);
    sketch.add(1000, 1);
    expect(sketch.count).toBe(100);
    const [p50, p99, p100] = sketch.percentiles([50, 99, 100]) as [number, number, number];
    expect(p50).toBeCloseTo(10, 0);
    expect(p99).toBeCloseTo(10, 0);
    expect(p100).toBe(1000);
  });

  test('of nothing is 0, and knows no infinity', () => {
    const sketch = new Sketch();
    sketch.add(Infinity);
    sketch.add(Number.NaN);
    expect(sketch.count).toBe(0);
    expect(sketch.percentiles([50])).toEqual([0]);
    expect(sketch.average).toBe(0);
  });
});
