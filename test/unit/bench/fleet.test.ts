import { describe, expect, test } from 'vitest';
import { fleetMemory, fleetOf } from '../../../bench/fleet.js';

describe('A fleet', () => {
  test.each([1000, 2000, 10_000])('of %i agents has so many, coordinators among them', (agents) => {
    const { coordinators, workers } = fleetOf(agents);
    expect(coordinators + workers).toBe(agents);
    expect(workers / coordinators).toBe(99);
  });

  test('of 10,000 is stated to take at most 305 MB of shared memory, as it may', () => {
    const { sharedBytes, processBytes } = fleetMemory(10_000);
    expect(sharedBytes).toBeLessThanOrEqual(305e6);
    expect(sharedBytes).toBeGreaterThan(10_000 * 24 * 256); // its cells alone
    expect(processBytes).toBeGreaterThan(10_000 * 100_000);
  });
});
