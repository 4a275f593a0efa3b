import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  crashBackoff,
  isToRestart,
  RestartHistory,
} from '../../../../src/agents/supervisor/restart.js';
import { defaultRestart } from '../../../../src/topology/plan.js';

const failed = { exitCode: 1 };

describe('isToRestart', () => {
  test('always after any end, on-failure after any but 0, never after none', () => {
    const endings = [0, 1, 137, null].map((exitCode) => ({ exitCode }));
    const restarted = (when: 'always' | 'on-failure' | 'never') =>
      endings.map((ending) => isToRestart(when, ending));
    expect(restarted('always')).toEqual([true, true, true, true]);
    expect(restarted('on-failure')).toEqual([false, true, true, true]);
    expect(restarted('never')).toEqual([false, false, false, false]);
  });
});

describe('RestartHistory', () => {
  test('doubles the wait for each restart within the window, and then it is a crash loop', () => {
    const history = new RestartHistory(defaultRestart, () => 1);
    const verdicts = Array.from({ length: 6 }, (_, i) => history.ended(failed, i * 100, i * 100));
    expect(verdicts.slice(0, 5)).toEqual(
      [100, 200, 400, 800, 1600].map((delayMs) => ({ kind: 'restart', delayMs })),
    );
    expect(verdicts[5]).toEqual({ kind: 'crash-loop', delayMs: 1000, entered: true });
    expect(history.looping).toBe(true);
  });

  test('no wait is longer than five minutes, however many restarts the policy allows', () => {
    const history = new RestartHistory({ ...defaultRestart, maxRestarts: 1000, withinMs: 1e9 });
    for (let i = 0; i < 1000; i += 1) {
      const verdict = history.ended(failed, 0, i);
      expect(verdict.kind).toBe('restart');
      if (verdict.kind === 'restart') expect(verdict.delayMs).toBeLessThanOrEqual(300_000);
    }
    const patient = new RestartHistory({ ...defaultRestart, backoffMs: 3_600_000 });
    expect(patient.ended(failed, 0, 0)).toEqual({ kind: 'restart', delayMs: 3_600_000 });
  });

  test('counts only restarts within the window', () => {
    const history = new RestartHistory(defaultRestart);
    for (let i = 0; i < 50; i += 1) {
      expect(history.ended(failed, i * 2001, i * 2001).kind).toBe('restart');
    }
  });

  test('a crash loop is entered once, and its waits grow from 1 s to 5 min', () => {
    const history = new RestartHistory({ ...defaultRestart, maxRestarts: 0 }, () => 1);
    let now = 0;
    const waits: number[] = [];
    let entered = 0;
    for (let i = 0; i < 12; i += 1) {
      const verdict = history.ended(failed, now, now);
      if (verdict.kind !== 'crash-loop') throw new Error(verdict.kind);
      entered += verdict.entered ? 1 : 0;
      waits.push(verdict.delayMs);
      now += verdict.delayMs;
    }
    expect(entered).toBe(1);
    expect(waits.slice(0, 4)).toEqual([1000, 2000, 4000, 8000]);
    expect(waits.slice(-2)).toEqual([300_000, 300_000]);
  });

  test('waits of a crash loop lie between 1 s and 5 min, whatever the dice', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 40 }),
        (dice) => {
          const throws = [...dice];
          const policy = { ...defaultRestart, maxRestarts: 0 };
          const history = new RestartHistory(policy, () => throws.pop() ?? 0);
          for (let i = 0; i <= dice.length; i += 1) {
            const verdict = history.ended(failed, 0, 0);
            if (verdict.kind !== 'crash-loop') return false;
            const { firstMs, mostMs } = crashBackoff;
            if (verdict.delayMs < firstMs || verdict.delayMs > mostMs) return false;
          }
          return true;
        },
      ),
    );
  });

  test('a crash loop is over once the agent lived longer than the window and its last wait', () => {
    const history = new RestartHistory({ ...defaultRestart, maxRestarts: 0 }, () => 1);
    for (let i = 0; i < 6; i += 1) history.ended(failed, 0, 0); // the last wait is 32 s
    expect(history.recovered(0, 32_000)).toBe(false);
    expect(history.recovered(0, 32_001)).toBe(true);
    expect(history.looping).toBe(false);
    expect(history.recovered(0, 99_000)).toBe(false);
    expect(history.ended(failed, 0, 99_000)).toMatchObject({ entered: true, delayMs: 1000 });
  });

  test('an end that calls for no restart says whether it failed', () => {
    const never = new RestartHistory({ ...defaultRestart, when: 'never' });
    expect(never.ended(failed, 0, 0)).toEqual({ kind: 'stays', failed: true });
    const done = new RestartHistory(defaultRestart);
    expect(done.ended({ exitCode: 0 }, 0, 0)).toEqual({ kind: 'stays', failed: false });
  });
});
