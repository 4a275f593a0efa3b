import { readFileSync } from 'node:fs';
import type { AlertEngineState } from './engine.js';
import type { ActiveAlert } from './instance.js';

/**
 * The alerts that fire, by what the watch of a fabric wrote at its last evaluation; whether it still
 * evaluates says its heartbeat.
 *
 * @param path of its state; a file that is missing or damaged has none
 */
export function readFiringAlerts(path: string): ActiveAlert[] {
  try {
    const { v, instances } = JSON.parse(readFileSync(path, 'utf8')) as AlertEngineState;
    return v === 1 ? instances.filter(({ state }) => state === 'firing') : [];
  } catch {
    return [];
  }
}
