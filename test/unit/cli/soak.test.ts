import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { countNames, type PeerCounts, type PeerSample } from '../../../src/cli/soak/crew.js';
import { Latencies } from '../../../src/cli/soak/latencies.js';
import { append, type Entry, type Run, readRecord } from '../../../src/cli/soak/record.js';
import { makeReport, verdictOf } from '../../../src/cli/soak/report.js';
import {
  judgeFlat,
  judgeGrowth,
  medianOf,
  type Point,
  theilSen,
  thin,
} from '../../../src/cli/soak/statistics.js';
import { range, testDirectory } from '../../support/fabric.js';

const hourMs = 3_600_000;
const eightHoursMs = 8 * hourMs;

/** Numbers from 0 to 1 that are the same each time. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** An hour of samples, one in 10 s: a level that grows by `share` of itself an hour, with noise. */
function hour(share: number, noise = 0, seed = 1, level = 1e6): Point[] {
  const next = numbers(seed);
  return range(360).map((i) => {
    const atMs = i * 10_000;
    const grown = level * (1 + (share * atMs) / hourMs);
    return { atMs, value: grown + level * noise * (next() + next() + next() - 1.5) };
  });
}

describe('The slope after Theil and Sen', () => {
  test('of a straight line is its slope, to the ends of its interval', () => {
    const line = range(50).map((i) => ({ atMs: i * 10, value: 3 + 2 * i }));

    expect(theilSen([line])).toEqual({ perMs: 0.2, lowPerMs: 0.2, highPerMs: 0.2 });
  });

  test('of a constant is 0', () => {
    const flat = range(20).map((i) => ({ atMs: i, value: 7 }));

    expect(theilSen([flat])).toEqual({ perMs: 0, lowPerMs: 0, highPerMs: 0 });
  });

  // Sen's interval of ten points has ranks 12 and 34 of 45, by Kendall's variance of 125.
  test('has the interval that is worked out by hand', () => {
    const values = [0, 1, 3, 2, 5, 4, 6, 8, 7, 9];
    const points = values.map((value, i) => ({ atMs: i, value }));
    const slopes = values
      .flatMap((a, i) => values.slice(i + 1).map((b, j) => (b - a) / (j + 1)))
      .sort((a, b) => a - b);
    const slope = theilSen([points]);

    expect(slope?.perMs).toBe(slopes[22]);
    expect(slope?.lowPerMs).toBe(slopes[11]);
    expect(slope?.highPerMs).toBe(slopes[33]);
  });

  test('does not see a tenth of wild outliers', () => {
    const points = hour(0.05).map((point, i) => (i % 10 === 3 ? { ...point, value: 1e9 } : point));

    expect((theilSen([points])?.perMs ?? 0) * hourMs).toBeCloseTo(50_000, -3.5);
  });

  test('holds the true slope in about 95 of 100 series with noise', () => {
    let held = 0;
    for (let seed = 1; seed <= 100; seed += 1) {
      const slope = theilSen([hour(0.02, 0.01, seed * 7919).filter((_, i) => i % 4 === 0)]);
      const truth = 20_000 / hourMs;
      if (slope && slope.lowPerMs <= truth && truth <= slope.highPerMs) held += 1;
    }

    expect(held).toBeGreaterThanOrEqual(88);
    expect(held).toBeLessThan(100);
  });

  test('of two runs at different levels is that within them', () => {
    const slope = theilSen([
      hour(0.01),
      hour(0.01, 0, 1, 1e6).map((p) => ({ ...p, value: p.value + 5e6 })),
    ]);

    expect((slope?.perMs ?? 0) * hourMs).toBeCloseTo(10_000, 0);
  });

  test('is not made of fewer than four points', () => {
    expect(theilSen([hour(1).slice(0, 3)])).toBeUndefined();
    expect(theilSen([])).toBeUndefined();
  });

  test('of many samples is that of their blocks', () => {
    const many = range(5000).map((i) => ({ atMs: i, value: i * 3 }));

    expect(thin(many).length).toBeLessThanOrEqual(600);
    expect(theilSen([many])?.perMs).toBeCloseTo(3, 6);
  });
});

