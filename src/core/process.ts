import { native } from './native.js';

const startColumn = 3;

/**
 * When a process was started, in clock ticks since boot: with its pid it says which process it is,
 * as numbers come again.
 *
 * @returns undefined where there is no process of that pid
 */
export function startTicksOf(pid: number): number | undefined {
  const row = new Float64Array(startColumn + 1);
  native.processUsage(Float64Array.of(pid), 1, row);
  return Number.isNaN(row[0]) ? undefined : row[startColumn];
}
