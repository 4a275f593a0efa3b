import { describe, expect, test } from 'vitest';
import { startTimer } from '../../../src/agents/timer.js';
import { sleep } from '../../support/fabric.js';

describe('startTimer', () => {
  test('fires after the time, not before', async () => {
    const began = performance.now();

    await new Promise<void>((resolve) => startTimer(20, resolve));

    expect(performance.now() - began).toBeGreaterThanOrEqual(19);
  });

  test('makes none for Infinity, and takes what is negative as 0', async () => {
    expect(startTimer(Infinity, () => {})).toBeUndefined();
    await new Promise<void>((resolve) => startTimer(-5, resolve));
  });

  test('does not fire at once where the time is longer than a timer can be', async () => {
    let fired = false;
    const timer = startTimer(2 ** 40, () => {
      fired = true;
    });

    await sleep(30);
    clearTimeout(timer);

    expect(fired).toBe(false);
  });
});