describe('The gate', () => {
  test.each([
    ['nothing grows', 0, 'pass'],
    ['0.5 % an hour, 4 % a day', 0.005, 'pass'],
    ['1.5 % an hour, 12 % a day', 0.015, 'fail'],
    ['it shrinks', -0.05, 'pass'],
  ])('judges that %s', (_name, share, verdict) => {
    for (const seed of [1, 2, 3]) {
      expect(judgeGrowth([hour(share, 0.003, seed)], eightHoursMs).verdict).toBe(verdict);
    }
  });

  test('says that it cannot tell where the noise is larger than the trend', () => {
    expect(judgeGrowth([hour(0, 0.5)], eightHoursMs).verdict).toBe('inconclusive');
    expect(judgeGrowth([hour(0).slice(0, 2)], eightHoursMs).verdict).toBe('inconclusive');
  });

  test('gives growth as a share of the baseline over the horizon', () => {
    const judged = judgeGrowth([hour(0.01)], eightHoursMs);

    expect(judged.growth).toBeCloseTo(0.08, 2);
    expect(judged.baseline).toBeCloseTo(1e6, -4);
    expect(judged.samples).toBe(360);
  });

  test('passes what is 0 all the time', () => {
    const zero = range(10).map((i) => ({ atMs: i, value: 0 }));

    expect(judgeGrowth([zero], eightHoursMs).verdict).toBe('pass');
  });

  test('passes as flat only what never changes within a run', () => {
    const of = (...values: number[]) => values.map((value, i) => ({ atMs: i, value }));
    const judge = (...runs: Point[][]) => judgeFlat(runs, eightHoursMs).verdict;
    expect(judge(of(5, 5, 5), of(7, 7))).toBe('pass');
    expect(judge(of(5, 6, 5))).toBe('fail');
    expect(judge(of(5))).toBe('inconclusive');
  });

  test('lets one process follow another at another level, but not at ever higher ones', () => {
    const lives = (level: (life: number) => number, within = 0) =>
      range(60).flatMap((life) =>
        range(3).map((i) => {
          const atMs = (3 * life + i) * 10_000;
          return { atMs, life, value: level(life) + within * i };
        }),
      );
    const judge = (points: Point[]) => judgeFlat([points], eightHoursMs).verdict;

    expect(judge(lives((life) => 20 + (life % 2)))).toBe('pass');
    expect(judge(lives((life) => 20 + Math.floor(life / 20)))).toBe('fail');
    expect(judge(lives(() => 20, 1))).toBe('fail');
  });

  test('takes the median of the middle two', () => {
    expect(medianOf([4, 1, 3, 2])).toBe(2.5);
    expect(medianOf([])).toBeNaN();
  });
});

describe('The verdict', () => {
  const good = judgeGrowth([hour(0)], eightHoursMs);
  const bad = judgeGrowth([hour(0.05)], eightHoursMs);
  const unclear = judgeGrowth([hour(0, 0.5)], eightHoursMs);
  const ledger = { accepted: 1, acked: 1, queued: 0, dropped: 0, deadLettered: 0, difference: 0 };
  const finished = [{ end: {} as Run['end'] }];
  const canary = { heapBytes: bad };

  test('is a pass where all pass and the canary is found', () => {
    const series = { sender: { heapBytes: good }, canary };
    expect(verdictOf(series, ledger, finished, [])).toEqual({ verdict: 'pass', because: [] });
  });

  test('is inconclusive where the canary is not found, whatever else', () => {
    const series = { sender: { heapBytes: good }, canary: { heapBytes: good } };
    expect(verdictOf(series, ledger, finished, [])).toMatchObject({
      verdict: 'inconclusive',
      because: ['the gate did not find the leak of the canary'],
    });
    expect(
      verdictOf({ sender: { heapBytes: unclear }, canary }, ledger, finished, []).verdict,
    ).toBe('inconclusive');
    expect(verdictOf({ canary }, ledger, [{ end: undefined }], []).verdict).toBe('inconclusive');
  });

  test('is inconclusive where nothing was done of what makes things grow', () => {
    const drivers = [
      { driver: 'rotations', count: 3 },
      { driver: 'fired', count: 0 },
    ];
    expect(verdictOf({ canary }, ledger, finished, drivers)).toEqual({
      verdict: 'inconclusive',
      because: ['nothing was done of fired'],
    });
  });

  test('is a failure where something grows, or a message is missing', () => {
    expect(verdictOf({ sender: { heapBytes: bad }, canary }, ledger, finished, [])).toMatchObject({
      verdict: 'fail',
      because: ['sender heapBytes'],
    });
    expect(verdictOf({ canary }, { ...ledger, difference: 1 }, finished, []).verdict).toBe('fail');
  });
});

describe('The record of a soak', () => {
  const options = {
    ...{ durationMs: hourMs, warmUpMs: 600_000, everyMs: 10_000, horizonMs: eightHoursMs },
    ...{ perSecond: 100, restartEach: 6, pauseMs: 1000, exportEveryMs: 5000 },
    ...{ exportMaxBytes: 1e7, evaluateEveryMs: 30_000, pulseMs: 120_000 },
  };
  const done = Object.fromEntries(countNames.map((name) => [name, 10])) as PeerCounts;
  const counts = { ...done, samples: 1 };
  const peer = (heapBytes: number | null): PeerSample => {
    const facts = { anonymousBytes: 1e7, descriptors: 20, threads: 11, mappings: 100 };
    return { heapBytes, p99Us: 100, life: 7, ...facts };
  };
  const sample = (i: number, grown: number): Entry => {
    const heap = (share: number) => peer(1e6 * (1 + (share * i) / 360));
    const peers = { 'sender-1': heap(grown), 'canary-1': heap(0.015), 'shim-1': peer(null) };
    const fabric = { regionBytes: 1e7, slots: 5, names: 5, mailboxes: 5, chunks: 100 };
    const fabrics = { soak: fabric, adopted: { ...fabric, slots: 3 } };
    return { kind: 'sample', atMs: i * 10_000, peers, fabrics, counts };
  };
  const ledger = { accepted: 10, acked: 10, queued: 0, dropped: 0, deadLettered: 0, difference: 0 };

  test('is read back, without the last line where that is torn', () => {
    const file = join(testDirectory(), 'samples');
    append(file, { kind: 'soak', v: 1, at: 'now', options });
    append(file, { kind: 'run', at: 'now', dir: '/nowhere' });
    for (const i of range(3)) append(file, sample(i, 0));
    appendFileSync(file, '{"kind":"sam');
    const record = readRecord(file);

    expect(record?.options).toEqual(options);
    expect(record?.runs).toHaveLength(1);
    expect(record?.runs[0]?.samples).toHaveLength(3);
    expect(record?.runs[0]?.end).toBeUndefined();
    expect(readRecord(`${file}.none`)).toBeUndefined();
  });

  test.each([
    [0, 'pass'],
    [0.05, 'fail'],
  ])('becomes a report: growth of %d an hour is a %s', (grown, verdict) => {
    const samples = range(360).map((i) => sample(i, grown)) as Run['samples'];
    const end = { kind: 'end', atMs: hourMs, ledger, census: {}, counts } as const;
    const report = makeReport(options, [{ at: 'now', dir: '', samples, end }]);

    expect(report).toMatchObject({ v: 1, durationMs: hourMs, ledger, verdict });
    expect(report.series.sender?.heapBytes?.samples).toBe(300);
    expect(report.series.canary?.heapBytes?.verdict).toBe('fail');
    expect(report.series.fabric?.slots).toMatchObject({ least: 5, most: 5, verdict: 'pass' });
    expect(report.series['fabric-adopted']?.slots?.least).toBe(3);
    expect(report.series.shim).not.toHaveProperty('heapBytes');
    expect(report.series.shim?.descriptors?.verdict).toBe('pass');
    expect(report.drivers.find(({ driver }) => driver === 'accepted')).toEqual({
      ...{ driver: 'accepted', count: 10, inEightHours: 28_800_000, ratio: 10 / 28_800_000 },
    });
    expect(report.raw.runs.find(({ process }) => process === 'sender-1')?.rows).toHaveLength(120);
    expect(report.raw.every).toBe(3);
  });
});

describe('Latencies', () => {
  test('know their 99th percentile within 2 %', () => {
    const latencies = new Latencies();
    for (const i of range(1000)) latencies.add(i + 1);

    expect((latencies.p99() ?? 0) / 990).toBeCloseTo(1, 1);
    latencies.clear();
    expect(latencies.p99()).toBeNull();
  });
});
